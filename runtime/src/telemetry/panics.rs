//! A panic is never silent: it is logged once, with its place and backtrace, and the thread remembers it for whoever
//! catches it.

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Logs panics through `tracing` instead of the standard hook's raw text. Later calls change nothing.
pub(super) fn log_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let place = info.location().map_or_else(
                || "an unknown place".to_owned(),
                |at| format!("{}:{}:{}", at.file(), at.line(), at.column()),
            );
            let text = crate::task::panic_text(info.payload());
            let backtrace = Backtrace::capture();
            tracing::error!(place, %backtrace, "panic: {text}");
            LAST.with_borrow_mut(|last| *last = Some(place));
        }));
    });
}

/// Where the last panic of this thread happened, told once. None when the hook is not installed.
pub(crate) fn last_panic_of_this_thread() -> Option<String> {
    LAST.with_borrow_mut(Option::take)
}
