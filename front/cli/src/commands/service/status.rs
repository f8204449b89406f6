//! `pyro workspace service status`.

use super::{card, named};
use crate::{arguments::ServiceArguments, context::Context, error::CommandError};

pub(in crate::commands) async fn status(
    context: &Context,
    arguments: &ServiceArguments,
) -> Result<u8, CommandError> {
    let workspace = context.workspace(&arguments.workspace)?;
    let node = context.node().await?;
    let service = node.service(&workspace, named(&arguments.service)?).await?;
    card::print(context.printer, &service)?;
    Ok(0)
}
