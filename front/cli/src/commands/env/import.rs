//! `pyro env import`: an environment from a tar archive.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use pyro_core::Problem;
use tokio::io::AsyncRead;

use crate::{
    arguments::ImportArguments, context::Context, error::CommandError, output::units,
    progress::Progress, terminal,
};

pub(in crate::commands) async fn import(
    context: &Context,
    arguments: &ImportArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let archive = open(arguments).await?;
    let node = context.node().await?;
    let read = Arc::new(AtomicU64::new(0));
    let count = read.clone();
    let upload = node.import_environment(&arguments.name, archive, move |bytes| {
        count.store(bytes, Ordering::Relaxed);
    });
    let imported = if printer.shows_progress() {
        let mut progress = Progress::steps(printer);
        tokio::pin!(upload);
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(200));
        loop {
            tokio::select! {
                imported = &mut upload => break imported,
                _ = tick.tick() => {
                    let read = units::bytes(read.load(Ordering::Relaxed));
                    progress.step(&format!("Importing {}: {read} read", arguments.name), None);
                }
            }
        }
    } else {
        upload.await
    }?;
    if printer.json {
        printer.json(&imported)?;
    } else {
        printer.line(&format!(
            "Imported {}: {} read, {} on disk",
            printer.cell(&imported.environment.name),
            units::bytes(imported.bytes_read),
            units::bytes(imported.environment.size_bytes),
        ))?;
    }
    Ok(0)
}

async fn open(
    arguments: &ImportArguments,
) -> Result<Box<dyn AsyncRead + Send + Unpin>, CommandError> {
    if arguments.archive.as_os_str() == "-" {
        if terminal::stdin_is_terminal() {
            return Err(Problem::invalid(
                "input_unreadable",
                "stdin is a terminal, not an archive",
            )
            .hint("docker export CONTAINER | pyro env import NAME -")
            .into());
        }
        return Ok(Box::new(tokio::io::stdin()));
    }
    match tokio::fs::File::open(&arguments.archive).await {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => {
            let message = format!("cannot read {}", arguments.archive.display());
            Err(Problem::invalid("input_unreadable", message)
                .cause(error)
                .hint("ARCHIVE is a tar file, or - for stdin")
                .into())
        }
    }
}
