//! The agent as a whole: what outlives a call.
//!
//! Owns the execs, the workload's supervision and what Personalize made. Refuses to know how calls
//! come in.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use pyro_wire::{GuestEvent, HelloReply, Personalized, WorkloadRestarted, guest_event};
use tokio::{
    sync::{Notify, Semaphore, broadcast, watch},
    time::timeout,
};

use crate::{
    boot,
    cgroup::{Cgroup, ExecCgroups},
    clerk::Clerk,
    console,
    exec::Execs,
    freeze::Freezer,
    network::Network,
    reaper::Children,
    refusal::Refusal,
    service::Services,
    spawner::{Preparation, STOCK, Spawner},
};

/// Events a watcher may be behind before it has to ask anew.
const EVENTS: usize = 1024;
/// Calls that are served at once. Each takes a few KiB, for as long as somebody follows or waits.
pub const MOST_CALLS: usize = 512;
/// How long a call waits for a workload that is being restarted.
const RESTARTING: Duration = Duration::from_secs(15);

/// What Personalize made of this machine.
#[derive(Clone, Debug)]
pub struct Personal {
    /// Whose it is.
    pub workspace_id: String,
    /// Its name.
    pub hostname: String,
    /// The answer, for when it is asked again.
    pub reply: Personalized,
}

/// The agent.
#[derive(Debug)]
pub struct Agent {
    /// Every exec.
    pub execs: Execs,
    /// Every service.
    pub services: Services,
    /// Groups for them.
    pub cgroups: ExecCgroups,
    /// What the workload sends out.
    pub network: Network,
    /// Does what nobody waits for.
    pub clerk: Clerk,
    /// Holds up writing to the workspace disk.
    pub freezer: Freezer,
    /// Places for calls.
    pub calls: Arc<Semaphore>,
    /// Processes of its own.
    pub children: Arc<Children>,
    /// What Personalize made; held while it is being made.
    pub personal: tokio::sync::Mutex<Option<Personal>>,
    shown: Mutex<Option<String>>,
    hostname: Mutex<String>,
    preparation: tokio::sync::Mutex<Option<Preparation>>,
    workload: watch::Sender<Option<Arc<Spawner>>>,
    events: broadcast::Sender<GuestEvent>,
    restarts: AtomicU32,
    shutting_down: AtomicBool,
    restock: Notify,
    started: Duration,
}

impl Agent {
    /// An agent that began this long after the kernel.
    pub fn new(started: Duration) -> Arc<Self> {
        Arc::new(Self {
            execs: Execs::default(),
            services: Services::default(),
            cgroups: ExecCgroups::default(),
            network: Network::default(),
            clerk: Clerk::default(),
            freezer: Freezer::default(),
            calls: Arc::new(Semaphore::new(MOST_CALLS)),
            children: Arc::default(),
            personal: tokio::sync::Mutex::default(),
            shown: Mutex::default(),
            hostname: Mutex::default(),
            preparation: tokio::sync::Mutex::default(),
            workload: watch::Sender::default(),
            events: broadcast::Sender::new(EVENTS),
            restarts: AtomicU32::new(0),
            shutting_down: AtomicBool::new(false),
            restock: Notify::new(),
            started,
        })
    }

    /// What it says of itself.
    pub fn hello(&self) -> HelloReply {
        let workspace_id = self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        HelloReply {
            generation: pyro_wire::GENERATION,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel_release: rustix::system::uname().release().to_string_lossy().into_owned(),
            personal: workspace_id.is_some(),
            workspace_id: workspace_id.unwrap_or_default(),
            agent_started_micros: self.started.as_micros() as u64,
            workload_restarts: self.restarts.load(Ordering::Relaxed),
        }
    }

    /// Makes the new identity visible.
    pub fn became(&self, workspace_id: &str) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(workspace_id.to_owned());
    }

    /// Tells whoever watches.
    pub fn tell(&self, event: GuestEvent) {
        // Nobody may be watching.
        let _ = self.events.send(event);
    }

    /// Events from now on.
    pub fn events(&self) -> broadcast::Receiver<GuestEvent> {
        self.events.subscribe()
    }

    /// The workload, waiting while it is being restarted; another one than `old`.
    pub async fn workload(&self, old: Option<&Arc<Spawner>>) -> Result<Arc<Spawner>, Refusal> {
        if self.shutting_down.load(Ordering::Relaxed) {
            return Err(Refusal::ShuttingDown);
        }
        if self.shown.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Err(Refusal::NotPersonal);
        }
        let mut workload = self.workload.subscribe();
        let is_new = |new: &Option<Arc<Spawner>>| match (new, old) {
            (Some(new), Some(old)) => !Arc::ptr_eq(new, old),
            (new, _) => new.is_some(),
        };
        let there = timeout(RESTARTING, workload.wait_for(is_new)).await;
        match there {
            Ok(Ok(workload)) => workload.clone().ok_or(Refusal::NoWorkload),
            _ => Err(Refusal::NoWorkload),
        }
    }

    /// The workload, where there is one now.
    pub fn workload_there(&self) -> Option<Arc<Spawner>> {
        self.workload.borrow().clone()
    }

    /// Makes what is the same in every workload. Where that fails, it is tried again once a workload is
    /// wanted, and told then.
    pub async fn prepare_workload(&self) {
        match Preparation::make(&self.children).await {
            Ok(preparation) => *self.preparation.lock().await = Some(preparation),
            Err(error) => console::note(&format!("the workload: {error}")),
        }
    }

    async fn start_workload(&self) -> Result<Spawner, Refusal> {
        let hostname = self.hostname.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let made = async {
            let preparation = match self.preparation.lock().await.take() {
                Some(preparation) => preparation,
                None => Preparation::make(&self.children).await?,
            };
            Spawner::start(&hostname, preparation, self.children.clone()).await
        };
        made.await.map_err(Refusal::Workload)
    }

    /// Whether nothing new is started any more.
    pub fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Relaxed)
    }

    /// What the workload is called, from its next start on.
    pub fn set_hostname(&self, hostname: &str) {
        hostname.clone_into(&mut self.hostname.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Makes the workload and keeps it: restarts it whenever its PID 1 ends.
    pub async fn keep_workload(self: &Arc<Self>, hostname: &str) -> Result<(), Refusal> {
        self.set_hostname(hostname);
        let first = Arc::new(self.start_workload().await?);
        self.cgroups.tidy(None);
        self.workload.send_replace(Some(first.clone()));
        let agent = self.clone();
        tokio::spawn(async move {
            loop {
                let workload = agent.workload.borrow().clone();
                let recruit_ended = async {
                    match &workload {
                        Some(workload) => workload.recruit_ended().await,
                        None => std::future::pending().await,
                    }
                };
                let wanted = tokio::select! {
                    () = agent.restock.notified() => STOCK,
                    () = recruit_ended => 0,
                };
                let workload = agent.workload.borrow().clone();
                if let Some(workload) = workload {
                    workload.stock(wanted, &agent.cgroups).await;
                }
            }
        });
        let agent = self.clone();
        self.clerk.put_off(move || {
            agent.restock();
            boot::load_later();
        });
        let agent = self.clone();
        tokio::spawn(async move {
            let mut current = first;
            loop {
                let reason = current.ended().await;
                agent.workload.send_replace(None);
                if agent.shutting_down.load(Ordering::Relaxed) {
                    return;
                }
                console::note(&format!("the workload is restarted: {reason}"));
                match agent.restart(&current).await {
                    Ok(next) => current = next,
                    Err(refusal) => {
                        console::note(&format!("the workload cannot be restarted: {refusal}"));
                        return;
                    }
                }
                let restarts = agent.restarts.fetch_add(1, Ordering::Relaxed) + 1;
                agent.workload.send_replace(Some(current.clone()));
                agent.restock();
                let event = WorkloadRestarted { reason, restarts };
                agent
                    .tell(GuestEvent { event: Some(guest_event::Event::WorkloadRestarted(event)) });
            }
        });
        Ok(())
    }

    /// Lets processes be made ahead of their commands, in the background.
    pub fn restock(&self) {
        if !self.shutting_down.load(Ordering::Relaxed) {
            self.restock.notify_one();
        }
    }

    async fn restart(&self, old: &Spawner) -> Result<Arc<Spawner>, Refusal> {
        old.end().await;
        let group = Cgroup::workload().map_err(Refusal::Cgroup)?;
        let _ = group.kill();
        // Every exec of the old one ends now; each takes its group away when it has.
        // One without a process is waiting for the new workload.
        for exec in self.execs.running().iter().filter(|exec| exec.has_process()) {
            let _ = timeout(RESTARTING, exec.ended()).await;
        }
        let _ = timeout(RESTARTING, group.emptied()).await;
        self.clerk.catch_up().await;
        self.cgroups.drop_spare();
        let next = Arc::new(self.start_workload().await?);
        self.cgroups.tidy(None);
        Ok(next)
    }

    /// From here on nothing new is started. Gives the workload that is to be ended, if any.
    pub fn begin_shut_down(&self) -> Option<Arc<Spawner>> {
        self.shutting_down.store(true, Ordering::Relaxed);
        self.workload.borrow().clone()
    }
}
