//! Services: start them, wait until they are proven ready, look at them, end them.
//!
//! ```text
//! mod            the verbs
//! specification  a call's arguments -> what a service is asked to be
//! card           a service as a model is shown it
//! logs           what it printed
//! events         what happened to it
//! file           several at once, as a file in the workspace declares them
//! ```
//!
//! The supervisor in the guest owns a service: a call that is cancelled, or out of time, drops its
//! connection and leaves the service as it is then. Refuses to know what becomes of it.

mod card;
mod events;
mod file;
mod logs;
mod specification;

use std::{fmt::Write as _, future::Future, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use pyro_api::{
    DeletedService, RestartService, Service, ServiceList, SignalService, StartedService,
    StopService,
};
use pyro_client::{ClientError, Node};
use pyro_core::Problem;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

pub(crate) use events::events;
pub(crate) use file::{down, up};
pub(crate) use logs::{logs, text as log_text};

use crate::{
    answer::{Answer, object},
    call::{Call, PATIENCE},
    exec::fitting,
};

/// How often a client that asked for progress hears of it.
const PROGRESS_EVERY: Duration = Duration::from_secs(3);

/// How long a look at a service may take that only says how it stands.
const LOOK: Duration = Duration::from_secs(2);

/// How many services are waited for at a time.
const TOGETHER: usize = 32;

/// The service that a call names.
fn named(call: &Call) -> Result<String, Problem> {
    let name = call.arguments.required("service_name");
    if name.is_empty() {
        return Err(Problem::not_found("service_not_found", "there is no service \"\""));
    }
    Ok(name.to_owned())
}

/// `service_start`.
pub(crate) async fn start(call: &Call) -> Result<Answer, Problem> {
    let workspace = call.workspace("workspace_id")?;
    let request = specification::request(&call.arguments)?;
    let name = request.service.name.to_string();
    call.progress.tell(format!("starting {name}")).await;
    let node = call.node().await?;
    let starting = node.start_service(&workspace, &request);
    begun(call, &node, &workspace, &name, starting).await
}

/// `service_restart`.
pub(crate) async fn restart(call: &Call) -> Result<Answer, Problem> {
    let (workspace, name) = (call.workspace("workspace_id")?, named(call)?);
    let request = RestartService {
        no_wait: call.arguments.flag("no_wait"),
        no_start: call.arguments.flag("no_start"),
    };
    call.progress.tell(format!("restarting {name}")).await;
    let node = call.node().await?;
    let restarting = node.restart_service(&workspace, &name, &request);
    begun(call, &node, &workspace, &name, restarting).await
}

/// What came of a start or a restart in the time of a call.
async fn begun(
    call: &Call,
    node: &Node,
    workspace: &str,
    name: &str,
    effect: impl Future<Output = Result<StartedService, ClientError>>,
) -> Result<Answer, Problem> {
    let what = Watched { node, workspace, name: Some(name) };
    let Some(started) = watched(call, what, call.deadline, effect).await else {
        // Its connection is closed, and it goes on.
        return match timeout(LOOK, node.service(workspace, name)).await {
            Ok(Ok(service)) if service.state.is_active() => {
                Ok(card::going_on(&service, &[], false))
            }
            _ => Err(not_begun(name)),
        };
    };
    let started = started?;
    let service = &started.service;
    if started.failure.is_none() && !service.ready && service.state.is_active() {
        // Nobody waited.
        return Ok(card::going_on(service, &[], false).with_notices(started.notices.clone()));
    }
    let done = match (started.unchanged, service.ready) {
        (true, _) => "runs already, and was left as it is",
        (false, true) => "is ready",
        (false, false) => "has ended",
    };
    Ok(card::outcome(&started, done))
}

/// The VM did not come up in the time of a call, so that there was no one to start it.
fn not_begun(name: &str) -> Problem {
    let seconds = PATIENCE.as_secs();
    Problem::failed("call_timeout", format!("{name} could not be started within {seconds} s"))
        .hint("call again, and see workspace_status")
}

/// What is told of while a call waits: one service, or all of a workspace.
#[derive(Clone, Copy)]
struct Watched<'a> {
    node: &'a Node,
    workspace: &'a str,
    name: Option<&'a str>,
}

impl Watched<'_> {
    /// How it stands; none where nothing can be told.
    async fn standing(&self) -> Option<String> {
        Some(match self.name {
            Some(name) => progress(&self.node.service(self.workspace, name).await.ok()?),
            None => progress_of_all(&self.node.services(self.workspace).await.ok()?),
        })
    }
}

/// Waits for an effect, and tells a client that listens how what it is about stands meanwhile;
/// `None` where the time is over first, and then the effect is dropped.
async fn watched<T>(
    call: &Call,
    what: Watched<'_>,
    until: Option<Instant>,
    effect: impl Future<Output = T>,
) -> Option<T> {
    let mut effect = std::pin::pin!(effect);
    let patience = async {
        match until {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    let mut patience = std::pin::pin!(patience);
    let telling = async {
        let mut tick = interval_at(Instant::now() + PROGRESS_EVERY, PROGRESS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while call.progress.is_heard() {
            tick.tick().await;
            if let Ok(Some(standing)) = timeout(LOOK, what.standing()).await {
                call.progress.tell(standing).await;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut telling = std::pin::pin!(telling);
    tokio::select! {
        biased;
        done = &mut effect => Some(done),
        () = &mut patience => None,
        () = &mut telling => None,
    }
}

fn progress(service: &Service) -> String {
    let mut text = format!("{} is {}", service.service_name, card::standing(service));
    if let Some(probe) = &service.last_probe {
        text.push_str("; last probe: ");
        text.push_str(&probe.result.chars().take(120).collect::<String>());
    }
    text
}

fn progress_of_all(list: &ServiceList) -> String {
    let warms_up = |service: &&Service| service.state.is_active() && !service.ready;
    let names: Vec<String> = list
        .services
        .iter()
        .filter(warms_up)
        .map(|service| service.service_name.to_string())
        .collect();
    let mut text = format!("{} of {} services run", list.running_count, list.count);
    if !names.is_empty() {
        text.push_str("; not ready yet: ");
        text.push_str(&card::names(&names));
    }
    text
}

/// How long a call may wait, and until when.
fn patience(call: &Call) -> (Duration, Instant) {
    let asked = Duration::from_secs(call.arguments.integer("wait_seconds").unwrap_or_default());
    let now = Instant::now();
    let until = call.deadline.map_or(now + asked, |latest| latest.min(now + asked));
    (until - now, until)
}

/// Asks the node to wait.
async fn waited(
    node: &Node,
    workspace: &str,
    name: &str,
    ended: bool,
    until: Instant,
) -> Result<StartedService, ClientError> {
    // 0 would mean the node's own limit.
    let left = until.saturating_duration_since(Instant::now()).as_secs_f64().max(0.001);
    node.wait_service(workspace, name, ended, Some(left)).await
}

/// Whether a wait ended because its time was over.
fn goes_on(waited: &StartedService, ended: bool) -> bool {
    match &waited.failure {
        Some(failure) => waited.service.state.is_active() && failure.code != "service_exited",
        None => ended && waited.service.state.is_active(),
    }
}

/// `service_wait`.
pub(crate) async fn wait(call: &Call) -> Result<Answer, Problem> {
    let workspace = call.workspace("workspace_id")?;
    let ended = call.arguments.flag("ended");
    let (_, until) = patience(call);
    let node = call.node().await?;
    if !call.arguments.has("service_name") {
        return wait_for_all(call, &node, &workspace, ended, until).await;
    }
    let name = named(call)?;
    let waiting = waited(&node, &workspace, &name, ended, until);
    // The node keeps the time; a call that it does not answer ends with the call's own.
    let what = Watched { node: &node, workspace: &workspace, name: Some(&name) };
    let found = watched(call, what, None, waiting).await;
    let found = found.unwrap_or_else(|| unreachable!("nothing else ends it"))?;
    if goes_on(&found, ended) {
        return Ok(card::going_on(&found.service, &found.log_tail, ended));
    }
    Ok(card::outcome(&found, if ended { "does not run" } else { "is ready" }))
}

/// Waits for every service that is active.
async fn wait_for_all(
    call: &Call,
    node: &Arc<Node>,
    workspace: &str,
    ended: bool,
    until: Instant,
) -> Result<Answer, Problem> {
    let list = node.services(workspace).await?;
    let active = list.services.iter().filter(|service| service.state.is_active());
    let names: Vec<String> = active.map(|service| service.service_name.to_string()).collect();
    call.progress.tell(format!("waiting for {} services", names.len())).await;
    let waits: Vec<_> =
        names.iter().map(|name| waited(node, workspace, name, ended, until)).collect();
    let waits = stream::iter(waits).buffered(TOGETHER).collect::<Vec<_>>();
    let what = Watched { node, workspace, name: None };
    let all = watched(call, what, None, waits).await;
    let all = all.unwrap_or_else(|| unreachable!("nothing else ends it"));
    let mut text = String::new();
    let mut services = Vec::new();
    let (mut failed, mut open) = (0, 0);
    for found in all {
        let found = match found {
            Ok(found) => found,
            // It was deleted meanwhile: nobody waits for it any more.
            Err(error) if error.code() == "service_not_found" => continue,
            Err(error) => return Err(error.into()),
        };
        let mut line = card::line(&found.service);
        let mut document = card::document(&found.service);
        if goes_on(&found, ended) {
            open += 1;
        } else if let Some(failure) = &found.failure {
            failed += 1;
            line = format!("{}  failed: {}\n", line.trim_end(), failure.code);
            document.insert("code".to_owned(), failure.code.clone().into());
        }
        services.push((line, document));
    }
    let count = services.len();
    let what = if ended { "do not run" } else { "are ready" };
    let met = count - failed - open;
    let _ = write!(text, "{met} of {count} services that were active {what}");
    if failed > 0 {
        let _ = write!(text, ", {failed} failed");
    }
    text.push('\n');
    let (services, omitted) = fitting(services.into_iter(), &mut text, call);
    let mut document = object(&json!({"workspace_id": list.workspace_id, "count": count,
        "services": services, "omitted_count": omitted}));
    if failed > 0 {
        text.push_str("--- service_logs with a service_name shows what one said\n");
    } else if open > 0 {
        let more = if ended { ", ended=true" } else { "" };
        let next = format!("service_wait(workspace_id=\"{}\"{more})", list.workspace_id);
        let _ = writeln!(text, "--- {open} go on; go on with: {next}");
        document.insert("next".to_owned(), next.into());
    }
    Ok(Answer { text, document, failed: failed > 0, ..Answer::default() })
}

/// `service_status` and `service_list`.
pub(crate) async fn status(call: &Call) -> Result<Answer, Problem> {
    let workspace = call.workspace("workspace_id")?;
    let node = call.node().await?;
    if call.arguments.has("service_name") {
        return Ok(card::answer(&node.service(&workspace, &named(call)?).await?));
    }
    Ok(listed(&node.services(&workspace).await?, call))
}

fn listed(list: &ServiceList, call: &Call) -> Answer {
    let mut text = match list.count {
        0 => "there are no services; service_start starts one\n".to_owned(),
        1 => format!("1 service, {} running\n", list.running_count),
        many => format!("{many} services, {} running\n", list.running_count),
    };
    let entry = |service: &Service| (card::line(service), card::document(service));
    let entries = list.services.iter().skip(call.arguments.number("offset")).map(entry);
    let (services, omitted) = fitting(entries, &mut text, call);
    let document = json!({"workspace_id": list.workspace_id, "count": list.count,
        "running_count": list.running_count, "services": services, "omitted_count": omitted});
    Answer::new(text, &document)
}

/// The services of a workspace as a resource shows them: as many as fit.
pub(crate) fn list_document(list: &ServiceList, most: usize) -> Map<String, Value> {
    let services: Vec<Value> =
        list.services.iter().take(most).map(|service| card::document(service).into()).collect();
    object(&json!({"workspace_id": list.workspace_id, "count": list.count,
        "running_count": list.running_count, "services": services}))
}

/// A service as a resource shows it.
pub(crate) fn service_document(service: &Service) -> Map<String, Value> {
    card::document(service)
}

/// `service_stop`.
pub(crate) async fn stop(call: &Call) -> Result<Answer, Problem> {
    let (workspace, name) = (call.workspace("workspace_id")?, named(call)?);
    let request = StopService {
        signal: call.arguments.text("signal").map(str::to_owned),
        grace_seconds: call.arguments.integer("grace_seconds").map(|seconds| seconds as f64),
    };
    call.progress.tell(format!("stopping {name}")).await;
    let node = call.node().await?;
    let stopping = {
        let (node, workspace, name) = (Arc::clone(&node), workspace.clone(), name.clone());
        async move { node.stop_service(&workspace, &name, &request).await }
    };
    match call.within("stopping the service", stopping).await {
        Ok(service) => Ok(card::answer(&service)),
        Err(late) if late.code == "call_timeout" => {
            let Ok(found) = timeout(LOOK, node.service(&workspace, &name)).await else {
                return Err(late);
            };
            Ok(card::going_on(&found?, &[], true))
        }
        Err(problem) => Err(problem),
    }
}

/// `service_signal`.
pub(crate) async fn signal(call: &Call) -> Result<Answer, Problem> {
    let (workspace, name) = (call.workspace("workspace_id")?, named(call)?);
    let request = SignalService {
        signal: call.arguments.required("signal").to_owned(),
        whole_tree: call.arguments.flag("whole_tree"),
    };
    let node = call.node().await?;
    Ok(card::answer(&node.signal_service(&workspace, &name, &request).await?))
}

/// `service_delete`.
pub(crate) async fn delete(call: &Call) -> Result<Answer, Problem> {
    let (workspace, name) = (call.workspace("workspace_id")?, named(call)?);
    let node = call.node().await?;
    let delete = async move { node.delete_service(&workspace, &name).await };
    let deleted: DeletedService = call.within("deleting the service", delete).await?;
    Ok(Answer::new(format!("deleted service {}", deleted.service_name), &deleted))
}
