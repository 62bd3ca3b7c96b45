//! How a process ended: the raw number of `wait(2)`, and what it means.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A raw wait status of a process that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WaitStatus(i32);

impl WaitStatus {
    /// From the number that `wait(2)` gives (and that `mezzo-launcher` writes).
    #[must_use]
    pub fn from_raw(raw: i32) -> Self {
        Self(raw)
    }

    /// A process that exited with a code.
    #[must_use]
    pub fn exited(code: u8) -> Self {
        Self(i32::from(code) << 8)
    }

    /// A process that was ended by a signal.
    #[must_use]
    pub fn signalled(signal: i32) -> Self {
        Self(signal & 0x7f)
    }

    /// The number.
    #[must_use]
    pub fn raw(self) -> i32 {
        self.0
    }

    /// The exit code, if it exited by itself.
    #[must_use]
    pub fn exit_code(self) -> Option<i32> {
        (self.0 & 0x7f == 0).then_some((self.0 >> 8) & 0xff)
    }

    /// The signal, if one ended it.
    #[must_use]
    pub fn signal(self) -> Option<i32> {
        // 0x7f means "stopped", which is no end.
        let low = self.0 & 0x7f;
        (low != 0 && low != 0x7f).then_some(low)
    }

    /// True when it left a core dump.
    #[must_use]
    pub fn core_dumped(self) -> bool {
        self.signal().is_some() && self.0 & 0x80 != 0
    }

    /// True for exit code 0.
    #[must_use]
    pub fn success(self) -> bool {
        self.exit_code() == Some(0)
    }
}

/// `exited with status 3`, `terminated with signal Killed`: the words that frameworks of the field know.
impl std::fmt::Display for WaitStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.exit_code(), self.signal()) {
            (Some(code), _) => write!(f, "exited with status {code}"),
            (None, Some(signal)) => {
                write!(f, "terminated with signal {}", signal_description(signal))?;
                if self.core_dumped() { f.write_str(" (core dumped)") } else { Ok(()) }
            }
            (None, None) => write!(f, "wait status {}", self.0),
        }
    }
}

impl FromStr for WaitStatus {
    type Err = std::num::ParseIntError;

    /// Parses the decimal text of a status file.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.trim().parse().map(Self)
    }
}

impl From<std::process::ExitStatus> for WaitStatus {
    fn from(status: std::process::ExitStatus) -> Self {
        Self(std::os::unix::process::ExitStatusExt::into_raw(status))
    }
}

/// What the C library calls a signal.
fn signal_description(signal: i32) -> String {
    let text = match signal {
        1 => "Hangup",
        2 => "Interrupt",
        3 => "Quit",
        4 => "Illegal instruction",
        5 => "Trace/breakpoint trap",
        6 => "Aborted",
        7 => "Bus error",
        8 => "Floating point exception",
        9 => "Killed",
        10 => "User defined signal 1",
        11 => "Segmentation fault",
        12 => "User defined signal 2",
        13 => "Broken pipe",
        14 => "Alarm clock",
        15 => "Terminated",
        16 => "Stack fault",
        24 => "CPU time limit exceeded",
        25 => "File size limit exceeded",
        26 => "Virtual timer expired",
        27 => "Profiling timer expired",
        29 => "I/O possible",
        30 => "Power failure",
        31 => "Bad system call",
        other => return other.to_string(),
    };
    text.to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_wait_gives() {
        assert_eq!(WaitStatus::from_raw(0).exit_code(), Some(0));
        assert_eq!(WaitStatus::from_raw(3 << 8), WaitStatus::exited(3));
        assert_eq!(WaitStatus::exited(255).exit_code(), Some(255));
        assert_eq!(WaitStatus::from_raw(9).signal(), Some(9));
        assert_eq!(WaitStatus::from_raw(9).exit_code(), None);
        assert!(WaitStatus::from_raw(11 | 0x80).core_dumped());
        assert_eq!(WaitStatus::from_raw(0x137f).signal(), None);
        assert!(!WaitStatus::from_raw(i32::MIN).to_string().is_empty());
    }

    #[test]
    fn says_it_in_words() {
        assert_eq!(WaitStatus::exited(127).to_string(), "exited with status 127");
        assert_eq!(WaitStatus::signalled(9).to_string(), "terminated with signal Killed");
        assert_eq!(
            WaitStatus::from_raw(139).to_string(),
            "terminated with signal Segmentation fault (core dumped)"
        );
        assert_eq!(WaitStatus::signalled(40).to_string(), "terminated with signal 40");
    }

    #[test]
    fn agrees_with_the_standard_library() {
        use std::os::unix::process::ExitStatusExt as _;
        for raw in [0, 256, 9, 134, 32512] {
            let theirs = std::process::ExitStatus::from_raw(raw);
            let ours = WaitStatus::from(theirs);
            assert_eq!(
                (ours.exit_code(), ours.signal(), ours.core_dumped()),
                (theirs.code(), theirs.signal(), theirs.core_dumped())
            );
        }
    }

    #[test]
    fn round_trips_through_the_text_of_a_status_file() {
        assert_eq!(" 768\n".parse::<WaitStatus>().unwrap(), WaitStatus::exited(3));
        assert!("".parse::<WaitStatus>().is_err());
    }
}
