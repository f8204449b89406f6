//! Records into payloads.

use pyro_api::{
    Exec, ExecResult, Workspace, WorkspaceLastCommand, WorkspaceSeed, WorkspaceSummary,
};
use pyro_core::{Problem, WORKSPACE_PATH};
use pyro_workspace::{ExecRecord, ExecState, Handle, OnExpiry, Phase, Snapshot, WorkspaceRecord};

/// How commands reach their guest.
pub(crate) const EXECUTION_MODE: &str = "guest_vsock";

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

pub(crate) fn workspace(handle: &Handle, snapshot: &Snapshot) -> Workspace {
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
        network_policy: "off".into(),
        network_enabled: false,
        guest_ip: None,
        tap_name: None,
        allow_host_compat: false,
        execution_mode: execution_mode.into(),
        workspace_path: WORKSPACE_PATH.into(),
        workspace_seed: WorkspaceSeed {
            mode: "empty".into(),
            seed_path: None,
            destination: WORKSPACE_PATH.into(),
            entry_count: 0,
            bytes_written: 0,
        },
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
        reset_count: 0,
        last_reset_at: None,
        service_count: 0,
        running_service_count: 0,
        metadata: std::collections::BTreeMap::new(),
        backend: record.backend.clone(),
        accelerated: record.accelerated,
        disk_bytes: handle.disk_bytes(),
        workload_restarts: record.workload_restarts,
    }
}

fn labels(record: &WorkspaceRecord) -> std::collections::BTreeMap<String, String> {
    record.labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

pub(crate) fn summary(handle: &Handle) -> WorkspaceSummary {
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
        service_count: 0,
        running_service_count: 0,
        backend: record.backend.clone(),
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
