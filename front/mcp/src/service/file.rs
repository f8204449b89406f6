//! Services from a file in the workspace: up and down.

use std::fmt::Write as _;

use pyro_api::{DownServices, UpResult, UpService, UpServices};
use pyro_core::Problem;
use serde_json::{Map, Value, json};
use tokio::time::{Duration, Instant};

use super::{Watched, card, watched};
use crate::{
    answer::{Answer, object},
    call::{Call, PATIENCE},
    exec::fitting,
};

/// How much sooner than a call's end the node stops waiting, so that it is heard.
const TO_ANSWER: Duration = Duration::from_secs(1);

/// `service_up`.
pub(crate) async fn up(call: &Call) -> Result<Answer, Problem> {
    let workspace = call.workspace("workspace_id")?;
    let arguments = &call.arguments;
    let left = call.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let patience = left.map(|left| left.saturating_sub(TO_ANSWER).max(TO_ANSWER).as_secs_f64());
    let request = UpServices {
        file: None,
        path: arguments.text("path").map(str::to_owned),
        variables: arguments.map("env"),
        services: arguments.list("services"),
        remove_orphans: arguments.flag("remove_orphans"),
        no_wait: arguments.flag("no_wait"),
        timeout_seconds: patience,
        no_start: arguments.flag("no_start"),
    };
    call.progress.tell("starting services").await;
    let node = call.node().await?;
    let upping = node.up_services(&workspace, &request);
    let what = Watched { node: &node, workspace: &workspace, name: None };
    match watched(call, what, call.deadline, upping).await {
        Some(result) => Ok(told(&result?, call)),
        // The VM took its time; the node goes on to the file's end.
        None => Err(Problem::failed(
            "call_timeout",
            format!(
                "bringing the services up takes longer than {} s and goes on",
                PATIENCE.as_secs()
            ),
        )
        .hint("service_status shows how they stand; service_wait waits for them")),
    }
}

fn told(result: &UpResult, call: &Call) -> Answer {
    let (count, failed) = (result.count, result.failed_count);
    let mut text = format!("{count} services of {}", card::told(&result.file));
    if failed > 0 {
        let _ = write!(text, ", {failed} failed");
    }
    text.push('\n');
    let (services, omitted) = fitting(result.services.iter().map(entry), &mut text, call);
    let mut document = object(&json!({"workspace_id": result.workspace_id,
        "file": card::told(&result.file), "count": count, "failed_count": failed,
        "timed_out": result.timed_out, "services": services, "omitted_count": omitted}));
    if let Some(failure) = &result.failure {
        // Message, code and hints, as of every error.
        let problem = card::problem(failure)
            .hint("service_logs shows what one said, service_status why it does not run");
        let answer = Answer::from(problem);
        text = format!("{}\n\n{text}", answer.text);
        document.extend(answer.document);
    } else if result.timed_out || result.services.iter().any(warms_up) {
        let next = format!("service_wait(workspace_id=\"{}\")", result.workspace_id);
        let _ = writeln!(text, "--- not all are ready yet; go on with: {next}");
        document.insert("next".to_owned(), next.into());
    }
    let notices = result.notices.iter().map(|notice| card::told(notice)).collect();
    let failed = result.failure.is_some();
    Answer { text, document, failed, ..Answer::default() }.with_notices(notices)
}

fn warms_up(up: &UpService) -> bool {
    up.service.as_ref().is_some_and(|service| service.state.is_active() && !service.ready)
}

fn entry(up: &UpService) -> (String, Map<String, Value>) {
    let mut line = format!("{}  {}", up.service_name, up.action);
    if let Some(service) = &up.service {
        let _ = write!(line, ", is {}", card::standing(service));
    }
    let mut document = Map::new();
    document.insert("service_name".to_owned(), up.service_name.clone().into());
    document.insert("action".to_owned(), up.action.clone().into());
    let service = up.service.as_ref().map(|service| Value::from(card::document(service)));
    document.insert("service".to_owned(), service.unwrap_or_default());
    if let Some(failure) = &up.failure {
        let problem = card::problem(failure);
        let _ = write!(line, "\n    {}: {problem}", problem.code);
        document.insert("code".to_owned(), problem.code.clone().into());
        document.insert("error".to_owned(), problem.to_string().into());
        let tail = card::short_tail(&up.log_tail);
        for said in &tail {
            let _ = write!(line, "\n    | {said}");
        }
        document.insert("log_tail".to_owned(), tail.into());
    }
    line.push('\n');
    (line, document)
}

/// `service_down`.
pub(crate) async fn down(call: &Call) -> Result<Answer, Problem> {
    let workspace = call.workspace("workspace_id")?;
    let request = DownServices {
        file: call.arguments.text("path").map(str::to_owned),
        services: call.arguments.list("services"),
    };
    call.progress.tell("stopping services").await;
    let node = call.node().await?;
    let stopping = async move { node.down_services(&workspace, &request).await };
    let done = call.within("stopping the services", stopping).await?;
    let mut text = match done.count {
        0 => "no service came from a file; service_stop ends others\n".to_owned(),
        count => format!("{count} services, {} of them ran\n", done.stopped_count),
    };
    let entry = |one: &pyro_api::DownService| {
        let document = object(&json!({"service_name": one.service_name, "action": one.action,
            "service": card::document(&one.service)}));
        (card::line(&one.service), document)
    };
    let (services, omitted) = fitting(done.services.iter().map(entry), &mut text, call);
    let document = json!({"workspace_id": done.workspace_id, "count": done.count,
        "stopped_count": done.stopped_count, "services": services, "omitted_count": omitted});
    Ok(Answer::new(text, &document))
}
