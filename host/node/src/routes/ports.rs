//! Ports of a workspace.

use axum::{
    extract::{Path, Query, Request, State},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use pyro_api::PORT_PROTOCOL;
use pyro_core::Problem;
use pyro_workspace::PortConnection;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::{response::Failure, server::Node, stream};

/// Read from a client at once, bytes.
const PIECE: usize = 32 << 10;

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
        match stream::taken_over(upgrade).await {
            Ok((client, first)) => carry(client, first, connection).await,
            Err(problem) => tracing::debug!(%problem, "a client went before it was connected"),
        }
    });
    Ok(stream::switching_to(PORT_PROTOCOL))
}

/// Carries bytes until both directions have ended or either side is gone. A side that does not read
/// stops the other.
async fn carry(client: UnixStream, first: Bytes, connection: PortConnection) {
    let PortConnection { mut reader, mut writer, in_use } = connection;
    let (mut from_client, mut to_client) = client.into_split();
    let outward = async {
        let mut buffer = BytesMut::from(&first[..]);
        loop {
            if !buffer.is_empty() {
                writer.send(buffer.split().freeze()).await.ok()?;
            }
            buffer.reserve(PIECE);
            if from_client.read_buf(&mut buffer).await.ok()? == 0 {
                return writer.end().await.ok();
            }
        }
    };
    let inward = async {
        while let Some(bytes) = reader.next().await.ok()? {
            to_client.write_all(&bytes).await.ok()?;
        }
        to_client.shutdown().await.ok()
    };
    // Where one direction breaks, both are over.
    tokio::pin!(outward, inward);
    tokio::select! {
        ended = &mut outward => if ended.is_some() { inward.await; },
        ended = &mut inward => if ended.is_some() { outward.await; },
    }
    drop(in_use);
}
