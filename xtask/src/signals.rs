//! An interruption stops what a task has started, not the task itself: it still has to look what was
//! left behind.

use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Set when somebody asked this process to end.
struct Asked {
    terminate: Arc<AtomicBool>,
}

/// From now on SIGINT and SIGTERM do not end this process. A terminal sends SIGINT to the child as
/// well; SIGTERM is passed on by [`pass_on`].
fn asked() -> &'static Asked {
    static ASKED: OnceLock<Asked> = OnceLock::new();
    ASKED.get_or_init(|| {
        let asked = Asked { terminate: Arc::default() };
        // Without a handler the signal does what it always did.
        let _ = signal_hook::flag::register(SIGINT, Arc::default());
        let _ = signal_hook::flag::register(SIGTERM, Arc::clone(&asked.terminate));
        asked
    })
}

/// Begins to catch signals.
pub(crate) fn catch() {
    asked();
}

/// Tells a child what this process was told.
pub(crate) fn pass_on(child: &Child) {
    if asked().terminate.swap(false, Ordering::Relaxed)
        && let Some(pid) = Pid::from_raw(child.id().cast_signed())
    {
        // It may have ended meanwhile.
        let _ = kill_process(pid, Signal::TERM);
    }
}
