//! What a process cannot do without: when it fails, the process ends and says why.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use crate::shutdown::Shutdown;
use crate::task::panic_text;

/// Threads without which the process is useless, and why the first of them failed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Vital {
    failure: Arc<OnceLock<String>>,
    shutdown: Shutdown,
}

impl Vital {
    /// Nothing has failed yet. A failure triggers `shutdown`.
    #[must_use]
    pub fn new(shutdown: Shutdown) -> Self {
        Self { failure: Arc::default(), shutdown }
    }

    /// Starts a thread. If its work fails or panics the process shuts down: without it nothing would
    /// happen any more, in silence.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn thread(
        &self,
        name: &'static str,
        work: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> std::io::Result<()> {
        let vital = self.clone();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Nothing of the work is looked at after a panic but the fact.
            match catch_unwind(AssertUnwindSafe(work)) {
                Ok(Ok(())) => {}
                Ok(Err(line)) => vital.fail(line),
                Err(panic) => {
                    let what = panic_text(&*panic);
                    vital.fail(format!("the {name} thread panicked: {what}"));
                }
            }
        })?;
        Ok(())
    }

    /// Ends the process with this reason. The first one counts.
    pub fn fail(&self, line: String) {
        tracing::error!("{line}");
        self.shutdown.trigger(line.clone());
        // A later failure is often but a consequence.
        let _ = self.failure.set(line);
    }

    /// Why the process ends, if something failed.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_the_process_and_says_which_thread() {
        let shutdown = Shutdown::new();
        let vital = Vital::new(shutdown.clone());
        vital.thread("heart", || panic!("no beat")).unwrap();
        shutdown.triggered().await;
        while vital.failure().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(vital.failure(), Some("the heart thread panicked: no beat"));
    }

    #[tokio::test]
    async fn the_first_failure_counts() {
        let vital = Vital::new(Shutdown::new());
        vital.fail("first".to_owned());
        vital.fail("second".to_owned());
        assert_eq!(vital.failure(), Some("first"));
    }
}
