//! `pyro workspace create`.

use super::{card, seed};
use crate::{
    arguments::{CreateArguments, OnExpiry},
    commands::wiring,
    context::Context,
    error::{CommandError, not_available},
};

pub(in crate::commands) async fn create(
    context: &Context,
    arguments: CreateArguments,
) -> Result<u8, CommandError> {
    for (flag, given) in [
        ("--secret", !arguments.secret.is_empty()),
        ("--secret-file", !arguments.secret_file.is_empty()),
    ] {
        if given {
            return Err(not_available(flag).into());
        }
    }
    let printer = context.printer;
    let mut request = wiring::machine(context, arguments.environment, arguments.vm)?;
    request.on_expiry = arguments.on_expiry.map(|action| {
        match action {
            OnExpiry::Stop => "stop",
            OnExpiry::Delete => "delete",
        }
        .to_owned()
    });
    request.network_policy = arguments.network.network;
    request.network_allow = arguments.network.allow;
    request.name = arguments.name;
    request.labels = arguments.label.into_iter().collect();
    let node = context.node().await?;
    let doing = match &request.environment {
        Some(environment) => format!("Creating a workspace of {environment}"),
        None => "Creating a workspace".to_owned(),
    };
    let workspace = match seed::request(arguments.seed) {
        None => printer.while_waiting(&doing, node.create_workspace(&request)).await?,
        Some(seed) => {
            let seeded = seed::create(printer, &node, &request, &seed, &doing).await?;
            if printer.json {
                printer.json(&seeded)?;
                return Ok(0);
            }
            seeded.workspace
        }
    };
    if arguments.id_only {
        printer.line(&workspace.workspace_id.to_string())?;
        return Ok(0);
    }
    card::print(printer, &workspace)?;
    if printer.shows_progress() {
        let called = workspace.name.unwrap_or_else(|| workspace.workspace_id.to_string());
        let called = shell_words::quote(&called);
        printer.hint(&format!("run something in it with: pyro exec {called} -- uname -r"));
    }
    Ok(0)
}
