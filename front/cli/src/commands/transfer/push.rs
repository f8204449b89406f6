//! `pyro workspace sync push`.

use std::path::Path;

use pyro_api::UnpackedFiles;
use pyro_client::{Carried, Push, Rules};
use serde_json::json;

use crate::{
    arguments::SyncPushArguments,
    commands::file::{file_path, notices},
    context::Context,
    error::CommandError,
    output::units,
    printer::Printer,
};

pub(in crate::commands) async fn push(
    context: &Context,
    arguments: SyncPushArguments,
) -> Result<u8, CommandError> {
    let workspace = context.workspace(&arguments.workspace)?;
    let push = Push {
        delete: arguments.delete,
        rules: Rules { excludes: arguments.exclude, respect_ignore: arguments.respect_ignore },
        no_start: arguments.no_start,
    };
    let (source, destination) = (&arguments.source_path, file_path(&arguments.dest));
    let node = context.node().await?;
    let carried = Carried::default();
    let pushing = node.push_files(&workspace, source, &destination, push, &carried);
    let pushed = context.printer.while_carrying("Sending", &carried, pushing).await?;
    say(context.printer, source, &pushed)
}

/// Says what was brought.
pub(super) fn say(
    printer: Printer,
    source: &Path,
    pushed: &UnpackedFiles,
) -> Result<u8, CommandError> {
    if printer.json {
        let absolute = std::path::absolute(source).unwrap_or_else(|_| source.to_owned());
        let mode = if source.is_dir() { "directory" } else { "tar_archive" };
        printer.json(&json!({
            "workspace_id": pushed.workspace_id,
            "execution_mode": pushed.execution_mode,
            "workspace_sync": {
                "mode": mode,
                "source_path": absolute.to_string_lossy(),
                "destination": pushed.destination,
                "entry_count": pushed.entry_count,
                "bytes_written": pushed.bytes_written,
                "removed_count": pushed.removed_count,
            },
        }))?;
        return Ok(0);
    }
    notices(printer, &pushed.notices);
    let (count, bytes) = (pushed.entry_count, units::bytes(pushed.bytes_written));
    let removed = match pushed.removed_count {
        0 => String::new(),
        count => format!(", removed {count}"),
    };
    let place = printer.cell(&pushed.destination);
    printer.line(&format!("Brought {count} entries, {bytes}, to {place}{removed}"))?;
    Ok(0)
}
