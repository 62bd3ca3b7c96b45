//! Calls into code that may block, and may not come back: a plug-in, a slow file system.
//!
//! Such a call runs on a blocking thread, and whoever asked waits for it only so long. The thread cannot be taken away from a
//! call that hangs; so each kind of call has a lane of a few places, which a call keeps until it really returns. When every
//! place is held by a call that was given up, the lane is closed: who asks then is told at once. Code that hangs costs its
//! callers one wait and the process a few threads, never the pool that everybody works on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::spawn_blocking;

/// A thing that is called by its lanes, with its name. Cheap to clone.
pub struct Callee<M: ?Sized> {
    name: Arc<str>,
    thing: Arc<M>,
    lanes: Lanes,
}

impl<M: ?Sized + Send + Sync + 'static> Callee<M> {
    /// This thing, with lanes of so many places each.
    pub fn new(name: &str, thing: Arc<M>, places: usize) -> Self {
        Self { name: name.into(), thing, lanes: Lanes::new(places) }
    }

    /// The same thing by lanes of its own, of so many places each.
    #[must_use]
    pub fn with_places(&self, places: usize) -> Self {
        Self { lanes: Lanes::new(places), ..self.clone() }
    }

    /// What it is called by people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As [`Lanes::call`].
    ///
    /// # Errors
    /// When there is no answer in time.
    pub fn call<T: Send + 'static>(
        &self,
        kind: &'static str,
        patience: Duration,
        work: impl FnOnce(&M) -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, NoAnswer>> + Send {
        self.call_or(kind, patience, work, |_, _| {})
    }

    /// As [`Lanes::call_or`].
    ///
    /// # Errors
    /// When there is no answer in time.
    pub fn call_or<T: Send + 'static>(
        &self,
        kind: &'static str,
        patience: Duration,
        work: impl FnOnce(&M) -> T + Send + 'static,
        late: impl FnOnce(&M, T) + Send + 'static,
    ) -> impl Future<Output = Result<T, NoAnswer>> + Send {
        let (thing, again) = (Arc::clone(&self.thing), Arc::clone(&self.thing));
        let late = move |answer| late(&again, answer);
        self.lanes.call_or(kind, patience, move || work(&thing), late)
    }

    /// The same, where one can do without the answer: a failure is logged, and there is none.
    pub fn call_or_pass<T: Send + 'static, E: fmt::Display + Send + 'static>(
        &self,
        kind: &'static str,
        patience: Duration,
        work: impl FnOnce(&M) -> Result<Option<T>, E> + Send + 'static,
    ) -> impl Future<Output = Option<T>> + Send {
        let answer = self.call(kind, patience, work);
        let callee = Arc::clone(&self.name);
        async move {
            match answer.await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(error)) => {
                    tracing::warn!(%callee, call = kind, "a call failed and is passed over: {error}")
                }
                // Was told when those before it did not come back.
                Err(NoAnswer::Closed(_)) => {}
                Err(none) => {
                    tracing::error!(%callee, call = kind, "a call is passed over: {none}")
                }
            }
            None
        }
    }
}

impl<M: ?Sized> Clone for Callee<M> {
    fn clone(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
            thing: Arc::clone(&self.thing),
            lanes: self.lanes.clone(),
        }
    }
}

impl<M: ?Sized> fmt::Debug for Callee<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Callee").field(&self.name).finish()
    }
}

/// The lanes of one thing that is called, by the name of the call. Cheap to clone; clones share their lanes.
#[derive(Clone, Debug)]
pub struct Lanes {
    places: usize,
    lanes: Arc<Mutex<BTreeMap<&'static str, Arc<Lane>>>>,
}

#[derive(Debug)]
struct Lane {
    places: Arc<Semaphore>,
    /// Calls that nobody waits for any more and that have not returned.
    given_up: AtomicUsize,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It has not come in time. The call goes on, if it was begun.
    #[error("it did not return within {0:?}")]
    Late(Duration),
    /// Nothing was tried: so many calls before it have not returned.
    #[error("it is not called any more before {0} earlier calls of it return")]
    Closed(usize),
    /// The call panicked.
    #[error("it panicked")]
    Panicked,
}

impl Lanes {
    /// Lanes of so many places each: the calls of one kind that are under way at a time. At least one.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self { places: places.max(1), lanes: Arc::default() }
    }

    /// Runs `work` on a blocking thread, as a call of this kind, and waits for it at most `patience`; waiting for a place
    /// counts. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub fn call<T: Send + 'static>(
        &self,
        kind: &'static str,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, NoAnswer>> + Send {
        self.call_or(kind, patience, work, drop)
    }

    /// The same; an answer that comes after the caller has given up goes to `late`, on the thread of the call.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub fn call_or<T: Send + 'static>(
        &self,
        kind: &'static str,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
        late: impl FnOnce(T) + Send + 'static,
    ) -> impl Future<Output = Result<T, NoAnswer>> + Send {
        let lane = self.lane(kind);
        let (answer, answered) = oneshot::channel();
        let phase = Arc::new(Mutex::new(Phase::Waiting));
        let run = Run { lane: Arc::clone(&lane), phase: Arc::clone(&phase) };
        // Boxed, since what is called with may be large, and whoever waits may be one of many.
        let run: Job = Box::new(move |place| run.work(place, work, answer, late));
        wait(lane, self.places, patience, run, answered, phase)
    }

    fn lane(&self, kind: &'static str) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let places = self.places;
        let lane = lanes.entry(kind).or_insert_with(|| {
            Arc::new(Lane {
                places: Arc::new(Semaphore::new(places)),
                given_up: AtomicUsize::new(0),
            })
        });
        Arc::clone(lane)
    }
}

/// A call, given its place.
type Job = Box<dyn FnOnce(Option<OwnedSemaphorePermit>) + Send>;

async fn wait<T>(
    lane: Arc<Lane>,
    places: usize,
    patience: Duration,
    run: Job,
    mut answered: oneshot::Receiver<T>,
    phase: Arc<Mutex<Phase>>,
) -> Result<T, NoAnswer> {
    let given_up = lane.given_up.load(Ordering::SeqCst);
    if given_up >= places {
        return Err(NoAnswer::Closed(given_up));
    }
    let call = async {
        // The semaphore is never closed.
        let place = Arc::clone(&lane.places).acquire_owned().await.ok();
        *lock(&phase) = Phase::Running;
        // Its end is told by the answer.
        drop(spawn_blocking(move || run(place)));
        (&mut answered).await
    };
    match tokio::time::timeout(patience, call).await {
        Ok(Ok(result)) => return Ok(result),
        Ok(Err(_)) => return Err(NoAnswer::Panicked),
        Err(_) => {}
    }
    let mut phase = lock(&phase);
    match *phase {
        // In the very last moment.
        Phase::Answered => answered.try_recv().map_err(|_| NoAnswer::Late(patience)),
        Phase::Running => {
            *phase = Phase::GivenUp;
            lane.given_up.fetch_add(1, Ordering::SeqCst);
            Err(NoAnswer::Late(patience))
        }
        Phase::Waiting | Phase::GivenUp => Err(NoAnswer::Late(patience)),
    }
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// For a place.
    Waiting,
    Running,
    Answered,
    /// Nobody waits for it any more.
    GivenUp,
}

/// A call on its thread.
struct Run {
    lane: Arc<Lane>,
    phase: Arc<Mutex<Phase>>,
}

impl Run {
    /// Has its place to the end, and to that of a panic.
    fn work<T>(
        self,
        _place: Option<OwnedSemaphorePermit>,
        work: impl FnOnce() -> T,
        answer: oneshot::Sender<T>,
        late: impl FnOnce(T),
    ) {
        let result = work();
        let mut phase = lock(&self.phase);
        if *phase == Phase::Running {
            *phase = Phase::Answered;
            // Whoever asked may be gone with its own task.
            let _ = answer.send(result);
            return;
        }
        drop(phase);
        late(result);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if *lock(&self.phase) == Phase::GivenUp {
            self.lane.given_up.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn an_answer_comes_back() {
        assert_eq!(Lanes::new(1).call("add", LONG, || 1 + 1).await, Ok(2));
    }

    #[tokio::test]
    async fn a_call_that_hangs_is_given_up_and_its_lane_is_closed_until_it_returns() {
        let lanes = Lanes::new(1);
        let (release, hang) = mpsc::channel::<()>();
        let (late, told) = mpsc::channel();
        let given_up = lanes
            .call_or(
                "hang",
                SHORT,
                move || hang.recv().is_ok(),
                move |answer| late.send(answer).unwrap(),
            )
            .await;
        assert_eq!(given_up, Err(NoAnswer::Late(SHORT)));
        assert_eq!(lanes.call("hang", LONG, || 1).await, Err(NoAnswer::Closed(1)), "at once");
        assert_eq!(lanes.call("other", LONG, || 2).await, Ok(2), "other kinds have their own lane");
        release.send(()).unwrap();
        assert_eq!(told.recv_timeout(LONG), Ok(true), "the late answer is told");
        while lanes.call("hang", LONG, || 1).await == Err(NoAnswer::Closed(1)) {
            tokio::task::yield_now().await;
        }
        assert_eq!(lanes.call("hang", LONG, || 1).await, Ok(1), "open again");
    }

    #[tokio::test]
    async fn a_call_that_never_got_a_place_holds_none() {
        let lanes = Lanes::new(1);
        let (release, hang) = mpsc::channel::<()>();
        let holder = lanes.clone();
        let held = crate::task::spawn("held", async move {
            holder.call("x", LONG, move || hang.recv().is_ok()).await
        });
        while lanes.call("x", SHORT, || ()).await.is_ok() {}
        assert_eq!(lanes.call("x", SHORT, || ()).await, Err(NoAnswer::Late(SHORT)));
        release.send(()).unwrap();
        assert_eq!(held.await.unwrap(), Ok(true));
        assert_eq!(lanes.call("x", LONG, || 3).await, Ok(3));
    }

    #[tokio::test]
    async fn what_one_can_do_without_is_none_when_it_fails() {
        let callee = Callee::new("c", Arc::new(1), 1);
        let good = callee.call_or_pass("x", LONG, |one| Ok::<_, String>(Some(*one)));
        assert_eq!(good.await, Some(1));
        let bad = callee.call_or_pass("x", LONG, |_| Err::<Option<i32>, _>("no"));
        assert_eq!(bad.await, None);
        let panics = callee
            .call_or_pass("x", LONG, |_| -> Result<Option<i32>, &str> { panic!("on purpose") });
        assert_eq!(panics.await, None);
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_that_does_not_come() {
        let lanes = Lanes::new(1);
        let panics = lanes.call("x", LONG, || panic!("on purpose"));
        assert_eq!(panics.await, Err::<(), _>(NoAnswer::Panicked));
        assert_eq!(lanes.call("x", LONG, || 1).await, Ok(1));
    }
}
