//! A service as a model is shown it: a few lines of text, and the payload with its texts bounded.
//!
//! Whatever comes from the guest (what a probe saw, what a service says of itself, its last lines) is
//! cleaned of what commands terminals, and cut.

use std::fmt::Write as _;

use pyro_api::{ErrorBody, Service, StartedService};
use pyro_core::Problem;
use serde_json::{Map, Value, json};

use crate::{
    answer::{Answer, object},
    exec::shortened,
    output::{Transcript, cost, plain},
    port::shown,
};

/// What may be shown of a failed service's last lines, bytes of JSON; of one line, characters.
const TAIL_BUDGET: usize = 4000;
const LONGEST_LINE: usize = 1000;

/// What of a failed service's last lines is shown where there are others: lines, bytes of JSON.
const SHORT_TAIL: usize = 5;
const SHORT_TAIL_BUDGET: usize = 800;

/// A text of the guest's, by itself and in a list, bytes of JSON.
const LONGEST_TEXT: usize = 300;
const LONGEST_IN_LIST: usize = 64;

/// Addresses and names that are shown.
const MOST: usize = 24;

/// A text of the guest's.
pub(super) fn told(text: &str) -> String {
    told_within(text, LONGEST_TEXT)
}

fn told_within(text: &str, most: usize) -> String {
    let text = plain(text);
    let mut spent = 0;
    let is_over = |(index, letter): &(usize, char)| {
        spent += cost(&text[*index..index + letter.len_utf8()]);
        spent > most
    };
    let end = text.char_indices().find(is_over).map(|(index, _)| index);
    match end {
        Some(end) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// What runs.
fn command(service: &Service) -> String {
    shortened(&told(&service.command))
}

/// How a service is, in a few words.
pub(super) fn standing(service: &Service) -> String {
    let mut text = service.state.as_str().to_owned();
    if service.pid.is_some() {
        text.push_str(if service.ready { " and ready" } else { ", not ready" });
    } else if let Some(code) = service.exit_code {
        let _ = write!(text, " with exit code {code}");
    }
    if service.stopping {
        text.push_str(", being stopped");
    }
    if service.pid.is_none() && service.last_exit.as_ref().is_some_and(|exit| exit.oom_killed) {
        text.push_str(", out of memory");
    }
    if let Some(reason) = &service.stop_reason {
        let _ = write!(text, " ({})", told(reason));
    }
    if let Some(health) = &service.health {
        let _ = write!(text, ", health {}", told(health));
    }
    if !service.waiting_for.is_empty() {
        let _ = write!(text, ", waits for {}", names(&service.waiting_for));
    }
    text
}

pub(super) fn names(all: &[String]) -> String {
    let shown: Vec<String> =
        all.iter().take(MOST).map(|name| told_within(name, LONGEST_IN_LIST)).collect();
    let shown = shown.join(", ");
    match all.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Where it listens.
pub(super) fn addresses(service: &Service) -> Option<String> {
    let address = |port: &pyro_api::ListeningPort| {
        let host = told_within(&port.address, LONGEST_IN_LIST);
        if host.contains(':') {
            format!("[{host}]:{}", port.port)
        } else {
            format!("{host}:{}", port.port)
        }
    };
    let all: Vec<String> = service.listening_ports.iter().map(address).collect();
    (!all.is_empty()).then(|| names(&all))
}

/// A service in full.
pub(super) fn text(service: &Service) -> String {
    let mut text = format!(
        "service {} in workspace {}: {}\n",
        service.service_name,
        service.workspace_id,
        standing(service)
    );
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(text, "{name}: {value}");
        }
    };
    line("detail", service.detail.as_deref().map(told));
    line("command", Some(format!("{} (in {})", command(service), told(&service.cwd))));
    if let (Some(started), Some(ready)) = (service.started_at, service.ready_at) {
        line("ready after", Some(format!("{:.3} s", (ready - started).max(0.0))));
    }
    if let Some(pid) = service.pid {
        let (memory, cpu) = (service.memory_bytes >> 20, service.cpu_seconds);
        line("process", Some(format!("pid {pid}, {memory} MiB of memory, {cpu:.2} s of CPU")));
        line("listens on", addresses(service).or_else(|| Some("no port".to_owned())));
    }
    for port in service.published_ports.iter().take(MOST) {
        line("published", Some(shown(port)));
    }
    if service.restart_count > 0 || service.restart_policy != pyro_api::RestartPolicy::No {
        let (count, policy) = (service.restart_count, service.restart_policy.as_str());
        line("restarts", Some(format!("{count} (policy {policy})")));
    }
    line("last probe", service.last_probe.as_ref().map(|probe| told(&probe.result)));
    line("says", service.status_text.as_deref().map(told));
    let log = service.log_bytes;
    line("output", Some(format!("{} bytes of stdout, {} of stderr", log.stdout, log.stderr)));
    text
}

/// A service in a list.
pub(super) fn line(service: &Service) -> String {
    let mut line = format!("{}  {}", service.service_name, standing(service));
    if let Some(addresses) = addresses(service) {
        let _ = write!(line, "  {addresses}");
    }
    if service.restart_count > 0 {
        let _ = write!(line, "  {} restarts", service.restart_count);
    }
    line.push('\n');
    line
}

/// The payload of the contract, its texts bounded.
pub(super) fn document(service: &Service) -> Map<String, Value> {
    let mut document = object(service);
    document.insert("command".to_owned(), command(service).into());
    bound(&mut document);
    document
}

/// Bounds texts and lists, wherever they are.
fn bound(document: &mut Map<String, Value>) {
    for value in document.values_mut() {
        match value {
            Value::String(text) => *text = told(text),
            Value::Object(map) => bound(map),
            Value::Array(all) => {
                all.truncate(MOST);
                for value in all {
                    match value {
                        Value::String(text) => *text = told_within(text, LONGEST_IN_LIST),
                        Value::Object(map) => bound(map),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

/// One service, in full.
pub(super) fn answer(service: &Service) -> Answer {
    Answer { text: text(service), document: document(service), ..Answer::default() }
}

/// The call that reads what a service said.
pub(super) fn logs_call(service: &Service) -> String {
    let (workspace, name) = (service.workspace_id, &service.service_name);
    format!("service_logs(workspace_id=\"{workspace}\", service_name=\"{name}\")")
}

/// The call that waits for a service.
pub(super) fn wait_call(service: &Service, ended: bool) -> String {
    let (workspace, name) = (service.workspace_id, &service.service_name);
    let ended = if ended { ", ended=true" } else { "" };
    format!("service_wait(workspace_id=\"{workspace}\", service_name=\"{name}\"{ended})")
}

/// Its last lines, from the end, as many as fit.
pub(super) fn tail(lines: &[String]) -> Vec<String> {
    last(lines, TAIL_BUDGET)
}

/// A few of its last lines.
pub(super) fn short_tail(lines: &[String]) -> Vec<String> {
    last(&lines[lines.len().saturating_sub(SHORT_TAIL)..], SHORT_TAIL_BUDGET)
}

fn last(lines: &[String], budget: usize) -> Vec<String> {
    const ALL: usize = 1 << 20;
    let mut transcript = Transcript::new(0, ALL);
    for line in lines {
        transcript.stdout(line.as_bytes());
        transcript.stdout(b"\n");
    }
    let mut left = budget;
    let mut kept = Vec::new();
    for line in transcript.show(ALL).stdout.lines().rev() {
        let end = line.char_indices().nth(LONGEST_LINE).map_or(line.len(), |(end, _)| end);
        let line = &line[..end];
        let price = cost(line) + 4;
        if price > left {
            break;
        }
        left -= price;
        kept.push(line.to_owned());
    }
    kept.reverse();
    kept
}

/// A service that goes on its way: how to go on with it.
pub(super) fn going_on(service: &Service, log_tail: &[String], ended: bool) -> Answer {
    let mut answer = answer(service);
    let tail = tail(log_tail);
    if !tail.is_empty() {
        let _ = writeln!(answer.text, "--- last lines of its output\n{}", tail.join("\n"));
    }
    let next = wait_call(service, ended);
    let _ = writeln!(answer.text, "--- go on with: {next}");
    answer.document.insert("log_tail".to_owned(), tail.into());
    answer.document.insert("next".to_owned(), next.into());
    answer
}

/// What came of a start, a restart or a wait.
pub(super) fn outcome(started: &StartedService, done: &str) -> Answer {
    let service = &started.service;
    if let Some(failure) = &started.failure {
        return failed(started, failure);
    }
    let mut answer = answer(service);
    answer.text.insert_str(0, &format!("{} {done}\n", service.service_name));
    answer.document.insert("unchanged".to_owned(), started.unchanged.into());
    answer.document.insert("log_tail".to_owned(), json!([]));
    answer.with_notices(started.notices.clone())
}

/// Why a service is not as it was to be, its texts bounded.
pub(super) fn problem(failure: &ErrorBody) -> Problem {
    let mut problem = Problem::from(failure.clone());
    problem.message = told(&problem.message);
    problem.causes = problem.causes.iter().map(|cause| told(cause)).collect();
    // Hints that are command lines are for people.
    problem.hints.retain(|hint| !hint.contains("pyro "));
    problem.hints = problem.hints.iter().map(|hint| told(hint)).collect();
    problem
}

/// A service that is not as it was to be.
fn failed(started: &StartedService, failure: &ErrorBody) -> Answer {
    let service = &started.service;
    let mut problem = problem(failure);
    if service.state.is_active() {
        let goes_on = if service.restart_policy == pyro_api::RestartPolicy::No {
            "it goes on: service_wait waits for it, service_stop ends it"
        } else {
            "its restart policy goes on starting it; service_stop ends that"
        };
        problem = problem.hint(goes_on);
    }
    let next = logs_call(service);
    problem = problem.hint(format!("all of its output: {next}"));
    let mut answer = Answer::from(problem);
    let tail = tail(&started.log_tail);
    let _ = write!(answer.text, "\n\n{}", text(service));
    if tail.is_empty() {
        answer.text.push_str("(no output)\n");
    } else {
        let _ = writeln!(answer.text, "--- last lines of its output\n{}", tail.join("\n"));
    }
    answer.document.extend(document(service));
    answer.document.insert("unchanged".to_owned(), started.unchanged.into());
    answer.document.insert("log_tail".to_owned(), tail.into());
    answer.document.insert("next".to_owned(), next.into());
    answer.with_notices(started.notices.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(more: &Value) -> Service {
        let mut document = json!({
            "workspace_id": "0123456789ab", "service_name": "web", "state": "running", "ready": true,
            "health": null, "command": "./serve", "cwd": "/workspace", "started_at": 10.0,
            "ready_at": 10.25, "ended_at": null, "exit_code": null, "pid": 7,
            "execution_mode": "guest_vsock", "readiness": null, "stop_reason": null, "detail": null,
            "stopping": false, "published_ports": [], "restart_count": 0, "restart_policy": "no",
            "last_exit": null, "depends_on": {}, "waiting_for": [], "last_probe": null,
            "status_text": null, "listening_ports": [], "memory_bytes": 0, "cpu_seconds": 0.0,
            "log_bytes": {"stdout": 0, "stderr": 0}, "revision": 4,
        });
        for (name, value) in more.as_object().unwrap() {
            document[name] = value.clone();
        }
        serde_json::from_value(document).unwrap()
    }

    fn failure(service: Service, log_tail: Vec<String>, hints: &[&str]) -> StartedService {
        let problem = Problem::failed("service_exited", "web ended before it was ready")
            .cause("it ended with exit code 3");
        let problem = hints.iter().fold(problem, |problem, hint| problem.hint(*hint));
        let failure = Some(problem.into());
        StartedService { service, unchanged: false, log_tail, failure, notices: Vec::new() }
    }

    #[test]
    fn a_failed_start_is_complete_in_text_and_in_structure() {
        let ended = json!({"state": "failed", "ready": false, "pid": null, "exit_code": 3,
            "stop_reason": "process_exited_before_ready"});
        let said = vec!["one".to_owned(), "\u{1b}[31mtwo".to_owned()];
        let hints =
            ["`pyro service logs W web` has all of it", "it listens on 127.0.0.1:81, not 80"];
        let answer = outcome(&failure(service(&ended), said, &hints), "is ready");
        assert!(answer.failed);
        for told in [
            "code: service_exited",
            "exit code 3",
            "process_exited_before_ready",
            "not 80",
            "one\ntwo",
            "service_logs(workspace_id=\"0123456789ab\", service_name=\"web\")",
        ] {
            assert!(answer.text.contains(told), "{told}: {}", answer.text);
        }
        // A command line is no hint for whoever has tools.
        assert!(!answer.text.contains("pyro service"), "{}", answer.text);
        assert_eq!(answer.document["code"], "service_exited");
        assert_eq!(answer.document["exit_code"], 3);
        assert_eq!(answer.document["log_tail"], json!(["one", "two"]));
    }

    #[test]
    fn what_a_guest_says_is_cut_and_cleaned() {
        let long = "\u{1b}]0;title\u{7}\"\u{1f525}".repeat(50_000);
        let port = json!({"address": "::1", "port": 80});
        let hostile = json!({"state": "failed", "pid": null, "command": long, "cwd": long,
            "stop_reason": long, "detail": long, "health": long, "status_text": long,
            "last_probe": {"at": 1.0, "result": long},
            "waiting_for": vec![long.clone(); 50], "listening_ports": vec![port; 5000],
            "readiness": {"type": "command", "command": vec![long.clone(); 50]}});
        let answer = outcome(&failure(service(&hostile), vec![long.clone(); 50], &[&long]), "");
        assert!(!answer.text.contains('\u{1b}') && !answer.text.contains("title"));
        let result = serde_json::to_string(&answer.into_result()).unwrap();
        assert!(!result.contains("\\u001b"));
        assert!(result.len() < 24 * 1024, "{} bytes", result.len());
    }

    #[test]
    fn the_last_lines_are_those_that_are_kept() {
        let lines: Vec<String> = (0..2000).map(|number| format!("line {number}")).collect();
        let all = tail(&lines);
        assert_eq!(all.last().unwrap(), "line 1999");
        assert!(all.len() < lines.len() && all.len() > 100);
        assert_eq!(short_tail(&lines).len(), SHORT_TAIL);
        assert_eq!(short_tail(&lines[..2]), ["line 0", "line 1"]);
    }

    #[test]
    fn how_a_service_stands_is_a_few_words() {
        for (more, told) in [
            (json!({}), "running and ready"),
            (json!({"state": "starting", "ready": false}), "starting, not ready"),
            (
                json!({"state": "starting", "ready": false, "pid": null, "waiting_for": ["db"]}),
                "starting, waits for db",
            ),
            (
                json!({"state": "stopped", "pid": null, "exit_code": 143, "stop_reason": "sigterm"}),
                "stopped with exit code 143 (sigterm)",
            ),
            (
                json!({"state": "failed", "pid": null, "exit_code": 137, "last_exit":
                    {"exit_code": null, "signal": 9, "oom_killed": true, "ended_at": 1.0}}),
                "failed with exit code 137, out of memory",
            ),
        ] {
            assert_eq!(standing(&service(&more)), told, "{more}");
        }
    }
}
