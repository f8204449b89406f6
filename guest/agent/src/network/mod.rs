//! What the workload sends out: an interface in its network, and the trunk to the host.
//!
//! ```text
//! program -> kernel -> pyro0 -> device: packets -> table: which connection, what to do
//!               ^                                    |-> relay: asks the host, holds the first packet
//!               '--- the same packets, readdressed <-'          |
//!                    to a listener of the agent's               '-> carries what the listener accepts
//! ```
//!
//! The guest's kernel does TCP on both sides, so there is no second TCP here. Nothing leaves the
//! machine as a packet. A connection's first packet is held until the host says what became of it, so
//! that a program's `connect` fails at once and with the right error.
//!
//! Owns the interface and its bounds. Refuses to know what may be reached: the host decides.

mod device;
mod packet;
mod process;
mod relay;
mod table;

use std::{
    collections::HashMap,
    io::{self, IoSlice},
    net::SocketAddr,
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use pyro_session::{Opener, Side};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use self::{
    device::Device,
    packet::{OFFLOAD, Offload, Unreachable},
    process::Kind,
    table::{Action, Flow, NAME_PORT, Table, gateway},
};
use crate::{agent::Agent, console, refusal::Refusal, service::Place, spawner::Spawner};

/// Streams of a trunk: as many as the host bears. Our own bounds are below that.
const MOST_STREAMS: usize = 1536;
/// Queries that wait for an answer at once; one too many is dropped, and asked again.
const MOST_QUERIES: usize = 128;
/// How long a program's kernel may take from its first packet to the connection.
const ACCEPTING: Duration = Duration::from_secs(10);
/// Packets taken in one turn, before others have theirs.
const TURN: usize = 64;
/// Before an interface is made anew that broke: somebody inside took it away.
const AGAIN: Duration = Duration::from_secs(1);

/// The workload's network.
#[derive(Debug, Default)]
pub struct Network {
    trunk: watch::Sender<Option<Opener>>,
    running: tokio::sync::Mutex<Option<Running>>,
}

/// The task that keeps an interface; it ends when it is told to.
#[derive(Debug)]
struct Running {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Network {
    /// Serves a trunk until it ends; the newest one counts.
    pub async fn serve_trunk<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (opener, incoming) = pyro_session::begin(stream, Side::Guest, MOST_STREAMS);
        // Streams that the host opens in it have no meaning yet: they are reset.
        drop(incoming);
        let mut trunk = self.trunk.subscribe();
        self.trunk.send_replace(Some(opener.clone()));
        trunk.borrow_and_update();
        tokio::select! {
            () = opener.closed() => {
                self.trunk.send_if_modified(|now| {
                    let is_ours = now.as_ref().is_some_and(|now| now.is(&opener));
                    if is_ours {
                        *now = None;
                    }
                    is_ours
                });
            }
            // A newer one was opened.
            _ = trunk.changed() => {}
        }
    }

    /// Makes the interface, or takes it away; nothing where it is so already.
    pub async fn set(&self, enabled: bool, agent: &Arc<Agent>) -> Result<(), Refusal> {
        let mut running = self.running.lock().await;
        if enabled == running.is_some() {
            return Ok(());
        }
        if let Some(Running { end, task }) = running.take() {
            let _ = end.send(());
            let _ = task.await;
        }
        if enabled {
            let workload = agent.workload_there();
            let workload = workload.ok_or(Refusal::NoWorkload)?;
            let place = Place::new(agent.clone(), workload.clone());
            let device = device::make(&place).map_err(Refusal::Network)?;
            prepare(&place).await;
            let (end, ended) = oneshot::channel();
            let task = keep(agent.clone(), workload, device, self.trunk.subscribe(), ended);
            *running = Some(Running { end, task: tokio::spawn(task) });
        }
        Ok(())
    }
}

async fn prepare(place: &Place) {
    if let Err(error) = device::name_the_resolver(place).await {
        console::note(&format!("/etc/resolv.conf: {error}"));
    }
}

/// Keeps an interface in whatever workload there is, until it is told to end.
async fn keep(
    agent: Arc<Agent>,
    mut workload: Arc<Spawner>,
    mut device: Device,
    trunk: watch::Receiver<Option<Opener>>,
    mut end: oneshot::Receiver<()>,
) {
    loop {
        let mut is_over = false;
        let stop = async {
            tokio::select! {
                _ = &mut end => is_over = true,
                _ = workload.ended() => {}
            }
        };
        let broken = Wire::run(device, workload.process_id(), trunk.clone(), stop).await;
        if is_over {
            return;
        }
        if let Some(error) = &broken {
            console::note(&format!("{}: {error}", device::NAME));
        }
        let broken = broken.is_some();
        device = loop {
            let next = async {
                if broken {
                    tokio::time::sleep(AGAIN).await;
                    agent.workload(None).await
                } else {
                    agent.workload(Some(&workload)).await
                }
            };
            let next = tokio::select! {
                _ = &mut end => return,
                next = next => next,
            };
            // A machine that is going down, or whose workload cannot be made again.
            let Ok(next) = next else { return };
            workload = next;
            let place = Place::new(agent.clone(), workload.clone());
            match device::make(&place) {
                Ok(device) => {
                    prepare(&place).await;
                    break device;
                }
                Err(error) => {
                    console::note(&format!("{}: {error}", device::NAME));
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
    }
}

/// One interface while it lives.
struct Wire {
    packets: crate::descriptor::Descriptor,
    /// A process that is in the workload's network.
    inside: i32,
    table: Mutex<Table>,
    /// Connections that the host has made, until the program's kernel takes them.
    waiting: Mutex<HashMap<u16, oneshot::Sender<TcpStream>>>,
    queries: Arc<Semaphore>,
    trunk: watch::Receiver<Option<Opener>>,
    began: Instant,
}

impl Wire {
    /// Carries what comes until it is to stop or the interface breaks, which is told. Then every
    /// connection is reset.
    async fn run(
        device: Device,
        inside: i32,
        trunk: watch::Receiver<Option<Opener>>,
        stop: impl Future<Output = ()>,
    ) -> Option<io::Error> {
        let Device { packets, listeners, listening } = device;
        let wire = Arc::new(Self {
            packets,
            inside,
            table: Mutex::new(Table::new(listening)),
            waiting: Mutex::default(),
            queries: Arc::new(Semaphore::new(MOST_QUERIES)),
            trunk,
            began: Instant::now(),
        });
        let mut tasks = JoinSet::new();
        for listener in listeners {
            let wire = wire.clone();
            tasks.spawn(async move { wire.accept(listener).await });
        }
        let mut buffer = vec![0; OFFLOAD + (1 << 16)];
        let broken = tokio::select! {
            error = wire.carry(&mut buffer, &mut tasks) => Some(error),
            () = stop => None,
        };
        tasks.shutdown().await;
        // The resets of what ended so get out still.
        while let Ok(Some(count)) = wire.packets.read_now(&mut buffer) {
            wire.take(&mut buffer[..count], &mut tasks);
        }
        broken
    }

    async fn carry(self: &Arc<Self>, buffer: &mut [u8], tasks: &mut JoinSet<()>) -> io::Error {
        loop {
            if let Err(error) = self.packets.readable_or_broken().await {
                return error;
            }
            for _ in 0..TURN {
                match self.packets.try_read(buffer) {
                    Ok(Some(count)) => self.take(&mut buffer[..count], tasks),
                    Ok(None) => break,
                    Err(error) => return error,
                }
            }
            while tasks.try_join_next().is_some() {}
            tokio::task::yield_now().await;
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u16, oneshot::Sender<TcpStream>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a packet to the workload's kernel. One that it does not take is lost, as on any wire.
    fn put(&self, offload: Offload, packet: &[u8]) {
        let whole = [IoSlice::new(offload.bytes()), IoSlice::new(packet)];
        let _ = rustix::io::writev(self.packets.as_fd(), &whole);
    }

    fn take(self: &Arc<Self>, read: &mut [u8], tasks: &mut JoinSet<()>) {
        let Some((offload, bytes)) = Offload::split(read) else { return };
        let action = self.table().decide(offload, bytes, self.began.elapsed());
        match action {
            Action::Drop => {}
            Action::Return => self.put(offload, bytes),
            Action::Answer(packet) => self.put(Offload::WHOLE, &packet),
            Action::Connect { number, flow } => {
                let (wire, first) = (self.clone(), bytes.to_vec());
                tasks.spawn(async move { wire.connect(number, flow, offload, first).await });
            }
            Action::Query { from, to, query } => {
                let Ok(place) = self.queries.clone().try_acquire_owned() else { return };
                let wire = self.clone();
                tasks.spawn(async move {
                    let mut trunk = wire.trunk.clone();
                    let process = process::holder(wire.inside, Kind::Udp, from.port()).await;
                    let answer = relay::resolve(&mut trunk, query, true, process).await;
                    let packet = answer.and_then(|answer| packet::datagram(to, from, &answer));
                    if let Some(packet) = packet {
                        wire.put(Offload::WHOLE, &packet);
                    }
                    drop(place);
                });
            }
        }
    }

    async fn connect(
        self: Arc<Self>,
        number: u16,
        flow: Flow,
        offload: Offload,
        mut first: Vec<u8>,
    ) {
        let entry = Entered { wire: &self, number };
        let mut trunk = self.trunk.clone();
        let is_names = flow.destination.ip() == gateway(flow.destination.ip())
            && flow.destination.port() == NAME_PORT;
        let process = process::holder(self.inside, Kind::Tcp, flow.port).await;
        let dialed = if is_names {
            None
        } else {
            match relay::dial(&mut trunk, flow.destination, process.clone()).await {
                Ok(dialed) => Some(dialed),
                Err(why) => {
                    self.table().refuse(number);
                    self.refuse(offload, &first, why);
                    return;
                }
            }
        };
        let (tell, told) = oneshot::channel();
        self.waiting().insert(number, tell);
        if !self.table().open(number, offload, &mut first) {
            return;
        }
        self.put(offload, &first);
        // A program that gave up meanwhile resets what it did not expect, and nothing is accepted.
        let Ok(Ok(connection)) = timeout(ACCEPTING, told).await else { return };
        match dialed {
            Some(dialed) => relay::carry(connection, dialed).await,
            None => relay::serve_names(connection, &mut trunk, process.as_ref()).await,
        }
        drop(entry);
    }

    fn refuse(&self, offload: Offload, first: &[u8], why: Option<Unreachable>) {
        if let Some(packet) = table::refusal(offload, first, why) {
            self.put(Offload::WHOLE, &packet);
        }
    }

    async fn accept(&self, listener: TcpListener) {
        loop {
            let (connection, peer): (TcpStream, SocketAddr) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Too many descriptors: those who end give some back.
                    console::note(&format!("{}: {error}", device::NAME));
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            };
            // Programs of the workload reach the listener too; what they say goes nowhere.
            let wanted = if peer.ip() == gateway(peer.ip()) {
                self.waiting().remove(&peer.port())
            } else {
                None
            };
            if let Some(wanted) = wanted {
                let _ = wanted.send(connection);
            }
        }
    }
}

/// A connection's place in the table; dropped, it has ended.
struct Entered<'a> {
    wire: &'a Wire,
    number: u16,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.wire.waiting().remove(&self.number);
        self.wire.table().end(self.number, self.wire.began.elapsed());
    }
}
