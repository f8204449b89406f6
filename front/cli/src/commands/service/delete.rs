//! `pyro workspace service delete`.

use super::named;
use crate::{arguments::ServiceArguments, context::Context, error::CommandError};

pub(in crate::commands) async fn delete(
    context: &Context,
    arguments: &ServiceArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let node = context.node().await?;
    let deleting = node.delete_service(&workspace, named(&arguments.service)?);
    let deleted = printer.while_waiting("Deleting the service", deleting).await?;
    if printer.json {
        printer.json(&deleted)?;
    } else {
        printer.line(&format!("Deleted {}", deleted.service_name))?;
    }
    Ok(0)
}
