//! `pyro workspace port publish`.

use pyro_api::{PublishPort, PublishPorts};

use super::address;
use crate::{arguments::PublishArguments, context::Context, error::CommandError, values};

pub(in crate::commands) async fn publish(
    context: &Context,
    arguments: PublishArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let mut binds: Vec<_> = arguments.ports.iter().map(|port| port.bind).collect();
    binds.dedup();
    let bind = match (binds.as_slice(), arguments.bind) {
        ([None], bind) => bind,
        ([given], None) => *given,
        _ => {
            let message = "one address at a time: use --bind, or the same address before each port";
            return Err(CommandError::usage("port publish", message));
        }
    };
    let port = |port: values::Forward| PublishPort {
        guest_port: port.guest.into(),
        host_port: port.host.map(u32::from),
    };
    let request = PublishPorts {
        ports: arguments.ports.iter().map(|it| port(it.port)).collect(),
        bind: bind.and_then(values::Bind::address).map(|address| address.to_string()),
    };
    let published = context.node().await?.publish_ports(&workspace, &request).await?;
    if printer.json {
        printer.json(&published)?;
        return Ok(0);
    }
    for notice in &published.notices {
        printer.notice(notice);
    }
    for port in &published.published_ports {
        let address = address(&port.host, port.host_port);
        let (guest, workspace) = (port.guest_port, published.workspace_id);
        printer.line(&format!("Published port {guest} of {workspace} on {address}"))?;
    }
    Ok(0)
}
