//! `/proc/<pid>/stat`: one line, with a name in it that the process itself chose.

use std::path::Path;
use std::time::Duration;

use crate::procfs::{clock_ticks_to_duration, page_size};
use crate::{Error, Result};

/// The fields of `stat` that anybody here needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// The process.
    pub pid: i32,
    /// Its name (at most 15 bytes; any bytes, parentheses and spaces included).
    pub comm: String,
    /// What it is doing.
    pub state: ProcessState,
    /// Its parent.
    pub ppid: i32,
    /// Its process group.
    pub pgrp: i32,
    /// Its session.
    pub session: i32,
    /// CPU time in user mode.
    pub user_time: Duration,
    /// CPU time in the kernel.
    pub system_time: Duration,
    /// CPU time in user mode of its children that have ended and were waited for, and of theirs.
    pub children_user_time: Duration,
    /// CPU time in the kernel of those.
    pub children_system_time: Duration,
    /// Its threads.
    pub threads: u64,
    /// When it started, in clock ticks since boot: together with the pid this names a process for good.
    pub start_time: u64,
    /// Virtual memory in bytes.
    pub virtual_bytes: u64,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
}

/// The state letter of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessState {
    /// On a CPU or waiting for one.
    Running,
    /// Waiting for something, can be interrupted.
    Sleeping,
    /// Waiting for something and cannot be killed until it has it.
    Uninterruptible,
    /// Stopped by a signal or a debugger.
    Stopped,
    /// Ended, not yet waited for.
    Zombie,
    /// Being removed.
    Dead,
    /// An idle kernel thread, or a letter this version does not know.
    Other,
}

impl Stat {
    /// Parses the text; `path` is for the error.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        Self::fields(text)
            .ok_or_else(|| Error::malformed(path, text, "\"pid (name) state ppid …\""))
    }

    fn fields(text: &str) -> Option<Self> {
        // The name may hold spaces and parentheses, so it ends at the *last* closing one.
        let (head, tail) = text.rsplit_once(')')?;
        let (pid, comm) = head.split_once(" (")?;
        let rest: Vec<&str> = tail.split_ascii_whitespace().collect();
        // Counted as in proc(5), where the state is field 3.
        let field = |number: usize| rest.get(number.checked_sub(3)?).copied();
        // Some are shown as signed, and can be briefly negative while counters are being folded.
        let count = |number: usize| -> Option<u64> {
            let text = field(number)?;
            let signed =
                || text.parse::<i64>().ok().map(|number| u64::try_from(number).unwrap_or(0));
            text.parse().ok().or_else(signed)
        };
        let ticks = |number: usize| Some(clock_ticks_to_duration(count(number)?));
        Some(Self {
            pid: pid.trim().parse().ok()?,
            comm: comm.to_owned(),
            state: ProcessState::from_letter(field(3)?),
            ppid: field(4)?.parse().ok()?,
            pgrp: field(5)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            user_time: ticks(14)?,
            system_time: ticks(15)?,
            children_user_time: ticks(16)?,
            children_system_time: ticks(17)?,
            threads: field(20)?.parse().ok()?,
            start_time: field(22)?.parse().ok()?,
            virtual_bytes: count(23)?,
            rss_bytes: count(24)?.saturating_mul(page_size()),
        })
    }
}

impl ProcessState {
    fn from_letter(letter: &str) -> Self {
        match letter {
            "R" => Self::Running,
            "S" => Self::Sleeping,
            "D" => Self::Uninterruptible,
            "T" | "t" => Self::Stopped,
            "Z" => Self::Zombie,
            "X" | "x" => Self::Dead,
            _ => Self::Other,
        }
    }

    /// True when nothing of it runs any more.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Zombie | Self::Dead)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    const LINE: &str = "4242 (a) b (c ) R 17 4242 4000 34816 4242 4194304 100 0 0 0 250 50 700 30 20 0 3 0 98765 10000000 25 \
                        18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n";

    #[test]
    fn names_with_parentheses_and_spaces_do_not_shift_the_fields() {
        let stat = Stat::parse(Path::new("/proc/4242/stat"), LINE).unwrap();
        assert_eq!(stat.comm, "a) b (c ");
        assert_eq!((stat.pid, stat.ppid, stat.pgrp, stat.session), (4242, 17, 4242, 4000));
        assert_eq!(stat.state, ProcessState::Running);
        assert_eq!((stat.user_time.as_millis(), stat.system_time.as_millis()), (2500, 500));
        let children = (stat.children_user_time.as_millis(), stat.children_system_time.as_millis());
        assert_eq!(children, (7000, 300));
        assert_eq!((stat.threads, stat.start_time), (3, 98765));
        assert_eq!((stat.virtual_bytes, stat.rss_bytes), (10_000_000, 25 * page_size()));
    }

    #[test]
    fn a_name_that_looks_like_the_rest_of_the_line_is_still_a_name() {
        let line = LINE.replace("a) b (c ", ") R 1 1 1");
        assert_eq!(Stat::parse(Path::new("stat"), &line).unwrap().ppid, 17);
    }

    #[test]
    fn cut_off_and_empty_text_is_an_error_that_names_the_file() {
        for text in ["", "4242", "4242 (x", "4242 (x) R 1 2", ") ("] {
            let error = Stat::parse(Path::new("/proc/4242/stat"), text).unwrap_err();
            assert!(error.to_string().starts_with("/proc/4242/stat says"), "{error}");
        }
    }
}
