//! `pyro workspace forward`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use pyro_client::Node;
use pyro_core::Problem;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    arguments::ForwardArguments, context::Context, error::CommandError, printer::Printer,
    values::Forward,
};

/// Names `localhost` within the workspace, v4 and v6.
const WITHIN: &str = "localhost";

pub(in crate::commands) async fn forward(
    context: &Context,
    arguments: ForwardArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    // Every port is had before anything is said or started.
    let mut listeners = Vec::new();
    for port in &arguments.ports {
        listeners.push((listen(*port).await?, port.guest));
    }
    let node = Arc::new(context.node().await?);
    let workspace = node.workspace(&workspace).await?.workspace_id.to_string();
    let mut told = Vec::new();
    for (listener, guest) in &listeners {
        let address = local(listener)?;
        if printer.json {
            told.push(json!({
                "host": address.ip(), "host_port": address.port(), "guest_port": guest,
            }));
        } else {
            printer.line(&format!("Forwarding {address} to port {guest} of {workspace}"))?;
        }
    }
    if printer.json {
        printer.json(&json!({ "workspace_id": workspace, "forwards": told }))?;
    }
    let mut forwards = JoinSet::new();
    for (listener, guest) in listeners {
        forwards.spawn(serve(listener, node.clone(), workspace.clone(), guest, printer));
    }
    let _ = tokio::signal::ctrl_c().await;
    Ok(0)
}

fn local(listener: &TcpListener) -> Result<SocketAddr, Problem> {
    listener
        .local_addr()
        .map_err(|error| Problem::failed("port_unusable", "cannot listen").cause(error))
}

async fn listen(port: Forward) -> Result<TcpListener, Problem> {
    let number = port.host.unwrap_or(port.guest);
    TcpListener::bind((Ipv4Addr::LOCALHOST, number)).await.map_err(|error| {
        let taken = error.kind() == std::io::ErrorKind::AddrInUse;
        let code = if taken { "port_taken" } else { "port_unusable" };
        Problem::conflict(code, format!("cannot listen on port {number} of this host"))
            .cause(error)
            .hint(format!("take another: `pyro forward WORKSPACE 0:{}`", port.guest))
    })
}

async fn serve(
    listener: TcpListener,
    node: Arc<Node>,
    workspace: String,
    guest: u16,
    printer: Printer,
) {
    // Where this process is out of descriptors, it waits for some to come back.
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                tokio::spawn(carry(client, node.clone(), workspace.clone(), guest, printer));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn carry(
    mut client: TcpStream,
    node: Arc<Node>,
    workspace: String,
    guest: u16,
    printer: Printer,
) {
    let _ = client.set_nodelay(true);
    match node.connect_port(&workspace, WITHIN, guest).await {
        Ok(mut port) => {
            // How it ends is seen by both ends.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut port).await;
        }
        Err(error) => {
            // A connection that could not be made ends as one that was refused: by a reset.
            let _ = client.set_zero_linger();
            printer.problem(&Problem::from(error));
        }
    }
}
