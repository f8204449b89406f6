//! Metadata in SQLite: workspaces, execs, services and what happened to these.
//!
//! Owns the database file and its schema. Refuses to know what a state means: it keeps what
//! `workspace` tells it. The `phase` of a workspace *is* the journal: it is written, durably, before
//! the effect it announces, and reconciliation at the node's start reads it.
//!
//! **Invariants.** A schema newer than this build's is refused, untouched. Changes of phase survive
//! a power cut (synchronous FULL); exec records survive a killed process (they are in the WAL) and
//! may lose the last moments before a power cut, which ends every VM anyway.

mod record;
mod services;
mod store;

pub use record::{
    Checkpoints, ExecRecord, ExecState, LastCommand, NetworkPolicy, NetworkRecord, OnExpiry, Phase,
    PublishedPort, ResetRecord, SeedMode, SeedRecord, ServiceEvent, ServiceExit, ServiceRecord,
    SnapshotRecord, WorkspaceKind, WorkspaceRecord,
};
pub use store::{Store, StoreError};
