//! The task itself: takes requests one by one, lets the idle time run, and keeps the record.

use std::{collections::HashMap, sync::Arc, time::Duration};

use pyro_core::ExecId;
use pyro_relay::Relay;
use pyro_store::{OnExpiry, WorkspaceRecord};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    handle::{Live, Request, Snapshot, StopReason},
    ports::Ports,
    start::hostname,
};
use crate::{
    activity::{Activity, InUse},
    checkpoint::Copying,
    creation::Change,
    disk::Started,
    error::WorkspaceError,
    exec::GRACE,
    network::{Network, policy_of},
    registry::{Context, now_millis, now_nanos},
    state::{Event, Transition, next},
    warm::claimed,
};

/// How often a guest's clock is set right.
const CLOCK: Duration = Duration::from_mins(1);

pub(super) struct Owner {
    pub(super) context: Arc<Context>,
    pub(super) record: WorkspaceRecord,
    pub(super) live: Option<Live>,
    pub(super) incarnation: u64,
    pub(super) requests: mpsc::WeakUnboundedSender<Request>,
    pub(super) publish: watch::Sender<Arc<Snapshot>>,
    pub(super) exec_ends: watch::Sender<u64>,
    pub(super) activity: Arc<Activity>,
    /// The commands that run: each is a use of the workspace, whether or not anybody looks on.
    pub(super) running: HashMap<ExecId, InUse>,
    pub(super) relay: Relay,
    pub(super) ports: Ports,
    /// For those who read the disks now.
    pub(super) started: Started,
    /// The newest copy of the disk that was begun.
    pub(super) copying: Option<Copying>,
}

/// Whether the owner goes on after a request.
#[derive(PartialEq, Eq)]
pub(super) enum Go {
    On,
    Gone,
}

impl Owner {
    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Request>,
        settled: oneshot::Sender<Result<(), WorkspaceError>>,
        fresh: bool,
    ) {
        let (result, go) = if fresh {
            let made = self.make().await;
            let go = if made.is_ok() { Go::On } else { Go::Gone };
            (made, go)
        } else {
            let go = self.reconcile().await;
            self.settle_ports().await;
            (Ok(()), go)
        };
        if go == Go::Gone {
            // Nobody may find it any more once the caller was told.
            self.context.forget(self.record.id);
            let _ = settled.send(result);
            return;
        }
        let _ = settled.send(result);
        let mut clock = tokio::time::interval(CLOCK);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let activity = self.activity.clone();
            tokio::select! {
                request = inbox.recv() => match request {
                    Some(request) => {
                        if self.serve(request).await == Go::Gone {
                            break;
                        }
                    }
                    None => return,
                },
                () = expiry(&self.record, &activity), if self.may_expire() => {
                    if self.expire().await == Go::Gone {
                        break;
                    }
                }
                _ = clock.tick(), if self.live.is_some() => self.set_clock(),
            }
        }
        self.context.forget(self.record.id);
    }

    fn may_expire(&self) -> bool {
        self.record.ttl_seconds.is_some()
            && (self.live.is_some() || self.record.on_expiry == OnExpiry::Delete)
    }

    async fn expire(&mut self) -> Go {
        tracing::info!(workspace = %self.record.id, "the idle time is over");
        match self.record.on_expiry {
            OnExpiry::Delete => self.delete().await.map_or(Go::On, |()| Go::Gone),
            OnExpiry::Stop => {
                if let Err(error) = self.stop(GRACE, StopReason::Idle).await {
                    tracing::warn!(workspace = %self.record.id, %error, "could not stop it");
                }
                Go::On
            }
        }
    }

    /// Guests drift; a minute is far below what makes a difference to a build. In the background:
    /// a silent guest must not hold up the owner.
    fn set_clock(&self) {
        if let Some(live) = &self.live {
            let link = live.link.clone();
            self.context.tasks.spawn(async move {
                if let Err(error) = link.set_clock(now_nanos()).await {
                    tracing::debug!(%error, "could not set a guest's clock");
                }
            });
        }
    }

    async fn serve(&mut self, request: Request) -> Go {
        match request {
            Request::Start { resume, reply } => {
                let result = self.ensure_started(resume).await.map(|_| self.snapshot());
                let _ = reply.send(result);
            }
            Request::Stop { grace, reason, reply } => {
                let result = self.stop(grace, reason).await.map(|()| self.snapshot());
                if let Some(reply) = reply {
                    let _ = reply.send(result);
                }
            }
            Request::Delete { reply } => {
                let result = self.delete().await;
                let go = if result.is_ok() { Go::Gone } else { Go::On };
                if let Some(reply) = reply {
                    // Nobody may find it any more once the caller was told.
                    if go == Go::Gone {
                        self.context.forget(self.record.id);
                    }
                    let _ = reply.send(result);
                }
                return go;
            }
            Request::Update { change, reply } => {
                let _ = reply.send(self.update(change).map(|()| self.snapshot()));
            }
            Request::Claim { wanted, reply } => {
                let _ = reply.send(self.claim(*wanted).await.map(|()| self.snapshot()));
            }
            Request::BeginExec { id, command, cwd, detached, no_start, reply } => {
                let begun = self.begin_exec(id, command, cwd, detached, no_start).await;
                let _ = reply.send(begun);
            }
            Request::AbandonExec { id, reply } => {
                self.running.remove(&id);
                let _ = reply.send(self.context.store.remove_exec(id).map_err(Into::into));
            }
            Request::LeaveExec { id, reply } => {
                let _ = reply.send(self.leave_exec(id));
            }
            Request::FinishExec { ended, reply } => {
                let finished = self.finish_exec(&ended);
                if let Some(reply) = reply {
                    let _ = reply.send(finished);
                }
            }
            Request::BeginSnapshot { name, reply } => {
                let _ = reply.send(self.begin_snapshot(name));
            }
            Request::BeginCopy { reply } => {
                let _ = reply.send(self.begin_copy());
            }
            Request::KeepSnapshot { record, reply } => {
                let _ = reply.send(self.keep_snapshot(record));
            }
            Request::DeleteSnapshot { name, reply } => {
                let _ = reply.send(self.delete_snapshot(&name));
            }
            Request::Reset { snapshot, resume, reply } => {
                let _ = reply.send(Box::pin(self.reset(snapshot, resume)).await);
            }
            Request::SetNetwork { network, reply } => {
                let ended = self.set_network(&network).await;
                let _ = reply.send(ended.map(|ended| (self.snapshot(), ended)));
            }
            Request::OutputKept { id } => {
                if let Err(error) = self.note_output(id) {
                    tracing::warn!(exec = %id, %error, "could not note a kept output");
                }
            }
            Request::WorkloadRestarted { restarts, incarnation } => {
                if self.incarnation == incarnation {
                    self.record.workload_restarts = restarts;
                    self.save();
                }
            }
            Request::VmEnded { incarnation } => {
                if self.incarnation == incarnation && self.live.is_some() {
                    self.vm_ended();
                    self.settle_ports().await;
                }
            }
            Request::Publish { ports, service, reply } => {
                let published = self.publish(&ports, service.clone()).await;
                // Who asked has gone, and nobody starts the service.
                if let (Err(Ok((_, before))), Some(service)) = (reply.send(published), service) {
                    self.let_go(&service);
                    self.set_ports(&service, before).await;
                }
            }
            Request::Unpublish { ports, reply } => {
                let _ = reply.send(self.unpublish(&ports).await);
            }
            Request::SetPorts { service, ports } => self.set_ports(&service, ports).await,
            Request::LetGo { service } => {
                self.let_go(&service);
                self.settle_ports().await;
            }
            Request::ReadDisks { reply } => {
                let _ = reply.send(self.read_disks());
            }
            Request::ServicesChanged { reply } => {
                self.settle_ports().await;
                if let Some(reply) = reply {
                    let _ = reply.send(Ok(()));
                }
            }
        }
        Go::On
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            record: self.record.clone(),
            ports: self.port_statuses(),
            live: self.live.clone(),
        })
    }

    pub(super) fn announce(&self) {
        self.publish.send_replace(self.snapshot());
    }

    /// Decides by the pure table; `Ok(false)` where it already is as asked.
    pub(super) fn enter(&mut self, event: Event) -> Result<bool, WorkspaceError> {
        let refused = |refusal| WorkspaceError::Refused { id: self.record.id, refusal };
        match next(self.record.phase, event).map_err(refused)? {
            Transition::Already => Ok(false),
            Transition::To(phase) => {
                let mut record = self.record.clone();
                record.phase = phase;
                record.last_activity_at = self.activity.last_millis();
                self.context.store.save_workspace_durably(&record)?;
                self.record = record;
                self.announce();
                Ok(true)
            }
        }
    }

    /// Keeps what changed besides the phase; a failure is logged, the phase is what counts.
    pub(super) fn save(&mut self) {
        self.record.last_activity_at = self.activity.last_millis();
        if let Err(error) = self.context.store.save_workspace(&self.record) {
            tracing::warn!(workspace = %self.record.id, %error, "could not keep the record");
        }
        self.announce();
    }

    fn update(&mut self, change: Change) -> Result<(), WorkspaceError> {
        let mut record = self.record.clone();
        if let Some(name) = change.name {
            record.name = name;
        }
        record.labels.extend(change.labels);
        for key in &change.clear_labels {
            record.labels.remove(key);
        }
        self.context.store.save_workspace_durably(&record)?;
        self.record = record;
        self.announce();
        Ok(())
    }
}

impl Owner {
    /// Becomes what was wanted; from the write on it is that, whatever happens.
    async fn claim(&mut self, wanted: WorkspaceRecord) -> Result<(), WorkspaceError> {
        let gone = WorkspaceError::Gone(self.record.id);
        let Some(live) = self.live.clone().filter(|_| self.record.is_warm) else {
            return Err(gone);
        };
        let record = claimed(&self.record, wanted);
        let name = hostname(&record);
        if name != hostname(&self.record) {
            let named = live.link.set_hostname(name).await;
            named.map_err(WorkspaceError::guest("name the machine"))?;
        }
        if record.network.is_on() {
            let made = live.link.set_network(true).await;
            made.map_err(WorkspaceError::guest("give the workspace a network"))?;
        }
        self.context.store.save_workspace_durably(&record)?;
        self.record = record;
        self.activity.touch();
        self.relay.set_policy(policy_of(self.record.id, &self.record.network));
        self.announce();
        Ok(())
    }

    /// Keeps a network policy and puts it in force. The interface is there before it is told, and
    /// goes, where it is not needed any more, when the follower has seen it.
    async fn set_network(&mut self, network: &Network) -> Result<usize, WorkspaceError> {
        let is_new = network.record().is_on() && !self.record.network.is_on();
        if let (true, Some(live)) = (is_new, &self.live) {
            let made = live.link.set_network(true).await;
            made.map_err(WorkspaceError::guest("give the workspace a network"))?;
        }
        let mut record = self.record.clone();
        record.network = network.record().clone();
        self.context.store.save_workspace_durably(&record)?;
        self.record = record;
        let ended = self.relay.set_policy(policy_of(self.record.id, &self.record.network));
        self.announce();
        Ok(ended)
    }
}

/// Waits until the idle time is over with nobody using the workspace.
async fn expiry(record: &WorkspaceRecord, activity: &Activity) {
    let Some(ttl) = record.ttl_seconds else { return std::future::pending().await };
    let ttl = Duration::from_secs(ttl);
    loop {
        if activity.is_used() {
            activity.idle.notified().await;
            continue;
        }
        let idle = Duration::from_millis(now_millis().saturating_sub(activity.last_millis()));
        match ttl.checked_sub(idle) {
            None | Some(Duration::ZERO) => return,
            Some(left) => tokio::time::sleep(left).await,
        }
    }
}
