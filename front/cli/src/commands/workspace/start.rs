//! `pyro workspace start`.

use crate::{arguments::OneArguments, context::Context, error::CommandError};

pub(in crate::commands) async fn start(
    context: &Context,
    arguments: &OneArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let node = context.node().await?;
    let started =
        printer.while_waiting("Starting the workspace", node.start_workspace(&workspace)).await?;
    if printer.json {
        printer.json(&started)?;
    } else {
        printer.line(&format!("Started {}", started.workspace_id))?;
    }
    Ok(0)
}
