//! Which device files a cgroup may open: a BPF program of the kind `cgroup/dev` (bpf(2), and the
//! kernel's Documentation/admin-guide/cgroup-v2.rst, "Device controller").

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

/// A character device that may be used.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    /// Its major number.
    pub major: u32,
    /// Its minor number; `None`: all of them.
    pub minor: Option<u32>,
}

/// One instruction of eBPF.
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    /// Destination in the lower four bits, source in the upper.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn load_word(destination: u8, source: u8, offset: i16) -> Instruction {
    Instruction { code: 0x61, registers: destination | source << 4, offset, immediate: 0 }
}
const fn and(register: u8, immediate: i32) -> Instruction {
    Instruction { code: 0x54, registers: register, offset: 0, immediate }
}
const fn shift_right(register: u8, immediate: i32) -> Instruction {
    Instruction { code: 0x74, registers: register, offset: 0, immediate }
}
const fn set(register: u8, immediate: i32) -> Instruction {
    Instruction { code: 0xb7, registers: register, offset: 0, immediate }
}
const fn copy(destination: u8, source: u8) -> Instruction {
    Instruction { code: 0xbf, registers: destination | source << 4, offset: 0, immediate: 0 }
}
const fn jump_if_not(register: u8, immediate: i32, offset: i16) -> Instruction {
    Instruction { code: 0x55, registers: register, offset, immediate }
}
const fn exit() -> Instruction {
    Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 }
}

/// `bpf_attr` as `BPF_PROG_LOAD` reads it, up to the last field used.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach: u32,
}

/// `bpf_attr` as `BPF_PROG_ATTACH` reads it.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// The program: device files may be made (mknod) always, and opened if they are in the list.
///
/// Its context is `struct bpf_cgroup_dev_ctx`: access and type in one word, major, minor.
fn program(allowed: &[Device]) -> Vec<Instruction> {
    const ACCESS_MKNOD: i32 = 1;
    const TYPE_CHARACTER: i32 = 2;
    let mut program = vec![
        // r2 = type, r3 = access, r4 = major, r5 = minor
        load_word(3, 1, 0),
        copy(2, 3),
        and(2, 0xffff),
        shift_right(3, 16),
        load_word(4, 1, 4),
        load_word(5, 1, 8),
        // Making a node is harmless where opening it is not allowed.
        jump_if_not(3, ACCESS_MKNOD, 2),
        set(0, 1),
        exit(),
        jump_if_not(2, TYPE_CHARACTER, 1),
        jump_if_not(2, -1, 2),
        set(0, 0),
        exit(),
    ];
    for device in allowed {
        match device.minor {
            Some(minor) => program
                .extend([jump_if_not(4, device.major as i32, 3), jump_if_not(5, minor as i32, 2)]),
            None => program.push(jump_if_not(4, device.major as i32, 2)),
        }
        program.extend([set(0, 1), exit()]);
    }
    program.extend([set(0, 0), exit()]);
    program
}

/// Lets everything in the cgroup and below it open these character devices and no others.
pub fn attach_device_rule(cgroup: BorrowedFd<'_>, allowed: &[Device]) -> io::Result<()> {
    let instructions = program(allowed);
    let load = Load {
        kind: TYPE_CGROUP_DEVICE,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..Load::default()
    };
    // SAFETY: the attributes, the instructions and the licence they point to live across the
    // call, and the size is that of the structure.
    let program = super::check(unsafe {
        libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const load, size_of::<Load>())
    })?;
    // SAFETY: the kernel has just made this descriptor for the caller alone.
    let program = unsafe { OwnedFd::from_raw_fd(program as i32) };
    let attach = Attach {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        // The workload may narrow it further for its own containers.
        flags: ALLOW_MULTI,
    };
    // SAFETY: the attributes live across the call, and the size is that of the structure.
    super::check(unsafe {
        libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attach, size_of::<Attach>())
    })
    .map(drop)
}
