//! `pyro workspace disk export`.

use pyro_api::ExportedDisk;
use pyro_client::{ClientError, FilePath};

use crate::{
    arguments::DiskExportArguments, context::Context, error::CommandError, output::units,
    progress::Progress,
};

pub(in crate::commands) async fn export(
    context: &Context,
    arguments: &DiskExportArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let node = context.node().await?;
    let image = node.disk_image(&workspace).await?;
    let (workspace_id, bytes_written) = (image.workspace_id, image.size_bytes);
    let mut progress = printer.shows_progress().then(|| Progress::steps(printer));
    let mut shown = 0;
    let saved = image
        .save(&arguments.output, |bytes| {
            let percent = bytes.saturating_mul(100) / bytes_written.max(1);
            if let Some(progress) = progress.as_mut().filter(|_| percent > shown) {
                shown = percent;
                let message = format!("Writing {}", arguments.output.display());
                progress.step(&message, Some(percent as f64 / 100.0));
            }
        })
        .await;
    drop(progress);
    if let Err(error) = saved {
        // Most likely it was started meanwhile, which the node has told nobody yet.
        if matches!(error, ClientError::Lost { .. } | ClientError::Reply { .. }) {
            node.disk_files(&workspace, &FilePath::from("/"), false).await?;
        }
        return Err(error.into());
    }
    let exported = ExportedDisk {
        workspace_id,
        output_path: arguments.output.to_string_lossy().into_owned(),
        disk_format: "ext4".into(),
        bytes_written,
    };
    if printer.json {
        printer.json(&exported)?;
    } else {
        printer.line(&format!(
            "Wrote {}: a disk of {}, as ext4",
            printer.cell(&exported.output_path),
            units::bytes(bytes_written)
        ))?;
    }
    Ok(0)
}
