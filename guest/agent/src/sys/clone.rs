//! `clone3(2)`, used as a fork into a cgroup whose child belongs to the caller's parent.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// Which of the two processes this is.
pub enum Forked {
    /// The new one.
    Child,
    /// The one that called.
    Parent {
        /// The child's process id, as the caller sees it.
        pid: i32,
        /// A handle of the child.
        pidfd: OwnedFd,
    },
}

/// Forks a child into the cgroup. The child's parent is the *caller's* parent, which is told of its
/// end (clone(2), `CLONE_PARENT`).
///
/// Only a process with a single thread may call this: in the child everything else is as it was
/// copied, locks of other threads included.
pub fn fork_into(cgroup: BorrowedFd<'_>) -> io::Result<Forked> {
    let mut pidfd: libc::c_int = -1;
    let flags = libc::CLONE_PIDFD as u64 | libc::CLONE_PARENT as u64 | 0x2_0000_0000;
    let arguments = libc::clone_args {
        // The last is CLONE_INTO_CGROUP, which has no constant of its own width in libc.
        flags,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        // Taken from the caller with CLONE_PARENT.
        exit_signal: 0,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: cgroup.as_raw_fd() as u64,
    };
    // SAFETY: without CLONE_VM and with no stack given the child goes on with a copy of this
    // process, as after fork(2). `arguments` and `pidfd` live across the call, and the size is
    // that of the structure.
    let pid = super::check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            std::ptr::from_ref(&arguments),
            size_of::<libc::clone_args>(),
        )
    })?;
    if pid == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: the kernel has just made this descriptor for the caller alone (CLONE_PIDFD).
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Forked::Parent { pid: pid as i32, pidfd })
}
