//! `pyro df`: what the disk is used for.

use crate::{
    context::Context,
    error::CommandError,
    output::{table::table, units},
};

pub(super) async fn df(context: &Context) -> Result<u8, CommandError> {
    let printer = context.printer;
    let usage = context.node().await?.disk_usage().await?;
    if printer.json {
        printer.json(&usage)?;
        return Ok(0);
    }
    let row = |kind: &str, name: String, bytes: u64| [kind.to_owned(), name, units::bytes(bytes)];
    let mut rows = Vec::new();
    for workspace in &usage.workspaces {
        let id = workspace.workspace_id.to_string();
        let name = match &workspace.name {
            Some(name) => format!("{id} {}", printer.cell(name)),
            None => id,
        };
        rows.push(row("workspace", name, workspace.disk_bytes + workspace.record_bytes));
    }
    for environment in usage.environments.iter().filter(|environment| environment.installed) {
        rows.push(row("environment", printer.cell(&environment.name), environment.size_bytes));
    }
    if usage.seed_bytes > 0 {
        rows.push(row("seeds", String::new(), usage.seed_bytes));
    }
    rows.push(row("all workspaces", String::new(), usage.workspace_bytes));
    rows.push(row("all images", String::new(), usage.image_bytes));
    rows.push(row("free", String::new(), usage.free_bytes));
    printer.data(&table(["KIND", "NAME", "SIZE"], &rows))?;
    Ok(0)
}
