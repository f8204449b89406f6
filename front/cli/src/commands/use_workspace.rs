//! `pyro use`: which workspace `@` means here.

use pyro_client::Selections;
use pyro_core::Problem;
use serde_json::json;

use crate::{arguments::UseArguments, context::Context, error::CommandError};

pub(super) async fn use_workspace(
    context: &Context,
    arguments: &UseArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let unknown = || Problem::failed("no_current_directory", "the current directory is gone");
    let here = context.environment.current_directory.as_deref().ok_or_else(unknown)?;
    let selections = Selections::open(context.environment.state()?)?;
    if arguments.clear {
        let former = selections.choose(here, None)?;
        if printer.json {
            printer.json(&json!({"directory": here, "workspace_id": null, "cleared": former}))?;
        } else if former.is_none() {
            printer.notice("no workspace was set for this directory");
        }
        return Ok(0);
    }
    let Some(given) = &arguments.workspace else {
        let workspace = context.workspace("@")?;
        if printer.json {
            printer.json(&json!({"directory": here, "workspace_id": workspace}))?;
        } else {
            printer.line(&workspace)?;
        }
        return Ok(0);
    };
    let workspace = context.workspace(given)?;
    let found = context.node().await?.workspace(&workspace).await?;
    let id = found.workspace_id.to_string();
    selections.choose(here, Some(&id))?;
    if printer.json {
        printer.json(&json!({"directory": here, "workspace_id": id}))?;
    } else {
        let name = found.name.map(|name| format!(" ({})", printer.cell(&name)));
        let here = printer.cell(&here.display().to_string());
        printer.line(&format!("@ is now {id}{} in {here}", name.unwrap_or_default()))?;
    }
    if context.environment.workspace.is_some() {
        printer.notice("PYRO_WORKSPACE is set and goes before it");
    }
    Ok(0)
}
