//! What a relay is given: its limits, and the world as it sees it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use crate::{inspection::MOST_HELD, log::LogSink, resolver::Resolve};

/// What a relay is made with.
#[derive(Clone)]
pub struct Settings {
    /// How much of everything.
    pub limits: Limits,
    /// Where names get their addresses from.
    pub resolver: Arc<dyn Resolve>,
    /// Which addresses are the host's own.
    pub host: Arc<dyn HostAddresses>,
    /// How connections are made.
    pub dial: Arc<dyn Dial>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where the log's lines are kept, if anywhere.
    pub sink: Option<Arc<dyn LogSink>>,
}

impl Settings {
    /// The usual limits on this host, with a resolver.
    pub fn new(resolver: Arc<dyn Resolve>) -> Self {
        Self {
            limits: Limits::default(),
            resolver,
            host: Arc::new(Interfaces),
            dial: Arc::new(Direct),
            clock: Arc::new(SystemClock::new()),
            sink: None,
        }
    }
}

/// How much one workspace may have.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections that are open or being opened.
    pub connections: usize,
    /// Connections that are being opened.
    pub connecting: usize,
    /// How long a server has to answer a connection's first packet.
    pub connect_time: Duration,
    /// The longest buffer of each direction of a connection, in bytes; not less than `MOST_HELD`.
    pub buffer: usize,
    /// Queries in a second, with twice as many at once.
    pub queries: u32,
    /// Names that go out to the host's resolver in a second, with ten times as many at once.
    pub lookups: u32,
    /// Names that wait for the host's resolver at once.
    pub looking_up: usize,
    /// How long the host's resolver has.
    pub lookup_time: Duration,
    /// How long a guest may keep an answer, and for how long it is not asked for anew.
    pub answer_time: Duration,
    /// Pairs of a name and an address that are remembered.
    pub names: usize,
    /// How long such a pair counts after it was told last, when no connection to it is open.
    pub name_time: Duration,
    /// Lines of the log: so many of what was allowed, and as many of what was refused.
    pub lines: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connecting: 256,
            connect_time: Duration::from_secs(15),
            buffer: 32 * 1024,
            queries: 500,
            lookups: 50,
            looking_up: 32,
            lookup_time: Duration::from_secs(10),
            answer_time: Duration::from_mins(1),
            names: 4096,
            name_time: Duration::from_mins(10),
            lines: 1000,
        }
    }
}

/// About what one line of the log, one remembered name, and a connection's bookkeeping take, in
/// bytes.
const LINE: usize = 1024;
const NAME: usize = 640;
const CONNECTION: usize = 4 * 1024;

impl Limits {
    /// The longest buffer of a direction that is used.
    pub(crate) fn buffer(&self) -> usize {
        self.buffer.max(MOST_HELD)
    }

    /// The most memory that one relay takes, in bytes: everything at its limit at once.
    pub fn memory(&self) -> u64 {
        let connection = 2 * self.buffer() + MOST_HELD + CONNECTION;
        let all = self.connections * connection + 2 * self.lines * LINE + 2 * self.names * NAME;
        all as u64
    }
}

/// Which addresses are the host's own.
pub trait HostAddresses: Send + Sync {
    /// Those of all interfaces, now.
    fn addresses(&self) -> io::Result<Vec<IpAddr>>;
}

/// The host's network interfaces, as the kernel lists them.
pub struct Interfaces;

impl HostAddresses for Interfaces {
    fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        let interfaces = nix::ifaddrs::getifaddrs().map_err(io::Error::from)?;
        let address = |storage: nix::sys::socket::SockaddrStorage| {
            let v4 = storage.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| storage.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        };
        // The broadcast address of an interface is every machine beside it, and the other end of a
        // tunnel is a machine too; only the former is left out of the public network here.
        let own = interfaces.flat_map(|interface| [interface.address, interface.broadcast]);
        Ok(own.flatten().filter_map(address).collect())
    }
}

/// Makes connections.
pub trait Dial: Send + Sync {
    /// Connects to an address that was decided to be reachable. Whoever asks has a time limit of
    /// its own, and may stop waiting at any moment.
    fn dial(&self, destination: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>>;
}

/// Connections by the host's kernel, from wherever the node runs.
pub struct Direct;

/// How long a connection is idle before its other end is asked whether it lives, and how often then.
const KEEPALIVE: Duration = Duration::from_mins(1);
const KEEPALIVE_EACH: Duration = Duration::from_secs(30);

impl Dial for Direct {
    fn dial(&self, destination: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(async move {
            let socket = match destination {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            // What is sent goes at once: the guest's kernel has gathered it already.
            socket.set_nodelay(true)?;
            let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_EACH);
            SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
            socket.connect(destination).await
        })
    }
}

/// What time it is.
pub trait Clock: Send + Sync {
    /// Time since some moment; it only grows.
    fn now(&self) -> Duration;
    /// Milliseconds since 1970.
    fn wall(&self) -> u64;
}

/// The host's clock.
pub struct SystemClock(Instant);

impl SystemClock {
    /// Begins now.
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// So many in a second, and a multiple of that at once. Pure.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: f64,
    most: f64,
    left: f64,
    at: Duration,
}

impl Rate {
    pub fn new(per_second: u32, burst: u32, now: Duration) -> Self {
        let most = f64::from(per_second.saturating_mul(burst).max(1));
        Self { per_second: f64::from(per_second), most, left: most, at: now }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.left = passed.mul_add(self.per_second, self.left).min(self.most);
        let is_there = self.left >= 1.0;
        if is_there {
            self.left -= 1.0;
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_allows_bursts_and_no_more() {
        let mut rate = Rate::new(10, 2, Duration::ZERO);
        let taken = (0..100).filter(|_| rate.take(Duration::ZERO)).count();
        assert_eq!(taken, 20);
        assert!(!rate.take(Duration::from_millis(50)));
        assert!(rate.take(Duration::from_millis(101)));
        assert!(!rate.take(Duration::ZERO));
        let later = Duration::from_secs(1000);
        assert_eq!((0..100).filter(|_| rate.take(later)).count(), 20);
    }

    #[test]
    fn the_host_has_addresses() {
        let addresses = Interfaces.addresses().unwrap();
        assert!(addresses.iter().any(IpAddr::is_loopback), "{addresses:?}");
    }

    #[test]
    fn memory_is_bounded() {
        let limits = Limits::default();
        assert!(limits.memory() < 128 * 1024 * 1024, "{}", limits.memory());
    }
}
