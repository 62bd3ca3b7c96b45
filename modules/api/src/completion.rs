//! How a module answers later: a one-shot callback that can be kept, sent to another thread, and that tells the host when
//! it is lost.

use std::fmt;

use crate::{Code, ModuleError};

type Callback<T> = Box<dyn FnOnce(Outcome<T>) + Send>;

/// How a started call ended.
pub(crate) enum Outcome<T> {
    Done(Result<T, ModuleError>),
    Never,
}

/// The answer to a call that may take for ever.
///
/// Complete it from any thread, at any time, once. A completion that is dropped counts as failed, so that a module which
/// loses one is noticed; call [`Completion::never`] when no answer will come and that is as it should be.
pub struct Completion<T> {
    callback: Option<Callback<T>>,
}

impl<T> Completion<T> {
    /// A completion that calls `callback` at most once: never, if the module says so by [`Completion::never`]. The callback
    /// runs on the module's thread, so it should do no more than pass the answer on.
    pub fn new(callback: impl FnOnce(Result<T, ModuleError>) + Send + 'static) -> Self {
        Self::from_outcome(move |outcome| {
            if let Outcome::Done(result) = outcome {
                callback(result);
            }
        })
    }

    /// The same, for who has to know that there will be no answer: then `never` is called instead.
    pub fn with_never(
        callback: impl FnOnce(Result<T, ModuleError>) + Send + 'static,
        never: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self::from_outcome(move |outcome| match outcome {
            Outcome::Done(result) => callback(result),
            Outcome::Never => never(),
        })
    }

    pub(crate) fn from_outcome(callback: impl FnOnce(Outcome<T>) + Send + 'static) -> Self {
        Self { callback: Some(Box::new(callback)) }
    }

    /// The answer.
    pub fn complete(self, result: Result<T, ModuleError>) {
        self.end(Outcome::Done(result));
    }

    /// There will be no answer, and nothing is wrong.
    pub fn never(self) {
        self.end(Outcome::Never);
    }

    pub(crate) fn end(mut self, outcome: Outcome<T>) {
        if let Some(callback) = self.callback.take() {
            callback(outcome);
        }
    }
}

impl<T> Drop for Completion<T> {
    fn drop(&mut self) {
        if let Some(callback) = self.callback.take() {
            callback(Outcome::Done(Err(ModuleError::new(
                Code::Aborted,
                "the module dropped the call without an answer",
            ))));
        }
    }
}

impl<T> fmt::Debug for Completion<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_dropped_completion_is_an_error() {
        let (sender, receiver) = mpsc::channel();
        drop(Completion::<u32>::new(move |result| sender.send(result).unwrap()));
        assert_eq!(receiver.recv().unwrap().unwrap_err().code, Code::Aborted);
    }

    #[test]
    fn never_calls_nobody() {
        let (sender, receiver) = mpsc::channel::<()>();
        Completion::<u32>::new(move |_| sender.send(()).unwrap()).never();
        assert!(receiver.recv().is_err());
    }

    #[test]
    fn an_answer_arrives_once() {
        let (sender, receiver) = mpsc::channel();
        Completion::new(move |result| sender.send(result).unwrap()).complete(Ok(7));
        assert_eq!(receiver.recv().unwrap(), Ok(7));
        assert!(receiver.recv().is_err());
    }
}
