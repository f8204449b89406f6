//! `pyro workspace service signal`.

use pyro_api::SignalService;

use super::{card, named};
use crate::{arguments::ServiceSignalArguments, context::Context, error::CommandError};

pub(in crate::commands) async fn signal(
    context: &Context,
    arguments: &ServiceSignalArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.one.workspace)?;
    let request =
        SignalService { signal: arguments.signal.clone(), whole_tree: arguments.whole_tree };
    let node = context.node().await?;
    let service = node.signal_service(&workspace, named(&arguments.one.service)?, &request).await?;
    if printer.json {
        printer.json(&service)?;
    } else {
        printer.line(&format!("{} {}", service.service_name, card::state(&service)))?;
    }
    Ok(0)
}
