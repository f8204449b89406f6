//! Workspaces, their commands and services and what these said, as resources to read.
//!
//! A convenience for clients that show resources; whatever is here is there by tools as well.

use std::sync::Arc;

use pyro_core::Problem;
use rmcp::model::{Resource, ResourceContents, ResourceTemplate};

use crate::{answer::object, call::Pyro, exec::shortened, output::Transcript, service};

const ROOT: &str = "pyro://workspaces/";

/// What is shown of an output, bytes.
const OUTPUT_BUDGET: usize = 20_000;

/// Services that are shown.
const MOST_SERVICES: usize = 20;

/// Bytes that are read of an output's tail.
const OUTPUT_TAIL: u64 = 1024 * 1024;

/// What a URI names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Named<'a> {
    Workspace(&'a str),
    Execs(&'a str),
    Exec(&'a str, &'a str),
    Output(&'a str, &'a str),
    Services(&'a str),
    Service(&'a str, &'a str),
    Log(&'a str, &'a str),
}

fn parse(uri: &str) -> Option<Named<'_>> {
    let parts: Vec<&str> = uri.strip_prefix(ROOT)?.split('/').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    match parts[..] {
        [workspace] => Some(Named::Workspace(workspace)),
        [workspace, "execs"] => Some(Named::Execs(workspace)),
        [workspace, "execs", exec] => Some(Named::Exec(workspace, exec)),
        [workspace, "execs", exec, "output"] => Some(Named::Output(workspace, exec)),
        [workspace, "services"] => Some(Named::Services(workspace)),
        [workspace, "services", service] => Some(Named::Service(workspace, service)),
        [workspace, "services", service, "log"] => Some(Named::Log(workspace, service)),
        _ => None,
    }
}

/// The workspaces there are.
pub(crate) async fn list(pyro: &Pyro) -> Result<Vec<Resource>, Problem> {
    let list = pyro.node().await?.workspaces().await?;
    let resource = |workspace: pyro_api::WorkspaceSummary| {
        let id = workspace.workspace_id;
        let name = workspace.name.unwrap_or_else(|| id.to_string());
        Resource::new(format!("{ROOT}{id}"), name)
            .with_description(format!("{}, {}", workspace.environment, workspace.state))
            .with_mime_type("application/json")
    };
    Ok(list.workspaces.into_iter().map(resource).collect())
}

/// What else can be read.
pub(crate) fn templates() -> Vec<ResourceTemplate> {
    let template = |rest: &str, name: &str, about: &str, kind: &str| {
        ResourceTemplate::new(format!("{ROOT}{{workspace_id}}{rest}"), name)
            .with_description(about)
            .with_mime_type(kind)
    };
    vec![
        template("", "workspace", "A workspace as it stands", "application/json"),
        template("/execs", "commands", "The commands of a workspace", "application/json"),
        template("/execs/{exec_id}", "command", "A command's record", "application/json"),
        template(
            "/execs/{exec_id}/output",
            "output",
            "What a command said: head and tail",
            "text/plain",
        ),
        template("/services", "services", "The services of a workspace", "application/json"),
        template("/services/{service_name}", "service", "A service", "application/json"),
        template(
            "/services/{service_name}/log",
            "log",
            "What a service said: its last lines",
            "text/plain",
        ),
    ]
}

/// The most that is proposed.
const PROPOSALS: usize = 100;

/// What may stand in a template for what was typed so far.
pub(crate) async fn complete(
    pyro: &Pyro,
    argument: &str,
    typed: &str,
    workspace: Option<&str>,
) -> Result<Vec<String>, Problem> {
    let mut found = Vec::new();
    match (argument, workspace) {
        ("workspace_id", _) => {
            for workspace in pyro.node().await?.workspaces().await?.workspaces {
                found.push(workspace.workspace_id.to_string());
                found.extend(workspace.name);
            }
        }
        ("exec_id", Some(workspace)) => {
            let execs = pyro.node().await?.execs(workspace).await?.execs;
            found.extend(execs.into_iter().rev().map(|exec| exec.exec_id.to_string()));
        }
        ("service_name", Some(workspace)) => {
            let services = pyro.node().await?.services(workspace).await?.services;
            found.extend(services.into_iter().map(|service| service.service_name.to_string()));
        }
        _ => {}
    }
    found.retain(|value| value.starts_with(typed));
    found.truncate(PROPOSALS);
    Ok(found)
}

/// Reads one; `None` where the URI is none of ours.
pub(crate) async fn read(pyro: &Arc<Pyro>, uri: &str) -> Result<Option<ResourceContents>, Problem> {
    let Some(named) = parse(uri) else { return Ok(None) };
    let node = pyro.node().await?;
    let document = match named {
        Named::Workspace(workspace) => object(&node.workspace(workspace).await?),
        Named::Execs(workspace) => {
            let mut list = node.execs(workspace).await?;
            let newest = list.execs.len().saturating_sub(50);
            list.execs.drain(..newest);
            for exec in &mut list.execs {
                exec.command = shortened(&exec.command);
            }
            object(&list)
        }
        Named::Exec(workspace, exec) => object(&node.exec_status(workspace, exec).await?),
        Named::Services(workspace) => {
            service::list_document(&node.services(workspace).await?, MOST_SERVICES)
        }
        Named::Service(workspace, name) => {
            service::service_document(&node.service(workspace, name).await?)
        }
        Named::Output(workspace, exec) => {
            return Ok(Some(plain_text(output(&node, workspace, exec).await?, uri)));
        }
        Named::Log(workspace, name) => {
            return Ok(Some(plain_text(service::log_text(&node, workspace, name).await?, uri)));
        }
    };
    let text = serde_json::to_string_pretty(&document).unwrap_or_default();
    Ok(Some(ResourceContents::text(text, uri).with_mime_type("application/json")))
}

fn plain_text(text: String, uri: &str) -> ResourceContents {
    ResourceContents::text(text, uri).with_mime_type("text/plain")
}

async fn output(node: &pyro_client::Node, workspace: &str, exec: &str) -> Result<String, Problem> {
    let record = node.exec_status(workspace, exec).await?;
    let end = record.stdout_bytes + record.stderr_bytes;
    let mut transcript = Transcript::new(0, OUTPUT_BUDGET);
    let head = pyro_api::OutputQuery { offset: 0, length: Some(OUTPUT_TAIL), stream: None };
    transcript.stdout(&node.exec_output(workspace, exec, &head).await?.bytes);
    let tail = end.saturating_sub(OUTPUT_TAIL);
    if tail > 0 {
        let offset = tail.max(OUTPUT_TAIL);
        transcript.skip_to(offset);
        let rest = pyro_api::OutputQuery { offset, length: Some(OUTPUT_TAIL), stream: None };
        transcript.stdout(&node.exec_output(workspace, exec, &rest).await?.bytes);
    }
    Ok(transcript.show(OUTPUT_BUDGET).stdout)
}

/// A link to what a command said.
pub(crate) fn output_link(workspace: &str, exec: &str) -> Resource {
    Resource::new(format!("{ROOT}{workspace}/execs/{exec}/output"), format!("output of {exec}"))
        .with_mime_type("text/plain")
}

/// A link to what a service said.
pub(crate) fn log_link(workspace: &str, service: &str) -> Resource {
    Resource::new(format!("{ROOT}{workspace}/services/{service}/log"), format!("log of {service}"))
        .with_mime_type("text/plain")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_name_what_they_look_like() {
        for (uri, named) in [
            ("pyro://workspaces/a", Some(Named::Workspace("a"))),
            ("pyro://workspaces/a/execs", Some(Named::Execs("a"))),
            ("pyro://workspaces/a/execs/b", Some(Named::Exec("a", "b"))),
            ("pyro://workspaces/a/execs/b/output", Some(Named::Output("a", "b"))),
            ("pyro://workspaces/a/services", Some(Named::Services("a"))),
            ("pyro://workspaces/a/services/b", Some(Named::Service("a", "b"))),
            ("pyro://workspaces/a/services/b/log", Some(Named::Log("a", "b"))),
            ("pyro://workspaces/a/services/b/output", None),
            ("pyro://workspaces/", None),
            ("pyro://workspaces/a/files", None),
            ("file:///etc/passwd", None),
        ] {
            assert_eq!(parse(uri), named, "{uri}");
        }
    }
}
