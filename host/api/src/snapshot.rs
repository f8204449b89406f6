//! Snapshots of a workspace's disk, and resets.

use pyro_core::WorkspaceId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Workspace;

/// Takes a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSnapshot {
    /// 1 to 64 of `A-Z a-z 0-9 . _ -` and a letter or digit first; not `baseline`.
    pub snapshot_name: String,
}

/// What a workspace's disk was at some time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// Its name.
    pub snapshot_name: String,
    /// `named`, or `baseline`: what the workspace was when it was made.
    pub kind: String,
    /// When it was taken.
    pub created_at: f64,
    /// Files, directories and links on its disk, the disk's own among them.
    pub entry_count: u64,
    /// Bytes of it that are in use.
    pub bytes_written: u64,
    /// Whether it can be deleted: all but the baseline.
    pub deletable: bool,
    /// How long whoever wrote to the disk was held up for it, milliseconds.
    pub frozen_ms: f64,
    /// Whether it shares its blocks with the workspace's disk, as some file systems can.
    pub by_reflink: bool,
}

/// The reply to a create.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CreatedSnapshot {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// The snapshot.
    pub snapshot: Snapshot,
    /// How long it took, milliseconds.
    pub duration_ms: u64,
    /// `guest_vsock`.
    pub execution_mode: String,
}

/// The snapshots of a workspace: the baseline first, then the newest first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SnapshotList {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// How many.
    pub count: usize,
    /// The snapshots.
    pub snapshots: Vec<Snapshot>,
}

/// The reply to a delete.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeletedSnapshot {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// What was deleted.
    pub snapshot_name: String,
    /// Always true.
    pub deleted: bool,
}

/// Gives a workspace the disk of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetWorkspace {
    /// Which; default `baseline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Forget the services that ran, rather than run them again.
    #[serde(default)]
    pub no_resume: bool,
}

/// A workspace that was reset, and what to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ResetResult {
    /// The workspace as it stands.
    #[serde(flatten)]
    pub workspace: Workspace,
    /// What it was reset to.
    pub workspace_reset: WorkspaceReset,
}

/// What a workspace was reset to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceReset {
    /// The snapshot.
    pub snapshot_name: String,
    /// `baseline` or `named`.
    pub kind: String,
    /// `/workspace`.
    pub destination: String,
    /// Files, directories and links on that disk.
    pub entry_count: u64,
    /// Bytes of it that are in use.
    pub bytes_written: u64,
    /// How long it took, milliseconds.
    pub duration_ms: u64,
}
