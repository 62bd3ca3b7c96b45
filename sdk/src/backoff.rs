//! Pauses between attempts to connect: longer each time, and never the same for two processes.

use std::time::Duration;

/// Doubles from a first pause to a longest one; half of each pause is chance, so that a thousand
/// clients of a master that restarts do not come back in the same instant.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        let first = first.min(longest);
        Self { first, longest, next: first }
    }

    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(self.longest);
        let half = whole / 2;
        half + up_to(whole.saturating_sub(half))
    }

    /// The last attempt worked: begin again with the shortest pause.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A random duration in `[0, longest]`.
pub(crate) fn up_to(longest: Duration) -> Duration {
    // Eight of the random bytes of a fresh UUID: no random number generator has to be carried
    // into every executor for this.
    let (chance, _) = uuid::Uuid::new_v4().as_u64_pair();
    #[allow(clippy::cast_precision_loss, reason = "a share of a pause needs no 64 bits")]
    let share = chance as f64 / u64::MAX as f64;
    longest.mul_f64(share.min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_keep_half_of_their_length() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for whole in [100, 200, 400, 800, 1000, 1000] {
            let pause = backoff.pause();
            assert!(pause >= Duration::from_millis(whole / 2), "{pause:?} of {whole}");
            assert!(pause <= Duration::from_millis(whole), "{pause:?} of {whole}");
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
