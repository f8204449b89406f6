//! `pyro env delete`.

use serde_json::json;

use crate::{
    arguments::DeleteEnvironmentArguments, context::Context, error::CommandError, output::units,
};

/// Deletes them one after the other; those after one that fails are deleted all the same, and the
/// first failure is told.
pub(in crate::commands) async fn delete(
    context: &Context,
    arguments: &DeleteEnvironmentArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let node = context.node().await?;
    let mut deleted = Vec::new();
    let mut failures = Vec::new();
    for name in &arguments.environments {
        match node.delete_environment(name).await {
            Ok(done) => {
                if !printer.json {
                    let name = printer.cell(&done.name);
                    if done.count == 0 {
                        printer.line(&format!(
                            "Deleted {name}; its image stays while a workspace or another name needs it"
                        ))?;
                    } else {
                        let freed = units::bytes(done.freed_bytes);
                        printer.line(&format!("Deleted {name} ({freed} freed)"))?;
                    }
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
        // One is answered as it is; several as a list.
        match deleted.as_slice() {
            [one] => printer.json(one)?,
            several => printer.json(&json!({"count": several.len(), "environments": several}))?,
        }
    }
    Ok(0)
}
