//! `pyro workspace logs`.

use std::fmt::Write as _;

use owo_colors::OwoColorize;

use super::ps;
use crate::{arguments::OneArguments, context::Context, error::CommandError, output::units};

pub(in crate::commands) async fn logs(
    context: &Context,
    arguments: &OneArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let logs = context.node().await?.workspace_logs(&workspace).await?;
    if printer.json {
        printer.json(&logs)?;
        return Ok(0);
    }
    for entry in &logs.entries {
        let exec = &entry.exec;
        let span = units::span(exec.duration_ms as f64 / 1000.0);
        let how = ps::state(exec);
        let heading = format!("[{}] $ {}", exec.sequence, printer.cell(&exec.command));
        let mut text = String::new();
        let _ = writeln!(text, "{}  {}", heading.bold(), format!("({how}, {span})").dimmed());
        printer.data(&text)?;
        for output in [&entry.stdout, &entry.stderr] {
            printer.raw(printer.shown(output).as_bytes())?;
            if !output.is_empty() && !output.ends_with('\n') {
                printer.raw(b"\n")?;
            }
        }
        if exec.truncated {
            printer.notice(&format!("[{}] the middle of its output was dropped", exec.sequence));
        }
    }
    Ok(0)
}
