//! `pyro workspace patch apply`.

use base64::{Engine, engine::general_purpose::STANDARD};
use pyro_api::ApplyPatch;

use crate::{
    arguments::PatchApplyArguments,
    commands::file::{host_content, notices},
    context::Context,
    error::CommandError,
};

pub(in crate::commands) async fn apply(
    context: &Context,
    arguments: PatchApplyArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let content = match arguments.patch {
        Some(text) => text.into_bytes(),
        None => host_content(&arguments.patch_file.unwrap_or_default())?,
    };
    let (patch, patch_base64) = match String::from_utf8(content) {
        Ok(text) => (Some(text), None),
        Err(other) => (None, Some(STANDARD.encode(other.as_bytes()))),
    };
    let request = ApplyPatch {
        patch,
        patch_base64,
        base: Some(arguments.base),
        check: arguments.check,
        no_start: arguments.no_start,
    };
    let result = context.node().await?.apply_patch(&workspace, &request).await?;
    if printer.json {
        printer.json(&result)?;
        return Ok(0);
    }
    notices(printer, &result.notices);
    for file in &result.entries {
        let path = printer.cell(&file.path);
        let mended = match file.mended_hunks {
            0 => String::new(),
            1 => " (1 hunk mended)".to_owned(),
            hunks => format!(" ({hunks} hunks mended)"),
        };
        let line = match &file.old_path {
            Some(old) => format!("{:<9} {} -> {path}{mended}", file.status, printer.cell(old)),
            None => format!("{:<9} {path}{mended}", file.status),
        };
        printer.line(&line)?;
    }
    if arguments.check {
        printer.notice("it fits; nothing was changed");
    }
    Ok(0)
}
