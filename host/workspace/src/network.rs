//! What a workspace may reach: its policy, and the relay that carries what it sends out.
//!
//! One relay lives as long as its workspace is known to the node, whether or not a VM runs, so that
//! its log outlives stops. Refuses to know what the policy means: that is the relay's.

use std::{net::IpAddr, sync::Arc, time::Duration};

use pyro_core::WorkspaceId;
use pyro_link::{GuestStream, LinkError, Trunk, Wish};
use pyro_relay::{Policy, Process, Refusal, Relay, Transport, Verdict};
use pyro_store::{NetworkPolicy, NetworkRecord};
use pyro_wire::RefusedReason;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    activity::Activity,
    error::WorkspaceError,
    owner::{Handle, Request, Snapshot},
    vm::Vm,
};

/// After a trunk that broke, or was not to be had, though the VM lives.
const AGAIN: Duration = Duration::from_millis(200);

/// A network policy whose rules can be read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Network {
    record: NetworkRecord,
    policy: Policy,
}

impl Network {
    /// A policy by its name in the contract, with the rules of an allow-list.
    pub fn parse<T: AsRef<str>>(
        name: &str,
        allow: &[T],
    ) -> Result<Self, pyro_relay::InvalidPolicy> {
        let policy = Policy::parse(name, allow)?;
        let named = match name {
            "egress" => NetworkPolicy::Egress,
            "egress+published-ports" => NetworkPolicy::EgressAndPublishedPorts,
            _ => NetworkPolicy::Off,
        };
        let allow = policy.rules().iter().map(ToString::to_string).collect();
        Ok(Self { record: NetworkRecord { policy: named, allow }, policy })
    }

    /// As it is kept.
    pub(crate) fn record(&self) -> &NetworkRecord {
        &self.record
    }
}

/// The policy of a record. Where this build cannot read one of its rules, nothing is reached.
pub(crate) fn policy_of(id: WorkspaceId, record: &NetworkRecord) -> Policy {
    Policy::parse(record.policy.as_str(), &record.allow).unwrap_or_else(|error| {
        tracing::error!(workspace = %id, %error, "its network is off: a rule cannot be read");
        Policy::off()
    })
}

impl Handle {
    /// Changes what it may reach, at once: what is open and no longer fits is ended. Returns how many
    /// connections that were.
    pub async fn set_network(
        &self,
        network: Network,
    ) -> Result<(Arc<Snapshot>, usize), WorkspaceError> {
        self.activity.touch();
        self.ask(|reply| Request::SetNetwork { network: Box::new(network), reply }).await
    }

    /// Returns when it was deleted.
    pub async fn gone(&self) {
        let mut snapshot = self.snapshots();
        while snapshot.changed().await.is_ok() {}
    }

    /// What carries what it sends out, and remembers that.
    pub fn relay(&self) -> &Relay {
        &self.relay
    }
}

/// What a command is told of, at most: the newest.
const MOST_TOLD: usize = 3;

/// What was refused since then, each once: why, and the flag that would allow it.
pub(crate) fn denied_since(relay: &Relay, millis: u64) -> Vec<(String, String)> {
    let mut told: Vec<(String, String)> = Vec::new();
    for entry in relay.log().recent().into_iter().rev() {
        let is_new = entry.verdict == Verdict::Denied && entry.at >= millis;
        let (true, Some(why), Some(hint)) = (is_new, entry.why, entry.hint) else { continue };
        if told.len() < MOST_TOLD && told.iter().all(|(_, other)| *other != hint) {
            told.push((why, hint));
        }
    }
    told.reverse();
    told
}

/// Takes a guest's trunk and feeds the relay, for as long as the VM lives and its network is on.
pub(crate) struct NetworkFollower {
    pub(crate) workspace: WorkspaceId,
    pub(crate) vm: Vm,
    pub(crate) relay: Relay,
    pub(crate) activity: Arc<Activity>,
    pub(crate) snapshot: watch::Receiver<Arc<Snapshot>>,
}

impl NetworkFollower {
    pub(crate) async fn run(mut self) {
        let vm = self.vm.clone();
        tokio::select! {
            () = vm.ended() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&mut self) {
        let is_on = |snapshot: &Arc<Snapshot>| snapshot.record.network.is_on();
        loop {
            if self.snapshot.wait_for(is_on).await.is_err() {
                return;
            }
            // A node that died between its record and the guest left the interface as it was.
            let opened = match self.vm.link.set_network(true).await {
                Ok(()) => self.vm.link.trunk().await,
                Err(error) => Err(error),
            };
            match opened {
                Ok(trunk) => {
                    let off = self.snapshot.wait_for(|snapshot| !is_on(snapshot));
                    let serving = serve(trunk, &self.relay, &self.activity);
                    let is_off = tokio::select! {
                        _ = off => true,
                        () = serving => false,
                    };
                    if is_off {
                        let _ = self.vm.link.set_network(false).await;
                        continue;
                    }
                }
                Err(error) => {
                    tracing::warn!(workspace = %self.workspace, %error, "no trunk to the guest");
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Serves a trunk until it ends; dropped, everything that it carries is cut off.
async fn serve(mut trunk: Trunk, relay: &Relay, activity: &Arc<Activity>) {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            stream = trunk.next() => {
                let Some(stream) = stream else { return };
                let (relay, activity) = (relay.clone(), activity.clone());
                streams.spawn(async move {
                    if let Err(error) = answer(stream, &relay, &activity).await {
                        tracing::debug!(%error, "a stream of the trunk");
                    }
                });
            }
            Some(_) = streams.join_next() => {}
        }
    }
}

async fn answer(
    stream: GuestStream,
    relay: &Relay,
    activity: &Arc<Activity>,
) -> Result<(), LinkError> {
    let (wish, process, asked) = stream.wish().await?;
    let process = process.map(|(pid, name)| Process { pid, name });
    match wish {
        Wish::Resolve { query, datagram } => {
            let transport = if datagram { Transport::Udp } else { Transport::Tcp };
            let answer = relay.dns(&query, transport, process).await;
            asked.resolved(answer.unwrap_or_default()).await
        }
        Wish::Dial(destination) => match relay.connect(destination, process).await {
            Ok(outgoing) => {
                activity.touch();
                let carried = outgoing.carry(asked.dialed().await?).await;
                tracing::debug!(%destination, ?carried, "a connection ended");
                activity.touch();
                Ok(())
            }
            Err(refusal) => asked.refused(reason(&refusal)).await,
        },
    }
}

fn reason(refusal: &Refusal) -> RefusedReason {
    match refusal {
        Refusal::Denied(_) => RefusedReason::RefusedDenied,
        Refusal::Refused => RefusedReason::RefusedConnection,
        Refusal::Unreachable { .. } => RefusedReason::RefusedUnreachable,
        Refusal::TimedOut => RefusedReason::RefusedTimedOut,
        Refusal::TooMany => RefusedReason::RefusedTooMany,
    }
}

/// Where the workload's interface is, as the guest makes it.
pub const GUEST_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 0, 2));
