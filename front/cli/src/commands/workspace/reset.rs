//! `pyro workspace reset`.

use pyro_api::ResetWorkspace;

use crate::{arguments::ResetArguments, context::Context, error::CommandError};

pub(in crate::commands) async fn reset(
    context: &Context,
    arguments: &ResetArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let node = context.node().await?;
    let request = ResetWorkspace {
        snapshot: Some(arguments.snapshot.clone()),
        no_resume: arguments.no_resume,
    };
    let resetting = node.reset_workspace(&workspace, &request);
    let result = printer.while_waiting("Resetting the workspace", resetting).await?;
    if printer.json {
        printer.json(&result)?;
    } else {
        let name = &result.workspace_reset.snapshot_name;
        printer.line(&format!("Reset {} to {name}", result.workspace.workspace_id))?;
    }
    Ok(0)
}
