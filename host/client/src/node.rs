//! The node, one method per route.

use std::{fmt, io, path::Path, sync::Mutex};

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{Method, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use pyro_api::{
    BuildEvent, CreateWorkspace, DeletedEnvironment, DeletedWorkspace, DiskUsage, Environment,
    EnvironmentCatalog, Exec, ExecList, ExecRequest, ExecResult, ImportedEnvironment, NodeStatus,
    NodeStopped, OutputQuery, PORT_PROTOCOL, PortList, PruneWorkspaces, PrunedEnvironments,
    PrunedWorkspaces, PublishPorts, PublishedPorts, RunRequest, SignalRequest, UnpublishPorts,
    UnpublishedPorts, UpdateWorkspace, Workspace, WorkspaceList, WorkspaceLogs,
};
use pyro_directory::Directory;
use serde::de::DeserializeOwned;
use tokio::{io::AsyncRead, net::UnixStream};
use tokio_util::io::ReaderStream;

use crate::{
    ClientError, ExecStream, NodeLocation, PortStream,
    connection::{Call, collect, document, segment, with_query},
    start,
};

/// Piece size of an upload, bytes.
const UPLOAD_PIECE: usize = 256 * 1024;

/// The longest line of a build's progress, bytes.
const MAX_LINE: usize = 1024 * 1024;

/// The node of a state directory.
///
/// Every call has a connection of its own, so calls may run at once and a node that was restarted
/// (or ended by idleness and is started again) is found by the next call.
pub struct Node {
    location: NodeLocation,
    directory: Directory,
    /// The connection that proved that there is a node, for the first call.
    first: Mutex<Option<UnixStream>>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("location", &self.location).finish_non_exhaustive()
    }
}

/// Kept output of an exec, by range of its combined output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    /// The offset of the first byte.
    pub from: u64,
    /// The offset after the last byte.
    pub end: u64,
    /// The bytes.
    pub bytes: Bytes,
}

impl Node {
    /// The state directory.
    pub(crate) fn state(&self) -> &Path {
        &self.location.state
    }

    /// Finds the node, starting one where none runs and the location names a program.
    pub async fn connect_or_start(location: NodeLocation) -> Result<Self, ClientError> {
        let directory =
            Directory::create(&location.state).map_err(|source| ClientError::State { source })?;
        let first = start::connect_or_start(&directory, &location).await?;
        Ok(Self { location, directory, first: Mutex::new(Some(first)) })
    }

    /// Finds the node that runs, and starts none, now or later.
    pub async fn connect(mut location: NodeLocation) -> Result<Self, ClientError> {
        location.program = None;
        let not_running = || ClientError::NotRunning { state: location.state.clone() };
        let directory = match Directory::open(&location.state) {
            Ok(directory) => directory,
            Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => {
                return Err(not_running());
            }
            Err(source) => return Err(ClientError::State { source }),
        };
        let first = start::connect(&directory).await?.ok_or_else(not_running)?;
        Ok(Self { location, directory, first: Mutex::new(Some(first)) })
    }

    /// Where this node is.
    pub fn location(&self) -> &NodeLocation {
        &self.location
    }

    /// `GET /v1/node`.
    pub async fn status(&self) -> Result<NodeStatus, ClientError> {
        self.get("/v1/node".to_owned()).await
    }

    /// `POST /v1/node/stop`: workspaces go on running without it.
    pub async fn stop(&self) -> Result<NodeStopped, ClientError> {
        self.json(Call::new(Method::POST, "/v1/node/stop")).await
    }

    /// `GET /v1/environments`.
    pub async fn environments(&self) -> Result<EnvironmentCatalog, ClientError> {
        self.get("/v1/environments".to_owned()).await
    }

    /// `GET /v1/environments/{name}`.
    pub async fn environment(&self, name: &str) -> Result<Environment, ClientError> {
        self.get(environment(name, "")).await
    }

    /// `DELETE /v1/environments/{name}`.
    pub async fn delete_environment(&self, name: &str) -> Result<DeletedEnvironment, ClientError> {
        self.json(Call::new(Method::DELETE, environment(name, ""))).await
    }

    /// `POST /v1/environments/prune`.
    pub async fn prune_environments(&self) -> Result<PrunedEnvironments, ClientError> {
        self.json(Call::new(Method::POST, "/v1/environments/prune")).await
    }

    /// `POST /v1/environments/{name}/build`: its progress, as it comes. Dropping the stream gives
    /// the build up.
    pub async fn build_environment(
        &self,
        name: &str,
        force: bool,
    ) -> Result<BuildStream, ClientError> {
        let query = [("force", force.then(|| "true".to_owned()))];
        let call = Call::new(Method::POST, with_query(environment(name, "/build"), &query));
        let name = call.name();
        let response = call.send(self.stream().await?).await?;
        Ok(BuildStream { call: name, body: response.into_body(), buffer: BytesMut::new() })
    }

    /// `POST /v1/environments/{name}/import`: a tar stream, sent as it is read. `progress` hears
    /// how many bytes were read so far.
    pub async fn import_environment(
        &self,
        name: &str,
        tar: impl AsyncRead + Send + 'static,
        mut progress: impl FnMut(u64) + Send + 'static,
    ) -> Result<ImportedEnvironment, ClientError> {
        let (failed, failure) = std::sync::mpsc::sync_channel(1);
        let mut total = 0;
        let pieces = ReaderStream::with_capacity(tar, UPLOAD_PIECE).map(move |piece| match piece {
            Ok(bytes) => {
                total += bytes.len() as u64;
                progress(total);
                Ok(Frame::data(bytes))
            }
            Err(error) => {
                // The connection only knows that the body ended early; the caller shall know why.
                let seen = io::Error::new(error.kind(), error.to_string());
                let _ = failed.try_send(error);
                Err(seen)
            }
        });
        let mut call = Call::new(Method::POST, environment(name, "/import"));
        call.body = StreamBody::new(pieces).boxed_unsync();
        call.content_type = Some("application/x-tar");
        let imported = self.json(call).await;
        match failure.try_recv() {
            Ok(source) => Err(ClientError::Body { source }),
            Err(_) => imported,
        }
    }

    /// `GET /v1/workspaces`.
    pub async fn workspaces(&self) -> Result<WorkspaceList, ClientError> {
        self.get("/v1/workspaces".to_owned()).await
    }

    /// `POST /v1/workspaces`.
    pub async fn create_workspace(
        &self,
        request: &CreateWorkspace,
    ) -> Result<Workspace, ClientError> {
        self.json(Call::new(Method::POST, "/v1/workspaces").json(request)).await
    }

    /// `POST /v1/workspaces/prune`.
    pub async fn prune_workspaces(
        &self,
        request: &PruneWorkspaces,
    ) -> Result<PrunedWorkspaces, ClientError> {
        self.json(Call::new(Method::POST, "/v1/workspaces/prune").json(request)).await
    }

    /// `GET /v1/workspaces/{w}`.
    pub async fn workspace(&self, workspace: &str) -> Result<Workspace, ClientError> {
        self.get(in_workspace(workspace, "")).await
    }

    /// `PATCH /v1/workspaces/{w}`.
    pub async fn update_workspace(
        &self,
        workspace: &str,
        request: &UpdateWorkspace,
    ) -> Result<Workspace, ClientError> {
        self.json(Call::new(Method::PATCH, in_workspace(workspace, "")).json(request)).await
    }

    /// `DELETE /v1/workspaces/{w}`.
    pub async fn delete_workspace(&self, workspace: &str) -> Result<DeletedWorkspace, ClientError> {
        self.json(Call::new(Method::DELETE, in_workspace(workspace, ""))).await
    }

    /// `POST /v1/workspaces/{w}/start`; with `resume`, services that ran when it was stopped run
    /// again.
    pub async fn start_workspace(
        &self,
        workspace: &str,
        resume: bool,
    ) -> Result<Workspace, ClientError> {
        let query = [("no_resume", (!resume).then(|| "true".to_owned()))];
        let target = with_query(in_workspace(workspace, "/start"), &query);
        self.json(Call::new(Method::POST, target)).await
    }

    /// `POST /v1/workspaces/{w}/stop`; the grace period is the node's default when `None`.
    pub async fn stop_workspace(
        &self,
        workspace: &str,
        grace_seconds: Option<f64>,
    ) -> Result<Workspace, ClientError> {
        let query = [("grace_seconds", grace_seconds.map(|seconds| seconds.to_string()))];
        let target = with_query(in_workspace(workspace, "/stop"), &query);
        self.json(Call::new(Method::POST, target)).await
    }

    /// `GET /v1/workspaces/{w}/logs`.
    pub async fn workspace_logs(&self, workspace: &str) -> Result<WorkspaceLogs, ClientError> {
        self.get(in_workspace(workspace, "/logs")).await
    }

    /// `POST /v1/workspaces/{w}/execs`, upgraded: answers once the command runs.
    pub async fn exec(
        &self,
        workspace: &str,
        request: &ExecRequest,
    ) -> Result<ExecStream, ClientError> {
        let call = Call::new(Method::POST, in_workspace(workspace, "/execs")).json(request);
        ExecStream::open(call, self.stream().await?).await
    }

    /// `GET /v1/workspaces/{w}/ports`.
    pub async fn ports(&self, workspace: &str) -> Result<PortList, ClientError> {
        self.get(in_workspace(workspace, "/ports")).await
    }

    /// `POST /v1/workspaces/{w}/ports`.
    pub async fn publish_ports(
        &self,
        workspace: &str,
        request: &PublishPorts,
    ) -> Result<PublishedPorts, ClientError> {
        self.json(Call::new(Method::POST, in_workspace(workspace, "/ports")).json(request)).await
    }

    /// `POST /v1/workspaces/{w}/ports/unpublish`.
    pub async fn unpublish_ports(
        &self,
        workspace: &str,
        request: &UnpublishPorts,
    ) -> Result<UnpublishedPorts, ClientError> {
        let target = in_workspace(workspace, "/ports/unpublish");
        self.json(Call::new(Method::POST, target).json(request)).await
    }

    /// `POST /v1/workspaces/{w}/ports/{port}/connect`, upgraded: a connection to a port within the
    /// workspace. Each direction ends by itself.
    pub async fn connect_port(
        &self,
        workspace: &str,
        host: &str,
        port: u16,
    ) -> Result<PortStream, ClientError> {
        let path = in_workspace(workspace, &format!("/ports/{port}/connect"));
        let target = with_query(path, &[("host", Some(host.to_owned()))]);
        let call = Call::new(Method::POST, target);
        let (socket, read) = call.take_over(PORT_PROTOCOL, self.stream().await?).await?;
        Ok(PortStream { socket, read })
    }

    /// `POST /v1/workspaces/{w}/execs` with `detach`: answers once the command runs, which
    /// outlives its caller.
    pub async fn exec_detached(
        &self,
        workspace: &str,
        request: &ExecRequest,
    ) -> Result<ExecResult, ClientError> {
        let request = ExecRequest { detach: true, ..request.clone() };
        self.json(Call::new(Method::POST, in_workspace(workspace, "/execs")).json(&request)).await
    }

    /// `GET /v1/workspaces/{w}/execs`.
    pub async fn execs(&self, workspace: &str) -> Result<ExecList, ClientError> {
        self.get(in_workspace(workspace, "/execs")).await
    }

    /// `GET /v1/workspaces/{w}/execs/{e}`.
    pub async fn exec_status(&self, workspace: &str, exec: &str) -> Result<Exec, ClientError> {
        self.get(in_exec(workspace, exec, "")).await
    }

    /// `GET /v1/workspaces/{w}/execs/{e}/wait`: the exec once it ended, or as it runs when the
    /// time is over.
    pub async fn wait_exec(
        &self,
        workspace: &str,
        exec: &str,
        timeout_seconds: Option<f64>,
    ) -> Result<Exec, ClientError> {
        let query = [("timeout_seconds", timeout_seconds.map(|seconds| seconds.to_string()))];
        self.get(with_query(in_exec(workspace, exec, "/wait"), &query)).await
    }

    /// `POST /v1/workspaces/{w}/execs/{e}/signal`.
    pub async fn signal_exec(
        &self,
        workspace: &str,
        exec: &str,
        request: &SignalRequest,
    ) -> Result<Exec, ClientError> {
        self.json(Call::new(Method::POST, in_exec(workspace, exec, "/signal")).json(request)).await
    }

    /// `GET /v1/workspaces/{w}/execs/{e}/attach`, upgraded: its output from this offset on.
    pub async fn attach_exec(
        &self,
        workspace: &str,
        exec: &str,
        offset: u64,
        stdin: bool,
    ) -> Result<ExecStream, ClientError> {
        let query =
            [("offset", Some(offset.to_string())), ("stdin", stdin.then(|| "true".to_owned()))];
        let target = with_query(in_exec(workspace, exec, "/attach"), &query);
        ExecStream::open(Call::new(Method::GET, target), self.stream().await?).await
    }

    /// `GET /v1/workspaces/{w}/execs/{e}/output`.
    pub async fn exec_output(
        &self,
        workspace: &str,
        exec: &str,
        query: &OutputQuery,
    ) -> Result<Output, ClientError> {
        let parameters = [
            ("offset", Some(query.offset.to_string())),
            ("length", query.length.map(|length| length.to_string())),
            ("stream", query.stream.clone()),
        ];
        let target = with_query(in_exec(workspace, exec, "/output"), &parameters);
        let call = Call::new(Method::GET, target);
        let name = call.name();
        let response = self.send(call).await?;
        let offset = |header: &str| {
            let text = response.headers().get(header)?.to_str().ok()?;
            text.parse::<u64>().ok()
        };
        let from = offset("pyro-output-from").unwrap_or(query.offset);
        let end = offset("pyro-output-end");
        let bytes = collect(&name, response).await?;
        Ok(Output { from, end: end.unwrap_or(from + bytes.len() as u64), bytes })
    }

    /// `POST /v1/run`, upgraded: a command in a fresh VM that is deleted before its end is told.
    pub async fn run(&self, request: &RunRequest) -> Result<ExecStream, ClientError> {
        let call = Call::new(Method::POST, "/v1/run").json(request);
        ExecStream::open(call, self.stream().await?).await
    }

    /// `GET /v1/df`.
    pub async fn disk_usage(&self) -> Result<DiskUsage, ClientError> {
        self.get("/v1/df".to_owned()).await
    }

    /// A connection for one call.
    async fn stream(&self) -> Result<UnixStream, ClientError> {
        let first = self.first.lock().ok().and_then(|mut first| first.take());
        match first {
            Some(stream) => Ok(stream),
            None => start::connect_or_start(&self.directory, &self.location).await,
        }
    }

    pub(crate) async fn send(&self, call: Call) -> Result<Response<Incoming>, ClientError> {
        call.send(self.stream().await?).await
    }

    pub(crate) async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T, ClientError> {
        let name = call.name();
        document(&name, self.send(call).await?).await
    }

    /// A question may be asked again: the node may have ended by idleness just before it heard it.
    pub(crate) async fn get<T: DeserializeOwned>(&self, target: String) -> Result<T, ClientError> {
        match self.json(Call::new(Method::GET, target.clone())).await {
            Err(ClientError::Lost { .. }) => self.json(Call::new(Method::GET, target)).await,
            answer => answer,
        }
    }
}

/// The progress of a build.
#[derive(Debug)]
pub struct BuildStream {
    call: String,
    body: Incoming,
    buffer: BytesMut,
}

impl BuildStream {
    /// The next event; `None` after [`BuildEvent::Done`] when the node has no more to say. A failed
    /// build is an error.
    pub async fn next(&mut self) -> Result<Option<BuildEvent>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return self.event(&line);
            }
            if self.buffer.len() > MAX_LINE {
                return Err(self.not_understood("a line is too long".to_owned()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.buffer.extend_from_slice(bytes);
                    }
                }
                Some(Err(source)) => {
                    return Err(ClientError::Lost { call: self.call.clone(), source });
                }
                None if self.buffer.trim_ascii().is_empty() => return Ok(None),
                None => {
                    let line = std::mem::take(&mut self.buffer);
                    return self.event(&line);
                }
            }
        }
    }

    fn event(&self, line: &[u8]) -> Result<Option<BuildEvent>, ClientError> {
        match serde_json::from_slice(line) {
            Ok(BuildEvent::Problem { problem }) => Err(ClientError::Refused { problem }),
            Ok(event) => Ok(Some(event)),
            Err(error) => Err(self.not_understood(error.to_string())),
        }
    }

    fn not_understood(&self, detail: String) -> ClientError {
        ClientError::Reply { call: self.call.clone(), detail }
    }
}

fn environment(name: &str, rest: &str) -> String {
    format!("/v1/environments/{}{rest}", segment(name))
}

fn in_workspace(workspace: &str, rest: &str) -> String {
    format!("/v1/workspaces/{}{rest}", segment(workspace))
}

fn in_exec(workspace: &str, exec: &str, rest: &str) -> String {
    format!("/v1/workspaces/{}/execs/{}{rest}", segment(workspace), segment(exec))
}
