//! `pyro workspace service up`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use pyro_api::{Service, ServiceState, UpResult, UpService, UpServices};
use pyro_client::{Node, given_file};
use pyro_core::{MANIFEST_NAMES, Problem};
use serde_json::Value;

use super::card;
use crate::{
    arguments::ServiceUpArguments,
    commands::wiring,
    context::Context,
    environment,
    error::CommandError,
    output::{table::table_with_last, units},
    printer::Printer,
    progress::Progress,
};

pub(in crate::commands) async fn up(
    context: &Context,
    arguments: ServiceUpArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let mut variables = wiring::variables(&arguments.env, &[])?;
    let node = context.node().await?;
    let here = match (arguments.file, &arguments.path) {
        (None, None) => found_here(context.environment.current_directory.as_deref()),
        (file, _) => file,
    };
    let file = match &here {
        None => None,
        Some(path) => {
            let value = |name: &str| environment::variable(name)?.into_string().ok();
            Some(given_file(&node, path, &mut variables, value).await?)
        }
    };
    let request = UpServices {
        file,
        path: arguments.path,
        variables,
        services: arguments.services,
        remove_orphans: arguments.remove_orphans,
        no_wait: arguments.no_wait,
        timeout_seconds: arguments.timeout_seconds.as_ref().map(Duration::as_secs_f64),
        no_start: arguments.no_start,
    };
    let result = if printer.json {
        node.up_services(&workspace, &request).await?
    } else {
        watched(printer, &node, &workspace, &request).await?
    };
    print(printer, &result)
}

/// The file that is meant where none is named.
fn found_here(directory: Option<&Path>) -> Option<PathBuf> {
    let directory = directory?;
    MANIFEST_NAMES.iter().map(|name| directory.join(name)).find(|path| path.is_file())
}

/// Asks for it, and shows meanwhile what becomes of each service.
async fn watched(
    printer: Printer,
    node: &Node,
    workspace: &str,
    request: &UpServices,
) -> Result<UpResult, CommandError> {
    // Without events it goes on as well, unseen: what is wrong is told by the answer.
    let Ok(mut events) = node.new_events(workspace).await else {
        return Ok(node.up_services(workspace, request).await?);
    };
    let asked = node.up_services(workspace, request);
    tokio::pin!(asked);
    let mut progress = Progress::steps(printer);
    progress.step("Starting services", None);
    let mut watch = Watch::default();
    loop {
        let event = tokio::select! {
            // What happened before the answer is told before it.
            biased;
            event = events.next() => event,
            result = &mut asked => return Ok(result?),
        };
        let Ok(Some(event)) = event else { return Ok(asked.await?) };
        if event.event != "service_changed" {
            continue;
        }
        let news = watch.take(event.service);
        if printer.shows_progress() {
            let (settled, all) = watch.counts();
            progress.step(&watch.standing(), Some(settled as f64 / all.max(1) as f64));
        } else if let Some(news) = news {
            progress.step(&news, None);
        }
    }
}

/// The services of a file as they come up.
#[derive(Debug, Default)]
struct Watch(BTreeMap<String, Service>);

impl Watch {
    /// Takes in how a service is now; tells what is new about it, if a person should know.
    fn take(&mut self, service: Service) -> Option<String> {
        service.source.as_ref()?;
        let name = service.service_name.to_string();
        let before = self.0.get(&name);
        let was_ready = before.is_some_and(|before| before.ready);
        let waited = before.map(|before| before.waiting_for.clone()).unwrap_or_default();
        let news = if service.ready && !was_ready {
            let after = match (service.started_at, service.ready_at) {
                (Some(begun), Some(ready)) => format!(" after {}", units::span(ready - begun)),
                _ => String::new(),
            };
            Some(format!("{name} is ready{after}"))
        } else if !service.waiting_for.is_empty() && service.waiting_for != waited {
            Some(format!("{name} waits for {}", service.waiting_for.join(", ")))
        } else if service.state != ServiceState::Starting
            && service.state != ServiceState::Running
            && before.is_none_or(|before| before.state != service.state)
        {
            Some(format!("{name} {}", card::state(&service)))
        } else {
            None
        };
        self.0.insert(name, service);
        news
    }

    /// How many are waited for no more, of how many.
    fn counts(&self) -> (usize, usize) {
        let done = |service: &&Service| service.ready || !service.state.is_active();
        (self.0.values().filter(done).count(), self.0.len())
    }

    /// What is waited for, and what that holds up.
    fn standing(&self) -> String {
        let all = self.0.len();
        let is_up = |service: &&Service| service.ready || service.exit_code == Some(0);
        let ready = self.0.values().filter(is_up).count();
        let mut holds: Vec<(&str, BTreeSet<&str>)> = Vec::new();
        for (name, service) in &self.0 {
            let warms_up = service.state.is_active() && !service.ready;
            if warms_up && service.waiting_for.is_empty() {
                let held = self.0.iter().filter(|(_, it)| it.waiting_for.contains(name));
                holds.push((name, held.map(|(name, _)| name.as_str()).collect()));
            }
        }
        // Those that hold up most come first.
        holds.sort_by_key(|(_, held)| std::cmp::Reverse(held.len()));
        let holds = holds.into_iter().map(|(name, held)| {
            let held: Vec<_> = held.into_iter().collect();
            match held.as_slice() {
                [] => name.to_owned(),
                held => format!("{name} (holds up {})", held.join(", ")),
            }
        });
        let waits: Vec<_> = holds.collect();
        match waits.as_slice() {
            [] => format!("{ready} of {all} ready"),
            waits => format!("{ready} of {all} ready; waiting for {}", waits.join(", ")),
        }
    }
}

/// Prints what came of it; tells the exit code.
fn print(printer: Printer, result: &UpResult) -> Result<u8, CommandError> {
    let code = match (result.timed_out, &result.failure) {
        (true, _) => 124,
        (false, Some(_)) => 1,
        (false, None) => 0,
    };
    if printer.json {
        printer.json(&document(result))?;
        return Ok(code);
    }
    for notice in &result.notices {
        printer.notice(notice);
    }
    let rows: Vec<_> = result.services.iter().map(row).collect();
    let headings = ["SERVICE", "ACTION", "STATE", "READY", "PUBLISHED"];
    let mut services = result.services.iter().filter_map(|up| up.service.as_ref());
    let has_published = services.any(card::is_published);
    printer.data(&table_with_last(has_published, headings, &rows))?;
    for service in &result.services {
        let Some(failure) = &service.failure else { continue };
        let mut problem = Problem::from(failure.clone());
        if !service.log_tail.is_empty() {
            let (workspace, name) = (result.workspace_id, &service.service_name);
            let hint = format!("all of its output: pyro service logs {workspace} {name}");
            problem = problem.hint(hint);
        }
        printer.problem(&problem);
        card::print_tail(printer, &service.log_tail);
    }
    if result.services.iter().any(|service| service.action == "orphaned") {
        let file = &result.file;
        printer.hint(&format!(
            "what is orphaned came from {file} and is not in it any more; --remove-orphans stops it"
        ));
    }
    Ok(code)
}

fn row(up: &UpService) -> [String; 5] {
    let ready = match up.service.as_ref().map(|it| (it.ready, it.started_at, it.ready_at)) {
        Some((true, Some(begun), Some(ready))) if up.action != "unchanged" => {
            format!("after {}", units::span(ready - begun))
        }
        Some((true, ..)) => "yes".to_owned(),
        // What has done its work is waited for no more.
        _ if up.service.as_ref().is_some_and(|it| it.exit_code == Some(0)) => "-".to_owned(),
        _ => "no".to_owned(),
    };
    let state = up.service.as_ref().map_or_else(|| "-".to_owned(), card::state);
    let published = up.service.as_ref().map_or_else(|| "-".to_owned(), card::published_cell);
    [up.service_name.clone(), up.action.clone(), state, ready, published]
}

/// The payload; of a failure with what an error has.
fn document(result: &UpResult) -> Value {
    let mut document = serde_json::to_value(result).unwrap_or_default();
    card::add_failure(&mut document, result.failure.as_ref());
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, changes: &Value) -> Service {
        let mut service = serde_json::json!({
            "workspace_id": "0123456789ab", "service_name": name, "source": "pyro.toml",
            "state": "starting", "ready": false, "command": "x", "cwd": "/workspace",
            "execution_mode": "guest_vsock", "stopping": false, "published_ports": [],
            "restart_count": 0, "restart_policy": "no", "depends_on": {}, "waiting_for": [],
            "listening_ports": [], "memory_bytes": 0, "cpu_seconds": 0.0,
            "log_bytes": {"stdout": 0, "stderr": 0}, "revision": 4,
        });
        for (key, value) in changes.as_object().unwrap() {
            service[key] = value.clone();
        }
        serde_json::from_value(service).unwrap()
    }

    #[test]
    fn the_one_that_holds_up_the_rest_is_named() {
        let mut watch = Watch::default();
        let json = |text: &str| serde_json::from_str(text).unwrap();
        assert_eq!(watch.take(service("db", &json("{}"))), None);
        let waits = watch.take(service("web", &json(r#"{"waiting_for": ["db"]}"#)));
        assert_eq!(waits.unwrap(), "web waits for db");
        assert_eq!(watch.take(service("log", &json("{}"))), None);
        assert_eq!(watch.standing(), "0 of 3 ready; waiting for db (holds up web), log");
        let ready =
            json(r#"{"state": "running", "ready": true, "started_at": 1.0, "ready_at": 2.5}"#);
        assert_eq!(watch.take(service("db", &ready)).unwrap(), "db is ready after 1.50 s");
        assert_eq!(watch.take(service("web", &json("{}"))), None);
        let failed = watch.take(service("log", &json(r#"{"state": "failed", "exit_code": 3}"#)));
        assert_eq!(failed.unwrap(), "log failed, exit 3");
        assert_eq!(watch.standing(), "1 of 3 ready; waiting for web");
        assert_eq!(watch.take(service("own", &json(r#"{"source": null}"#))), None);
        assert_eq!(watch.counts(), (2, 3));
    }
}
