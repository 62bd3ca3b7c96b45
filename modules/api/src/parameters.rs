//! The parameters a module gets from the manifest.

use std::fmt::Display;
use std::str::FromStr;

use mezzo_proto::v1::Parameter;

use crate::ModuleError;

/// Keys and values from the manifest, in its order.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    entries: Vec<Parameter>,
}

impl Parameters {
    /// These entries.
    pub fn new(entries: Vec<Parameter>) -> Self {
        Self { entries }
    }

    /// From pairs; for tests.
    pub fn from_pairs(pairs: &[(&str, &str)]) -> Self {
        let entry =
            |(key, value): &(&str, &str)| Parameter { key: (*key).into(), value: (*value).into() };
        Self { entries: pairs.iter().map(entry).collect() }
    }

    /// The last value under this key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.iter().rev().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
    }

    /// All values under this key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.entries.iter().filter(move |entry| entry.key == key).map(|entry| entry.value.as_str())
    }

    /// The value under this key, read as a `T`; an error names the key, the value and what was expected.
    ///
    /// # Errors
    /// When the value does not read as a `T`.
    pub fn parse<T: FromStr<Err: Display>>(&self, key: &str) -> Result<Option<T>, ModuleError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.parse().map(Some).map_err(|error| {
            ModuleError::invalid(format!("parameter `{key}` is `{value}`: {error}"))
        })
    }

    /// Refuses every key that is not in `known`: a misspelt parameter is found at start, not after the first loss.
    ///
    /// # Errors
    /// For the first unknown key, naming it and what is known.
    pub fn allow_only(&self, known: &[&str]) -> Result<(), ModuleError> {
        let Some(entry) = self.entries.iter().find(|entry| !known.contains(&entry.key.as_str()))
        else {
            return Ok(());
        };
        let expected = if known.is_empty() {
            "no parameters".to_owned()
        } else {
            format!("one of `{}`", known.join("`, `"))
        };
        Err(ModuleError::invalid(format!("unknown parameter `{}`, expected {expected}", entry.key)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn an_unknown_parameter_is_named_with_what_is_known() {
        let parameters = Parameters::from_pairs(&[("cgroup_root", "x")]);
        let error = parameters.allow_only(&["cgroups_root"]).unwrap_err();
        assert_eq!(
            error.message,
            "unknown parameter `cgroup_root`, expected one of `cgroups_root`"
        );
    }

    #[test]
    fn a_wrong_value_is_told_with_its_key() {
        let parameters = Parameters::from_pairs(&[("interval", "soon")]);
        let error = parameters.parse::<u32>("interval").unwrap_err();
        assert!(error.message.starts_with("parameter `interval` is `soon`: "), "{error}");
        assert_eq!(parameters.parse::<u32>("other").unwrap(), None);
    }
}
