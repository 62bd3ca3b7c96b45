//! One measurement: many values of one thing, told by their middle and their tail.

use std::io::Write;

use serde_json::{Value, json};

/// Values of one thing.
#[derive(Clone, Debug)]
pub(crate) struct Measurement {
    /// What was measured, such as `launch/accept_to_running`.
    pub(crate) name: &'static str,
    /// How: everything one needs to measure it again.
    pub(crate) parameters: Value,
    /// Of the values.
    pub(crate) unit: &'static str,
    /// In the order they were taken.
    pub(crate) values: Vec<f64>,
    /// The same thing without a cluster, in the same run.
    pub(crate) baseline: Option<Box<Measurement>>,
}

impl Measurement {
    /// The middle.
    pub(crate) fn p50(&self) -> f64 {
        percentile(&self.values, 50)
    }

    /// The tail. (Of few values it is the worst one. For rates the tail is the slow end.)
    pub(crate) fn p99(&self) -> f64 {
        percentile(&self.values, if self.unit.ends_with("/s") { 1 } else { 99 })
    }

    /// One object.
    pub(crate) fn json(&self) -> Value {
        json!({
            "name": self.name,
            "parameters": self.parameters,
            "unit": self.unit,
            "p50": rounded(self.p50()),
            "p99": rounded(self.p99()),
            "runs": self.values.len(),
            "baseline": self.baseline.as_ref().map(|baseline| baseline.json()),
        })
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let Self { name, unit, values, .. } = self;
        let runs = values.len();
        let (p50, p99) = (rounded(self.p50()), rounded(self.p99()));
        let baseline = self.baseline.as_ref().map_or_else(String::new, |b| {
            format!("; baseline {}: p50 {} p99 {}", b.name, rounded(b.p50()), rounded(b.p99()))
        });
        format!("{name}: p50 {p50} {unit}, p99 {p99} {unit} ({runs} runs{baseline})")
    }
}

/// The smallest value that is not below `percent` of all.
fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).or(sorted.last()).copied().unwrap_or(f64::NAN)
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Writes a line, whoever may have stopped reading.
pub(crate) fn write_line(out: &mut dyn Write, line: &str) {
    // A reader that went away is no reason to fail.
    let _ = writeln!(out, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 50).total_cmp(&50.0), std::cmp::Ordering::Equal);
        assert_eq!(percentile(&hundred, 99).total_cmp(&99.0), std::cmp::Ordering::Equal);
        assert_eq!(percentile(&[7.0], 99).total_cmp(&7.0), std::cmp::Ordering::Equal);
        assert!(percentile(&[], 50).is_nan());
    }
}
