//! `pyro workspace file move`, `remove` and `mkdir`.

use pyro_api::{MakeDirectory, MoveFile, RemoveFile};

use super::{file_path, notices};
use crate::{
    arguments::{FileMkdirArguments, FileMoveArguments, FileRemoveArguments},
    context::Context,
    error::CommandError,
};

pub(in crate::commands) async fn rename(
    context: &Context,
    arguments: &FileMoveArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let (path, to) = (file_path(&arguments.path), file_path(&arguments.to));
    let shown = printer.cell(&path.path);
    let request = MoveFile {
        path: path.path,
        path_base64: path.path_base64,
        to: to.path,
        to_base64: to.path_base64,
        replace: arguments.replace,
        no_start: arguments.no_start,
    };
    let moved = context.node().await?.move_file(&workspace, &request).await?;
    if printer.json {
        printer.json(&moved)?;
        return Ok(0);
    }
    notices(printer, &moved.notices);
    printer.line(&format!("Moved {shown} to {}", printer.cell(&moved.entry.path)))?;
    Ok(0)
}

pub(in crate::commands) async fn remove(
    context: &Context,
    arguments: &FileRemoveArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let path = file_path(&arguments.path);
    let request = RemoveFile {
        path: path.path,
        path_base64: path.path_base64,
        recursive: arguments.recursive,
        no_start: arguments.no_start,
    };
    let removed = context.node().await?.remove_file(&workspace, &request).await?;
    if printer.json {
        printer.json(&removed)?;
        return Ok(0);
    }
    notices(printer, &removed.notices);
    printer.line(&format!("Removed {}", printer.cell(&removed.path)))?;
    Ok(0)
}

pub(in crate::commands) async fn mkdir(
    context: &Context,
    arguments: FileMkdirArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let path = file_path(&arguments.path);
    let request = MakeDirectory {
        path: path.path,
        path_base64: path.path_base64,
        mode: arguments.mode,
        no_start: arguments.no_start,
    };
    let made = context.node().await?.make_directory(&workspace, &request).await?;
    if printer.json {
        printer.json(&made)?;
        return Ok(0);
    }
    notices(printer, &made.notices);
    printer.line(&format!("Made {}", printer.cell(&made.entry.path)))?;
    Ok(0)
}
