//! Workspaces.

use std::{
    cmp::Reverse,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
};
use pyro_api::{
    CreateWorkspace, DeletedWorkspace, PruneWorkspaces, PrunedWorkspaces, UpdateWorkspace,
    Workspace, WorkspaceList,
};
use pyro_workspace::{Phase, WorkspaceKind};

use crate::{
    parse, present,
    response::Answer,
    routes::{json_body, read_body},
    server::Node,
};

/// All workspaces: most recently used first.
#[utoipa::path(get, path = "/v1/workspaces", responses((status = 200, body = WorkspaceList)))]
pub(crate) async fn list(State(node): State<Node>) -> Json<WorkspaceList> {
    let handles = node.workspaces().all(false);
    let mut workspaces = futures::future::join_all(handles.iter().map(present::summary)).await;
    workspaces.sort_by(|a, b| {
        b.last_activity_at
            .total_cmp(&a.last_activity_at)
            .then(b.created_at.total_cmp(&a.created_at))
            .then(a.workspace_id.cmp(&b.workspace_id))
    });
    Json(WorkspaceList { count: workspaces.len(), workspaces })
}

/// Makes a workspace and starts it; answers once its guest is ready.
#[utoipa::path(post, path = "/v1/workspaces", request_body = CreateWorkspace,
    responses((status = 200, body = Workspace), (status = 400, body = pyro_api::ErrorBody)))]
pub(crate) async fn create(State(node): State<Node>, body: Body) -> Answer<Workspace> {
    let request: CreateWorkspace = json_body(&read_body(body).await?)?;
    let creation = parse::creation(request, WorkspaceKind::Workspace)?;
    let handle = node.workspaces().create(creation).await?;
    Ok(Json(present::workspace(&handle, &handle.snapshot()).await))
}

/// One workspace.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}", params(("workspace" = String, Path)),
    responses((status = 200, body = Workspace), (status = 404, body = pyro_api::ErrorBody)))]
pub(crate) async fn status(
    State(node): State<Node>,
    Path(reference): Path<String>,
) -> Answer<Workspace> {
    let handle = node.workspaces().find(&reference)?;
    Ok(Json(present::workspace(&handle, &handle.snapshot()).await))
}

/// Changes discovery metadata.
#[utoipa::path(patch, path = "/v1/workspaces/{workspace}", params(("workspace" = String, Path)),
    request_body = UpdateWorkspace, responses((status = 200, body = Workspace)))]
pub(crate) async fn update(
    State(node): State<Node>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<Workspace> {
    let change = parse::change(json_body(&read_body(body).await?)?)?;
    let handle = node.workspaces().find(&reference)?;
    let snapshot = handle.update(change).await?;
    Ok(Json(present::workspace(&handle, &snapshot).await))
}

/// Deletes a workspace with its disks and records.
#[utoipa::path(delete, path = "/v1/workspaces/{workspace}", params(("workspace" = String, Path)),
    responses((status = 200, body = DeletedWorkspace)))]
pub(crate) async fn delete(
    State(node): State<Node>,
    Path(reference): Path<String>,
) -> Answer<DeletedWorkspace> {
    let handle = node.workspaces().find(&reference)?;
    handle.delete().await?;
    Ok(Json(DeletedWorkspace {
        workspace_id: handle.id(),
        deleted: true,
        reason: "explicit_delete".into(),
    }))
}

/// How a workspace is started.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartQuery {
    /// Leave the services that ran when it was stopped as they are, rather than run them again.
    #[serde(default)]
    no_resume: bool,
}

/// Starts a workspace; one that runs is answered as it is.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/start",
    params(("workspace" = String, Path), StartQuery), responses((status = 200, body = Workspace)))]
pub(crate) async fn start(
    State(node): State<Node>,
    Path(reference): Path<String>,
    Query(query): Query<StartQuery>,
) -> Answer<Workspace> {
    let handle = node.workspaces().find(&reference)?;
    let snapshot = handle.start(!query.no_resume).await?;
    Ok(Json(present::workspace(&handle, &snapshot).await))
}

/// How a workspace is stopped.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct StopQuery {
    /// Between TERM and KILL, seconds. Default 5.
    grace_seconds: Option<f64>,
}

/// Stops a workspace: its execs are ended, its disks synced, its VM ended.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/stop",
    params(("workspace" = String, Path), StopQuery), responses((status = 200, body = Workspace)))]
pub(crate) async fn stop(
    State(node): State<Node>,
    Path(reference): Path<String>,
    Query(query): Query<StopQuery>,
) -> Answer<Workspace> {
    let grace = parse::grace(query.grace_seconds)?.unwrap_or(Duration::from_secs(5));
    let handle = node.workspaces().find(&reference)?;
    let snapshot = handle.stop(grace).await?;
    Ok(Json(present::workspace(&handle, &snapshot).await))
}

/// Deletes stopped workspaces that were not used for long.
#[utoipa::path(post, path = "/v1/workspaces/prune", request_body = PruneWorkspaces,
    responses((status = 200, body = PrunedWorkspaces)))]
pub(crate) async fn prune(State(node): State<Node>, body: Body) -> Answer<PrunedWorkspaces> {
    let request: PruneWorkspaces = json_body(&read_body(body).await?)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let oldest = now.saturating_sub(request.older_than_seconds.saturating_mul(1000));
    let mut old = node.workspaces().all(false);
    old.retain(|handle| {
        handle.snapshot().record.phase == Phase::Stopped && handle.last_activity_millis() <= oldest
    });
    old.sort_by_key(|handle| Reverse(handle.id()));
    let mut pruned = PrunedWorkspaces {
        deleted_workspace_ids: Vec::new(),
        count: 0,
        freed_bytes: 0,
        dry_run: request.dry_run,
    };
    for handle in old {
        let measured = handle.clone();
        let bytes = node.blocking(move |_| measured.disk_bytes() + measured.record_bytes()).await;
        if !request.dry_run {
            handle.delete().await?;
        }
        pruned.freed_bytes += bytes;
        pruned.deleted_workspace_ids.push(handle.id());
    }
    pruned.count = pruned.deleted_workspace_ids.len();
    Ok(Json(pruned))
}
