//! Snapshots of a workspace's disk, and the way back to them.

use std::time::Instant;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
};
use pyro_api::{
    CreateSnapshot, CreatedSnapshot, DeletedSnapshot, ResetResult, ResetWorkspace, SnapshotList,
    WorkspaceReset,
};
use pyro_core::{SnapshotName, WORKSPACE_PATH};
use pyro_workspace::BASELINE;

use crate::{
    present,
    response::{Answer, Failure},
    routes::{json_body, read_body},
    server::Node,
};

fn named(name: &str) -> Result<SnapshotName, Failure> {
    Ok(name.parse::<SnapshotName>().map_err(pyro_core::Problem::from)?)
}

/// Takes a snapshot of the whole disk while everything keeps running; only who writes waits meanwhile.
/// A stopped workspace stays so.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/snapshots",
    params(("workspace" = String, Path)), request_body = CreateSnapshot,
    responses((status = 200, body = CreatedSnapshot), (status = 409, body = pyro_api::ErrorBody)))]
pub(crate) async fn create(
    State(node): State<Node>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<CreatedSnapshot> {
    let request: CreateSnapshot = json_body(&read_body(body).await?)?;
    let name = named(&request.snapshot_name)?;
    let handle = node.workspaces().find(&reference)?;
    let begun = Instant::now();
    let taken = handle.create_snapshot(name).await?;
    Ok(Json(CreatedSnapshot {
        workspace_id: handle.id(),
        snapshot: present::snapshot(handle.id(), &taken),
        duration_ms: begun.elapsed().as_millis() as u64,
        execution_mode: present::EXECUTION_MODE.into(),
    }))
}

/// The snapshots of a workspace: the baseline first, then the newest first.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/snapshots",
    params(("workspace" = String, Path)), responses((status = 200, body = SnapshotList)))]
pub(crate) async fn list(
    State(node): State<Node>,
    Path(reference): Path<String>,
) -> Answer<SnapshotList> {
    let handle = node.workspaces().find(&reference)?;
    let record = &handle.snapshot().record;
    let taken = record.checkpoints.snapshots.iter().rev();
    let snapshots: Vec<_> = std::iter::once(present::baseline(record))
        .chain(taken.map(|snapshot| present::snapshot(record.id, snapshot)))
        .collect();
    Ok(Json(SnapshotList { workspace_id: record.id, count: snapshots.len(), snapshots }))
}

/// Deletes a snapshot.
#[utoipa::path(delete, path = "/v1/workspaces/{workspace}/snapshots/{snapshot}",
    params(("workspace" = String, Path), ("snapshot" = String, Path)),
    responses((status = 200, body = DeletedSnapshot)))]
pub(crate) async fn delete(
    State(node): State<Node>,
    Path((reference, name)): Path<(String, String)>,
) -> Answer<DeletedSnapshot> {
    let handle = node.workspaces().find(&reference)?;
    let name = named(&name)?;
    handle.delete_snapshot(name.clone()).await?;
    Ok(Json(DeletedSnapshot {
        workspace_id: handle.id(),
        snapshot_name: name.to_string(),
        deleted: true,
    }))
}

/// Gives a workspace the disk of a snapshot, or a fresh one, and starts it. Services that ran run
/// again; commands and all other services are forgotten. Where it fails the workspace is as it was.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/reset",
    params(("workspace" = String, Path)), request_body = ResetWorkspace,
    responses((status = 200, body = ResetResult)))]
pub(crate) async fn reset(
    State(node): State<Node>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<ResetResult> {
    let request: ResetWorkspace = json_body(&read_body(body).await?)?;
    let name = named(request.snapshot.as_deref().unwrap_or(BASELINE))?;
    let handle = node.workspaces().find(&reference)?;
    let begun = Instant::now();
    let reset = handle.reset(name.clone(), !request.no_resume).await?;
    let snapshot = reset.snapshot.as_ref();
    Ok(Json(ResetResult {
        workspace: present::workspace(&handle, &reset.workspace).await,
        workspace_reset: WorkspaceReset {
            snapshot_name: name.to_string(),
            kind: if snapshot.is_some() { "named" } else { BASELINE }.into(),
            destination: WORKSPACE_PATH.into(),
            entry_count: snapshot.map_or(0, |snapshot| snapshot.entries),
            bytes_written: snapshot.map_or(0, |snapshot| snapshot.bytes),
            duration_ms: begun.elapsed().as_millis() as u64,
        },
    }))
}
