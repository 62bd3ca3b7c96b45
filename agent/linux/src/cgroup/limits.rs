//! From what a task asked for (cpus, bytes) to what the kernel is told. Pure arithmetic, safe for any input.

use std::time::Duration;

/// The scheduling period of CPU quotas.
pub const CPU_PERIOD: Duration = Duration::from_millis(100);
/// The smallest quota per period; the kernel refuses less.
pub const MIN_CPU_QUOTA: Duration = Duration::from_millis(1);
/// The least memory a container is ever given; less could not even start.
pub const MIN_MEMORY_BYTES: u64 = 32 * 1024 * 1024;

/// How much CPU time per [`CPU_PERIOD`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuQuota {
    /// At most this much.
    At(Duration),
    /// As much as there is.
    Unlimited,
}

/// Version-1 `cpu.shares`: 1024 per cpu, at least 2 (the kernel's minimum), at most 262144 (its maximum).
#[must_use]
pub fn cpu_shares(cpus: f64) -> u64 {
    scaled(cpus, 1024.0, 2, 262_144)
}

/// Version-2 `cpu.weight`: 100 per cpu, at least 1, at most 10000 (the kernel's maximum).
#[must_use]
pub fn cpu_weight(cpus: f64) -> u64 {
    scaled(cpus, 100.0, 1, 10_000)
}

/// The quota for a number of cpus; an infinite number is unlimited.
#[must_use]
pub fn cpu_quota(cpus: f64) -> CpuQuota {
    if cpus == f64::INFINITY {
        return CpuQuota::Unlimited;
    }
    // A million cpus is more than any machine has and far below what a Duration can hold.
    let cpus = if cpus.is_nan() { 0.0 } else { cpus.clamp(0.0, 1e6) };
    CpuQuota::At(CPU_PERIOD.mul_f64(cpus).max(MIN_CPU_QUOTA))
}

/// A memory amount with the floor applied.
#[must_use]
pub fn memory_bytes(bytes: u64) -> u64 {
    bytes.max(MIN_MEMORY_BYTES)
}

/// How willingly the kernel kills a burstable task when the *machine* runs out: the less of it was requested, the sooner.
#[must_use]
pub fn oom_score_adj(requested_bytes: u64, total_bytes: u64) -> i32 {
    if total_bytes == 0 {
        return 0;
    }
    let share = u128::from(requested_bytes.min(total_bytes)) * 1000 / u128::from(total_bytes);
    1000 - i32::try_from(share).unwrap_or(1000)
}

fn scaled(amount: f64, per_unit: f64, least: u64, most: u64) -> u64 {
    // A float-to-int cast saturates and maps NaN to 0, so no input can leave the bounds.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "floor is the rule, clamped right after"
    )]
    let floor = (amount * per_unit).floor() as u64;
    floor.clamp(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_1024_per_cpu_with_a_floor_of_two() {
        assert_eq!(cpu_shares(1.0), 1024);
        assert_eq!(cpu_shares(0.1), 102);
        assert_eq!(cpu_shares(0.001), 2);
        assert_eq!(cpu_shares(-4.0), 2);
        assert_eq!(cpu_shares(f64::NAN), 2);
        assert_eq!(cpu_shares(f64::INFINITY), 262_144);
    }

    #[test]
    fn weight_is_100_per_cpu_with_a_floor_of_one() {
        assert_eq!(cpu_weight(2.5), 250);
        assert_eq!(cpu_weight(0.0), 1);
        assert_eq!(cpu_weight(1e9), 10_000);
    }

    #[test]
    fn quota_is_a_tenth_of_a_second_per_cpu_and_at_least_one_millisecond() {
        assert_eq!(cpu_quota(0.5), CpuQuota::At(Duration::from_millis(50)));
        assert_eq!(cpu_quota(4.0), CpuQuota::At(Duration::from_millis(400)));
        assert_eq!(cpu_quota(0.001), CpuQuota::At(MIN_CPU_QUOTA));
        assert_eq!(cpu_quota(f64::NAN), CpuQuota::At(MIN_CPU_QUOTA));
        assert_eq!(cpu_quota(f64::NEG_INFINITY), CpuQuota::At(MIN_CPU_QUOTA));
        assert_eq!(cpu_quota(f64::INFINITY), CpuQuota::Unlimited);
    }

    #[test]
    fn memory_is_never_below_32_mb() {
        assert_eq!(memory_bytes(0), 33_554_432);
        assert_eq!(memory_bytes(1 << 30), 1 << 30);
    }

    #[test]
    fn who_requested_little_is_killed_first() {
        assert_eq!(oom_score_adj(0, 1 << 30), 1000);
        assert_eq!(oom_score_adj(1 << 29, 1 << 30), 500);
        assert_eq!(oom_score_adj(u64::MAX, 1 << 30), 0);
        assert_eq!(oom_score_adj(1, 0), 0);
    }
}
