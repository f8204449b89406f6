//! Commands run in a workspace.

use std::collections::BTreeMap;

use pyro_core::{Command, ExecId, WorkspaceId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A terminal's size in characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Terminal {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// Runs a command in a workspace.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// A list runs directly; a text runs as `/bin/sh -lc TEXT`.
    #[schema(value_type = Vec<String>)]
    pub command: Command,
    /// Absolute, or relative to `/workspace`. Default `/workspace`.
    #[serde(default)]
    pub cwd: Option<String>,
    /// Added to the fixed environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// `name`, `uid`, `name:group` or `uid:gid`. Default root.
    #[serde(default)]
    pub user: Option<String>,
    /// Ends the whole process tree after this many seconds; 0 or null: none.
    #[serde(default)]
    pub timeout_seconds: Option<f64>,
    /// A terminal of this size instead of pipes.
    #[serde(default)]
    pub terminal: Option<Terminal>,
    /// Whether Stdin frames will come; otherwise stdin is `/dev/null`.
    #[serde(default)]
    pub stdin: bool,
    /// Return at once; the command outlives its caller. Not with an upgraded connection.
    #[serde(default)]
    pub detach: bool,
    /// Do not start a stopped workspace for this; fail instead.
    #[serde(default)]
    pub no_start: bool,
}

/// Runs a command in a fresh VM that is deleted afterwards.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RunRequest {
    /// The VM. Its `name` and `labels` are not used.
    pub vm: crate::CreateWorkspace,
    /// The command.
    pub exec: ExecRequest,
}

/// An exec without its output.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Exec {
    /// Identifies it.
    #[schema(value_type = String)]
    pub exec_id: ExecId,
    /// Where it ran.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// 1 for the first command since creation or reset.
    pub sequence: u64,
    /// The text, or the arguments joined with shell quoting.
    pub command: String,
    /// Where it was started.
    pub cwd: String,
    /// Whether it still runs.
    pub running: bool,
    /// Whether nobody needs to stay attached.
    pub detached: bool,
    /// Null while it runs, when it was lost, and never a guess; 128+N when signal N ended it.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether its timeout ended it.
    pub timed_out: bool,
    /// Whether a caller's cancel ended it.
    pub cancelled: bool,
    /// Whether the kernel ended a process of it for want of memory.
    pub oom_killed: bool,
    /// Why there is no exit code though it does not run: `workload_restarted`, `vm_died`,
    /// `workspace_stopped`.
    pub lost: Option<String>,
    /// When it started.
    pub started_at: f64,
    /// When it ended.
    pub ended_at: Option<f64>,
    /// Start to end, or to now.
    pub duration_ms: u64,
    /// Bytes it wrote to stdout, kept or dropped.
    pub stdout_bytes: u64,
    /// Bytes it wrote to stderr, kept or dropped.
    pub stderr_bytes: u64,
    /// Whether output was dropped from the middle.
    pub truncated: bool,
    /// Processes it left behind, which were ended with it.
    pub left_behind: u32,
    /// What the network policy refused to its workspace while it ran, where it ended badly; at most
    /// three.
    #[serde(default)]
    pub network_denied: Vec<NetworkDenied>,
    /// Its largest memory, bytes.
    pub memory_peak_bytes: u64,
    /// CPU time it used, seconds.
    pub cpu_seconds: f64,
}

/// Every exec the node knows of a workspace, newest last.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ExecList {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// How many.
    pub count: usize,
    /// How many still run.
    pub running_count: usize,
    /// The execs.
    pub execs: Vec<Exec>,
}

/// An exec with its output: the payload of `exec --json`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ExecResult {
    /// The record.
    #[serde(flatten)]
    pub exec: Exec,
    /// The workspace's environment.
    pub environment: String,
    /// Its version.
    pub environment_version: Option<String>,
    /// `guest_vsock`.
    pub execution_mode: String,
    /// UTF-8 with replacement.
    pub stdout: String,
    /// UTF-8 with replacement.
    pub stderr: String,
    /// Whether a byte had to be replaced in either text.
    pub lossy: bool,
}

/// Something that the network policy refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct NetworkDenied {
    /// Why, for people.
    pub why: String,
    /// The flag that would allow it, of `pyro create` and `pyro workspace network set`.
    pub hint: String,
}

/// The payload of `run --json`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RunResult {
    /// The VM, deleted by now.
    #[schema(value_type = String)]
    pub vm_id: WorkspaceId,
    /// The result of its one command.
    #[serde(flatten)]
    pub result: ExecResult,
    /// What became of the VM.
    pub cleanup: VmCleanup,
}

/// What became of a one-shot VM.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct VmCleanup {
    /// The VM.
    #[schema(value_type = String)]
    pub vm_id: WorkspaceId,
    /// Always true.
    pub deleted: bool,
    /// `post_exec_cleanup`.
    pub reason: String,
}

/// Sends a signal to an exec.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalRequest {
    /// A name with or without `SIG`, or a number. Null: TERM to the whole tree, grace period, KILL.
    #[serde(default)]
    pub signal: Option<String>,
}

/// Reads kept output by range.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OutputQuery {
    /// Position in the combined output, bytes. Default 0.
    #[serde(default)]
    pub offset: u64,
    /// At most this many bytes. Default: all.
    #[serde(default)]
    pub length: Option<u64>,
    /// `stdout`, `stderr` or `combined` (default).
    #[serde(default)]
    pub stream: Option<String>,
}

/// The commands of a workspace with their output, since creation or reset.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceLogs {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// How many.
    pub count: usize,
    /// Oldest first.
    pub entries: Vec<ExecLogEntry>,
}

/// One command of the logs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ExecLogEntry {
    /// The record.
    #[serde(flatten)]
    pub exec: Exec,
    /// `guest_vsock`.
    pub execution_mode: String,
    /// When it was recorded.
    pub recorded_at: f64,
    /// A name for its stdout.
    pub stdout_file: String,
    /// A name for its stderr.
    pub stderr_file: String,
    /// UTF-8 with replacement; where it is long, its head and tail.
    pub stdout: String,
    /// UTF-8 with replacement; where it is long, its head and tail.
    pub stderr: String,
}
