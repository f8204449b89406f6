//! Taking a port.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use pyro_core::Problem;
use tokio::net::{TcpListener, TcpStream};

/// Which port is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostPort {
    /// This one or none.
    Exactly(u16),
    /// This one if it can be had, else any that is free.
    Preferably(u16),
    /// Any that is free.
    Any,
}

/// How often a number is looked for that is free for IPv4 and for IPv6.
const TRIES: usize = 16;

/// Nothing tells when a process that has no descriptors left has some again.
const PAUSE: Duration = Duration::from_millis(100);

/// A port cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else listens there.
    #[error("port {0} of this host is taken")]
    Taken(SocketAddr),
    /// The system does not let us.
    #[error("cannot listen on {address}")]
    Unusable {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl From<ListenError> for Problem {
    fn from(error: ListenError) -> Self {
        match error {
            ListenError::Taken(address) => {
                Self::conflict("port_taken", error.to_string()).hint(format!(
                    "take another port, or 0 for any; `ss -ltnp sport = {}` shows whose it is",
                    address.port()
                ))
            }
            ListenError::Unusable { ref source, .. } => {
                let cause = source.to_string();
                Self::conflict("port_unusable", error.to_string())
                    .cause(cause)
                    .hint("ports below 1024 need privileges; an address must be one of this host's")
            }
        }
    }
}

/// A port that was taken, until this is dropped.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    first: TcpListener,
    second: Option<TcpListener>,
}

impl Listening {
    /// Takes a port of an address; of `localhost`, v4 and v6, where none is given.
    ///
    /// Must be called within the event loop that accepts.
    pub fn on(bind: Option<IpAddr>, port: HostPort) -> Result<Self, ListenError> {
        match port {
            HostPort::Exactly(number) => Self::exactly(bind, number),
            HostPort::Preferably(number) => {
                Self::exactly(bind, number).or_else(|_| Self::on(bind, HostPort::Any))
            }
            HostPort::Any => {
                let mut taken = Self::exactly(bind, 0);
                for _ in 1..TRIES {
                    if !matches!(taken, Err(ListenError::Taken(_))) {
                        break;
                    }
                    taken = Self::exactly(bind, 0);
                }
                taken
            }
        }
    }

    fn exactly(bind: Option<IpAddr>, number: u16) -> Result<Self, ListenError> {
        let (address, first) = bound(bind.unwrap_or(Ipv4Addr::LOCALHOST.into()), number)?;
        let second = match bind {
            Some(_) => None,
            None => match bound(Ipv6Addr::LOCALHOST.into(), address.port()) {
                Ok((_, listener)) => Some(listener),
                Err(error @ ListenError::Taken(_)) => return Err(error),
                // There is no IPv6 here.
                Err(ListenError::Unusable { .. }) => None,
            },
        };
        Ok(Self { address, first, second })
    }

    /// Where it listens; of `localhost`, the v4 address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection. Where this process has no descriptors left, it stays in the queue until
    /// there are some.
    pub async fn accept(&self) -> TcpStream {
        loop {
            let second = async {
                match &self.second {
                    Some(listener) => listener.accept().await,
                    None => std::future::pending().await,
                }
            };
            let accepted = tokio::select! {
                accepted = self.first.accept() => accepted,
                accepted = second => accepted,
            };
            if let Ok((client, _)) = accepted {
                // Nothing here waits for more to send.
                let _ = client.set_nodelay(true);
                return client;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn bound(address: IpAddr, number: u16) -> Result<(SocketAddr, TcpListener), ListenError> {
    let wanted = SocketAddr::new(address, number);
    let listen = || {
        let listener = std::net::TcpListener::bind(wanted)?;
        listener.set_nonblocking(true)?;
        Ok((listener.local_addr()?, TcpListener::from_std(listener)?))
    };
    listen().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken(wanted),
        _ => ListenError::Unusable { address: wanted, source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_taken_for_both_families() {
        let first = Listening::on(None, HostPort::Any).unwrap();
        let number = first.address().port();
        let again = Listening::on(None, HostPort::Exactly(number));
        assert!(matches!(again, Err(ListenError::Taken(_))));
        let other = Listening::on(None, HostPort::Preferably(number)).unwrap();
        assert_ne!(other.address().port(), number);
        drop(first);
        Listening::on(None, HostPort::Exactly(number)).unwrap();
    }

    #[tokio::test]
    async fn half_of_localhost_is_not_had() {
        let Ok(six) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else { return };
        let number = six.local_addr().unwrap().port();
        let wanted = Listening::on(None, HostPort::Exactly(number));
        assert!(matches!(wanted, Err(ListenError::Taken(_))));
        // What was had of it is free again.
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).await.unwrap();
    }

    #[tokio::test]
    async fn whoever_says_localhost_is_accepted() {
        let listening = Listening::on(None, HostPort::Any).unwrap();
        for address in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            if listening.second.is_none() && address.is_ipv6() {
                continue;
            }
            let to = SocketAddr::new(address, listening.address().port());
            let (client, accepted) = tokio::join!(TcpStream::connect(to), listening.accept());
            assert_eq!(client.unwrap().local_addr().unwrap(), accepted.peer_addr().unwrap());
        }
    }
}
