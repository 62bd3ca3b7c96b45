//! The flags as a table: for `docs/config.md`, and for the call that asks a running process for them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::{Arg, ArgMatches, Command, Parser};

use super::arguments::{Arguments, augment, flags, is_boolean, variable};

/// All flags of `T` as a markdown table: name, environment variable, default, meaning. Sorted by name.
#[must_use]
pub fn markdown_table<T: Parser>() -> String {
    let command = augment(T::command());
    let mut rows: Vec<_> = flags(&command).filter(|(_, arg)| !arg.is_hide_set()).collect();
    rows.sort_by_key(|(name, _)| *name);
    let mut out = String::from("| flag | environment | default | meaning |\n|---|---|---|---|\n");
    for (name, arg) in rows {
        let shown =
            if is_boolean(arg) { format!("`--[no-]{name}`") } else { format!("`--{name}`") };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| {shown} | `{}` | {} | {} |",
            variable(name),
            default_text(arg),
            help_text(arg)
        );
    }
    out
}

/// Name -> value of every flag that has one.
pub(crate) fn effective(
    command: &Command,
    arguments: &Arguments,
    matches: &ArgMatches,
) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for (name, arg) in flags(command) {
        let given = arguments.given.get(name).map(|(written, _)| written.clone());
        let value = given.or_else(|| {
            let raw = matches.try_get_raw(arg.get_id().as_str()).ok().flatten()?;
            let all: Vec<_> = raw.map(|value| value.to_string_lossy()).collect();
            Some(all.join(","))
        });
        if let Some(value) = value {
            out.insert(name.to_owned(), value);
        }
    }
    out
}

fn default_text(arg: &Arg) -> String {
    let values: Vec<_> = arg
        .get_default_values()
        .iter()
        .map(|value| format!("`{}`", escaped(&value.to_string_lossy())))
        .collect();
    match values.as_slice() {
        [] if arg.is_required_set() => "required".to_owned(),
        [] => "-".to_owned(),
        values => values.join(", "),
    }
}

fn help_text(arg: &Arg) -> String {
    let help =
        arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
    escaped(&help.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}
