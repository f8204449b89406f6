//! What every other crate may know: typed ids, names, sizes, problems and the launch spec.
//!
//! Refuses to know: files, sockets, clocks, tasks. Nothing here does I/O or is async; whatever
//! depends on time or randomness takes it as a parameter.

mod command;
mod exit;
mod id;
mod launch;
mod name;
mod problem;
mod service;
mod signal;
mod size;

pub use command::Command;
pub use exit::ExitStatus;
pub use id::{ExecId, InvalidId, WorkspaceId};
pub use launch::{Channel, ExitRecord, KeeperRecord, Launch};
pub use name::{
    EnvironmentName, InvalidName, LabelKey, LabelValue, ServiceName, SnapshotName, WorkspaceName,
};
pub use problem::{Kind, Problem, is_disk_full};
pub use service::{
    DependencyCondition, HealthCheck, OnReadyTimeout, OnUnhealthy, Probe, RestartPolicy,
    ServiceSpec, ServiceState,
};
pub use signal::parse_signal;
pub use size::{InvalidSize, Mebibytes, VcpuCount};

/// The directory inside every workspace that holds the user's files.
pub const WORKSPACE_PATH: &str = "/workspace";

/// The names a file of services has where none is given; the first that is there counts.
pub const MANIFEST_NAMES: [&str; 5] =
    ["pyro.toml", "compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

/// The guest port on which the agent listens (vsock on Firecracker, the first word of a
/// multiplexed stream on QEMU).
pub const AGENT_PORT: u32 = 1024;

/// The host's vsock port to which the agent connects once it listens, and says nothing. Whoever waits
/// for that listens on `vm.sock_1025` in the keeper's directory, as Firecracker's `docs/vsock.md` has it.
pub const READY_PORT: u32 = 1025;
