//! The system calls that no safe crate offers, each behind a safe function.
//!
//! Owns every `unsafe` block of the agent. Refuses to know why it is called.
#![allow(unsafe_code)]

mod clone;
mod device_rule;
mod entropy;
mod freeze;
mod interface;
mod process;
mod seccomp;
mod sockets;
mod tunnel;
mod watched;

pub use clone::{Forked, fork_into};
pub use device_rule::{Device, attach_device_rule};
pub use entropy::{feed_entropy, reseed};
pub use freeze::{freeze, thaw};
pub use interface::bring_up_loopback;
pub use process::{
    adjust_clock, await_child, block_child_signal, clear_signals, close_all, end_process, execute,
    is_dying, keep_only, peek_child, reap_any, set_user, unshare,
};
pub use seccomp::deny_vsock;
pub use sockets::{kernel_events, vsock_accept, vsock_connect, vsock_listen};
pub use tunnel::{Ends, open_tunnel, set_up_tunnel};
pub use watched::watch;

/// The result of a raw system call: -1 is `errno`.
fn check(result: libc::c_long) -> std::io::Result<libc::c_long> {
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) }
}
