//! `pyro demo`: shows what pyro does by doing it.
//!
//! Each step is a command line as a person would type it, run through the same parser and the same
//! code.

use std::{ffi::OsString, process::id, time::Instant};

use clap::Parser;
use pyro_core::Problem;

use super::{dispatch, env};
use crate::{
    arguments::Cli, context::Context, error::CommandError, invocation::Invocation, output::units,
};

const ENVIRONMENT: &str = "debian:12";

pub(super) async fn demo(context: &Context) -> Result<u8, CommandError> {
    let name = format!("demo-{}", id());
    let interrupted = async {
        // Without a listener of ours Ctrl-C would leave the workspace behind.
        let _ = tokio::signal::ctrl_c().await;
    };
    let shown = tokio::select! {
        shown = show(context, &name) => shown,
        () = interrupted => Err(Problem::failed("interrupted", "the demo was interrupted").into()),
    };
    if shown.is_err()
        && let Ok(node) = context.running_node().await
    {
        let _ = node.delete_workspace(&name).await;
    }
    shown.map(|()| 0)
}

async fn show(context: &Context, name: &str) -> Result<(), CommandError> {
    let printer = context.printer;
    let node = context.node().await?;
    if !node.environment(ENVIRONMENT).await?.installed {
        printer.line(&format!("$ pyro env build {ENVIRONMENT}"))?;
        let begun = Instant::now();
        env::build::watch(&node, ENVIRONMENT, false, printer).await?;
        took(context, begun)?;
    }
    printer.line("A command in a fresh VM, with a kernel of its own:")?;
    step(context, &["run", ENVIRONMENT, "--", "uname", "-sr"]).await?;
    step(context, &["run", ENVIRONMENT, "--", "git", "--version"]).await?;
    printer.line("A workspace that remembers:")?;
    step(context, &["create", ENVIRONMENT, "--name", name, "--id-only"]).await?;
    let write = "echo written before the stop > /workspace/note";
    step(context, &["exec", name, "--", "sh", "-c", write]).await?;
    step(context, &["stop", name]).await?;
    step(context, &["start", name]).await?;
    step(context, &["exec", name, "--", "cat", "/workspace/note"]).await?;
    step(context, &["rm", name]).await?;
    Ok(())
}

async fn step(context: &Context, words: &[&str]) -> Result<(), CommandError> {
    let printer = context.printer;
    let line = shell_words::join(std::iter::once(&"pyro").chain(words));
    printer.line(&format!("$ {line}"))?;
    let begun = Instant::now();
    let arguments = std::iter::once(&"pyro").chain(words).map(OsString::from).collect();
    let invocation = Invocation::new(arguments);
    let cli = Cli::try_parse_from(&invocation.arguments)
        .map_err(|error| CommandError::Usage(Box::new(error)))?;
    let context = Context::new(context.environment.clone(), printer, invocation.command);
    match Box::pin(dispatch(&context, cli.verb)).await? {
        0 => took(&context, begun),
        code => {
            let message = format!("`{line}` ended with exit code {code}");
            Err(Problem::failed("demo_failed", message).hint("pyro doctor").into())
        }
    }
}

fn took(context: &Context, begun: Instant) -> Result<(), CommandError> {
    context.printer.line(&format!("  [{}]", units::span(begun.elapsed().as_secs_f64())))
}
