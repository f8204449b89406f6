//! The disks of stopped workspaces: looked at without starting them.

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use pyro_api::{DiskContent, DiskList};
use pyro_core::Problem;

use crate::{
    file_path, present,
    response::{Answer, Failure},
    server::Node,
};

/// The most of a file that is read at once, bytes.
const MOST_READ: u64 = 1 << 20;
/// The same where nothing is said.
const USUAL_READ: u64 = 64 << 10;
/// The most names of one list.
const MOST_ENTRIES: u64 = 200_000;

/// What to list.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Absolute, or relative to `/workspace`, which it is where nothing is said.
    path: Option<String>,
    /// The path's bytes, instead.
    path_base64: Option<String>,
    /// Go into directories.
    #[serde(default)]
    recursive: bool,
    /// The most names.
    max_entries: Option<u64>,
}

/// What is in a directory of a stopped workspace, as its guest would see it; a path that is none lists itself.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/disk/files",
    params(("workspace" = String, Path), ListQuery), responses((status = 200, body = DiskList),
        (status = 404, body = pyro_api::ErrorBody), (status = 409, body = pyro_api::ErrorBody)))]
pub(crate) async fn files(
    State(node): State<Node>,
    Path(reference): Path<String>,
    Query(query): Query<ListQuery>,
) -> Answer<DiskList> {
    let given = query.path.as_deref().unwrap_or_default();
    let path = file_path::given(given, query.path_base64.as_deref())?;
    let most = query.max_entries.unwrap_or(MOST_ENTRIES).min(MOST_ENTRIES);
    let handle = node.workspaces().find(&reference)?;
    let disk = handle.disk().await?;
    let (found, truncated) = disk.list(path.clone(), query.recursive, most).await?;
    Ok(Json(DiskList {
        workspace_id: handle.id(),
        path: file_path::text(&path),
        recursive: query.recursive,
        entries: found.iter().map(present::file_entry).collect(),
        truncated,
    }))
}

/// Which part of a file.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContentQuery {
    /// Absolute, or relative to `/workspace`.
    #[serde(default)]
    path: String,
    /// The path's bytes, instead.
    path_base64: Option<String>,
    /// The most bytes; 1 to 1,048,576, default 65,536.
    max_bytes: Option<u64>,
    /// The first byte that is wanted.
    offset: Option<u64>,
}

/// A regular file of a stopped workspace, or a part of it. A symlink is followed.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/disk/content",
    params(("workspace" = String, Path), ContentQuery), responses((status = 200, body = DiskContent),
        (status = 404, body = pyro_api::ErrorBody), (status = 409, body = pyro_api::ErrorBody)))]
pub(crate) async fn content(
    State(node): State<Node>,
    Path(reference): Path<String>,
    Query(query): Query<ContentQuery>,
) -> Answer<DiskContent> {
    let path = file_path::given(&query.path, query.path_base64.as_deref())?;
    let max_bytes = query.max_bytes.unwrap_or(USUAL_READ);
    if !(1..=MOST_READ).contains(&max_bytes) {
        let text = format!("{max_bytes} is not a valid max_bytes: 1 to {MOST_READ}");
        return Err(Problem::invalid("invalid_limit", text)
            .hint("read on from where a part ends: --offset")
            .into());
    }
    let handle = node.workspaces().find(&reference)?;
    let disk = handle.disk().await?;
    let part = disk.read(path, query.offset.unwrap_or(0), max_bytes as usize).await?;
    Ok(Json(present::disk_content(&handle, part, max_bytes)))
}

/// The workspace disk of a stopped workspace, whole and raw: an ext4 file system. Its empty parts are sent as
/// zeros.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/disk/image",
    params(("workspace" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream"),
        (status = 404, body = pyro_api::ErrorBody), (status = 409, body = pyro_api::ErrorBody)))]
pub(crate) async fn image(
    State(node): State<Node>,
    Path(reference): Path<String>,
) -> Result<Response, Failure> {
    let handle = node.workspaces().find(&reference)?;
    let image = handle.disk().await?.image().await?;
    let size = image.size_bytes;
    let pieces = futures::stream::try_unfold(image, |image| async move {
        image.next().await.map_err(|error| {
            let problem = Problem::from(error);
            tracing::debug!(%problem, "a disk was not sent whole");
            std::io::Error::other(problem.to_string())
        })
    });
    let mut response = Body::from_stream(pieces.boxed()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, size.into());
    let id = HeaderValue::from_str(&handle.id().to_string());
    if let Ok(id) = id {
        headers.insert(HeaderName::from_static("pyro-workspace-id"), id);
    }
    Ok(response)
}
