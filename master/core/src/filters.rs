//! For how long a declined offer hides.

use mezzo_proto::v1::Filters;

/// Seconds, when nothing or nonsense is said.
const DEFAULT: f64 = 5.0;
/// Seconds: 365 days.
const MAX: f64 = 365.0 * 24.0 * 3600.0;

/// The seconds that a decline hides an offer for; none for no filter at all.
///
/// A missing message counts as the default, as does a negative number or one that is none; more
/// than 365 days counts as 365 days.
pub(crate) fn refuse_seconds(filters: Option<&Filters>) -> Option<f64> {
    let seconds = filters.map_or(DEFAULT, Filters::refuse_seconds);
    let seconds = if seconds.is_nan() || seconds < 0.0 { DEFAULT } else { seconds.min(MAX) };
    (seconds > 0.0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seconds: f64) -> Option<f64> {
        refuse_seconds(Some(&Filters { refuse_seconds: Some(seconds) }))
    }

    #[test]
    fn no_filters_mean_five_seconds() {
        assert_eq!(refuse_seconds(None), Some(5.0));
        assert_eq!(refuse_seconds(Some(&Filters { refuse_seconds: None })), Some(5.0));
    }

    #[test]
    fn zero_means_no_filter() {
        assert_eq!(of(0.0), None);
    }

    #[test]
    fn nonsense_means_five_seconds_and_too_much_means_a_year() {
        assert_eq!(of(-1.0), Some(5.0));
        assert_eq!(of(f64::NAN), Some(5.0));
        assert_eq!(of(f64::NEG_INFINITY), Some(5.0));
        assert_eq!(of(f64::INFINITY), Some(365.0 * 86_400.0));
        assert_eq!(of(1e300), Some(365.0 * 86_400.0));
    }
}
