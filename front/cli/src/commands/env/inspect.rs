//! `pyro env inspect`.

use crate::{
    arguments::InspectArguments,
    context::Context,
    error::CommandError,
    output::{table::card, units},
};

pub(in crate::commands) async fn inspect(
    context: &Context,
    arguments: &InspectArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let environment = context.node().await?.environment(&arguments.environment).await?;
    if printer.json {
        printer.json(&environment)?;
        return Ok(0);
    }
    let mut fields = vec![
        ("name", printer.cell(&environment.name)),
        ("version", printer.cell(&environment.version)),
        ("description", printer.cell(&environment.description)),
        ("packages", printer.cell(&environment.default_packages.join(" "))),
        ("platform", environment.platform),
        ("installed", if environment.installed { "yes" } else { "no" }.to_owned()),
    ];
    if environment.installed {
        fields.push(("source", environment.source.unwrap_or_default()));
        fields.push(("size", units::bytes(environment.size_bytes)));
        fields.push(("digest", environment.source_digest.unwrap_or_default()));
        fields.push(("directory", printer.cell(&environment.install_dir)));
    }
    printer.data(&card(&fields))?;
    Ok(0)
}
