//! The node itself.

use pyro_core::WorkspaceId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The node as it stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// pyro's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started_at: f64,
    /// Its state directory.
    pub state_directory: String,
    /// The image cache.
    pub cache_directory: String,
    /// Workspaces there are.
    pub workspace_count: usize,
    /// Workspaces that are started.
    pub started_count: usize,
    /// VMs that are started and nobody's yet (`PYRO_WARM_VMS`).
    pub warm_count: usize,
    /// Seconds without anything to watch after which it exits; null: never.
    pub idle_exit_seconds: Option<u64>,
}

/// The reply to a stop.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct NodeStopped {
    /// The process that ends.
    pub pid: u32,
    /// Always true.
    pub stopping: bool,
    /// Workspaces that go on running without it.
    pub started_count: usize,
}

/// What the host's disk is used for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DiskUsage {
    /// Bytes of environments, kernels and boot files.
    pub image_bytes: u64,
    /// Bytes of seeds, which are among those of images.
    #[serde(default)]
    pub seed_bytes: u64,
    /// Bytes of all workspaces.
    pub workspace_bytes: u64,
    /// Bytes still free where the state directory is.
    pub free_bytes: u64,
    /// Each workspace, largest first.
    pub workspaces: Vec<WorkspaceDiskUsage>,
    /// Each environment.
    pub environments: Vec<crate::Environment>,
}

/// What one workspace occupies on the host.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceDiskUsage {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// Its name.
    pub name: Option<String>,
    /// Bytes of its workspace disk.
    pub disk_bytes: u64,
    /// Bytes of its agent disk and of the records kept for it.
    pub record_bytes: u64,
}
