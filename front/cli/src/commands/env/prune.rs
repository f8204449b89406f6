//! `pyro env prune`.

use crate::{context::Context, error::CommandError};

pub(in crate::commands) async fn prune(context: &Context) -> Result<u8, CommandError> {
    let printer = context.printer;
    let pruned = context.node().await?.prune_environments().await?;
    if printer.json {
        printer.json(&pruned)?;
        return Ok(0);
    }
    for directory in &pruned.deleted_environment_dirs {
        printer.line(&printer.cell(directory))?;
    }
    if pruned.count == 0 {
        printer.notice("nothing was left unused");
    }
    Ok(0)
}
