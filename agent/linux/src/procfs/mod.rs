//! `/proc`, parsed. [`Procfs`] takes the directory, so tests can use their own.
//!
//! A process may vanish between any two reads. Everything about one process is therefore `Ok(None)` when it is gone;
//! an error means that something is really wrong.

mod host;
mod smaps;
mod sockets;
mod stat;
mod status;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use host::{DiskSpace, disk_space, online_cpus};
pub use host::{MemoryInfo, page_size};
pub use smaps::Mapping;
pub use stat::{ProcessState, Stat};
pub use status::Status;

use crate::{Error, Result, file};

/// A mounted procfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Procfs {
    root: PathBuf,
}

impl Default for Procfs {
    fn default() -> Self {
        Self::at("/proc")
    }
}

impl Procfs {
    /// The one mounted at `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// `/proc/<pid>/stat`; `None` when there is no such process.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn stat(&self, pid: i32) -> Result<Option<Stat>> {
        let path = self.of(pid, "stat");
        file::read_if_exists(&path)?.map(|text| Stat::parse(&path, &text)).transpose()
    }

    /// `/proc/<pid>/status`; `None` when there is no such process.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn status(&self, pid: i32) -> Result<Option<Status>> {
        let path = self.of(pid, "status");
        file::read_if_exists(&path)?.map(|text| Status::parse(&path, &text)).transpose()
    }

    /// The mappings of `/proc/<pid>/smaps`; empty for a kernel thread or a zombie, `None` when there is no such process. The
    /// kernel walks the process's page tables for it: slow for large processes.
    ///
    /// # Errors
    /// [`Error::Io`]; needs the right to trace the process.
    pub fn smaps(&self, pid: i32) -> Result<Option<Vec<Mapping>>> {
        Mapping::read(&self.of(pid, "smaps"))
    }

    /// `/proc/<pid>/cmdline` by argument; empty for a kernel thread or a zombie, `None` when there is no such process.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn cmdline(&self, pid: i32) -> Result<Option<Vec<String>>> {
        Ok(file::read_if_exists(&self.of(pid, "cmdline"))?.map(|text| {
            let text = text.strip_suffix('\0').unwrap_or(&text);
            if text.is_empty() { Vec::new() } else { text.split('\0').map(str::to_owned).collect() }
        }))
    }

    /// The pids of all processes, in no particular order.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn pids(&self) -> Result<Vec<i32>> {
        let failed = |source| Error::io("list", &self.root, source);
        let mut pids = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            pids.extend(
                entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<i32>().ok())
                    .filter(|pid| *pid > 0),
            );
        }
        Ok(pids)
    }

    /// The `stat` of all processes that are there.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn processes(&self) -> Result<Vec<Stat>> {
        let mut found = Vec::new();
        for pid in self.pids()? {
            found.extend(self.stat(pid)?);
        }
        Ok(found)
    }

    /// The direct children of a process, in the order they were made. Empty when there is no such process.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn children(&self, pid: i32) -> Result<Vec<i32>> {
        // One file per thread that forked. Asking here is far cheaper than reading the stat of every process.
        let tasks = self.of(pid, "task");
        let entries = match fs::read_dir(&tasks) {
            Ok(entries) => entries,
            Err(error)
                if matches!(error.raw_os_error(), Some(nix::libc::ENOENT | nix::libc::ESRCH)) =>
            {
                return Ok(Vec::new());
            }
            Err(error) => return Err(Error::io("list", tasks, error)),
        };
        let mut found = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path().join("children");
            let Some(text) = file::read_if_exists(&path)? else {
                continue;
            };
            for word in text.split_ascii_whitespace() {
                found.push(word.parse().map_err(|_| Error::malformed(&path, word, "pids"))?);
            }
        }
        Ok(found)
    }

    /// The identity of this boot: pids and start times mean nothing in another one.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn boot_id(&self) -> Result<String> {
        Ok(file::read(&self.root.join("sys/kernel/random/boot_id"))?.trim().to_owned())
    }

    /// `/proc/meminfo`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn meminfo(&self) -> Result<MemoryInfo> {
        let path = self.root.join("meminfo");
        MemoryInfo::parse(&path, &file::read(&path)?)
    }

    /// Sets how willingly the kernel kills a process when memory runs out (-1000 never … 1000 first).
    ///
    /// # Errors
    /// [`Error::Io`]; lowering needs privilege.
    pub fn set_oom_score_adj(&self, pid: i32, value: i32) -> Result<()> {
        file::write(&self.of(pid, "oom_score_adj"), &value.to_string())
    }

    fn of(&self, pid: i32, name: &str) -> PathBuf {
        self.root.join(pid.to_string()).join(name)
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Clock ticks as `/proc` and cpuacct count them, as time.
#[must_use]
pub fn clock_ticks_to_duration(ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let seconds = ticks / per_second;
    let nanos = u128::from(ticks % per_second) * 1_000_000_000 / u128::from(per_second);
    Duration::new(seconds, u32::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_is_found_with_its_parent_and_command_line() {
        let procfs = Procfs::default();
        let pid = i32::try_from(std::process::id()).unwrap();
        let stat = procfs.stat(pid).unwrap().unwrap();
        assert_eq!(stat.pid, pid);
        assert_eq!(stat.ppid, i32::try_from(std::os::unix::process::parent_id()).unwrap());
        assert!(procfs.pids().unwrap().contains(&pid));
        assert!(procfs.processes().unwrap().iter().any(|process| process.pid == pid));
        let cmdline = procfs.cmdline(pid).unwrap().unwrap();
        assert_eq!(cmdline.first().unwrap(), &std::env::args().next().unwrap());
        assert_eq!(procfs.boot_id().unwrap().len(), 36);
        let status = procfs.status(pid).unwrap().unwrap();
        assert_eq!(status.uid, rustix::process::getuid().as_raw());
    }

    #[test]
    fn a_child_is_listed_and_a_missing_process_is_none() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let child_pid = i32::try_from(child.id()).unwrap();
        let procfs = Procfs::default();
        let us = i32::try_from(std::process::id()).unwrap();
        assert!(procfs.children(us).unwrap().contains(&child_pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(procfs.stat(child_pid).unwrap().is_none());
        assert!(procfs.status(child_pid).unwrap().is_none());
        assert!(procfs.cmdline(child_pid).unwrap().is_none());
        assert!(procfs.children(child_pid).unwrap().is_empty());
    }

    #[test]
    fn empty_and_multi_word_command_lines_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let procfs = Procfs::at(dir.path());
        for (pid, text) in [("1", ""), ("2", "sh\0-c\0\0"), ("3", "x\0")] {
            fs::create_dir(dir.path().join(pid)).unwrap();
            fs::write(dir.path().join(pid).join("cmdline"), text).unwrap();
        }
        assert_eq!(procfs.cmdline(1).unwrap().unwrap(), Vec::<String>::new());
        assert_eq!(procfs.cmdline(2).unwrap().unwrap(), ["sh", "-c", ""]);
        assert_eq!(procfs.cmdline(3).unwrap().unwrap(), ["x"]);
    }

    #[test]
    fn ticks_are_hundredths_of_a_second() {
        assert_eq!(clock_ticks_to_duration(150), Duration::from_millis(1500));
        let _ = clock_ticks_to_duration(u64::MAX);
    }
}
