//! The owner task: holds one workspace's state and carries out what is asked of it, in order.

use std::{sync::Arc, time::Duration};

use pyro_core::{ExecId, WorkspaceId};
use pyro_link::Link;
use pyro_store::{
    ExecRecord, ExecState, LastCommand, OnExpiry, Phase, WorkspaceKind, WorkspaceRecord,
};
use pyro_wire::{AttachExec, SignalExec, guest_event};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    activity::Activity,
    creation::Change,
    error::WorkspaceError,
    exec::{GRACE, settle},
    output::{copy_output, remove_partial_copies},
    registry::{Context, now_millis, now_nanos},
    state::{Event, Transition, next},
    vm::{Ending, Vm},
};

/// How long a guest may take from the VMM's start to its first answer. Generous: an emulated boot
/// takes a second on an idle machine, and machines are not always idle.
const BOOT: Duration = Duration::from_mins(2);

/// The same for the first attempt: long enough that only a guest that hangs is given up.
const FIRST_BOOT: Duration = Duration::from_secs(45);

/// How often a guest's clock is set right.
const CLOCK: Duration = Duration::from_mins(1);

/// How long a command that nobody needs to leave running waits for somebody to attach after its
/// node died.
const ORPHAN: Duration = Duration::from_mins(1);

/// Finished execs kept per workspace.
const MAX_EXECS: usize = 1000;

/// Bytes of finished execs' output kept per workspace.
const MAX_OUTPUT: u64 = 256 << 20;

/// Why a workspace is stopped on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopReason {
    /// Somebody asked.
    Requested,
    /// Its idle time was over.
    Idle,
}

impl StopReason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Idle => "idle",
        }
    }
}

/// A workspace as it stands: what every read sees.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its record.
    pub record: WorkspaceRecord,
    pub(crate) live: Option<Live>,
}

/// A running VM, to those who talk to its guest.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) vm: Vm,
    pub(crate) link: Link,
    /// Tells this VM's events from those of the one before.
    pub(crate) incarnation: u64,
}

/// What the owner answers to a begun exec.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) link: Link,
    pub(crate) record: ExecRecord,
    pub(crate) started_workspace: bool,
}

type Reply<T> = oneshot::Sender<Result<T, WorkspaceError>>;

/// What can be asked of an owner.
#[derive(Debug)]
pub(crate) enum Request {
    Start {
        reply: Reply<Arc<Snapshot>>,
    },
    Stop {
        grace: Duration,
        reason: StopReason,
        reply: Option<Reply<Arc<Snapshot>>>,
    },
    Delete {
        reply: Option<Reply<()>>,
    },
    Update {
        change: Change,
        reply: Reply<Arc<Snapshot>>,
    },
    BeginExec {
        id: ExecId,
        command: String,
        cwd: String,
        detached: bool,
        no_start: bool,
        reply: Reply<Begun>,
    },
    AbandonExec {
        id: ExecId,
        reply: Reply<()>,
    },
    FinishExec {
        ended: Box<pyro_wire::ExecRecord>,
        reply: Option<Reply<ExecRecord>>,
    },
    OutputKept {
        id: ExecId,
    },
    WorkloadRestarted {
        restarts: u32,
        incarnation: u64,
    },
    VmEnded {
        incarnation: u64,
    },
}

/// Reaches one workspace.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) id: WorkspaceId,
    pub(crate) context: Arc<Context>,
    pub(crate) activity: Arc<Activity>,
    requests: mpsc::UnboundedSender<Request>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    exec_ends: watch::Receiver<u64>,
}

impl Handle {
    /// Which workspace it is.
    pub fn id(&self) -> WorkspaceId {
        self.id
    }

    /// The workspace as it stands. Never waits.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// When it was last used, milliseconds since the Unix epoch.
    pub fn last_activity_millis(&self) -> u64 {
        if self.activity.is_used() { now_millis() } else { self.activity.last_millis() }
    }

    /// Starts it; returns once its guest is ready. One that runs is returned as it is.
    pub async fn start(&self) -> Result<Arc<Snapshot>, WorkspaceError> {
        self.activity.touch();
        self.ask(|reply| Request::Start { reply }).await
    }

    /// Stops it: its execs are ended (TERM, `grace`, KILL), its disks synced, its VM ended.
    pub async fn stop(&self, grace: Duration) -> Result<Arc<Snapshot>, WorkspaceError> {
        let reason = StopReason::Requested;
        self.ask(|reply| Request::Stop { grace, reason, reply: Some(reply) }).await
    }

    /// Deletes it with its disks and records.
    pub async fn delete(&self) -> Result<(), WorkspaceError> {
        self.ask(|reply| Request::Delete { reply: Some(reply) }).await
    }

    /// Changes its name and labels.
    pub async fn update(&self, change: Change) -> Result<Arc<Snapshot>, WorkspaceError> {
        self.activity.touch();
        self.ask(|reply| Request::Update { change, reply }).await
    }

    /// Asks for the delete without waiting for it.
    pub fn delete_later(&self) {
        let _ = self.requests.send(Request::Delete { reply: None });
    }

    /// Changes each time an exec of this workspace has ended.
    pub(crate) fn exec_ends(&self) -> watch::Receiver<u64> {
        self.exec_ends.clone()
    }

    pub(crate) async fn ask<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, WorkspaceError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).map_err(|_| WorkspaceError::Gone(self.id))?;
        answer.await.map_err(|_| WorkspaceError::Gone(self.id))?
    }

    /// Starts the owner task of a workspace. `settled` is told when what the node before left was
    /// adopted, finished or undone.
    pub(crate) fn own(
        context: Arc<Context>,
        record: WorkspaceRecord,
        settled: oneshot::Sender<Result<(), WorkspaceError>>,
        fresh: bool,
    ) -> Self {
        let (requests, inbox) = mpsc::unbounded_channel();
        let (publish, snapshot) =
            watch::channel(Arc::new(Snapshot { record: record.clone(), live: None }));
        let (ends, exec_ends) = watch::channel(0);
        let activity = Activity::new(record.last_activity_at);
        let id = record.id;
        let owner = Owner {
            context: context.clone(),
            record,
            live: None,
            incarnation: 0,
            requests: requests.downgrade(),
            publish,
            exec_ends: ends,
            activity: activity.clone(),
        };
        let tasks = context.tasks.clone();
        tasks.spawn(async move { owner.run(inbox, settled, fresh).await });
        Self { id, context, activity, requests, snapshot, exec_ends }
    }
}

struct Owner {
    context: Arc<Context>,
    record: WorkspaceRecord,
    live: Option<Live>,
    incarnation: u64,
    requests: mpsc::WeakUnboundedSender<Request>,
    publish: watch::Sender<Arc<Snapshot>>,
    exec_ends: watch::Sender<u64>,
    activity: Arc<Activity>,
}

/// Why a VM was started in vain.
#[derive(Debug)]
enum LaunchFailure {
    /// Its guest never answered.
    Silent,
    /// Anything else.
    Told(WorkspaceError),
}

impl From<WorkspaceError> for LaunchFailure {
    fn from(error: WorkspaceError) -> Self {
        Self::Told(error)
    }
}

/// Whether the owner goes on after a request.
#[derive(PartialEq, Eq)]
enum Go {
    On,
    Gone,
}

impl Owner {
    async fn run(
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
            Request::Start { reply } => {
                let result = self.ensure_started().await.map(|_| self.snapshot());
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
            Request::BeginExec { id, command, cwd, detached, no_start, reply } => {
                let begun = self.begin_exec(id, command, cwd, detached, no_start).await;
                let _ = reply.send(begun);
            }
            Request::AbandonExec { id, reply } => {
                let _ = reply.send(self.context.store.remove_exec(id).map_err(Into::into));
            }
            Request::FinishExec { ended, reply } => {
                let finished = self.finish_exec(&ended);
                if let Some(reply) = reply {
                    let _ = reply.send(finished);
                }
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
                }
            }
        }
        Go::On
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(Snapshot { record: self.record.clone(), live: self.live.clone() })
    }

    fn announce(&self) {
        self.publish.send_replace(self.snapshot());
    }

    /// Decides by the pure table; `Ok(false)` where it already is as asked.
    fn enter(&mut self, event: Event) -> Result<bool, WorkspaceError> {
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
    fn save(&mut self) {
        self.record.last_activity_at = self.activity.last_millis();
        if let Err(error) = self.context.store.save_workspace(&self.record) {
            tracing::warn!(workspace = %self.record.id, %error, "could not keep the record");
        }
        self.announce();
    }

    // --- making, starting -------------------------------------------------------------------

    /// Makes a workspace whose row was just written: disks, VM, guest. Undone where it fails.
    async fn make(&mut self) -> Result<(), WorkspaceError> {
        self.context.crash.reached("create:recorded");
        let made = async {
            self.context.platform.create_disks(&self.context.layout, &self.record).await?;
            self.context.crash.reached("create:disks");
            self.launch("create").await
        }
        .await;
        if made.is_err() {
            let _ = self.enter(Event::StartFailed);
            if let Err(error) = self.remove().await {
                tracing::warn!(workspace = %self.record.id, %error, "could not undo a creation");
            }
        }
        made
    }

    /// A running guest, started if need be; whether it had to be.
    async fn ensure_started(&mut self) -> Result<bool, WorkspaceError> {
        if !self.enter(Event::StartRequested)? {
            return Ok(false);
        }
        self.context.crash.reached("start:announced");
        match self.launch("start").await {
            Ok(()) => Ok(true),
            Err(error) => {
                self.record.stop_reason = Some("start_failed".into());
                self.record.stop_detail = Some(error.to_string());
                self.enter(Event::StartFailed)?;
                Err(error)
            }
        }
    }

    /// Both phases of the boot. `operation` names the crash points.
    ///
    /// Nothing is mounted before the guest answers, so one that stays silent (an emulator's timers
    /// can be lost) is started a second time, which is logged.
    async fn launch(&mut self, operation: &str) -> Result<(), WorkspaceError> {
        match self.launch_once(operation, FIRST_BOOT).await {
            Err(LaunchFailure::Silent) => {
                tracing::warn!(workspace = %self.record.id, "the guest stayed silent; starting its VM again");
                self.launch_once(operation, BOOT).await
            }
            other => other,
        }
        .map_err(|failure| match failure {
            LaunchFailure::Silent => WorkspaceError::Start {
                id: self.record.id,
                reason: format!("the guest did not answer within {BOOT:?}, the second time"),
                console: Vec::new(),
            },
            LaunchFailure::Told(error) => error,
        })
    }

    async fn launch_once(
        &mut self,
        operation: &str,
        patience: Duration,
    ) -> Result<(), LaunchFailure> {
        let vm = self.context.platform.launch(&self.context.layout, &self.record).await?;
        self.context.crash.reached(&format!("{operation}:launched"));
        match self.personalize(&vm, operation, patience).await {
            Ok(()) => Ok(self.go_live(vm).await?),
            Err(error) => {
                let console = vm.console_tail();
                vm.kill().await;
                if error.is_silence() {
                    return Err(LaunchFailure::Silent);
                }
                Err(LaunchFailure::Told(WorkspaceError::Start {
                    id: self.record.id,
                    reason: with_sources(&error),
                    console,
                }))
            }
        }
    }

    async fn personalize(
        &self,
        vm: &Vm,
        operation: &str,
        patience: Duration,
    ) -> Result<(), WorkspaceError> {
        let hello = tokio::select! {
            hello = vm.link.hello(patience) => hello.map_err(WorkspaceError::guest("reach the guest"))?,
            () = vm.ended() => {
                let Ending { reason, detail } = Vm::ending(vm.directory.path());
                return Err(WorkspaceError::Start {
                    id: self.record.id,
                    reason: format!("the VM ended while it booted ({reason})"),
                    console: detail.into_iter().collect(),
                });
            }
        };
        tracing::debug!(workspace = %self.record.id, agent_micros = hello.agent_started_micros, "the guest answers");
        self.context.crash.reached(&format!("{operation}:answered"));
        let personal = pyro_wire::Personalize {
            workspace_id: self.record.id.to_string(),
            hostname: hostname(&self.record),
            wall_clock_nanos: now_nanos(),
            entropy: crate::registry::entropy().into(),
        };
        let spans = vm
            .link
            .personalize(personal)
            .await
            .map_err(WorkspaceError::guest("make the guest personal"))?;
        for span in spans.spans {
            tracing::debug!(workspace = %self.record.id, name = span.name, micros = span.micros, "guest span");
        }
        self.context.crash.reached(&format!("{operation}:personal"));
        Ok(())
    }

    async fn go_live(&mut self, vm: Vm) -> Result<(), WorkspaceError> {
        self.incarnation += 1;
        self.live = Some(Live { link: vm.link.clone(), vm, incarnation: self.incarnation });
        self.record.stop_reason = None;
        self.record.stop_detail = None;
        self.record.was_started = true;
        self.record.workload_restarts = 0;
        self.activity.touch();
        if let Err(error) = self.enter(Event::Ready) {
            if let Some(live) = self.live.take() {
                live.vm.kill().await;
            }
            return Err(error);
        }
        self.follow();
        Ok(())
    }

    /// Follows the live VM: its end, and what its guest tells.
    fn follow(&self) {
        let Some(live) = self.live.clone() else { return };
        let vm = live.vm.clone();
        let requests = self.requests.clone();
        self.context.tasks.spawn(async move {
            vm.ended().await;
            if let Some(requests) = requests.upgrade() {
                let _ = requests.send(Request::VmEnded { incarnation: live.incarnation });
            }
        });
        let follower = Follower {
            context: self.context.clone(),
            workspace: self.record.id,
            live,
            requests: self.requests.clone(),
        };
        self.context.tasks.spawn(follower.run());
    }

    // --- stopping ---------------------------------------------------------------------------

    async fn stop(&mut self, grace: Duration, reason: StopReason) -> Result<(), WorkspaceError> {
        if !self.enter(Event::StopRequested)? {
            return Ok(());
        }
        self.record.stop_reason = Some(reason.as_str().into());
        self.context.crash.reached("stop:announced");
        self.shut_down(grace).await;
        self.record.stop_detail = None;
        self.settle_running("workspace_stopped");
        self.enter(Event::VmEnded)?;
        Ok(())
    }

    /// Ends the execs, keeps their output, syncs and ends the VM; by force where the guest does
    /// not follow.
    async fn shut_down(&mut self, grace: Duration) {
        let Some(live) = self.live.take() else { return };
        self.announce();
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

    /// The VM ended and nobody asked it to.
    fn vm_ended(&mut self) {
        self.live = None;
        let ending = Vm::ending(&self.context.layout.vm(self.record.id));
        tracing::warn!(workspace = %self.record.id, ?ending, "a VM ended by itself");
        self.record.stop_reason = Some(ending.reason.into());
        self.record.stop_detail = ending.detail;
        self.settle_running("vm_died");
        if let Err(error) = self.enter(Event::VmEnded) {
            tracing::error!(workspace = %self.record.id, %error, "could not keep that a VM ended");
        }
    }

    /// Execs that ran in a VM that is gone are lost, and why.
    fn settle_running(&mut self, reason: &str) {
        let now = now_millis();
        for mut exec in self.context.store.running_execs(self.record.id).unwrap_or_default() {
            exec.state = ExecState::Lost(reason.to_owned());
            exec.ended_at = Some(now);
            exec.duration_micros = now.saturating_sub(exec.started_at) * 1000;
            if let Err(error) = self.context.store.save_exec(&exec) {
                tracing::warn!(exec = %exec.id, %error, "could not settle an exec");
            }
        }
        self.exec_ends.send_modify(|ends| *ends += 1);
    }

    // --- deleting ---------------------------------------------------------------------------

    async fn delete(&mut self) -> Result<(), WorkspaceError> {
        self.enter(Event::DeleteRequested)?;
        self.context.crash.reached("delete:announced");
        self.remove().await
    }

    /// Ends the VM and removes files and rows; safe to repeat.
    async fn remove(&mut self) -> Result<(), WorkspaceError> {
        self.live = None;
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

    // --- execs ------------------------------------------------------------------------------

    async fn begin_exec(
        &mut self,
        id: ExecId,
        command: String,
        cwd: String,
        detached: bool,
        no_start: bool,
    ) -> Result<Begun, WorkspaceError> {
        if no_start && self.live.is_none() {
            return Err(WorkspaceError::Stopped(self.record.id));
        }
        let started_workspace = self.ensure_started().await?;
        let live = self.live.as_ref().ok_or(WorkspaceError::Stopped(self.record.id))?;
        let link = live.link.clone();
        let exec = ExecRecord {
            id,
            workspace: self.record.id,
            sequence: self.record.command_count + 1,
            command,
            cwd,
            detached,
            state: ExecState::Running,
            timed_out: false,
            cancelled: false,
            oom_killed: false,
            started_at: now_millis(),
            ended_at: None,
            duration_micros: 0,
            stdout_bytes: 0,
            stderr_bytes: 0,
            dropped_from: 0,
            dropped_to: 0,
            left_behind: 0,
            memory_peak_bytes: 0,
            cpu_micros: 0,
            output_kept: false,
        };
        self.context.store.save_exec(&exec)?;
        self.record.command_count += 1;
        self.save();
        Ok(Begun { link, record: exec, started_workspace })
    }

    /// Settles an exec by what the guest says of it; the second time changes nothing.
    fn finish_exec(&mut self, ended: &pyro_wire::ExecRecord) -> Result<ExecRecord, WorkspaceError> {
        let not_found = || WorkspaceError::ExecNotFound {
            workspace: self.record.id,
            reference: ended.exec_id.chars().take(64).collect(),
        };
        let id: ExecId = ended.exec_id.parse().map_err(|_| not_found())?;
        let mut exec = self
            .context
            .store
            .exec(id)?
            .filter(|exec| exec.workspace == self.record.id)
            .ok_or_else(not_found)?;
        if exec.state != ExecState::Running {
            return Ok(exec);
        }
        settle(&mut exec, ended, now_millis());
        self.context.store.save_exec(&exec)?;
        let newest = self.record.last_command.as_ref().map_or(0, |last| last.sequence);
        if exec.sequence >= newest {
            self.record.last_command = Some(LastCommand {
                sequence: exec.sequence,
                command: exec.command.clone(),
                cwd: exec.cwd.clone(),
                exit_code: match &exec.state {
                    ExecState::Ended(status) => Some(status.shell_code()),
                    _ => None,
                },
                duration_ms: exec.duration_micros / 1000,
            });
        }
        self.activity.touch();
        self.save();
        self.exec_ends.send_modify(|ends| *ends += 1);
        Ok(exec)
    }

    fn note_output(&mut self, id: ExecId) -> Result<(), WorkspaceError> {
        if let Some(mut exec) = self.context.store.exec(id)? {
            exec.output_kept = true;
            self.context.store.save_exec(&exec)?;
            if exec.sequence % 32 == 0 {
                self.bound_history()?;
            }
        }
        Ok(())
    }

    /// Drops the oldest finished execs and the oldest outputs beyond what is kept.
    fn bound_history(&mut self) -> Result<(), WorkspaceError> {
        let execs = self.context.store.execs(self.record.id)?;
        let mut kept = 0;
        let mut kept_bytes = 0;
        for mut exec in execs.into_iter().rev().filter(|exec| exec.state != ExecState::Running) {
            let copy = self.context.layout.output(self.record.id, exec.id);
            kept += 1;
            if kept > MAX_EXECS {
                let _ = std::fs::remove_file(copy);
                self.context.store.remove_exec(exec.id)?;
                if let Some(live) = &self.live {
                    let link = live.link.clone();
                    self.context.tasks.spawn(async move {
                        let _ = link.forget_exec(exec.id.to_string()).await;
                    });
                }
            } else if exec.output_kept {
                kept_bytes += std::fs::metadata(&copy).map_or(0, |metadata| metadata.len());
                if kept_bytes > MAX_OUTPUT {
                    let _ = std::fs::remove_file(copy);
                    exec.output_kept = false;
                    self.context.store.save_exec(&exec)?;
                }
            }
        }
        Ok(())
    }

    // --- reconciling ------------------------------------------------------------------------

    /// Brings what the node before left into a state that is true: adopts, finishes or undoes.
    async fn reconcile(&mut self) -> Go {
        let execs = self.context.layout.execs(self.record.id);
        match remove_partial_copies(&execs) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(workspace = %self.record.id, %error, "could not remove partial copies");
            }
            _ => {}
        }
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
        if self.record.kind == WorkspaceKind::Vm {
            // Its one caller went with the node; it is deleted unless somebody attaches.
            self.delete_if_orphaned();
        }
        Go::On
    }

    fn settle_stopped(&mut self, reason: &str) {
        self.settle_running(reason);
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
            self.record.stop_reason = Some("guest_crashed".into());
            self.record.stop_detail = Some(with_sources(&error));
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
                Some(record) if !record.detached => self.cancel_if_orphaned(exec.id),
                Some(_) => {}
            }
        }
        self.exec_ends.send_modify(|ends| *ends += 1);
    }

    fn cancel_if_orphaned(&self, exec: ExecId) {
        let Some(live) = self.live.clone() else { return };
        self.context.tasks.spawn(async move {
            tokio::time::sleep(ORPHAN).await;
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

/// Follows a guest's events: settles execs as they end and copies their output.
struct Follower {
    context: Arc<Context>,
    workspace: WorkspaceId,
    live: Live,
    requests: mpsc::WeakUnboundedSender<Request>,
}

impl Follower {
    async fn run(self) {
        loop {
            let Ok((records, mut events)) = self.live.link.watch().await else { return };
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
            // The stream broke though the VM may live on (or `watch` fails and ends this); a guest
            // that breaks it again and again must not keep the node busy.
            tokio::time::sleep(Duration::from_millis(200)).await;
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

/// The guest's host name: the workspace's name where it can be one, else its id.
fn hostname(record: &WorkspaceRecord) -> String {
    let name: String = record
        .name
        .as_ref()
        .map(|name| name.as_str().to_ascii_lowercase())
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(63)
        .collect();
    let name = name.trim_matches('-');
    if name.is_empty() { record.id.to_string() } else { name.to_owned() }
}

/// An error with its causes in one line.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    line
}

async fn remove_tree(directory: std::path::PathBuf) -> Result<(), WorkspaceError> {
    tokio::task::spawn_blocking(move || match std::fs::remove_dir_all(&directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(WorkspaceError::file(directory)),
    })
    .await
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
