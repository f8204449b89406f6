//! Patches into a workspace, and what is different in it.

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use pyro_api::{ApplyPatch, DiffResult, PatchResult};
use pyro_core::{Problem, SnapshotName};
use pyro_workspace::{BASELINE, Compared, Difference, Handle, Moment, NOW};

use crate::{
    file_path, present,
    response::{Answer, Failure},
    routes::{execs::notices, json_body, read_body_of},
    server::Node,
};

/// Of a document that carries a patch of 1 MiB, which may say each byte in six.
const MOST_BODY: usize = 8 << 20;
/// The longest patch of one file that is told, and how long where nothing is said, bytes.
const PATCH: (u64, u64) = (4 << 20, 1 << 20);
/// The same of all files together.
const PATCHES: (u64, u64) = (64 << 20, 16 << 20);
/// The most changes.
const MOST_ENTRIES: u64 = 200_000;
/// Paths that are asked for.
const MOST_PATHS: usize = 1000;

/// Changes files as a patch says, all or nothing.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/patch",
    params(("workspace" = String, Path)), request_body = ApplyPatch,
    responses((status = 200, body = PatchResult), (status = 400, body = pyro_api::ErrorBody)))]
pub(crate) async fn patch(
    State(node): State<Node>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<PatchResult> {
    let request: ApplyPatch = json_body(&read_body_of(body, MOST_BODY).await?)?;
    let patch = match (request.patch, request.patch_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(coded)) => file_path::decoded("patch_base64", &coded)?,
        _ => {
            let both = "exactly one of patch and patch_base64 is what is applied";
            return Err(Problem::invalid("invalid_request", both).into());
        }
    };
    let base = file_path::given(request.base.as_deref().unwrap_or_default(), None)?;
    // What cannot be read starts no workspace.
    pyro_change::parse(&patch, &base).map_err(|error| {
        Problem::invalid(error.code(), error.to_string())
            .hint("a patch is what `git diff` writes; names are relative to /workspace")
    })?;
    let handle = node.workspaces().find(&reference)?;
    let files = handle.files(request.no_start).await?;
    let shown = String::from_utf8_lossy(&patch).into_owned();
    let patched = files.patch(base, patch.into(), request.check).await?;
    let notices = notices(&handle, files.started_workspace);
    Ok(Json(present::patch_result(&handle, &patched, request.check, shown, notices)))
}

/// What to compare.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiffQuery {
    /// Only these paths and what is in them: relative to `/workspace` or within it, one on each line.
    paths: Option<String>,
    /// Tell files that only have another name as renamed.
    #[serde(default)]
    renames: bool,
    /// Leave out patches: only what changed, not how.
    #[serde(default)]
    summary_only: bool,
    /// SHA-256 of every regular file, not only of binary ones.
    #[serde(default)]
    digests: bool,
    /// A longer patch of one file is left out; default 1 MiB, at most 4 MiB.
    max_patch_bytes: Option<u64>,
    /// When the patches are longer together, the rest is left out; default 16 MiB, at most 64 MiB.
    max_total_bytes: Option<u64>,
    /// What it was: `baseline` (default), a snapshot's name, or `now`.
    from: Option<String>,
    /// What became of it: `now` (default), a snapshot's name, or `baseline`.
    to: Option<String>,
    /// Do not start a stopped workspace for this; fail instead. It is started only where it cannot be read
    /// otherwise.
    #[serde(default)]
    no_start: bool,
}

/// The names of two moments.
struct Moments {
    from: SnapshotName,
    to: SnapshotName,
}

impl DiffQuery {
    fn moments(&self) -> Result<Moments, Problem> {
        let named = |given: &Option<String>, usual: &str| {
            given.as_deref().unwrap_or(usual).parse::<SnapshotName>().map_err(Problem::from)
        };
        let moments = Moments { from: named(&self.from, BASELINE)?, to: named(&self.to, NOW)? };
        if moments.from == moments.to {
            let text = format!("{0} is compared with itself: nothing is different", moments.from);
            return Err(Problem::invalid("invalid_request", text)
                .hint("from and to are baseline, now, or a snapshot's name"));
        }
        Ok(moments)
    }

    async fn compare(&self, handle: &Handle, moments: &Moments) -> Result<Compared, Failure> {
        let [from, to] = [&moments.from, &moments.to].map(|name| Moment::from(name.clone()));
        Ok(handle.compare(from, to, self.wanted()?, self.no_start).await?)
    }

    fn wanted(&self) -> Result<Difference, Problem> {
        let within =
            |given: Option<u64>, (most, usual): (u64, u64)| given.unwrap_or(usual).min(most);
        let lines = self.paths.as_deref().unwrap_or_default().lines();
        let paths = lines.map(path).collect::<Result<Vec<_>, _>>()?;
        if paths.len() > MOST_PATHS {
            let text = format!("{} paths: at most {MOST_PATHS} at once", paths.len());
            return Err(Problem::invalid("invalid_limit", text));
        }
        Ok(Difference {
            paths,
            renames: self.renames,
            patches: !self.summary_only,
            most_patch_bytes: within(self.max_patch_bytes, PATCH),
            most_patches_bytes: within(self.max_total_bytes, PATCHES),
            digests: self.digests,
            most_entries: MOST_ENTRIES,
        })
    }
}

/// A path within `/workspace`, relative to it.
fn path(text: &str) -> Result<Vec<u8>, Problem> {
    let relative = match text.strip_prefix("/workspace") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ if text.starts_with('/') => {
            return Err(Problem::invalid("invalid_path", format!("{text:?} is not in /workspace"))
                .hint("a difference is of /workspace only"));
        }
        _ => text,
    };
    let parts = relative.split('/').filter(|part| !matches!(*part, "" | "."));
    let parts: Vec<&str> = parts.collect();
    if parts.contains(&"..") {
        return Err(Problem::invalid("invalid_path", format!("{text:?} leads elsewhere")));
    }
    Ok(parts.join("/").into_bytes())
}

/// What is different in `/workspace` from what it began with, or between any two of its snapshots and what
/// it is.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/diff",
    params(("workspace" = String, Path), DiffQuery), responses((status = 200, body = DiffResult)))]
pub(crate) async fn diff(
    State(node): State<Node>,
    Path(reference): Path<String>,
    Query(query): Query<DiffQuery>,
) -> Answer<DiffResult> {
    let (moments, _) = (query.moments()?, query.wanted()?);
    let handle = node.workspaces().find(&reference)?;
    let compared = query.compare(&handle, &moments).await?;
    let notices = notices(&handle, compared.started_workspace);
    let between = (moments.from.to_string(), moments.to.to_string());
    Ok(Json(present::diff_result(&handle, between, &compared, notices)))
}

/// Whether a path is in a repository's own directory, where git applies nothing.
fn is_in_git(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|name| name.eq_ignore_ascii_case(b".git"))
}

/// The patch that makes `/workspace` what it is, as bytes: what `git apply` takes, so without what is in
/// `.git`.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/diff/patch",
    params(("workspace" = String, Path), DiffQuery),
    responses((status = 200, content_type = "text/x-diff", body = String)))]
pub(crate) async fn diff_patch(
    State(node): State<Node>,
    Path(reference): Path<String>,
    Query(query): Query<DiffQuery>,
) -> Result<Response, Failure> {
    let (moments, _) = (query.moments()?, query.wanted()?);
    let handle = node.workspaces().find(&reference)?;
    let compared = query.compare(&handle, &moments).await?;
    let kept = compared.changes.into_iter().filter(|change| !is_in_git(&change.path));
    let patch: Vec<u8> = kept.filter_map(|change| change.patch).flatten().collect();
    let mut response = Body::from(patch).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/x-diff"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn paths_of_a_difference_are_within_the_workspace() {
        for (given, relative) in [
            ("a/b", "a/b"),
            ("./a//b/", "a/b"),
            ("/workspace/a", "a"),
            ("/workspace", ""),
            (".", ""),
        ] {
            assert_eq!(path(given).unwrap(), relative.as_bytes());
        }
        for outside in ["/etc", "/workspaces", "a/../..", ".."] {
            path(outside).unwrap_err();
        }
    }
}
