//! One command in a VM of its own that is deleted afterwards.

use axum::{
    extract::{Request, State},
    response::Response,
};
use pyro_api::{RunRequest, VmCleanup};
use pyro_workspace::{Handle, WorkspaceKind};

use crate::{
    parse,
    response::{Failure, problem},
    routes::{json_body, read_body},
    server::Node,
    stream::{self, Client, Outcome, Purpose},
};

/// The VM goes when this goes, whatever became of the client.
struct DeleteLater(Option<Handle>);

impl DeleteLater {
    /// Somebody deletes it now.
    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for DeleteLater {
    fn drop(&mut self) {
        if let Some(handle) = self.0.take() {
            handle.delete_later();
        }
    }
}

/// Runs a command in a fresh VM and deletes it.
#[utoipa::path(post, path = "/v1/run", request_body = RunRequest, responses(
    (status = 101, description = "the command runs; frames follow (`Upgrade: pyro-stream`)")))]
pub(crate) async fn run(
    State(node): State<Node>,
    mut request: Request,
) -> Result<Response, Failure> {
    let upgrade = stream::upgrade(&mut request)?;
    let request: RunRequest = json_body(&read_body(request.into_body()).await?)?;
    let mut exec = request.exec;
    exec.detach = false;
    let spec = parse::exec(exec)?;
    let creation = parse::creation(request.vm, WorkspaceKind::Vm)?;
    // Made in a task of its own: a client that goes meanwhile must not leave a VM behind.
    let workspaces = node.workspaces().clone();
    let make = async move {
        let handle = workspaces.create(creation).await?;
        Ok(DeleteLater(Some(handle)))
    };
    let made: Result<DeleteLater, pyro_workspace::WorkspaceError> = node
        .workspaces()
        .tasks()
        .spawn(make)
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    let mut delete = made?;
    let Some(handle) = delete.0.clone() else { return Ok(stream::switching()) };
    let started = match handle.start_exec(spec).await {
        Ok(started) => started,
        Err(error) => {
            delete.disarm();
            let _ = handle.delete().await;
            return Err(Failure(problem(error)));
        }
    };
    node.clone().serve_stream(async move {
        let Ok(mut client) = Client::accept(upgrade).await else { return };
        let Some(exec_stream) = started.stream else { return };
        let _in_use = started.in_use;
        let _ = stream::tell_started(&mut client, &started.record, &handle, Vec::new()).await;
        let exec = started.record.id;
        let (outcome, mut writer) =
            stream::converse(client, exec_stream, &handle, exec, Purpose::Exec).await;
        delete.disarm();
        let deleted = handle.delete().await;
        if let Outcome::Ended(record) = outcome {
            match deleted {
                Ok(()) => {
                    let cleanup = VmCleanup {
                        vm_id: handle.id(),
                        deleted: true,
                        reason: "post_exec_cleanup".into(),
                    };
                    stream::tell_ended(&mut writer, &record, &handle, Some(cleanup)).await;
                }
                Err(error) => stream::tell_problem(&mut writer, problem(error)).await,
            }
        }
    });
    Ok(stream::switching())
}
