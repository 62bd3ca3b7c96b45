//! How resources are shown: to people as the flag takes them, to programs as a JSON object.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value as Json};

use super::Resources;
use crate::{Ranges, Scalar, Set};

/// `cpus:2;mem:1024;ports:[31000-32000]`
impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, resource) in self.iter().enumerate() {
            write!(f, "{}{resource}", if n == 0 { "" } else { ";" })?;
        }
        Ok(())
    }
}

impl Resources {
    /// The object that the JSON endpoints show: cpus, gpus, mem and disk always, other numbers when
    /// there are some, ranges as `"[1-2, 4-5]"`, sets as `"{a, b}"`; revocable ones apart, with the
    /// suffix `_revocable`.
    pub fn summary(&self) -> Map<String, Json> {
        let mut scalars: BTreeMap<String, Scalar> =
            ["cpus", "gpus", "mem", "disk"].map(|name| (name.to_owned(), Scalar::ZERO)).into();
        let mut ranges: BTreeMap<String, Ranges> = BTreeMap::new();
        let mut sets: BTreeMap<String, Set> = BTreeMap::new();
        for resource in self {
            let suffix = if resource.is_revocable() { "_revocable" } else { "" };
            let key = format!("{}{suffix}", resource.name());
            if let Some(more) = resource.as_ranges() {
                ranges.entry(key).or_default().insert(more);
            } else if let Some(more) = resource.as_set() {
                sets.entry(key).or_default().insert(more);
            } else {
                *scalars.entry(key).or_default() += resource.quantity();
            }
        }
        let spaced = |text: String| Json::from(text.replace(',', ", "));
        let mut object = Map::new();
        object.extend(scalars.into_iter().map(|(key, sum)| (key, number(sum))));
        object.extend(ranges.into_iter().map(|(key, ranges)| (key, spaced(ranges.to_string()))));
        object.extend(sets.into_iter().map(|(key, set)| {
            let items: Vec<_> = set.iter().collect();
            (key, Json::from(format!("{{{}}}", items.join(", "))))
        }));
        object
    }
}

/// A number without decimals is written without them.
pub(crate) fn number(scalar: Scalar) -> Json {
    if scalar.millis() % 1000 == 0 {
        Json::from(scalar.trunc())
    } else {
        Json::from(scalar.to_f64())
    }
}
