//! `/proc/<pid>/smaps`: what each mapping of a process really holds in memory.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::{Error, Result};

/// One mapping, as far as anybody here needs it. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mapping {
    /// Read, write, execute, then private or shared: `rw-p`, `r-xs`.
    pub permissions: [u8; 4],
    /// Its part of each page, shared out between the processes that have it.
    pub pss: u64,
    /// Pages that others have too and that were written to.
    pub shared_dirty: u64,
    /// Pages of its own that were not written to.
    pub private_clean: u64,
    /// Pages of its own that were written to.
    pub private_dirty: u64,
    /// Pages that belong to no file.
    pub anonymous: u64,
}

impl Mapping {
    /// Reads the file line by line: a large process has many mappings.
    pub(super) fn read(path: &Path) -> Result<Option<Vec<Self>>> {
        let gone = |error: &Error| error.is_not_found();
        let file = match File::open(path).map_err(|error| Error::io("read", path, error)) {
            Err(error) if gone(&error) => return Ok(None),
            opened => opened?,
        };
        let (mut reader, mut line, mut mappings) = (BufReader::new(file), Vec::new(), Vec::new());
        loop {
            line.clear();
            match reader
                .read_until(b'\n', &mut line)
                .map_err(|error| Error::io("read", path, error))
            {
                Ok(0) => return Ok(Some(mappings)),
                Ok(_) => add(&mut mappings, &String::from_utf8_lossy(&line)),
                Err(error) if gone(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Takes one line. What is not understood is left out: kernels add lines.
fn add(mappings: &mut Vec<Mapping>, line: &str) {
    let mut words = line.split_ascii_whitespace();
    let (Some(first), Some(second)) = (words.next(), words.next()) else { return };
    let Some(key) = first.strip_suffix(':') else {
        // `55d0c8a00000-55d0c8a21000 rw-p 00000000 00:00 0   [heap]`
        if let (true, Ok(permissions)) = (first.contains('-'), second.as_bytes().try_into()) {
            mappings.push(Mapping { permissions, ..Mapping::default() });
        }
        return;
    };
    let Some(mapping) = mappings.last_mut() else { return };
    let slot = match key {
        "Pss" => &mut mapping.pss,
        "Shared_Dirty" => &mut mapping.shared_dirty,
        "Private_Clean" => &mut mapping.private_clean,
        "Private_Dirty" => &mut mapping.private_dirty,
        "Anonymous" => &mut mapping.anonymous,
        _ => return,
    };
    if let Ok(kilobytes) = second.parse::<u64>() {
        *slot = kilobytes.saturating_mul(1024);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test may panic")]
mod tests {
    use super::*;
    use crate::procfs::Procfs;

    #[test]
    fn mappings_are_told_apart_and_unknown_lines_skipped() {
        let text = "55d0-55d1 r--s 00000000 08:01 42   /a file: with words\nSize: 4 kB\nPss:  3 kB\n\
                    Pss_Dirty: 9 kB\nShared_Dirty: 2 kB\nVmFlags: rd mr\n7ffc-7ffd rw-p 0 00:00 0 [stack]\n\
                    Private_Clean: 1 kB\nPrivate_Dirty: 5 kB\nAnonymous: six kB\nAnonymous: 7 kB\n";
        let mut mappings = Vec::new();
        add(&mut mappings, "Pss: 1 kB");
        text.lines().for_each(|line| add(&mut mappings, line));
        let shared =
            Mapping { permissions: *b"r--s", pss: 3072, shared_dirty: 2048, ..Mapping::default() };
        let stack = Mapping {
            permissions: *b"rw-p",
            private_clean: 1024,
            private_dirty: 5120,
            anonymous: 7168,
            ..Mapping::default()
        };
        assert_eq!(mappings, [shared, stack]);
    }

    #[test]
    fn our_own_memory_is_found_and_a_missing_process_is_none() {
        let memory = vec![1_u8; 8 << 20];
        let us = i32::try_from(std::process::id()).unwrap();
        let mappings = Procfs::default().smaps(us).unwrap().unwrap();
        let anonymous: u64 = mappings.iter().map(|mapping| mapping.anonymous).sum();
        assert!(anonymous >= 8 << 20, "{anonymous}");
        assert_eq!(memory[memory.len() / 2], 1);
        assert!(Procfs::default().smaps(i32::MAX).unwrap().is_none());
    }
}
