//! Flags of a process: declared once as a clap struct, given on the command line or by environment, explained in one line.
//!
//! The rules are Mesos's, so that scripts and habits keep working:
//! * `--work_dir=/x`, `--work-dir=/x` and `--work_dir /x` are the same flag; `MEZZO_WORK_DIR=/x` is it too (the command line wins);
//! * booleans are `--flag`, `--no-flag` or `--flag=false`;
//! * any value may be `file:///path`: the content of that file, trimmed, is the value;
//! * durations are `5secs`, `10mins`, `1hrs` ([`DurationArg`]); sizes are `512MB`, `2GB` ([`Bytes`]).
//!
//! What is wrong ends the process with exit code 2 and exactly one line on stderr: what was given, what was expected.
//! Values that only the start can judge (a port, a module) are the process's own affair; those end it with 1.

mod arguments;
mod error;
mod table;
mod units;

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::Parser;

pub use error::FlagError;
pub use table::markdown_table;
pub use units::{Bytes, DurationArg, ParseUnitError};

/// Exit code for wrong flags.
const EXIT_WRONG_FLAGS: i32 = 2;

/// The flags of a process after parsing.
#[derive(Clone, Debug)]
pub struct Parsed<T> {
    /// The typed values.
    pub config: T,
    /// Every flag that has a value (given or default), as text: what `GetFlags` answers. A `file://` value stands as it
    /// was given, because the content may be a secret.
    pub effective: BTreeMap<String, String>,
}

/// Parses the command line and the environment of this process. Prints and exits on `--help`, `--version` and errors.
#[must_use]
pub fn parse<T: Parser>() -> Parsed<T> {
    match try_parse::<T, _>(std::env::args_os(), |name| std::env::var(name).ok()) {
        Ok(parsed) => parsed,
        Err(FlagError::Help(text)) => {
            write_line(&mut std::io::stdout(), text.trim_end());
            std::process::exit(0);
        }
        Err(error) => {
            write_line(&mut std::io::stderr(), &format!("{}: {error}", program()));
            std::process::exit(EXIT_WRONG_FLAGS);
        }
    }
}

/// Parses `args` (program name first) with `environment` for what they leave out.
///
/// # Errors
/// A [`FlagError`] whose text is one line; `--help` and `--version` come as [`FlagError::Help`].
pub fn try_parse<T, A>(
    args: impl IntoIterator<Item = A>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Parsed<T>, FlagError>
where
    T: Parser,
    A: Into<OsString>,
{
    let mut command = arguments::augment(T::command());
    // Makes global flags flags of every subcommand.
    command.build();
    let arguments = arguments::normalise(&command, args.into_iter().map(Into::into), environment)?;
    let fail = |error: clap::Error| FlagError::from_clap(&command, &arguments, &error);
    let mut matches = command.clone().try_get_matches_from(&arguments.list).map_err(fail)?;
    let effective = table::effective(&command, &arguments, &matches);
    let config = T::from_arg_matches_mut(&mut matches).map_err(fail)?;
    Ok(Parsed { config, effective })
}

/// The name this program was started by.
fn program() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&path).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn write_line(out: &mut dyn std::io::Write, line: &str) {
    // Nobody is left to tell when even this fails.
    let _ = writeln!(out, "{line}");
}

#[cfg(test)]
mod tests;
