//! `pyro workspace status`.

use super::card;
use crate::{arguments::OneArguments, context::Context, error::CommandError};

pub(in crate::commands) async fn status(
    context: &Context,
    arguments: &OneArguments,
) -> Result<u8, CommandError> {
    let workspace = context.workspace(&arguments.workspace)?;
    let node = context.node().await?;
    let workspace = node.workspace(&workspace).await?;
    let mut services = Vec::new();
    if workspace.service_count > 0 && !context.printer.json {
        // Without them the rest is worth telling all the same.
        let listed = node.services(&workspace.workspace_id.to_string()).await;
        services = listed.map(|list| list.services).unwrap_or_default();
    }
    card::print_with(context.printer, &workspace, &services)?;
    Ok(0)
}
