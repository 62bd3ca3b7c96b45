//! How much of the disk a directory tree uses, as `du -k -s` counts it, walked by somebody who trusts nothing in it.
//!
//! The tree belongs to a task that may be changing it right now, on purpose or against us:
//! * No path is ever put together: every directory is opened by one name relative to its open parent, and `openat2` refuses
//!   links, `..` and mount points. A directory that is swapped for a link is just not opened.
//! * What vanishes or changes its kind between two looks is left to the next walk. What may not be read is counted as
//!   unreadable, and the walk goes on.
//! * There is no recursion. At most [`OPEN_DIRECTORIES`] levels are open; deeper down the ones further up are closed and found
//!   again through `..`, if that is still the same directory. A level that is closed costs a few words, so a tree may be as
//!   deep as it likes.
//! * Directories are streamed. Nothing is kept of a file, except the inode number of one with several links; and of those at
//!   most [`LINKED_FILES`] (about 10 MB). Beyond that a file is shared out between its links: each counts for its part, which
//!   is exact when all links are inside, and too little otherwise.
//!
//! Unlike `du` it stays on the file system it started on: what is mounted inside is not the container's disk, or it is a
//! volume, which is measured by itself.

use std::collections::HashSet;
use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::excluded::Excluded;

/// Levels that are open at the same time, each with its buffer of at most 48 KB.
const OPEN_DIRECTORIES: usize = 32;
/// Files with several links that are told apart.
const LINKED_FILES: usize = 900_000;
/// Entries between two questions whether to go on.
const STRIDE: u32 = 16;

const OPEN: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK);

/// What a tree uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Bytes of whole blocks, rounded up to 1024 in a finished walk.
    pub(crate) bytes: u64,
    /// Files and directories that were counted.
    pub(crate) entries: u64,
    /// Directories and files that we were not allowed, or not able, to look into.
    pub(crate) unreadable: u64,
    /// Directories whose rest was left out because they were moved away under us.
    pub(crate) lost: u64,
    /// False when the walk was stopped: then it is at least this much.
    pub(crate) finished: bool,
}

impl Usage {
    /// Together with another tree's.
    pub(crate) fn add(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.entries += other.entries;
        self.unreadable += other.unreadable;
        self.lost += other.lost;
        self.finished &= other.finished;
    }

    /// What an operator should know: that the figure is too small.
    pub(crate) fn complaint(&self) -> Option<String> {
        (self.unreadable > 0).then(|| {
            format!(
                "{} of {} entries cannot be read and are not counted",
                self.unreadable, self.entries
            )
        })
    }
}

/// One level of the walk.
struct Level {
    /// `None` when it was closed to save descriptors.
    dir: Option<Dir>,
    /// Where to go on, as the directory itself counts.
    resume: i64,
    /// What it is, to know it again.
    identity: (u64, u64),
    excluded: Excluded,
}

/// A walk that is going on.
struct Walk<'a> {
    usage: Usage,
    linked: HashSet<u64>,
    linked_files: usize,
    device: u64,
    until_question: u32,
    keep_going: &'a mut dyn FnMut(&Usage) -> bool,
}

/// Measures the tree below `root`, `root` itself included, without what is `excluded`. `keep_going` is asked every few
/// entries; when it says no the walk ends, unfinished.
///
/// # Errors
/// When the root itself cannot be looked at.
pub(crate) fn measure(
    root: OwnedFd,
    excluded: Excluded,
    keep_going: &mut dyn FnMut(&Usage) -> bool,
) -> Result<Usage, Errno> {
    measure_telling_apart(LINKED_FILES, root, excluded, keep_going)
}

/// The same with another limit on the files that are told apart.
fn measure_telling_apart(
    linked_files: usize,
    root: OwnedFd,
    excluded: Excluded,
    keep_going: &mut dyn FnMut(&Usage) -> bool,
) -> Result<Usage, Errno> {
    let stat = rustix::fs::fstat(&root)?;
    let mut walk = Walk {
        usage: Usage::default(),
        linked: HashSet::new(),
        linked_files,
        device: stat.st_dev,
        until_question: 0,
        keep_going,
    };
    walk.count(&stat);
    let root = Level { dir: Some(Dir::new(root)?), resume: 0, identity: identity(&stat), excluded };
    walk.usage.finished = walk.run(root);
    if walk.usage.finished {
        walk.usage.bytes = walk.usage.bytes.next_multiple_of(1024);
    }
    Ok(walk.usage)
}

/// What comes after a part of a directory.
enum Step {
    Down(Level),
    Up,
    Stop,
}

impl Walk<'_> {
    /// Walks until the end (true) or until told to stop.
    fn run(&mut self, root: Level) -> bool {
        let mut levels = vec![root];
        while let Some(level) = levels.last_mut() {
            match self.next(level) {
                Step::Down(below) => {
                    levels.push(below);
                    close_one_above(&mut levels);
                }
                Step::Up => self.ascend(&mut levels),
                Step::Stop => return false,
            }
        }
        true
    }

    /// Counts on in a directory, up to the next directory in it.
    fn next(&mut self, level: &mut Level) -> Step {
        let Some(dir) = level.dir.as_mut() else { return Step::Up };
        while let Some(entry) = dir.read() {
            if !self.may_go_on() {
                return Step::Stop;
            }
            let Ok(entry) = entry else {
                self.usage.unreadable += 1;
                break;
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            level.resume = entry.offset();
            let Some(excluded) = level.excluded.below(name.to_bytes()) else { continue };
            let Ok(parent) = dir.fd() else { break };
            match self.look_at(parent, name, entry.file_type(), excluded) {
                Ok(Some(below)) => return Step::Down(below),
                Ok(None) => {}
                Err(errno) => self.missed(errno),
            }
        }
        Step::Up
    }

    /// Counts what has this name; a directory comes back opened.
    fn look_at(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        kind: FileType,
        excluded: Excluded,
    ) -> Result<Option<Level>, Errno> {
        if !matches!(kind, FileType::Directory | FileType::Unknown) {
            let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            // It may have become a directory since it was listed: then it is only counted itself, this time.
            self.count(&stat);
            return Ok(None);
        }
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let opened = match rustix::fs::openat2(parent, name, OPEN, Mode::empty(), beneath) {
            Ok(opened) => opened,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                // A file system that does not tell kinds, or it changed.
                let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                self.count(&stat);
                return Ok(None);
            }
            Err(Errno::XDEV) => return Ok(None),
            Err(errno) => {
                // Closed to us: its own blocks are all we can tell.
                let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                self.count(&stat);
                return Err(errno);
            }
        };
        let stat = rustix::fs::fstat(&opened)?;
        if stat.st_dev != self.device {
            return Ok(None);
        }
        self.count(&stat);
        let dir = Some(Dir::new(opened)?);
        Ok(Some(Level { dir, resume: 0, identity: identity(&stat), excluded }))
    }

    fn count(&mut self, stat: &Stat) {
        const BLOCK: u64 = 512;
        let bytes = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK);
        let is_directory = FileType::from_raw_mode(stat.st_mode).is_dir();
        self.usage.entries += 1;
        let bytes = match stat.st_nlink {
            links if links > 1 && !is_directory => self.first_time(stat.st_ino, bytes, links),
            _ => bytes,
        };
        self.usage.bytes = self.usage.bytes.saturating_add(bytes);
    }

    /// What a file with several links counts for this time.
    fn first_time(&mut self, inode: u64, bytes: u64, links: u64) -> u64 {
        if self.linked.contains(&inode) {
            0
        } else if self.linked.len() < self.linked_files {
            self.linked.insert(inode);
            bytes
        } else {
            bytes / links
        }
    }

    /// Something that was listed could not be looked at.
    fn missed(&mut self, errno: Errno) {
        // Gone is gone: it uses nothing.
        if errno != Errno::NOENT {
            self.usage.unreadable += 1;
        }
    }

    fn may_go_on(&mut self) -> bool {
        self.until_question = self.until_question.checked_sub(1).unwrap_or(STRIDE);
        self.until_question > 0 || (self.keep_going)(&self.usage)
    }

    /// Leaves a level that is done, and opens the one above if that was closed.
    fn ascend(&mut self, levels: &mut Vec<Level>) {
        let Some(done) = levels.pop() else { return };
        let Some(above) = levels.last_mut() else { return };
        if above.dir.is_some() {
            return;
        }
        above.dir = done.dir.as_ref().and_then(|done| reopen(done, above));
        if above.dir.is_none() {
            // Somebody moved it. The way back is gone for all levels up to the first one, which is never closed.
            self.usage.lost += u64::try_from(levels.len().saturating_sub(1)).unwrap_or(u64::MAX);
            levels.truncate(1);
        }
    }
}

/// The directory above this one, if it is still the one that we came from, where we left it.
fn reopen(below: &Dir, level: &Level) -> Option<Dir> {
    let above = rustix::fs::openat(below.fd().ok()?, c"..", OPEN, Mode::empty()).ok()?;
    if identity(&rustix::fs::fstat(&above).ok()?) != level.identity {
        return None;
    }
    let mut dir = Dir::new(above).ok()?;
    dir.seek(level.resume).ok()?;
    Some(dir)
}

/// Closes the level that now is too far up. The first stays open: it is the way back when others are lost.
fn close_one_above(levels: &mut [Level]) {
    let far = levels.len().checked_sub(OPEN_DIRECTORIES).filter(|far| *far > 0);
    if let Some(level) = far.and_then(|far| levels.get_mut(far)) {
        level.dir = None;
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

#[cfg(test)]
mod tests;
