//! `pyro workspace list`.

use pyro_api::WorkspaceSummary;

use crate::{
    arguments::ListArguments,
    context::Context,
    error::CommandError,
    output::{table::table, units},
    values::now,
};

pub(in crate::commands) async fn list(
    context: &Context,
    arguments: &ListArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let mut list = context.node().await?.workspaces().await?;
    list.workspaces.retain(|workspace| wanted(workspace, arguments));
    list.count = list.workspaces.len();
    if printer.json {
        printer.json(&list)?;
        return Ok(0);
    }
    if arguments.quiet {
        for workspace in &list.workspaces {
            printer.line(&workspace.workspace_id.to_string())?;
        }
        return Ok(0);
    }
    let now = now();
    let rows: Vec<_> = list
        .workspaces
        .iter()
        .map(|workspace| {
            let state = match (&workspace.activity, &workspace.stop_reason) {
                (Some(activity), _) => activity.clone(),
                (None, Some(reason)) if reason != "requested" => {
                    format!("{} ({})", workspace.state, reason.replace('_', " "))
                }
                _ => workspace.state.clone(),
            };
            [
                workspace.workspace_id.to_string(),
                workspace.name.as_deref().map_or("-".to_owned(), |name| printer.cell(name)),
                printer.cell(&workspace.environment),
                state,
                units::ago(workspace.last_activity_at, now),
                workspace.command_count.to_string(),
            ]
        })
        .collect();
    let headings = ["WORKSPACE", "NAME", "ENVIRONMENT", "STATE", "LAST USED", "COMMANDS"];
    printer.data(&table(headings, &rows))?;
    if rows.is_empty() && printer.shows_progress() {
        printer.hint("make one with: pyro create");
    }
    Ok(0)
}

fn wanted(workspace: &WorkspaceSummary, arguments: &ListArguments) -> bool {
    let in_state = arguments.state.as_ref().is_none_or(|state| *state == workspace.state);
    let labelled = arguments.label.iter().all(|label| match label.split_once('=') {
        Some((key, value)) => workspace.labels.get(key).is_some_and(|has| has == value),
        None => workspace.labels.contains_key(label),
    });
    in_state && labelled
}
