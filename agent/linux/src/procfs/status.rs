//! `/proc/<pid>/status`: the readable one, for owners, namespaces and memory.

use std::path::Path;

use crate::{Error, Result};

/// The fields of `status` that anybody here needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The pid in every pid namespace it is in, outermost (as seen by the reader) first.
    pub ns_pids: Vec<i32>,
    /// Resident memory in bytes; 0 for kernel threads and zombies.
    pub rss_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// No new privileges can be gained by exec.
    pub no_new_privs: bool,
    /// Ignored signals as a mask (bit 0 is signal 1).
    pub ignored_signals: u64,
    /// Blocked signals as a mask.
    pub blocked_signals: u64,
}

impl Status {
    /// Parses the text; `path` is for the error. Lines that are missing keep their default, lines that are wrong fail.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let mut status = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            status
                .set(key, value.trim())
                .ok_or_else(|| Error::malformed(path, line, "the format of proc(5)"))?;
        }
        Ok(status)
    }

    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "Uid" => self.uid = first(value)?,
            "Gid" => self.gid = first(value)?,
            "Groups" => self.groups = all(value)?,
            "NSpid" => self.ns_pids = all(value)?,
            "VmRSS" => self.rss_bytes = first::<u64>(value)?.saturating_mul(1024),
            "Threads" => self.threads = first(value)?,
            "NoNewPrivs" => self.no_new_privs = value == "1",
            "SigIgn" => self.ignored_signals = u64::from_str_radix(value, 16).ok()?,
            "SigBlk" => self.blocked_signals = u64::from_str_radix(value, 16).ok()?,
            _ => {}
        }
        Some(())
    }
}

fn first<T: std::str::FromStr>(value: &str) -> Option<T> {
    value.split_whitespace().next()?.parse().ok()
}

fn all<T: std::str::FromStr>(value: &str) -> Option<Vec<T>> {
    value.split_whitespace().map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_known_lines_are_read_and_others_skipped() {
        let text = "Name:\tx: y\nUid:\t1000\t0\t0\t0\nGid:\t100\t100\t100\t100\nGroups:\t4 24 \nNSpid:\t77\t1\n\
                    VmRSS:\t    1620 kB\nThreads:\t2\nNoNewPrivs:\t1\nSigIgn:\t0000000000001000\nSigBlk:\t0\nFuture:\n";
        let status = Status::parse(Path::new("status"), text).unwrap();
        assert_eq!((status.uid, status.gid), (1000, 100));
        assert_eq!(status.groups, [4, 24]);
        assert_eq!(status.ns_pids, [77, 1]);
        assert_eq!(status.rss_bytes, 1620 * 1024);
        assert!(status.no_new_privs);
        assert_eq!(status.ignored_signals, 1 << 12);
    }

    #[test]
    fn a_wrong_line_is_shown() {
        let error = Status::parse(Path::new("/proc/1/status"), "Uid:\troot\n").unwrap_err();
        assert!(error.to_string().contains("Uid:\\troot"), "{error}");
    }
}
