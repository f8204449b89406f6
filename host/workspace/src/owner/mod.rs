//! The owner task: holds one workspace's state and carries out what is asked of it, in order.
//!
//! ```text
//! handle     what the others have of it: requests in, snapshots out
//! task       the loop, and the record it keeps
//! start      disks, VM, both phases of the boot
//! stop       the way down, and deleting
//! execs      the records of commands
//! ports      the host's ports that lead to it
//! snapshots  copies of its disk: when, and which there are
//! reset      the way back to one
//! reconcile  what the node before left
//! follower   a task beside it, that listens to the guest
//! ```
//!
//! All but the follower run inside the one task, so that nothing here is ever half-changed when
//! something else looks.

mod execs;
mod follower;
mod handle;
mod ports;
mod reconcile;
mod reset;
mod snapshots;
mod start;
mod stop;
mod task;

pub(crate) use handle::Request;
pub use handle::{Handle, Snapshot, StopReason};
