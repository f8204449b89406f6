//! `pyro workspace file write`.

use std::io::Read;

use base64::{Engine, engine::general_purpose::STANDARD};
use pyro_api::WriteFile;
use pyro_core::Problem;

use super::{file_path, notices};
use crate::{arguments::FileWriteArguments, context::Context, error::CommandError, output::units};

/// More than the node takes, so that it says so.
const MOST: u64 = (1 << 20) + 1;

pub(in crate::commands) async fn write(
    context: &Context,
    arguments: FileWriteArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let content = match (&arguments.text, &arguments.text_file) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, path) => {
            let path = path.clone().unwrap_or_default();
            host_content(&path).map_err(|error| {
                Problem::invalid("file_unreadable", format!("cannot read {}", path.display()))
                    .cause(error)
            })?
        }
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

fn host_content(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().take(MOST).read_to_end(&mut content)?;
    } else {
        std::fs::File::open(path)?.take(MOST).read_to_end(&mut content)?;
    }
    Ok(content)
}
