//! Where names get their addresses from: the host's own resolver.

use std::{io, net::IpAddr, path::PathBuf, sync::Arc};

use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};
use futures::future::BoxFuture;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    sync::Semaphore,
};

use crate::domain::DomainName;

/// Resolves names to addresses.
pub trait Resolve: Send + Sync {
    /// The addresses of a name, of both families, in the order in which they should be tried. None
    /// where the name has none.
    ///
    /// The name is a whole one: it is not to be completed by search domains. Whoever asks has a
    /// time limit of its own, and may stop waiting at any moment.
    fn resolve(&self, name: DomainName) -> BoxFuture<'_, Result<Vec<IpAddr>, ResolveError>>;
}

/// A name has no addresses for now, or none at all.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResolveError {
    /// There is no such name.
    #[error("there is no such name")]
    NoSuchName,
    /// The resolver could not tell.
    #[error("the host's resolver failed: {why}")]
    Failed {
        /// In its words.
        why: String,
    },
    /// It took too long.
    #[error("the host's resolver did not answer in time")]
    TimedOut,
    /// Too many are being looked up.
    #[error("too many names are looked up at once")]
    TooMany,
}

/// Look-ups of all workspaces that wait for the host's resolver at once. Each holds a thread, also
/// when nobody waits for it any more: the C library's resolver cannot be told to stop.
const AT_ONCE: usize = 64;
/// The longest `/etc/hosts` that is read, in bytes.
const LONGEST_HOSTS: u64 = 4 * 1024 * 1024;

/// The host's resolver: `/etc/hosts`, then the C library's `getaddrinfo`.
///
/// A name is asked for with its trailing dot, so that no search domain is appended. The C library
/// then does not find it in `/etc/hosts`, which is why that is read here. One serves all workspaces.
pub struct SystemResolver {
    hosts: PathBuf,
    permits: Arc<Semaphore>,
}

impl SystemResolver {
    /// With a file like `/etc/hosts`.
    pub fn new(hosts: impl Into<PathBuf>) -> Self {
        Self { hosts: hosts.into(), permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The addresses that the file gives a name; none where it is not there.
    async fn in_hosts(&self, name: &DomainName) -> Vec<IpAddr> {
        let Ok(file) = tokio::fs::File::open(&self.hosts).await else { return Vec::new() };
        let mut lines = BufReader::new(file.take(LONGEST_HOSTS)).lines();
        let mut found = Vec::new();
        while let Ok(Some(line)) = lines.next_line().await {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(address) = words.next().and_then(|word| word.parse().ok()) else { continue };
            let is_named = words.any(|word| word.eq_ignore_ascii_case(name.as_str()));
            if is_named && !found.contains(&address) {
                found.push(address);
            }
        }
        found
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: DomainName) -> BoxFuture<'_, Result<Vec<IpAddr>, ResolveError>> {
        Box::pin(async move {
            let found = self.in_hosts(&name).await;
            if !found.is_empty() {
                return Ok(found);
            }
            let permit = Arc::clone(&self.permits).acquire_owned().await;
            let permit = permit.map_err(|_| ResolveError::TooMany)?;
            let asked = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                ask(&name)
            });
            asked.await.map_err(|error| ResolveError::Failed { why: error.to_string() })?
        })
    }
}

fn ask(name: &DomainName) -> Result<Vec<IpAddr>, ResolveError> {
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let failed = |error: io::Error| ResolveError::Failed { why: error.to_string() };
    let found = match getaddrinfo(Some(&format!("{name}.")), None, Some(hints)) {
        Ok(found) => found,
        Err(error) => {
            return match error.kind() {
                LookupErrorKind::NoName => Err(ResolveError::NoSuchName),
                LookupErrorKind::NoData => Ok(Vec::new()),
                _ => Err(failed(error.into())),
            };
        }
    };
    let mut addresses = Vec::new();
    for info in found {
        let address = info.map_err(failed)?.sockaddr.ip();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_hosts_file_comes_first() {
        let directory = std::env::temp_dir().join(format!("pyro-relay-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("hosts");
        let text = "# all\n192.0.2.1 a.example A.two # b.example\n::1\tA.EXAMPLE\nx a.example\n";
        std::fs::write(&path, text).unwrap();
        let resolver = SystemResolver::new(&path);
        let found = resolver.resolve("a.example".parse().unwrap()).await.unwrap();
        assert_eq!(found, ["192.0.2.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert!(resolver.in_hosts(&"b.example".parse().unwrap()).await.is_empty());
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_is_an_error() {
        let resolver = SystemResolver::new("/nonexistent");
        let error = resolver.resolve("nothing.invalid".parse().unwrap()).await.unwrap_err();
        let is_told = matches!(error, ResolveError::NoSuchName | ResolveError::Failed { .. });
        assert!(is_told, "{error:?}");
    }
}
