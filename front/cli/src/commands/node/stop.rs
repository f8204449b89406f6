//! `pyro node stop`.

use pyro_client::ClientError;
use serde_json::json;

use crate::{context::Context, error::CommandError};

pub(in crate::commands) async fn stop(context: &Context) -> Result<u8, CommandError> {
    let printer = context.printer;
    let stopped = match context.running_node().await {
        Ok(node) => node.stop().await?,
        Err(CommandError::Problem(problem)) if problem.code == not_running().code() => {
            if printer.json {
                printer.json(&json!({"pid": null, "stopping": false, "started_count": 0}))?;
            } else {
                printer.notice("no node is running");
            }
            return Ok(0);
        }
        Err(error) => return Err(error),
    };
    if printer.json {
        printer.json(&stopped)?;
    } else {
        printer.line(&format!("Stopping the node (process {})", stopped.pid))?;
        match stopped.started_count {
            0 => {}
            1 => printer.notice("1 workspace goes on running without it"),
            many => printer.notice(&format!("{many} workspaces go on running without it")),
        }
    }
    Ok(0)
}

fn not_running() -> ClientError {
    ClientError::NotRunning { state: std::path::PathBuf::new() }
}
