//! Records into payloads.

mod files;
mod review;

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
};

use pyro_api::{
    DownResult, DownService, ErrorBody, Exec, ExecResult, ListeningPort, LogBytes, NetworkDenied,
    NetworkLogEntry, NetworkProcess, NetworkStatus, Port, PortPublication, Service, ServiceExit,
    ServiceLogEntry, ServiceProbe, StartedService, UpResult, UpService, Workspace, WorkspaceEvent,
    WorkspaceLastCommand, WorkspaceSeed, WorkspaceSummary,
};
use pyro_core::{ExitStatus, Probe, Problem, ServiceState, WORKSPACE_PATH, WorkspaceId};
use pyro_workspace::{
    Action, BASELINE, ExecRecord, ExecState, GUEST_ADDRESS, Handle, LogEntry, OnExpiry, Outcome,
    Phase, PortRow, PortState, PortStatus, PublishedPort, SeedRecord, ServiceEvent, ServiceRecord,
    Snapshot, SnapshotRecord, TRUNK_MEMORY, WorkspaceRecord,
    relay::{Entry, Protocol, Verdict},
};

pub(crate) use files::{
    artifact_type, disk_content, file_content, file_entry, file_status, mode, search_match,
};
pub(crate) use review::{diff_result, patch_result};

/// How commands reach their guest.
pub(crate) const EXECUTION_MODE: &str = "guest_vsock";

/// What ports carry.
const TCP: &str = "tcp";

fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

fn state(record: &WorkspaceRecord) -> &'static str {
    match record.phase {
        Phase::Started => "started",
        _ => "stopped",
    }
}

fn activity(record: &WorkspaceRecord) -> Option<String> {
    let activity = match record.phase {
        Phase::Starting | Phase::Stopping | Phase::Started | Phase::Stopped
            if record.checkpoints.reset.is_some() =>
        {
            "resetting"
        }
        Phase::Creating => "creating",
        Phase::Starting => "starting",
        Phase::Stopping => "stopping",
        Phase::Deleting => "deleting",
        Phase::Started | Phase::Stopped => return None,
    };
    Some(activity.to_owned())
}

fn expires_at(record: &WorkspaceRecord, last_activity: u64) -> Option<f64> {
    let may = state(record) == "started" || record.on_expiry == OnExpiry::Delete;
    record.ttl_seconds.filter(|_| may).map(|ttl| seconds(last_activity) + ttl as f64)
}

/// What a workspace may reach and does; a change of it ended so many connections.
pub(crate) fn network(handle: &Handle, snapshot: &Snapshot, closed: u64) -> NetworkStatus {
    let network = &snapshot.record.network;
    let figures = handle.relay().figures();
    NetworkStatus {
        workspace_id: handle.id(),
        network_policy: network.policy.as_str().into(),
        network_allow: network.allow.clone(),
        network_enabled: network.is_on(),
        closed_connections: closed,
        open_connections: figures.open_connections,
        connections: figures.connections,
        bytes_sent: figures.bytes_sent,
        bytes_received: figures.bytes_received,
        denied: figures.denied,
        queries: figures.queries,
        buffer_bytes: figures.buffer_bytes,
        memory_bound_bytes: figures.memory_bound_bytes + TRUNK_MEMORY,
    }
}

/// An entry of the network's log.
pub(crate) fn network_entry(entry: &Entry) -> NetworkLogEntry {
    NetworkLogEntry {
        seq: entry.seq,
        at: seconds(entry.at),
        first_at: seconds(entry.first_at),
        count: entry.count,
        verdict: match entry.verdict {
            Verdict::Allowed => "allowed",
            Verdict::Denied => "denied",
            Verdict::Failed => "failed",
            Verdict::Closed => "closed",
        }
        .into(),
        protocol: match entry.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Dns => "dns",
        }
        .into(),
        process: entry
            .process
            .as_ref()
            .map(|process| NetworkProcess { pid: process.pid, name: process.name.clone() }),
        name: entry.name.clone(),
        address: entry.address.map(|address| address.to_string()),
        port: entry.port,
        rule: entry.rule.clone(),
        reason: entry.reason.and_then(|reason| {
            let name = serde_json::to_value(reason).ok()?;
            name.as_str().map(str::to_owned)
        }),
        why: entry.why.clone(),
        hint: entry.hint.clone(),
    }
}

/// How many services a workspace has, and how many of them run.
pub(crate) async fn service_counts(handle: &Handle) -> (u64, u64) {
    let services = handle.services_in_brief().await.unwrap_or_default();
    let running = services.iter().filter(|service| service.pid.is_some()).count();
    (services.len() as u64, running as u64)
}

pub(crate) async fn workspace(handle: &Handle, snapshot: &Snapshot) -> Workspace {
    let (service_count, running_service_count) = service_counts(handle).await;
    let record = &snapshot.record;
    let last_activity = handle.last_activity_millis();
    let execution_mode = if record.was_started { EXECUTION_MODE } else { "pending" };
    Workspace {
        workspace_id: record.id,
        name: record.name.as_ref().map(ToString::to_string),
        labels: labels(record),
        environment: record.environment.to_string(),
        environment_version: record.environment_version.clone(),
        vcpu_count: record.vcpus.get().into(),
        mem_mib: record.memory.get(),
        disk_mib: record.disk.get(),
        ttl_seconds: record.ttl_seconds,
        on_expiry: match record.on_expiry {
            OnExpiry::Stop => "stop".into(),
            OnExpiry::Delete => "delete".into(),
        },
        created_at: seconds(record.created_at),
        last_activity_at: seconds(last_activity),
        expires_at: expires_at(record, last_activity),
        state: state(record).into(),
        activity: activity(record),
        stop_reason: record.stop_reason.clone(),
        stop_detail: record.stop_detail.clone(),
        network_policy: record.network.policy.as_str().into(),
        network_allow: record.network.allow.clone(),
        network_enabled: record.network.is_on(),
        guest_ip: record.network.is_on().then(|| GUEST_ADDRESS.to_string()),
        tap_name: None,
        allow_host_compat: false,
        execution_mode: execution_mode.into(),
        workspace_path: WORKSPACE_PATH.into(),
        workspace_seed: workspace_seed(record.seed.as_ref()),
        secrets: Vec::new(),
        command_count: record.command_count,
        last_command: record.last_command.as_ref().map(|last| WorkspaceLastCommand {
            sequence: last.sequence,
            command: last.command.clone(),
            cwd: last.cwd.clone(),
            exit_code: last.exit_code,
            duration_ms: last.duration_ms,
            execution_mode: EXECUTION_MODE.into(),
        }),
        reset_count: record.checkpoints.reset_count,
        last_reset_at: record.checkpoints.last_reset_at.map(seconds),
        service_count,
        running_service_count,
        metadata: std::collections::BTreeMap::new(),
        backend: record.backend.clone(),
        accelerated: record.accelerated,
        disk_bytes: handle.disk_bytes(),
        workload_restarts: record.workload_restarts,
    }
}

fn workspace_seed(seed: Option<&SeedRecord>) -> WorkspaceSeed {
    WorkspaceSeed {
        mode: seed.map_or("empty", |seed| seed.mode.as_str()).into(),
        seed_path: seed.and_then(|seed| seed.path.clone()),
        destination: WORKSPACE_PATH.into(),
        entry_count: seed.map_or(0, |seed| seed.entry_count),
        bytes_written: seed.map_or(0, |seed| seed.bytes),
        seed_digest: seed.map(|seed| seed.digest.clone()),
        reused: seed.is_some_and(|seed| seed.reused),
    }
}

/// A snapshot that was taken.
pub(crate) fn snapshot(workspace_id: WorkspaceId, record: &SnapshotRecord) -> pyro_api::Snapshot {
    pyro_api::Snapshot {
        workspace_id,
        snapshot_name: record.name.to_string(),
        kind: "named".into(),
        created_at: seconds(record.created_at),
        entry_count: record.entries,
        bytes_written: record.bytes,
        deletable: true,
        frozen_ms: record.frozen_micros as f64 / 1000.0,
        by_reflink: record.by_reflink,
    }
}

/// What a workspace was when it was made.
pub(crate) fn baseline(record: &WorkspaceRecord) -> pyro_api::Snapshot {
    let seed = record.seed.as_ref();
    pyro_api::Snapshot {
        workspace_id: record.id,
        snapshot_name: BASELINE.into(),
        kind: BASELINE.into(),
        created_at: seconds(record.created_at),
        entry_count: seed.map_or(0, |seed| seed.entry_count),
        bytes_written: seed.map_or(0, |seed| seed.bytes),
        deletable: false,
        frozen_ms: 0.0,
        by_reflink: false,
    }
}

fn labels(record: &WorkspaceRecord) -> std::collections::BTreeMap<String, String> {
    record.labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

pub(crate) async fn summary(handle: &Handle) -> WorkspaceSummary {
    let (service_count, running_service_count) = service_counts(handle).await;
    let snapshot = handle.snapshot();
    let record = &snapshot.record;
    let last_activity = handle.last_activity_millis();
    WorkspaceSummary {
        workspace_id: record.id,
        name: record.name.as_ref().map(ToString::to_string),
        labels: labels(record),
        environment: record.environment.to_string(),
        state: state(record).into(),
        activity: activity(record),
        stop_reason: record.stop_reason.clone(),
        created_at: seconds(record.created_at),
        last_activity_at: seconds(last_activity),
        expires_at: expires_at(record, last_activity),
        command_count: record.command_count,
        service_count,
        running_service_count,
        backend: record.backend.clone(),
    }
}

pub(crate) fn service(workspace: &Snapshot, record: &ServiceRecord) -> Service {
    let code = |exit_code: Option<i32>, signal: Option<i32>| {
        exit_code.or(signal.map(|signal| ExitStatus::Signal(signal).shell_code()))
    };
    let last = record.last_exit.as_ref();
    let exit_code = last
        .filter(|_| record.pid.is_none() && record.ended_at.is_some())
        .and_then(|exit| code(exit.exit_code, exit.signal));
    Service {
        workspace_id: workspace.record.id,
        service_name: record.name.clone(),
        state: record.state,
        ready: record.ready,
        health: record.healthy.map(|well| if well { "passing" } else { "failing" }.to_owned()),
        command: record.command.clone(),
        cwd: record.cwd.clone(),
        started_at: record.started_at.map(seconds),
        ready_at: record.ready_at.map(seconds),
        ended_at: record.ended_at.map(seconds),
        exit_code,
        pid: record.pid,
        execution_mode: EXECUTION_MODE.into(),
        readiness: record.readiness.clone(),
        stop_reason: record.stop_reason.clone(),
        detail: record.detail.clone(),
        stopping: record.stopping,
        published_ports: workspace
            .record
            .published
            .iter()
            .filter(|port| port.service.as_ref() == Some(&record.name))
            .map(published_port)
            .collect(),
        restart_count: record.restart_count,
        restart_policy: record.restart,
        last_exit: last.map(|exit| ServiceExit {
            exit_code: exit.exit_code,
            signal: exit.signal,
            oom_killed: exit.oom_killed,
            ended_at: seconds(exit.ended_at),
        }),
        depends_on: record.depends_on.clone(),
        waiting_for: record.waiting_for.clone(),
        last_probe: record
            .last_probe
            .as_ref()
            .map(|(at, result)| ServiceProbe { at: seconds(*at), result: result.clone() }),
        status_text: record.status_text.clone(),
        listening_ports: record
            .listening
            .iter()
            .map(|(address, port)| ListeningPort { address: address.clone(), port: *port })
            .collect(),
        memory_bytes: record.memory_bytes,
        cpu_seconds: record.cpu_micros as f64 / 1e6,
        log_bytes: LogBytes { stdout: record.stdout_bytes, stderr: record.stderr_bytes },
        source: (!record.source.is_empty()).then(|| record.source.clone()),
        revision: record.revision,
    }
}

pub(crate) fn started_service(
    workspace: &Snapshot,
    started: &pyro_workspace::StartedService,
    notices: Vec<String>,
) -> StartedService {
    let failure = started.outcome.and_then(|outcome| not_ready(&started.record, outcome));
    StartedService {
        service: service(workspace, &started.record),
        unchanged: started.unchanged,
        log_tail: if failure.is_some() { started.log_tail.clone() } else { Vec::new() },
        notices,
        failure: failure.map(ErrorBody::from),
    }
}

/// What came of an up.
pub(crate) fn up(
    workspace: &Snapshot,
    file: String,
    report: &pyro_workspace::UpReport,
    notices: Vec<String>,
) -> UpResult {
    let workspace_id = workspace.record.id;
    let services: Vec<_> =
        report.services.iter().map(|service| up_service(workspace, service)).collect();
    UpResult {
        workspace_id,
        file,
        count: services.len(),
        failed_count: services.iter().filter(|service| service.failure.is_some()).count(),
        failure: not_up(workspace_id, &services).map(ErrorBody::from),
        services,
        timed_out: report.timed_out,
        notices,
    }
}

/// Which services of several are not as they should be; none where all are.
fn not_up(workspace_id: WorkspaceId, services: &[UpService]) -> Option<Problem> {
    let failed: Vec<_> = services.iter().filter(|service| service.failure.is_some()).collect();
    let first = failed.first()?;
    let names: Vec<_> = failed.iter().map(|service| service.service_name.as_str()).collect();
    let message = match names.as_slice() {
        [name] => format!("service {name} is not as it should be"),
        names => {
            let (count, all) = (names.len(), services.len());
            format!("{count} of {all} services are not as they should be: {}", names.join(", "))
        }
    };
    let mut problem = Problem::failed("services_failed", message);
    for service in failed.iter().take(8) {
        problem = problem.cause(service.failure.as_ref().map_or("", |it| it.error.as_str()));
    }
    let name = &first.service_name;
    Some(problem.hint(format!("what it printed: pyro service logs {workspace_id} {name}")))
}

fn up_service(workspace: &Snapshot, up: &pyro_workspace::UpService) -> UpService {
    let service_name = up.name.to_string();
    let started = match &up.result {
        Ok(started) => started,
        Err(problem) => {
            return UpService {
                service_name,
                action: "failed".into(),
                service: None,
                log_tail: Vec::new(),
                failure: Some(ErrorBody::from(problem.clone())),
            };
        }
    };
    let record = &started.record;
    let code = record.last_exit.as_ref().and_then(|exit| exit.exit_code);
    let failure = match (started.outcome, code) {
        (Some(Outcome::Ended), Some(code)) if up.is_job && !record.state.is_active() => {
            Some(Problem::failed(
                "service_exited",
                format!("service {service_name} ended with exit code {code}"),
            ))
        }
        (Some(outcome), _) => not_ready(record, outcome),
        (None, _) => None,
    };
    let action = match up.action {
        _ if failure.is_some() => "failed",
        Action::Started => "started",
        Action::Restarted => "restarted",
        Action::Unchanged => "unchanged",
        Action::Orphaned => "orphaned",
        Action::Stopped => "stopped",
        Action::Refused => "failed",
    };
    UpService {
        service_name,
        action: action.into(),
        service: Some(service(workspace, record)),
        log_tail: if failure.is_some() { started.log_tail.clone() } else { Vec::new() },
        failure: failure.map(ErrorBody::from),
    }
}

/// What came of a down.
pub(crate) fn down(workspace: &Snapshot, services: &[(ServiceRecord, bool)]) -> DownResult {
    let of = |(record, ran): &(ServiceRecord, bool)| DownService {
        service_name: record.name.to_string(),
        action: if *ran { "stopped" } else { "unchanged" }.into(),
        service: service(workspace, record),
    };
    DownResult {
        workspace_id: workspace.record.id,
        count: services.len(),
        stopped_count: services.iter().filter(|(_, ran)| *ran).count(),
        services: services.iter().map(of).collect(),
    }
}

/// Why a service is not as was waited for; none where it is.
fn not_ready(record: &ServiceRecord, outcome: Outcome) -> Option<Problem> {
    let name = &record.name;
    let problem = match outcome {
        Outcome::Met => return None,
        _ if !record.waiting_for.is_empty() => Problem::failed(
            "service_held_up",
            format!("service {name} waits for {}", record.waiting_for.join(", ")),
        )
        .hint("`pyro service list` shows how these are"),
        Outcome::TimedOut => not_in_time(record, "the time to wait is over"),
        Outcome::Ended => match (record.state, record.stop_reason.as_deref()) {
            (ServiceState::Running, _) | (_, Some("readiness_timeout")) => {
                not_in_time(record, "its time to become ready is over")
            }
            (_, Some("dependency_failed")) => Problem::failed(
                "service_held_up",
                format!(
                    "service {name}: {}",
                    record.detail.as_deref().unwrap_or("a dependency failed")
                ),
            ),
            (_, Some("start_failed")) => Problem::failed(
                "service_exited",
                format!(
                    "service {name}: {}",
                    record.detail.as_deref().unwrap_or("it did not start")
                ),
            ),
            _ => {
                let how = match record.last_exit.as_ref() {
                    Some(exit) if exit.oom_killed => "was ended for want of memory".to_owned(),
                    Some(exit) => match (exit.exit_code, exit.signal) {
                        (Some(code), _) => format!("ended with exit code {code}"),
                        (None, Some(signal)) => format!("was ended by signal {signal}"),
                        (None, None) => "ended".to_owned(),
                    },
                    None => "does not run".to_owned(),
                };
                let problem = Problem::failed(
                    "service_exited",
                    format!("service {name} {how} before it was ready"),
                );
                match record.state {
                    ServiceState::Backoff | ServiceState::Starting => problem.hint(
                        "its restart policy goes on starting it; `pyro service stop` ends that",
                    ),
                    _ => problem,
                }
            }
        },
    };
    Some(problem)
}

fn not_in_time(record: &ServiceRecord, why: &str) -> Problem {
    let mut problem = Problem::failed(
        "service_not_ready",
        format!("service {} is not ready: {why}", record.name),
    );
    if let Some((_, result)) = &record.last_probe {
        problem = problem.cause(format!("the last probe: {result}"));
    }
    let ports: Vec<_> = record
        .listening
        .iter()
        .map(|(address, port)| {
            if address.contains(':') {
                format!("[{address}]:{port}")
            } else {
                format!("{address}:{port}")
            }
        })
        .collect();
    let asked = match &record.readiness {
        Some(Probe::Tcp { address }) => Some(address.as_str()),
        Some(Probe::Http { url }) => Some(url.as_str()),
        _ => None,
    };
    match (asked, ports.as_slice()) {
        (Some(_), []) => problem.hint("it listens on no port"),
        (Some(asked), ports) => {
            problem.hint(format!("it listens on {}; the probe asks {asked}", ports.join(", ")))
        }
        (None, _) => problem,
    }
}

pub(crate) fn published_port(port: &PublishedPort) -> pyro_api::PublishedPort {
    pyro_api::PublishedPort {
        host: host(port.bind).to_string(),
        host_port: port.host_port,
        guest_port: port.guest_port,
        protocol: TCP.into(),
    }
}

fn host(bind: Option<IpAddr>) -> IpAddr {
    bind.unwrap_or(Ipv4Addr::LOCALHOST.into())
}

pub(crate) fn port(row: &PortRow) -> Port {
    Port {
        guest_port: row.guest_port,
        protocol: TCP.into(),
        service: row.service.clone(),
        listening_addresses: row.listening.clone(),
        published: row.published.as_ref().map(publication),
    }
}

fn publication(status: &PortStatus) -> PortPublication {
    let (state, reason) = match &status.state {
        PortState::Listening => ("listening", None),
        PortState::Released(why) => ("released", Some(why.clone())),
        PortState::Failed(why) => ("failed", Some(why.clone())),
    };
    PortPublication {
        host: host(status.port.bind).to_string(),
        host_port: status.port.host_port,
        state: state.into(),
        reason,
        connections: status.connections(),
    }
}

pub(crate) fn log_entry(entry: &LogEntry) -> ServiceLogEntry {
    let text = String::from_utf8(entry.bytes.to_vec()).ok();
    let hex = text.is_none().then(|| {
        entry.bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    });
    ServiceLogEntry {
        offset: entry.offset,
        at_micros: entry.at_micros,
        stream: if entry.stderr { "stderr" } else { "stdout" }.into(),
        text,
        hex,
    }
}

pub(crate) fn event(workspace: &Snapshot, cursor: u64, event: &ServiceEvent) -> WorkspaceEvent {
    WorkspaceEvent {
        cursor,
        at: seconds(event.at),
        event: if event.deleted { "service_deleted" } else { "service_changed" }.into(),
        service: service(workspace, &event.service),
    }
}

pub(crate) fn exec(record: &ExecRecord) -> Exec {
    let (exit_code, signal, lost) = match &record.state {
        ExecState::Running => (None, None, None),
        ExecState::Ended(status) => (Some(status.shell_code()), status.signal(), None),
        ExecState::Lost(reason) => (None, None, Some(reason.clone())),
    };
    let running = record.state == ExecState::Running;
    let duration_ms = if running {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_millis() as u64;
        now.saturating_sub(record.started_at)
    } else {
        record.duration_micros / 1000
    };
    Exec {
        exec_id: record.id,
        workspace_id: record.workspace,
        sequence: record.sequence,
        command: record.command.clone(),
        cwd: record.cwd.clone(),
        running,
        detached: record.detached,
        exit_code,
        signal,
        timed_out: record.timed_out,
        cancelled: record.cancelled,
        oom_killed: record.oom_killed,
        lost,
        started_at: seconds(record.started_at),
        ended_at: record.ended_at.map(seconds),
        duration_ms,
        stdout_bytes: record.stdout_bytes,
        stderr_bytes: record.stderr_bytes,
        truncated: record.dropped_to > record.dropped_from,
        left_behind: record.left_behind,
        network_denied: record
            .network_denied
            .iter()
            .map(|(why, hint)| NetworkDenied { why: why.clone(), hint: hint.clone() })
            .collect(),
        memory_peak_bytes: record.memory_peak_bytes,
        cpu_seconds: record.cpu_micros as f64 / 1e6,
    }
}

/// An exec's payload with empty texts.
pub(crate) fn exec_result(record: &ExecRecord, workspace: &WorkspaceRecord) -> ExecResult {
    ExecResult {
        exec: exec(record),
        environment: workspace.environment.to_string(),
        environment_version: workspace.environment_version.clone(),
        execution_mode: EXECUTION_MODE.into(),
        stdout: String::new(),
        stderr: String::new(),
        lossy: false,
    }
}

/// Why an exec has no exit code, as a problem for the one who waited for it.
pub(crate) fn lost(record: &ExecRecord) -> Option<Problem> {
    let ExecState::Lost(reason) = &record.state else { return None };
    let why = match reason.as_str() {
        "workload_restarted" => {
            "the workspace was rebooted from inside, which ends all its commands"
        }
        "vm_died" => "its VM ended",
        "workspace_stopped" => "the workspace was stopped",
        "never_started" => "the node ended before it was started",
        "guest_lost_track" => "the guest saw no end of it",
        other => other,
    };
    Some(
        Problem::failed("exec_lost", format!("exec {} has no exit code", record.id))
            .cause(why)
            .hint(format!("`pyro status {}` tells what became of it", record.workspace)),
    )
}
