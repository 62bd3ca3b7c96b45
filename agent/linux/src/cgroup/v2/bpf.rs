//! The few instructions and the three calls of bpf(2) that a program about devices takes.
//!
//! No crate fits: those that load programs take a compiled object file and a runtime around it. This is 7 kinds of
//! instructions, as linux/bpf.h has them.
#![allow(unsafe_code, reason = "bpf(2) has no safe wrapper; each block says why it is sound")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// One of the machine's registers: 0 is the answer, 1 the argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Register(pub(super) u8);

/// An instruction, laid out as `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

// Opcodes: class, size or source, operation.
const LOAD_32: u8 = 0x61;
const COPY: u8 = 0xbf;
const SET: u8 = 0xb7;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const JUMP_IF_ANY: u8 = 0x45;
const EXIT: u8 = 0x95;

impl Instruction {
    const fn new(code: u8, to: Register, from: Register, offset: i16, immediate: i32) -> Self {
        // Two fields of four bits, in the machine's order.
        let registers =
            if cfg!(target_endian = "little") { from.0 << 4 | to.0 } else { to.0 << 4 | from.0 };
        Self { code, registers, offset, immediate }
    }

    /// `to = *(u32 *)(from + offset)`
    pub(super) const fn load(to: Register, from: Register, offset: i16) -> Self {
        Self::new(LOAD_32, to, from, offset, 0)
    }

    /// `to = from`
    pub(super) const fn copy(to: Register, from: Register) -> Self {
        Self::new(COPY, to, from, 0, 0)
    }

    /// `to = number`
    pub(super) const fn set(to: Register, number: i32) -> Self {
        Self::new(SET, to, Register(0), 0, number)
    }

    /// `to &= bits`
    pub(super) const fn and(to: Register, bits: i32) -> Self {
        Self::new(AND, to, Register(0), 0, bits)
    }

    /// `to >>= bits`
    pub(super) const fn shift_right(to: Register, bits: i32) -> Self {
        Self::new(SHIFT_RIGHT, to, Register(0), 0, bits)
    }

    /// Skips `over` instructions unless the register has this value.
    pub(super) const fn jump_unless_equal(register: Register, value: i32, over: i16) -> Self {
        Self::new(JUMP_UNLESS_EQUAL, register, Register(0), over, value)
    }

    /// Skips `over` instructions if the register has any of these bits.
    pub(super) const fn jump_if_any(register: Register, bits: i32, over: i16) -> Self {
        Self::new(JUMP_IF_ANY, register, Register(0), over, bits)
    }

    /// Ends the program.
    pub(super) const fn exit() -> Self {
        Self::new(EXIT, Register(0), Register(0), 0, 0)
    }
}

const PROG_LOAD: u32 = 5;
const PROG_ATTACH: u32 = 8;
const PROG_QUERY: u32 = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// Cgroups below may have programs of their own, which are asked as well.
const ALLOW_MULTI: u32 = 2;
/// The kernel wants to know; none of what is for GPL programs only is used here.
const LICENCE: &CStr = c"Apache-2.0";

/// The fields of `union bpf_attr` for loading, up to the last that is used.
#[repr(C)]
struct LoadArguments {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

/// Those for attaching.
#[repr(C)]
struct AttachArguments {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

/// Those for asking what is attached.
#[repr(C)]
struct QueryArguments {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

/// Loads a program; the kernel checks it first.
pub(super) fn load_device_program(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let mut arguments = LoadArguments {
        program_type: TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
        instructions: instructions.as_ptr() as u64,
        licence: LICENCE.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
    };
    // SAFETY: both addresses are of memory that outlives the call, with as many instructions as are told; the kernel only
    // reads them.
    let fd = unsafe { bpf(PROG_LOAD, &mut arguments) }?;
    // SAFETY: the call has just made this descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a program to an open cgroup directory.
pub(super) fn attach_device_program(program: &OwnedFd, cgroup: &OwnedFd) -> io::Result<()> {
    let mut arguments = AttachArguments {
        target: number(cgroup.as_raw_fd()),
        program: number(program.as_raw_fd()),
        attach_type: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: the arguments hold no address.
    unsafe { bpf(PROG_ATTACH, &mut arguments) }.map(drop)
}

/// How many programs about devices are attached to an open cgroup directory.
pub(super) fn count_device_programs(cgroup: &OwnedFd) -> io::Result<u32> {
    let mut arguments = QueryArguments {
        target: number(cgroup.as_raw_fd()),
        attach_type: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: 0,
        count: 0,
        padding: 0,
    };
    // SAFETY: with no room for ids (address and count are 0) the kernel writes into the arguments only.
    unsafe { bpf(PROG_QUERY, &mut arguments) }?;
    Ok(arguments.count)
}

fn number(fd: RawFd) -> u32 {
    // An open descriptor is never negative.
    u32::try_from(fd).unwrap_or(u32::MAX)
}

/// bpf(2).
///
/// # Safety
/// `arguments` must be laid out as the kernel's for this command, and every address in them valid for what it does there.
unsafe fn bpf<T>(command: u32, arguments: &mut T) -> io::Result<RawFd> {
    // SAFETY: the arguments are alive and as long as told; for their content the caller vouches.
    let result = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_bpf,
            command,
            std::ptr::from_mut(arguments),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(RawFd::try_from(result).unwrap_or(-1))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
pub(super) mod tests {
    use super::*;

    /// Runs a program as the kernel would, on three numbers of 32 bits; what it answers.
    pub(in super::super) fn run(program: &[Instruction], context: [u32; 3]) -> u64 {
        let mut registers = [0_u64; 6];
        let mut at = 0_usize;
        loop {
            let Instruction { code, registers: pair, offset, immediate } = program[at];
            let (to, from) = (usize::from(pair & 0xf), usize::from(pair >> 4));
            let immediate = i64::from(immediate).cast_unsigned();
            at += 1;
            let jump = usize::try_from(offset).unwrap();
            match code {
                LOAD_32 => registers[to] = u64::from(context[jump / 4]),
                COPY => registers[to] = registers[from],
                SET => registers[to] = immediate,
                AND => registers[to] &= immediate,
                SHIFT_RIGHT => registers[to] >>= immediate,
                JUMP_UNLESS_EQUAL if registers[to] != immediate => at += jump,
                JUMP_IF_ANY if registers[to] & immediate != 0 => at += jump,
                JUMP_UNLESS_EQUAL | JUMP_IF_ANY => {}
                EXIT => return registers[0],
                other => unreachable!("opcode {other:#x}"),
            }
        }
    }

    #[test]
    fn an_instruction_is_eight_bytes() {
        assert_eq!(size_of::<Instruction>(), 8);
        assert_eq!(size_of::<LoadArguments>(), 40);
        assert_eq!(size_of::<AttachArguments>(), 16);
        assert_eq!(size_of::<QueryArguments>(), 32);
    }
}
