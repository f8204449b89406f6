//! `pyro workspace port unpublish`.

use pyro_api::UnpublishPorts;

use super::address;
use crate::{arguments::UnpublishArguments, context::Context, error::CommandError};

pub(in crate::commands) async fn unpublish(
    context: &Context,
    arguments: &UnpublishArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let request =
        UnpublishPorts { ports: arguments.ports.iter().copied().map(u32::from).collect() };
    let unpublished = context.node().await?.unpublish_ports(&workspace, &request).await?;
    if printer.json {
        printer.json(&unpublished)?;
        return Ok(0);
    }
    for port in &unpublished.unpublished_ports {
        let address = address(&port.host, port.host_port);
        let (guest, workspace) = (port.guest_port, unpublished.workspace_id);
        printer
            .line(&format!("Port {guest} of {workspace} is not published on {address} any more"))?;
    }
    Ok(0)
}
