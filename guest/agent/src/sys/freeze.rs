//! Holding up a file system (ioctl_fsfreeze, `FIFREEZE` and `FITHAW` of linux/fs.h).

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::check;

/// `_IOWR('X', 119, int)`.
const FIFREEZE: libc::c_ulong = 0xc004_5877;
/// `_IOWR('X', 120, int)`.
const FITHAW: libc::c_ulong = 0xc004_5878;

fn command(directory: BorrowedFd<'_>, request: libc::c_ulong) -> io::Result<()> {
    // SAFETY: both requests ignore their argument, and the descriptor is open for the whole call.
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), request as _, 0) };
    check(result.into()).map(drop)
}

/// Writes out what a file system holds and holds up whoever writes to it from then on. Blocks.
pub fn freeze(directory: BorrowedFd<'_>) -> io::Result<()> {
    command(directory, FIFREEZE)
}

/// Lets them go on.
pub fn thaw(directory: BorrowedFd<'_>) -> io::Result<()> {
    command(directory, FITHAW)
}
