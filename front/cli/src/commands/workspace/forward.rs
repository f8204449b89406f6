//! `pyro workspace forward`.

use std::{io, sync::Arc};

use pyro_client::{Node, PortStream};
use pyro_core::Problem;
use pyro_listen::{HostPort, Listening, allow_most_descriptors, hang_up};
use serde_json::json;
use tokio::{
    io::{AsyncWriteExt, copy, split},
    net::TcpStream,
    sync::Mutex,
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
    allow_most_descriptors();
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    // Every port is had before anything is said or started.
    let mut ports = Vec::new();
    for port in &arguments.ports {
        let listening = Listening::on(arguments.bind.address(), wanted(*port));
        ports.push((listening.map_err(Problem::from)?, port.guest));
    }
    if arguments.bind.is_open() {
        printer.notice("whoever reaches this address of this host reaches the workspace's ports");
    }
    let node = Arc::new(context.node().await?);
    let workspace = node.workspace(&workspace).await?.workspace_id.to_string();
    let mut told = Vec::new();
    for (listening, guest) in &ports {
        let address = listening.address();
        if printer.json {
            told.push(json!({
                "host": address.ip(), "host_port": address.port(), "guest_port": guest,
                "protocol": "tcp",
            }));
        } else {
            printer.line(&format!("Forwarding {address} to port {guest} of {workspace}"))?;
        }
    }
    if printer.json {
        printer.json(&json!({ "workspace_id": workspace, "forwards": told }))?;
    }
    let mut forwards = JoinSet::new();
    for (listening, guest) in ports {
        let (node, workspace) = (node.clone(), workspace.clone());
        let behind = Arc::new(Behind { node, workspace, guest, printer, told: Mutex::default() });
        forwards.spawn(serve(listening, behind));
    }
    let _ = tokio::signal::ctrl_c().await;
    Ok(0)
}

/// Where none is given the guest's number is taken, if it is free.
fn wanted(port: Forward) -> HostPort {
    match port.host {
        None => HostPort::Preferably(port.guest),
        Some(0) => HostPort::Any,
        Some(number) => HostPort::Exactly(number),
    }
}

/// What is behind a forwarded port.
struct Behind {
    node: Arc<Node>,
    workspace: String,
    guest: u16,
    printer: Printer,
    /// Why the last connection was not made, where it was not.
    told: Mutex<Option<String>>,
}

async fn serve(listening: Listening, behind: Arc<Behind>) {
    loop {
        let client = listening.accept().await;
        tokio::spawn(behind.clone().carry(client));
    }
}

impl Behind {
    async fn carry(self: Arc<Self>, mut client: TcpStream) {
        let cut = match self.node.connect_port(&self.workspace, WITHIN, self.guest).await {
            Ok(port) => {
                *self.told.lock().await = None;
                carry(&mut client, port).await.is_err()
            }
            Err(error) => {
                self.tell(error.into()).await;
                true
            }
        };
        // What was not made, or not ended by both, is seen as that: by a reset.
        if cut {
            let _ = client.set_zero_linger();
        }
    }

    /// A program that tries again and again is told of once.
    async fn tell(&self, problem: Problem) {
        let mut told = self.told.lock().await;
        if told.as_ref() != Some(&problem.code) {
            self.printer.problem(&problem);
            *told = Some(problem.code);
        }
    }
}

/// Carries bytes until both directions have ended; an error where one broke, or a side is gone.
async fn carry(client: &mut TcpStream, port: PortStream) -> io::Result<()> {
    let client_gone = hang_up(client)?;
    let port_gone = hang_up(port.socket())?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_port, mut to_port) = split(port);
    let outward = async {
        copy(&mut from_client, &mut to_port).await?;
        to_port.shutdown().await
    };
    let inward = async {
        copy(&mut from_port, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::pin!(outward, inward);
    let mut sent = false;
    let mut received = false;
    tokio::pin!(client_gone, port_gone);
    while !(sent && received) {
        tokio::select! {
            biased;
            ended = &mut outward, if !sent => { ended?; sent = true; }
            ended = &mut inward, if !received => { ended?; received = true; }
            // After this side ended a direction, the ordinary end of the other is a hang-up too.
            () = &mut client_gone, if !received => return Err(io::ErrorKind::ConnectionReset.into()),
            () = &mut port_gone, if !sent => return Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
    Ok(())
}
