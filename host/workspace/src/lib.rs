//! The heart: one owner task per workspace, its lifecycle, its execs, reconciliation.
//!
//! Owns the state of every workspace: nobody else changes it. Refuses to know HTTP, the words of
//! Firecracker and QEMU, and what the wire looks like in bytes.
//!
//! ```text
//! Workspaces (registry) -> Handle -> requests -> owner task -> store, vm (keeper, link)
//!                            |  ^---- snapshots (watch) ----'
//!                            '-- reads never wait: they look at the newest snapshot
//! ```
//!
//! **Invariants.** A phase is written before its effect ([`pyro_store::Phase`] is the journal). A
//! lost client never ends a detached exec, a lost node never ends a VM. An exec's record says what
//! was seen, never a guess: where nobody saw the end, it is lost, with a reason.

mod activity;
mod checkpoint;
mod compare;
mod crash;
mod creation;
mod disk;
mod error;
mod exec;
mod files;
mod layout;
mod network;
mod output;
mod owner;
mod platform;
mod port;
mod published;
mod registry;
mod service;
mod state;
mod template;
mod vm;
mod warm;

pub use checkpoint::{BASELINE, NOW, WasReset};
pub use compare::{Compared, Moment};
pub use creation::{Change, Creation, SeedChoice};
pub use disk::{Disk, DiskImage};
pub use error::WorkspaceError;
pub use exec::{Attached, ExecSpec, ExecTerminal, InUseGuard, StartedExec};
pub use files::{
    Changed, Difference, FileKind, FilePart, Files, Found, Packed, PatchedFile, Search, Searched,
    SearchedLine, Unpacked,
};
pub use layout::occupied_bytes;
pub use network::{GUEST_ADDRESS, Network};
pub use output::{KeptOutput, OutputPiece, read_kept};
pub use owner::{Handle, Snapshot, StopReason};
pub use port::{Carried, PortConnection};
pub use published::{PortRequest, PortRow, PortState, PortStatus};
pub use pyro_change::Status as ChangeStatus;
pub use pyro_link::{ExecSender, ExecStream, LinkError, Output, OutputReader, TRUNK_MEMORY};
pub use pyro_relay as relay;
pub use pyro_store::{
    ExecRecord, ExecState, NetworkRecord, OnExpiry, Phase, PublishedPort, SeedMode, SeedRecord,
    ServiceEvent, ServiceRecord, SnapshotRecord, WorkspaceKind, WorkspaceRecord,
};
pub use pyro_wire::ExecRecord as GuestExecRecord;
pub use registry::{Settings, Workspaces};
pub use service::{
    Action, LogEntry, LogQuery, Outcome, ServiceLog, StartedService, Up, UpReport, UpService,
};
