//! Services in the words that people use for them: on the command line, in files, over HTTP.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Command, ServiceName};

/// How it is found out that a service is ready, or well.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Probe {
    /// A path that exists; a relative one is under `/workspace`.
    File {
        /// The path.
        path: String,
    },
    /// Connections are accepted.
    Tcp {
        /// `HOST:PORT`; an IPv6 address in brackets.
        address: String,
    },
    /// A GET is answered with a status of 200 to 399.
    Http {
        /// `http://HOST[:PORT][/PATH]`.
        url: String,
    },
    /// A command ends with 0.
    Command {
        /// It runs as the service does.
        command: Command,
    },
    /// A line of output matches.
    Log {
        /// A regular expression.
        pattern: String,
    },
    /// The service says so itself, by sd_notify.
    Notify {},
}

/// When a service that ended is started again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When it did not end with 0.
    OnFailure,
    /// Whenever it ended; also at the workspace's start.
    Always,
    /// Whenever it ended and nobody stopped it.
    UnlessStopped,
}

impl RestartPolicy {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }
}

/// What a service needs of another before it is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DependencyCondition {
    /// Its process lives.
    Started,
    /// It is ready.
    #[default]
    Ready,
    /// It ended with 0.
    Completed,
}

/// What is done about a service that does not become ready in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnReadyTimeout {
    /// It is stopped.
    #[default]
    Stop,
    /// It is left running, and probed on.
    Keep,
}

/// What is done about a service that is not well.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnhealthy {
    /// It is restarted.
    #[default]
    Restart,
    /// It is only said.
    Report,
}

/// How a service's health is looked after once it is ready.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// `file`, `tcp`, `http` or `command`.
    pub probe: Probe,
    /// Between two looks. Default 10.
    #[serde(default)]
    pub interval_seconds: Option<f64>,
    /// Of one look.
    #[serde(default)]
    pub timeout_seconds: Option<f64>,
    /// Failures in a row that count. Default 3.
    #[serde(default)]
    pub retries: Option<u32>,
    /// After ready, failures do not count for this long. Default 0.
    #[serde(default)]
    pub start_period_seconds: Option<f64>,
    /// What follows from failing.
    #[serde(default)]
    pub on_failure: OnUnhealthy,
}

/// What a service is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// Its name within the workspace.
    pub name: ServiceName,
    /// A list runs directly; a text runs as `/bin/sh -lc TEXT`.
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
    /// Without one it is ready once it has run for 200 ms.
    #[serde(default)]
    pub readiness: Option<Probe>,
    /// Default 30.
    #[serde(default)]
    pub ready_timeout_seconds: Option<f64>,
    /// The longest time between two tries. Default 500.
    #[serde(default)]
    pub ready_interval_ms: Option<u64>,
    /// Default `stop`.
    #[serde(default)]
    pub on_ready_timeout: OnReadyTimeout,
    /// Default `no`.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// Restarts in a row, without a stable run between, until it has failed. Default 10.
    #[serde(default)]
    pub restart_limit: Option<u32>,
    /// A name with or without `SIG`, or a number. Default TERM.
    #[serde(default)]
    pub stop_signal: Option<String>,
    /// Between that signal and KILL. Default 5.
    #[serde(default)]
    pub stop_grace_seconds: Option<f64>,
    /// None: nobody looks.
    #[serde(default)]
    pub health: Option<HealthCheck>,
    /// Other services, and what it needs of each.
    #[serde(default)]
    pub depends_on: BTreeMap<ServiceName, DependencyCondition>,
    /// Kept of each stream of its output. Default 16 MiB.
    #[serde(default)]
    pub log_limit_bytes: Option<u64>,
}

/// Where a service stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// On its way to being ready.
    Starting,
    /// Its process lives.
    Running,
    /// It will be started again in a moment.
    Backoff,
    /// It ended by itself.
    Exited,
    /// It did not come to run as it should.
    Failed,
    /// It was stopped.
    Stopped,
}

impl ServiceState {
    /// As payloads show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Backoff => "backoff",
            Self::Exited => "exited",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// Whether something of it runs, or is about to by itself.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Backoff)
    }
}
