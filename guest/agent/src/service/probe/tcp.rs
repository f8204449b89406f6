//! Does anybody accept connections there?

use std::{io, net::SocketAddr};

use pyro_wire::TcpProbe;
use rustix::net::{AddressFamily, SocketType};
use tokio::net::TcpStream;

use super::{Place, Seen};

/// One try: the first address that accepts is enough.
pub async fn try_once(probe: &TcpProbe, place: &Place) -> Seen {
    let shown = format!("{}:{}", probe.host, probe.port);
    match connect(&probe.host, probe.port, place).await {
        Ok(stream) => Seen::yes(format!("{shown} accepts connections")).by(stream.peer_addr().ok()),
        Err(error) => Seen::not_yet(format!("{shown}: {error}")),
    }
}

/// A connection from within the workload's network.
pub async fn connect(host: &str, port: u32, place: &Place) -> io::Result<TcpStream> {
    let port = u16::try_from(port).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in place.addresses(host).await? {
        match connect_to(SocketAddr::new(address, port), place).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn connect_to(address: SocketAddr, place: &Place) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = place.socket(family, SocketType::STREAM)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from_std(std::net::TcpStream::from(socket))?;
    stream.writable().await?;
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}
