//! Commands in a workspace.

use std::path::PathBuf;

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use pyro_api::{
    Exec, ExecList, ExecLogEntry, ExecRequest, ExecResult, OutputQuery, SignalRequest,
    WorkspaceLogs,
};
use pyro_workspace::{Attached, ExecRecord, ExecState, Handle, Output, OutputPiece, read_kept};

use crate::{
    parse, present,
    response::{Answer, Failure},
    routes::{json_body, read_body},
    server::Node,
    stream::{self, Client, Outcome, Purpose},
};

/// The most of a stream that `logs` carries per command, bytes; of more, its head and tail.
const LOG_BYTES: usize = 256 * 1024;

/// Runs a command: on an upgraded connection, or detached.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/execs", params(("workspace" = String, Path)),
    request_body = ExecRequest, responses(
        (status = 101, description = "the command runs; frames follow (`Upgrade: pyro-stream`)"),
        (status = 200, body = ExecResult, description = "it runs detached")))]
pub(crate) async fn start(
    State(node): State<Node>,
    Path(reference): Path<String>,
    mut request: Request,
) -> Result<Response, Failure> {
    let upgrade = stream::upgrade(&mut request);
    let exec: ExecRequest = json_body(&read_body(request.into_body()).await?)?;
    let detached = exec.detach;
    let spec = parse::exec(exec)?;
    let upgrade = if detached { None } else { Some(upgrade?) };
    let handle = node.workspaces().find(&reference)?;
    let started = handle.start_exec(spec).await?;
    let Some(upgrade) = upgrade else {
        let result = present::exec_result(&started.record, &handle.snapshot().record);
        return Ok(Json::<ExecResult>(result).into_response());
    };
    let notices = notices(&handle, started.started_workspace);
    node.clone().serve_stream(async move {
        let mut client = match Client::accept(upgrade).await {
            Ok(client) => client,
            Err(problem) => {
                tracing::debug!(%problem, "a client went before its exec could answer");
                let _ = handle.signal_exec(started.record.id, None).await;
                return;
            }
        };
        let Some(exec_stream) = started.stream else { return };
        let _in_use = started.in_use;
        let _ = stream::tell_started(&mut client, &started.record, &handle, notices).await;
        let exec = started.record.id;
        let (outcome, mut writer) =
            stream::converse(client, exec_stream, &handle, exec, Purpose::Exec).await;
        if let Outcome::Ended(record) = outcome {
            stream::tell_ended(&mut writer, &record, &handle, None).await;
        }
    });
    Ok(stream::switching())
}

pub(crate) fn notices(handle: &Handle, started_workspace: bool) -> Vec<String> {
    if started_workspace {
        vec![format!("workspace {} was stopped; started it", handle.id())]
    } else {
        Vec::new()
    }
}

/// Every exec of a workspace.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/execs", params(("workspace" = String, Path)),
    responses((status = 200, body = ExecList)))]
pub(crate) async fn list(
    State(node): State<Node>,
    Path(reference): Path<String>,
) -> Answer<ExecList> {
    let handle = node.workspaces().find(&reference)?;
    let execs: Vec<_> = handle.execs()?.iter().map(present::exec).collect();
    Ok(Json(ExecList {
        workspace_id: handle.id(),
        count: execs.len(),
        running_count: execs.iter().filter(|exec| exec.running).count(),
        execs,
    }))
}

/// One exec.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/execs/{exec}",
    params(("workspace" = String, Path), ("exec" = String, Path)),
    responses((status = 200, body = Exec)))]
pub(crate) async fn status(
    State(node): State<Node>,
    Path((reference, exec)): Path<(String, String)>,
) -> Answer<Exec> {
    let handle = node.workspaces().find(&reference)?;
    Ok(Json(present::exec(&handle.find_exec(&exec)?)))
}

/// How long to wait.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitQuery {
    /// Answer after this many seconds even if it still runs. Default: wait for the end.
    timeout_seconds: Option<f64>,
}

/// Waits until an exec has ended.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/execs/{exec}/wait",
    params(("workspace" = String, Path), ("exec" = String, Path), WaitQuery),
    responses((status = 200, body = Exec)))]
pub(crate) async fn wait(
    State(node): State<Node>,
    Path((reference, exec)): Path<(String, String)>,
    Query(query): Query<WaitQuery>,
) -> Answer<Exec> {
    let limit = query.timeout_seconds.map(parse::seconds_limit).transpose()?;
    let handle = node.workspaces().find(&reference)?;
    let exec = handle.find_exec(&exec)?.id;
    Ok(Json(present::exec(&handle.wait_exec(exec, limit).await?)))
}

/// Sends a signal to an exec.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/execs/{exec}/signal",
    params(("workspace" = String, Path), ("exec" = String, Path)),
    request_body = SignalRequest, responses((status = 200, body = Exec)))]
pub(crate) async fn signal(
    State(node): State<Node>,
    Path((reference, exec)): Path<(String, String)>,
    body: Body,
) -> Answer<Exec> {
    let request: SignalRequest = json_body(&read_body(body).await?)?;
    let signal = request.signal.as_deref().map(pyro_core::parse_signal).transpose()?;
    let handle = node.workspaces().find(&reference)?;
    let exec = handle.find_exec(&exec)?.id;
    Ok(Json(present::exec(&handle.signal_exec(exec, signal).await?)))
}

/// Where to attach.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttachQuery {
    /// Position in the combined output, bytes. Default 0.
    #[serde(default)]
    offset: u64,
    /// Whether Stdin frames feed the command.
    #[serde(default)]
    stdin: bool,
}

/// Follows an exec from an offset, as often as wanted.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/execs/{exec}/attach",
    params(("workspace" = String, Path), ("exec" = String, Path), AttachQuery),
    responses((status = 101, description = "frames follow (`Upgrade: pyro-stream`)")))]
pub(crate) async fn attach(
    State(node): State<Node>,
    Path((reference, exec)): Path<(String, String)>,
    Query(query): Query<AttachQuery>,
    mut request: Request,
) -> Result<Response, Failure> {
    let upgrade = stream::upgrade(&mut request)?;
    let handle = node.workspaces().find(&reference)?;
    let exec = handle.find_exec(&exec)?.id;
    let attached = handle.attach(exec, query.offset, query.stdin).await?;
    node.clone().serve_stream(async move {
        let Ok(mut client) = Client::accept(upgrade).await else { return };
        match attached {
            Attached::Live { record, stream: exec_stream, in_use } => {
                let _in_use = in_use;
                let _ = stream::tell_started(&mut client, &record, &handle, Vec::new()).await;
                let (outcome, mut writer) =
                    stream::converse(client, exec_stream, &handle, exec, Purpose::Attach).await;
                if let Outcome::Ended(record) = outcome {
                    stream::tell_ended(&mut writer, &record, &handle, None).await;
                }
            }
            Attached::Kept { record, copy } => {
                let _ = stream::tell_started(&mut client, &record, &handle, Vec::new()).await;
                stream::replay(client, &record, copy, query.offset, &handle).await;
            }
        }
    });
    Ok(stream::switching())
}

/// Kept output by range.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/execs/{exec}/output",
    params(("workspace" = String, Path), ("exec" = String, Path), OutputQuery),
    responses((status = 200, content_type = "application/octet-stream", body = String,
        headers(("Pyro-Output-From" = u64), ("Pyro-Output-End" = u64)))))]
pub(crate) async fn output(
    State(node): State<Node>,
    Path((reference, exec)): Path<(String, String)>,
    Query(query): Query<OutputQuery>,
) -> Result<Response, Failure> {
    let (stdout, stderr) = parse::streams(query.stream.as_deref())?;
    let handle = node.workspaces().find(&reference)?;
    let record = handle.find_exec(&exec)?;
    let end = query.length.map_or(u64::MAX, |length| query.offset.saturating_add(length));
    let (send, pieces) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(16);
    let until = record.stdout_bytes + record.stderr_bytes;
    let feed = node.clone();
    feed.serve_stream(async move {
        let mut position = query.offset;
        let mut pieces = match Pieces::open(&handle, &record, query.offset, query.length).await {
            Ok(pieces) => pieces,
            Err(error) => {
                let _ = send.send(Err(std::io::Error::other(error.0))).await;
                return;
            }
        };
        while position < end {
            let bytes = match pieces.next().await {
                Some(OutputPiece::Gap { to, .. }) => {
                    position = to;
                    continue;
                }
                Some(OutputPiece::Stdout(bytes)) => {
                    position += bytes.len() as u64;
                    if stdout { bytes } else { continue }
                }
                Some(OutputPiece::Stderr(bytes)) => {
                    position += bytes.len() as u64;
                    if stderr { bytes } else { continue }
                }
                None => return,
            };
            if send.send(Ok(bytes)).await.is_err() {
                return;
            }
        }
    });
    let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(pieces));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(HeaderName::from_static("pyro-output-from"), query.offset.min(until).into());
    headers.insert(HeaderName::from_static("pyro-output-end"), end.min(until).into());
    Ok(response)
}

/// Output wherever it is: a copy on the host, or the guest's spool.
enum Pieces {
    Kept(tokio::sync::mpsc::Receiver<OutputPiece>),
    Live(Box<pyro_workspace::OutputReader>),
    None,
}

impl Pieces {
    async fn open(
        handle: &Handle,
        record: &ExecRecord,
        offset: u64,
        length: Option<u64>,
    ) -> Result<Self, Failure> {
        if let Some(copy) = handle.kept_output(record) {
            return Ok(Self::Kept(read_copy(copy, offset, length)));
        }
        match handle.read_output(record.id, offset, length).await? {
            Some(reader) => Ok(Self::Live(Box::new(reader))),
            None => Ok(Self::None),
        }
    }

    async fn next(&mut self) -> Option<OutputPiece> {
        match self {
            Self::Kept(pieces) => pieces.recv().await,
            Self::Live(reader) => match reader.next().await {
                Ok(Some(Output::Stdout(bytes))) => Some(OutputPiece::Stdout(bytes)),
                Ok(Some(Output::Stderr(bytes))) => Some(OutputPiece::Stderr(bytes)),
                Ok(Some(Output::Gap { from, to })) => Some(OutputPiece::Gap { from, to }),
                Ok(Some(Output::Ended(_)) | None) | Err(_) => None,
            },
            Self::None => None,
        }
    }
}

fn read_copy(
    path: PathBuf,
    offset: u64,
    length: Option<u64>,
) -> tokio::sync::mpsc::Receiver<OutputPiece> {
    let (send, pieces) = tokio::sync::mpsc::channel(16);
    tokio::task::spawn_blocking(move || {
        let Ok(kept) = read_kept(&path, offset, length) else { return };
        for piece in kept.map_while(Result::ok) {
            if send.blocking_send(piece).is_err() {
                return;
            }
        }
    });
    pieces
}

/// The commands of a workspace with their output, since creation or reset.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/logs", params(("workspace" = String, Path)),
    responses((status = 200, body = WorkspaceLogs)))]
pub(crate) async fn logs(
    State(node): State<Node>,
    Path(reference): Path<String>,
) -> Answer<WorkspaceLogs> {
    let handle = node.workspaces().find(&reference)?;
    let mut entries = Vec::new();
    for record in handle.execs()? {
        if record.state == ExecState::Running {
            continue;
        }
        let mut texts = [HeadAndTail::default(), HeadAndTail::default()];
        if record.stdout_bytes + record.stderr_bytes > 0 {
            let mut pieces = Pieces::open(&handle, &record, 0, None).await?;
            while let Some(piece) = pieces.next().await {
                match piece {
                    OutputPiece::Stdout(bytes) => texts[0].push(&bytes),
                    OutputPiece::Stderr(bytes) => texts[1].push(&bytes),
                    OutputPiece::Gap { .. } => {}
                }
            }
        }
        let [stdout, stderr] = texts.map(HeadAndTail::into_text);
        entries.push(ExecLogEntry {
            execution_mode: present::EXECUTION_MODE.into(),
            recorded_at: record.ended_at.unwrap_or(record.started_at) as f64 / 1000.0,
            stdout_file: format!("{}.stdout", record.id),
            stderr_file: format!("{}.stderr", record.id),
            exec: present::exec(&record),
            stdout,
            stderr,
        });
    }
    Ok(Json(WorkspaceLogs { workspace_id: handle.id(), count: entries.len(), entries }))
}

/// The beginning and the end of a text that may be long, in bounded memory.
#[derive(Default)]
struct HeadAndTail {
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
    dropped: u64,
}

impl HeadAndTail {
    fn push(&mut self, mut bytes: &[u8]) {
        let half = LOG_BYTES / 2;
        let room = half.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        bytes = &bytes[room..];
        self.tail.extend(bytes);
        let over = self.tail.len().saturating_sub(half);
        self.tail.drain(..over);
        self.dropped += over as u64;
    }

    fn into_text(self) -> String {
        let (head, tail) = (self.head, Vec::from(self.tail));
        if self.dropped == 0 {
            return String::from_utf8_lossy(&[head, tail].concat()).into_owned();
        }
        format!(
            "{}\n[{} bytes left out]\n{}",
            String::from_utf8_lossy(&head),
            self.dropped,
            String::from_utf8_lossy(&tail)
        )
    }
}
