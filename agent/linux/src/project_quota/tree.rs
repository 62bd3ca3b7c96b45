//! Which project the files of a tree belong to.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::sys::{self, INHERIT};
use crate::{Error, Result};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Never waits for the other end of a fifo, and never makes a terminal ours.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);
/// The tree may belong to a task that changes it meanwhile: nothing leads out of it.
const INSIDE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_XDEV);

/// What came of [`set_project`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Labelled {
    /// Directories and files that belong to the project now.
    pub files: u64,
    /// Those that kept what they had because they cannot be opened or changed. (Links, pipes and devices, which have no such
    /// attributes, are not counted.)
    pub refused: u64,
}

/// The project of a directory; `None` when it belongs to none.
///
/// # Errors
/// [`Error::Io`]; a file system without projects says so.
pub fn project_of(directory: &Path) -> Result<Option<u32>> {
    let opened = open(directory)?;
    let attributes = sys::attributes(&opened)
        .map_err(|source| Error::io("read the project of", directory, source))?;
    Ok((attributes.project != 0).then_some(attributes.project))
}

/// Makes a directory and everything in it part of a project, and whatever is made in it later.
///
/// What is in there already is best nothing: a file that is written to meanwhile may count for its old project, and symbolic
/// links, pipes and devices stay with it. Other file systems mounted inside are left alone.
///
/// # Errors
/// [`Error::Io`] when the directory itself, or a directory in it, cannot be changed.
pub fn set_project(tree: &Path, project: u32) -> Result<Labelled> {
    let root = open(tree)?;
    set(&root, project, true).map_err(|source| failed(tree, project, source))?;
    let mut labelled = Labelled { files: 1, refused: 0 };
    // Paths below the root; one directory is open at a time, however deep the tree is.
    let mut open_ends = vec![PathBuf::from(".")];
    while let Some(directory) = open_ends.pop() {
        let path = tree.join(&directory);
        let opened = match rustix::fs::openat2(&root, &directory, DIRECTORY, Mode::empty(), INSIDE)
        {
            Ok(opened) => opened,
            Err(errno) if is_elsewhere(errno) => continue,
            Err(errno) => return Err(failed(&path, project, errno.into())),
        };
        let mut entries = Dir::new(opened).map_err(|errno| failed(&path, project, errno.into()))?;
        while let Some(entry) = entries.read() {
            let entry = entry.map_err(|errno| failed(&path, project, errno.into()))?;
            let name = Path::new(std::ffi::OsStr::from_bytes(entry.file_name().to_bytes()));
            let below = directory.join(name);
            match entry.file_type() {
                _ if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                FileType::Directory => {
                    match label(&root, &below, DIRECTORY, project) {
                        Ok(()) => labelled.files += 1,
                        Err(errno) if is_elsewhere(errno) => continue,
                        Err(errno) => {
                            return Err(failed(&tree.join(&below), project, errno.into()));
                        }
                    }
                    open_ends.push(below);
                }
                FileType::RegularFile => match label(&root, &below, FILE, project) {
                    Ok(()) => labelled.files += 1,
                    Err(errno) if is_elsewhere(errno) => {}
                    Err(_) => labelled.refused += 1,
                },
                _ => {}
            }
        }
    }
    Ok(labelled)
}

fn label(root: &File, below: &Path, how: OFlags, project: u32) -> Result<(), Errno> {
    let opened = rustix::fs::openat2(root, below, how, Mode::empty(), INSIDE)?;
    let is_directory = how.contains(OFlags::DIRECTORY);
    set(&opened, project, is_directory)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn set(file: impl AsFd, project: u32, is_directory: bool) -> std::io::Result<()> {
    let mut attributes = sys::attributes(&file)?;
    attributes.project = project;
    if is_directory {
        attributes.flags |= INHERIT;
    }
    sys::set_attributes(file, attributes)
}

/// Gone, or another thing than it was a moment ago, or of another file system.
fn is_elsewhere(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV)
}

fn open(directory: &Path) -> Result<File> {
    rustix::fs::openat(CWD, directory, DIRECTORY, Mode::empty())
        .map(File::from)
        .map_err(|errno| Error::io("open", directory, errno))
}

fn failed(path: &Path, project: u32, source: std::io::Error) -> Error {
    Error::Io {
        operation: "set the project of",
        path: path.to_owned(),
        data: Some(project.to_string()),
        source,
    }
}
