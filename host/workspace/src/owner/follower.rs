//! The task beside an owner that listens to its guest.

use std::{sync::Arc, time::Duration};

use pyro_core::{ExecId, WorkspaceId};
use pyro_store::ExecState;
use pyro_wire::{AttachExec, guest_event};
use tokio::sync::mpsc;

use super::handle::{Live, Request};
use crate::{error::WorkspaceError, output::copy_output, registry::Context};

/// After a stream that broke, or was not to be had, though the VM lives: a guest that breaks it again
/// and again must not keep the node busy.
const AGAIN: Duration = Duration::from_millis(200);

/// Follows a guest's events: settles execs as they end and copies their output.
pub(super) struct Follower {
    pub(super) context: Arc<Context>,
    pub(super) workspace: WorkspaceId,
    pub(super) live: Live,
    pub(super) requests: mpsc::WeakUnboundedSender<Request>,
}

impl Follower {
    pub(super) async fn run(self) {
        while self.live.vm.lives() {
            let Ok((records, mut events)) = self.live.link.watch().await else {
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            for record in records {
                if !record.running && self.wants(&record) {
                    self.exec_ended(record).await;
                }
            }
            loop {
                match events.next().await {
                    Ok(guest_event::Event::ExecEnded(record)) => self.exec_ended(record).await,
                    Ok(guest_event::Event::WorkloadRestarted(restarted)) => {
                        self.send(Request::WorkloadRestarted {
                            restarts: restarted.restarts,
                            incarnation: self.live.incarnation,
                        });
                    }
                    Err(_) => break,
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn send(&self, request: Request) {
        if let Some(requests) = self.requests.upgrade() {
            let _ = requests.send(request);
        }
    }

    /// Whether the host lacks the record's end or its output.
    fn wants(&self, record: &pyro_wire::ExecRecord) -> bool {
        let known = record.exec_id.parse().ok().and_then(|id| self.context.store.exec(id).ok()?);
        known.is_some_and(|exec| {
            exec.workspace == self.workspace
                && (exec.state == ExecState::Running || !exec.output_kept)
        })
    }

    async fn exec_ended(&self, record: pyro_wire::ExecRecord) {
        let Ok(id) = record.exec_id.parse::<ExecId>() else { return };
        let silent = record.stdout_bytes + record.stderr_bytes == 0;
        let exec_id = record.exec_id.clone();
        self.send(Request::FinishExec { ended: Box::new(record), reply: None });
        if silent {
            return;
        }
        let copied = async {
            let attach = AttachExec { exec_id, offset: 0, stdin: false };
            let (_, mut stream) = self
                .live
                .link
                .attach_exec(attach)
                .await
                .map_err(WorkspaceError::guest("copy an output"))?;
            copy_output(&mut stream.output, self.context.layout.output(self.workspace, id)).await
        };
        match copied.await {
            Ok(_) => self.send(Request::OutputKept { id }),
            Err(error) => tracing::debug!(exec = %id, %error, "could not copy an output"),
        }
    }
}
