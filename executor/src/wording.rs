//! How a command ended, in the words that frameworks written for Mesos look for.

use nix::sys::wait::WaitStatus;

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal { number: i32, core: bool },
}

impl Exit {
    /// From what `waitpid` tells; none for a process that has not ended.
    pub(crate) fn from_wait(status: WaitStatus) -> Option<Self> {
        match status {
            WaitStatus::Exited(_, code) => Some(Self::Code(code)),
            WaitStatus::Signaled(_, signal, core) => {
                Some(Self::Signal { number: signal as i32, core })
            }
            _ => None,
        }
    }
}

/// The message of a task's last status.
pub(crate) fn message(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("Command exited with status {code}"),
        Exit::Signal { number, core } => {
            format!(
                "Command terminated with signal {}{}",
                signal_name(number),
                if core { " (core dumped)" } else { "" }
            )
        }
    }
}

/// As `strsignal` writes it.
fn signal_name(number: i32) -> String {
    const NAMES: [&str; 31] = [
        "Hangup",
        "Interrupt",
        "Quit",
        "Illegal instruction",
        "Trace/breakpoint trap",
        "Aborted",
        "Bus error",
        "Floating point exception",
        "Killed",
        "User defined signal 1",
        "Segmentation fault",
        "User defined signal 2",
        "Broken pipe",
        "Alarm clock",
        "Terminated",
        "Stack fault",
        "Child exited",
        "Continued",
        "Stopped (signal)",
        "Stopped",
        "Stopped (tty input)",
        "Stopped (tty output)",
        "Urgent I/O condition",
        "CPU time limit exceeded",
        "File size limit exceeded",
        "Virtual timer expired",
        "Profiling timer expired",
        "Window changed",
        "I/O possible",
        "Power failure",
        "Bad system call",
    ];
    usize::try_from(number - 1)
        .ok()
        .and_then(|index| NAMES.get(index))
        .map_or_else(|| format!("Unknown signal {number}"), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_mesos() {
        assert_eq!(message(Exit::Code(3)), "Command exited with status 3");
        assert_eq!(
            message(Exit::Signal { number: 9, core: false }),
            "Command terminated with signal Killed"
        );
        assert_eq!(
            message(Exit::Signal { number: 15, core: false }),
            "Command terminated with signal Terminated"
        );
        assert_eq!(
            message(Exit::Signal { number: 11, core: true }),
            "Command terminated with signal Segmentation fault (core dumped)"
        );
        assert_eq!(
            message(Exit::Signal { number: 40, core: false }),
            "Command terminated with signal Unknown signal 40"
        );
    }
}
