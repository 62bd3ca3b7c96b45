//! How much CPU a tree of processes uses. Pure: times come in.
//!
//! The percentage is of one CPU: three busy ones are 300. It compares what the processes that live *now* have used in all their
//! lives with what those that lived at the last sample had. So when a process ends its time is gone from the sum, and the
//! percentage can be negative. The monitor knows: see [`crate::monitor`].

/// Ticks that have to pass between two samples.
const LEAST_TICKS: u64 = 10;

/// The percentage, sample by sample.
#[derive(Debug, Default)]
pub(crate) struct CpuTracker {
    /// Time and CPU time of the sample that the next one is compared to, in milliseconds.
    last: Option<(u64, i128)>,
    percent: Option<f64>,
}

impl CpuTracker {
    /// A sample: at this moment the processes that live have used so many ticks. The percentage since the last sample;
    /// the last one when too little time has passed; `None` before there are two.
    pub(crate) fn sample(&mut self, now_millis: u64, ticks: u64, tick_millis: u64) -> Option<f64> {
        let used = i128::from(ticks) * i128::from(tick_millis);
        match self.last {
            Some((then, before)) if then <= now_millis => {
                let passed = now_millis - then;
                if passed > LEAST_TICKS.saturating_mul(tick_millis) {
                    #[allow(
                        clippy::cast_precision_loss,
                        reason = "milliseconds of CPU time are exact far beyond any uptime"
                    )]
                    let percent = (used - before) as f64 * 100.0 / passed as f64;
                    self.percent = Some(percent);
                    self.last = Some((now_millis, used));
                }
            }
            // The first one, or the clock went back.
            _ => self.last = Some((now_millis, used)),
        }
        self.percent
    }

    /// What the last sample said.
    pub(crate) fn percent(&self) -> Option<f64> {
        self.percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u64 = 10;

    #[test]
    fn a_percentage_takes_two_samples_more_than_ten_ticks_apart() {
        let mut cpu = CpuTracker::default();
        assert_eq!(cpu.sample(1_000, 0, TICK), None);
        assert_eq!(cpu.sample(1_100, 50, TICK), None, "exactly ten ticks are not more");
        assert_eq!(cpu.sample(1_101, 303, TICK), Some(3000.0), "from the first sample on");
        assert_eq!(cpu.sample(1_150, 900, TICK), Some(3000.0), "too early: the last one");
        assert_eq!(cpu.sample(2_101, 403, TICK), Some(100.0));
        assert_eq!(cpu.sample(3_101, 403, TICK), Some(0.0));
    }

    #[test]
    fn the_end_of_a_process_can_make_it_negative() {
        let mut cpu = CpuTracker::default();
        cpu.sample(0, 500, TICK);
        assert_eq!(cpu.sample(1_000, 400, TICK), Some(-100.0));
        assert_eq!(cpu.sample(2_000, 450, TICK), Some(50.0));
    }

    #[test]
    fn a_clock_that_goes_back_starts_a_new_sample() {
        let mut cpu = CpuTracker::default();
        cpu.sample(5_000, 0, TICK);
        assert_eq!(cpu.sample(6_000, 50, TICK), Some(50.0));
        assert_eq!(cpu.sample(1_000, 60, TICK), Some(50.0), "the last one, and a new start");
        assert_eq!(cpu.sample(2_000, 70, TICK), Some(10.0));
    }
}
