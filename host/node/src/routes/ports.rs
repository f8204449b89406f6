//! Ports of a workspace.

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, Request, State},
    response::Response,
};
use pyro_api::{
    PORT_PROTOCOL, PortList, PublishPorts, PublishedPorts, UnpublishPorts, UnpublishedPorts,
};
use pyro_core::Problem;
use pyro_listen::hang_up;

use crate::{
    parse, present,
    response::{Answer, Failure},
    routes::{json_body, read_body},
    server::Node,
    stream,
};

/// The ports of a workspace: who listens on them, where they are published. Of a stopped one, those
/// that are published.
#[utoipa::path(get, path = "/v1/workspaces/{workspace}/ports",
    params(("workspace" = String, Path)), responses((status = 200, body = PortList)))]
pub(crate) async fn list(
    State(node): State<Node>,
    Path(reference): Path<String>,
) -> Answer<PortList> {
    let handle = node.workspaces().find(&reference)?;
    let ports: Vec<_> = handle.ports().await?.iter().map(present::port).collect();
    Ok(Json(PortList { workspace_id: handle.id(), count: ports.len(), ports }))
}

/// Publishes ports of a workspace on the host, whatever its network policy, until they are unpublished;
/// all of them or none. What is published already stays as it is.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/ports",
    params(("workspace" = String, Path)), request_body = PublishPorts,
    responses((status = 200, body = PublishedPorts), (status = 409, body = pyro_api::ErrorBody)))]
pub(crate) async fn publish(
    State(node): State<Node>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<PublishedPorts> {
    let request: PublishPorts = json_body(&read_body(body).await?)?;
    let bind = parse::bind(request.bind.as_deref())?;
    let ports = parse::ports(&request.ports, bind)?;
    let handle = node.workspaces().find(&reference)?;
    let published = handle.publish_ports(ports).await?;
    let open = bind.filter(|address| !address.to_canonical().is_loopback());
    let notices = open.map(|address| {
        format!("whoever reaches {address} of this host reaches these ports of the workspace")
    });
    Ok(Json(PublishedPorts {
        workspace_id: handle.id(),
        published_ports: published.iter().map(present::published_port).collect(),
        notices: notices.into_iter().collect(),
    }))
}

/// Takes published ports back, and cuts their connections: by the host's numbers, else by the
/// workspace's; all of them or none.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/ports/unpublish",
    params(("workspace" = String, Path)), request_body = UnpublishPorts,
    responses((status = 200, body = UnpublishedPorts), (status = 404, body = pyro_api::ErrorBody)))]
pub(crate) async fn unpublish(
    State(node): State<Node>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<UnpublishedPorts> {
    let request: UnpublishPorts = json_body(&read_body(body).await?)?;
    let ports = request.ports.iter().copied().map(parse::port_number).collect::<Result<_, _>>()?;
    let handle = node.workspaces().find(&reference)?;
    let gone = handle.unpublish_ports(ports).await?;
    Ok(Json(UnpublishedPorts {
        workspace_id: handle.id(),
        unpublished_ports: gone.iter().map(present::published_port).collect(),
    }))
}

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
