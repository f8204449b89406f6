//! The warm pool: VMs that are started before anybody asks for one, so that whoever then does has only to be
//! given it.
//!
//! A warm VM is a workspace that nobody can see yet: made, kept, found by the next node and removed as
//! every other, by the same code. Giving it away is one durable write of its record. Owns which are made
//! and how many. Refuses to know what a VM is.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use pyro_core::{ExecId, Mebibytes, VcpuCount, WorkspaceId};
use pyro_link::LinkError;
use pyro_store::{Checkpoints, NetworkRecord, OnExpiry, Phase, WorkspaceKind, WorkspaceRecord};
use pyro_wire::StartExec;
use tokio::sync::Semaphore;

use crate::{
    owner::{Handle, Request},
    registry::{Workspaces, now_millis, random_bits},
};

/// A warm VM that nobody wanted for so long is removed, seconds.
const TTL: u64 = 600;
/// How long the making of the next one waits for the first command of the one before.
const FIRST_COMMAND: Duration = Duration::from_millis(500);
/// How long a guest may take to rehearse.
const REHEARSAL: Duration = Duration::from_secs(10);

/// What two workspaces have in common where one can be given for the other.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Shape {
    environment_digest: String,
    backend: String,
    vcpus: VcpuCount,
    memory: Mebibytes,
    disk: Mebibytes,
}

impl Shape {
    fn of(record: &WorkspaceRecord) -> Self {
        Self {
            environment_digest: record.environment_digest.clone(),
            backend: record.backend.clone(),
            vcpus: record.vcpus,
            memory: record.memory,
            disk: record.disk,
        }
    }
}

/// The warm VMs of a node.
#[derive(Debug)]
pub(crate) struct Pool {
    most: usize,
    ready: Mutex<VecDeque<Handle>>,
    /// One is made at a time: those who wait for theirs go first.
    making: Semaphore,
}

impl Pool {
    /// Keeps so many at most.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, ready: Mutex::default(), making: Semaphore::new(1) }
    }

    /// Those that can be given: what ended by itself, or by its time, is left out.
    fn ready(&self) -> MutexGuard<'_, VecDeque<Handle>> {
        // Nothing can panic halfway through a change.
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.retain(|handle| handle.snapshot().record.phase == Phase::Started);
        ready
    }

    /// Takes out the one that has waited longest.
    fn take(&self, shape: &Shape) -> Option<Handle> {
        let mut ready = self.ready();
        let at = ready.iter().position(|handle| Shape::of(&handle.snapshot().record) == *shape)?;
        ready.remove(at)
    }

    /// Whether there is one for each place, and one of this shape.
    fn has_enough(&self, shape: &Shape) -> bool {
        let ready = self.ready();
        let fits = |handle: &Handle| Shape::of(&handle.snapshot().record) == *shape;
        ready.len() >= self.most && ready.iter().any(fits)
    }

    /// Adds one; gives those that are too many now, the oldest first.
    fn add(&self, handle: Handle) -> Vec<Handle> {
        let mut ready = self.ready();
        ready.push_back(handle);
        let surplus = ready.len().saturating_sub(self.most);
        ready.drain(..surplus).collect()
    }
}

impl Workspaces {
    /// Warm VMs there are.
    pub fn warm_count(&self) -> usize {
        self.context().warm.ready().len()
    }

    /// Gives a warm VM where one fits.
    pub(crate) async fn claim(&self, wanted: &WorkspaceRecord) -> Option<Handle> {
        let handle = self.context().warm.take(&Shape::of(wanted))?;
        let wanted = Box::new(wanted.clone());
        match handle.ask(|reply| Request::Claim { wanted, reply }).await {
            Ok(_) => Some(handle),
            Err(error) => {
                // A name that is taken is told once more, by whoever then makes the workspace.
                tracing::debug!(workspace = %handle.id(), %error, "a warm VM could not be given");
                handle.delete_later();
                None
            }
        }
    }

    /// Fills the pool with VMs like this one in the background, one after the other. Of other shapes one
    /// makes room, where none is like this.
    pub(crate) fn restock(&self, given: &Handle) {
        if self.context().warm.most == 0 {
            return;
        }
        let (workspaces, given, like) =
            (self.clone(), given.clone(), given.snapshot().record.clone());
        tokio::spawn(async move {
            // Whoever was just given one needs the processors now.
            let mut ends = given.exec_ends();
            let first_command = async {
                tokio::select! {
                    _ = ends.changed() => {}
                    () = given.gone() => {}
                }
            };
            let _ = tokio::time::timeout(FIRST_COMMAND, first_command).await;
            drop(given);
            let pool = &workspaces.context().warm;
            let shape = Shape::of(&like);
            // Closed: the node ends.
            while let Ok(_turn) = pool.making.acquire().await
                && !pool.has_enough(&shape)
            {
                let held = workspaces.context().platform.images_held.read().await;
                match workspaces.make(warm(&like), held).await {
                    Ok(handle) => {
                        if let Err(error) = rehearse(&handle).await {
                            tracing::debug!(workspace = %handle.id(), %error, "a rehearsal failed");
                        }
                        for surplus in pool.add(handle) {
                            surplus.delete_later();
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "could not make a warm VM");
                        return;
                    }
                }
            }
        });
    }

    /// Removes every warm VM; waits for one that is being made.
    pub(crate) async fn cool_down(&self) {
        let pool = &self.context().warm;
        let _turn = pool.making.acquire().await;
        let all: Vec<_> = pool.ready().drain(..).collect();
        for handle in all {
            if let Err(error) = handle.delete().await {
                tracing::warn!(workspace = %handle.id(), %error, "could not remove a warm VM");
            }
        }
    }

    /// Removes every warm VM, and makes no more.
    pub async fn end_warm(&self) {
        self.cool_down().await;
        self.context().warm.making.close();
    }
}

/// Has the guest run a command, and forget it: an emulator has translated then what that takes, and the
/// first command that somebody waits for is as fast as the second.
async fn rehearse(handle: &Handle) -> Result<(), LinkError> {
    let Some(live) = handle.snapshot().live.clone() else { return Ok(()) };
    let id = ExecId::from_random(random_bits()).to_string();
    let command = ["/bin/sh", "-c", "true"].map(|word| Bytes::from_static(word.as_bytes()));
    let exec = StartExec {
        exec_id: id.clone(),
        arguments: command.into(),
        working_directory: Bytes::from_static(b"/"),
        timeout_millis: REHEARSAL.as_millis() as u64,
        attach: true,
        ..StartExec::default()
    };
    let (_, mut stream) = live.link.start_exec(exec).await?;
    while stream.output.next().await?.is_some() {}
    live.link.forget_exec(id).await
}

/// The record of one that nobody wants yet.
fn warm(like: &WorkspaceRecord) -> WorkspaceRecord {
    let now = now_millis();
    WorkspaceRecord {
        id: WorkspaceId::from_random(random_bits()),
        kind: WorkspaceKind::Vm,
        name: None,
        labels: BTreeMap::new(),
        ttl_seconds: Some(TTL),
        on_expiry: OnExpiry::Delete,
        created_at: now,
        last_activity_at: now,
        phase: Phase::Creating,
        was_started: false,
        network: NetworkRecord::default(),
        seed: None,
        is_warm: true,
        checkpoints: Checkpoints::default(),
        ..like.clone()
    }
}

/// What a warm VM becomes when it is given: what it is stays, what was asked for comes.
pub(crate) fn claimed(warm: &WorkspaceRecord, wanted: WorkspaceRecord) -> WorkspaceRecord {
    WorkspaceRecord {
        id: warm.id,
        phase: warm.phase,
        accelerated: warm.accelerated,
        was_started: warm.was_started,
        is_warm: false,
        ..wanted
    }
}
