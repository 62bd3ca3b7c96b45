//! The one shape of "this field of your message is wrong": where, what was found, what was expected.
//!
//! Every conversion from the wire answers with it, so that whoever sent a wrong message is told
//! which field to change and to what.

use std::borrow::Cow;
use std::fmt;

/// How much of a wrong value is repeated in a message; ids and texts from the wire can be huge.
const LONGEST: usize = 80;

/// A field of a message that holds something it must not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: expected {expected}, found {found}")]
pub struct InvalidField {
    /// Where, as in `resources[2].scalar.value`.
    pub path: String,
    /// What was there (shortened when long).
    pub found: String,
    /// What would have been right.
    pub expected: Cow<'static, str>,
}

impl InvalidField {
    /// `path` holds `found`, but should hold `expected`.
    pub fn new(
        path: impl Into<String>,
        found: impl fmt::Display,
        expected: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { path: path.into(), found: shorten(&found.to_string()), expected: expected.into() }
    }

    /// The same error seen from the message that holds this one: `within("task_infos[0]")` turns
    /// `resources[2].name` into `task_infos[0].resources[2].name`.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        if self.path.is_empty() {
            self.path.push_str(outer);
        } else if !outer.is_empty() {
            let dot = if self.path.starts_with('[') { "" } else { "." };
            self.path = format!("{outer}{dot}{}", self.path);
        }
        self
    }
}

/// Quotes text of unknown origin for a message: no control characters, no more than a line.
pub(crate) fn quote(text: &str) -> String {
    format!("{:?}", Short(text))
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}… ({} bytes)", text.get(..at).unwrap_or(""), text.len()),
    }
}

struct Short<'a>(&'a str);

impl fmt::Debug for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(LONGEST) {
            None => write!(f, "{:?}", self.0),
            Some((at, _)) => {
                write!(f, "{:?}… ({} bytes)", self.0.get(..at).unwrap_or(""), self.0.len())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_joins_paths_with_dots_but_not_before_an_index() {
        let error = InvalidField::new("[2].name", "\"\"", "a name");
        assert_eq!(error.clone().within("resources").path, "resources[2].name");
        assert_eq!(error.within("resources").within("task").path, "task.resources[2].name");
        assert_eq!(InvalidField::new("", 1, "2").within("x").to_string(), "x: expected 2, found 1");
    }

    #[test]
    fn a_huge_value_is_shortened_at_a_character_boundary() {
        let error = InvalidField::new("id", "ü".repeat(4096), "less");
        assert!(error.found.ends_with("… (8192 bytes)"), "{}", error.found);
        assert!(error.found.len() < 250);
        assert!(quote(&"\n".repeat(4096)).len() < 250);
    }
}
