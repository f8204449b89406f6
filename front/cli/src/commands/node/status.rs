//! `pyro node status`.

use crate::{
    context::Context,
    error::CommandError,
    output::{table::card, units},
    values::now,
};

pub(in crate::commands) async fn status(context: &Context) -> Result<u8, CommandError> {
    let printer = context.printer;
    let status = context.running_node().await?.status().await?;
    if printer.json {
        printer.json(&status)?;
        return Ok(0);
    }
    let idle = match status.idle_exit_seconds {
        Some(seconds) => format!("after {} with nothing to watch", units::span(seconds as f64)),
        None => "never by itself".to_owned(),
    };
    printer.data(&card(&[
        ("version", status.version),
        ("process", status.pid.to_string()),
        ("started", units::ago(status.started_at, now())),
        ("ends", idle),
        ("state", printer.cell(&status.state_directory)),
        ("images", printer.cell(&status.cache_directory)),
        ("workspaces", format!("{}, {} started", status.workspace_count, status.started_count)),
        ("warm VMs", status.warm_count.to_string()),
    ]))?;
    Ok(0)
}
