//! Amounts in fixed point: whole thousandths, as Mesos counts them.
//!
//! Doubles would let `0.1 + 0.2 - 0.3` be more than nothing, and an agent's last slivers would be
//! lost or given twice. Thousandths are exact, so `(a + b) - b` is `a`, always.
//!
//! **Invariant:** nothing here panics. What comes in from outside is at most [`Scalar::LARGEST`];
//! thousands of such values can be summed before the i64 is full, and then the sum stays at the
//! end of its range instead of wrapping round. Who must notice uses [`Scalar::checked_add`].

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};

/// A number with three decimals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scalar(i64);

/// A double that cannot be an amount.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScalarError {
    /// NaN or an infinity.
    #[error("{0} is not a finite number")]
    NotFinite(f64),
    /// Below zero.
    #[error("{0} is negative; the smallest amount is 0")]
    Negative(f64),
    /// So large that sums could overflow.
    #[error("{0:e} is too large; the largest amount is {max}", max = Scalar::LARGEST)]
    TooLarge(f64),
    /// Positive, but nothing once rounded to thousandths.
    #[error("{0:e} rounds to 0; the smallest amount above 0 is 0.001")]
    TooSmall(f64),
    /// Text that is no number.
    #[error("{0} is not a number")]
    NotANumber(String),
}

impl Scalar {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount that is taken from outside: a trillion (as MiB: an exbibyte).
    pub const LARGEST: Self = Self(1_000_000_000_000_000);

    /// That many thousandths.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// That many whole units; amounts beyond the range become its end.
    pub const fn from_int(units: i64) -> Self {
        Self(units.saturating_mul(1000))
    }

    /// The nearest thousandth, half away from zero. Refuses what cannot be an amount: NaN,
    /// infinities, negatives, more than [`Self::LARGEST`], and what is positive but rounds to 0.
    pub fn from_f64(value: f64) -> Result<Self, ScalarError> {
        if !value.is_finite() {
            return Err(ScalarError::NotFinite(value));
        }
        if value < 0.0 {
            return Err(ScalarError::Negative(value));
        }
        let millis = (value * 1000.0).round();
        if millis > Self::LARGEST.0 as f64 {
            return Err(ScalarError::TooLarge(value));
        }
        if millis == 0.0 && value > 0.0 {
            return Err(ScalarError::TooSmall(value));
        }
        Ok(Self(millis as i64))
    }

    /// Reads a number as people and flags write it: `2`, `0.5`, `1e3`.
    pub fn parse(text: &str) -> Result<Self, ScalarError> {
        // Rust's own parser would also take "inf", "nan" and "infinity": words, not amounts.
        let numeric = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
        match text.parse::<f64>() {
            Ok(value) if numeric => Self::from_f64(value),
            _ => Err(ScalarError::NotANumber(crate::invalid::quote(text))),
        }
    }

    /// The amount as a double, as messages carry it.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// The amount in thousandths.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// The whole units, rounded towards zero.
    pub const fn trunc(self) -> i64 {
        self.0 / 1000
    }

    /// Whether this is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Whether this is more than nothing.
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// The sum, if it fits.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, if it is not below zero.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).filter(|rest| *rest >= 0).map(Self)
    }

    /// The difference, but never below zero.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        self.checked_sub(other).unwrap_or_default()
    }

    /// That many times the amount; beyond the range it becomes the end of it.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self(self.0.saturating_mul(i64::from(count)))
    }
}

/// Stays at the end of the range instead of overflowing.
impl Add for Scalar {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Scalar {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Stays at the end of the range instead of overflowing; may go below zero.
impl Sub for Scalar {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl SubAssign for Scalar {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Scalar {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::ZERO, Add::add)
    }
}

impl From<u32> for Scalar {
    fn from(units: u32) -> Self {
        Self(i64::from(units) * 1000)
    }
}

/// The shortest decimal form: `2`, `0.5`, `0.001`.
impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (units, millis) = (self.0.unsigned_abs() / 1000, self.0.unsigned_abs() % 1000);
        if millis == 0 {
            return write!(f, "{sign}{units}");
        }
        let decimals = format!("{millis:03}");
        write!(f, "{sign}{units}.{}", decimals.trim_end_matches('0'))
    }
}

impl std::str::FromStr for Scalar {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        Self::parse(text)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rounding_is_to_thousandths_and_half_away_from_zero() {
        assert_eq!(Scalar::from_f64(0.0005).unwrap().millis(), 1);
        assert_eq!(Scalar::from_f64(1.0014).unwrap().millis(), 1001);
        assert_eq!(Scalar::from_f64(1.0015).unwrap().millis(), 1002);
        assert_eq!(Scalar::from_f64(-0.0).unwrap(), Scalar::ZERO);
    }

    #[test]
    fn tenths_add_up_exactly() {
        let third: Scalar = (0..3).map(|_| Scalar::from_f64(0.1).unwrap()).sum();
        assert_eq!(third, Scalar::from_f64(0.3).unwrap());
    }

    #[test]
    fn what_cannot_be_an_amount_is_refused_and_named() {
        let message = |value: f64| Scalar::from_f64(value).unwrap_err().to_string();
        assert_eq!(message(f64::NAN), "NaN is not a finite number");
        assert_eq!(message(f64::NEG_INFINITY), "-inf is not a finite number");
        assert_eq!(message(-1.0), "-1 is negative; the smallest amount is 0");
        assert_eq!(message(1e308), "1e308 is too large; the largest amount is 1000000000000");
        assert_eq!(message(1e-9), "1e-9 rounds to 0; the smallest amount above 0 is 0.001");
    }

    #[test]
    fn words_that_rust_takes_for_floats_are_not_numbers() {
        for text in ["inf", "nan", "NaN", "infinity", "", "0x10", "1,5", "1 "] {
            assert!(matches!(Scalar::parse(text), Err(ScalarError::NotANumber(_))), "{text}");
        }
        assert_eq!(Scalar::parse("1e3").unwrap(), Scalar::from_int(1000));
    }

    #[test]
    fn sums_stay_at_the_end_of_the_range() {
        let end = Scalar::from_millis(i64::MAX);
        assert_eq!(end + end, end);
        assert_eq!(end.checked_add(Scalar::from_millis(1)), None);
        assert_eq!(Scalar::from_int(i64::MAX), end);
        assert_eq!(Scalar::from_millis(i64::MIN).to_string(), "-9223372036854775.808");
    }

    proptest! {
        #[test]
        fn any_double_is_taken_or_refused_without_panic(bits: u64) {
            if let Ok(scalar) = Scalar::from_f64(f64::from_bits(bits)) {
                prop_assert!(scalar >= Scalar::ZERO && scalar <= Scalar::LARGEST);
            }
        }

        #[test]
        fn text_and_double_forms_round_trip(millis in 0..=Scalar::LARGEST.millis()) {
            let scalar = Scalar::from_millis(millis);
            prop_assert_eq!(Scalar::from_f64(scalar.to_f64()).unwrap(), scalar);
            prop_assert_eq!(Scalar::parse(&scalar.to_string()).unwrap(), scalar);
        }
    }
}
