//! `pyro workspace service stop`.

use std::time::Duration;

use pyro_api::StopService;

use super::{card, named};
use crate::{arguments::ServiceStopArguments, context::Context, error::CommandError};

pub(in crate::commands) async fn stop(
    context: &Context,
    arguments: &ServiceStopArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.one.workspace)?;
    let request = StopService {
        signal: arguments.signal.clone(),
        grace_seconds: arguments.grace_seconds.as_ref().map(Duration::as_secs_f64),
    };
    let node = context.node().await?;
    let stopping = node.stop_service(&workspace, named(&arguments.one.service)?, &request);
    let service = printer.while_waiting("Stopping the service", stopping).await?;
    if printer.json {
        printer.json(&service)?;
    } else {
        printer.line(&format!("{} {}", service.service_name, card::state(&service)))?;
    }
    Ok(0)
}
