//! Files of a workspace, much at once: tars in and out.

use std::convert::Infallible;

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use pyro_api::{ARTIFACT_HEADER, ErrorBody, PROBLEM_TRAILER, UnpackedFiles};
use pyro_core::Problem;
use pyro_workspace::{Packed, WorkspaceError};

use crate::{
    file_path, present,
    response::{Answer, Failure},
    routes::{execs::notices, upload::pieces},
    server::Node,
};

/// Where from, and what of it.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportQuery {
    /// A file or a directory: absolute, or relative to `/workspace`.
    #[serde(default)]
    path: String,
    /// The path's bytes, instead.
    path_base64: Option<String>,
    /// Only what is different from what `/workspace` began with.
    #[serde(default)]
    changed: bool,
    /// Only these names within the path, one on each line.
    paths: Option<String>,
    /// And these, of which each line is the bytes in base64.
    paths_base64: Option<String>,
    /// Do not start a stopped workspace for this; fail instead.
    #[serde(default)]
    no_start: bool,
}

/// A file or a directory as a tar. Names in it are relative to the directory; a file has its own. The
/// header `x-pyro-artifact-type` says which it is. Where it goes no further, the body breaks off, and the
/// trailer `x-pyro-problem` says why.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/archive",
    params(("workspace" = String, Path), ExportQuery),
    responses((status = 200, content_type = "application/x-tar", body = String),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn export(
    State(node): State<Node>,
    Path(reference): Path<String>,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Failure> {
    let path = file_path::given(&query.path, query.path_base64.as_deref())?;
    let lines = query.paths.as_deref().unwrap_or_default().lines();
    let mut paths: Vec<_> = lines.map(|line| line.as_bytes().to_vec()).collect();
    for line in query.paths_base64.as_deref().unwrap_or_default().lines() {
        paths.push(file_path::decoded("paths_base64", line)?);
    }
    let handle = node.workspaces().find(&reference)?;
    let files = handle.files(query.no_start).await?;
    let packed = files.pack(path, query.changed, paths).await?;
    let kind = present::artifact_type(packed.found.kind);
    let mut response = Body::new(StreamBody::new(frames(packed))).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    headers.insert(ARTIFACT_HEADER, HeaderValue::from_static(kind));
    headers.insert(header::TRAILER, HeaderValue::from_static(PROBLEM_TRAILER));
    Ok(response)
}

/// The bytes, and behind them what went wrong, if anything did.
fn frames(packed: Packed) -> impl futures::Stream<Item = Result<Frame<Bytes>, Infallible>> {
    futures::stream::unfold(Some(packed), async |packed| {
        let mut packed = packed?;
        match packed.next().await {
            Ok(Some(bytes)) => Some((Ok(Frame::data(bytes)), Some(packed))),
            Ok(None) => None,
            Err(error) => Some((Ok(Frame::trailers(trailer(error))), None)),
        }
    })
}

fn trailer(error: WorkspaceError) -> HeaderMap {
    let problem: Problem = error.into();
    tracing::warn!(%problem, "an export broke off");
    let text = serde_json::to_string(&ErrorBody::from(problem)).unwrap_or_default();
    // A header is plain text; JSON can say all else by its escapes.
    let plain: String = text
        .chars()
        .flat_map(|c| {
            let mut units = [0; 2];
            let escaped = if matches!(c, ' '..='~') {
                vec![c.to_string()]
            } else {
                c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
            };
            escaped.concat().chars().collect::<Vec<_>>()
        })
        .collect();
    let mut trailers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&plain) {
        trailers.insert(HeaderName::from_static(PROBLEM_TRAILER), value);
    }
    trailers
}

/// Where to.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportQuery {
    /// A directory: absolute, or relative to `/workspace`; made where it is not there.
    #[serde(default)]
    path: String,
    /// The path's bytes, instead.
    path_base64: Option<String>,
    /// Remove what the tar does not have.
    #[serde(default)]
    delete: bool,
    /// Do not start a stopped workspace for this; fail instead.
    #[serde(default)]
    no_start: bool,
}

/// Takes a tar into a directory, each file whole or not at all. All that comes is root's.
#[utoipa::path(put, path = "/v1/workspaces/{workspace}/archive",
    params(("workspace" = String, Path), ImportQuery),
    request_body(content = String, content_type = "application/x-tar"),
    responses((status = 200, body = UnpackedFiles), (status = 400, body = ErrorBody)))]
pub(crate) async fn import(
    State(node): State<Node>,
    Path(reference): Path<String>,
    Query(query): Query<ImportQuery>,
    body: Body,
) -> Answer<UnpackedFiles> {
    let (mut pieces, feed) = pieces(body.into_data_stream());
    let taking = async move {
        let path = file_path::given(&query.path, query.path_base64.as_deref())?;
        let handle = node.workspaces().find(&reference)?;
        let files = handle.files(query.no_start).await?;
        let unpacked = files.unpack(path.clone(), query.delete, &mut pieces).await;
        // Whatever came of it, no more is taken.
        drop(pieces);
        let unpacked = unpacked?;
        Ok(Json(UnpackedFiles {
            workspace_id: handle.id(),
            destination: file_path::text(&path),
            entry_count: unpacked.entries,
            bytes_written: unpacked.bytes,
            removed_count: unpacked.removed,
            execution_mode: present::EXECUTION_MODE.into(),
            notices: notices(&handle, files.started_workspace),
        }))
    };
    let (taken, ()) = tokio::join!(taking, feed);
    taken
}
