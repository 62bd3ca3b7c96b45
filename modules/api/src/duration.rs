//! Durations and sizes in parameters, as flags write them: a number and a unit, no space (`10secs`, `1.5hrs`, `512MB`).
//!
//! A module cannot see the crate that reads the processes' flags, and the same text may reach it from there.

use std::time::Duration;

use crate::{ModuleError, Parameters};

const A_DURATION: &str =
    "a duration such as 5secs (units: ns, us, ms, secs, mins, hrs, days, weeks)";
const AN_INTERVAL: &str = "a duration above 0, such as 5secs";
const A_SIZE: &str = "a size such as 512MB (units: B, KB, MB, GB, TB; 1KB is 1024 bytes)";

/// Unit names with their length in nanoseconds.
const DURATION_UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("secs", 1_000_000_000),
    ("mins", 60_000_000_000),
    ("hrs", 3_600_000_000_000),
    ("days", 86_400_000_000_000),
    ("weeks", 604_800_000_000_000),
];

/// Unit names with their number of bytes.
const SIZE_UNITS: [(&str, u64); 5] =
    [("B", 1), ("KB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30), ("TB", 1 << 40)];

impl Parameters {
    /// The duration under this key: `10secs`.
    ///
    /// # Errors
    /// When the value is no duration, naming the key, the value and the units.
    pub fn duration(&self, key: &str) -> Result<Option<Duration>, ModuleError> {
        Ok(self.scaled(key, &DURATION_UNITS, A_DURATION)?.map(Duration::from_nanos))
    }

    /// As [`Parameters::duration`], for something done again and again: it may not be zero.
    ///
    /// # Errors
    /// When the value is no duration, or zero.
    pub fn interval(&self, key: &str) -> Result<Option<Duration>, ModuleError> {
        let interval = self.duration(key)?;
        if interval.is_some_and(|interval| interval.is_zero()) {
            return Err(wrong(key, self.get(key).unwrap_or_default(), AN_INTERVAL));
        }
        Ok(interval)
    }

    /// The size under this key in bytes: `512MB`.
    ///
    /// # Errors
    /// When the value is no size, naming the key, the value and the units.
    pub fn size(&self, key: &str) -> Result<Option<u64>, ModuleError> {
        self.scaled(key, &SIZE_UNITS, A_SIZE)
    }

    fn scaled(
        &self,
        key: &str,
        units: &[(&str, u64)],
        expected: &str,
    ) -> Result<Option<u64>, ModuleError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        scaled(value, units).map(Some).ok_or_else(|| wrong(key, value, expected))
    }
}

fn wrong(key: &str, value: &str, expected: &str) -> ModuleError {
    ModuleError::invalid(format!("parameter `{key}` is `{value}`, expected {expected}"))
}

/// Reads `number unit`: exact for whole numbers, to the nearest smallest unit for fractions. `None` also when it does not fit.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.find(|c: char| c.is_ascii_alphabetic())?)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !fraction.is_none_or(digits) {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(*factor)?;
    let fraction: f64 = format!("0.{}", fraction.unwrap_or("0")).parse().ok()?;
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the factor, which is far below 2^53"
    )]
    let rest = (fraction * (*factor as f64)).round() as u64;
    whole.checked_add(rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn with(value: &str) -> Parameters {
        Parameters::from_pairs(&[("key", value)])
    }

    #[test]
    fn durations_are_a_number_and_a_unit() {
        let read = |text: &str| with(text).duration("key").unwrap().unwrap();
        assert_eq!(read("10secs"), Duration::from_secs(10));
        assert_eq!(read("1.5mins"), Duration::from_secs(90));
        assert_eq!(read("0ns"), Duration::ZERO);
        assert_eq!(read("250ms"), Duration::from_millis(250));
        assert_eq!(read("2weeks"), Duration::from_secs(1_209_600));
        assert_eq!(with("1secs").duration("other").unwrap(), None);
    }

    #[test]
    fn sizes_are_counted_in_1024() {
        let read = |text: &str| with(text).size("key").unwrap().unwrap();
        assert_eq!(read("512MB"), 512 << 20);
        assert_eq!(read("1.5KB"), 1536);
        assert_eq!(read("0B"), 0);
    }

    #[test]
    fn what_is_no_duration_is_told_with_its_key() {
        for wrong in [
            "",
            "10",
            "secs",
            "10 secs",
            "-1secs",
            "+1secs",
            "1.secs",
            ".5secs",
            "1e3secs",
            "10sec",
            "1.2.3secs",
            "99999999999999weeks",
            "1secs ",
            "10MB",
        ] {
            let message = with(wrong).duration("key").unwrap_err().message;
            assert!(
                message.starts_with(&format!(
                    "parameter `key` is `{wrong}`, expected a duration such"
                )),
                "{message}"
            );
        }
        assert!(with("10secs").size("key").unwrap_err().message.contains("a size such as"));
    }

    #[test]
    fn an_interval_of_nothing_is_refused() {
        assert!(with("0secs").interval("key").unwrap_err().message.contains("above 0"));
        assert_eq!(with("1ms").interval("key").unwrap(), Some(Duration::from_millis(1)));
    }
}
