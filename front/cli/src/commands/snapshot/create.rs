//! `pyro workspace snapshot create`.

use std::fmt::Write as _;

use pyro_api::CreateSnapshot;

use crate::{arguments::SnapshotArguments, context::Context, error::CommandError, output::units};

pub(in crate::commands) async fn create(
    context: &Context,
    arguments: &SnapshotArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let node = context.node().await?;
    let request = CreateSnapshot { snapshot_name: arguments.snapshot.clone() };
    let taking = node.create_snapshot(&workspace, &request);
    let created = printer.while_waiting("Taking the snapshot", taking).await?;
    if printer.json {
        printer.json(&created)?;
        return Ok(0);
    }
    let snapshot = &created.snapshot;
    let mut line = format!("{}, {}", snapshot.snapshot_name, units::bytes(snapshot.bytes_written));
    if snapshot.frozen_ms > 0.0 {
        let _ = write!(line, "; writers waited for {:.0} ms", snapshot.frozen_ms);
    }
    printer.line(&format!("Took {line}"))?;
    Ok(0)
}
