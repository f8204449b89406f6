//! `pyro workspace stop`.

use std::time::Duration;

use crate::{arguments::StopArguments, context::Context, error::CommandError};

pub(in crate::commands) async fn stop(
    context: &Context,
    arguments: &StopArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let node = context.node().await?;
    let grace = arguments.grace_seconds.as_ref().map(Duration::as_secs_f64);
    let stopping = node.stop_workspace(&workspace, grace);
    let stopped = printer.while_waiting("Stopping the workspace", stopping).await?;
    if printer.json {
        printer.json(&stopped)?;
    } else {
        printer.line(&format!("Stopped {}", stopped.workspace_id))?;
    }
    Ok(0)
}
