//! `pyro workspace update`.

use pyro_api::UpdateWorkspace;

use super::card;
use crate::{arguments::UpdateArguments, context::Context, error::CommandError};

pub(in crate::commands) async fn update(
    context: &Context,
    arguments: UpdateArguments,
) -> Result<u8, CommandError> {
    let request = UpdateWorkspace {
        name: arguments.name,
        clear_name: arguments.clear_name,
        labels: arguments.label.into_iter().collect(),
        clear_labels: arguments.clear_label,
    };
    if request == UpdateWorkspace::default() {
        return Err(CommandError::usage(
            "update",
            "nothing to change: use --name, --clear-name, --label or --clear-label",
        ));
    }
    let workspace = context.workspace(&arguments.workspace)?;
    let updated = context.node().await?.update_workspace(&workspace, &request).await?;
    card::print(context.printer, &updated)?;
    Ok(0)
}
