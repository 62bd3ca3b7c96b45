//! Durations and sizes as people write them in flags: a number and a unit, no space.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A value that is not a number followed by a known unit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct ParseUnitError {
    expected: &'static str,
}

const A_DURATION: &str =
    "a duration such as 5secs (units: ns, us, ms, secs, mins, hrs, days, weeks)";
const A_POSITIVE_DURATION: &str = "a duration above 0, such as 5secs";
const A_SIZE: &str = "a size such as 512MB (units: B, KB, MB, GB, TB; 1KB is 1024 bytes)";

/// Unit names with their length in nanoseconds, longest first.
const DURATION_UNITS: [(&str, u64); 8] = [
    ("weeks", 604_800_000_000_000),
    ("days", 86_400_000_000_000),
    ("hrs", 3_600_000_000_000),
    ("mins", 60_000_000_000),
    ("secs", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Unit names with their number of bytes, largest first.
const SIZE_UNITS: [(&str, u64); 5] =
    [("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10), ("B", 1)];

/// A duration flag: `5secs`, `1.5hrs`, `100ms`, `2weeks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DurationArg(pub Duration);

impl DurationArg {
    /// Reads a duration that may not be zero, for a flag with `value_parser = DurationArg::positive`:
    /// something that happens at every such interval.
    ///
    /// # Errors
    /// When it is zero, or no duration.
    pub fn positive(text: &str) -> Result<Self, ParseUnitError> {
        let duration: Self = text.parse()?;
        if duration.0.is_zero() {
            return Err(ParseUnitError { expected: A_POSITIVE_DURATION });
        }
        Ok(duration)
    }

    /// The duration.
    #[must_use]
    pub fn get(self) -> Duration {
        self.0
    }
}

impl From<DurationArg> for Duration {
    fn from(arg: DurationArg) -> Self {
        arg.0
    }
}

impl FromStr for DurationArg {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let nanos = scaled(text, &DURATION_UNITS).ok_or(ParseUnitError { expected: A_DURATION })?;
        Ok(Self(Duration::from_nanos(nanos)))
    }
}

impl fmt::Display for DurationArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        write_scaled(f, nanos, &DURATION_UNITS, "secs")
    }
}

/// A size flag: `512MB`, `2GB`, `10KB`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl Bytes {
    /// The number of bytes.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for Bytes {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        scaled(text, &SIZE_UNITS).map(Self).ok_or(ParseUnitError { expected: A_SIZE })
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(f, self.0, &SIZE_UNITS, "B")
    }
}

/// Reads `number unit`; exact for whole numbers, to the nearest smallest unit for fractions. None when it does not fit.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let start_of_unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at_checked(start_of_unit)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(*factor);
    }
    let (whole, fraction) = number.split_once('.')?;
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(*factor)?;
    let fraction: f64 = format!("0.{fraction}").parse().ok()?;
    // In [0, factor], and factor is far below 2^53: the conversion is exact enough and cannot overflow.
    whole.checked_add((fraction * (*factor as f64)).round() as u64)
}

/// Writes the value in the largest unit that keeps it whole.
fn write_scaled(
    f: &mut fmt::Formatter<'_>,
    value: u64,
    units: &[(&str, u64)],
    zero: &str,
) -> fmt::Result {
    let unit = units.iter().find(|(_, factor)| value != 0 && value.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) => write!(f, "{}{name}", value / factor),
        None => write!(f, "{value}{zero}"),
    }
}
