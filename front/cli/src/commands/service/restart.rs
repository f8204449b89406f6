//! `pyro workspace service restart`.

use pyro_api::RestartService;

use super::{card, named};
use crate::{arguments::ServiceRestartArguments, context::Context, error::CommandError};

pub(in crate::commands) async fn restart(
    context: &Context,
    arguments: &ServiceRestartArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.one.workspace)?;
    let request = RestartService { no_wait: arguments.no_wait, no_start: arguments.no_start };
    let node = context.node().await?;
    let restarting = node.restart_service(&workspace, named(&arguments.one.service)?, &request);
    let started = printer.while_waiting("Waiting until it is ready", restarting).await?;
    let done = if started.service.ready { "is ready" } else { "is starting" };
    card::print_started(printer, &started, done)
}
