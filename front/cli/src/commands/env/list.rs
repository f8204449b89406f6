//! `pyro env list`.

use crate::{
    context::Context,
    error::CommandError,
    output::{table::table, units},
};

pub(in crate::commands) async fn list(context: &Context) -> Result<u8, CommandError> {
    let printer = context.printer;
    let catalog = context.node().await?.environments().await?;
    if printer.json {
        printer.json(&catalog)?;
        return Ok(0);
    }
    let rows: Vec<_> = catalog
        .environments
        .iter()
        .map(|environment| {
            let installed = match (environment.installed, environment.source.as_deref()) {
                (true, Some(source)) => source.to_owned(),
                (true, None) => "yes".to_owned(),
                (false, _) => "-".to_owned(),
            };
            let size = if environment.installed {
                units::bytes(environment.size_bytes)
            } else {
                "-".to_owned()
            };
            [
                printer.cell(&environment.name),
                printer.cell(&environment.version),
                installed,
                size,
                printer.cell(&environment.description),
            ]
        })
        .collect();
    printer.data(&table(["NAME", "VERSION", "INSTALLED", "SIZE", "DESCRIPTION"], &rows))?;
    Ok(0)
}
