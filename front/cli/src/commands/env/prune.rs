//! `pyro env prune`.

use crate::{context::Context, error::CommandError, output::units};

pub(in crate::commands) async fn prune(context: &Context) -> Result<u8, CommandError> {
    let printer = context.printer;
    let pruned = context.node().await?.prune_environments().await?;
    if printer.json {
        printer.json(&pruned)?;
        return Ok(0);
    }
    let deleted: Vec<_> = [
        &pruned.deleted_environment_dirs,
        &pruned.deleted_kernel_dirs,
        &pruned.deleted_initramfs_dirs,
        &pruned.deleted_seed_dirs,
    ]
    .into_iter()
    .flatten()
    .collect();
    for directory in &deleted {
        printer.line(&printer.cell(directory))?;
    }
    if deleted.is_empty() {
        printer.notice("nothing was left unused");
    } else {
        printer.notice(&format!("{} freed", units::bytes(pruned.freed_bytes)));
    }
    Ok(0)
}
