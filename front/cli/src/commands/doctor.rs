//! `pyro doctor`: what works on this host.

use std::{fmt::Write as _, path::Path, time::Duration};

use owo_colors::OwoColorize;
use pyro_api::NodeStatus;
use pyro_client::{ClientError, Node};
use serde_json::{Value, json};

use crate::{
    arguments::DoctorArguments,
    assembly::{Assembly, Check, DoctorRequest, Verdict},
    config::Defaults,
    context::{Context, block_on},
    error::CommandError,
};

/// How long a node that runs may take to answer; doctor works without.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn doctor(
    context: &Context,
    assembly: &Assembly,
    arguments: &DoctorArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let (defaults, mistake) = match context.defaults() {
        Ok(defaults) => (defaults, None),
        // Every verb that reads it ends with it, but not the one that tells what is wrong.
        Err(problem) => (Defaults::default(), Some(problem)),
    };
    let request = DoctorRequest {
        state: context.environment.state().ok().map(Path::to_owned),
        cache: context.environment.cache().ok().map(Path::to_owned),
        program: context.environment.program()?,
        platform: arguments.platform.clone(),
        backend: context.environment.backend.clone().or(defaults.backend),
    };
    let mut report = {
        let _spinner =
            printer.shows_progress().then(|| crate::progress::Progress::spinner("Looking"));
        (assembly.doctor)(request)?
    };
    if let Some(problem) = mistake {
        report.usable = false;
        if let Some(Value::Array(issues)) = report.payload.get_mut("issues") {
            issues.push(format!("configuration: {problem}").into());
        }
        report.checks.push(Check {
            name: "configuration".to_owned(),
            verdict: Verdict::Bad,
            summary: problem.to_string(),
            hints: problem.hints,
        });
    }
    let node = node(context);
    if printer.json {
        if let Value::Object(fields) = &mut report.payload {
            fields.insert("node".to_owned(), node_payload(node));
        }
        printer.json(&report.payload)?;
    } else {
        report.checks.push(node_check(node.as_ref()));
        let mut text = String::new();
        for check in &report.checks {
            let sign = match check.verdict {
                Verdict::Good => "ok".green().to_string(),
                Verdict::Notice => "--".yellow().to_string(),
                Verdict::Bad => "no".red().to_string(),
            };
            let _ =
                writeln!(text, "{sign}  {}: {}", check.name.bold(), printer.cell(&check.summary));
            for hint in &check.hints {
                let _ = writeln!(text, "    hint: {}", printer.cell(hint));
            }
        }
        printer.data(&text)?;
    }
    Ok(u8::from(!report.usable))
}

/// What a node that runs says of itself; `None` where none runs.
fn node(context: &Context) -> Option<Result<NodeStatus, ClientError>> {
    let location = context.environment.location().ok()?;
    let status = async {
        let status = async { Node::connect(location).await?.status().await };
        Ok(tokio::time::timeout(PATIENCE, status).await.ok())
    };
    match block_on(status).ok()?? {
        Err(ClientError::NotRunning { .. }) => None,
        status => Some(status),
    }
}

fn node_payload(node: Option<Result<NodeStatus, ClientError>>) -> Value {
    match node {
        None => json!({"running": false, "pid": null, "version": null, "error": null}),
        Some(Ok(status)) => {
            json!({"running": true, "pid": status.pid, "version": status.version, "error": null})
        }
        Some(Err(error)) => {
            let error = pyro_core::Problem::from(error).to_string();
            json!({"running": true, "pid": null, "version": null, "error": error})
        }
    }
}

fn node_check(node: Option<&Result<NodeStatus, ClientError>>) -> Check {
    let (verdict, summary) = match node {
        None => {
            (Verdict::Good, "not running; the first command that needs it starts it".to_owned())
        }
        Some(Ok(status)) => {
            (Verdict::Good, format!("version {} runs as process {}", status.version, status.pid))
        }
        Some(Err(error)) => (Verdict::Bad, format!("it does not answer: {error}")),
    };
    Check { name: "node".to_owned(), verdict, summary, hints: Vec::new() }
}
