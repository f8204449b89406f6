//! Services of a workspace, their logs and what happens to them.

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use pyro_api::{
    DeletedService, RestartService, Service, ServiceList, ServiceLogs, SignalService, StartService,
    StartedService, StopService, WorkspaceEvent,
};
use pyro_core::parse_signal;
use pyro_workspace::{LogQuery, Phase};

use crate::{
    parse, present,
    response::{Answer, Failure},
    routes::{execs::notices, json_body, read_body},
    server::Node,
};

/// Lines of each stream where nothing else is said.
const TAIL_LINES: u64 = 200;
/// The most of a stream's text in one document, bytes: of more, the end.
const MOST_TEXT: usize = 4 << 20;
/// Events of one look into the store.
const EVENTS: u32 = 500;

/// The services of a workspace, by name.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/services",
    params(("workspace" = String, Path)), responses((status = 200, body = ServiceList)))]
pub(crate) async fn list(
    State(node): State<Node>,
    Path(reference): Path<String>,
) -> Answer<ServiceList> {
    let handle = node.workspaces().find(&reference)?;
    let services: Vec<_> = handle
        .services()
        .await?
        .iter()
        .map(|record| present::service(&handle.snapshot(), record))
        .collect();
    Ok(Json(ServiceList {
        workspace_id: handle.id(),
        count: services.len(),
        running_count: services.iter().filter(|service| service.pid.is_some()).count(),
        services,
    }))
}

/// Starts a service; answers when it is ready, or cannot be any more (`failure` says why).
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/services",
    params(("workspace" = String, Path)), request_body = StartService,
    responses((status = 200, body = StartedService), (status = 409, body = pyro_api::ErrorBody)))]
pub(crate) async fn start(
    State(node): State<Node>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<StartedService> {
    let request: StartService = json_body(&read_body(body).await?)?;
    parse::available(&request)?;
    let ports = parse::ports(&request.published_ports, None)?;
    let handle = node.workspaces().find(&reference)?;
    let started = handle
        .start_service(request.service, request.replace, &ports, !request.no_wait, request.no_start)
        .await?;
    let notices = notices(&handle, started.started_workspace);
    Ok(Json(present::started_service(&handle.snapshot(), &started, notices)))
}

/// One service.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/services/{service}",
    params(("workspace" = String, Path), ("service" = String, Path)),
    responses((status = 200, body = Service), (status = 404, body = pyro_api::ErrorBody)))]
pub(crate) async fn status(
    State(node): State<Node>,
    Path((reference, service)): Path<(String, String)>,
) -> Answer<Service> {
    let handle = node.workspaces().find(&reference)?;
    Ok(Json(present::service(&handle.snapshot(), &handle.service(&service).await?)))
}

/// Stops a service; answers when its last process is gone. One that does not run is left as it is.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/services/{service}/stop",
    params(("workspace" = String, Path), ("service" = String, Path)), request_body = StopService,
    responses((status = 200, body = Service)))]
pub(crate) async fn stop(
    State(node): State<Node>,
    Path((reference, service)): Path<(String, String)>,
    body: Body,
) -> Answer<Service> {
    let request: StopService = json_body(&read_body(body).await?)?;
    let signal = request.signal.as_deref().map(parse_signal).transpose()?;
    let grace = parse::grace(request.grace_seconds)?;
    let handle = node.workspaces().find(&reference)?;
    let record = handle.stop_service(&service, signal, grace).await?;
    Ok(Json(present::service(&handle.snapshot(), &record)))
}

/// Begins a new run of a service; answers when that is ready, or cannot be any more.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/services/{service}/restart",
    params(("workspace" = String, Path), ("service" = String, Path)),
    request_body = RestartService, responses((status = 200, body = StartedService)))]
pub(crate) async fn restart(
    State(node): State<Node>,
    Path((reference, service)): Path<(String, String)>,
    body: Body,
) -> Answer<StartedService> {
    let request: RestartService = json_body(&read_body(body).await?)?;
    let handle = node.workspaces().find(&reference)?;
    let started = handle.restart_service(&service, !request.no_wait, request.no_start).await?;
    let notices = notices(&handle, started.started_workspace);
    Ok(Json(present::started_service(&handle.snapshot(), &started, notices)))
}

/// What to wait for, and how long.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitServiceQuery {
    /// Answer after this many seconds whatever it is then. Default: wait.
    timeout_seconds: Option<f64>,
    /// Wait until it does not run any more, rather than until it is ready.
    #[serde(default)]
    ended: bool,
}

/// Waits until a service is ready; `failure` says why it is not.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/services/{service}/wait",
    params(("workspace" = String, Path), ("service" = String, Path), WaitServiceQuery),
    responses((status = 200, body = StartedService)))]
pub(crate) async fn wait(
    State(node): State<Node>,
    Path((reference, service)): Path<(String, String)>,
    Query(query): Query<WaitServiceQuery>,
) -> Answer<StartedService> {
    let limit = query.timeout_seconds.map(parse::seconds_limit).transpose()?;
    let handle = node.workspaces().find(&reference)?;
    let waited = handle.wait_service(&service, query.ended, limit).await?;
    Ok(Json(present::started_service(&handle.snapshot(), &waited, Vec::new())))
}

/// Sends a signal to a service.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/services/{service}/signal",
    params(("workspace" = String, Path), ("service" = String, Path)),
    request_body = SignalService, responses((status = 200, body = Service)))]
pub(crate) async fn signal(
    State(node): State<Node>,
    Path((reference, service)): Path<(String, String)>,
    body: Body,
) -> Answer<Service> {
    let request: SignalService = json_body(&read_body(body).await?)?;
    let signal = parse_signal(&request.signal)?;
    let handle = node.workspaces().find(&reference)?;
    let record = handle.signal_service(&service, signal, request.whole_tree).await?;
    Ok(Json(present::service(&handle.snapshot(), &record)))
}

/// Stops a service and drops its record and log.
#[utoipa::path(delete, path = "/v1/workspaces/{workspace}/services/{service}",
    params(("workspace" = String, Path), ("service" = String, Path)),
    responses((status = 200, body = DeletedService)))]
pub(crate) async fn delete(
    State(node): State<Node>,
    Path((reference, service)): Path<(String, String)>,
) -> Answer<DeletedService> {
    let handle = node.workspaces().find(&reference)?;
    handle.delete_service(&service, false).await?;
    Ok(Json(DeletedService { workspace_id: handle.id(), service_name: service, deleted: true }))
}

/// Which part of a log.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceLogQuery {
    /// The last lines; of each stream in the document, of both together in the stream. Default 200.
    tail_lines: Option<u64>,
    /// Everything that is kept, rather than the last lines.
    #[serde(default)]
    all: bool,
    /// Only what came since, Unix seconds.
    since: Option<f64>,
    /// `stdout`, `stderr` or `combined` (default).
    stream: Option<String>,
    /// From this position in both streams together. Only of the stream.
    #[serde(default)]
    offset: u64,
    /// Go on with what comes. Only of the stream.
    #[serde(default)]
    follow: bool,
}

impl ServiceLogQuery {
    fn parsed(&self) -> Result<LogQuery, Failure> {
        let (stdout, stderr) = parse::streams(self.stream.as_deref())?;
        let usual = if self.since.is_some() || self.offset > 0 { None } else { Some(TAIL_LINES) };
        Ok(LogQuery {
            tail_lines: if self.all { None } else { self.tail_lines.or(usual) },
            tail_each: false,
            offset: self.offset,
            since_millis: self.since.map_or(0, |since| (since.max(0.0) * 1000.0) as u64),
            stdout,
            stderr,
            follow: self.follow,
        })
    }
}

/// The end of a service's log as two texts.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/services/{service}/logs",
    params(("workspace" = String, Path), ("service" = String, Path), ServiceLogQuery),
    responses((status = 200, body = ServiceLogs)))]
pub(crate) async fn logs(
    State(node): State<Node>,
    Path((reference, service)): Path<(String, String)>,
    Query(query): Query<ServiceLogQuery>,
) -> Answer<ServiceLogs> {
    let asked = LogQuery { tail_each: true, follow: false, ..query.parsed()? };
    let handle = node.workspaces().find(&reference)?;
    let mut log = handle.service_log(&service, asked.clone()).await?;
    let mut texts: [Vec<u8>; 2] = Default::default();
    let mut cut = false;
    while let Some(entry) = log.next().await? {
        let text = &mut texts[usize::from(entry.stderr)];
        text.extend_from_slice(&entry.bytes);
        let over = text.len().saturating_sub(MOST_TEXT);
        cut |= over > 0;
        text.drain(..over);
    }
    let counted = [log.record.stdout_bytes, log.record.stderr_bytes];
    let wanted = [asked.stdout, asked.stderr];
    let short = |at: usize| wanted[at] && counted[at] > texts[at].len() as u64;
    let truncated = cut || short(0) || short(1);
    let [stdout, stderr] = texts.map(|text| String::from_utf8_lossy(&text).into_owned());
    Ok(Json(ServiceLogs {
        service: present::service(&handle.snapshot(), &log.record),
        stdout,
        stderr,
        tail_lines: asked.tail_lines,
        truncated,
    }))
}

/// A service's log as it came, piece by piece with times; with `follow`, and what comes.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/services/{service}/logs/stream",
    params(("workspace" = String, Path), ("service" = String, Path), ServiceLogQuery),
    responses((status = 200, content_type = "application/x-ndjson",
        body = pyro_api::ServiceLogEntry)))]
pub(crate) async fn stream_logs(
    State(node): State<Node>,
    Path((reference, service)): Path<(String, String)>,
    Query(query): Query<ServiceLogQuery>,
) -> Result<Response, Failure> {
    let query = query.parsed()?;
    let handle = node.workspaces().find(&reference)?;
    let mut log = handle.service_log(&service, query).await?;
    let (send, lines) = tokio::sync::mpsc::channel(16);
    node.clone().serve_stream(async move {
        loop {
            let next = tokio::select! {
                next = log.next() => next,
                () = send.closed() => return,
            };
            let entry = match next {
                Ok(Some(entry)) => entry,
                Ok(None) => return,
                // The workspace's end is the log's; anything else is not to look like that.
                Err(_) if handle.snapshot().record.phase != Phase::Started => return,
                Err(error) => {
                    let _ = send.send(Err(std::io::Error::other(error))).await;
                    return;
                }
            };
            if send.send(line(&present::log_entry(&entry))).await.is_err() {
                return;
            }
        }
    });
    Ok(ndjson(lines))
}

/// Where to go on from.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventQuery {
    /// A `cursor`: only what came after it. Default 0: all that is kept.
    #[serde(default)]
    after: u64,
    /// Only what comes from now on, rather than after a cursor.
    #[serde(default)]
    new_only: bool,
    /// Go on with what comes.
    #[serde(default)]
    follow: bool,
}

/// State changes of a workspace's services, oldest first; with `follow`, and what comes.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/events",
    params(("workspace" = String, Path), EventQuery),
    responses((status = 200, content_type = "application/x-ndjson", body = WorkspaceEvent)))]
pub(crate) async fn events(
    State(node): State<Node>,
    Path(reference): Path<String>,
    Query(query): Query<EventQuery>,
) -> Result<Response, Failure> {
    let handle = node.workspaces().find(&reference)?;
    let mut news = handle.event_news();
    let mut cursor = if query.new_only { handle.newest_event()? } else { query.after };
    let (send, lines) = tokio::sync::mpsc::channel(16);
    node.clone().serve_stream(async move {
        loop {
            news.borrow_and_update();
            loop {
                let events = match handle.events_after(cursor, EVENTS) {
                    Ok(events) => events,
                    Err(error) => {
                        let _ = send.send(Err(std::io::Error::other(error))).await;
                        return;
                    }
                };
                if events.is_empty() {
                    break;
                }
                for (at, event) in events {
                    cursor = at;
                    let event = present::event(&handle.snapshot(), at, &event);
                    if send.send(line(&event)).await.is_err() {
                        return;
                    }
                }
            }
            if !query.follow {
                return;
            }
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                () = send.closed() => return,
            }
        }
    });
    Ok(ndjson(lines))
}

pub(crate) fn line(document: &impl serde::Serialize) -> std::io::Result<Bytes> {
    let mut line = serde_json::to_vec(document)?;
    line.push(b'\n');
    Ok(line.into())
}

pub(crate) fn ndjson(lines: tokio::sync::mpsc::Receiver<std::io::Result<Bytes>>) -> Response {
    let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(lines));
    let mut response = body.into_response();
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
