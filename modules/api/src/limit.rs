//! What isolators that end containers have in common: one limitation per container, asked for once, in any order.

use std::sync::{Mutex, PoisonError};

use mezzo_proto::v1::ContainerId;

use crate::Completion;
use crate::v1::{ContainerLimitation, WatchResponse};

/// Where the limitation of one container meets the host that watches for it, whichever comes first.
///
/// Only the first limitation counts: the container ends with it. When it is dropped while the host waits (the container is
/// cleaned up, or the module goes) there will be no limitation, which is what the host is told.
#[derive(Debug, Default)]
pub struct LimitWatch(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Quiet,
    /// The host waits.
    Watched(Completion<WatchResponse>),
    /// The host has not asked yet.
    Reached(Box<ContainerLimitation>),
    Told,
}

impl LimitWatch {
    /// The host asks. Answers at once when the limit was reached before; a second question gets no answer.
    pub fn watch(&self, done: Completion<WatchResponse>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Told) {
            State::Quiet => *state = State::Watched(done),
            State::Reached(limitation) => {
                // The host's callback runs without the lock.
                drop(state);
                done.complete(Ok(WatchResponse { limitation: Some(*limitation) }));
            }
            before => {
                *state = before;
                drop(state);
                done.never();
            }
        }
    }

    /// The container has reached a limit. False when it had before: then nothing happens.
    pub fn reach(&self, limitation: ContainerLimitation) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Told) {
            State::Quiet => *state = State::Reached(Box::new(limitation)),
            State::Watched(done) => {
                drop(state);
                done.complete(Ok(WatchResponse { limitation: Some(limitation) }));
            }
            before => {
                *state = before;
                return false;
            }
        }
        true
    }

    /// True when the container has reached a limit, whether or not the host was told.
    pub fn is_reached(&self) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*state, State::Reached(_) | State::Told)
    }
}

impl Drop for LimitWatch {
    fn drop(&mut self) {
        let state = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let State::Watched(done) = std::mem::take(state) {
            done.never();
        }
    }
}

/// The text of a container's id, its parents first: `parent.child`.
pub fn container_name(id: &ContainerId) -> String {
    match &id.parent {
        Some(parent) => format!("{}.{}", container_name(parent), id.value),
        None => id.value.clone(),
    }
}

/// Megabytes of a resource as bytes. Amounts have three decimals; no input can overflow, what is no number is 0.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float-to-int cast saturates and takes NaN for 0"
)]
pub fn megabytes_to_bytes(megabytes: f64) -> u64 {
    let thousandths = (megabytes * 1000.0).round() as u64;
    u64::try_from(u128::from(thousandths) * 1_048_576 / 1000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::sync::mpsc::{self, Receiver};

    use super::*;

    fn limitation(message: &str) -> ContainerLimitation {
        ContainerLimitation { message: Some(message.to_owned()), ..ContainerLimitation::default() }
    }

    /// What the host hears; `None` for "never".
    fn ask(watch: &LimitWatch) -> Receiver<Option<String>> {
        let (sender, receiver) = mpsc::channel();
        let never = sender.clone();
        watch.watch(Completion::with_never(
            move |result| {
                let response: WatchResponse = result.unwrap();
                sender.send(Some(response.limitation.unwrap().message().to_owned())).unwrap();
            },
            move || never.send(None).unwrap(),
        ));
        receiver
    }

    #[test]
    fn a_limit_is_told_once_whoever_comes_first() {
        let watch = LimitWatch::default();
        let heard = ask(&watch);
        assert!(!watch.is_reached());
        assert!(watch.reach(limitation("first")));
        assert!(!watch.reach(limitation("second")));
        assert_eq!(heard.recv().unwrap().unwrap(), "first");
        assert_eq!(ask(&watch).recv().unwrap(), None, "it has been told");

        let watch = LimitWatch::default();
        assert!(watch.reach(limitation("before")) && watch.is_reached());
        assert_eq!(ask(&watch).recv().unwrap().unwrap(), "before");
        assert!(!watch.reach(limitation("after")));
    }

    #[test]
    fn who_waits_for_a_container_that_goes_is_told_never() {
        let watch = LimitWatch::default();
        let heard = ask(&watch);
        assert_eq!(ask(&watch).recv().unwrap(), None, "only one can wait");
        drop(watch);
        assert_eq!(heard.recv().unwrap(), None);
    }

    #[test]
    fn names_start_with_the_outermost_container() {
        let id = |value: &str, parent: Option<ContainerId>| ContainerId {
            value: value.to_owned(),
            parent: parent.map(Box::new),
        };
        assert_eq!(container_name(&id("c", Some(id("b", Some(id("a", None)))))), "a.b.c");
    }

    #[test]
    fn megabytes_become_bytes_without_overflow() {
        assert_eq!(megabytes_to_bytes(32.0), 33_554_432);
        assert_eq!(megabytes_to_bytes(0.5), 524_288);
        assert_eq!(megabytes_to_bytes(-1.0), 0);
        assert_eq!(megabytes_to_bytes(f64::NAN), 0);
        assert_eq!(megabytes_to_bytes(f64::INFINITY), u64::MAX);
    }
}
