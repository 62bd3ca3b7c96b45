//! One token that tells every part of a process to stop, and why.
//!
//! The first SIGTERM or SIGINT triggers the token, so that everything may end in order; the second one ends the process
//! at once, for the person who does not want to wait.

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of a process that a second signal ended: what a shell reports for SIGTERM.
const EXIT_AFTER_SECOND_SIGNAL: i32 = 128 + 15;

/// The stop token of a process. Cheap to clone; all clones are one token.
#[derive(Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    reason: Arc<OnceLock<String>>,
}

impl Shutdown {
    /// A token that nothing triggers yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everybody to stop. The first reason is kept; later calls change nothing.
    pub fn trigger(&self, reason: impl Into<String>) {
        if self.reason.set(reason.into()).is_ok() {
            tracing::info!(reason = self.reason().unwrap_or_default(), "shutting down");
        }
        self.token.cancel();
    }

    /// Triggers without a word in the log: for tokens that are a detail of one part.
    pub(crate) fn trigger_quietly(&self) {
        self.token.cancel();
    }

    /// Whether the token was triggered.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until the token is triggered; returns at once when it already was.
    pub async fn triggered(&self) {
        self.token.cancelled().await;
    }

    /// Why the process stops, once it does.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }

    /// A token that stops with this one, or earlier by itself (one connection, one test server).
    #[must_use]
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), reason: Arc::new(OnceLock::new()) }
    }

    /// Triggers this token on the first SIGTERM or SIGINT; the second one exits the process at once.
    ///
    /// # Errors
    /// The operating system refused to install the handlers.
    pub fn listen_for_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        drop(crate::task::spawn("signals", async move {
            let first = next(&mut terminate, &mut interrupt).await;
            shutdown.trigger(format!("received {first}"));
            let second = next(&mut terminate, &mut interrupt).await;
            tracing::warn!("received {second} while shutting down: exiting at once");
            std::process::exit(EXIT_AFTER_SECOND_SIGNAL);
        }));
        Ok(())
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("triggered", &self.is_triggered())
            .field("reason", &self.reason())
            .finish()
    }
}

async fn next(
    terminate: &mut tokio::signal::unix::Signal,
    interrupt: &mut tokio::signal::unix::Signal,
) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_is_kept() {
        let shutdown = Shutdown::new();
        shutdown.trigger("first");
        shutdown.clone().trigger("second");
        shutdown.triggered().await;
        assert_eq!(shutdown.reason(), Some("first"));
    }

    #[tokio::test]
    async fn a_child_stops_with_its_parent_and_not_the_other_way_round() {
        let parent = Shutdown::new();
        let early = parent.child();
        let late = parent.child();
        early.trigger("this part only");
        assert!(!parent.is_triggered());
        parent.trigger("all");
        late.triggered().await;
        assert!(late.is_triggered());
    }

    #[tokio::test]
    async fn a_signal_triggers_the_token() {
        let shutdown = Shutdown::new();
        shutdown.listen_for_signals().unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)
            .unwrap();
        shutdown.triggered().await;
        assert_eq!(shutdown.reason(), Some("received SIGTERM"));
    }
}
