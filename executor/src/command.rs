//! From a `CommandInfo` to a process.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use mezzo_proto::v1::CommandInfo;

use crate::settings::TASK_ENVIRONMENT;

/// Starts the command in a process group of its own, with the executor's own output and directory. Returns its pid.
///
/// The environment is the executor's (`MESOS_…`), then that of isolators and hooks for the task, then the command's own.
pub(crate) fn start(
    info: &CommandInfo,
    task_environment: &BTreeMap<String, String>,
) -> Result<u32, String> {
    let mut command = build(info)?;
    command.env_remove(TASK_ENVIRONMENT).envs(task_environment);
    for variable in info.environment.iter().flat_map(|e| &e.variables) {
        let value = variable.value.as_deref().unwrap_or_default();
        if variable.name.is_empty() || variable.name.contains(['=', '\0']) || value.contains('\0') {
            return Err(format!(
                "Environment variable '{}' cannot be set: a name is not empty and has no '=', and neither has a NUL",
                variable.name.escape_debug()
            ));
        }
        command.env(&variable.name, value);
    }
    let child = command
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|e| format!("Failed to start command '{}': {e}", program(info)))?;
    // Reaped with everything else that ends, in `processes`.
    Ok(child.id())
}

fn build(info: &CommandInfo) -> Result<Command, String> {
    let value = info.value.as_deref().unwrap_or_default();
    if value.contains('\0') || info.arguments.iter().any(|a| a.contains('\0')) {
        return Err("Failed to start command: it contains a NUL character".to_owned());
    }
    if info.shell() {
        if value.trim().is_empty() {
            return Err("Failed to start command: 'command.value' is empty; with 'shell' true it is the text given to /bin/sh -c".to_owned());
        }
        let mut command = Command::new("/bin/sh");
        command.arg0("sh").arg("-c").arg(value);
        return Ok(command);
    }
    if value.is_empty() {
        return Err("Failed to start command: 'command.value' is empty; with 'shell' false it is the program to execute".to_owned());
    }
    let mut command = Command::new(value);
    if let Some((first, rest)) = info.arguments.split_first() {
        command.arg0(first).args(rest);
    }
    Ok(command)
}

fn program(info: &CommandInfo) -> &str {
    if info.shell() { "/bin/sh" } else { info.value() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn command(value: Option<&str>, shell: bool, arguments: &[&str]) -> CommandInfo {
        CommandInfo {
            value: value.map(str::to_owned),
            shell: Some(shell),
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
            ..CommandInfo::default()
        }
    }

    #[test]
    fn a_shell_command_ignores_arguments() {
        let built = build(&command(Some("echo hi"), true, &["x"])).unwrap();
        assert_eq!(built.get_args().collect::<Vec<_>>(), ["-c", "echo hi"]);
    }

    #[test]
    fn the_first_argument_is_the_name_of_the_program() {
        let built = build(&command(Some("/bin/ls"), false, &["ls", "-l"])).unwrap();
        assert_eq!(built.get_program(), "/bin/ls");
        assert_eq!(built.get_args().collect::<Vec<_>>(), ["-l"]);
    }

    #[test]
    fn a_command_that_cannot_run_says_why() {
        for (info, expected) in [
            (command(None, true, &[]), "'command.value' is empty"),
            (command(Some("  "), true, &[]), "'command.value' is empty"),
            (command(None, false, &[]), "'command.value' is empty"),
            (command(Some("a\0b"), true, &[]), "NUL"),
            (command(Some("/no/such/program"), false, &[]), "'/no/such/program': No such file"),
            (command(Some("/"), false, &[]), "Permission denied"),
        ] {
            let message = start(&info, &BTreeMap::new()).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
