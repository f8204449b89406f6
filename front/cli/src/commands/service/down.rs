//! `pyro workspace service down`.

use pyro_api::DownServices;

use super::card;
use crate::{arguments::ServiceDownArguments, context::Context, error::CommandError};

pub(in crate::commands) async fn down(
    context: &Context,
    arguments: ServiceDownArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    // What is given from here is known by its name alone.
    let name = arguments.file.as_ref().and_then(|file| file.file_name());
    let file = arguments.path.or_else(|| name.map(|name| name.to_string_lossy().into_owned()));
    let request = DownServices { file, services: arguments.services };
    let node = context.node().await?;
    let stopping = node.down_services(&workspace, &request);
    let done = printer.while_waiting("Stopping the services", stopping).await?;
    if printer.json {
        printer.json(&done)?;
        return Ok(0);
    }
    for one in &done.services {
        printer.line(&format!("{} {}", one.service_name, card::state(&one.service)))?;
    }
    if done.services.is_empty() {
        printer.notice("no service came from a file");
        printer.hint(&format!("all services: pyro service list {workspace}"));
    }
    Ok(0)
}
