//! A service as a person is shown it.

use std::fmt::Write as _;

use pyro_api::{ErrorBody, Service, StartedService};
use pyro_core::Problem;
use serde_json::Value;

use crate::{
    commands::port,
    error::CommandError,
    output::{table::card, units},
    printer::Printer,
    values::now,
};

/// Lines of output that are shown with a failure.
const TAIL: usize = 20;

/// How a service is, in a few words.
pub(super) fn state(service: &Service) -> String {
    let mut state = service.state.as_str().to_owned();
    if service.stopping {
        state += ", stopping";
    }
    if let (None, Some(code)) = (service.pid, service.exit_code) {
        let _ = write!(state, ", exit {code}");
    }
    if let Some(exit) = service.last_exit.as_ref().filter(|_| service.pid.is_none())
        && exit.oom_killed
    {
        state += ", out of memory";
    }
    match &service.stop_reason {
        Some(reason) => format!("{state} ({})", reason.replace('_', " ")),
        None => state,
    }
}

/// Where it listens: `8080`, or the address too where that is not all of them or the loopback.
pub(super) fn ports(service: &Service) -> String {
    let mut ports: Vec<_> = service.listening_ports.iter().map(|it| it.port).collect();
    ports.sort_unstable();
    ports.dedup();
    if ports.is_empty() {
        return "-".to_owned();
    }
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

/// Where its ports are on this host.
fn published(service: &Service) -> Option<String> {
    let ports: Vec<_> = service.published_ports.iter().map(port::shown).collect();
    (!ports.is_empty()).then(|| ports.join(", "))
}

/// Where its ports are on this host, as a cell of a table: nowhere while it does not run.
pub(super) fn published_cell(service: &Service) -> String {
    if !is_published(service) {
        return "-".to_owned();
    }
    service.published_ports.iter().map(port::cell).collect::<Vec<_>>().join(",")
}

/// Whether ports of it are on this host now.
pub(super) fn is_published(service: &Service) -> bool {
    service.state.is_active() && !service.published_ports.is_empty()
}

/// Prints a service: as one JSON document, or for a person.
pub(super) fn print(printer: Printer, service: &Service) -> Result<(), CommandError> {
    if printer.json {
        return printer.json(service);
    }
    let now = now();
    let mut fields = vec![
        ("service", service.service_name.to_string()),
        ("workspace", service.workspace_id.to_string()),
        ("state", state(service)),
        ("ready", if service.ready { "yes" } else { "no" }.to_owned()),
        ("command", printer.cell(&service.command)),
        ("directory", printer.cell(&service.cwd)),
    ];
    let mut add = |name, value: Option<String>| fields.extend(value.map(|value| (name, value)));
    add("detail", service.detail.as_deref().map(|text| printer.cell(text)));
    add("health", service.health.clone());
    add("waits for", (!service.waiting_for.is_empty()).then(|| service.waiting_for.join(", ")));
    add("pid", service.pid.map(|pid| pid.to_string()));
    add("started", service.started_at.map(|at| units::ago(at, now)));
    if let (Some(started), Some(ready)) = (service.started_at, service.ready_at) {
        add("ready after", Some(units::span(ready - started)));
    }
    add("ended", service.ended_at.map(|at| units::ago(at, now)));
    let restarts = format!("{} ({})", service.restart_count, service.restart_policy.as_str());
    add("restarts", Some(restarts));
    if service.pid.is_some() {
        add("memory", Some(units::bytes(service.memory_bytes)));
        add("cpu time", Some(units::span(service.cpu_seconds)));
        add("listens on", Some(ports(service)).filter(|ports| ports != "-"));
    }
    add("published", published(service));
    add("last probe", service.last_probe.as_ref().map(|probe| printer.cell(&probe.result)));
    add("says", service.status_text.as_deref().map(|text| printer.cell(text)));
    printer.data(&card(&fields))
}

/// Prints what came of a start, restart or wait; tells the exit code.
pub(super) fn print_started(
    printer: Printer,
    started: &StartedService,
    done: &str,
) -> Result<u8, CommandError> {
    if printer.json {
        printer.json(&document(started))?;
        return Ok(u8::from(started.failure.is_some()));
    }
    for notice in &started.notices {
        printer.notice(notice);
    }
    let service = &started.service;
    let Some(failure) = &started.failure else {
        let mut line = format!("{} {done}", service.service_name);
        if let (Some(begun), Some(ready)) = (service.started_at, service.ready_at)
            && service.ready
            && !started.unchanged
        {
            let _ = write!(line, " after {}", units::span(ready - begun));
        }
        printer.line(&line)?;
        for port in &service.published_ports {
            printer.line(&format!("Published {}", port::shown(port)))?;
        }
        return Ok(0);
    };
    let mut problem = Problem::from(failure.clone());
    if !started.log_tail.is_empty() {
        let (workspace, name) = (service.workspace_id, &service.service_name);
        problem = problem.hint(format!("all of its output: pyro service logs {workspace} {name}"));
    }
    printer.problem(&problem);
    print_tail(printer, &started.log_tail);
    Ok(1)
}

/// The last lines of output, with a failure.
pub(super) fn print_tail(printer: Printer, lines: &[String]) {
    for line in &lines[lines.len().saturating_sub(TAIL)..] {
        printer.step(&format!("  | {line}"));
    }
}

/// The payload; of a failure with what an error has.
pub(super) fn document(started: &StartedService) -> Value {
    let mut document = serde_json::to_value(started).unwrap_or_default();
    add_failure(&mut document, started.failure.as_ref());
    document
}

/// Adds what an error has.
pub(super) fn add_failure(document: &mut Value, failure: Option<&ErrorBody>) {
    if let (Value::Object(fields), Some(failure)) = (document, failure) {
        let ErrorBody { ok, error, code, hints, kind, .. } = failure.clone();
        for (name, value) in [
            ("ok", serde_json::to_value(ok)),
            ("error", serde_json::to_value(error)),
            ("code", serde_json::to_value(code)),
            ("hints", serde_json::to_value(hints)),
            ("kind", serde_json::to_value(kind)),
        ] {
            fields.insert(name.to_owned(), value.unwrap_or_default());
        }
    }
}
