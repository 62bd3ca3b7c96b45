//! Devices of version 2: a program in the kernel says yes or no to every opening of a device node.
//!
//! Version 2 has no files for devices. A small program, made of the rules, is loaded once and attached to the cgroup of each
//! container. The cgroup holds the program: it needs neither us nor a file, so it outlives the process that attached it and
//! goes when the cgroup goes. Programs of cgroups above are asked too, and all must say yes.

use std::os::fd::OwnedFd;

use super::bpf::{self, Instruction, Register};
use crate::cgroup::{Cgroup, DeviceAccess, DeviceKind, DeviceRule};
use crate::{Error, Result};

/// A loaded program that allows what its rules say and nothing else.
#[derive(Debug)]
pub struct DeviceProgram {
    program: OwnedFd,
}

impl DeviceProgram {
    /// Loads the program of these rules. The rights to one device add up, as in version 1.
    ///
    /// # Errors
    /// [`Error::Io`], when the kernel has no such programs or the caller may not load them.
    pub fn load(rules: &[DeviceRule]) -> Result<Self> {
        let program =
            bpf::load_device_program(&instructions(rules)).map_err(|source| Error::Io {
                operation: "load a device program into",
                path: "the kernel".into(),
                data: None,
                source,
            })?;
        Ok(Self { program })
    }

    /// From now on, what is inside the cgroup or below it uses devices by these rules.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn attach(&self, cgroup: &Cgroup) -> Result<()> {
        let dir = open(cgroup)?;
        bpf::attach_device_program(&self.program, &dir)
            .map_err(|source| Error::io("attach a device program to", cgroup.path(), source))
    }

    /// How many programs about devices are attached to the cgroup itself.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn attached(cgroup: &Cgroup) -> Result<u32> {
        let dir = open(cgroup)?;
        bpf::count_device_programs(&dir)
            .map_err(|source| Error::io("count the device programs of", cgroup.path(), source))
    }
}

fn open(cgroup: &Cgroup) -> Result<OwnedFd> {
    let dir = std::fs::File::open(cgroup.path())
        .map_err(|source| Error::io("open", cgroup.path(), source))?;
    Ok(dir.into())
}

// What the kernel hands over (struct bpf_cgroup_dev_ctx of linux/bpf.h): three numbers of 32 bits, the first of which is
// the access in its upper and the kind of device in its lower half.
const AT_ACCESS: i16 = 0;
const AT_MAJOR: i16 = 4;
const AT_MINOR: i16 = 8;
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;
const MAKE: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;
const ALL: i32 = MAKE | READ | WRITE;

const ANSWER: Register = Register(0);
const CONTEXT: Register = Register(1);
const KIND: Register = Register(2);
const ACCESS: Register = Register(3);
const MAJOR: Register = Register(4);
const MINOR: Register = Register(5);

/// The program: each rule in turn says yes or passes on to the next; at the end it is no.
fn instructions(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut program = vec![
        Instruction::load(KIND, CONTEXT, AT_ACCESS),
        Instruction::copy(ACCESS, KIND),
        Instruction::and(KIND, 0xffff),
        Instruction::shift_right(ACCESS, 16),
        Instruction::load(MAJOR, CONTEXT, AT_MAJOR),
        Instruction::load(MINOR, CONTEXT, AT_MINOR),
    ];
    for rule in joined(rules) {
        let kind = match rule.kind {
            DeviceKind::Block => BLOCK,
            DeviceKind::Character => CHARACTER,
        };
        let mut checks = vec![(KIND, Check::Is(kind))];
        let refused = ALL & !bits(rule.access);
        if refused != 0 {
            checks.push((ACCESS, Check::HasNone(refused)));
        }
        let numbers = [(MAJOR, rule.major), (MINOR, rule.minor)];
        checks.extend(numbers.into_iter().filter_map(|(register, number)| {
            // Device numbers have 12 and 20 bits: one that is not positive as 32 bits matches no device.
            Some((register, Check::Is(i32::try_from(number?).unwrap_or(-1))))
        }));
        // A check that fails jumps over the checks after it and over the two instructions that say yes.
        let mut skip = i16::try_from(checks.len()).unwrap_or(i16::MAX) + 1;
        for (register, check) in checks {
            program.push(match check {
                Check::Is(number) => Instruction::jump_unless_equal(register, number, skip),
                Check::HasNone(bits) => Instruction::jump_if_any(register, bits, skip),
            });
            skip -= 1;
        }
        program.extend([Instruction::set(ANSWER, 1), Instruction::exit()]);
    }
    program.extend([Instruction::set(ANSWER, 0), Instruction::exit()]);
    program
}

enum Check {
    Is(i32),
    HasNone(i32),
}

/// The rules with those of the same devices made one: the kernel asks for reading and writing at once.
fn joined(rules: &[DeviceRule]) -> Vec<DeviceRule> {
    let mut joined: Vec<DeviceRule> = Vec::new();
    for rule in rules {
        let same = |other: &&mut DeviceRule| {
            (other.kind, other.major, other.minor) == (rule.kind, rule.major, rule.minor)
        };
        match joined.iter_mut().find(same) {
            Some(other) => {
                other.access.read |= rule.access.read;
                other.access.write |= rule.access.write;
                other.access.make |= rule.access.make;
            }
            None => joined.push(*rule),
        }
    }
    joined
}

fn bits(access: DeviceAccess) -> i32 {
    let bit = |allowed, bit| if allowed { bit } else { 0 };
    bit(access.make, MAKE) | bit(access.read, READ) | bit(access.write, WRITE)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;
    use crate::cgroup::v2::bpf::tests::run;

    /// What the program of the rules says to an access.
    fn allows(rules: &[&str], kind: i32, access: i32, major: u32, minor: u32) -> bool {
        let rules: Vec<DeviceRule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        let first = u32::try_from(access << 16 | kind).unwrap();
        run(&instructions(&rules), [first, major, minor]) == 1
    }

    #[test]
    fn without_rules_everything_is_refused() {
        assert!(!allows(&[], CHARACTER, READ, 1, 3));
    }

    #[test]
    fn a_rule_is_about_kind_numbers_and_access() {
        let rules = ["b 8:0 rwm", "c 1:3 r", "c 136:* rw"];
        assert!(allows(&rules, CHARACTER, READ, 1, 3));
        assert!(!allows(&rules, BLOCK, READ, 1, 3));
        assert!(!allows(&rules, CHARACTER, READ | WRITE, 1, 3));
        assert!(!allows(&rules, CHARACTER, READ, 1, 5));
        assert!(!allows(&rules, CHARACTER, READ, 2, 3));
        assert!(allows(&rules, CHARACTER, READ | WRITE, 136, 77));
        assert!(!allows(&rules, CHARACTER, MAKE, 136, 77));
        assert!(allows(&rules, BLOCK, ALL, 8, 0));
    }

    #[test]
    fn rights_to_one_device_add_up() {
        assert!(allows(&["c 1:3 r", "c 1:3 w"], CHARACTER, READ | WRITE, 1, 3));
        assert!(!allows(&["c 1:3 r", "c 1:* w"], CHARACTER, READ | WRITE, 1, 3));
    }

    #[test]
    fn the_default_devices_can_be_used_and_disks_only_made() {
        let default = crate::cgroup::DEFAULT_DEVICES;
        assert!(allows(&default, CHARACTER, READ | WRITE, 1, 8));
        assert!(allows(&default, BLOCK, MAKE, 8, 0));
        assert!(!allows(&default, BLOCK, READ, 8, 0));
        assert!(!allows(&default, CHARACTER, READ, 10, 232));
    }
}
