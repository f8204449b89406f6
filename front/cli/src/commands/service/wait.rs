//! `pyro workspace service wait`.

use std::time::{Duration, Instant};

use pyro_api::StartedService;
use pyro_client::Node;

use super::{card, named};
use crate::{arguments::ServiceWaitArguments, context::Context, error::CommandError};

/// How long one question to the node may stay open, seconds.
const AT_ONCE: f64 = 3600.0;

pub(in crate::commands) async fn wait(
    context: &Context,
    arguments: &ServiceWaitArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let node = context.node().await?;
    let limit = arguments.timeout_seconds.filter(|limit| !limit.is_zero());
    let until = limit.map(|limit| Instant::now() + limit);
    let names = if let Some(service) = &arguments.service {
        vec![named(service)?.to_owned()]
    } else {
        let list = node.services(&workspace).await?;
        let active = list.services.iter().filter(|service| service.state.is_active());
        active.map(|service| service.service_name.to_string()).collect()
    };
    let mut code = 0;
    let mut all = Vec::new();
    for name in &names {
        let waiting = wait_for(&node, &workspace, name, arguments.ended, until);
        let (waited, over) = printer.while_waiting("Waiting for the service", waiting).await?;
        let done = if arguments.ended { "does not run" } else { "is ready" };
        if printer.json {
            code = code.max(u8::from(waited.failure.is_some()));
            all.push(card::document(&waited));
        } else {
            code = code.max(card::print_started(printer, &waited, done)?);
        }
        if over {
            code = 124;
        }
    }
    match (printer.json, &arguments.service, all.pop()) {
        (true, Some(_), Some(one)) => printer.json(&one)?,
        (true, _, last) => {
            all.extend(last);
            printer.json(&serde_json::json!({ "count": all.len(), "services": all }))?;
        }
        _ => {}
    }
    Ok(code)
}

/// Waits for one; tells also whether the time was over.
async fn wait_for(
    node: &Node,
    workspace: &str,
    service: &str,
    ended: bool,
    until: Option<Instant>,
) -> Result<(StartedService, bool), CommandError> {
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        // 0 would mean no limit at all.
        let seconds = left.as_ref().map_or(AT_ONCE, Duration::as_secs_f64).clamp(0.001, AT_ONCE);
        let waited = node.wait_service(workspace, service, ended, Some(seconds)).await?;
        let timed_out = match &waited.failure {
            Some(failure) => waited.service.state.is_active() && failure.code != "service_exited",
            None => ended && waited.service.state.is_active(),
        };
        if !timed_out {
            return Ok((waited, false));
        }
        if left.is_some_and(|left| left.as_secs_f64() <= AT_ONCE) {
            return Ok((waited, true));
        }
    }
}
