//! Ports of a workspace.

use axum::{
    extract::{Path, Query, Request, State},
    response::Response,
};
use pyro_api::PORT_PROTOCOL;
use pyro_core::Problem;
use pyro_listen::hang_up;

use crate::{response::Failure, server::Node, stream};

/// How to connect.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectQuery {
    /// The host as the workspace sees it: an address or a name of its `/etc/hosts`. Default: localhost.
    host: Option<String>,
    /// Do not start a stopped workspace for it.
    #[serde(default)]
    no_start: bool,
}

/// Connects to a TCP port within the workspace, whatever its network policy.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/ports/{port}/connect",
    params(("workspace" = String, Path), ("port" = u16, Path), ConnectQuery),
    responses((status = 101, description = "the connection's bytes follow (`Upgrade: pyro-port`)")))]
pub(crate) async fn connect(
    State(node): State<Node>,
    Path((reference, port)): Path<(String, String)>,
    Query(query): Query<ConnectQuery>,
    mut request: Request,
) -> Result<Response, Failure> {
    let upgrade = stream::upgrade_to(PORT_PROTOCOL, &mut request)?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(|| {
        Problem::invalid("invalid_port", format!("{port:?} is not a port"))
            .hint("a port is a number from 1 to 65535")
    })?;
    let handle = node.workspaces().find(&reference)?;
    let host = query.host.as_deref().unwrap_or("localhost");
    let connection = handle.connect_port(host, port, query.no_start).await?;
    node.serve_stream(async move {
        let (client, first) = match stream::taken_over(upgrade).await {
            Ok(taken) => taken,
            Err(problem) => {
                tracing::debug!(%problem, "a client went before it was connected");
                return;
            }
        };
        // Where the client cannot be watched there are no descriptors left; it sees a cut.
        let Ok(gone) = hang_up(&client) else { return };
        let (from_client, to_client) = client.into_split();
        // A cut is seen by the client as its socket's close before it ended its own direction.
        let _ = connection.carry(first, from_client, to_client, gone).await;
    });
    Ok(stream::switching_to(PORT_PROTOCOL))
}
