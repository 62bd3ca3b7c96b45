//! What the whole machine has: memory, CPUs, disk.

use std::path::Path;

use crate::{Error, Result};

/// `/proc/meminfo`, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryInfo {
    /// All usable memory.
    pub total: u64,
    /// Not used for anything.
    pub free: u64,
    /// What could be had without swapping.
    pub available: u64,
    /// All swap space.
    pub swap_total: u64,
    /// Unused swap space.
    pub swap_free: u64,
}

impl MemoryInfo {
    /// Parses the text; `path` is for the error.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let mut info = Self::default();
        let mut has_total = false;
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let slot = match key {
                "MemTotal" => &mut info.total,
                "MemFree" => &mut info.free,
                "MemAvailable" => &mut info.available,
                "SwapTotal" => &mut info.swap_total,
                "SwapFree" => &mut info.swap_free,
                _ => continue,
            };
            let kilobytes: u64 = value
                .split_whitespace()
                .next()
                .and_then(|number| number.parse().ok())
                .ok_or_else(|| Error::malformed(path, line, "\"Name: number kB\""))?;
            *slot = kilobytes.saturating_mul(1024);
            has_total |= key == "MemTotal";
        }
        if has_total {
            Ok(info)
        } else {
            Err(Error::malformed(path, text, "a line \"MemTotal: number kB\""))
        }
    }
}

/// The size of a page of memory.
#[must_use]
pub fn page_size() -> u64 {
    u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}

/// How many CPUs are online (not how many we may run on: that is what cgroups are for).
///
/// # Errors
/// [`Error::Io`], [`Error::Malformed`].
pub fn online_cpus() -> Result<u32> {
    let path = Path::new("/sys/devices/system/cpu/online");
    let text = crate::file::read(path)?;
    count_list(text.trim())
        .filter(|count| *count > 0)
        .ok_or_else(|| Error::malformed(path, &text, "a list such as \"0-3,8\""))
}

/// How many numbers a list such as `0-3,8` has.
fn count_list(list: &str) -> Option<u32> {
    list.split(',').try_fold(0_u32, |count, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// The space of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// All of it.
    pub total: u64,
    /// Not used (root may use more of it than others).
    pub free: u64,
    /// What an ordinary user can still use.
    pub available: u64,
}

/// The space of the file system that a path is on.
///
/// # Errors
/// [`Error::Io`].
pub fn disk_space(path: &Path) -> Result<DiskSpace> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|errno| Error::io("ask the free space of", path, errno))?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(DiskSpace {
        total: bytes(stat.f_blocks),
        free: bytes(stat.f_bfree),
        available: bytes(stat.f_bavail),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_in_bytes() {
        let text = "MemTotal:       24684092 kB\nMemFree:        100 kB\nMemAvailable:   200 kB\nHugePages_Total:       0\n";
        let info = MemoryInfo::parse(Path::new("meminfo"), text).unwrap();
        assert_eq!(info.total, 24_684_092 * 1024);
        assert_eq!((info.free, info.available, info.swap_total), (102_400, 204_800, 0));
    }

    #[test]
    fn meminfo_without_total_or_with_garbage_is_an_error() {
        assert!(MemoryInfo::parse(Path::new("meminfo"), "MemFree: 1 kB\n").is_err());
        assert!(MemoryInfo::parse(Path::new("meminfo"), "MemTotal: lots\n").is_err());
    }

    #[test]
    fn cpu_lists_are_counted() {
        assert_eq!(count_list("0"), Some(1));
        assert_eq!(count_list("0-3,8,10-11"), Some(7));
        for bad in ["", "a", "3-1", "0-4294967295", "1,"] {
            assert_eq!(count_list(bad), None, "{bad}");
        }
    }

    #[test]
    fn this_machine_has_cpus_memory_and_disk() {
        assert!(online_cpus().unwrap() > 0);
        let space = disk_space(Path::new("/")).unwrap();
        assert!(space.total >= space.free && space.free >= space.available);
        assert!(disk_space(Path::new("/no/such/dir")).unwrap_err().is_not_found());
    }
}
