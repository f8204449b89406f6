//! Has it said so itself? The protocol of sd_notify(3): datagrams to `NOTIFY_SOCKET`.
//!
//! The socket has an abstract name in the workload's network, made anew for each run, so that what an
//! earlier run says late is not taken for this one's. It is no secret: any process of the workload can
//! find the name (`/proc/net/unix`) and speak for the service.

use std::io;

use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketType, bind, recv};

use super::{Place, line};
use crate::descriptor::Descriptor;

/// The longest datagram that is looked at.
const LONGEST: usize = 4096;

/// A socket that one run may speak to.
#[derive(Debug)]
pub struct Notify {
    socket: Descriptor,
    /// The value of `NOTIFY_SOCKET`.
    pub address: String,
}

/// What one datagram said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Notified {
    /// `READY=1`.
    pub ready: bool,
    /// `STATUS=`.
    pub status: Option<String>,
}

impl Notify {
    /// Makes it.
    pub fn open(place: &Place) -> io::Result<Self> {
        let mut random = [0; 16];
        rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty())?;
        let name = format!("pyro/notify/{:032x}", u128::from_le_bytes(random));
        let socket = place.socket(AddressFamily::UNIX, SocketType::DGRAM)?;
        bind(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
        Ok(Self { socket: Descriptor::new(socket)?, address: format!("@{name}") })
    }

    /// What the next datagram says.
    pub async fn next(&self) -> io::Result<Notified> {
        self.socket
            .when_readable(|socket| {
                let mut text = [0; LONGEST];
                let (_, length) = recv(socket, &mut text[..], RecvFlags::DONTWAIT)?;
                Ok(parse(&text[..length.min(LONGEST)]))
            })
            .await
    }
}

fn parse(text: &[u8]) -> Notified {
    let mut notified = Notified::default();
    for part in text.split(|byte| *byte == b'\n') {
        if part == b"READY=1" {
            notified.ready = true;
        } else if let Some(status) = part.strip_prefix(b"STATUS=") {
            notified.status = Some(line(&String::from_utf8_lossy(status)));
        }
    }
    notified
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let ready = Notified { ready: true, status: Some("up".into()) };
        assert_eq!(parse(b"READY=1\nSTATUS=up\nMAINPID=7"), ready);
        assert_eq!(parse(b"READY=0\nready=1"), Notified::default());
        assert_eq!(parse(b"\xff\xff"), Notified::default());
    }
}
