//! The one thing a safe process builder cannot do: prepare a child between fork and exec.
#![allow(unsafe_code)]

use std::os::fd::OwnedFd;

use rustix::io::{FdFlags, fcntl_setfd};
use tokio::process::Command;

/// Makes the child the leader of a session of its own, and lets it inherit `descriptor` under the
/// number it has here.
pub(crate) fn detach_with(command: &mut Command, descriptor: OwnedFd) {
    let prepare = move || {
        rustix::process::setsid()?;
        fcntl_setfd(&descriptor, FdFlags::empty())?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls; it neither allocates nor
    // takes a lock.
    unsafe {
        command.pre_exec(prepare);
    }
}
