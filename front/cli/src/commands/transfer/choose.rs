//! `pyro workspace sync pull --interactive`: a person decides path by path.

use std::io::{self, BufRead, Write};

use pyro_client::{DiffQuery, Node, Plan, Pulled};
use pyro_core::Problem;

use crate::{
    commands::review::diff::coloured, context::Context, error::CommandError, printer::Printer,
    terminal,
};

const HELP: &str = "y: take it; n: leave it; d: show the difference; a: take it and all that follow but \
                    conflicts; q: leave it and all that follow";

/// What a person said of one path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Said {
    Take,
    Leave,
    Show,
    TakeAll,
    LeaveAll,
    Help,
}

impl Said {
    fn of(line: &str) -> Self {
        match line.trim().to_lowercase().as_str() {
            "y" | "yes" => Self::Take,
            "n" | "no" => Self::Leave,
            "d" | "diff" => Self::Show,
            "a" | "all" => Self::TakeAll,
            "q" | "quit" => Self::LeaveAll,
            _ => Self::Help,
        }
    }
}

/// Asks of each path that would be changed here. What is left is skipped.
pub(super) async fn choose(
    context: &Context,
    node: &Node,
    workspace: &str,
    pulled: &mut [Pulled],
    no_start: bool,
) -> Result<(), CommandError> {
    let printer = context.printer;
    if !terminal::stdin_is_terminal() {
        return Err(Problem::invalid(
            "no_terminal",
            "--interactive asks, and there is no terminal",
        )
        .hint("--check shows what would be; name paths to take only those")
        .into());
    }
    let mut rest = None;
    let asked = |it: &&mut Pulled| !matches!(it.plan, Plan::Already | Plan::Skip);
    for one in pulled.iter_mut().filter(asked) {
        let is_conflict = one.plan == Plan::Conflict;
        let said = match rest {
            Some(Said::TakeAll) if is_conflict => Said::Leave,
            Some(said) => said,
            None => loop {
                match ask(printer, one).await? {
                    Said::Show => show(context, node, workspace, &one.path, no_start).await?,
                    Said::Help => printer.step(HELP),
                    said => break said,
                }
            },
        };
        match said {
            Said::Take | Said::TakeAll => one.force(),
            _ => one.plan = Plan::Skip,
        }
        if matches!(said, Said::TakeAll | Said::LeaveAll) {
            rest = Some(said);
        }
    }
    Ok(())
}

async fn ask(printer: Printer, one: &Pulled) -> Result<Said, CommandError> {
    let what = match one.plan {
        Plan::Remove => "Remove",
        Plan::Conflict => "Write over what was changed here:",
        _ if one.entry.status == "added" => "Take new",
        _ => "Take",
    };
    for mark in &one.entry.marks {
        printer.notice(&format!("{}: {}", one.path, mark.reason));
    }
    let question = format!("{what} {}? [y/n/d/a/q/?] ", printer.on_stderr(&one.path));
    let answer = tokio::task::spawn_blocking(move || {
        let mut stderr = io::stderr().lock();
        stderr.write_all(question.as_bytes())?;
        stderr.flush()?;
        let mut line = String::new();
        // Whoever closes the terminal has said that it is enough.
        if io::stdin().lock().read_line(&mut line)? == 0 {
            line.push('q');
        }
        Ok::<_, io::Error>(line)
    });
    let line = answer.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    let line = line.map_err(|error| Problem::from_error("input_failed", &error))?;
    Ok(Said::of(&line))
}

async fn show(
    context: &Context,
    node: &Node,
    workspace: &str,
    path: &str,
    no_start: bool,
) -> Result<(), CommandError> {
    let query = DiffQuery { paths: vec![path.to_owned()], no_start, ..DiffQuery::default() };
    let result = node.diff(workspace, &query).await?;
    let printer = context.printer;
    let Some(entry) = result.entries.iter().find(|entry| entry.path == path) else {
        printer.step("it is as the workspace began with it");
        return Ok(());
    };
    if let Some(patch) = &entry.text_patch {
        return printer.data(&coloured(printer, patch));
    }
    let size = entry.size_bytes.unwrap_or_default();
    printer.step(&format!("{}, no text: {size} bytes", entry.artifact_type));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_letter_or_a_word_and_anything_else_asks_again() {
        assert_eq!(Said::of("y\n"), Said::Take);
        assert_eq!(Said::of(" NO \n"), Said::Leave);
        assert_eq!(Said::of("d"), Said::Show);
        for unclear in ["", "\n", "yn", "?", "\u{1b}[A"] {
            assert_eq!(Said::of(unclear), Said::Help);
        }
    }
}
