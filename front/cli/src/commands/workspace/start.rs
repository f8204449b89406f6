//! `pyro workspace start`.

use crate::{arguments::StartArguments, context::Context, error::CommandError};

pub(in crate::commands) async fn start(
    context: &Context,
    arguments: &StartArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.one.workspace)?;
    let node = context.node().await?;
    let starting = node.start_workspace(&workspace, !arguments.no_resume);
    let started = printer.while_waiting("Starting the workspace", starting).await?;
    if printer.json {
        printer.json(&started)?;
    } else {
        printer.line(&format!("Started {}", started.workspace_id))?;
    }
    Ok(0)
}
