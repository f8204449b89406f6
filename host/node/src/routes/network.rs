//! What a workspace may reach.

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
    response::Response,
};
use pyro_api::{NetworkLogEntry, NetworkStatus, SetNetwork};

use crate::{
    parse, present,
    response::{Answer, Failure},
    routes::{
        json_body, read_body,
        services::{line, ndjson},
    },
    server::Node,
};

/// What a workspace may reach, and what it does.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/network",
    params(("workspace" = String, Path)), responses((status = 200, body = NetworkStatus)))]
pub(crate) async fn status(
    State(node): State<Node>,
    Path(reference): Path<String>,
) -> Answer<NetworkStatus> {
    let handle = node.workspaces().find(&reference)?;
    Ok(Json(present::network(&handle, &handle.snapshot(), 0)))
}

/// Changes what a workspace may reach, at once: what is open and no longer fits is ended.
#[utoipa::path(put, path = "/v1/workspaces/{workspace}/network",
    params(("workspace" = String, Path)), request_body = SetNetwork,
    responses((status = 200, body = NetworkStatus)))]
pub(crate) async fn set(
    State(node): State<Node>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<NetworkStatus> {
    let request: SetNetwork = json_body(&read_body(body).await?)?;
    let handle = node.workspaces().find(&reference)?;
    let network = parse::set_network(request, &handle.snapshot().record.network)?;
    let (snapshot, closed) = handle.set_network(network).await?;
    Ok(Json(present::network(&handle, &snapshot, closed as u64)))
}

/// Which part of a log.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogQuery {
    /// A `seq`: only what came after it. Default 0: all that is kept.
    #[serde(default)]
    after: u64,
    /// Go on with what comes.
    #[serde(default)]
    follow: bool,
}

/// What a workspace wanted to reach since the node began, oldest first; with `follow`, and what comes.
/// The newest 1,000 entries that were allowed are kept, and as many that were not.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/network/log",
    params(("workspace" = String, Path), LogQuery),
    responses((status = 200, content_type = "application/x-ndjson", body = NetworkLogEntry)))]
pub(crate) async fn log(
    State(node): State<Node>,
    Path(reference): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Failure> {
    let handle = node.workspaces().find(&reference)?;
    let (send, lines) = tokio::sync::mpsc::channel(16);
    node.clone().serve_stream(async move {
        let recent = handle.relay().log().recent();
        let mut entries: Vec<_> =
            recent.into_iter().filter(|entry| entry.seq > query.after).collect();
        let mut cursor = query.after;
        loop {
            for entry in &entries {
                cursor = cursor.max(entry.seq);
                if send.send(line(&present::network_entry(entry))).await.is_err() {
                    return;
                }
            }
            if !query.follow {
                return;
            }
            let mut follow = handle.relay().log().follow(cursor);
            let gone = handle.gone();
            entries = tokio::select! {
                next = follow.next() => match next {
                    Some(next) => next,
                    None => return,
                },
                // A workspace that is deleted has nothing more to say.
                () = gone => return,
                () = send.closed() => return,
            };
        }
    });
    Ok(ndjson(lines))
}
