//! What the others have of an owner: the handle, what can be asked through it, what is answered.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use pyro_core::{ExecId, ServiceName, SnapshotName, WorkspaceId};
use pyro_link::Link;
use pyro_relay::Relay;
use pyro_store::{ExecRecord, Phase, PublishedPort, SnapshotRecord, WorkspaceRecord};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::{ports::Ports, task::Owner};
use crate::{
    activity::Activity,
    checkpoint::{BegunCopy, CopyJob, WasReset},
    creation::Change,
    disk::Started,
    error::WorkspaceError,
    network::{Network, policy_of},
    port::MOST_CONNECTIONS,
    published::{PortRequest, PortState, PortStatus},
    registry::{Context, now_millis},
    vm::Vm,
};

/// Why a workspace is stopped on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopReason {
    /// Somebody asked.
    Requested,
    /// Its idle time was over.
    Idle,
}

impl StopReason {
    pub(crate) fn as_str(self) -> &'static str {
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
    /// Its published ports.
    pub ports: Vec<PortStatus>,
    pub(crate) live: Option<Live>,
}

impl Snapshot {
    /// Whether it is stopped and a connection to a port of this host is to start it.
    pub fn awaits_connections(&self) -> bool {
        self.record.phase == Phase::Stopped
            && self.ports.iter().any(|status| status.state == PortState::Listening)
    }
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

pub(super) type Reply<T> = oneshot::Sender<Result<T, WorkspaceError>>;

/// What can be asked of an owner.
#[derive(Debug)]
pub(crate) enum Request {
    Start {
        /// Whether services that ran before run again.
        resume: bool,
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
    /// Makes a warm VM what was wanted.
    Claim {
        wanted: Box<WorkspaceRecord>,
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
    LeaveExec {
        id: ExecId,
        reply: Reply<()>,
    },
    FinishExec {
        ended: Box<pyro_wire::ExecRecord>,
        reply: Option<Reply<ExecRecord>>,
    },
    /// Says how a copy of the disk is made, which is made beside the owner.
    BeginSnapshot {
        name: SnapshotName,
        reply: Reply<CopyJob>,
    },
    /// The same of one that is read and never kept.
    BeginCopy {
        reply: Reply<BegunCopy>,
    },
    KeepSnapshot {
        record: SnapshotRecord,
        reply: Reply<()>,
    },
    DeleteSnapshot {
        name: SnapshotName,
        reply: Reply<()>,
    },
    Reset {
        /// None: what it was when it was made.
        snapshot: Option<SnapshotName>,
        resume: bool,
        reply: Reply<WasReset>,
    },
    SetNetwork {
        network: Box<Network>,
        reply: Reply<(Arc<Snapshot>, usize)>,
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
    Publish {
        ports: Vec<PortRequest>,
        service: Option<ServiceName>,
        /// Those that were asked for, and those the service had before.
        reply: Reply<(Vec<PublishedPort>, Vec<PublishedPort>)>,
    },
    Unpublish {
        ports: Vec<u16>,
        reply: Reply<Vec<PublishedPort>>,
    },
    /// The ports of a service are these and no others.
    SetPorts {
        service: ServiceName,
        ports: Vec<PublishedPort>,
    },
    /// A service that was held its ports is not started any more.
    LetGo {
        service: ServiceName,
    },
    /// Its disks are to be read, as long as it is stopped.
    ReadDisks {
        reply: Reply<(Started, WorkspaceRecord)>,
    },
    /// Services may run that did not, or the other way round.
    ServicesChanged {
        reply: Option<Reply<()>>,
    },
}

/// Reaches one workspace.
#[derive(Clone)]
pub struct Handle {
    pub(crate) id: WorkspaceId,
    pub(crate) context: Arc<Context>,
    pub(crate) activity: Arc<Activity>,
    requests: mpsc::UnboundedSender<Request>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    exec_ends: watch::Receiver<u64>,
    /// Places for connections to its ports.
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) relay: Relay,
}

impl fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Handle").field("id", &self.id).finish_non_exhaustive()
    }
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

    /// Starts it; returns once its guest is ready. One that runs is returned as it is. With `resume`,
    /// services that ran when it was stopped run again.
    pub async fn start(&self, resume: bool) -> Result<Arc<Snapshot>, WorkspaceError> {
        self.activity.touch();
        self.ask(|reply| Request::Start { resume, reply }).await
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

    pub(crate) fn tell(&self, request: Request) {
        let _ = self.requests.send(request);
    }

    /// Asks for the delete without waiting for it.
    pub fn delete_later(&self) {
        let _ = self.requests.send(Request::Delete { reply: None });
    }

    /// The newest snapshot, and those that come.
    pub(crate) fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
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
        let (publish, snapshot) = watch::channel(Arc::new(Snapshot {
            record: record.clone(),
            ports: Vec::new(),
            live: None,
        }));
        let (ends, exec_ends) = watch::channel(0);
        let activity = Activity::new(record.last_activity_at);
        let id = record.id;
        let policy = policy_of(id, &record.network);
        let relay = Relay::new(policy, context.outgoing.clone());
        let owner = Owner {
            context: context.clone(),
            record,
            live: None,
            incarnation: 0,
            requests: requests.downgrade(),
            publish,
            exec_ends: ends,
            activity: activity.clone(),
            running: HashMap::new(),
            ports: Ports::default(),
            started: Started::default(),
            copying: None,
            relay: relay.clone(),
        };
        let tasks = context.tasks.clone();
        tasks.spawn(async move { owner.run(inbox, settled, fresh).await });
        let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        Self { id, context, activity, requests, snapshot, exec_ends, connections, relay }
    }
}
