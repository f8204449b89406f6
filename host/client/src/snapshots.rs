//! The routes of snapshots, and the reset.

use http::Method;
use pyro_api::{
    CreateSnapshot, CreatedSnapshot, DeletedSnapshot, ResetResult, ResetWorkspace, SnapshotList,
};

use crate::{
    ClientError, Node,
    connection::{Call, segment},
    files::route,
};

impl Node {
    /// `POST /v1/workspaces/{w}/snapshots`.
    pub async fn create_snapshot(
        &self,
        workspace: &str,
        request: &CreateSnapshot,
    ) -> Result<CreatedSnapshot, ClientError> {
        self.json(Call::new(Method::POST, route(workspace, "snapshots")).json(request)).await
    }

    /// `GET /v1/workspaces/{w}/snapshots`.
    pub async fn snapshots(&self, workspace: &str) -> Result<SnapshotList, ClientError> {
        self.get(route(workspace, "snapshots")).await
    }

    /// `DELETE /v1/workspaces/{w}/snapshots/{name}`.
    pub async fn delete_snapshot(
        &self,
        workspace: &str,
        name: &str,
    ) -> Result<DeletedSnapshot, ClientError> {
        let route = route(workspace, &format!("snapshots/{}", segment(name)));
        self.json(Call::new(Method::DELETE, route)).await
    }

    /// `POST /v1/workspaces/{w}/reset`.
    pub async fn reset_workspace(
        &self,
        workspace: &str,
        request: &ResetWorkspace,
    ) -> Result<ResetResult, ClientError> {
        self.json(Call::new(Method::POST, route(workspace, "reset")).json(request)).await
    }
}
