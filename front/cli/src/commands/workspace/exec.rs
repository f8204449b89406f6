//! `pyro workspace exec`.

use pyro_api::ExecRequest;

use crate::{
    arguments::ExecArguments,
    commands::wiring,
    context::Context,
    error::CommandError,
    session::{self, Outcome},
};

pub(in crate::commands) async fn exec(
    context: &Context,
    arguments: ExecArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let mut request = wiring::exec_request(context, "exec", arguments.command)?;
    request.no_start = arguments.no_start;
    let workspace = context.workspace(&arguments.workspace)?;
    if !arguments.detach {
        return attached(context, &workspace, request).await;
    }
    let node = context.node().await?;
    let result =
        printer.while_waiting("Starting", node.exec_detached(&workspace, &request)).await?;
    if printer.json {
        printer.json(&result)?;
    } else {
        printer.line(&result.exec.exec_id.to_string())?;
        if printer.shows_progress() {
            let (workspace, exec) = (result.exec.workspace_id, result.exec.exec_id);
            printer.hint(&format!("follow it with: pyro attach {workspace} {exec}"));
        }
    }
    Ok(0)
}

/// Runs a command to its end with this process attached.
pub(in crate::commands) async fn attached(
    context: &Context,
    workspace: &str,
    request: ExecRequest,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let wiring = wiring::wiring(&request, printer.json, true);
    let node = context.node().await?;
    let stream = printer.while_waiting("Starting", node.exec(workspace, &request)).await?;
    finish(context, session::carry(stream, wiring, printer).await?)
}

/// Prints what is left to print of a session, and tells the exit code.
pub(super) fn finish(context: &Context, outcome: Outcome) -> Result<u8, CommandError> {
    let printer = context.printer;
    match outcome {
        Outcome::Ended(ended) => {
            let code = session::exit_code(&ended.result.exec, printer);
            if printer.json {
                printer.json(&ended.result)?;
                return Ok(code.unwrap_or(125));
            }
            Ok(code?)
        }
        Outcome::Detached(what) => {
            printer.notice("detached; the command goes on");
            if let Some((workspace, exec)) = what {
                printer.hint(&format!("come back to it with: pyro attach -it {workspace} {exec}"));
            }
            Ok(0)
        }
        Outcome::Interrupted => Ok(130),
    }
}
