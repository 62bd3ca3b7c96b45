//! What the caller says: what to measure, and how much of it.

use anyhow::Context as _;

/// The words of the command line.
pub(crate) struct Options {
    words: Vec<String>,
}

impl Options {
    pub(crate) fn from_command_line() -> Self {
        Self { words: std::env::args().skip(1).collect() }
    }

    /// What to measure.
    pub(crate) fn name(&self) -> &str {
        self.words.iter().find(|word| !word.starts_with("--")).map_or("", String::as_str)
    }

    /// Whether each measurement is to be one JSON object.
    pub(crate) fn json(&self) -> bool {
        self.words.iter().any(|word| word == "--json")
    }

    /// `--name=NUMBER`, or `default`.
    pub(crate) fn number(&self, name: &str, default: u64) -> anyhow::Result<u64> {
        let given = self.words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        given.map_or(Ok(default), |text| {
            text.parse().with_context(|| format!("{name}: got {text:?}, expected a number"))
        })
    }
}
