//! A thread of background work that gives way to others on the machine.
//!
//! For the CPU this is a nice value, not `SCHED_IDLE`: on a machine whose CPUs are all busy an idle thread gets about 0.3 % of
//! one and the nicest 1.5 %, and what works here still has to be done some time. It also may hold a lock of the kernel (a
//! directory's) that others want, so it must get on.
#![allow(unsafe_code, reason = "ioprio_set has no wrapper; the block says why it is sound")]

use std::io;

use rustix::process::setpriority_process;

/// How far a thread gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// To everybody: the least of the CPUs, and of the disks only what nobody else wants.
    Lowest,
    /// To most: a tenth of what others get of the CPUs, and the least of those that share the disks.
    Low,
}

// From the kernel's ioprio.h.
const IOPRIO_WHO_PROCESS: i32 = 1;
const IOPRIO_CLASS_SHIFT: i32 = 13;
const IOPRIO_CLASS_BEST_EFFORT: i32 = 2;
const IOPRIO_CLASS_IDLE: i32 = 3;
const IOPRIO_LOWEST_LEVEL: i32 = 7;

/// Sets the priority of the calling thread, not of its process. What the disks make of it is up to their I/O scheduler. From
/// [`Priority::Lowest`] to [`Priority::Low`] takes a privilege.
///
/// # Errors
/// What the kernel says; when the CPUs are refused the disks are tried all the same.
pub fn give_way(priority: Priority) -> io::Result<()> {
    let (nice, disk) = match priority {
        Priority::Lowest => (19, IOPRIO_CLASS_IDLE << IOPRIO_CLASS_SHIFT),
        Priority::Low => {
            (10, (IOPRIO_CLASS_BEST_EFFORT << IOPRIO_CLASS_SHIFT) | IOPRIO_LOWEST_LEVEL)
        }
    };
    // On Linux a nice value belongs to a thread, and "no pid" is the calling one.
    let on_cpu = setpriority_process(None, nice);
    // SAFETY: takes three numbers, reads and writes no memory of ours; 0 is the calling thread.
    let result =
        unsafe { nix::libc::syscall(nix::libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, disk) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(on_cpu?)
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
            give_way(Priority::Low).unwrap();
            assert_eq!(rustix::process::getpriority_process(None).unwrap(), 10);
            assert_eq!(disk_priority(), (2 << IOPRIO_CLASS_SHIFT) | 7);
            give_way(Priority::Lowest).unwrap();
            assert_eq!(rustix::process::getpriority_process(None).unwrap(), 19);
            assert_eq!(disk_priority() >> IOPRIO_CLASS_SHIFT, 3);
        })
        .join()
        .unwrap();
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), nice);
        assert_eq!(disk_priority(), disk);
    }
}
