//! Files of this host into a workspace, and a workspace's onto this host.

use pyro_client::{Carried, ExportQuery, FilePath, Format, Push, Rules};
use pyro_core::Problem;
use serde_json::json;

use crate::{answer::Answer, call::Call, host_path};

/// `workspace_sync_push`.
pub(crate) async fn push(call: &Call) -> Result<Answer, Problem> {
    let arguments = &call.arguments;
    let source = host_path::source(&call.pyro.settings, arguments.required("source_path"))?;
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let destination = FilePath::from(arguments.required("dest"));
    let push = Push {
        delete: arguments.flag("delete"),
        rules: Rules {
            excludes: arguments.list("exclude"),
            respect_ignore: arguments.flag("respect_ignore"),
        },
        ..Push::default()
    };
    call.progress.tell("sending files").await;
    let from = source.clone();
    let sending = async move {
        node.push_files(&workspace, &from, &destination, push, &Carried::default()).await
    };
    let pushed = call.within("sending the files", sending).await?;
    let removed = match pushed.removed_count {
        0 => String::new(),
        count => format!(", removed {count}"),
    };
    let text = format!(
        "brought {} entries, {} bytes, to {}{removed}",
        pushed.entry_count, pushed.bytes_written, pushed.destination
    );
    let document = json!({
        "workspace_id": pushed.workspace_id,
        "execution_mode": pushed.execution_mode,
        "workspace_sync": {
            "mode": if source.is_dir() { "directory" } else { "tar_archive" },
            "source_path": source.to_string_lossy(),
            "destination": pushed.destination,
            "entry_count": pushed.entry_count,
            "bytes_written": pushed.bytes_written,
            "removed_count": pushed.removed_count,
        },
    });
    Ok(Answer::new(text, &document).with_notices(pushed.notices))
}

/// `workspace_export`.
pub(crate) async fn export(call: &Call) -> Result<Answer, Problem> {
    let arguments = &call.arguments;
    let output = host_path::output(&call.pyro.settings, arguments.required("output_path"))?;
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let query = ExportQuery {
        path: FilePath::from(arguments.required("path")),
        changed: arguments.flag("changed"),
        ..ExportQuery::default()
    };
    let format = match arguments.required("format") {
        "tar" => Format::Tar,
        "tar.zst" => Format::TarZstd,
        _ => Format::Plain,
    };
    call.progress.tell("exporting files").await;
    let (path, to) = (query.path.path.clone(), output.clone());
    let export = async move {
        let exported =
            node.export_files(&workspace, &query, &to, format, false, &Carried::default()).await?;
        Ok((exported, node.workspace(&workspace).await?))
    };
    let (exported, status) = call.within("the export", export).await?;
    let (count, bytes) = (exported.entry_count, exported.bytes_written);
    let text =
        format!("exported {count} entries, {bytes} bytes, to {} on the host", output.display());
    let path = if path.starts_with('/') { path } else { format!("/workspace/{path}") };
    let document = json!({
        "workspace_id": status.workspace_id,
        "workspace_path": path,
        "output_path": output.to_string_lossy(),
        "artifact_type": exported.artifact_type,
        "entry_count": count,
        "bytes_written": bytes,
        "execution_mode": status.execution_mode,
    });
    Ok(Answer::new(text, &document))
}
