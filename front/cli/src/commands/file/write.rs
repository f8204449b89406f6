//! `pyro workspace file write`.

use base64::{Engine, engine::general_purpose::STANDARD};
use pyro_api::WriteFile;

use super::{file_path, host_content, notices};
use crate::{arguments::FileWriteArguments, context::Context, error::CommandError, output::units};

pub(in crate::commands) async fn write(
    context: &Context,
    arguments: FileWriteArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let content = match (&arguments.text, &arguments.text_file) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, path) => host_content(&path.clone().unwrap_or_default())?,
    };
    let path = file_path(&arguments.path);
    let (text, content_base64) = match String::from_utf8(content) {
        Ok(text) => (Some(text), None),
        Err(other) => (None, Some(STANDARD.encode(other.as_bytes()))),
    };
    let request = WriteFile {
        path: path.path,
        path_base64: path.path_base64,
        text,
        content_base64,
        mode: arguments.mode,
        create_only: arguments.create_only,
        no_start: arguments.no_start,
    };
    let written = context.node().await?.write_file(&workspace, &request).await?;
    if printer.json {
        printer.json(&written)?;
        return Ok(0);
    }
    notices(printer, &written.notices);
    let (bytes, path) = (units::bytes(written.bytes_written), printer.cell(&written.path));
    printer.line(&format!("Wrote {bytes} to {path}"))?;
    Ok(0)
}
