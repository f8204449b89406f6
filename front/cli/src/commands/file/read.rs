//! `pyro workspace file read`.

use pyro_client::ReadQuery;

use super::{bytes_of, file_path, notices};
use crate::{arguments::FileReadArguments, context::Context, error::CommandError, output::units};

pub(in crate::commands) async fn read(
    context: &Context,
    arguments: &FileReadArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let query = ReadQuery {
        max_bytes: Some(arguments.max_bytes),
        offset: arguments.offset,
        first_line: arguments.lines.map(|(first, _)| first),
        line_count: arguments.lines.and_then(|(_, count)| count),
    };
    let (path, node) = (file_path(&arguments.path), context.node().await?);
    let file = node.read_file(&workspace, &path, &query, arguments.no_start).await?;
    if printer.json {
        printer.json(&file)?;
        return Ok(0);
    }
    notices(printer, &file.notices);
    let bytes = bytes_of(&file.content, file.content_base64.as_deref());
    if arguments.content_only {
        printer.raw(&bytes)?;
    } else {
        printer.raw(&printer.shown_bytes(bytes))?;
    }
    let end = file.offset + file.bytes_read;
    if file.truncated && arguments.lines.is_none() {
        printer.notice(&format!(
            "{} of {} shown; read on with --offset {end}",
            units::bytes(file.bytes_read),
            units::bytes(file.size_bytes)
        ));
    }
    Ok(0)
}
