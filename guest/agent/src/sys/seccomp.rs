//! A filter of system calls (seccomp(2), classic BPF): the workload may not make vsock sockets.
//!
//! vsock knows no network name spaces, so nothing else keeps it from the host's ports. 32-bit
//! programs that use the old `socketcall`, and io_uring, pass by this filter; what they reach is
//! the host side, which serves nothing to guests, and never the agent, which takes connections
//! from the host only.

use std::io;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const SOCKET_X86_64: u32 = 41;
const SOCKET_X32: u32 = 0x4000_0029;
const SOCKET_I386: u32 = 359;

const fn step(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Makes `socket(AF_VSOCK, ...)` fail with `EAFNOSUPPORT` for this process and all it starts.
pub fn deny_vsock() -> io::Result<()> {
    let mut program = [
        step(LOAD, NUMBER, 0, 0),
        step(EQUAL, SOCKET_X86_64, 3, 0),
        step(EQUAL, SOCKET_X32, 4, 0),
        step(EQUAL, SOCKET_I386, 5, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        step(LOAD, ARCHITECTURE, 0, 0),
        step(EQUAL, X86_64, 4, 7),
        step(LOAD, ARCHITECTURE, 0, 0),
        step(EQUAL, X86_64, 2, 5),
        step(LOAD, ARCHITECTURE, 0, 0),
        step(EQUAL, I386, 0, 3),
        step(LOAD, FIRST_ARGUMENT, 0, 0),
        step(EQUAL, libc::AF_VSOCK as u32, 0, 1),
        step(RETURN, libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32, 0, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program and its length belong together and live across the call, which copies
    // it; the caller has CAP_SYS_ADMIN, so no_new_privs is not needed.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    super::check(result).map(drop)
}
