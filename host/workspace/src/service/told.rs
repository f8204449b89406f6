//! What the guest says of its services, as it is kept: hostile text, bounded and parsed.

use std::collections::BTreeMap;

use pyro_core::{Command, DependencyCondition, Probe, RestartPolicy, ServiceState};
use pyro_store::{ServiceEvent, ServiceExit, ServiceRecord};
use pyro_wire::{ServiceHealth, ServiceList, probe::Kind};

/// Services that are believed.
pub(super) const MOST_SERVICES: usize = 1024;
/// Of an event as it is kept, bytes: there may be thousands.
const LONGEST_EVENT: usize = 16 << 10;
/// Characters of a text of a longer one.
const SHORT_TEXT: usize = 200;
/// Characters of a text that is shown.
const LONGEST_TEXT: usize = 4096;
/// Lines and characters of a tail.
const TAIL: (usize, usize) = (100, 2000);

fn text(given: &str) -> String {
    given.chars().take(LONGEST_TEXT).collect()
}

fn some_text(given: &str) -> Option<String> {
    (!given.is_empty()).then(|| text(given))
}

fn lossy(bytes: &[u8]) -> String {
    text(&String::from_utf8_lossy(&bytes[..bytes.len().min(4 * LONGEST_TEXT)]))
}

fn at(millis: u64) -> Option<u64> {
    (millis > 0).then_some(millis)
}

/// A whole list. What is no service's record is left out.
pub(crate) fn all_told(list: &ServiceList) -> Vec<ServiceRecord> {
    list.records.iter().take(MOST_SERVICES).filter_map(service).collect()
}

/// One record; none where it has no name of a service.
pub(super) fn service(record: &pyro_wire::ServiceRecord) -> Option<ServiceRecord> {
    let spec = record.spec.as_ref()?;
    let health = match record.health() {
        ServiceHealth::HealthNone => None,
        ServiceHealth::HealthPassing => Some(true),
        ServiceHealth::HealthFailing => Some(false),
    };
    let depends_on: BTreeMap<_, _> = spec
        .depends_on
        .iter()
        .take(MOST_SERVICES)
        .filter_map(|on| {
            let condition = match on.condition() {
                pyro_wire::DependencyCondition::DependencyStarted => DependencyCondition::Started,
                pyro_wire::DependencyCondition::DependencyReady => DependencyCondition::Ready,
                pyro_wire::DependencyCondition::DependencyCompleted => {
                    DependencyCondition::Completed
                }
            };
            Some((on.name.parse().ok()?, condition))
        })
        .collect();
    Some(ServiceRecord {
        name: spec.name.parse().ok()?,
        state: match record.state() {
            pyro_wire::ServiceState::ServiceStarting => ServiceState::Starting,
            pyro_wire::ServiceState::ServiceRunning => ServiceState::Running,
            pyro_wire::ServiceState::ServiceBackoff => ServiceState::Backoff,
            pyro_wire::ServiceState::ServiceExited => ServiceState::Exited,
            pyro_wire::ServiceState::ServiceFailed => ServiceState::Failed,
            pyro_wire::ServiceState::ServiceStopped => ServiceState::Stopped,
        },
        ready: record.ready,
        healthy: health,
        command: text(&spec.command),
        cwd: lossy(&spec.working_directory),
        readiness: spec.readiness.as_ref().and_then(probe),
        restart: match spec.restart() {
            pyro_wire::RestartPolicy::RestartNo => RestartPolicy::No,
            pyro_wire::RestartPolicy::RestartOnFailure => RestartPolicy::OnFailure,
            pyro_wire::RestartPolicy::RestartAlways => RestartPolicy::Always,
            pyro_wire::RestartPolicy::RestartUnlessStopped => RestartPolicy::UnlessStopped,
        },
        restart_count: record.restart_count,
        depends_on,
        waiting_for: record
            .waiting_for
            .iter()
            .take(100)
            .filter_map(|name| Some(name.parse::<pyro_core::ServiceName>().ok()?.to_string()))
            .collect(),
        stopping: record.stopping,
        started_at: at(record.started_millis),
        ready_at: at(record.ready_millis),
        ended_at: at(record.ended_millis),
        pid: (record.pid != 0).then_some(record.pid),
        stop_reason: some_text(&record.stop_reason),
        detail: some_text(&record.detail),
        last_exit: record.last_exit.as_ref().map(|exit| ServiceExit {
            exit_code: exit.exit_code,
            signal: exit.signal,
            oom_killed: exit.oom_killed,
            ended_at: exit.ended_millis,
        }),
        last_probe: record.last_probe.as_ref().map(|probe| (probe.at_millis, text(&probe.result))),
        status_text: some_text(&record.status_text),
        memory_bytes: record.memory_bytes,
        cpu_micros: record.cpu_micros,
        stdout_bytes: record.stdout_bytes,
        stderr_bytes: record.stderr_bytes,
        listening: record
            .listening
            .iter()
            .take(100)
            .filter_map(|port| {
                let address: std::net::IpAddr = port.address.parse().ok()?;
                Some((address.to_string(), u16::try_from(port.port).ok()?))
            })
            .collect(),
        run: record.run,
        revision: record.revision,
        source: record.source.chars().take(256).collect(),
    })
}

fn probe(probe: &pyro_wire::Probe) -> Option<Probe> {
    let address = |host: &str, port: u32| {
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    };
    Some(match probe.kind.as_ref()? {
        Kind::File(path) => Probe::File { path: lossy(path) },
        Kind::Tcp(tcp) => Probe::Tcp { address: text(&address(&tcp.host, tcp.port)) },
        Kind::Http(http) => Probe::Http {
            url: text(&format!("http://{}{}", address(&http.host, http.port), http.target)),
        },
        Kind::Command(command) => Probe::Command { command: shown(&command.arguments) },
        Kind::Log(pattern) => Probe::Log { pattern: text(pattern) },
        Kind::Notify(_) => Probe::Notify {},
    })
}

/// A command as it was given: a line for the shell is told as that.
fn shown(arguments: &[bytes::Bytes]) -> Command {
    match arguments {
        [shell, flags, line] if &shell[..] == b"/bin/sh" && &flags[..] == b"-lc" => {
            Command::Shell(lossy(line))
        }
        _ => Command::Arguments(arguments.iter().take(1000).map(|word| lossy(word)).collect()),
    }
}

/// A state change.
pub(super) fn event(event: &pyro_wire::ServiceEvent) -> Option<ServiceEvent> {
    let service = service(event.record.as_ref()?)?;
    let mut event = ServiceEvent { at: event.time_millis, service, deleted: event.deleted };
    if serde_json::to_vec(&event).is_ok_and(|text| text.len() > LONGEST_EVENT) {
        shorten(&mut event.service);
    }
    Some(event)
}

/// Leaves of a record what an honest guest's has, where it is longer than any such.
fn shorten(record: &mut ServiceRecord) {
    let short = |text: &str| -> String { text.chars().take(SHORT_TEXT).collect() };
    let ServiceRecord { command, cwd, detail, status_text, stop_reason, last_probe, .. } = record;
    for text in [command, cwd] {
        *text = short(text);
    }
    for text in [detail, status_text, stop_reason].into_iter().flatten() {
        *text = short(text);
    }
    if let Some((_, result)) = last_probe {
        *result = short(result);
    }
    record.readiness = None;
    record.depends_on.clear();
    record.waiting_for.clear();
    record.listening.clear();
}

/// Lines of output as text.
pub(super) fn lines(lines: &[bytes::Bytes]) -> Vec<String> {
    let (most, longest) = TAIL;
    let line = |line: &bytes::Bytes| -> String {
        let line = &line[..line.len().min(4 * longest)];
        String::from_utf8_lossy(line).trim_end_matches('\r').chars().take(longest).collect()
    };
    lines.iter().take(most).map(line).collect()
}

/// A record after the machine it ran in is gone, for this reason; `false` where nothing of it ran.
pub(crate) fn stopped_by(record: &mut ServiceRecord, reason: &str, now: u64) -> bool {
    if !record.state.is_active() {
        return false;
    }
    record.state = ServiceState::Stopped;
    record.ready = false;
    record.healthy = None;
    record.stopping = false;
    record.waiting_for.clear();
    record.ended_at = Some(now);
    record.pid = None;
    record.memory_bytes = 0;
    record.listening.clear();
    record.stop_reason = Some(reason.to_owned());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_an_event_is_small_whatever_a_guest_says() {
        let long = || "\u{1}".repeat(100_000);
        let spec = pyro_wire::ServiceSpec {
            name: "web".into(),
            command: long(),
            working_directory: long().into(),
            readiness: Some(pyro_wire::Probe { kind: Some(Kind::Log(long())), timeout_millis: 0 }),
            ..pyro_wire::ServiceSpec::default()
        };
        let listening = pyro_wire::ListeningPort { address: long(), port: 1 };
        let record = pyro_wire::ServiceRecord {
            spec: Some(spec),
            waiting_for: vec![long(); 100],
            listening: vec![listening; 100],
            status_text: long(),
            detail: long(),
            stop_reason: long(),
            last_probe: Some(pyro_wire::ProbeResult {
                result: long(),
                ..pyro_wire::ProbeResult::default()
            }),
            ..pyro_wire::ServiceRecord::default()
        };
        let told =
            pyro_wire::ServiceEvent { record: Some(record), ..pyro_wire::ServiceEvent::default() };
        let kept = event(&told).unwrap();
        assert!(serde_json::to_vec(&kept).unwrap().len() <= LONGEST_EVENT);
        assert_eq!(kept.service.name.as_str(), "web");
    }
}
