//! Where probes are made from: the workload's network and its root, without entering either for
//! longer than a system call.

use std::{
    fs::File,
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
    net::{AddressFamily, SocketFlags, SocketType},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tokio::sync::{Semaphore, oneshot};

use crate::{agent::Agent, spawner::Spawner};

/// `/etc/hosts` is read up to here.
const LONGEST_HOSTS: u64 = 256 << 10;
/// How long the workload's file systems may take: it may serve them itself.
const FILE_SYSTEM: Duration = Duration::from_secs(2);
/// Threads that may wait for them at once.
const MOST_WAITING: usize = 64;
static WAITING: Semaphore = Semaphore::const_new(MOST_WAITING);

/// The workload a run stands in.
#[derive(Clone, Debug)]
pub struct Place {
    pub(super) agent: Arc<Agent>,
    spawner: Arc<Spawner>,
}

impl Place {
    /// That of this run's workload.
    pub fn new(agent: Arc<Agent>, spawner: Arc<Spawner>) -> Self {
        Self { agent, spawner }
    }

    /// A process that is in the workload's network.
    pub fn process_id(&self) -> i32 {
        self.spawner.process_id()
    }

    /// Does something with this thread in the workload's network. It must be short, and make nothing
    /// but what belongs there.
    pub fn within<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let open = |path: &str| rustix::fs::open(path, flags, Mode::empty());
        let ours = open("/proc/thread-self/ns/net")?;
        let theirs = open(&format!("/proc/{}/ns/net", self.spawner.process_id()))?;
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(theirs.as_fd(), network)?;
        let done = work();
        move_into_link_name_space(ours.as_fd(), network)?;
        done
    }

    /// A socket in the workload's network. Blocks for no longer than it takes to make one.
    pub fn socket(&self, family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        self.within(|| Ok(rustix::net::socket_with(family, kind, flags, None)?))
    }

    /// The workload's root directory.
    pub fn root(&self) -> io::Result<OwnedFd> {
        let path = format!("/proc/{}/root", self.spawner.process_id());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
    }

    /// Does something with the workload's files, on a thread that nobody waits for for ever.
    pub async fn with_files<T: Send + 'static>(
        &self,
        work: impl FnOnce(OwnedFd) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let root = self.root()?;
        let busy = || io::Error::from(io::ErrorKind::ResourceBusy);
        let permit = WAITING.try_acquire().map_err(|_| busy())?;
        let (tell, told) = oneshot::channel();
        let run = move || {
            let _ = tell.send(work(root));
            drop(permit);
        };
        std::thread::Builder::new().name("probe".into()).stack_size(128 << 10).spawn(run)?;
        match tokio::time::timeout(FILE_SYSTEM, told).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(io::ErrorKind::Interrupted.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// The addresses of a host: itself, the loopback of `localhost`, or what `/etc/hosts` says.
    pub async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(vec![address]);
        }
        if host.eq_ignore_ascii_case("localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let hosts = self.with_files(|root| {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            let file = File::from(openat2(&root, "etc/hosts", flags, Mode::empty(), resolve)?);
            let mut text = Vec::new();
            file.take(LONGEST_HOSTS).read_to_end(&mut text)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        });
        let found = look_up(host, &hosts.await.unwrap_or_default());
        if found.is_empty() {
            return Err(io::Error::other(format!("{host} has no address in /etc/hosts")));
        }
        Ok(found)
    }
}

/// The addresses hosts(5) gives a name.
fn look_up(host: &str, hosts: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in hosts.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        if words.any(|name| name.eq_ignore_ascii_case(host)) && found.len() < 8 {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_hosts() {
        let hosts = "127.0.0.1 localhost # db\n10.0.0.2\tdb db.local\n::2 DB\nnonsense db\n";
        assert_eq!(look_up("db", hosts), ["10.0.0.2", "::2"].map(|a| a.parse::<IpAddr>().unwrap()));
        assert_eq!(look_up("nosuch", hosts), [] as [IpAddr; 0]);
    }
}
