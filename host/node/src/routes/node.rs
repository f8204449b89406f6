//! The node itself.

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use pyro_api::{DiskUsage, NodeStatus, NodeStopped, WorkspaceDiskUsage};
use pyro_workspace::Phase;

use crate::{response::Answer, routes::environments, server::Node};

/// The node as it stands.
#[utoipa::path(get, path = "/v1/node", responses((status = 200, body = NodeStatus)))]
pub(crate) async fn status(State(node): State<Node>) -> Json<NodeStatus> {
    Json(NodeStatus {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        started_at: node.started_at(),
        state_directory: node.settings().workspace.state.display().to_string(),
        cache_directory: node.settings().workspace.cache.display().to_string(),
        workspace_count: node.workspaces().all(false).len(),
        started_count: started_count(&node),
        warm_count: node.workspaces().warm_count(),
        idle_exit_seconds: node.settings().idle_exit.map(|idle| idle.as_secs()),
    })
}

pub(crate) fn started_count(node: &Node) -> usize {
    let all = node.workspaces().all(true);
    all.iter().filter(|handle| handle.snapshot().record.phase == Phase::Started).count()
}

/// Ends the node; VMs go on and are adopted by the next one.
#[utoipa::path(post, path = "/v1/node/stop", responses((status = 200, body = NodeStopped)))]
pub(crate) async fn stop(State(node): State<Node>) -> Json<NodeStopped> {
    node.stop();
    Json(NodeStopped {
        pid: std::process::id(),
        stopping: true,
        started_count: started_count(&node),
    })
}

/// What the host's disk is used for.
#[utoipa::path(get, path = "/v1/df", responses((status = 200, body = DiskUsage)))]
pub(crate) async fn disk_usage(State(node): State<Node>) -> Answer<DiskUsage> {
    let environments = environments::all(&node)?.environments;
    let (workspaces, image_bytes, seed_bytes, free_bytes) = node
        .blocking(|node| {
            let all = node.workspaces().all(true);
            let mut workspaces: Vec<_> = all
                .iter()
                .map(|handle| WorkspaceDiskUsage {
                    workspace_id: handle.id(),
                    name: handle.snapshot().record.name.as_ref().map(ToString::to_string),
                    disk_bytes: handle.disk_bytes(),
                    record_bytes: handle.record_bytes(),
                })
                .collect();
            workspaces.sort_by_key(|usage| std::cmp::Reverse(usage.disk_bytes));
            let state = &node.settings().workspace.state;
            let free = rustix::fs::statvfs(state).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
            let images = pyro_workspace::occupied_bytes(&node.settings().workspace.cache);
            let seeds = pyro_image::seed::occupied_bytes(&node.workspaces().images());
            (workspaces, images, seeds, free)
        })
        .await;
    Ok(Json(DiskUsage {
        image_bytes,
        seed_bytes,
        workspace_bytes: workspaces.iter().map(|usage| usage.disk_bytes + usage.record_bytes).sum(),
        free_bytes,
        workspaces,
        environments,
    }))
}

/// This API, described.
#[utoipa::path(get, path = "/v1/openapi.json", responses((status = 200, body = Object)))]
pub(crate) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], crate::openapi::document()).into_response()
}
