//! `pyro workspace ps`.

use pyro_api::Exec;

use crate::{
    arguments::PsArguments,
    context::Context,
    error::CommandError,
    output::{table::table, units},
    values::now,
};

/// How many that ended are shown unless all are asked for.
const ENDED: usize = 20;

pub(in crate::commands) async fn ps(
    context: &Context,
    arguments: &PsArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let list = context.node().await?.execs(&workspace).await?;
    if printer.json {
        printer.json(&list)?;
        return Ok(0);
    }
    let ended = list.execs.iter().filter(|exec| !exec.running).count();
    let mut hidden = if arguments.all { 0 } else { ended.saturating_sub(ENDED) };
    let left_out = hidden;
    let now = now();
    let mut rows = Vec::new();
    for exec in &list.execs {
        if !exec.running && hidden > 0 {
            hidden -= 1;
            continue;
        }
        rows.push([
            exec.exec_id.to_string(),
            state(exec),
            units::ago(exec.started_at, now),
            units::span(exec.duration_ms as f64 / 1000.0),
            printer.cell(&exec.command),
        ]);
    }
    printer.data(&table(["EXEC", "STATE", "STARTED", "DURATION", "COMMAND"], &rows))?;
    if left_out > 0 {
        printer.notice(&format!("{left_out} older ones are not shown; --all shows them"));
    }
    Ok(0)
}

/// How a command is, in a few words.
pub(super) fn state(exec: &Exec) -> String {
    if exec.running {
        return if exec.detached { "running, detached" } else { "running" }.to_owned();
    }
    let how = match (exec.signal, exec.exit_code, &exec.lost) {
        (Some(signal), ..) => format!("signal {signal}"),
        (None, Some(code), _) => format!("exit {code}"),
        (None, None, Some(why)) => format!("lost: {}", why.replace('_', " ")),
        (None, None, None) => "lost".to_owned(),
    };
    match exec {
        Exec { timed_out: true, .. } => format!("{how}, timed out"),
        Exec { cancelled: true, .. } => format!("{how}, cancelled"),
        Exec { oom_killed: true, .. } => format!("{how}, out of memory"),
        _ => how,
    }
}
