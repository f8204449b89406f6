//! `pyro workspace file edit`.

use pyro_api::EditFile;

use super::{file_path, notices};
use crate::{arguments::FileEditArguments, context::Context, error::CommandError};

pub(in crate::commands) async fn edit(
    context: &Context,
    arguments: FileEditArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let path = file_path(&arguments.path);
    let request = EditFile {
        path: path.path,
        path_base64: path.path_base64,
        old: arguments.old,
        new: arguments.new,
        replace_all: arguments.all,
        no_start: arguments.no_start,
    };
    let edited = context.node().await?.edit_file(&workspace, &request).await?;
    if printer.json {
        printer.json(&edited)?;
        return Ok(0);
    }
    notices(printer, &edited.notices);
    let places = match edited.replacements {
        1 => "1 place".to_owned(),
        places => format!("{places} places"),
    };
    printer.line(&format!("Changed {places} in {}", printer.cell(&edited.path)))?;
    Ok(0)
}
