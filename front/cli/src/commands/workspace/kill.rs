//! `pyro workspace kill`.

use pyro_api::SignalRequest;

use super::ps;
use crate::{arguments::KillArguments, context::Context, error::CommandError};

pub(in crate::commands) async fn kill(
    context: &Context,
    arguments: KillArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let request = SignalRequest { signal: arguments.signal };
    let node = context.node().await?;
    let exec = node.signal_exec(&workspace, &arguments.exec, &request);
    let exec = printer.while_waiting("Ending the command", exec).await?;
    if printer.json {
        printer.json(&exec)?;
    } else {
        printer.line(&format!("{} {}", exec.exec_id, ps::state(&exec)))?;
    }
    Ok(0)
}
