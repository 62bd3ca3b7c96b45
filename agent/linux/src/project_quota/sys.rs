//! The two interfaces of the kernel that no safe wrapper covers: a file's extended attributes (its project), and the quota
//! records of XFS. Layouts and numbers are those of the kernel's `linux/fs.h` and `linux/dqblk_xfs.h`.
#![allow(unsafe_code, reason = "two ioctls and quotactl; each block says why it is sound")]

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::libc;
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

/// What is made in the directory gets the directory's project, and this flag when it is a directory.
pub(super) const INHERIT: u32 = 0x200;

/// `struct fsxattr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attributes {
    pub(super) flags: u32,
    extent_size: u32,
    extents: u32,
    pub(super) project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

const _: () = assert!(size_of::<Attributes>() == 28, "as in linux/fs.h");

/// `FS_IOC_FSGETXATTR`.
const GET_ATTRIBUTES: Opcode = opcode::read::<Attributes>(b'X', 31);
/// `FS_IOC_FSSETXATTR`.
const SET_ATTRIBUTES: Opcode = opcode::write::<Attributes>(b'X', 32);

pub(super) fn attributes(file: impl AsFd) -> io::Result<Attributes> {
    // SAFETY: the opcode reads a `struct fsxattr`, which `Attributes` is; any bits are a valid value of it.
    let get = unsafe { Getter::<GET_ATTRIBUTES, Attributes>::new() };
    // SAFETY: as above; a file system that does not know the opcode refuses it.
    Ok(unsafe { ioctl(file, get) }?)
}

pub(super) fn set_attributes(file: impl AsFd, attributes: Attributes) -> io::Result<()> {
    // SAFETY: the opcode is given a `struct fsxattr`, which `Attributes` is.
    let set = unsafe { Setter::<SET_ATTRIBUTES, Attributes>::new(attributes) };
    // SAFETY: as above; the kernel only reads it.
    Ok(unsafe { ioctl(file, set) }?)
}

/// `struct fs_disk_quota`, version 1. Amounts of disk are in blocks of 512 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    version: i8,
    flags: i8,
    /// Which fields to write.
    fields: u16,
    id: u32,
    pub(super) hard_blocks: u64,
    pub(super) soft_blocks: u64,
    hard_inodes: u64,
    soft_inodes: u64,
    pub(super) blocks: u64,
    pub(super) inodes: u64,
    timers: [i32; 2],
    warnings: [u16; 2],
    timers_high: [i8; 4],
    realtime_blocks: [u64; 3],
    realtime_timer: i32,
    realtime_warnings: u16,
    padding: [u8; 10],
}

const _: () = assert!(size_of::<Record>() == 112, "as in linux/dqblk_xfs.h");

const VERSION: i8 = 1;
const PROJECT_FLAG: i8 = 2;
const SOFT_BLOCKS: u16 = 1 << 2;
const HARD_BLOCKS: u16 = 1 << 3;
/// `Q_XGETQUOTA` and `Q_XSETQLIM`, for projects (`PRJQUOTA`).
const GET_QUOTA: i32 = command(3);
const SET_LIMITS: i32 = command(4);

const fn command(number: i32) -> i32 {
    const PROJECTS: i32 = 2;
    (((b'X' as i32) << 8) + number) << 8 | PROJECTS
}

/// The record of a project; `None` when there never was one.
pub(super) fn record(device: &Path, project: u32) -> io::Result<Option<Record>> {
    let mut record = Record::default();
    match quotactl(GET_QUOTA, device, project, &mut record) {
        Ok(()) => Ok(Some(record)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the limits of a project; 0 is no limit.
pub(super) fn set_limits(device: &Path, project: u32, soft: u64, hard: u64) -> io::Result<()> {
    let mut record = Record {
        version: VERSION,
        flags: PROJECT_FLAG,
        fields: SOFT_BLOCKS | HARD_BLOCKS,
        id: project,
        soft_blocks: soft,
        hard_blocks: hard,
        ..Record::default()
    };
    quotactl(SET_LIMITS, device, project, &mut record)
}

fn quotactl(command: i32, device: &Path, project: u32, record: &mut Record) -> io::Result<()> {
    let device = CString::new(device.as_os_str().as_bytes())?;
    // SAFETY: the device is a string that ends in zero; both commands read or write one `struct fs_disk_quota`, which
    // `Record` is, any bits being a valid value of it, and it lives as long as the call.
    let result = unsafe {
        libc::quotactl(
            command,
            device.as_ptr(),
            project.cast_signed(),
            std::ptr::from_mut(record).cast(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
