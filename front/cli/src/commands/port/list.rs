//! `pyro workspace port list`.

use super::address;
use crate::{
    arguments::PortsArguments, context::Context, error::CommandError, output::table::table,
};

pub(in crate::commands) async fn list(
    context: &Context,
    arguments: &PortsArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let list = context.node().await?.ports(&workspace).await?;
    if printer.json {
        printer.json(&list)?;
        return Ok(0);
    }
    let nothing = || "-".to_owned();
    let rows: Vec<_> = list
        .ports
        .iter()
        .map(|port| {
            let published = port.published.as_ref();
            let state = |it: &pyro_api::PortPublication| match &it.reason {
                Some(reason) => format!("{}: {}", it.state, printer.cell(reason)),
                None => it.state.clone(),
            };
            let addresses = port.listening_addresses.join(",");
            [
                port.guest_port.to_string(),
                port.service.clone().unwrap_or_else(nothing),
                if addresses.is_empty() { nothing() } else { addresses },
                published.map_or_else(nothing, |it| address(&it.host, it.host_port)),
                published.map_or_else(nothing, |it| it.connections.to_string()),
                published.map_or_else(nothing, state),
            ]
        })
        .collect();
    let headings = ["PORT", "SERVICE", "LISTENS ON", "PUBLISHED", "CONNECTIONS", "STATE"];
    printer.data(&table(headings, &rows))?;
    if rows.is_empty() && printer.shows_progress() {
        printer.hint("publish one with: pyro port publish WORKSPACE PORT");
    }
    Ok(0)
}
