//! `pyro workspace delete`.

use serde_json::json;

use crate::{arguments::DeleteArguments, context::Context, error::CommandError};

/// Deletes them one after the other; those after one that fails are deleted all the same, and the
/// first failure is told.
pub(in crate::commands) async fn delete(
    context: &Context,
    arguments: &DeleteArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let node = context.node().await?;
    let mut deleted = Vec::new();
    let mut failures = Vec::new();
    for given in &arguments.workspaces {
        let workspace = context.workspace(given)?;
        let deleting = node.delete_workspace(&workspace);
        match printer.while_waiting(&format!("Deleting {given}"), deleting).await {
            Ok(done) => {
                if !printer.json {
                    printer.line(&format!("Deleted {}", done.workspace_id))?;
                }
                deleted.push(done);
            }
            Err(error) => failures.push(error),
        }
    }
    let mut failures = failures.into_iter();
    if let Some(first) = failures.next() {
        for error in failures {
            printer.problem(&error.into());
        }
        return Err(first.into());
    }
    if printer.json {
        // One is answered as ever; several as a list.
        match deleted.as_slice() {
            [one] => printer.json(one)?,
            several => printer.json(&json!({"count": several.len(), "workspaces": several}))?,
        }
    }
    Ok(0)
}
