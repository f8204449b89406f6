//! Workspaces.

use std::collections::BTreeMap;

use pyro_core::WorkspaceId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Makes a workspace. Every field has a default.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWorkspace {
    /// Default `debian:12`.
    #[serde(default)]
    pub environment: Option<String>,
    /// 1 to 32, default 1.
    #[serde(default)]
    pub vcpu_count: Option<u32>,
    /// 128 to 131072, default 1024.
    #[serde(default)]
    pub mem_mib: Option<u32>,
    /// Size of its disk, sparse; 1024 to 1048576, default 20480.
    #[serde(default)]
    pub disk_mib: Option<u32>,
    /// Idle time after which it is stopped; null: none.
    #[serde(default)]
    pub ttl_seconds: Option<u64>,
    /// `stop` (default) or `delete`: what happens when the idle time is over.
    #[serde(default)]
    pub on_expiry: Option<String>,
    /// `off` (default), `egress` or `egress+published-ports`: what it may reach.
    #[serde(default)]
    pub network_policy: Option<String>,
    /// What it may reach besides: names, wildcards, addresses or networks, each with a port or
    /// without (`example.org`, `*.example.com:443`, `192.0.2.0/24`).
    #[serde(default)]
    pub network_allow: Vec<String>,
    /// Discovery name, unique per node.
    #[serde(default)]
    pub name: Option<String>,
    /// Discovery labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `firecracker` or `qemu`; null: what the host's probe picks.
    #[serde(default)]
    pub backend: Option<String>,
    /// What its `/workspace` begins with; null: nothing.
    #[serde(default)]
    pub seed: Option<crate::SeedChoice>,
}

/// Changes discovery metadata.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateWorkspace {
    /// The new name.
    #[serde(default)]
    pub name: Option<String>,
    /// Removes the name.
    #[serde(default)]
    pub clear_name: bool,
    /// Labels to set.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Keys of labels to remove.
    #[serde(default)]
    pub clear_labels: Vec<String>,
}

/// A workspace.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Workspace {
    /// Identifies it.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// Discovery name.
    pub name: Option<String>,
    /// Discovery labels, sorted by key.
    pub labels: BTreeMap<String, String>,
    /// Its environment's name.
    pub environment: String,
    /// Its environment's version.
    pub environment_version: Option<String>,
    /// Virtual CPUs.
    pub vcpu_count: u32,
    /// Memory, MiB.
    pub mem_mib: u32,
    /// Apparent size of its disk, MiB.
    pub disk_mib: u32,
    /// Idle time after which it expires, seconds.
    pub ttl_seconds: Option<u64>,
    /// `stop` or `delete`.
    pub on_expiry: String,
    /// When it was made.
    pub created_at: f64,
    /// When it was last used.
    pub last_activity_at: f64,
    /// When it expires unless it is used before.
    pub expires_at: Option<f64>,
    /// `started` or `stopped`.
    pub state: String,
    /// What is being done to it: `creating`, `starting`, `stopping`, `resetting`, `deleting`,
    /// or null.
    pub activity: Option<String>,
    /// Why it is stopped: `requested`, `idle`, `guest_crashed`, `vm_killed`, `keeper_killed`,
    /// `host_restarted`, `start_failed`; null while it is started.
    pub stop_reason: Option<String>,
    /// More about the stop, one line.
    pub stop_detail: Option<String>,
    /// `off`, `egress` or `egress+published-ports`.
    pub network_policy: String,
    /// What it may reach besides.
    #[serde(default)]
    pub network_allow: Vec<String>,
    /// Whether it has a network: its policy, or a rule, lets it reach something.
    pub network_enabled: bool,
    /// Its address within itself; null without a network. It cannot be reached by it.
    pub guest_ip: Option<String>,
    /// Always null: there is no interface on the host.
    pub tap_name: Option<String>,
    /// Always false.
    pub allow_host_compat: bool,
    /// `guest_vsock`, or `pending` before its first start.
    pub execution_mode: String,
    /// `/workspace`.
    pub workspace_path: String,
    /// What `/workspace` began with.
    pub workspace_seed: WorkspaceSeed,
    /// Always empty so far.
    #[schema(value_type = Vec<Object>)]
    pub secrets: Vec<serde_json::Value>,
    /// Commands since creation or reset.
    pub command_count: u64,
    /// The newest finished command.
    pub last_command: Option<WorkspaceLastCommand>,
    /// How often it was reset.
    pub reset_count: u64,
    /// When it was last reset.
    pub last_reset_at: Option<f64>,
    /// Services it has.
    pub service_count: u64,
    /// Services that run.
    pub running_service_count: u64,
    /// Free for the node's notes.
    pub metadata: BTreeMap<String, String>,
    /// `firecracker` or `qemu`.
    pub backend: String,
    /// Whether hardware virtualisation runs it.
    pub accelerated: bool,
    /// Bytes its disk and its snapshots occupy on the host.
    pub disk_bytes: u64,
    /// How often its workload was restarted inside the running VM (`reboot`, or its init died).
    pub workload_restarts: u32,
}

/// What `/workspace` began with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceSeed {
    /// `empty`, `directory`, `tar_archive` or `git`.
    pub mode: String,
    /// Where it came from.
    pub seed_path: Option<String>,
    /// `/workspace`.
    pub destination: String,
    /// Files, directories and links.
    pub entry_count: u64,
    /// Bytes of file content.
    pub bytes_written: u64,
    /// Which seed it is; null where it is empty.
    #[serde(default)]
    pub seed_digest: Option<String>,
    /// Whether that was there before, so that nothing was sent.
    #[serde(default)]
    pub reused: bool,
}

/// The newest finished command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceLastCommand {
    /// 1 for the first.
    pub sequence: u64,
    /// As `exec` shows it.
    pub command: String,
    /// Where it was started.
    pub cwd: String,
    /// Null when it was lost.
    pub exit_code: Option<i32>,
    /// Start to end.
    pub duration_ms: u64,
    /// `guest_vsock`.
    pub execution_mode: String,
}

/// All workspaces: most recently used first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceList {
    /// How many.
    pub count: usize,
    /// The workspaces.
    pub workspaces: Vec<WorkspaceSummary>,
}

/// A workspace in a list.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceSummary {
    /// Identifies it.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// Discovery name.
    pub name: Option<String>,
    /// Discovery labels.
    pub labels: BTreeMap<String, String>,
    /// Its environment's name.
    pub environment: String,
    /// `started` or `stopped`.
    pub state: String,
    /// What is being done to it.
    pub activity: Option<String>,
    /// Why it is stopped.
    pub stop_reason: Option<String>,
    /// When it was made.
    pub created_at: f64,
    /// When it was last used.
    pub last_activity_at: f64,
    /// When it expires unless it is used before.
    pub expires_at: Option<f64>,
    /// Commands since creation or reset.
    pub command_count: u64,
    /// Services it has.
    pub service_count: u64,
    /// Services that run.
    pub running_service_count: u64,
    /// `firecracker` or `qemu`.
    pub backend: String,
}

/// The reply to a delete.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeletedWorkspace {
    /// What was deleted.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// Always true.
    pub deleted: bool,
    /// `explicit_delete`.
    pub reason: String,
}

/// Deletes stopped workspaces that were not used for long.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PruneWorkspaces {
    /// Only those not used for this many seconds.
    pub older_than_seconds: u64,
    /// Only say what would be deleted.
    #[serde(default)]
    pub dry_run: bool,
}

/// The reply to a prune.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PrunedWorkspaces {
    /// What was (or would be) deleted.
    #[schema(value_type = Vec<String>)]
    pub deleted_workspace_ids: Vec<WorkspaceId>,
    /// How many.
    pub count: usize,
    /// Bytes on the host that this frees.
    pub freed_bytes: u64,
    /// Whether it was only said.
    pub dry_run: bool,
}
