//! `pyro workspace snapshot delete`.

use crate::{arguments::SnapshotArguments, context::Context, error::CommandError};

pub(in crate::commands) async fn delete(
    context: &Context,
    arguments: &SnapshotArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let node = context.node().await?;
    let deleted = node.delete_snapshot(&workspace, &arguments.snapshot).await?;
    if printer.json {
        printer.json(&deleted)?;
    } else {
        printer.line(&format!("Deleted {}", deleted.snapshot_name))?;
    }
    Ok(0)
}
