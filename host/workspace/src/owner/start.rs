//! Making and starting: disks, VM, both phases of the boot.

use std::time::Duration;

use pyro_core::Problem;
use pyro_link::LinkError;
use pyro_store::{Phase, WorkspaceRecord};

use super::{
    follower::Follower,
    handle::{Live, Request},
    task::Owner,
};
use crate::{
    error::{WorkspaceError, with_sources},
    network::NetworkFollower,
    platform::Way,
    registry::{entropy, now_nanos},
    service::ServiceFollower,
    state::Event,
    vm::{Ending, Vm},
};

/// How long a guest may take from the VMM's start to its first answer. Generous: an emulated boot
/// takes a second on an idle machine, and machines are not always idle.
pub(super) const BOOT: Duration = Duration::from_mins(2);

/// The same for the first attempt: long enough that only a guest that hangs is given up.
const FIRST_BOOT: Duration = Duration::from_secs(45);

/// The same for a guest that does not boot, since it was saved when it had.
const RESTORE: Duration = Duration::from_secs(20);

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

impl Owner {
    /// Makes a workspace whose row was just written: disks, VM, guest. Undone where it fails.
    pub(super) async fn make(&mut self) -> Result<(), WorkspaceError> {
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

    /// A running guest, started if need be; whether it had to be. With `resume`, services that ran
    /// when it was stopped run again; it is kept with the announcement, for a node that finishes a
    /// start that this one did not.
    pub(super) async fn ensure_started(&mut self, resume: bool) -> Result<bool, WorkspaceError> {
        if self.record.phase == Phase::Stopped {
            self.await_copy().await;
            self.record.holds_services = !resume;
        }
        if !self.enter(Event::StartRequested)? {
            return Ok(false);
        }
        self.context.crash.reached("start:announced");
        let launched = self.launch("start").await;
        if let Err(error) = &launched {
            self.record.stop_reason = Some("start_failed".into());
            self.record.stop_detail = Some(error.to_string());
            self.enter(Event::StartFailed)?;
        }
        self.settle_ports().await;
        launched.map(|()| true)
    }

    /// Both phases of the boot. `operation` names the crash points.
    ///
    /// Nothing is mounted before the guest answers, so one that stays silent (an emulator's timers
    /// can be lost) is started a second time, which is logged.
    async fn launch(&mut self, operation: &str) -> Result<(), WorkspaceError> {
        let mut tried = None;
        match self.launch_once(operation, FIRST_BOOT, Some(&mut tried)).await {
            Err(failure) if tried.is_some() => {
                tracing::warn!(workspace = %self.record.id, ?failure, "nothing came of a template; booting");
                match self.launch_once(operation, FIRST_BOOT, None).await {
                    Err(LaunchFailure::Silent) => {}
                    other => {
                        if let (Ok(()), Some(key)) = (&other, tried) {
                            self.context.platform.discard(key).await;
                        }
                        return other.map_err(|failure| self.told(failure));
                    }
                }
            }
            Err(LaunchFailure::Silent) => {}
            other => return other.map_err(|failure| self.told(failure)),
        }
        tracing::warn!(workspace = %self.record.id, "the guest stayed silent; starting its VM again");
        self.launch_once(operation, BOOT, None).await.map_err(|failure| self.told(failure))
    }

    fn told(&self, failure: LaunchFailure) -> WorkspaceError {
        match failure {
            LaunchFailure::Silent => WorkspaceError::Start {
                id: self.record.id,
                reason: format!("the guest did not answer within {BOOT:?}, the second time"),
                console: Vec::new(),
            },
            LaunchFailure::Told(error) => error,
        }
    }

    async fn launch_once(
        &mut self,
        operation: &str,
        patience: Duration,
        template: Option<&mut Option<pyro_image::Digest>>,
    ) -> Result<(), LaunchFailure> {
        let (layout, platform) = (&self.context.layout, &self.context.platform);
        let (vm, boot) = platform.launch(layout, &self.record, template.is_some()).await?;
        let patience = match (&boot.way, template) {
            (Way::Restored(key), Some(tried)) => {
                tracing::debug!(workspace = %self.record.id, %key, "started from a template");
                *tried = Some(key.clone());
                RESTORE
            }
            _ => patience,
        };
        self.context.crash.reached(&format!("{operation}:launched"));
        match self.personalize(&vm, operation, patience).await {
            Ok(()) => {
                self.go_live(vm).await?;
                self.context.platform.has_started(boot);
                Ok(())
            }
            Err(error) => {
                let console = vm.console_tail();
                vm.kill().await;
                if error.is_silence() {
                    return Err(LaunchFailure::Silent);
                }
                if let WorkspaceError::Guest { source: LinkError::Guest { code, .. }, .. } = &error
                    && code == "network_unavailable"
                {
                    return Err(LaunchFailure::Told(self.without_network(&error)));
                }
                Err(LaunchFailure::Told(WorkspaceError::Start {
                    id: self.record.id,
                    reason: with_sources(&error),
                    console,
                }))
            }
        }
    }

    /// Most likely a kernel that was made before there were networks.
    fn without_network(&self, error: &WorkspaceError) -> WorkspaceError {
        let id = self.record.id;
        let mut problem = Problem::from_error("network_unavailable", error);
        problem.message = format!("workspace {id} could not be started with a network");
        problem.hint("`pyro env build` makes a kernel that has what it takes").into()
    }

    pub(super) async fn personalize(
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
            entropy: entropy().into(),
            hold_services: self.record.holds_services,
            network: self.record.network.is_on(),
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
    pub(super) fn follow(&self) {
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
        let services = ServiceFollower {
            context: self.context.clone(),
            workspace: self.record.id,
            link: follower.live.link.clone(),
            vm: follower.live.vm.clone(),
            requests: self.requests.clone(),
            told: self.ports.services_changed.clone(),
        };
        let network = NetworkFollower {
            workspace: self.record.id,
            vm: follower.live.vm.clone(),
            relay: self.relay.clone(),
            activity: self.activity.clone(),
            snapshot: self.publish.subscribe(),
        };
        self.context.tasks.spawn(network.run());
        self.context.tasks.spawn(follower.run());
        self.context.tasks.spawn(services.run());
    }
}

/// The guest's host name: the workspace's name where it can be one, else its id.
pub(super) fn hostname(record: &WorkspaceRecord) -> String {
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
