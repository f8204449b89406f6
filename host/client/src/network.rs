//! The routes of a workspace's network.

use http::Method;
use pyro_api::{NetworkLogEntry, NetworkStatus, SetNetwork};

use crate::{
    ClientError, Documents, Node,
    connection::{Call, segment, with_query},
};

fn route(workspace: &str, rest: &str) -> String {
    format!("/v1/workspaces/{}/network{rest}", segment(workspace))
}

impl Node {
    /// `GET /v1/workspaces/{w}/network`.
    pub async fn network(&self, workspace: &str) -> Result<NetworkStatus, ClientError> {
        self.get(route(workspace, "")).await
    }

    /// `PUT /v1/workspaces/{w}/network`: answers once it is in force.
    pub async fn set_network(
        &self,
        workspace: &str,
        request: &SetNetwork,
    ) -> Result<NetworkStatus, ClientError> {
        self.json(Call::new(Method::PUT, route(workspace, "")).json(request)).await
    }

    /// `GET /v1/workspaces/{w}/network/log`: what it wanted to reach after a cursor.
    pub async fn network_log(
        &self,
        workspace: &str,
        after: u64,
        follow: bool,
    ) -> Result<Documents<NetworkLogEntry>, ClientError> {
        let query =
            [("after", Some(after.to_string())), ("follow", follow.then(|| "true".to_owned()))];
        self.documents(Call::new(Method::GET, with_query(route(workspace, "/log"), &query))).await
    }
}
