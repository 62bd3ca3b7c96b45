//! What can be wrong with flags, each as one line that says what was given and what was expected.

use std::path::PathBuf;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::arguments::{Arguments, flags, variable};

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `--flag=value`
    CommandLine,
    /// `MEZZO_FLAG=value`
    Environment,
}

/// Wrong flags. The text is always one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlagError {
    /// Not an error: the text of `--help` or `--version`.
    #[error("{0}")]
    Help(String),
    /// No flag has this name.
    #[error("unknown flag --{flag}: {}", suggest(suggestion.as_deref()))]
    Unknown {
        /// As it was written.
        flag: String,
        /// The flag that was probably meant.
        suggestion: Option<String>,
    },
    /// The flag needs a value and none came.
    #[error("flag --{flag} needs a value: expected --{flag}={expected}")]
    MissingValue {
        /// The flag.
        flag: String,
        /// What its value is called.
        expected: String,
    },
    /// The value does not fit the flag.
    #[error("flag --{flag}{}: got {value:?}, {expected}", origin_text(*origin, flag))]
    Invalid {
        /// The flag.
        flag: String,
        /// As it was written.
        value: String,
        /// Where it was written.
        origin: Origin,
        /// What would fit.
        expected: String,
    },
    /// `--no-flag=value`.
    #[error("flag --no-{flag} takes no value: expected --no-{flag} or --{flag}=true|false")]
    ValueOfNegation {
        /// The flag.
        flag: String,
    },
    /// A required flag is absent.
    #[error(
        "flag --{flag} is required: expected --{flag}={value} or {}{}",
        variable(flag),
        hint(help)
    )]
    Required {
        /// The flag.
        flag: String,
        /// What its value is called.
        value: String,
        /// The first sentence of its help.
        help: String,
    },
    /// A `file://` value whose file cannot be read.
    #[error("flag --{flag}: cannot read {}: {source}; expected file:// and the path of a readable text file", path.display())]
    UnreadableFile {
        /// The flag.
        flag: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Anything else, in clap's words.
    #[error("{0}")]
    Other(String),
}

impl FlagError {
    /// clap's error in our words.
    pub(crate) fn from_clap(command: &Command, arguments: &Arguments, error: &clap::Error) -> Self {
        match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Self::Help(error.render().to_string())
            }
            ErrorKind::MissingRequiredArgument => required(command, error),
            ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
                invalid(arguments, error).unwrap_or_else(|| other(error))
            }
            ErrorKind::ArgumentConflict => repeated(error),
            _ => other(error),
        }
    }
}

/// The closest of `names`, when it is close enough to have been meant.
pub(crate) fn nearest<'a>(wanted: &str, names: &[&'a str]) -> Option<&'a str> {
    let limit = (wanted.len() / 3).max(2);
    names
        .iter()
        .map(|name| (distance(wanted, name), *name))
        .min()
        .filter(|(distance, _)| *distance <= limit)
        .map(|(_, name)| name)
}

fn required(command: &Command, error: &clap::Error) -> FlagError {
    let Some(name) = argument_name(error) else {
        return other(error);
    };
    let Some((flag, arg)) = flags(command).find(|(long, _)| *long == name) else {
        return FlagError::Other(format!("missing argument: expected {name}"));
    };
    let value = arg
        .get_value_names()
        .and_then(<[_]>::first)
        .map_or_else(|| "VALUE".to_owned(), ToString::to_string);
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    FlagError::Required {
        flag: flag.to_owned(),
        value,
        help: help.lines().next().unwrap_or_default().to_owned(),
    }
}

fn invalid(arguments: &Arguments, error: &clap::Error) -> Option<FlagError> {
    let flag = argument_name(error)?;
    let value = context_text(error, ContextKind::InvalidValue)?;
    let expected = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(all)) if !all.is_empty() => {
            format!("expected one of {}", all.join(", "))
        }
        _ => std::error::Error::source(error)
            .map_or_else(|| "expected something else".to_owned(), expectation),
    };
    let given = arguments.given.get(&flag);
    Some(FlagError::Invalid {
        value: given.map_or(value, |(written, _)| written.clone()),
        origin: given.map_or(Origin::CommandLine, |(_, origin)| *origin),
        flag,
        expected,
    })
}

/// A parser's own sentence, made to say that it is about what was expected.
fn expectation(source: &(dyn std::error::Error + 'static)) -> String {
    let text = one_line(&source.to_string());
    if text.contains("expected") {
        text
    } else if source.is::<std::num::ParseIntError>() {
        format!("expected a whole number in range ({text})")
    } else if source.is::<std::num::ParseFloatError>() {
        format!("expected a number ({text})")
    } else if source.is::<std::net::AddrParseError>() {
        format!("expected an IP address ({text})")
    } else {
        format!("which does not fit: {text}")
    }
}

fn repeated(error: &clap::Error) -> FlagError {
    match (argument_name(error), context_text(error, ContextKind::PriorArg)) {
        (Some(flag), Some(prior)) if bare(&prior) != flag => FlagError::Other(format!(
            "flag --{flag} cannot be used together with --{}: expected one of them",
            bare(&prior)
        )),
        (Some(flag), _) => {
            FlagError::Other(format!("flag --{flag} was given more than once: expected it once"))
        }
        _ => other(error),
    }
}

fn other(error: &clap::Error) -> FlagError {
    let text = error.render().to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let line = one_line(paragraph);
    FlagError::Other(line.strip_prefix("error: ").unwrap_or(&line).to_owned())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The flag clap speaks of, without dashes and placeholder.
fn argument_name(error: &clap::Error) -> Option<String> {
    context_text(error, ContextKind::InvalidArg).map(|text| bare(&text).to_owned())
}

fn bare(text: &str) -> &str {
    let text = text.trim_start_matches('-');
    text.split(['=', ' ', '<']).find(|part| !part.is_empty()).unwrap_or(text)
}

fn context_text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(all) => all.first().cloned(),
        _ => None,
    }
}

fn origin_text(origin: Origin, flag: &str) -> String {
    match origin {
        Origin::CommandLine => String::new(),
        Origin::Environment => format!(" (from {})", variable(flag)),
    }
}

fn suggest(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(
        || "expected one of those that --help lists".to_owned(),
        |name| format!("expected perhaps --{name}"),
    )
}

fn hint(help: &str) -> String {
    if help.is_empty() { String::new() } else { format!(" ({help})") }
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((to, up), diagonal) in b.iter().zip(row.iter().skip(1)).zip(&row) {
            let left = next.last().copied().unwrap_or_default();
            let replace = diagonal + usize::from(from != *to);
            next.push(replace.min(up + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
