//! The pause between two tries of something that the kernel finishes soon.

use std::time::Duration;

/// How long to let the kernel work before looking again.
const PAUSE: Duration = Duration::from_millis(1);

/// Waits a moment. Only inside calls that say that they block.
#[allow(
    clippy::disallowed_methods,
    reason = "this crate is synchronous: its callers run it on blocking threads"
)]
pub(crate) fn pause() {
    std::thread::sleep(PAUSE);
}
