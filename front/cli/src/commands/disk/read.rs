//! `pyro workspace disk read`.

use crate::{
    arguments::DiskReadArguments,
    commands::file::{bytes_of, file_path},
    context::Context,
    error::CommandError,
    output::units,
};

pub(in crate::commands) async fn read(
    context: &Context,
    arguments: &DiskReadArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let (path, node) = (file_path(&arguments.path), context.node().await?);
    let most = Some(arguments.max_bytes);
    let file = node.read_disk(&workspace, &path, most, arguments.offset).await?;
    if printer.json {
        printer.json(&file)?;
        return Ok(0);
    }
    let bytes = bytes_of(&file.content, file.content_base64.as_deref());
    if arguments.content_only {
        printer.raw(&bytes)?;
    } else {
        printer.raw(&printer.shown_bytes(bytes))?;
    }
    if file.truncated {
        printer.notice(&format!(
            "{} of {} shown; read on with --offset {}",
            units::bytes(file.bytes_read),
            units::bytes(file.size_bytes),
            file.offset + file.bytes_read
        ));
    }
    Ok(0)
}
