//! Reconciling: what the node before left is adopted, finished or undone.

use std::time::Duration;

use pyro_core::ExecId;
use pyro_store::{ExecState, Phase, WorkspaceKind};
use pyro_wire::SignalExec;

use super::{
    handle::{Live, Request},
    start::BOOT,
    task::{Go, Owner},
};
use crate::{
    error::with_sources, exec::GRACE, output::remove_partial_copies, state::Event, vm::Vm,
};

/// How long a command that nobody needs to leave running waits for somebody to attach after its
/// node died.
const ORPHAN: Duration = Duration::from_mins(1);

impl Owner {
    /// Brings what the node before left into a state that is true: adopts, finishes or undoes.
    pub(super) async fn reconcile(&mut self) -> Go {
        let execs = self.context.layout.execs(self.record.id);
        match remove_partial_copies(&execs) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(workspace = %self.record.id, %error, "could not remove partial copies");
            }
            _ => {}
        }
        crate::service::sweep(&self.context.layout.services(self.record.id));
        self.sweep_copies();
        let vm = Vm::adopt(&self.context.layout.vm(self.record.id));
        match (self.record.phase, vm) {
            (Phase::Creating | Phase::Deleting, _) => {
                self.record.phase = Phase::Deleting;
                match self.remove().await {
                    Ok(()) => return Go::Gone,
                    Err(error) => {
                        tracing::error!(workspace = %self.record.id, %error, "could not finish deleting");
                    }
                }
            }
            (Phase::Stopped, None) => {}
            (Phase::Stopped, Some(vm)) => vm.kill().await,
            (Phase::Starting | Phase::Started, Some(vm)) => self.adopt(vm).await,
            (Phase::Stopping, Some(vm)) => {
                self.live = Some(Live { link: vm.link.clone(), vm, incarnation: self.incarnation });
                self.record.stop_reason = Some("requested".into());
                self.shut_down(GRACE).await;
                self.settle_stopped("workspace_stopped");
            }
            (Phase::Stopping, None) => {
                self.record.stop_reason = Some("requested".into());
                self.settle_stopped("workspace_stopped");
            }
            (Phase::Starting | Phase::Started, None) => {
                let ending = Vm::ending(&self.context.layout.vm(self.record.id));
                let was_starting = self.record.phase == Phase::Starting;
                let reason = if was_starting { "start_failed" } else { ending.reason };
                self.record.stop_reason = Some(reason.into());
                self.record.stop_detail = ending.detail;
                self.settle_stopped("vm_died");
            }
        }
        self.reconcile_reset().await;
        if self.record.kind == WorkspaceKind::Vm {
            // Its one caller went with the node; it is deleted unless somebody attaches.
            self.delete_if_orphaned();
        }
        Go::On
    }

    fn settle_stopped(&mut self, reason: &str) {
        self.settle_running(reason);
        let why = if reason == "vm_died" { self.record.stop_reason.clone() } else { None };
        self.settle_services(why.as_deref().unwrap_or(reason));
        self.record.phase = Phase::Stopped;
        if let Err(error) = self.context.store.save_workspace_durably(&self.record) {
            tracing::error!(workspace = %self.record.id, %error, "could not keep that it is stopped");
        }
        self.announce();
    }

    async fn adopt(&mut self, vm: Vm) {
        // Personalizing twice is answered as the first time, so a start that was cut off between
        // its two phases is finished here.
        if let Err(error) = self.personalize(&vm, "adopt", BOOT).await {
            tracing::warn!(workspace = %self.record.id, error = with_sources(&error), "a VM could not be adopted");
            vm.kill().await;
            // It may have been dying when it was found.
            let ending = Vm::ending(&self.context.layout.vm(self.record.id));
            let is_silent = ending.reason == "guest_crashed";
            self.record.stop_reason = Some(ending.reason.into());
            self.record.stop_detail =
                if is_silent { Some(with_sources(&error)) } else { ending.detail };
            self.settle_stopped("vm_died");
            return;
        }
        self.incarnation += 1;
        self.live = Some(Live { link: vm.link.clone(), vm, incarnation: self.incarnation });
        self.record.stop_reason = None;
        self.record.stop_detail = None;
        self.record.was_started = true;
        if self.record.phase == Phase::Starting {
            if let Err(error) = self.enter(Event::Ready) {
                tracing::error!(workspace = %self.record.id, %error, "could not keep that it is started");
            }
        } else {
            self.announce();
        }
        self.settle_adopted_execs().await;
        self.follow();
    }

    /// After a node died: execs the guest never heard of are lost, those that ended meanwhile are
    /// settled, those nobody needs to leave running wait a while for somebody to attach.
    async fn settle_adopted_execs(&mut self) {
        let Some(live) = self.live.clone() else { return };
        let Ok(records) = live.link.list_execs().await else { return };
        for mut exec in self.context.store.running_execs(self.record.id).unwrap_or_default() {
            match records.iter().find(|record| record.exec_id == exec.id.to_string()) {
                None => {
                    exec.state = ExecState::Lost("never_started".into());
                    exec.ended_at = Some(exec.started_at);
                    if let Err(error) = self.context.store.save_exec(&exec) {
                        tracing::warn!(exec = %exec.id, %error, "could not settle an exec");
                    }
                }
                Some(record) if !record.running => {
                    if let Err(error) = self.finish_exec(record) {
                        tracing::warn!(exec = %exec.id, %error, "could not settle an exec");
                    }
                }
                Some(_) => {
                    self.running.insert(exec.id, self.activity.begin());
                    if !exec.detached {
                        self.cancel_if_orphaned(exec.id);
                    }
                }
            }
        }
        self.exec_ends.send_modify(|ends| *ends += 1);
    }

    fn cancel_if_orphaned(&self, exec: ExecId) {
        let Some(live) = self.live.clone() else { return };
        let context = self.context.clone();
        self.context.tasks.spawn(async move {
            tokio::time::sleep(ORPHAN).await;
            // Somebody came, and left it running.
            if context.store.exec(exec).is_ok_and(|exec| exec.is_some_and(|exec| exec.detached)) {
                return;
            }
            let Ok(records) = live.link.list_execs().await else { return };
            let orphaned = records.iter().any(|record| {
                record.exec_id == exec.to_string() && record.running && record.attached == 0
            });
            if orphaned {
                tracing::info!(%exec, "ending a command that nobody came back for");
                let cancel = SignalExec {
                    exec_id: exec.to_string(),
                    signal: 0,
                    whole_tree: true,
                    cancel: true,
                };
                let _ = live.link.signal_exec(cancel).await;
            }
        });
    }

    fn delete_if_orphaned(&self) {
        let requests = self.requests.clone();
        let activity = self.activity.clone();
        let store = self.context.clone();
        let id = self.record.id;
        self.context.tasks.spawn(async move {
            loop {
                tokio::time::sleep(ORPHAN).await;
                let running = store.store.running_execs(id).unwrap_or_default();
                if !activity.is_used() && running.is_empty() {
                    break;
                }
            }
            if let Some(requests) = requests.upgrade() {
                let _ = requests.send(Request::Delete { reply: None });
            }
        });
    }
}
