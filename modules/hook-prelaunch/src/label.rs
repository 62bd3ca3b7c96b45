//! Labels as an operator writes them.

use std::fmt;

use mezzo_module_api::ModuleError;
use mezzo_proto::v1::Label;

/// `key`: any label of that key; `key=value`: that label.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    key: String,
    value: Option<String>,
}

impl Pattern {
    pub(crate) fn parse(parameter: &str, text: &str) -> Result<Self, ModuleError> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        if key.is_empty() {
            return Err(ModuleError::invalid(format!(
                "parameter `{parameter}` is `{text}`, expected `key` or `key=value`"
            )));
        }
        Ok(Self { key: key.to_owned(), value })
    }

    pub(crate) fn matches(&self, label: &Label) -> bool {
        label.key == self.key
            && self.value.as_ref().is_none_or(|value| label.value.as_ref() == Some(value))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        self.value.as_ref().map_or(Ok(()), |value| write!(f, "={value}"))
    }
}
