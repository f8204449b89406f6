//! Sockets of families that no safe crate addresses: vsock(7) and the kernel's device events.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

const KINDS: libc::c_int = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;

fn socket(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: it takes numbers.
    let fd =
        super::check(libc::c_long::from(unsafe { libc::socket(family, kind | KINDS, protocol) }))?;
    // SAFETY: the kernel has just made this descriptor for the caller alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A socket that becomes readable when the kernel has something to say about a device
/// (netlink(7), `NETLINK_KOBJECT_UEVENT`).
pub fn kernel_events() -> io::Result<OwnedFd> {
    let socket = socket(libc::AF_NETLINK, libc::SOCK_DGRAM, libc::NETLINK_KOBJECT_UEVENT)?;
    // SAFETY: sockaddr_nl is plain data for which zero is valid; pointer and length are its own.
    let result = unsafe {
        let mut address: libc::sockaddr_nl = std::mem::zeroed();
        address.nl_family = libc::AF_NETLINK as u16;
        address.nl_groups = 1;
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_nl>() as u32,
        )
    };
    super::check(libc::c_long::from(result))?;
    Ok(socket)
}

const VSOCK_BYTES: u32 = size_of::<libc::sockaddr_vm>() as u32;

fn vsock_address(cid: u32, port: u32) -> libc::sockaddr_vm {
    // SAFETY: sockaddr_vm is plain data for which zero is valid.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::AF_VSOCK as u16;
    address.svm_cid = cid;
    address.svm_port = port;
    address
}

/// How many connections may wait to be accepted: one too many is refused by the kernel, and a VMM
/// carries 1023 in all.
const WAITING: libc::c_int = 1024;

/// Listens on a vsock port of every address of this machine.
pub fn vsock_listen(port: u32) -> io::Result<OwnedFd> {
    let socket = socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)?;
    let address = vsock_address(libc::VMADDR_CID_ANY, port);
    // SAFETY: pointer and length are those of the address, which lives across the call.
    let result =
        unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), VSOCK_BYTES) };
    super::check(libc::c_long::from(result))?;
    // SAFETY: it takes numbers.
    super::check(libc::c_long::from(unsafe { libc::listen(socket.as_raw_fd(), WAITING) }))?;
    Ok(socket)
}

/// Begins to connect to a vsock port of the host; what becomes of that shows later.
pub fn vsock_connect(port: u32) -> io::Result<OwnedFd> {
    let socket = socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)?;
    let address = vsock_address(libc::VMADDR_CID_HOST, port);
    // SAFETY: pointer and length are those of the address, which lives across the call.
    let result =
        unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), VSOCK_BYTES) };
    match super::check(libc::c_long::from(result)) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// Takes the next connection; says whether it comes from the host.
pub fn vsock_accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, bool)> {
    // SAFETY: sockaddr_vm is plain data for which zero is valid; it and its length live across
    // the call, which writes no more than that length.
    unsafe {
        let mut address: libc::sockaddr_vm = std::mem::zeroed();
        let mut length = VSOCK_BYTES;
        let fd = super::check(libc::c_long::from(libc::accept4(
            listener.as_raw_fd(),
            (&raw mut address).cast(),
            &raw mut length,
            KINDS,
        )))?;
        let connection = OwnedFd::from_raw_fd(fd as i32);
        Ok((connection, address.svm_cid == libc::VMADDR_CID_HOST))
    }
}
