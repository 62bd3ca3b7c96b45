//! Whose turn it is to be measured. Pure: the time comes in.
//!
//! Every place is due again one interval after its last walk began, and the one that has been due longest goes first. As
//! long as all walks of an interval fit into half of it, every place is measured once per interval; when they do not, they
//! take turns, and none waits for more than all others together. The walker never works more than half of the time: after
//! a walk it rests for as long as the walk took, but no longer than an interval.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// A place to measure, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) u64);

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Walk this.
    Walk(Key),
    /// Nothing before this moment.
    Wait(Instant),
    /// Nothing to measure.
    Idle,
}

/// The turns of all places.
#[derive(Debug)]
pub(crate) struct Rota {
    interval: Duration,
    by_turn: BTreeSet<(Instant, Key)>,
    due: HashMap<Key, Instant>,
    rest_until: Option<Instant>,
    last: u64,
}

impl Rota {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, by_turn: BTreeSet::new(), due: HashMap::new(), rest_until: None, last: 0 }
    }

    /// A new place, due now.
    pub(crate) fn add(&mut self, now: Instant) -> Key {
        self.last += 1;
        let key = Key(self.last);
        self.set_due(key, now);
        key
    }

    pub(crate) fn remove(&mut self, key: Key) {
        if let Some(due) = self.due.remove(&key) {
            self.by_turn.remove(&(due, key));
        }
    }

    pub(crate) fn next(&self, now: Instant) -> Next {
        let Some((due, key)) = self.by_turn.first() else { return Next::Idle };
        let from = self.rest_until.map_or(*due, |rest| rest.max(*due));
        if from > now { Next::Wait(from) } else { Next::Walk(*key) }
    }

    /// A walk has ended. The place may be gone by now.
    pub(crate) fn walked(&mut self, key: Key, began: Instant, ended: Instant) {
        let took = ended.saturating_duration_since(began);
        self.rest_until = Some(ended + took.min(self.interval));
        if self.due.contains_key(&key) {
            self.remove(key);
            self.set_due(key, began + self.interval);
        }
    }

    fn set_due(&mut self, key: Key, due: Instant) {
        self.due.insert(key, due);
        self.by_turn.insert((due, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(15);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn quick_walks_measure_every_place_once_per_interval() {
        let start = Instant::now();
        let mut rota = Rota::new(INTERVAL);
        let keys: Vec<Key> = (0..100).map(|_| rota.add(start)).collect();
        let (mut now, mut walks) = (start, HashMap::new());
        while now < start + seconds(60) {
            match rota.next(now) {
                Next::Walk(key) => {
                    walks.entry(key).or_insert_with(Vec::new).push(now);
                    rota.walked(key, now, now + Duration::from_millis(50));
                    now += Duration::from_millis(50);
                }
                Next::Wait(until) => now = until,
                Next::Idle => unreachable!("there are places"),
            }
        }
        for key in keys {
            let times = &walks[&key];
            assert!(times.len() >= 4, "{key:?} was measured {} times", times.len());
            for pair in times.windows(2) {
                assert!(pair[1] - pair[0] < INTERVAL + seconds(1), "{key:?} waited too long");
            }
        }
    }

    #[test]
    fn long_walks_take_turns_and_leave_half_of_the_time() {
        let start = Instant::now();
        let mut rota = Rota::new(INTERVAL);
        let keys = [rota.add(start), rota.add(start), rota.add(start)];
        let (mut now, mut order, mut worked) = (start, Vec::new(), Duration::ZERO);
        while order.len() < 9 {
            match rota.next(now) {
                Next::Walk(key) => {
                    order.push(key);
                    rota.walked(key, now, now + seconds(10));
                    now += seconds(10);
                    worked += seconds(10);
                }
                Next::Wait(until) => now = until,
                Next::Idle => unreachable!("there are places"),
            }
        }
        assert_eq!(order, [keys, keys, keys].concat());
        assert!(worked * 2 <= now - start + seconds(10));
    }

    #[test]
    fn one_endless_walk_rests_an_interval_and_a_removed_place_does_not_come_back() {
        let start = Instant::now();
        let mut rota = Rota::new(INTERVAL);
        let key = rota.add(start);
        rota.walked(key, start, start + seconds(600));
        assert_eq!(rota.next(start + seconds(600)), Next::Wait(start + seconds(615)));
        assert_eq!(rota.next(start + seconds(615)), Next::Walk(key));
        rota.remove(key);
        rota.walked(key, start + seconds(615), start + seconds(620));
        assert_eq!(rota.next(start + seconds(1000)), Next::Idle);
    }

    #[test]
    fn a_new_place_does_not_wait_an_interval() {
        let start = Instant::now();
        let mut rota = Rota::new(INTERVAL);
        let old = rota.add(start);
        rota.walked(old, start, start);
        let new = rota.add(start + seconds(1));
        assert_eq!(rota.next(start + seconds(1)), Next::Walk(new));
    }
}
