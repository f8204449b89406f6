//! `pyro workspace disk list`.

use crate::{
    arguments::DiskListArguments,
    commands::file::{file_path, list::entries_table},
    context::Context,
    error::CommandError,
};

pub(in crate::commands) async fn list(
    context: &Context,
    arguments: &DiskListArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let (path, node) = (file_path(&arguments.path), context.node().await?);
    let list = node.disk_files(&workspace, &path, arguments.recursive).await?;
    if printer.json {
        printer.json(&list)?;
        return Ok(0);
    }
    printer.data(&entries_table(printer, &list.path, &list.entries))?;
    if list.truncated {
        printer.notice("there is more than is shown: list a directory in it");
    }
    Ok(0)
}
