//! Running cargo for the tasks: the same cargo that runs us, with its output where the person sees it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::{Failure, say, signals};

/// Between two looks at a command that runs.
const PAUSE: Duration = Duration::from_millis(20);

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Where cargo builds to.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A cargo command in the root of the repository.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.args(args).current_dir(root());
    without_our_own(&mut command);
    command
}

/// What cargo set for us would make every crate look changed to the build it runs, and is no test's.
pub(crate) fn without_our_own(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}

/// What a command says on its standard output; its errors go to the person.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let name = describe(command);
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| Failure::task(format!("cannot run `{name}`: {error}")))?;
    if !output.status.success() {
        return Err(Failure::task(format!("`{name}` failed: {}", output.status)));
    }
    String::from_utf8(output.stdout)
        .map_err(|error| Failure::task(format!("`{name}` says what is no text: {error}")))
}

/// Runs the command, saying what it is.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    say(format_args!("$ {}", describe(command)));
    run_quietly(command)
}

/// Runs the command.
pub(crate) fn run_quietly(command: &mut Command) -> Result<(), Failure> {
    let status = status(command)?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::task(format!("`{}` failed: {status}", describe(command))))
}

/// Runs the command and gives its exit status.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus, Failure> {
    signals::catch();
    let name = describe(command);
    let failed = |error| Failure::task(format!("cannot run `{name}`: {error}"));
    let mut child = command.spawn().map_err(failed)?;
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(status);
        }
        signals::pass_on(&child);
        #[expect(clippy::disallowed_methods, reason = "nothing here is asynchronous")]
        std::thread::sleep(PAUSE);
    }
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name();
    let program = program.unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
