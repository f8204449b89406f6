//! What every command gets: where things are, how to print, and the node once it is needed.

use std::{ffi::OsString, future::Future};

use pyro_client::{Node, Selections};
use pyro_core::Problem;

use crate::{config::Defaults, environment::Environment, error::CommandError, printer::Printer};

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) environment: Environment,
    pub(crate) printer: Printer,
    /// The words after `--`.
    pub(crate) after_dashes: Option<Vec<OsString>>,
}

impl Context {
    pub(crate) fn new(
        environment: Environment,
        printer: Printer,
        after_dashes: Option<Vec<OsString>>,
    ) -> Self {
        Self { environment, printer, after_dashes }
    }

    /// The node, started where none runs.
    pub(crate) async fn node(&self) -> Result<Node, CommandError> {
        let location = self.environment.location()?;
        let node = Node::connect_or_start(location);
        Ok(self.printer.while_waiting("Starting the node", node).await?)
    }

    /// The node if it runs.
    pub(crate) async fn running_node(&self) -> Result<Node, CommandError> {
        Ok(Node::connect(self.environment.location()?).await?)
    }

    /// Defaults from the file a person keeps.
    pub(crate) fn defaults(&self) -> Result<Defaults, Problem> {
        Defaults::read(self.environment.config())
    }

    /// Resolves `@`: everything else is looked up by the node.
    pub(crate) fn workspace(&self, given: &str) -> Result<String, CommandError> {
        if given.is_empty() {
            // A variable that was not set, most likely; it would not even make a path.
            return Err(Problem::not_found("workspace_not_found", "there is no workspace \"\"")
                .hint("`pyro ls` lists the workspaces there are")
                .into());
        }
        if given != "@" {
            return Ok(given.to_owned());
        }
        if let Some(workspace) = &self.environment.workspace {
            return Ok(workspace.clone());
        }
        let found = match &self.environment.current_directory {
            Some(directory) => Selections::open(self.environment.state()?)?.find(directory)?,
            None => None,
        };
        let unset = || {
            Problem::invalid("no_current_workspace", "no workspace is set for this directory")
                .hint("set one with: pyro use WORKSPACE (or PYRO_WORKSPACE)")
        };
        Ok(found.map(|(_, workspace)| workspace).ok_or_else(unset)?)
    }
}

/// Runs a command's future to its end, on this thread.
pub(crate) fn block_on<T>(
    future: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Problem::failed("runtime_failed", "cannot start the event loop").cause(error)
    })?;
    let result = runtime.block_on(future);
    // A read of stdin that never returns must not keep the process.
    runtime.shutdown_background();
    result
}
