//! From what the user wrote to what clap reads: one spelling per flag, values resolved, environment filled in.
//!
//! Everything becomes `--name=value` before clap sees it. That keeps clap's part small (types, required, defaults) and
//! gives the Mesos spellings to any clap struct without a word in it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};

use super::error::{FlagError, Origin, nearest};

/// The marker of a value that stands in a file.
const FILE_PREFIX: &str = "file://";

/// Prefix of the environment variable of a flag.
const ENV_PREFIX: &str = "MEZZO_";

/// The normalised command line.
pub(crate) struct Arguments {
    /// For clap, program name first.
    pub(crate) list: Vec<OsString>,
    /// Flag name -> the value as the user wrote it, and where.
    pub(crate) given: BTreeMap<String, (String, Origin)>,
}

/// Renames every long flag to underscores and makes booleans take a value, in this command and below.
pub(crate) fn augment(command: Command) -> Command {
    command
        .mut_args(|arg| {
            let Some(long) = arg.get_long().map(underscored) else {
                return arg;
            };
            let arg = if is_switch(&arg) {
                // A short flag comes to clap as it was written: alone it means true, and what follows is not its value.
                let named = arg
                    .action(ArgAction::Set)
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true")
                    .value_name("true|false");
                if named.get_default_values().is_empty() {
                    named.default_value("false")
                } else {
                    named
                }
            } else {
                arg
            };
            arg.long(long)
        })
        .mut_subcommands(augment)
}

/// The environment variable of a flag.
pub(crate) fn variable(flag: &str) -> String {
    format!("{ENV_PREFIX}{}", flag.to_uppercase())
}

/// Every flag of a command that is not clap's own.
pub(crate) fn flags(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    command
        .get_arguments()
        .filter_map(|arg| Some((arg.get_long()?, arg)))
        .filter(|(_, arg)| !is_builtin(arg))
}

/// Whether a flag holds a boolean.
pub(crate) fn is_boolean(arg: &Arg) -> bool {
    is_switch(arg) || arg.get_value_parser().type_id() == std::any::TypeId::of::<bool>()
}

/// Rewrites the command line for clap.
pub(crate) fn normalise(
    command: &Command,
    args: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Arguments, FlagError> {
    let mut args = args.into_iter().peekable();
    let mut level = Level::new(command);
    let mut out = Arguments {
        list: vec![args.next().unwrap_or_else(|| "mezzo".into())],
        given: BTreeMap::new(),
    };
    while let Some(arg) = args.next() {
        if arg == "--" {
            level.fill_in(&mut out, &environment)?;
            out.list.push(arg);
            out.list.extend(args);
            return Ok(out);
        }
        let Some(flag) = arg.to_str().and_then(|text| text.strip_prefix("--")) else {
            if level.command.find_subcommand(&arg).is_some() {
                level.fill_in(&mut out, &environment)?;
                level = level.below(&arg);
            }
            out.list.push(arg);
            continue;
        };
        let (written, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let Some((name, arg, negated)) = level.find(written) else {
            if matches!(written, "help" | "version") {
                out.list.push(format!("--{written}").into());
                continue;
            }
            return Err(level.unknown(written));
        };
        let value = if is_boolean(arg) {
            boolean(name, value, negated)?
        } else if let Some(value) = value {
            value
        } else if let Some(next) = args.next_if(|next| !is_flag(next)) {
            text(next, name)?
        } else {
            return Err(FlagError::MissingValue {
                flag: name.to_owned(),
                expected: placeholder(arg),
            });
        };
        level.push(&mut out, name, value, Origin::CommandLine)?;
    }
    level.fill_in(&mut out, &environment)?;
    Ok(out)
}

/// One command or subcommand while its arguments are read.
struct Level<'a> {
    command: &'a Command,
    seen: BTreeSet<&'a str>,
}

impl<'a> Level<'a> {
    fn new(command: &'a Command) -> Self {
        Self { command, seen: BTreeSet::new() }
    }

    /// The level of a subcommand. A global flag that was seen here is not looked for in the environment again.
    fn below(self, name: &OsStr) -> Self {
        let command = self.command.find_subcommand(name).unwrap_or(self.command);
        let global =
            |seen: &&str| flags(command).any(|(flag, arg)| flag == *seen && arg.is_global_set());
        let seen = self.seen.into_iter().filter(global).collect();
        Self { command, seen }
    }

    /// The flag of that spelling, and whether it was spelled `no_…`.
    fn find(&self, written: &str) -> Option<(&'a str, &'a Arg, bool)> {
        let wanted = underscored(written);
        let named = |wanted: &str| {
            flags(self.command).find(|(name, arg)| {
                *name == wanted
                    || arg
                        .get_all_aliases()
                        .is_some_and(|all| all.iter().any(|alias| underscored(alias) == wanted))
            })
        };
        if let Some((name, arg)) = named(&wanted) {
            return Some((name, arg, false));
        }
        let (name, arg) = named(wanted.strip_prefix("no_")?)?;
        is_boolean(arg).then_some((name, arg, true))
    }

    fn unknown(&self, written: &str) -> FlagError {
        let wanted = underscored(written);
        let names: Vec<&str> = flags(self.command).map(|(name, _)| name).collect();
        FlagError::Unknown {
            flag: written.to_owned(),
            suggestion: nearest(&wanted, &names).map(str::to_owned),
        }
    }

    /// Appends `--name=value` with the value resolved.
    fn push(
        &mut self,
        out: &mut Arguments,
        name: &'a str,
        written: String,
        origin: Origin,
    ) -> Result<(), FlagError> {
        let value = resolve(name, &written)?;
        out.list.push(format!("--{name}={value}").into());
        out.given.insert(name.to_owned(), (written, origin));
        self.seen.insert(name);
        Ok(())
    }

    /// Takes from the environment what the command line left out.
    fn fill_in(
        &mut self,
        out: &mut Arguments,
        environment: &impl Fn(&str) -> Option<String>,
    ) -> Result<(), FlagError> {
        for (name, arg) in flags(self.command) {
            if self.seen.contains(name) {
                continue;
            }
            let Some(mut value) = environment(&variable(name)) else {
                continue;
            };
            if is_boolean(arg) {
                value = boolean(name, Some(value), false)?;
            }
            self.push(out, name, value, Origin::Environment)?;
        }
        Ok(())
    }
}

/// The content of the file a `file://` value names, or the value itself.
fn resolve(flag: &str, value: &str) -> Result<String, FlagError> {
    let Some(path) = value.strip_prefix(FILE_PREFIX) else {
        return Ok(value.to_owned());
    };
    match std::fs::read_to_string(path) {
        Ok(content) => Ok(content.trim().to_owned()),
        Err(source) => Err(FlagError::UnreadableFile {
            flag: flag.to_owned(),
            path: PathBuf::from(path),
            source,
        }),
    }
}

fn boolean(flag: &str, value: Option<String>, negated: bool) -> Result<String, FlagError> {
    let truth = match value.as_deref() {
        None => true,
        Some(_) if negated => {
            return Err(FlagError::ValueOfNegation { flag: flag.to_owned() });
        }
        Some("true" | "1" | "yes" | "on") => true,
        Some("false" | "0" | "no" | "off") => false,
        Some(other) => {
            return Err(FlagError::Invalid {
                flag: flag.to_owned(),
                value: other.to_owned(),
                origin: Origin::CommandLine,
                expected: "expected true or false".to_owned(),
            });
        }
    };
    Ok((truth != negated).to_string())
}

fn text(value: OsString, flag: &str) -> Result<String, FlagError> {
    value.into_string().map_err(|value| FlagError::Invalid {
        flag: flag.to_owned(),
        value: value.to_string_lossy().into_owned(),
        origin: Origin::CommandLine,
        expected: "expected text in UTF-8".to_owned(),
    })
}

fn is_flag(arg: &OsString) -> bool {
    arg.as_encoded_bytes().starts_with(b"--")
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse)
}

fn is_builtin(arg: &Arg) -> bool {
    matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpLong | ArgAction::HelpShort | ArgAction::Version
    )
}

fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

fn placeholder(arg: &Arg) -> String {
    arg.get_value_names()
        .and_then(<[_]>::first)
        .map_or_else(|| "VALUE".to_owned(), ToString::to_string)
}
