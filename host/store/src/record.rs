//! What is kept of a workspace, of an exec and of a service.

use std::{collections::BTreeMap, net::IpAddr};

use pyro_core::{
    DependencyCondition, EnvironmentName, ExecId, ExitStatus, LabelKey, LabelValue, Mebibytes,
    Probe, RestartPolicy, ServiceName, ServiceState, SnapshotName, VcpuCount, WorkspaceId,
    WorkspaceName,
};
use serde::{Deserialize, Serialize};

/// Whether it is a workspace or a one-shot VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceKind {
    /// Lasts until it is deleted.
    Workspace,
    /// Exists for one command.
    Vm,
}

/// Where a workspace stands; written before the effect it announces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is being made; found at a node's start, it is undone.
    Creating,
    /// It has a disk and no VM.
    Stopped,
    /// A VM is being started for it.
    Starting,
    /// Its VM runs.
    Started,
    /// Its VM is being shut down.
    Stopping,
    /// It is being deleted; found at a node's start, that is finished.
    Deleting,
}

/// What happens when the idle time is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExpiry {
    /// It is stopped.
    Stop,
    /// It is deleted.
    Delete,
}

/// The newest finished command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LastCommand {
    /// 1 for the first.
    pub sequence: u64,
    /// As payloads show it.
    pub command: String,
    /// Where it was started.
    pub cwd: String,
    /// 128+N when signal N ended it; none when it was lost.
    pub exit_code: Option<i32>,
    /// Start to end.
    pub duration_ms: u64,
}

/// What is kept of a workspace. Times are milliseconds since the Unix epoch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkspaceRecord {
    /// Identifies it.
    pub id: WorkspaceId,
    /// Workspace or one-shot VM.
    pub kind: WorkspaceKind,
    /// Discovery name, unique.
    pub name: Option<WorkspaceName>,
    /// Discovery labels.
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// The environment it was made from.
    pub environment: EnvironmentName,
    /// That environment's version then.
    pub environment_version: Option<String>,
    /// The root image it stands on, for its whole life.
    pub environment_digest: String,
    /// Virtual CPUs.
    pub vcpus: VcpuCount,
    /// Memory.
    pub memory: Mebibytes,
    /// Apparent size of its disk.
    pub disk: Mebibytes,
    /// Idle time after which it expires.
    pub ttl_seconds: Option<u64>,
    /// What happens then.
    pub on_expiry: OnExpiry,
    /// The backend it was made for.
    pub backend: String,
    /// Whether that is hardware virtualisation.
    pub accelerated: bool,
    /// When it was made.
    pub created_at: u64,
    /// When it was last used.
    pub last_activity_at: u64,
    /// Where it stands.
    pub phase: Phase,
    /// Why it is stopped.
    pub stop_reason: Option<String>,
    /// More about the stop.
    pub stop_detail: Option<String>,
    /// Whether it was ever started.
    pub was_started: bool,
    /// Commands since creation or reset; the newest one's sequence.
    pub command_count: u64,
    /// The newest finished command.
    pub last_command: Option<LastCommand>,
    /// How often the workload was restarted in the running VM.
    pub workload_restarts: u32,
    /// Whether its newest start leaves the services that ran before as they are.
    #[serde(default)]
    pub holds_services: bool,
    /// What it may reach; nothing, where a node before knew of no networks.
    #[serde(default)]
    pub network: NetworkRecord,
    /// Ports of this host that lead to ports of it.
    #[serde(default)]
    pub published: Vec<PublishedPort>,
    /// Whether it was made before anybody asked for one, and nobody has yet.
    #[serde(default)]
    pub is_warm: bool,
    /// What its `/workspace` began with; nothing, where there is none.
    #[serde(default)]
    pub seed: Option<SeedRecord>,
    /// What its disk was and may be again.
    #[serde(default)]
    pub checkpoints: Checkpoints,
}

/// What a workspace's `/workspace` began with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SeedRecord {
    /// The image, for the workspace's whole life.
    pub digest: String,
    /// What it was made from.
    pub mode: SeedMode,
    /// Where that lay, as its caller names it.
    pub path: Option<String>,
    /// Files, directories and links.
    pub entry_count: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// Whether the image was there before, so that nothing was sent.
    #[serde(default)]
    pub reused: bool,
}

/// What a seed was made from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeedMode {
    /// A directory.
    Directory,
    /// A tar archive, compressed or not.
    TarArchive,
    /// What a git repository tracks.
    Git,
}

impl SeedMode {
    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::TarArchive => "tar_archive",
            Self::Git => "git",
        }
    }
}

/// What a workspace's disk was at other times, and its way back.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Checkpoints {
    /// Oldest first.
    #[serde(default)]
    pub snapshots: Vec<SnapshotRecord>,
    /// A reset that was begun and is not done yet.
    #[serde(default)]
    pub reset: Option<ResetRecord>,
    /// Resets that were done.
    #[serde(default)]
    pub reset_count: u64,
    /// When the last one was.
    #[serde(default)]
    pub last_reset_at: Option<u64>,
}

/// What is kept of a snapshot. Its disk is a file of that name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Its name.
    pub name: SnapshotName,
    /// When it was taken.
    pub created_at: u64,
    /// Files, directories and links on its disk.
    pub entries: u64,
    /// Bytes of its disk that are in use.
    pub bytes: u64,
    /// How long writers were held up for it, microseconds; 0: the workspace was stopped.
    pub frozen_micros: u64,
    /// It shares its blocks with the workspace's disk.
    pub by_reflink: bool,
}

/// A reset that was begun: kept before anything is changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResetRecord {
    /// What the workspace is to be again; none: what it was when it was made.
    pub snapshot: Option<SnapshotName>,
    /// Whether services that ran are to run again.
    pub resume: bool,
    /// Whether it ran.
    pub was_started: bool,
    /// Services that are not forgotten.
    pub services: Vec<ServiceName>,
}

/// What a workspace may reach, as it was asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// By its name.
    #[serde(default)]
    pub policy: NetworkPolicy,
    /// What it may reach besides: rules as they are typed.
    #[serde(default)]
    pub allow: Vec<String>,
}

impl NetworkRecord {
    /// Whether it reaches anything.
    pub fn is_on(&self) -> bool {
        self.policy != NetworkPolicy::Off || !self.allow.is_empty()
    }
}

/// What a workspace may reach, by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum NetworkPolicy {
    /// Nothing but what its rules name.
    #[default]
    #[serde(rename = "off")]
    Off,
    /// Everything public.
    #[serde(rename = "egress")]
    Egress,
    /// The same, and its services may publish ports.
    #[serde(rename = "egress+published-ports")]
    EgressAndPublishedPorts,
}

impl NetworkPolicy {
    /// As it is typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Egress => "egress",
            Self::EgressAndPublishedPorts => "egress+published-ports",
        }
    }
}

/// A port of this host that leads to a port of a workspace.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The address it is taken of; none: `localhost`, v4 and v6.
    pub bind: Option<IpAddr>,
    /// The port of this host.
    pub host_port: u16,
    /// The port of the workspace.
    pub guest_port: u16,
    /// The service it is published with; none: it stays until it is unpublished.
    pub service: Option<ServiceName>,
}

/// How far an exec came.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecState {
    /// It was announced to the guest, or runs.
    Running,
    /// It ended.
    Ended(ExitStatus),
    /// It does not run any more and nobody saw it end; why.
    Lost(String),
}

/// What is kept of an exec. Times are milliseconds since the Unix epoch.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ExecRecord {
    /// Identifies it.
    pub id: ExecId,
    /// Where it ran.
    pub workspace: WorkspaceId,
    /// 1 for the workspace's first.
    pub sequence: u64,
    /// As payloads show it.
    pub command: String,
    /// Where it was started.
    pub cwd: String,
    /// Whether nobody needs to stay attached.
    pub detached: bool,
    /// How far it came.
    pub state: ExecState,
    /// Whether its timeout ended it.
    pub timed_out: bool,
    /// Whether a cancel ended it.
    pub cancelled: bool,
    /// Whether the kernel ended a process of it for want of memory.
    pub oom_killed: bool,
    /// When it was started.
    pub started_at: u64,
    /// When it ended.
    pub ended_at: Option<u64>,
    /// Start to end, microseconds.
    pub duration_micros: u64,
    /// Bytes written to stdout.
    pub stdout_bytes: u64,
    /// Bytes written to stderr.
    pub stderr_bytes: u64,
    /// Bytes of combined output dropped from the middle: from this offset ...
    pub dropped_from: u64,
    /// ... to this one.
    pub dropped_to: u64,
    /// Processes it left behind.
    pub left_behind: u32,
    /// Its largest memory.
    pub memory_peak_bytes: u64,
    /// CPU time, microseconds.
    pub cpu_micros: u64,
    /// Whether the host holds a copy of its output.
    pub output_kept: bool,
    /// What was refused to its workspace's network while it ran, where it ended badly: why, and the
    /// flag that would allow it.
    #[serde(default)]
    pub network_denied: Vec<(String, String)>,
}

/// What is known of a service: as its guest last told it. Times are milliseconds since the Unix
/// epoch.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Its name.
    pub name: ServiceName,
    /// Where it stands.
    pub state: ServiceState,
    /// Whether a probe of this run passed.
    pub ready: bool,
    /// Passing or failing; none where nobody looks.
    pub healthy: Option<bool>,
    /// As payloads show it.
    pub command: String,
    /// Where it is started.
    pub cwd: String,
    /// How it is found out that it is ready.
    pub readiness: Option<Probe>,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// Restarts by policy since it was last started.
    pub restart_count: u32,
    /// What it needs of others.
    pub depends_on: BTreeMap<ServiceName, DependencyCondition>,
    /// Those that hold it up.
    pub waiting_for: Vec<String>,
    /// Whether it is being stopped.
    pub stopping: bool,
    /// Beginning of the newest run.
    pub started_at: Option<u64>,
    /// When that was ready.
    pub ready_at: Option<u64>,
    /// When it ended.
    pub ended_at: Option<u64>,
    /// In the workload's PID namespace.
    pub pid: Option<u32>,
    /// Why it does not run.
    pub stop_reason: Option<String>,
    /// More about it.
    pub detail: Option<String>,
    /// How the last run that ended did so.
    pub last_exit: Option<ServiceExit>,
    /// What the last probe saw, and when.
    pub last_probe: Option<(u64, String)>,
    /// What it last said of itself.
    pub status_text: Option<String>,
    /// Its memory, when it was measured.
    pub memory_bytes: u64,
    /// CPU time of this run, microseconds.
    pub cpu_micros: u64,
    /// Bytes it wrote to stdout.
    pub stdout_bytes: u64,
    /// Bytes it wrote to stderr.
    pub stderr_bytes: u64,
    /// Addresses and ports it listens on, when that was looked at.
    pub listening: Vec<(String, u16)>,
    /// Counts its runs.
    pub run: u64,
    /// Counts the changes of this record in the guest.
    pub revision: u64,
    /// The file it was last started from; empty: a call of its own.
    #[serde(default)]
    pub source: String,
}

/// How a run of a service ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceExit {
    /// Its main process's exit code.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel ended a process of it for want of memory.
    pub oom_killed: bool,
    /// When.
    pub ended_at: u64,
}

/// A state change of a service, as it was told.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ServiceEvent {
    /// When it happened, milliseconds since the Unix epoch.
    pub at: u64,
    /// The service after it.
    pub service: ServiceRecord,
    /// The service is gone.
    pub deleted: bool,
}
