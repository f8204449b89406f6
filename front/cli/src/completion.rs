//! What a shell is offered when a word is completed: workspaces, execs and environments as they are.
//!
//! Asks a node that runs and never starts one: a key press must not.

use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::CommandFactory;
use clap_complete::{CompleteEnv, CompletionCandidate};
use pyro_client::{ClientError, Node};

use crate::{arguments::Cli, environment, environment::Environment, output::escape};

/// How long a key press may wait for the node.
const PATIENCE: Duration = Duration::from_millis(500);

/// Answers a shell that asks for completions.
pub(crate) fn answer(arguments: &[OsString]) -> Option<ExitCode> {
    if !environment::asks_for_completion() {
        return None;
    }
    let directory = Environment::of_process().current_directory;
    let completer = CompleteEnv::with_factory(Cli::command);
    match completer.try_complete(arguments.iter().cloned(), directory.as_deref()) {
        Ok(true) => Some(ExitCode::SUCCESS),
        Ok(false) => None,
        Err(_) => Some(ExitCode::FAILURE),
    }
}

/// Names and ids of workspaces.
pub(crate) fn workspaces() -> Vec<CompletionCandidate> {
    let list = ask(async |node| node.workspaces().await);
    let mut candidates = Vec::new();
    for workspace in list.map(|list| list.workspaces).unwrap_or_default() {
        let about = format!("{}, {}", workspace.environment, workspace.state);
        let called = workspace.name.unwrap_or_else(|| workspace.workspace_id.to_string());
        candidates.push(candidate(called, &about));
    }
    candidates
}

/// Ids of execs in all workspaces: which workspace stands before is not known here.
pub(crate) fn execs() -> Vec<CompletionCandidate> {
    let lists = ask(async |node| {
        let mut lists = Vec::new();
        for workspace in node.workspaces().await?.workspaces.into_iter().take(16) {
            lists.push(node.execs(&workspace.workspace_id.to_string()).await?);
        }
        Ok(lists)
    });
    let execs = lists.unwrap_or_default().into_iter().flat_map(|list| list.execs);
    execs.map(|exec| candidate(exec.exec_id.to_string(), &exec.command)).collect()
}

/// Names of services in all workspaces: which workspace stands before is not known here.
pub(crate) fn services() -> Vec<CompletionCandidate> {
    let lists = ask(async |node| {
        let mut lists = Vec::new();
        for workspace in node.workspaces().await?.workspaces.into_iter().take(16) {
            lists.push(node.services(&workspace.workspace_id.to_string()).await?);
        }
        Ok(lists)
    });
    let services = lists.unwrap_or_default().into_iter().flat_map(|list| list.services);
    services.map(|it| candidate(it.service_name.to_string(), &it.command)).collect()
}

/// Names of snapshots in all workspaces: which workspace stands before is not known here.
pub(crate) fn snapshots() -> Vec<CompletionCandidate> {
    let lists = ask(async |node| {
        let mut lists = Vec::new();
        for workspace in node.workspaces().await?.workspaces.into_iter().take(16) {
            lists.push(node.snapshots(&workspace.workspace_id.to_string()).await?);
        }
        Ok(lists)
    });
    let snapshots = lists.unwrap_or_default().into_iter().flat_map(|list| list.snapshots);
    snapshots.map(|it| candidate(it.snapshot_name, &it.kind)).collect()
}

/// Names of environments.
pub(crate) fn environments() -> Vec<CompletionCandidate> {
    match ask(async |node| node.environments().await) {
        Some(catalog) => {
            let environments = catalog.environments.into_iter();
            environments.map(|found| candidate(found.name, &found.description)).collect()
        }
        None => {
            ["debian:12", "debian:12-base", "debian:12-build"].map(CompletionCandidate::new).into()
        }
    }
}

/// Names of backends.
pub(crate) fn backends() -> Vec<CompletionCandidate> {
    ["auto", "firecracker", "qemu"].map(CompletionCandidate::new).into()
}

fn candidate(value: String, about: &str) -> CompletionCandidate {
    let about: String = escape::line(about).chars().take(60).collect();
    CompletionCandidate::new(value).help(Some(about.into()))
}

fn ask<T>(question: impl AsyncFnOnce(Node) -> Result<T, ClientError>) -> Option<T> {
    let location = Environment::of_process().location().ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let answer = async {
        let node = Node::connect(location).await.ok()?;
        question(node).await.ok()
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, answer).await.ok().flatten() })
}
