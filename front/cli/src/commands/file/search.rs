//! `pyro workspace file search`.

use pyro_api::{SearchFiles, SearchMatch};

use super::notices;
use crate::{
    arguments::FileSearchArguments, context::Context, error::CommandError, printer::Printer,
};

pub(in crate::commands) async fn search(
    context: &Context,
    arguments: FileSearchArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let request = SearchFiles {
        pattern: arguments.pattern,
        path: Some(arguments.path),
        literal: arguments.literal,
        ignore_case: arguments.ignore_case,
        globs: arguments.glob,
        context: arguments.context,
        max_matches: Some(arguments.max_matches),
        all: arguments.all,
        names_only: arguments.names_only,
        no_start: arguments.no_start,
    };
    let found = context.node().await?.search_files(&workspace, &request).await?;
    if printer.json {
        printer.json(&found)?;
        return Ok(0);
    }
    notices(printer, &found.notices);
    let mut before: Option<&SearchMatch> = None;
    for line in &found.matches {
        if arguments.context > 0 && before.is_some_and(|before| is_apart(before, line)) {
            printer.line("--")?;
        }
        print(printer, line)?;
        before = Some(line);
    }
    if found.truncated {
        printer.notice(&format!("there may be more than these {}: --max-matches", found.count));
    } else if found.count == 0 && printer.shows_progress() {
        printer.notice(&format!("nothing found in {} files", found.files_searched));
    }
    Ok(0)
}

fn is_apart(before: &SearchMatch, line: &SearchMatch) -> bool {
    before.path != line.path
        || before.line_number.zip(line.line_number).is_some_and(|(a, b)| b > a + 1)
}

fn print(printer: Printer, line: &SearchMatch) -> Result<(), CommandError> {
    let path = printer.cell(&line.path);
    match line.line_number {
        None => printer.line(&path),
        Some(number) => {
            let mark = if line.context { '-' } else { ':' };
            printer.line(&format!("{path}{mark}{number}{mark}{}", printer.cell(&line.line)))
        }
    }
}
