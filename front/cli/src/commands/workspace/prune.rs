//! `pyro workspace prune`.

use pyro_api::PruneWorkspaces;

use crate::{arguments::PruneArguments, context::Context, error::CommandError, output::units};

pub(in crate::commands) async fn prune(
    context: &Context,
    arguments: &PruneArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let request = PruneWorkspaces {
        older_than_seconds: arguments.older_than.as_secs(),
        dry_run: arguments.dry_run,
    };
    let node = context.node().await?;
    let pruned = printer.while_waiting("Deleting", node.prune_workspaces(&request)).await?;
    if printer.json {
        printer.json(&pruned)?;
        return Ok(0);
    }
    for id in &pruned.deleted_workspace_ids {
        printer.line(&id.to_string())?;
    }
    let (would, bytes) = (if pruned.dry_run { "would be " } else { "" }, pruned.freed_bytes);
    let count = match pruned.count {
        1 => "1 workspace".to_owned(),
        many => format!("{many} workspaces"),
    };
    printer.notice(&format!("{count} {would}deleted, {} {would}freed", units::bytes(bytes)));
    Ok(0)
}
