//! Services.

use std::collections::BTreeMap;

use pyro_core::{
    DependencyCondition, Probe, RestartPolicy, ServiceName, ServiceSpec, ServiceState, WorkspaceId,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ErrorBody, PublishPort, PublishedPort};

/// Starts a service. One that runs as it should is left alone; one that ended gets a new run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartService {
    /// What it is: `name`, `command` and, as wanted, `cwd`, `env`, `user`, `readiness`,
    /// `ready_timeout_seconds`, `ready_interval_ms`, `on_ready_timeout`, `restart`, `restart_limit`,
    /// `stop_signal`, `stop_grace_seconds`, `health`, `depends_on`, `log_limit_bytes`.
    #[schema(value_type = Object)]
    pub service: ServiceSpec,
    /// Where it runs as something else: stop that and start this.
    #[serde(default)]
    pub replace: bool,
    /// Answer at once, rather than when it is ready or cannot be any more.
    #[serde(default)]
    pub no_wait: bool,
    /// Do not start a stopped workspace for this; fail instead.
    #[serde(default)]
    pub no_start: bool,
    /// Ports that are published on the host for as long as it runs; none: as they were.
    #[serde(default)]
    pub published_ports: Vec<PublishPort>,
    /// Not available yet.
    #[serde(default)]
    pub secret_env: BTreeMap<String, String>,
}

/// A service.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Service {
    /// Where it is.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// Its name.
    #[schema(value_type = String)]
    pub service_name: ServiceName,
    /// `starting`, `running`, `backoff`, `exited`, `failed` or `stopped`.
    #[schema(value_type = String)]
    pub state: ServiceState,
    /// Whether a probe of this run passed, or it needs none and has run for a moment.
    pub ready: bool,
    /// `passing` or `failing`; null where nobody looks, or not yet.
    pub health: Option<String>,
    /// The text, or the arguments joined with shell quoting.
    pub command: String,
    /// Where it is started.
    pub cwd: String,
    /// Beginning of its newest run.
    pub started_at: Option<f64>,
    /// When that was ready.
    pub ready_at: Option<f64>,
    /// When it ended.
    pub ended_at: Option<f64>,
    /// Of the newest run, once it ended; 128+N when signal N ended it.
    pub exit_code: Option<i32>,
    /// Its main process, as its workspace sees it.
    pub pid: Option<u32>,
    /// `guest_vsock`.
    pub execution_mode: String,
    /// How it is found out that it is ready.
    #[schema(value_type = Option<Object>)]
    pub readiness: Option<Probe>,
    /// Why it does not run: `process_exited_before_ready`, `readiness_timeout`, `sigterm`,
    /// `sigkill` (or another signal that was asked for), `workspace_stopped`, `workspace_crashed`,
    /// `health_check_failed`, `restart_limit`, `dependency_failed`, `start_failed`, or how the
    /// workspace's machine ended. Null while it runs, and where it ended by itself.
    pub stop_reason: Option<String>,
    /// More about it, one line.
    pub detail: Option<String>,
    /// Whether it is being stopped.
    pub stopping: bool,
    /// Ports that are published on the host for as long as it runs.
    pub published_ports: Vec<PublishedPort>,
    /// Restarts by policy since it was last started.
    pub restart_count: u32,
    /// `no`, `on-failure`, `always` or `unless-stopped`.
    #[schema(value_type = String)]
    pub restart_policy: RestartPolicy,
    /// How the last run that ended did so.
    pub last_exit: Option<ServiceExit>,
    /// What it needs of others: `started`, `ready` or `completed`.
    #[schema(value_type = BTreeMap<String, String>)]
    pub depends_on: BTreeMap<ServiceName, DependencyCondition>,
    /// Those that hold it up.
    pub waiting_for: Vec<String>,
    /// What the last probe saw.
    pub last_probe: Option<ServiceProbe>,
    /// What it last said of itself (sd_notify).
    pub status_text: Option<String>,
    /// Addresses and ports its processes listen on.
    pub listening_ports: Vec<ListeningPort>,
    /// Memory of all its processes.
    pub memory_bytes: u64,
    /// CPU time of this run.
    pub cpu_seconds: f64,
    /// Bytes it wrote, kept or dropped.
    pub log_bytes: LogBytes,
    /// The file it was last started from by `up`; null where it was started by itself.
    #[serde(default)]
    pub source: Option<String>,
    /// Counts its state changes, each of which is an event: who follows them and sees every number
    /// has missed none.
    pub revision: u64,
}

/// How a run ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServiceExit {
    /// Null when a signal ended it.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel ended a process of it for want of memory.
    pub oom_killed: bool,
    /// When.
    pub ended_at: f64,
}

/// What a probe saw.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServiceProbe {
    /// When.
    pub at: f64,
    /// In words.
    pub result: String,
}

/// Where a process listens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ListeningPort {
    /// An address of the guest; `0.0.0.0` and `::` mean all.
    pub address: String,
    /// The port.
    pub port: u16,
}

/// Bytes of both streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LogBytes {
    /// Of stdout.
    pub stdout: u64,
    /// Of stderr.
    pub stderr: u64,
}

/// What came of a start, a restart or a wait.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct StartedService {
    /// The service as it stands.
    #[serde(flatten)]
    pub service: Service,
    /// It ran already, as it should.
    pub unchanged: bool,
    /// Where it did not become ready: its last lines of output.
    pub log_tail: Vec<String>,
    /// What the caller should know, for example that the workspace was started for it.
    pub notices: Vec<String>,
    /// Set where it did not become ready: `service_exited`, `service_not_ready` or
    /// `service_held_up`.
    pub failure: Option<ErrorBody>,
}

/// The services of a workspace, by name.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServiceList {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// How many.
    pub count: usize,
    /// How many run.
    pub running_count: usize,
    /// The services.
    pub services: Vec<Service>,
}

/// Stops a service.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopService {
    /// Another signal than its own: a name with or without `SIG`, or a number.
    #[serde(default)]
    pub signal: Option<String>,
    /// Another time between it and KILL; 0: KILL at once.
    #[serde(default)]
    pub grace_seconds: Option<f64>,
}

/// Begins a new run of a service.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestartService {
    /// Answer at once, rather than when it is ready or cannot be any more.
    #[serde(default)]
    pub no_wait: bool,
    /// Do not start a stopped workspace for this; fail instead.
    #[serde(default)]
    pub no_start: bool,
}

/// Sends a signal to a service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalService {
    /// A name with or without `SIG`, or a number.
    pub signal: String,
    /// To every process of it, rather than to its main process's group.
    #[serde(default)]
    pub whole_tree: bool,
}

/// The reply to a delete.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeletedService {
    /// Where it was.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// What was deleted.
    pub service_name: String,
    /// Always true.
    pub deleted: bool,
}

/// A service with the end of its log.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServiceLogs {
    /// The service.
    #[serde(flatten)]
    pub service: Service,
    /// UTF-8 with replacement.
    pub stdout: String,
    /// UTF-8 with replacement.
    pub stderr: String,
    /// How many lines of each were asked for; null: all.
    pub tail_lines: Option<u64>,
    /// Whether there was more than this.
    pub truncated: bool,
}

/// A piece of a log: one document of the NDJSON stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServiceLogEntry {
    /// Position of its first byte in both streams together.
    pub offset: u64,
    /// When it came, microseconds since the Unix epoch.
    pub at_micros: u64,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// UTF-8; null where it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes in hexadecimal, where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
}

/// A state change: one document of the NDJSON stream.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceEvent {
    /// Where to go on from: give it as `after`.
    pub cursor: u64,
    /// When it happened.
    pub at: f64,
    /// `service_changed` or `service_deleted`.
    pub event: String,
    /// The service after it.
    pub service: Service,
}
