//! Verbs on the disks of stopped workspaces.

pub(super) mod export;
pub(super) mod list;
pub(super) mod read;
