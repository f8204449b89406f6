//! Workspaces: make, find, show, name, stop, start and delete them.

use std::fmt::Write as _;

use pyro_api::{Environment, ExecLogEntry, UpdateWorkspace, Workspace, WorkspaceSummary};
use pyro_client::{GitSeed, SeedFiles, SeedReport, SeedRequest};
use pyro_core::Problem;
use serde_json::{Value, json};

use crate::{
    answer::{Answer, object},
    call::Call,
    exec::{fitting, outcome, shortened},
    host_path,
    output::Transcript,
    vm,
};

/// Output that one entry of the logs shows at least, bytes.
const LEAST_OF_AN_ENTRY: usize = 400;

fn label(workspace: &Workspace) -> String {
    let id = workspace.workspace_id;
    workspace.name.as_ref().map_or_else(|| id.to_string(), |name| format!("{name} ({id})"))
}

/// A workspace in a few lines.
pub(crate) fn shown(workspace: &Workspace) -> Answer {
    let mut lines = vec![format!("workspace {} is {}", label(workspace), workspace.state)];
    if let Some(activity) = &workspace.activity {
        lines.push(format!("it is {activity}"));
    }
    if let Some(reason) = &workspace.stop_reason {
        let detail = workspace.stop_detail.as_deref().map(|it| format!(": {it}"));
        lines.push(format!("stopped because {reason}{}", detail.unwrap_or_default()));
    }
    lines.push(format!(
        "{}, {} vCPU, {} MiB, {}{}, network {}",
        workspace.environment,
        workspace.vcpu_count,
        workspace.mem_mib,
        workspace.backend,
        if workspace.accelerated { "" } else { " (software emulation, slow)" },
        workspace.network_policy,
    ));
    lines.push(format!(
        "files in {}; {} MiB used of {} MiB",
        workspace.workspace_path,
        workspace.disk_bytes >> 20,
        workspace.disk_mib
    ));
    if !workspace.labels.is_empty() {
        let labels: Vec<String> =
            workspace.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        lines.push(format!("labels {}", labels.join(", ")));
    }
    if workspace.service_count > 0 {
        let (count, running) = (workspace.service_count, workspace.running_service_count);
        lines.push(format!("{count} services, {running} running"));
    }
    if let Some(last) = &workspace.last_command {
        let code =
            last.exit_code.map_or_else(|| "lost".to_owned(), |code| format!("exit code {code}"));
        lines.push(format!(
            "{} commands so far, the last: {} ({code})",
            workspace.command_count,
            shortened(&last.command)
        ));
    }
    Answer::new(lines.join("\n"), workspace)
}

/// `workspace_create`.
pub(crate) async fn create(call: &Call) -> Result<Answer, Problem> {
    let request = vm::machine(call);
    call.progress.tell("starting a VM").await;
    let seed = seed(call)?;
    let node = call.node().await?;
    let make = async move {
        match seed {
            None => Ok((node.create_workspace(&request).await?, SeedReport::default())),
            Some(seed) => node.create_seeded_workspace(&request, &seed, |_| {}).await,
        }
    };
    let (made, report) = call.within("making the workspace", make).await?;
    let mut answer = shown(&made).with_notices(worth_knowing(&report));
    let _ = write!(
        answer.text,
        "\nnext: workspace_exec(workspace_id=\"{}\", command=...)",
        made.workspace_id
    );
    Ok(answer)
}

/// What the workspace is to begin with.
fn seed(call: &Call) -> Result<Option<SeedRequest>, Problem> {
    let (arguments, settings) = (&call.arguments, &call.pyro.settings);
    let path = match (arguments.text("seed_path"), arguments.text("seed_git")) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            let both = "seed_path or seed_git: a workspace begins with one of them";
            return Err(Problem::invalid("invalid_arguments", both));
        }
        (None, Some(repository)) => {
            let repository = host_path::repository(settings, repository)?;
            return Ok(Some(SeedRequest::Git(GitSeed {
                repository: repository.to_string_lossy().into_owned(),
                environment: settings.git_environment.clone(),
            })));
        }
        (Some(path), None) => host_path::source(settings, path)?,
    };
    let excludes = arguments.list("exclude");
    let respect_ignore = arguments.flag("respect_ignore");
    Ok(Some(SeedRequest::Files(SeedFiles { path, excludes, respect_ignore })))
}

fn worth_knowing(report: &SeedReport) -> Vec<String> {
    let mut notices = Vec::new();
    if report.sensitive_count > 0 {
        let names = report.sensitive.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        notices.push(format!("{} files may hold secrets: {names}", report.sensitive_count));
    }
    if report.ignored_entries > 0 && !report.respected_ignore {
        notices.push(format!(
            "{} entries, {} MiB, are what its ignore files leave out; respect_ignore does so",
            report.ignored_entries,
            report.ignored_bytes >> 20
        ));
    }
    if report.skipped > 0 {
        notices.push(format!("{} sockets and devices were left out", report.skipped));
    }
    notices
}

/// `workspace_list`.
pub(crate) async fn list(call: &Call) -> Result<Answer, Problem> {
    let list = call.node().await?.workspaces().await?;
    let mut text = match list.count {
        0 => "there are no workspaces; workspace_create makes one\n".to_owned(),
        1 => "1 workspace\n".to_owned(),
        many => format!("{many} workspaces\n"),
    };
    let entry = |workspace: &WorkspaceSummary| {
        let name = workspace.name.as_deref().unwrap_or("-");
        let state = workspace.activity.as_ref().unwrap_or(&workspace.state);
        let line = format!(
            "{}  {name}  {state}  {}  {} commands\n",
            workspace.workspace_id, workspace.environment, workspace.command_count
        );
        (line, object(workspace))
    };
    let entries = list.workspaces.iter().skip(call.arguments.number("offset")).map(entry);
    let (workspaces, omitted) = fitting(entries, &mut text, call);
    let document = json!({"count": list.count, "workspaces": workspaces, "omitted_count": omitted});
    Ok(Answer::new(text, &document))
}

/// `workspace_status`.
pub(crate) async fn status(call: &Call) -> Result<Answer, Problem> {
    let workspace = call.workspace("workspace_id")?;
    Ok(shown(&call.node().await?.workspace(&workspace).await?))
}

/// `workspace_update`.
pub(crate) async fn update(call: &Call) -> Result<Answer, Problem> {
    let workspace = call.workspace("workspace_id")?;
    let request = UpdateWorkspace {
        name: call.arguments.text("name").map(str::to_owned),
        clear_name: call.arguments.flag("clear_name"),
        labels: call.arguments.map("labels"),
        clear_labels: call.arguments.list("clear_labels"),
    };
    Ok(shown(&call.node().await?.update_workspace(&workspace, &request).await?))
}

/// `workspace_start`.
pub(crate) async fn start(call: &Call) -> Result<Answer, Problem> {
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    call.progress.tell("starting the VM").await;
    let resume = call.arguments.flag("resume");
    let start = async move { node.start_workspace(&workspace, resume).await };
    Ok(shown(&call.within("starting the workspace", start).await?))
}

/// `workspace_stop`.
pub(crate) async fn stop(call: &Call) -> Result<Answer, Problem> {
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let stop = async move { node.stop_workspace(&workspace, None).await };
    Ok(shown(&call.within("stopping the workspace", stop).await?))
}

/// `workspace_delete`.
pub(crate) async fn delete(call: &Call) -> Result<Answer, Problem> {
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let delete = async move { node.delete_workspace(&workspace).await };
    let deleted = call.within("deleting the workspace", delete).await?;
    Ok(Answer::new(format!("deleted workspace {}", deleted.workspace_id), &deleted))
}

/// `workspace_logs`.
pub(crate) async fn logs(call: &Call) -> Result<Answer, Problem> {
    let workspace = call.workspace("workspace_id")?;
    let logs = call.node().await?.workspace_logs(&workspace).await?;
    let count = logs.entries.len();
    let skip = call.arguments.number("offset");
    let most = call.arguments.number("max_bytes");
    let each = (most / count.saturating_sub(skip).max(1)).max(LEAST_OF_AN_ENTRY);
    let mut text = format!("{count} commands in workspace {}, newest first\n", logs.workspace_id);
    let entry = |entry: &ExecLogEntry| {
        let mut transcript = Transcript::new(0, each);
        transcript.stdout(entry.stdout.as_bytes());
        transcript.stderr(entry.stderr.as_bytes());
        let shown = transcript.show(each);
        let command = shortened(&entry.exec.command);
        let mut line = format!("=== {}  {}  {command}\n", entry.exec.exec_id, outcome(&entry.exec));
        for said in [&shown.stdout, &shown.stderr] {
            line.push_str(said);
            if !said.is_empty() && !said.ends_with('\n') {
                line.push('\n');
            }
        }
        let mut document = object(&json!({
            "exec_id": entry.exec.exec_id,
            "sequence": entry.exec.sequence,
            "cwd": entry.exec.cwd,
            "exit_code": entry.exec.exit_code,
            "running": entry.exec.running,
            "duration_ms": entry.exec.duration_ms,
            "execution_mode": entry.execution_mode,
            "stdout_file": entry.stdout_file,
            "stderr_file": entry.stderr_file,
            "recorded_at": entry.recorded_at,
            "omitted_bytes": shown.omitted_bytes,
        }));
        document.insert("command".to_owned(), command.into());
        document.insert("stdout".to_owned(), shown.stdout.into());
        document.insert("stderr".to_owned(), shown.stderr.into());
        (line, document)
    };
    let entries = logs.entries.iter().rev().skip(skip).map(entry);
    let (mut entries, omitted) = fitting(entries, &mut text, call);
    // Oldest first, as everywhere else this payload is given.
    entries.reverse();
    let document = json!({"workspace_id": logs.workspace_id, "count": count, "entries": entries,
        "omitted_count": omitted});
    Ok(Answer::new(text, &document))
}

/// `environment_list`.
pub(crate) async fn environments(call: &Call) -> Result<Answer, Problem> {
    let catalog = call.node().await?.environments().await?;
    let mut text = String::new();
    let entry = |environment: &Environment| {
        let state = if environment.installed { "installed" } else { "not installed" };
        let line = format!("{}  {state}  {}\n", environment.name, environment.description);
        let mut document = object(environment);
        // What it was built from, package by package: too much for a model.
        document.remove("install_manifest");
        (line, document)
    };
    let (environments, omitted) = fitting(catalog.environments.iter().map(entry), &mut text, call);
    if catalog.environments.iter().all(|environment| !environment.installed) {
        text.push_str("none is installed; on the host: pyro env build debian:12\n");
    }
    let document = json!({"catalog_version": catalog.catalog_version,
        "environments": Value::Array(environments), "omitted_count": omitted});
    Ok(Answer::new(text, &document))
}
