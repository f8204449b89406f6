//! `pyro workspace status`.

use super::card;
use crate::{arguments::OneArguments, context::Context, error::CommandError};

pub(in crate::commands) async fn status(
    context: &Context,
    arguments: &OneArguments,
) -> Result<u8, CommandError> {
    let workspace = context.workspace(&arguments.workspace)?;
    let workspace = context.node().await?.workspace(&workspace).await?;
    card::print(context.printer, &workspace)?;
    Ok(0)
}
