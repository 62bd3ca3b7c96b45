//! A thread of background work that gives way to everything else on the machine.
//!
//! For the CPU this is the lowest nice value, not `SCHED_IDLE`: on a machine whose CPUs are all busy an idle thread gets about
//! 0.3 % of one and a nice one 1.5 %, and what works here still has to be done in time. It also may hold a lock of the kernel
//! (a directory's) that others want, so it must get on.
#![allow(unsafe_code, reason = "ioprio_set has no wrapper; the block says why it is sound")]

use std::io;

use rustix::process::setpriority_process;

/// How much of the disk's time a thread gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskPriority {
    /// Only what nobody else wants.
    Idle,
    /// The least of those that share.
    Lowest,
}

const LOWEST_NICE: i32 = 19;
// From the kernel's ioprio.h.
const IOPRIO_WHO_PROCESS: i32 = 1;
const IOPRIO_CLASS_SHIFT: i32 = 13;
const IOPRIO_CLASS_BEST_EFFORT: i32 = 2;
const IOPRIO_CLASS_IDLE: i32 = 3;
const IOPRIO_LOWEST_LEVEL: i32 = 7;

/// The calling thread (not its process) gives way to all others on the CPUs. Cannot be taken back without privilege.
///
/// # Errors
/// What the kernel says.
pub fn give_way_on_cpu() -> io::Result<()> {
    // On Linux a priority belongs to a thread, and "no pid" is the calling one.
    Ok(setpriority_process(None, LOWEST_NICE)?)
}

/// How much the calling thread (not its process) gets of the disks. What a disk makes of it is up to its I/O scheduler.
///
/// # Errors
/// What the kernel says.
pub fn give_way_on_disk(priority: DiskPriority) -> io::Result<()> {
    let value = match priority {
        DiskPriority::Idle => IOPRIO_CLASS_IDLE << IOPRIO_CLASS_SHIFT,
        DiskPriority::Lowest => {
            (IOPRIO_CLASS_BEST_EFFORT << IOPRIO_CLASS_SHIFT) | IOPRIO_LOWEST_LEVEL
        }
    };
    // SAFETY: takes three numbers, reads and writes no memory of ours; 0 is the calling thread.
    let result =
        unsafe { nix::libc::syscall(nix::libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    fn disk_priority() -> i64 {
        // SAFETY: as above.
        unsafe { nix::libc::syscall(nix::libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) }
    }

    #[test]
    fn only_the_calling_thread_gives_way() {
        let (nice, disk) = (rustix::process::getpriority_process(None).unwrap(), disk_priority());
        std::thread::spawn(|| {
            give_way_on_cpu().unwrap();
            assert_eq!(rustix::process::getpriority_process(None).unwrap(), LOWEST_NICE);
            give_way_on_disk(DiskPriority::Idle).unwrap();
            assert_eq!(disk_priority() >> IOPRIO_CLASS_SHIFT, 3);
            give_way_on_disk(DiskPriority::Lowest).unwrap();
            assert_eq!(disk_priority(), (2 << IOPRIO_CLASS_SHIFT) | 7);
        })
        .join()
        .unwrap();
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), nice);
        assert_eq!(disk_priority(), disk);
    }
}
