//! `pyro workspace export`.

use std::path::Path;

use pyro_client::{Carried, ExportQuery, Exported, Format};
use serde_json::json;

use crate::{
    arguments::{ExportArguments, ExportFormat},
    commands::file::file_path,
    context::Context,
    error::CommandError,
    output::units,
};

pub(in crate::commands) async fn export(
    context: &Context,
    arguments: ExportArguments,
) -> Result<u8, CommandError> {
    let workspace = context.workspace(&arguments.workspace)?;
    let query = ExportQuery {
        path: file_path(&arguments.path),
        changed: arguments.diff,
        paths: Vec::new(),
        no_start: arguments.no_start,
    };
    let format = match arguments.format {
        ExportFormat::Dir => Format::Plain,
        ExportFormat::Tar => Format::Tar,
        ExportFormat::TarZst => Format::TarZstd,
    };
    let (output, force) = (&arguments.output, arguments.force);
    take_out(context, &workspace, &query, output, format, force).await
}

/// Takes it out and says so.
pub(super) async fn take_out(
    context: &Context,
    workspace: &str,
    query: &ExportQuery,
    output: &Path,
    format: Format,
    replace: bool,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let node = context.node().await?;
    let carried = Carried::default();
    let exporting = node.export_files(workspace, query, output, format, replace, &carried);
    let exported: Exported = printer.while_carrying("Exporting", &carried, exporting).await?;
    if printer.json {
        let status = node.workspace(workspace).await?;
        let absolute = std::path::absolute(output).unwrap_or_else(|_| output.to_owned());
        let path = if query.path.path.starts_with('/') {
            query.path.path.clone()
        } else {
            format!("/workspace/{}", query.path.path)
        };
        printer.json(&json!({
            "workspace_id": status.workspace_id,
            "workspace_path": path,
            "output_path": absolute.to_string_lossy(),
            "artifact_type": exported.artifact_type,
            "entry_count": exported.entry_count,
            "bytes_written": exported.bytes_written,
            "execution_mode": status.execution_mode,
        }))?;
        return Ok(0);
    }
    let (count, bytes) = (exported.entry_count, units::bytes(exported.bytes_written));
    let entries = if count == 1 { "entry" } else { "entries" };
    printer.line(&format!("Exported {count} {entries}, {bytes}, to {}", output.display()))?;
    Ok(0)
}
