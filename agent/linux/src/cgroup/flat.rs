//! Files of `key value` lines: `memory.stat`, `cpu.stat`, `memory.events`, `cpuacct.stat`.

use std::path::Path;

use crate::{Error, Result, file};

/// The lines of a flat-keyed file in their order (a person reads `memory.stat` in a failure message).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlatKeyed {
    entries: Vec<(String, u64)>,
}

impl FlatKeyed {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        Self::parse(path, &file::read(path)?)
    }

    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self> {
        let mut entries = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let parsed = line
                .split_once(' ')
                .and_then(|(key, value)| Some((key.to_owned(), value.trim().parse().ok()?)));
            entries.push(
                parsed.ok_or_else(|| Error::malformed(path, line, "lines of \"key number\""))?,
            );
        }
        Ok(Self { entries })
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<u64> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    /// All lines in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), *value))
    }
}

impl std::fmt::Display for FlatKeyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (key, value) in self.iter() {
            writeln!(f, "{key} {value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_order_and_print_as_they_were() {
        let text = "cache 0\nrss 4096\ntotal_rss 8192\n";
        let parsed = FlatKeyed::parse(Path::new("memory.stat"), text).unwrap();
        assert_eq!(parsed.get("total_rss"), Some(8192));
        assert_eq!(parsed.get("none"), None);
        assert_eq!(parsed.to_string(), text);
    }

    #[test]
    fn a_line_without_number_names_the_file() {
        let error = FlatKeyed::parse(Path::new("/x/cpu.stat"), "nr_periods many\n").unwrap_err();
        assert!(error.to_string().contains("/x/cpu.stat"), "{error}");
    }
}
