//! `pyro workspace wait`.

use std::time::{Duration, Instant};

use crate::{arguments::WaitArguments, context::Context, error::CommandError, session};

/// How long one question to the node may stay open, seconds.
const AT_ONCE: f64 = 3600.0;

pub(in crate::commands) async fn wait(
    context: &Context,
    arguments: &WaitArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let timeout = arguments.timeout_seconds.filter(|timeout| !timeout.is_zero());
    let begun = Instant::now();
    let node = context.node().await?;
    let exec = loop {
        let left = timeout.map(|timeout| timeout.saturating_sub(begun.elapsed()));
        let seconds = left.as_ref().map_or(AT_ONCE, Duration::as_secs_f64).min(AT_ONCE);
        let exec = node.wait_exec(&workspace, &arguments.exec, Some(seconds)).await?;
        if !exec.running || left.is_some_and(|left| left.as_secs_f64() <= AT_ONCE) {
            break exec;
        }
    };
    let code = if exec.running {
        printer.notice(&format!("{} still runs", exec.exec_id));
        Ok(124)
    } else {
        session::exit_code(&exec, printer)
    };
    if printer.json {
        printer.json(&exec)?;
        return Ok(code.unwrap_or(125));
    }
    Ok(code?)
}
