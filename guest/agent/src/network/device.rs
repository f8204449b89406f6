//! The workload's interface: made in its network, and listened behind.

use std::{
    fs::File,
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, openat2},
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
};
use tokio::net::TcpListener;

use super::table::{GATEWAY_V4, GUEST_V4, GUEST_V6, Listening};
use crate::{boot, descriptor::Descriptor, service::Place, sys};

/// What it is called.
pub const NAME: &str = "pyro0";
/// The longest packet, bytes: each costs the same, whatever its length.
pub const MTU: u16 = 65_535;
/// Connections that wait to be taken: all that there may be.
const WAITING: i32 = 1024;
const NODE: &str = "/dev/net/tun";
/// `/etc/resolv.conf` is read up to here, bytes.
const LONGEST: u64 = 64 << 10;
/// Begins the files that are ours to write anew.
const OURS: &str = "# pyro: names are asked for by the workspace's network policy\n";

/// The interface, and the listeners that its packets are sent to.
#[derive(Debug)]
pub struct Device {
    /// Whole packets.
    pub packets: Descriptor,
    /// For connections of each family that there is.
    pub listeners: Vec<TcpListener>,
    /// Their ports.
    pub listening: Listening,
}

/// Makes it.
pub fn make(place: &Place) -> io::Result<Device> {
    if !Path::new(NODE).exists() {
        boot::load_module("tun");
    }
    let ends = sys::Ends { v4: (GUEST_V4, 30), v6: (GUEST_V6, 64), mtu: MTU };
    let (tunnel, sockets) = place.within(|| {
        let step = |what: &'static str| {
            move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"))
        };
        let tunnel = sys::open_tunnel(NAME).map_err(step("opening /dev/net/tun"))?;
        let has_v6 = sys::set_up_tunnel(NAME, &ends).map_err(step("setting it up"))?;
        let mut sockets = vec![listen(GUEST_V4.into()).map_err(step("listening behind it"))?];
        if has_v6 {
            sockets.push(listen(GUEST_V6.into()).map_err(step("listening behind it"))?);
        }
        Ok((tunnel, sockets))
    })?;
    let mut listening = Listening { v4: 0, v6: 0 };
    let mut listeners = Vec::new();
    for socket in sockets {
        let listener = TcpListener::from_std(std::net::TcpListener::from(socket))?;
        match listener.local_addr()? {
            SocketAddr::V4(address) => listening.v4 = address.port(),
            SocketAddr::V6(address) => listening.v6 = address.port(),
        }
        listeners.push(listener);
    }
    Ok(Device { packets: Descriptor::to_read_until_broken(tunnel)?, listeners, listening })
}

fn listen(address: IpAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    if address.is_ipv6() {
        // For a moment the kernel still asks whether somebody else has it.
        rustix::net::sockopt::set_ipv6_freebind(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(address, 0))?;
    rustix::net::listen(&socket, WAITING)?;
    Ok(socket)
}

/// Lets `/etc/resolv.conf` name the gateway, unless somebody else says something there.
pub async fn name_the_resolver(place: &Place) -> io::Result<()> {
    place
        .with_files(|root| {
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let path = "etc/resolv.conf";
            let mut there = Vec::new();
            match openat2(&root, path, flags, Mode::empty(), resolve) {
                Ok(file) => {
                    let file = File::from(file);
                    if !file.metadata()?.is_file() {
                        return Ok(());
                    }
                    file.take(LONGEST).read_to_end(&mut there)?;
                }
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
            let text = String::from_utf8_lossy(&there);
            if !text.trim().is_empty() && !text.starts_with(OURS) {
                return Ok(());
            }
            let wanted = format!("{OURS}nameserver {GATEWAY_V4}\n");
            if text == wanted {
                return Ok(());
            }
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
            let flags = flags | OFlags::NONBLOCK;
            let file = openat2(&root, path, flags, Mode::from_raw_mode(0o644), resolve)?;
            rustix::io::write(&file, wanted.as_bytes())?;
            Ok(())
        })
        .await
}
