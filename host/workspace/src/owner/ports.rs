//! The ports of this host that lead to the workspace: taken and released as the record and the state
//! of workspace and services ask for it ([`held_back`]).

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use pyro_core::{Problem, ServiceName, WorkspaceId};
use pyro_listen::{HostPort, ListenError, Listening, hang_up};
use pyro_store::{Phase, PublishedPort};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::task::Owner;
use crate::{
    error::{WorkspaceError, with_sources},
    port::Carried,
    published::{PortRequest, PortState, PortStatus, held_back, is_same_place},
    registry::Context,
};

/// Ports that may be published of one workspace.
const MOST_PORTS: usize = 128;
/// The lowest port of this host that is taken without being asked for by number.
const LOWEST: u16 = 1025;
/// Names `localhost` within the workspace, v4 and v6.
const WITHIN: &str = "localhost";

/// What the owner has of ports.
#[derive(Debug, Default)]
pub(super) struct Ports {
    taken: Vec<Taken>,
    failed: HashMap<PublishedPort, String>,
    /// Services that are being started: their ports are kept for them.
    held: HashMap<ServiceName, usize>,
    /// Services changed, and nobody has looked at what that means for their ports.
    pub(super) services_changed: Arc<AtomicBool>,
}

/// A port that is listened on.
#[derive(Debug)]
struct Taken {
    port: PublishedPort,
    connections: Arc<AtomicUsize>,
    ended: CancellationToken,
    serving: JoinHandle<()>,
}

impl Taken {
    fn new(context: &Arc<Context>, id: WorkspaceId, port: PublishedPort, on: Listening) -> Self {
        let ended = CancellationToken::new();
        let connections = Arc::new(AtomicUsize::new(0));
        let way = Way {
            context: context.clone(),
            workspace: id,
            guest_port: port.guest_port,
            connections: connections.clone(),
        };
        let serving = tokio::spawn(serve(on, way, ended.clone()));
        Self { port, connections, ended, serving }
    }

    /// Cuts its connections; returns when it can be taken by others.
    async fn release(self) {
        self.ended.cancel();
        let _ = self.serving.await;
    }
}

impl Owner {
    /// Takes and releases ports, so that they are as they are to be; tells how they stand.
    pub(super) async fn settle_ports(&mut self) {
        self.ports.services_changed.store(false, Ordering::SeqCst);
        if self.record.published.is_empty() && self.ports.taken.is_empty() {
            return;
        }
        let active = self.active_services();
        let (phase, reason) = (self.record.phase, self.record.stop_reason.clone());
        let mut kept = Vec::new();
        for taken in std::mem::take(&mut self.ports.taken) {
            let there = self.record.published.contains(&taken.port);
            if there && self.held_back(&taken.port, phase, reason.as_deref(), &active).is_none() {
                kept.push(taken);
            } else {
                taken.release().await;
            }
        }
        self.ports.taken = kept;
        let mut failed = HashMap::new();
        for port in self.record.published.clone() {
            let is_wanted = self.held_back(&port, phase, reason.as_deref(), &active).is_none();
            if !is_wanted || self.ports.taken.iter().any(|taken| taken.port == port) {
                continue;
            }
            match Listening::on(port.bind, HostPort::Exactly(port.host_port)) {
                Ok(on) => self.take_port(port, on),
                Err(error) => {
                    let why = with_sources(&error);
                    if self.ports.failed.get(&port) != Some(&why) {
                        tracing::warn!(workspace = %self.record.id, %error, "a port is not published");
                    }
                    failed.insert(port, why);
                }
            }
        }
        self.ports.failed = failed;
        self.announce();
    }

    /// Which services run, where any has ports.
    fn active_services(&self) -> HashSet<ServiceName> {
        if self.record.published.iter().all(|port| port.service.is_none()) {
            return HashSet::new();
        }
        let services = self.context.store.services(self.record.id).unwrap_or_default();
        let active = services.into_iter().filter(|service| service.state.is_active());
        active.map(|service| service.name).collect()
    }

    fn held_back(
        &self,
        port: &PublishedPort,
        phase: Phase,
        stop_reason: Option<&str>,
        active: &HashSet<ServiceName>,
    ) -> Option<String> {
        let service = port.service.as_ref();
        if service.is_some_and(|name| self.ports.held.contains_key(name)) {
            return None;
        }
        let is_active = service.is_some_and(|name| active.contains(name));
        held_back(port, phase, stop_reason, is_active)
    }

    fn take_port(&mut self, port: PublishedPort, on: Listening) {
        self.ports.taken.push(Taken::new(&self.context, self.record.id, port, on));
    }

    /// How each published port stands.
    pub(super) fn port_statuses(&self) -> Vec<PortStatus> {
        if self.record.published.is_empty() {
            return Vec::new();
        }
        let (phase, reason) = (self.record.phase, self.record.stop_reason.as_deref());
        let of = |port: &PublishedPort| {
            if let Some(taken) = self.ports.taken.iter().find(|taken| taken.port == *port) {
                let connections = taken.connections.clone();
                return PortStatus::new(port.clone(), PortState::Listening, connections);
            }
            let state = match self.ports.failed.get(port) {
                Some(why) => PortState::Failed(why.clone()),
                // What is not taken of a started workspace waits for its service.
                None => PortState::Released(
                    held_back(port, phase, reason, false)
                        .unwrap_or_else(|| "it is about to be taken".to_owned()),
                ),
            };
            PortStatus::new(port.clone(), state, Arc::default())
        };
        self.record.published.iter().map(of).collect()
    }

    /// Publishes ports, all of them or none; those of a service are from now on these, and are held
    /// for it until it is let go. The ports that were asked for, and those the service had.
    pub(super) async fn publish(
        &mut self,
        requests: &[PortRequest],
        service: Option<ServiceName>,
    ) -> Result<(Vec<PublishedPort>, Vec<PublishedPort>), WorkspaceError> {
        if let Some(name) = &service {
            *self.ports.held.entry(name.clone()).or_default() += 1;
        }
        let done = self.publish_held(requests, service.as_ref()).await;
        if let (Err(_), Some(name)) = (&done, &service) {
            self.let_go(name);
        }
        self.settle_ports().await;
        done
    }

    async fn publish_held(
        &mut self,
        requests: &[PortRequest],
        service: Option<&ServiceName>,
    ) -> Result<(Vec<PublishedPort>, Vec<PublishedPort>), WorkspaceError> {
        let (of_service, others): (Vec<_>, Vec<_>) = self
            .record
            .published
            .iter()
            .cloned()
            .partition(|port| service.is_some() && port.service.as_ref() == service);
        let is_kept = |port: &PublishedPort| requests.iter().any(|it| it.is(port, service));
        // What is no more to be may stand in the way of what is.
        let stays = |port: &PublishedPort| !of_service.contains(port) || is_kept(port);
        let (kept, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.ports.taken).into_iter().partition(|taken| stays(&taken.port));
        self.ports.taken = kept;
        for taken in gone {
            taken.release().await;
        }
        let mut published = others.clone();
        published.extend(of_service.iter().filter(|port| is_kept(port)).cloned());
        let mut asked = Vec::new();
        let mut new = Vec::new();
        for request in requests {
            let there = published.iter().find(|port| request.is(port, service)).cloned();
            let is_taken = |port: &PublishedPort| {
                self.ports.taken.iter().any(|taken| taken.port == *port)
                    || new.iter().any(|(new, _): &(PublishedPort, Listening)| new == port)
            };
            if let Some(port) = there {
                if !is_taken(&port) {
                    let exactly = HostPort::Exactly(port.host_port);
                    new.push((port.clone(), listen(request, exactly)?));
                }
                asked.push(port);
                continue;
            }
            let port = |host_port| PublishedPort {
                bind: request.bind,
                host_port,
                guest_port: request.guest_port,
                service: service.cloned(),
            };
            // What is kept for another port of the workspace need not be listened on now.
            let own = |host_port| {
                let wanted = port(host_port);
                published.iter().find(|there| is_same_place(there, &wanted))
            };
            let on = match wanted(request) {
                HostPort::Preferably(number) if own(number).is_some() => HostPort::Any,
                wanted => wanted,
            };
            if let HostPort::Exactly(number) = on
                && let Some(there) = own(number)
            {
                return Err(own_port(there));
            }
            let on = listen(request, on)?;
            let port = port(on.address().port());
            if let Some(there) = published.iter().find(|there| is_same_place(there, &port)) {
                return Err(own_port(there));
            }
            published.push(port.clone());
            asked.push(port.clone());
            new.push((port, on));
        }
        if published.len() > MOST_PORTS {
            return Err(too_many());
        }
        self.keep_published(published)?;
        for (port, on) in new {
            self.take_port(port, on);
        }
        Ok((asked, of_service))
    }

    fn keep_published(&mut self, published: Vec<PublishedPort>) -> Result<(), WorkspaceError> {
        let mut record = self.record.clone();
        record.published = published;
        self.context.store.save_workspace_durably(&record)?;
        self.record = record;
        Ok(())
    }

    /// The ports of a service are these: as they were, when it was not started; none, when it is gone.
    pub(super) async fn set_ports(&mut self, service: &ServiceName, ports: Vec<PublishedPort>) {
        let mut published = self.record.published.clone();
        if published.is_empty() && ports.is_empty() {
            return;
        }
        published.retain(|port| port.service.as_ref() != Some(service));
        published.extend(ports);
        if let Err(error) = self.keep_published(published) {
            tracing::warn!(workspace = %self.record.id, %error, "could not keep its ports");
        }
        self.settle_ports().await;
        self.announce();
    }

    /// Nobody starts this service any more: whether it has its ports is its own matter.
    pub(super) fn let_go(&mut self, service: &ServiceName) {
        if let Some(count) = self.ports.held.get_mut(service) {
            *count -= 1;
            if *count == 0 {
                self.ports.held.remove(service);
            }
        }
    }

    /// Takes back what was published: by the host's ports, else by the guest's. All of them or none.
    pub(super) async fn unpublish(
        &mut self,
        ports: &[u16],
    ) -> Result<Vec<PublishedPort>, WorkspaceError> {
        let mut gone = Vec::new();
        for number in ports {
            let by = |number_of: fn(&PublishedPort) -> u16| {
                let published = self.record.published.iter();
                let found = published.filter(|port| number_of(port) == *number);
                found.cloned().collect::<Vec<_>>()
            };
            let mut found = by(|port| port.host_port);
            if found.is_empty() {
                found = by(|port| port.guest_port);
            }
            if found.is_empty() {
                return Err(not_published(self.record.id, *number));
            }
            gone.extend(found.into_iter().filter(|port| !gone.contains(port)).collect::<Vec<_>>());
        }
        let published = self.record.published.iter().filter(|port| !gone.contains(port));
        self.keep_published(published.cloned().collect())?;
        self.settle_ports().await;
        // Where nothing is left there was nothing to settle but this.
        self.announce();
        Ok(gone)
    }

    pub(super) async fn release_ports(&mut self) {
        for taken in std::mem::take(&mut self.ports.taken) {
            taken.release().await;
        }
    }
}

fn wanted(request: &PortRequest) -> HostPort {
    match request.host_port {
        None if request.guest_port >= LOWEST => HostPort::Preferably(request.guest_port),
        None | Some(0) => HostPort::Any,
        Some(number) => HostPort::Exactly(number),
    }
}

fn listen(request: &PortRequest, port: HostPort) -> Result<Listening, WorkspaceError> {
    Listening::on(request.bind, port).map_err(|error: ListenError| Problem::from(error).into())
}

fn own_port(there: &PublishedPort) -> WorkspaceError {
    let message = format!(
        "port {} of this host is published already, for port {} of this workspace",
        there.host_port, there.guest_port
    );
    Problem::conflict("port_taken", message)
        .hint("`pyro port unpublish` takes it back; 0 takes any port that is free")
        .into()
}

fn too_many() -> WorkspaceError {
    let message = format!("a workspace has at most {MOST_PORTS} published ports");
    Problem::conflict("too_many_ports", message)
        .hint("`pyro port list` shows them, `pyro port unpublish` takes some back")
        .into()
}

fn not_published(id: WorkspaceId, number: u16) -> WorkspaceError {
    let message = format!("port {number} of workspace {id} is not published");
    Problem::not_found("port_not_published", message)
        .hint(format!("`pyro port list {id}` shows what is"))
        .into()
}

/// Where connections go.
#[derive(Clone, Debug)]
struct Way {
    context: Arc<Context>,
    workspace: WorkspaceId,
    guest_port: u16,
    connections: Arc<AtomicUsize>,
}

async fn serve(on: Listening, way: Way, ended: CancellationToken) {
    loop {
        tokio::select! {
            () = ended.cancelled() => return,
            client = on.accept() => drop(tokio::spawn(way.clone().carry(client, ended.clone()))),
        }
    }
}

impl Way {
    async fn carry(self, mut client: TcpStream, ended: CancellationToken) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let carried = tokio::select! {
            biased;
            () = ended.cancelled() => Carried::Cut,
            carried = self.connected(&mut client) => carried,
        };
        // What was not made, or not ended by both, is seen as that: by a reset.
        if carried == Carried::Cut {
            let _ = client.set_zero_linger();
        }
        drop(client);
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    async fn connected(&self, client: &mut TcpStream) -> Carried {
        // Where the client cannot be watched there are no descriptors left.
        let Ok(gone) = hang_up(client) else { return Carried::Cut };
        let Some(handle) = self.context.find(self.workspace) else { return Carried::Cut };
        match handle.connect_port(WITHIN, self.guest_port, false).await {
            Ok(connection) => {
                let (from_client, to_client) = client.split();
                connection.carry(bytes::Bytes::new(), from_client, to_client, gone).await
            }
            Err(error) => {
                tracing::debug!(workspace = %self.workspace, %error, "a connection to a published port was not made");
                Carried::Cut
            }
        }
    }
}
