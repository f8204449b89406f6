//! One-shot VMs: `vm_run`, and the older way of making, using and deleting a VM by hand.
//!
//! A VM made by hand is a workspace that is deleted when its time is over.

use std::sync::Arc;

use pyro_api::{CreateWorkspace, RunRequest, VmCleanup, Workspace};
use pyro_client::Node;
use pyro_core::Problem;
use serde_json::{Map, Value, json};

use crate::{
    Profile,
    answer::{Answer, object},
    call::Call,
    exec::{self, Followed, Report, Stage},
};

/// The label by which a workspace is known to be such a VM; the Python package has the same.
const LABEL: (&str, &str) = ("pyro.kind", "vm");

/// The VM that the call names. A workspace is none: the verbs here would delete it.
async fn find(call: &Call, node: &Node) -> Result<Workspace, Problem> {
    let found = node.workspace(&call.workspace("vm_id")?).await?;
    if found.labels.get(LABEL.0).is_some_and(|kind| kind == LABEL.1) {
        return Ok(found);
    }
    let message = format!("{} is a workspace, and not a VM", found.workspace_id);
    Err(Problem::not_found("vm_not_found", message)
        .hint("use the tools for workspaces: workspace_exec, workspace_delete, ..."))
}

/// The machine that a call asks for.
pub(crate) fn machine(call: &Call) -> CreateWorkspace {
    let arguments = &call.arguments;
    let small = |name| arguments.integer(name).and_then(|number| u32::try_from(number).ok());
    CreateWorkspace {
        environment: arguments.text("environment").map(str::to_owned),
        vcpu_count: small("vcpu_count"),
        mem_mib: small("mem_mib"),
        ttl_seconds: arguments.integer("ttl_seconds"),
        name: arguments.text("name").map(str::to_owned),
        labels: arguments.map("labels"),
        backend: call.pyro.settings.backend.clone(),
        network_policy: match arguments.text("network_policy") {
            None if arguments.flag("network") => Some("egress".to_owned()),
            given => given.map(str::to_owned),
        },
        network_allow: arguments.list("network_allow"),
        ..CreateWorkspace::default()
    }
}

/// `vm_run`.
pub(crate) async fn run(call: &Call) -> Result<Answer, Problem> {
    let request = RunRequest { vm: machine(call), exec: exec::request(call) };
    call.progress.tell("starting a VM").await;
    let node = call.node().await?;
    let open = async move { node.run(&request).await };
    let followed = Followed::new(exec::transcript(call, 0), open);
    match followed.wait(call, call.deadline).await {
        Stage::Failed(problem) => Err(problem),
        Stage::Opening => Err(exec::not_started()),
        Stage::Ended(exec, cleanup) => {
            Ok(Report::of(*exec, &followed, call).cleaned(cleanup).one_shot().answer(call))
        }
        Stage::Started(exec) if call.pyro.settings.profile == Profile::VmRun => {
            // Nobody could ask for it again: dropping it ends the command and deletes the VM.
            let mut answer = Report::of(*exec, &followed, call).one_shot().answer(call);
            drop(followed);
            let seconds = crate::call::PATIENCE.as_secs();
            answer.failed = true;
            answer.text = format!(
                "error: the command did not end within {seconds} s and was ended\ncode: \
                 call_timeout\nhint: a server with --profile workspace-core runs longer commands\n\n{}",
                answer.text.split("--- still running").next().unwrap_or_default()
            );
            answer.document.remove("next");
            answer.document.insert("running".to_owned(), false.into());
            answer.document.insert("timed_out".to_owned(), true.into());
            answer.document.insert("code".to_owned(), "call_timeout".into());
            Ok(answer)
        }
        Stage::Started(exec) => {
            let id = exec.exec.exec_id.to_string();
            let answer = Report::of(*exec, &followed, call).one_shot().answer(call);
            call.pyro.runs.keep(id, Arc::new(followed));
            Ok(answer)
        }
    }
}

/// The payload of a VM, as far as it is told.
fn payload(workspace: &Workspace) -> Map<String, Value> {
    object(&json!({
        "vm_id": workspace.workspace_id,
        "environment": workspace.environment,
        "environment_version": workspace.environment_version,
        "vcpu_count": workspace.vcpu_count,
        "mem_mib": workspace.mem_mib,
        "ttl_seconds": workspace.ttl_seconds,
        "created_at": workspace.created_at,
        "expires_at": workspace.expires_at,
        "state": workspace.state,
        "network_enabled": workspace.network_enabled,
        "allow_host_compat": false,
        "guest_ip": workspace.guest_ip,
        "tap_name": workspace.tap_name,
        "execution_mode": workspace.execution_mode,
        "metadata": workspace.metadata,
    }))
}

fn shown(workspace: &Workspace) -> Answer {
    let text = format!(
        "VM {} is {}: {}, {} vCPU, {} MiB",
        workspace.workspace_id,
        workspace.state,
        workspace.environment,
        workspace.vcpu_count,
        workspace.mem_mib
    );
    Answer { text, document: payload(workspace), ..Answer::default() }
}

/// `vm_create`.
pub(crate) async fn create(call: &Call) -> Result<Answer, Problem> {
    let labels = [(LABEL.0.to_owned(), LABEL.1.to_owned())].into();
    let request = CreateWorkspace { on_expiry: Some("delete".to_owned()), labels, ..machine(call) };
    call.progress.tell("starting a VM").await;
    let node = call.node().await?;
    let made =
        call.within("making the VM", async move { node.create_workspace(&request).await }).await?;
    Ok(shown(&made))
}

/// `vm_start`.
pub(crate) async fn start(call: &Call) -> Result<Answer, Problem> {
    let node = call.node().await?;
    let vm = find(call, &node).await?.workspace_id.to_string();
    let vm = call
        .within("starting the VM", async move { node.start_workspace(&vm, true).await })
        .await?;
    Ok(shown(&vm))
}

/// `vm_stop`.
pub(crate) async fn stop(call: &Call) -> Result<Answer, Problem> {
    let node = call.node().await?;
    let vm = find(call, &node).await?.workspace_id.to_string();
    let vm =
        call.within("stopping the VM", async move { node.stop_workspace(&vm, None).await }).await?;
    Ok(shown(&vm))
}

/// `vm_status`.
pub(crate) async fn status(call: &Call) -> Result<Answer, Problem> {
    Ok(shown(&find(call, &*call.node().await?).await?))
}

/// `vm_exec`: the VM goes with its one command, whatever becomes of it.
pub(crate) async fn exec(call: &Call) -> Result<Answer, Problem> {
    let node = call.node().await?;
    let request = exec::request(call);
    let vm = find(call, &node).await?.workspace_id;
    let open = {
        let node = Arc::clone(&node);
        async move { node.exec(&vm.to_string(), &request).await }
    };
    let followed = Followed::new(exec::transcript(call, 0), open);
    let stage = followed.wait(call, call.deadline).await;
    let id = vm.to_string();
    match stage {
        Stage::Failed(problem) => Err(problem),
        Stage::Opening => Err(exec::not_started()),
        Stage::Ended(result, _) => {
            let report = Report::of(*result, &followed, call);
            call.within("deleting the VM", async move { node.delete_workspace(&id).await }).await?;
            let reason = "post_exec_cleanup".to_owned();
            let cleanup = VmCleanup { vm_id: vm, deleted: true, reason };
            Ok(report.cleaned(Some(cleanup)).one_shot().answer(call))
        }
        Stage::Started(result) => {
            let exec = result.exec.exec_id.to_string();
            let answer = Report::of(*result, &followed, call).one_shot().answer(call);
            let followed = Arc::new(followed);
            call.pyro.runs.keep(exec, Arc::clone(&followed));
            tokio::spawn(async move {
                followed.ended().await;
                if let Err(error) = node.delete_workspace(&id).await {
                    tracing::warn!(%error, "a VM stays until it expires");
                }
            });
            Ok(answer)
        }
    }
}

/// `vm_delete`.
pub(crate) async fn delete(call: &Call) -> Result<Answer, Problem> {
    let node = call.node().await?;
    let vm = find(call, &node).await?.workspace_id.to_string();
    let deleted =
        call.within("deleting the VM", async move { node.delete_workspace(&vm).await }).await?;
    let document =
        json!({"vm_id": deleted.workspace_id, "deleted": true, "reason": deleted.reason});
    Ok(Answer::new(format!("deleted VM {}", deleted.workspace_id), &document))
}

/// `vm_network_info`.
pub(crate) async fn network_info(call: &Call) -> Result<Answer, Problem> {
    let found = find(call, &*call.node().await?).await?;
    let (vm, policy) = (found.workspace_id, &found.network_policy);
    let is_on = found.network_enabled;
    let reason = match policy.as_str() {
        "off" if !is_on => "it was created without one".to_owned(),
        "off" => format!("it reaches {}", found.network_allow.join(", ")),
        _ => format!("its policy is {policy}"),
    };
    let has = if is_on { "a" } else { "no" };
    let document = json!({"vm_id": vm, "network_enabled": is_on, "guest_ip": found.guest_ip,
        "outbound_connectivity_expected": is_on, "reason": reason});
    Ok(Answer::new(format!("VM {vm} has {has} network: {reason}"), &document))
}

/// `vm_reap_expired`.
pub(crate) fn reap_expired() -> Answer {
    let text = "nothing to do: VMs are deleted by themselves when they expire".to_owned();
    Answer::new(text, &json!({"deleted_vm_ids": [], "count": 0}))
}
