//! How the processes of a container are found and measured: replaceable, by the parameter `measure`.
//!
//! | `measure` | processes | physical memory of one |
//! |---|---|---|
//! | `procfs` | `/proc/*/stat` | resident pages |
//! | `smaps` | as `procfs` | by mapping, see [`SmapsRule`] |
//! | `command:PROGRAM` | what the program prints | what the program prints |

mod command;
mod smaps;

use mezzo_linux::procfs::{Procfs, Stat, clock_ticks_to_duration, page_size};

use crate::process::{Process, Root, tree};

pub(crate) use command::{CommandMeasurer, Program};
pub(crate) use smaps::{SmapsMeasurer, SmapsRule};

/// Looks at the processes of containers. All containers are measured in turn in one round; nothing is kept between
/// rounds: ages and CPU times are the monitor's business.
pub(crate) trait TreeMeasurer: Send {
    /// A new round: what was read for the last one is old.
    ///
    /// # Errors
    /// Nothing can be measured in this round.
    fn begin_round(&mut self) -> Result<(), String>;

    /// The processes that grow from these roots; none when the roots are gone.
    ///
    /// # Errors
    /// This container cannot be measured in this round; others can.
    fn tree(&mut self, roots: &[Root]) -> Result<Vec<Process>, String>;
}

/// `procfs`: reads `/proc` once per round, for all containers.
#[derive(Debug, Default)]
pub(crate) struct ProcfsMeasurer {
    procfs: Procfs,
    all: Vec<Process>,
}

impl TreeMeasurer for ProcfsMeasurer {
    fn begin_round(&mut self) -> Result<(), String> {
        let pids = self.procfs.pids().map_err(|error| error.to_string())?;
        // A process that is gone by now, or that cannot be understood, is left out; the others count.
        self.all = pids
            .into_iter()
            .filter_map(|pid| self.procfs.stat(pid).ok().flatten())
            .map(Process::from)
            .collect();
        Ok(())
    }

    fn tree(&mut self, roots: &[Root]) -> Result<Vec<Process>, String> {
        Ok(tree(&self.all, roots))
    }
}

impl ProcfsMeasurer {
    #[cfg(test)]
    pub(crate) fn at(procfs: Procfs) -> Self {
        Self { procfs, all: Vec::new() }
    }

    /// A process of this round.
    fn find(&self, pid: i32) -> Option<&Process> {
        self.all.iter().find(|process| process.pid == pid)
    }
}

impl From<Stat> for Process {
    fn from(stat: Stat) -> Self {
        let ticks = |time: std::time::Duration| {
            u64::try_from(time.as_millis()).unwrap_or(u64::MAX) / tick_millis()
        };
        Self {
            pid: stat.pid,
            start_time: stat.start_time,
            ppid: stat.ppid,
            pgrp: stat.pgrp,
            session: stat.session,
            user_ticks: ticks(stat.user_time),
            system_ticks: ticks(stat.system_time),
            virtual_bytes: stat.virtual_bytes,
            physical_bytes: stat.rss_bytes,
            resident_pages: stat.rss_bytes / page_size(),
            name: stat.comm,
        }
    }
}

/// The length of a clock tick in milliseconds: 10 nearly everywhere.
pub(crate) fn tick_millis() -> u64 {
    u64::try_from(clock_ticks_to_duration(1).as_millis()).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::fs;

    use super::*;

    #[test]
    fn a_line_that_cannot_be_understood_is_one_process_less() {
        let dir = tempfile::tempdir().unwrap();
        let stat = |pid: &str, text: &str| {
            fs::create_dir(dir.path().join(pid)).unwrap();
            fs::write(dir.path().join(pid).join("stat"), text).unwrap();
        };
        let tail = "0 0 0 0 0 0 0 100 20 0 0 20 0 1 0 77 300000 30 0";
        stat("100", &format!("100 (a (b) c) S 1 100 100 {tail}"));
        stat("200", &format!("200 ({}) S 100 100 100 {tail}", "\u{fffd} )"));
        stat("300", "300 (x S nonsense");
        stat("400", "");
        fs::create_dir(dir.path().join("500")).unwrap();
        fs::create_dir(dir.path().join("self")).unwrap();
        let mut measurer = ProcfsMeasurer::at(Procfs::at(dir.path()));
        measurer.begin_round().unwrap();
        let tree = measurer.tree(&[Root { pid: 100, start_time: Some(77) }]).unwrap();
        let names: Vec<&str> = tree.iter().map(|process| process.name.as_str()).collect();
        assert_eq!(names, ["a (b) c", "\u{fffd} )"]);
        let [first, _] = tree.as_slice() else { panic!("two processes") };
        assert_eq!((first.user_ticks, first.system_ticks), (100, 20));
        assert_eq!((first.virtual_bytes, first.resident_pages), (300_000, 30));
        assert_eq!(first.physical_bytes, 30 * page_size());
    }
}
