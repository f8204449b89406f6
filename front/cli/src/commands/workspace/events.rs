//! `pyro workspace events`.

use std::fmt::Write as _;

use crate::{arguments::EventsArguments, context::Context, error::CommandError, output::units};

pub(in crate::commands) async fn events(
    context: &Context,
    arguments: &EventsArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let node = context.node().await?;
    let mut events = node.events(&workspace, arguments.after, arguments.follow).await?;
    while let Some(event) = events.next().await? {
        if printer.json {
            printer.json_line(&event)?;
            continue;
        }
        let service = &event.service;
        let mut line = format!(
            "{} {} {}",
            units::moment((event.at * 1e6) as u64),
            service.service_name,
            if event.event == "service_deleted" { "deleted" } else { service.state.as_str() }
        );
        if service.ready {
            line += ", ready";
        }
        if let Some(health) = &service.health {
            let _ = write!(line, ", {health}");
        }
        if let Some(reason) = &service.stop_reason {
            let _ = write!(line, " ({})", reason.replace('_', " "));
        }
        printer.line(&line)?;
    }
    Ok(0)
}
