//! Stopping and deleting: execs, VM, files, rows.

use std::{path::PathBuf, time::Duration};

use pyro_store::{ExecState, ServiceEvent};
use pyro_wire::{AttachExec, SignalExec};

use super::{
    handle::{Live, StopReason},
    task::Owner,
};
use crate::{
    error::WorkspaceError,
    exec::GRACE,
    output::copy_output,
    registry::now_millis,
    service::{all_told, copy_logs, stopped_by},
    state::Event,
    vm::Vm,
};

impl Owner {
    pub(super) async fn stop(
        &mut self,
        grace: Duration,
        reason: StopReason,
    ) -> Result<(), WorkspaceError> {
        self.await_copy().await;
        if !self.enter(Event::StopRequested)? {
            return Ok(());
        }
        self.record.stop_reason = Some(reason.as_str().into());
        self.context.crash.reached("stop:announced");
        self.settle_ports().await;
        self.shut_down(grace).await;
        self.record.stop_detail = None;
        self.settle_running("workspace_stopped");
        self.settle_services("workspace_stopped");
        self.enter(Event::VmEnded)?;
        self.settle_ports().await;
        Ok(())
    }

    /// Ends the execs, keeps their output, syncs and ends the VM; by force where the guest does
    /// not follow.
    pub(super) async fn shut_down(&mut self, grace: Duration) {
        let Some(live) = self.live.take() else { return };
        self.announce();
        self.stop_services(&live, grace).await;
        let mut ending = tokio::task::JoinSet::new();
        for exec in self.context.store.execs(self.record.id).unwrap_or_default() {
            let runs = exec.state == ExecState::Running;
            // What ended a moment ago may not have been copied yet.
            if !runs && (exec.output_kept || exec.stdout_bytes + exec.stderr_bytes == 0) {
                continue;
            }
            let link = live.link.clone();
            let path = self.context.layout.output(self.record.id, exec.id);
            ending.spawn(async move {
                if runs {
                    let cancel = SignalExec {
                        exec_id: exec.id.to_string(),
                        signal: 0,
                        whole_tree: true,
                        cancel: true,
                    };
                    link.signal_exec(cancel).await.ok()?;
                }
                let attach = AttachExec { exec_id: exec.id.to_string(), offset: 0, stdin: false };
                let (_, mut stream) = link.attach_exec(attach).await.ok()?;
                copy_output(&mut stream.output, path).await.ok()?
            });
        }
        let all = async {
            let mut ended = Vec::new();
            while let Some(record) = ending.join_next().await {
                ended.extend(record.ok().flatten());
            }
            ended
        };
        let limit = grace.max(GRACE) + Duration::from_secs(10);
        for ended in tokio::time::timeout(limit, all).await.unwrap_or_default() {
            let finished = self.finish_exec(&ended);
            if let Ok(finished) = finished
                && let Err(error) = self.note_output(finished.id)
            {
                tracing::warn!(%error, "could not note a kept output");
            }
        }
        self.context.crash.reached("stop:execs_ended");
        if let Err(error) = live.link.shut_down(grace).await {
            tracing::warn!(workspace = %self.record.id, %error, "the guest did not shut down; ending its VM");
            live.vm.kill().await;
            return;
        }
        self.context.crash.reached("stop:shut_down");
        if tokio::time::timeout(Duration::from_secs(5), live.vm.ended()).await.is_err() {
            live.vm.kill().await;
        }
    }

    /// Stops the services, keeps what became of them and copies their logs.
    async fn stop_services(&self, live: &Live, grace: Duration) {
        let list = match live.link.stop_services(grace).await {
            Ok(list) => list,
            Err(error) => {
                // A guest that booted with an older agent has none.
                tracing::debug!(workspace = %self.record.id, %error, "could not stop the services");
                return;
            }
        };
        let services = all_told(&list);
        if let Err(error) = self.context.store.save_services(self.record.id, &services, true) {
            tracing::warn!(workspace = %self.record.id, %error, "could not keep the services");
        }
        copy_logs(&self.context.layout, self.record.id, &live.link, &list).await;
    }

    /// Services that ran in a VM that is gone do not run any more, and why.
    pub(super) fn settle_services(&self, reason: &str) {
        let now = now_millis();
        let store = &self.context.store;
        for mut service in store.services(self.record.id).unwrap_or_default() {
            if !stopped_by(&mut service, reason, now) {
                continue;
            }
            let event = ServiceEvent { at: now, service, deleted: false };
            match store.keep_service_event(self.record.id, None, &event) {
                Ok(_) => self.context.events.send_modify(|count| *count += 1),
                Err(error) => {
                    tracing::warn!(workspace = %self.record.id, %error, "could not settle a service");
                }
            }
        }
    }

    /// The VM ended and nobody asked it to.
    pub(super) fn vm_ended(&mut self) {
        self.live = None;
        let ending = Vm::ending(&self.context.layout.vm(self.record.id));
        tracing::warn!(workspace = %self.record.id, ?ending, "a VM ended by itself");
        self.record.stop_reason = Some(ending.reason.into());
        self.record.stop_detail = ending.detail;
        self.settle_running("vm_died");
        self.settle_services(self.record.stop_reason.clone().as_deref().unwrap_or("vm_died"));
        if let Err(error) = self.enter(Event::VmEnded) {
            tracing::error!(workspace = %self.record.id, %error, "could not keep that a VM ended");
        }
    }

    /// Execs that ran in a VM that is gone are lost, and why.
    pub(super) fn settle_running(&mut self, reason: &str) {
        let now = now_millis();
        for mut exec in self.context.store.running_execs(self.record.id).unwrap_or_default() {
            exec.state = ExecState::Lost(reason.to_owned());
            exec.ended_at = Some(now);
            exec.duration_micros = now.saturating_sub(exec.started_at) * 1000;
            if let Err(error) = self.context.store.save_exec(&exec) {
                tracing::warn!(exec = %exec.id, %error, "could not settle an exec");
            }
        }
        self.running.clear();
        self.exec_ends.send_modify(|ends| *ends += 1);
    }

    pub(super) async fn delete(&mut self) -> Result<(), WorkspaceError> {
        self.give_up_copy().await;
        self.enter(Event::DeleteRequested)?;
        self.context.crash.reached("delete:announced");
        self.remove().await
    }

    /// Ends the VM and removes files and rows; safe to repeat.
    pub(super) async fn remove(&mut self) -> Result<(), WorkspaceError> {
        self.live = None;
        self.release_ports().await;
        let directory = self.context.layout.workspace(self.record.id);
        if let Some(vm) = Vm::adopt(&self.context.layout.vm(self.record.id)) {
            vm.kill().await;
        }
        self.context.crash.reached("delete:killed");
        remove_tree(directory).await?;
        self.context.crash.reached("delete:removed");
        self.context.store.remove_workspace(self.record.id)?;
        self.exec_ends.send_modify(|ends| *ends += 1);
        Ok(())
    }
}

/// Takes a directory out of its place first, so that whoever is still about to write there (the end of
/// a copy) finds nothing; safe to repeat.
async fn remove_tree(directory: PathBuf) -> Result<(), WorkspaceError> {
    let there = |done: std::io::Result<()>| match done {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    let removing = directory.with_extension("removing");
    tokio::task::spawn_blocking(move || {
        there(std::fs::remove_dir_all(&removing))
            .and_then(|()| there(std::fs::rename(&directory, &removing)))
            .and_then(|()| there(std::fs::remove_dir_all(&removing)))
            .map_err(WorkspaceError::file(directory))
    })
    .await
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
