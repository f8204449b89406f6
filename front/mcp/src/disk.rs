//! Disks of stopped workspaces: look at them without starting anything.

use std::fmt::Write as _;

use pyro_api::ExportedDisk;
use pyro_client::FilePath;
use pyro_core::Problem;
use serde_json::json;

use crate::{answer::Answer, call::Call, exec::fitting, file, host_path, output::cost};

/// `workspace_disk_list`.
pub(crate) async fn list(call: &Call) -> Result<Answer, Problem> {
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let path = FilePath::from(call.arguments.required("path"));
    let recursive = call.arguments.flag("recursive");
    let list = async move { node.disk_files(&workspace, &path, recursive).await };
    let list = call.within("listing files", list).await?;
    let count = list.entries.len();
    let more = if list.truncated { " or more" } else { "" };
    let mut text = format!("{count}{more} entries in {}\n", list.path);
    let shown = list.entries.iter().skip(call.arguments.number("offset")).map(file::listed);
    let (entries, omitted) = fitting(shown, &mut text, call);
    let document = json!({"workspace_id": list.workspace_id, "path": list.path,
        "recursive": list.recursive, "count": count, "entries": entries,
        "omitted_count": omitted, "truncated": list.truncated});
    Ok(Answer::new(text, &document))
}

/// `workspace_disk_read`.
pub(crate) async fn read(call: &Call) -> Result<Answer, Problem> {
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let path = FilePath::from(call.arguments.required("path"));
    let (budget, offset) = (call.arguments.number("max_bytes"), call.arguments.integer("offset"));
    let mut most = budget as u64;
    let read = async move {
        loop {
            let read = node.read_disk(&workspace, &path, Some(most), offset).await?;
            if cost(&read.content) <= budget || read.bytes_read <= 1 {
                return Ok(read);
            }
            most = file::less(read.bytes_read, &read.content, budget);
        }
    };
    let mut read = call.within("reading the file", read).await?;
    let end = read.offset + read.bytes_read;
    let mut text =
        format!("{}: bytes {} to {end} of {}\n", read.path, read.offset, read.size_bytes);
    let lossy = read.content_base64.take().is_some();
    text.push_str(&read.content);
    if read.truncated {
        let _ = write!(text, "\n[more: call again with offset={end}]");
    }
    let mut answer = Answer::new(text, &read);
    answer.document.insert("next_offset".to_owned(), end.into());
    answer.document.insert("lossy".to_owned(), lossy.into());
    Ok(answer)
}

/// `workspace_disk_export`.
pub(crate) async fn export(call: &Call) -> Result<Answer, Problem> {
    let settings = &call.pyro.settings;
    let output = host_path::output(settings, call.arguments.required("output_path"))?;
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let to = output.clone();
    let save = async move {
        let image = node.disk_image(&workspace).await?;
        let (workspace_id, bytes_written) = (image.workspace_id, image.size_bytes);
        image.save(&to, |_| {}).await?;
        Ok((workspace_id, bytes_written))
    };
    let (workspace_id, bytes_written) = call.within("writing the disk", save).await?;
    let output_path = output.to_string_lossy().into_owned();
    let text =
        format!("wrote {output_path} on the host: a disk of {} MiB, as ext4", bytes_written >> 20);
    let disk_format = "ext4".to_owned();
    let exported = ExportedDisk { workspace_id, output_path, disk_format, bytes_written };
    Ok(Answer::new(text, &exported))
}
