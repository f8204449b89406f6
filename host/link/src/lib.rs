//! The node's side of the guest channel: typed calls on the wire.
//!
//! Owns the conversation with one guest's agent: opening streams on the keeper's `vm.sock`, the
//! first frame, replies, time limits. Refuses to know workspaces, records and HTTP. Everything that
//! comes back is hostile input: bounded by the wire's limits and timed.

mod call;
mod exec;
mod files;
mod places;
mod port;
mod service;
mod stream;
mod trunk;

pub use call::{Link, Watching};
pub use exec::{ExecSender, ExecStream, Output, OutputReader};
pub use files::{FilePiece, FileReader, FileWriter, FrozenDisk};
pub use port::{PortReader, PortWriter};
pub use service::{LogReader, ServiceEvents};
pub use stream::{LinkError, Stream};
pub use trunk::{Asked, Carrier, GuestStream, TRUNK_MEMORY, Trunk, Wish};
