//! `blkio`: what was read from and written to block devices.

use std::path::Path;

use crate::cgroup::Cgroup;
use crate::cgroup::device::DeviceNumber;
use crate::{Error, Result, file};

/// One cgroup of the `blkio` controller.
#[derive(Debug, Clone)]
pub struct Blkio(Cgroup);

/// One number of a file of this controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlkioValue {
    /// Of this device; `None` is the sum of all.
    pub device: Option<DeviceNumber>,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total`; `None` in files that do not tell operations apart.
    pub operation: Option<String>,
    /// Bytes, operations, sectors or nanoseconds: as the file counts.
    pub value: u64,
}

impl Blkio {
    /// Wraps a cgroup in the blkio hierarchy.
    #[must_use]
    pub fn new(cgroup: Cgroup) -> Self {
        Self(cgroup)
    }

    /// The directory.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.0
    }

    /// The numbers of `blkio.<name>`; `None` when this kernel has no such file (each I/O scheduler has its own).
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn values(&self, name: &str) -> Result<Option<Vec<BlkioValue>>> {
        let path = self.0.path().join(format!("blkio.{name}"));
        file::read_if_exists(&path)?.map(|text| parse(&path, &text)).transpose()
    }
}

fn parse(path: &Path, text: &str) -> Result<Vec<BlkioValue>> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace().rev();
        let value = words.next()?.parse().ok()?;
        let (operation, device) = match (words.next(), words.next()) {
            (Some(operation), Some(device)) => {
                (Some(operation.to_owned()), Some(DeviceNumber::parse(device)?))
            }
            // Of a device without operations, or of an operation over all devices.
            (Some(word), None) => match DeviceNumber::parse(word) {
                Some(device) => (None, Some(device)),
                None => (Some(word.to_owned()), None),
            },
            (None, _) => (None, None),
        };
        Some(BlkioValue { device, operation, value })
    };
    text.lines()
        .filter(|text| !text.trim().is_empty())
        .map(|text| {
            line(text)
                .ok_or_else(|| Error::malformed(path, text, "lines of \"device operation number\""))
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_lines_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let text = "253:0 Read 4096\n253:0 Total 4096\n8:16 77\nTotal 4096\n9\n";
        std::fs::write(dir.path().join("blkio.x"), text).unwrap();
        let blkio = Blkio::new(Cgroup::new(dir.path()));
        let value = |device: Option<(u32, u32)>, operation: Option<&str>, value| BlkioValue {
            device: device.map(|(major, minor)| DeviceNumber { major, minor }),
            operation: operation.map(str::to_owned),
            value,
        };
        assert_eq!(
            blkio.values("x").unwrap().unwrap(),
            [
                value(Some((253, 0)), Some("Read"), 4096),
                value(Some((253, 0)), Some("Total"), 4096),
                value(Some((8, 16)), None, 77),
                value(None, Some("Total"), 4096),
                value(None, None, 9),
            ]
        );
        assert_eq!(blkio.values("none").unwrap(), None);
        std::fs::write(dir.path().join("blkio.x"), "253:0 Read many\n").unwrap();
        assert!(blkio.values("x").unwrap_err().to_string().contains("blkio.x"));
    }
}
