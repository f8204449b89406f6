//! The door of local clients: one of them, over stdin and stdout.

use pyro_core::Problem;
use rmcp::{ServiceExt, transport::stdio_pipes};

use crate::{Settings, server::Server};

/// Serves one client until it closes stdin. Not called inside an async runtime.
pub fn serve_stdio(settings: Settings) -> Result<(), Problem> {
    let runtime = runtime()?;
    let served = runtime.block_on(async {
        let running = match Server::new(settings).serve(stdio_pipes()).await {
            Ok(running) => running,
            // A client that goes before it said anything is no fault.
            Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
            Err(error) => return Err(Problem::from_error("mcp_failed", &error)),
        };
        match running.waiting().await {
            Ok(_) => Ok(()),
            Err(error) => Err(Problem::from_error("mcp_failed", &error)),
        }
    });
    // A read of stdin that never returns must not keep the process.
    runtime.shutdown_background();
    served
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Problem> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Problem::from_error("mcp_failed", &error))
}
