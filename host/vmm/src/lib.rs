//! Backends that turn a machine description into a running VMM: Firecracker and QEMU.
//!
//! Owns the words that those two understand, what this host can run of them, and how a keeper is
//! started and asked. Refuses to know what a workspace is and what runs in the guest.

mod backend;
mod choice;
mod clock;
mod error;
mod firecracker;
pub mod keeper;
pub mod kvm;
mod machine;
mod programs;
mod qemu;
mod sys;

pub use backend::{Backend, BackendName, Templates, UnknownBackend};
pub use choice::{Chosen, Findings, choose};
pub use clock::{HostClock, boot_id};
pub use error::VmmError;
pub use firecracker::{Api as FirecrackerApi, Firecracker, InstanceInfo};
pub use machine::{Drives, Machine};
pub use programs::HostPrograms;
pub use qemu::{Qemu, Saving};
