//! The exit code of a task, out of its last status.
//!
//! The API has no field for it: executors tell it in a sentence, the one that Mesos uses too.

use mezzo_proto::v1::{TaskState, TaskStatus};

/// As shells have it: a command that a signal ended has 128 plus the signal's number.
const BY_SIGNAL: u8 = 128;
/// The task ended badly and nothing tells how.
const UNTOLD: u8 = 1;

/// What `sh` would say of the task.
pub(crate) fn code(status: &TaskStatus) -> u8 {
    if status.state() == TaskState::TaskFinished {
        return 0;
    }
    let message = status.message();
    if let Some(code) = number_after(message, "exited with status ") {
        return code;
    }
    if let Some((_, signal)) = message.split_once("terminated with signal ") {
        let name = signal.split(" (core").next().unwrap_or(signal);
        return number(name).map_or(UNTOLD, |number| BY_SIGNAL.saturating_add(number));
    }
    UNTOLD
}

fn number_after(message: &str, words: &str) -> Option<u8> {
    let (_, rest) = message.split_once(words)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The number of a signal in the words of `strsignal`.
fn number(name: &str) -> Option<u8> {
    Some(match name.trim() {
        "Hangup" => 1,
        "Interrupt" => 2,
        "Quit" => 3,
        "Illegal instruction" => 4,
        "Trace/breakpoint trap" => 5,
        "Aborted" => 6,
        "Bus error" => 7,
        "Floating point exception" => 8,
        "Killed" => 9,
        "User defined signal 1" => 10,
        "Segmentation fault" => 11,
        "User defined signal 2" => 12,
        "Broken pipe" => 13,
        "Alarm clock" => 14,
        "Terminated" => 15,
        "CPU time limit exceeded" => 24,
        "File size limit exceeded" => 25,
        "Bad system call" => 31,
        other => return number_after(other, "signal "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(state: TaskState, message: &str) -> u8 {
        code(&TaskStatus {
            state: state.into(),
            message: Some(message.to_owned()),
            ..Default::default()
        })
    }

    #[test]
    fn the_exit_code_is_what_a_shell_would_say() {
        let failed = TaskState::TaskFailed;
        assert_eq!(of(TaskState::TaskFinished, "Command exited with status 0"), 0);
        assert_eq!(of(failed, "Command exited with status 3"), 3);
        assert_eq!(of(failed, "Command terminated with signal Killed"), 137);
        assert_eq!(
            of(failed, "Command terminated with signal Segmentation fault (core dumped)"),
            139
        );
        assert_eq!(of(failed, "Command terminated with signal Unknown signal 40"), 168);
        assert_eq!(of(failed, "Memory limit exceeded"), 1);
        assert_eq!(of(TaskState::TaskKilled, ""), 1);
    }
}
