//! Which calls are inside a module now, and since when.
//!
//! Every call writes one word into a slot that no other call has and clears it when it comes back: no lock, no allocation,
//! and all that the watchdog needs is in the word. There are slots for as many calls as usually are inside a module at a
//! time; for more than that, more are made.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

const SLOTS: usize = 64;
/// Slots of one cache line: threads begin to look in lines of their own.
const LINE: usize = 8;

/// One module's calls.
pub(crate) struct InFlight {
    slots: [AtomicU64; SLOTS],
    more: OnceLock<Box<Self>>,
}

/// A call that is inside a module; an empty slot is 0.
///
/// The upper 56 bits are the microsecond it began (since [`epoch`], plus one), then 7 bits of the method, then whether the
/// watchdog has counted it.
#[derive(Clone, Copy)]
pub(crate) struct Call(u64);

/// Methods of higher numbers are told apart no more.
pub(crate) const LAST_METHOD: u32 = 127;
const COUNTED: u64 = 1;

impl Call {
    fn new(method: u32, began: Instant) -> Self {
        let method = u64::from(method.min(LAST_METHOD));
        Self((micros(began).saturating_add(1)) << 8 | method << 1)
    }

    pub(crate) fn method(self) -> u32 {
        u32::try_from((self.0 >> 1) & u64::from(LAST_METHOD)).unwrap_or(LAST_METHOD)
    }

    pub(crate) fn lasts(self, now: Instant) -> Duration {
        let began = (self.0 >> 8).saturating_sub(1);
        Duration::from_micros(micros(now).saturating_sub(began))
    }
}

/// A slot that a call has.
pub(crate) struct Slot<'a>(&'a AtomicU64);

impl Slot<'_> {
    /// Clears it. Whether the watchdog has counted the call as overdue.
    pub(crate) fn leave(&self) -> bool {
        self.0.swap(0, Relaxed) & COUNTED != 0
    }
}

impl InFlight {
    pub(crate) fn new() -> Self {
        Self { slots: [const { AtomicU64::new(0) }; SLOTS], more: OnceLock::new() }
    }

    /// A call begins.
    pub(crate) fn enter(&self, method: u32, began: Instant) -> Slot<'_> {
        let Call(word) = Call::new(method, began);
        let mut slots = self;
        loop {
            let (before, from) = slots.slots.split_at(first_slot());
            for slot in from.iter().chain(before) {
                if slot.compare_exchange(0, word, Relaxed, Relaxed).is_ok() {
                    return Slot(slot);
                }
            }
            slots = slots.more.get_or_init(|| Box::new(Self::new()));
        }
    }

    /// Every call that is inside now.
    pub(crate) fn calls(&self) -> impl Iterator<Item = Call> {
        self.slots().map(|slot| Call(slot.load(Relaxed))).filter(|call| call.0 != 0)
    }

    /// Marks the calls that last too long as counted; each of them, and whether it was new.
    pub(crate) fn overdue(
        &self,
        limit: Duration,
        now: Instant,
    ) -> impl Iterator<Item = (Call, bool)> {
        self.slots().filter_map(move |slot| {
            let word = slot.load(Relaxed);
            if word == 0 || Call(word).lasts(now) < limit {
                return None;
            }
            if word & COUNTED != 0 {
                return Some((Call(word), false));
            }
            // Fails when the call has just come back, which then counts itself.
            slot.compare_exchange(word, word | COUNTED, Relaxed, Relaxed)
                .is_ok()
                .then_some((Call(word), true))
        })
    }

    fn slots(&self) -> impl Iterator<Item = &AtomicU64> {
        std::iter::successors(Some(self), |slots| slots.more.get().map(Box::as_ref))
            .flat_map(|slots| &slots.slots)
    }
}

/// Where this thread begins to look for an empty slot.
fn first_slot() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static FIRST: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    // A thread that is ending has no place of its own any more.
    FIRST
        .try_with(|first| {
            if first.get() == usize::MAX {
                let thread = THREADS.fetch_add(1, Relaxed);
                first.set((thread * LINE + thread / LINE) % SLOTS);
            }
            first.get()
        })
        .unwrap_or(0)
}

/// What times are counted from: the first time that anybody asks.
fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

fn micros(at: Instant) -> u64 {
    let since = at.saturating_duration_since(epoch());
    since.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(since.subsec_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_seen_while_it_lasts() {
        let calls = InFlight::new();
        let began = Instant::now();
        let slot = calls.enter(5, began);
        let seen: Vec<_> = calls.calls().map(Call::method).collect();
        assert_eq!(seen, [5]);
        assert!(!slot.leave());
        assert_eq!(calls.calls().count(), 0);
    }

    #[test]
    fn more_calls_than_slots_are_all_seen() {
        let calls = InFlight::new();
        let slots: Vec<_> = (0..200).map(|_| calls.enter(300, Instant::now())).collect();
        assert_eq!(calls.calls().count(), 200);
        assert!(calls.calls().all(|call| call.method() == LAST_METHOD));
        drop(slots.iter().map(Slot::leave).collect::<Vec<_>>());
        assert_eq!(calls.calls().count(), 0);
    }

    #[test]
    fn a_call_is_counted_as_overdue_once() {
        let calls = InFlight::new();
        let began = Instant::now();
        let slot = calls.enter(1, began);
        let limit = Duration::from_secs(1);
        let after = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(calls.overdue(limit, began).count(), 0);
        let new = |at| calls.overdue(limit, at).map(|(_, new)| new).collect::<Vec<_>>();
        assert_eq!((new(after(2)), new(after(3))), (vec![true], vec![false]));
        assert!(slot.leave());
        assert!(new(after(4)).is_empty());
    }
}
