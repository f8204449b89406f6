//! `pyro workspace snapshot list`.

use crate::{
    arguments::SnapshotsArguments,
    context::Context,
    error::CommandError,
    output::{table::table, units},
    values::now,
};

pub(in crate::commands) async fn list(
    context: &Context,
    arguments: &SnapshotsArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let list = context.node().await?.snapshots(&workspace).await?;
    if printer.json {
        printer.json(&list)?;
        return Ok(0);
    }
    let now = now();
    let rows: Vec<_> = list
        .snapshots
        .iter()
        .map(|snapshot| {
            [
                printer.cell(&snapshot.snapshot_name),
                units::ago(snapshot.created_at, now),
                units::bytes(snapshot.bytes_written),
                snapshot.entry_count.to_string(),
            ]
        })
        .collect();
    printer.data(&table(["SNAPSHOT", "TAKEN", "SIZE", "ENTRIES"], &rows))?;
    Ok(0)
}
