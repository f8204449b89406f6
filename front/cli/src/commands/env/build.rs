//! `pyro env build`, also spelt `pyro env pull`.

use std::time::Instant;

use pyro_api::{BuildEvent, Environment};
use pyro_client::Node;
use pyro_core::Problem;

use crate::{
    arguments::BuildArguments, context::Context, error::CommandError, output::units,
    printer::Printer, progress::Progress,
};

pub(in crate::commands) async fn build(
    context: &Context,
    arguments: &BuildArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let node = context.node().await?;
    let begun = Instant::now();
    let (environment, built) =
        watch(&node, &arguments.environment, arguments.force, printer).await?;
    if printer.json {
        printer.json(&environment)?;
        return Ok(0);
    }
    let name = printer.cell(&environment.name);
    let size = units::bytes(environment.size_bytes);
    if built {
        let taken = units::span(begun.elapsed().as_secs_f64());
        printer.line(&format!("Built {name} in {taken} ({size})"))?;
    } else {
        printer.line(&format!("{name} is up to date ({size})"))?;
    }
    Ok(0)
}

/// Builds with progress; tells what is installed then and whether anything had to be built.
pub(in crate::commands) async fn watch(
    node: &Node,
    environment: &str,
    force: bool,
    printer: Printer,
) -> Result<(Environment, bool), CommandError> {
    let mut build = node.build_environment(environment, force).await?;
    let mut progress = Progress::steps(printer);
    while let Some(event) = build.next().await? {
        match event {
            BuildEvent::Progress { message, fraction } => progress.step(&message, fraction),
            BuildEvent::Done { environment, built } => return Ok((*environment, built)),
            BuildEvent::Problem { problem } => return Err(problem.into()),
        }
    }
    Err(Problem::failed("node_connection_lost", "the node ended the build without a result").into())
}
