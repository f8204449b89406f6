//! A world for a relay: names, addresses and time as a test wants them.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::unnecessary_wraps)]

pub mod samples;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use pyro_relay::{
    Clock, Dial, DomainName, HostAddresses, Limits, Policy, Process, Relay, Resolve, ResolveError,
    Settings, Transport,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// The world of one relay. What is public is on the loopback here: ports stay as they are.
pub struct World {
    names: Mutex<HashMap<String, Vec<IpAddr>>>,
    pub asked: Mutex<Vec<String>>,
    /// Where set, the resolver waits for it.
    pub hold: Mutex<Option<Arc<Notify>>>,
    seconds: AtomicU64,
    own: Mutex<Vec<IpAddr>>,
    pub dialed: AtomicUsize,
}

impl World {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            names: Mutex::default(),
            asked: Mutex::default(),
            hold: Mutex::default(),
            seconds: AtomicU64::new(1000),
            own: Mutex::new(vec!["198.41.0.4".parse().unwrap()]),
            dialed: AtomicUsize::new(0),
        })
    }

    /// A name has these addresses from now on.
    pub fn name(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.names.lock().unwrap().insert(name.to_owned(), addresses);
    }

    pub fn pass(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn own(&self, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        *self.own.lock().unwrap() = addresses;
    }

    pub fn relay(self: &Arc<Self>, rules: &[&str]) -> Relay {
        self.relay_with(Policy::parse("off", rules).unwrap(), Limits::default())
    }

    pub fn relay_with(self: &Arc<Self>, policy: Policy, limits: Limits) -> Relay {
        let mut settings = Settings::new(self.clone());
        settings.limits = limits;
        settings.host = self.clone();
        settings.clock = self.clone();
        settings.dial = self.clone();
        Relay::new(policy, settings)
    }
}

impl Resolve for World {
    fn resolve(&self, name: DomainName) -> BoxFuture<'_, Result<Vec<IpAddr>, ResolveError>> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(name.to_string());
            let hold = self.hold.lock().unwrap().clone();
            if let Some(hold) = hold {
                hold.notified().await;
            }
            let names = self.names.lock().unwrap();
            names.get(name.as_str()).cloned().ok_or(ResolveError::NoSuchName)
        })
    }
}

impl HostAddresses for World {
    fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        Ok(self.own.lock().unwrap().clone())
    }
}

impl Clock for World {
    fn now(&self) -> Duration {
        Duration::from_secs(self.seconds.load(Ordering::SeqCst))
    }

    fn wall(&self) -> u64 {
        self.seconds.load(Ordering::SeqCst) * 1000
    }
}

impl Dial for World {
    fn dial(&self, destination: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        self.dialed.fetch_add(1, Ordering::SeqCst);
        // The servers of a test that play those on a port have ports of their own.
        let port = destination.port();
        let port = PORTS.with(|ports| ports.lock().unwrap().get(&port).copied().unwrap_or(port));
        Box::pin(async move { TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await })
    }
}

thread_local! {
    static PORTS: Mutex<HashMap<u16, u16>> = Mutex::default();
}

/// A server of a test's own, which plays the one on a port (0: any).
pub async fn server(port: u16) -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let own = listener.local_addr().unwrap().port();
    if port == 0 {
        return (listener, own);
    }
    PORTS.with(|ports| ports.lock().unwrap().insert(port, own));
    (listener, port)
}

pub fn process() -> Option<Process> {
    Some(Process { pid: 42, name: "curl".to_owned() })
}

pub fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// Asks for a name, and says what the code and the addresses were.
pub async fn ask(relay: &Relay, name: &str, kind: RecordType) -> (ResponseCode, Vec<IpAddr>) {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    let answer = relay.dns(&message.to_vec().unwrap(), Transport::Udp, process()).await.unwrap();
    let answer = Message::from_vec(&answer).unwrap();
    let addresses = answer.answers.iter().filter_map(|record| match record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    });
    (answer.metadata.response_code, addresses.collect())
}

/// The addresses of a name.
pub async fn look_up(relay: &Relay, name: &str) -> Vec<IpAddr> {
    let mut found = ask(relay, name, RecordType::A).await.1;
    found.extend(ask(relay, name, RecordType::AAAA).await.1);
    found
}
