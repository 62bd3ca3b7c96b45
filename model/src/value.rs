//! Values: what a resource or an attribute can be worth. A number, ranges, a set or a text.

use std::fmt;

use mezzo_proto::v1;

use crate::invalid::{InvalidField, quote};
use crate::{Range, Ranges, Scalar, Set};

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// A number with three decimals.
    Scalar(Scalar),
    /// A set of whole numbers.
    Ranges(Ranges),
    /// A set of names.
    Set(Set),
    /// Free text; attributes only.
    Text(String),
}

/// Text that is no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} is not a value: {problem}; expected a number, [from-to,…] or {{name,…}}")]
pub struct ValueError {
    /// The text, quoted and shortened.
    pub found: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Value {
    /// Reads a value as flags write it. Spaces mean nothing; what is neither a number nor in
    /// brackets is text.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let wrong = |problem: &str| ValueError { found: quote(text), problem: problem.to_owned() };
        let dense: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        if dense.is_empty() {
            return Err(wrong("it is empty"));
        }
        if !balanced(&dense) {
            return Err(wrong("its brackets do not match"));
        }
        if let Some(inner) = dense.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or_else(|| wrong("it goes on after ']'"))?;
            return parse_ranges(inner).map(Value::Ranges).map_err(|problem| wrong(&problem));
        }
        if let Some(inner) = dense.strip_prefix('{') {
            let inner = inner.strip_suffix('}').ok_or_else(|| wrong("it goes on after '}'"))?;
            if inner.contains(['{', '}']) {
                return Err(wrong("a set in a set"));
            }
            let items = inner.split(',').filter(|item| !item.is_empty());
            return Set::from_distinct(items).map(Value::Set).map_err(|e| wrong(&e.to_string()));
        }
        if dense.contains(['[', ']', '{', '}']) {
            return Err(wrong("brackets inside of it"));
        }
        Ok(Scalar::parse(&dense).map_or(Value::Text(dense), Value::Scalar))
    }

    /// The number, if it is one.
    pub fn as_scalar(&self) -> Option<Scalar> {
        if let Self::Scalar(scalar) = self { Some(*scalar) } else { None }
    }

    /// The ranges, if it is some.
    pub fn as_ranges(&self) -> Option<&Ranges> {
        if let Self::Ranges(ranges) = self { Some(ranges) } else { None }
    }

    /// The set, if it is one.
    pub fn as_set(&self) -> Option<&Set> {
        if let Self::Set(set) = self { Some(set) } else { None }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

fn balanced(text: &str) -> bool {
    let mut open = Vec::new();
    text.chars().all(|c| match c {
        '[' | '{' => {
            open.push(c);
            true
        }
        ']' => open.pop() == Some('['),
        '}' => open.pop() == Some('{'),
        _ => true,
    }) && open.is_empty()
}

fn parse_ranges(text: &str) -> Result<Ranges, String> {
    let number = |text: &str| {
        // Rust would also take a leading '+'.
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let parsed = if digits { text.parse::<u64>().ok() } else { None };
        parsed.ok_or_else(|| format!("{} is not a whole number up to {}", quote(text), u64::MAX))
    };
    let mut ranges = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (begin, end) = part
            .split_once('-')
            .ok_or_else(|| format!("{} is not a range such as 31000-32000", quote(part)))?;
        ranges.push(Range { begin: number(begin)?, end: number(end)? });
    }
    Ranges::from_disjoint(ranges).map_err(|error| error.to_string())
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(scalar) => scalar.fmt(f),
            Self::Ranges(ranges) => ranges.fmt(f),
            Self::Set(set) => set.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Reads a scalar message; `path` names the field that holds it.
pub(crate) fn scalar_from_proto(
    path: &str,
    wire: &v1::value::Scalar,
) -> Result<Scalar, InvalidField> {
    Scalar::from_f64(wire.value).map_err(|error| {
        InvalidField::new(
            format!("{path}.value"),
            format!("{:?} ({error})", wire.value),
            format!("0, or a number from 0.001 to {}", Scalar::LARGEST),
        )
    })
}

/// Reads a ranges message; `path` names the field that holds it.
pub(crate) fn ranges_from_proto(
    path: &str,
    wire: &v1::value::Ranges,
) -> Result<Ranges, InvalidField> {
    Ranges::from_disjoint(wire.range.iter().map(|r| Range { begin: r.begin, end: r.end })).map_err(
        |error| {
            InvalidField::new(
                format!("{path}.range"),
                error,
                "ranges that begin before they end and do not overlap",
            )
        },
    )
}

/// Reads a set message; `path` names the field that holds it.
pub(crate) fn set_from_proto(path: &str, wire: &v1::value::Set) -> Result<Set, InvalidField> {
    Set::from_distinct(&wire.item).map_err(|DuplicateItem(item)| {
        InvalidField::new(
            format!("{path}.item"),
            format!("{} twice", quote(&item)),
            "distinct items",
        )
    })
}

use crate::set::DuplicateItem;

/// The message of a number.
pub(crate) fn scalar_to_proto(scalar: Scalar) -> v1::value::Scalar {
    v1::value::Scalar { value: scalar.to_f64() }
}

/// The message of ranges.
pub(crate) fn ranges_to_proto(ranges: &Ranges) -> v1::value::Ranges {
    let range = ranges.iter().map(|r| v1::value::Range { begin: r.begin, end: r.end }).collect();
    v1::value::Ranges { range }
}

/// The message of a set.
pub(crate) fn set_to_proto(set: &Set) -> v1::value::Set {
    v1::value::Set { item: set.iter().map(str::to_owned).collect() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        Value::parse(text).unwrap_err().problem
    }

    #[test]
    fn each_kind_of_value_is_recognised() {
        assert_eq!(Value::parse(" 1.5 ").unwrap(), Value::Scalar(Scalar::from_millis(1500)));
        let ports = Value::parse("[31000 - 31005, 31006-32000]").unwrap();
        assert_eq!(ports, Value::Ranges(Ranges::single(31000, 32000)));
        assert_eq!(Value::parse("{b, a}").unwrap().to_string(), "{a,b}");
        assert_eq!(Value::parse("rack-1").unwrap(), Value::Text("rack-1".into()));
        assert_eq!(Value::parse("-1").unwrap(), Value::Text("-1".into()));
        assert_eq!(Value::parse("NaN").unwrap(), Value::Text("NaN".into()));
        assert_eq!(Value::parse("[]").unwrap(), Value::Ranges(Ranges::new()));
    }

    #[test]
    fn what_is_wrong_with_a_value_is_said() {
        assert_eq!(error("  "), "it is empty");
        assert_eq!(error("[1-2"), "its brackets do not match");
        assert_eq!(error("{a]"), "its brackets do not match");
        assert_eq!(error("[1-2]x"), "it goes on after ']'");
        assert_eq!(error("x{a}"), "brackets inside of it");
        assert_eq!(error("{a,b,a}"), "\"a\" is in the set twice");
        assert_eq!(error("[2-1]"), "range 2-1 begins after its end");
        assert_eq!(error("[1-5,3-8]"), "ranges 1-5 and 3-8 overlap");
        assert_eq!(error("[5]"), "\"5\" is not a range such as 31000-32000");
        assert!(error("[-1-5]").starts_with("\"\" is not a whole number"));
        assert!(error("[1-18446744073709551616]").contains("not a whole number up to"));
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused_without_panic(text in "\\PC*|[\\[\\]{}0-9,a-]*") {
            if let Ok(value) = Value::parse(&text) {
                prop_assert_eq!(Value::parse(&value.to_string()).unwrap(), value);
            }
        }
    }
}
