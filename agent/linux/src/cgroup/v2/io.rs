//! `io` of version 2: what was read from and written to block devices.

use crate::cgroup::Cgroup;
use crate::cgroup::device::DeviceNumber;
use crate::{Error, Result};

/// The io controller's files of one cgroup.
#[derive(Debug, Clone)]
pub struct Io(Cgroup);

/// What was done with one device since the cgroup was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IoStat {
    /// Which.
    pub device: DeviceNumber,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Bytes discarded.
    pub discarded_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Discards.
    pub discards: u64,
}

impl Io {
    /// Wraps a cgroup.
    #[must_use]
    pub fn new(cgroup: Cgroup) -> Self {
        Self(cgroup)
    }

    /// The directory.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.0
    }

    /// `io.stat`: one per device.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn stat(&self) -> Result<Vec<IoStat>> {
        let text = self.0.read("io.stat")?;
        text.lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| {
                parse(line).ok_or_else(|| {
                    let path = self.0.path().join("io.stat");
                    Error::malformed(&path, line, "lines of \"device key=number …\"")
                })
            })
            .collect()
    }
}

fn parse(line: &str) -> Option<IoStat> {
    let mut words = line.split_ascii_whitespace();
    let mut stat = IoStat { device: DeviceNumber::parse(words.next()?)?, ..IoStat::default() };
    for word in words {
        let (key, value) = word.split_once('=')?;
        let place = match key {
            "rbytes" => &mut stat.read_bytes,
            "wbytes" => &mut stat.written_bytes,
            "dbytes" => &mut stat.discarded_bytes,
            "rios" => &mut stat.reads,
            "wios" => &mut stat.writes,
            "dios" => &mut stat.discards,
            // The cost models add keys of their own, not all of them numbers.
            _ => continue,
        };
        *place = value.parse().ok()?;
    }
    Some(stat)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn stat_has_a_line_per_device_and_skips_what_it_does_not_know() {
        let dir = tempfile::tempdir().unwrap();
        let text = "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0 cost.usage=1x\n253:0 \n";
        std::fs::write(dir.path().join("io.stat"), text).unwrap();
        let stat = Io::new(Cgroup::new(dir.path())).stat().unwrap();
        assert_eq!(
            stat,
            [
                IoStat {
                    device: DeviceNumber { major: 8, minor: 16 },
                    read_bytes: 1_459_200,
                    written_bytes: 314_773_504,
                    reads: 192,
                    writes: 353,
                    ..IoStat::default()
                },
                IoStat { device: DeviceNumber { major: 253, minor: 0 }, ..IoStat::default() },
            ]
        );
        std::fs::write(dir.path().join("io.stat"), "8:16 rbytes=all\n").unwrap();
        assert!(Io::new(Cgroup::new(dir.path())).stat().is_err());
    }
}
