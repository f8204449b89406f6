//! Files of a workspace: looked at and changed one by one.

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
};
use pyro_api::{
    EditFile, EditedFile, FileContent, FileList, FileStatus, MakeDirectory, MoveFile, RemoveFile,
    RemovedFile, SearchFiles, SearchResult, WriteFile, WrittenFile,
};
use pyro_core::{Problem, WORKSPACE_PATH};
use pyro_workspace::{Files, Handle, Search};

use crate::{
    file_path, present,
    response::{Answer, Failure},
    routes::{execs::notices, json_body, read_body_of},
    server::Node,
};

/// The most of a file that is read at once, bytes.
const MOST_READ: u64 = 1 << 20;
/// The same where nothing is said.
const USUAL_READ: u64 = 64 << 10;
/// The most that is written, or replaced, at once, bytes.
const MOST_WRITTEN: usize = 1 << 20;
/// Of a document that carries as much, which may say each byte in six.
const MOST_BODY: usize = 8 << 20;
/// The most names of one list.
const MOST_ENTRIES: u64 = 200_000;
/// The most lines that a search tells, and how many where nothing is said.
const MATCHES: (u64, u64) = (10_000, 200);
/// The most lines around one.
const MOST_CONTEXT: u32 = 20;

/// Which path.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PathQuery {
    /// Absolute, or relative to `/workspace`, which it is where nothing is said.
    path: Option<String>,
    /// The path's bytes, instead.
    path_base64: Option<String>,
    /// Go into directories. Only of a list.
    #[serde(default)]
    recursive: bool,
    /// Where it is a symlink: what that leads to. Only of a status.
    #[serde(default)]
    follow: bool,
    /// The most names. Only of a list.
    max_entries: Option<u64>,
    /// Do not start a stopped workspace for this; fail instead.
    #[serde(default)]
    no_start: bool,
}

impl PathQuery {
    fn path(&self) -> Result<Vec<u8>, Problem> {
        file_path::given(self.path.as_deref().unwrap_or_default(), self.path_base64.as_deref())
    }
}

async fn files(node: &Node, reference: &str, no_start: bool) -> Result<(Handle, Files), Failure> {
    let handle = node.workspaces().find(reference)?;
    let files = handle.files(no_start).await?;
    Ok((handle, files))
}

async fn document<T: serde::de::DeserializeOwned>(body: Body) -> Result<T, Failure> {
    json_body(&read_body_of(body, MOST_BODY).await?)
}

/// What is in a directory; a path that is none lists itself.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/files",
    params(("workspace" = String, Path), PathQuery), responses((status = 200, body = FileList),
        (status = 404, body = pyro_api::ErrorBody)))]
pub(crate) async fn list(
    State(node): State<Node>,
    Path(reference): Path<String>,
    Query(query): Query<PathQuery>,
) -> Answer<FileList> {
    let path = query.path()?;
    let most = query.max_entries.unwrap_or(MOST_ENTRIES).min(MOST_ENTRIES);
    let (handle, files) = files(&node, &reference, query.no_start).await?;
    let (found, truncated) = files.list(path.clone(), query.recursive, most).await?;
    Ok(Json(FileList {
        workspace_id: handle.id(),
        path: file_path::text(&path),
        recursive: query.recursive,
        entries: found.iter().map(present::file_entry).collect(),
        truncated,
        execution_mode: present::EXECUTION_MODE.into(),
        notices: notices(&handle, files.started_workspace),
    }))
}

/// What a path stands for.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/files/status",
    params(("workspace" = String, Path), PathQuery), responses((status = 200, body = FileStatus),
        (status = 404, body = pyro_api::ErrorBody)))]
pub(crate) async fn status(
    State(node): State<Node>,
    Path(reference): Path<String>,
    Query(query): Query<PathQuery>,
) -> Answer<FileStatus> {
    let path = query.path()?;
    let (handle, files) = files(&node, &reference, query.no_start).await?;
    let found = files.stat(path, query.follow).await?;
    Ok(Json(present::file_status(&handle, &files, &found)))
}

/// Which part of a file.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadQuery {
    /// Absolute, or relative to `/workspace`.
    #[serde(default)]
    path: String,
    /// The path's bytes, instead.
    path_base64: Option<String>,
    /// The most bytes; 1 to 1,048,576, default 65,536.
    max_bytes: Option<u64>,
    /// The first byte that is wanted.
    offset: Option<u64>,
    /// The first line that is wanted, 1 for the first; not together with `offset`.
    first_line: Option<u64>,
    /// How many lines; default: as many as fit.
    line_count: Option<u64>,
    /// Do not start a stopped workspace for this; fail instead.
    #[serde(default)]
    no_start: bool,
}

/// A regular file's content, or a part of it. A symlink is followed.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/files/content",
    params(("workspace" = String, Path), ReadQuery), responses((status = 200, body = FileContent),
        (status = 404, body = pyro_api::ErrorBody)))]
pub(crate) async fn read(
    State(node): State<Node>,
    Path(reference): Path<String>,
    Query(query): Query<ReadQuery>,
) -> Answer<FileContent> {
    let path = file_path::given(&query.path, query.path_base64.as_deref())?;
    let max_bytes = query.max_bytes.unwrap_or(USUAL_READ);
    if !(1..=MOST_READ).contains(&max_bytes) {
        return Err(out_of_range("max_bytes", max_bytes, 1, MOST_READ)
            .hint("read on from where a part ends: --offset")
            .into());
    }
    let lines = match (query.first_line, query.line_count) {
        (None, None) => None,
        (Some(0), _) | (_, Some(0)) => {
            return Err(Problem::invalid("invalid_limit", "lines are counted from 1").into());
        }
        (first, count) => Some((first.unwrap_or(1), count.unwrap_or(0))),
    };
    if lines.is_some() && query.offset.is_some() {
        let both = "an offset and lines cannot be asked for at once";
        return Err(Problem::invalid("invalid_request", both).into());
    }
    let (handle, files) = files(&node, &reference, query.no_start).await?;
    let part = files.read(path, query.offset.unwrap_or(0), lines, max_bytes).await?;
    let notices = notices(&handle, files.started_workspace);
    Ok(Json(present::file_content(&handle, part, max_bytes, notices)))
}

fn out_of_range(what: &str, given: u64, least: u64, most: u64) -> Problem {
    let text = format!("{given} is not a valid {what}: {least} to {most}");
    Problem::invalid("invalid_limit", text)
}

/// Permissions in octal.
fn mode(text: Option<&str>) -> Result<Option<u32>, Problem> {
    let parsed = text.map(|text| u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777));
    match parsed {
        None => Ok(None),
        Some(Some(mode)) => Ok(Some(mode)),
        Some(None) => {
            let given = text.unwrap_or_default();
            Err(Problem::invalid("invalid_mode", format!("{given:?} are no permissions"))
                .hint("give them in octal, as 0644 or 755"))
        }
    }
}

/// Writes a file, whole or not at all.
#[utoipa::path(put, path = "/v1/workspaces/{workspace}/files/content",
    params(("workspace" = String, Path)), request_body = WriteFile,
    responses((status = 200, body = WrittenFile), (status = 409, body = pyro_api::ErrorBody)))]
pub(crate) async fn write(
    State(node): State<Node>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<WrittenFile> {
    let request: WriteFile = document(body).await?;
    let path = file_path::given(&request.path, request.path_base64.as_deref())?;
    let content = match (request.text, request.content_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(coded)) => file_path::decoded("content_base64", &coded)?,
        _ => {
            let both = "exactly one of text and content_base64 is what is written";
            return Err(Problem::invalid("invalid_request", both).into());
        }
    };
    too_long(content.len(), "a file is written")?;
    let mode = mode(request.mode.as_deref())?;
    let (handle, files) = files(&node, &reference, request.no_start).await?;
    let bytes_written = content.len() as u64;
    let found = files.write(path, content.into(), mode, request.create_only).await?;
    Ok(Json(WrittenFile {
        workspace_id: handle.id(),
        path: file_path::text(&found.path),
        size_bytes: found.size_bytes,
        bytes_written,
        mode: present::mode(found.mode),
        execution_mode: present::EXECUTION_MODE.into(),
        notices: notices(&handle, files.started_workspace),
    }))
}

fn too_long(length: usize, what: &str) -> Result<(), Problem> {
    if length <= MOST_WRITTEN {
        return Ok(());
    }
    let text = format!("{length} bytes: {what} with at most 1 MiB at once");
    Err(Problem::invalid("file_too_large", text).hint("`pyro cp` takes files of any size"))
}

/// Replaces text in a file, whole or not at all.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/files/edit",
    params(("workspace" = String, Path)), request_body = EditFile,
    responses((status = 200, body = EditedFile), (status = 400, body = pyro_api::ErrorBody)))]
pub(crate) async fn edit(
    State(node): State<Node>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<EditedFile> {
    let request: EditFile = document(body).await?;
    let path = file_path::given(&request.path, request.path_base64.as_deref())?;
    if request.old.is_empty() {
        return Err(Problem::invalid("invalid_request", "there is no text to replace").into());
    }
    if request.old.len() + request.new.len() > MOST_WRITTEN - 4096 {
        too_long(MOST_WRITTEN + 1, "a file is edited")?;
    }
    let (handle, files) = files(&node, &reference, request.no_start).await?;
    let edited = files.edit(path, request.old, request.new, request.replace_all).await?;
    let (found, replacements) = edited;
    Ok(Json(EditedFile {
        workspace_id: handle.id(),
        path: file_path::text(&found.path),
        replacements,
        size_bytes: found.size_bytes,
        execution_mode: present::EXECUTION_MODE.into(),
        notices: notices(&handle, files.started_workspace),
    }))
}

/// Renames a file or a directory.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/files/move",
    params(("workspace" = String, Path)), request_body = MoveFile,
    responses((status = 200, body = FileStatus), (status = 409, body = pyro_api::ErrorBody)))]
pub(crate) async fn rename(
    State(node): State<Node>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<FileStatus> {
    let request: MoveFile = document(body).await?;
    let from = file_path::given(&request.path, request.path_base64.as_deref())?;
    let to = file_path::given(&request.to, request.to_base64.as_deref())?;
    let (handle, files) = files(&node, &reference, request.no_start).await?;
    let found = files.rename(from, to, request.replace).await?;
    Ok(Json(present::file_status(&handle, &files, &found)))
}

/// Removes a file or a directory.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/files/remove",
    params(("workspace" = String, Path)), request_body = RemoveFile,
    responses((status = 200, body = RemovedFile), (status = 404, body = pyro_api::ErrorBody)))]
pub(crate) async fn remove(
    State(node): State<Node>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<RemovedFile> {
    let request: RemoveFile = document(body).await?;
    let path = file_path::given(&request.path, request.path_base64.as_deref())?;
    if path == WORKSPACE_PATH.as_bytes() {
        let text = "/workspace itself is not removed";
        return Err(Problem::invalid("invalid_path", text)
            .hint("`pyro workspace reset` makes it what it was at first")
            .into());
    }
    let (handle, files) = files(&node, &reference, request.no_start).await?;
    files.remove(path.clone(), request.recursive).await?;
    Ok(Json(RemovedFile {
        workspace_id: handle.id(),
        path: file_path::text(&path),
        removed: true,
        execution_mode: present::EXECUTION_MODE.into(),
        notices: notices(&handle, files.started_workspace),
    }))
}

/// Makes a directory with those it lies in.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/files/directory",
    params(("workspace" = String, Path)), request_body = MakeDirectory,
    responses((status = 200, body = FileStatus)))]
pub(crate) async fn make_directory(
    State(node): State<Node>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<FileStatus> {
    let request: MakeDirectory = document(body).await?;
    let path = file_path::given(&request.path, request.path_base64.as_deref())?;
    let mode = mode(request.mode.as_deref())?;
    let (handle, files) = files(&node, &reference, request.no_start).await?;
    let found = files.make_directory(path, mode).await?;
    Ok(Json(present::file_status(&handle, &files, &found)))
}

/// Looks for lines in files.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/files/search",
    params(("workspace" = String, Path)), request_body = SearchFiles,
    responses((status = 200, body = SearchResult), (status = 400, body = pyro_api::ErrorBody)))]
pub(crate) async fn search(
    State(node): State<Node>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<SearchResult> {
    let request: SearchFiles = document(body).await?;
    let path = file_path::given(request.path.as_deref().unwrap_or_default(), None)?;
    if request.pattern.is_empty() {
        return Err(Problem::invalid("invalid_pattern", "there is nothing to look for").into());
    }
    let most_matches = request.max_matches.unwrap_or(MATCHES.1);
    if !(1..=MATCHES.0).contains(&most_matches) {
        return Err(out_of_range("max_matches", most_matches, 1, MATCHES.0).into());
    }
    if request.context > MOST_CONTEXT {
        let most = u64::from(MOST_CONTEXT);
        return Err(out_of_range("context", request.context.into(), 0, most).into());
    }
    let (handle, files) = files(&node, &reference, request.no_start).await?;
    let search = Search {
        pattern: request.pattern.clone(),
        path: path.clone(),
        literal: request.literal,
        ignore_case: request.ignore_case,
        globs: request.globs,
        context: request.context,
        most_matches,
        all: request.all,
        names_only: request.names_only,
    };
    let searched = files.search(search).await?;
    Ok(Json(SearchResult {
        workspace_id: handle.id(),
        path: file_path::text(&path),
        pattern: request.pattern,
        count: searched.count,
        files_searched: searched.files,
        truncated: searched.truncated,
        matches: searched.lines.iter().map(present::search_match).collect(),
        execution_mode: present::EXECUTION_MODE.into(),
        notices: notices(&handle, files.started_workspace),
    }))
}
