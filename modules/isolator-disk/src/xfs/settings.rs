//! The parameters of `disk/xfs`.

use std::time::Duration;

use mezzo_linux::project_quota::Limits;
use mezzo_module_api::model::{Range, Ranges};
use mezzo_module_api::{ModuleError, Parameters};

/// How far a container that is ended for it may go over its quota before writing fails, unless told: enough to be seen over it,
/// and not to fill the disk between two looks.
const HEADROOM: u64 = 10 << 20;

const KNOWN: [&str; 6] = [
    "container_disk_watch_interval",
    "disk_watch_interval",
    "enforce_container_disk_quota",
    "xfs_kill_containers",
    "xfs_project_range",
    "xfs_quota_headroom",
];
const A_RANGE: &str = "numbers from 1 to 4294967294 such as [5000-10000] or [10-19,30-39]";

/// What happens to who uses more than its quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Nothing.
    Count,
    /// Writing fails.
    Refuse,
    /// It is ended; and writing fails so many bytes above the quota.
    End { headroom: u64 },
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) policy: Policy,
    /// The numbers that may be given to directories; nobody else on the machine uses them.
    pub(crate) projects: Ranges,
    /// Between two looks for containers to end.
    pub(crate) watch_interval: Duration,
    /// Between two looks for numbers that have become free.
    pub(crate) reclaim_interval: Duration,
}

impl Settings {
    pub(crate) fn new(parameters: &Parameters) -> Result<Self, ModuleError> {
        parameters.allow_only(&KNOWN)?;
        let enforce = parameters.parse("enforce_container_disk_quota")?.unwrap_or(false);
        let end = parameters.parse("xfs_kill_containers")?.unwrap_or(false);
        let policy = match (enforce, end) {
            (false, _) => Policy::Count,
            (true, false) => Policy::Refuse,
            (true, true) => {
                Policy::End { headroom: parameters.size("xfs_quota_headroom")?.unwrap_or(HEADROOM) }
            }
        };
        let interval = |key, default| Ok(parameters.interval(key)?.unwrap_or(default));
        Ok(Self {
            policy,
            projects: project_range(parameters.get("xfs_project_range").unwrap_or("[5000-10000]"))?,
            watch_interval: interval("container_disk_watch_interval", Duration::from_secs(15))?,
            reclaim_interval: interval("disk_watch_interval", Duration::from_secs(60))?,
        })
    }
}

impl Policy {
    /// What the kernel is told of a quota in bytes; without one there is no limit.
    pub(crate) fn limits(self, quota: Option<u64>) -> Limits {
        let Some(quota) = quota else { return Limits::default() };
        match self {
            Self::Count => Limits::default(),
            Self::Refuse => Limits { soft: Some(quota), hard: Some(quota) },
            Self::End { headroom } => {
                Limits { soft: Some(quota), hard: Some(quota.saturating_add(headroom)) }
            }
        }
    }
}

/// Reads `[5000-10000]`. Project 0 is none, and the last number means the same in some programs.
fn project_range(text: &str) -> Result<Ranges, ModuleError> {
    let wrong = || {
        ModuleError::invalid(format!(
            "parameter `xfs_project_range` is `{text}`, expected {A_RANGE}"
        ))
    };
    let inside = text.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let mut ranges = Vec::new();
    for range in inside.ok_or_else(wrong)?.split(',') {
        let (begin, end) = range.split_once('-').ok_or_else(wrong)?;
        let number = |text: &str| match text.trim().parse::<u32>() {
            Ok(number) if (1..u32::MAX).contains(&number) => Ok(u64::from(number)),
            _ => Err(wrong()),
        };
        ranges.push(Range { begin: number(begin)?, end: number(end)? });
    }
    Ranges::from_disjoint(ranges).map_err(|error| {
        ModuleError::invalid(format!("parameter `xfs_project_range` is `{text}`: {error}"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::new(&Parameters::from_pairs(pairs)).map_err(|error| error.message)
    }

    #[test]
    fn without_parameters_disk_is_counted_with_the_known_range() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.policy, Policy::Count);
        assert_eq!(settings.projects, Ranges::single(5000, 10_000));
        assert_eq!(settings.watch_interval, Duration::from_secs(15));
        assert_eq!(settings.policy.limits(Some(7)), Limits::default());
    }

    #[test]
    fn who_is_ended_for_it_gets_headroom_to_be_seen() {
        let flags = [("enforce_container_disk_quota", "true"), ("xfs_kill_containers", "true")];
        let end = settings(&flags).unwrap().policy;
        assert_eq!(end, Policy::End { headroom: 10 << 20 });
        let quota = 5 << 20;
        assert_eq!(end.limits(Some(quota)), Limits { soft: Some(quota), hard: Some(15 << 20) });
        let all = [flags[0], flags[1], ("xfs_quota_headroom", "1MB")];
        assert_eq!(settings(&all).unwrap().policy, Policy::End { headroom: 1 << 20 });
        let refuse = settings(&flags[..1]).unwrap().policy;
        assert_eq!(refuse.limits(Some(quota)), Limits { soft: Some(quota), hard: Some(quota) });
        assert_eq!(refuse.limits(None), Limits::default());
        assert_eq!(settings(&flags[1..]).unwrap().policy, Policy::Count, "nothing is enforced");
    }

    #[test]
    fn ranges_that_are_none_are_told_with_the_value() {
        let range = |text: &str| settings(&[("xfs_project_range", text)]);
        assert_eq!(range("[10-19, 30-39]").unwrap().projects.count(), 20);
        for wrong in ["", "5000", "5000-6000", "[]", "[0-5]", "[5-x]", "[5000]", "[1-4294967295]"] {
            let message = range(wrong).unwrap_err();
            assert!(message.contains(&format!("is `{wrong}`, expected numbers")), "{message}");
        }
        assert!(range("[9-5]").unwrap_err().contains("begins after its end"));
        assert!(range("[1-5,5-9]").unwrap_err().contains("overlap"));
    }
}
