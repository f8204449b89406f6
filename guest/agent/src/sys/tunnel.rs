//! A network interface whose other end is a descriptor: tuntap (the kernel's
//! Documentation/networking/tuntap.rst) and netdevice(7), route via rtnetlink's older calls.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags},
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
};

/// `TUNSETIFF`: `_IOW('T', 202, int)`.
const SET_INTERFACE: libc::c_ulong = 0x4004_54ca;

/// `TUNSETOFFLOAD`: `_IOW('T', 208, unsigned int)`.
const SET_OFFLOAD: libc::c_ulong = 0x4004_54d0;
/// Checksums are left to whoever gets the packet.
const CHECKSUMS: libc::c_ulong = 1;

/// `struct in6_rtmsg` of linux/ipv6_route.h.
#[repr(C)]
struct RouteV6 {
    destination: [u8; 16],
    source: [u8; 16],
    gateway: [u8; 16],
    kind: u32,
    destination_length: u16,
    source_length: u16,
    metric: u32,
    info: libc::c_ulong,
    flags: u32,
    interface: libc::c_int,
}

/// `struct in6_ifreq` of linux/ipv6.h.
#[repr(C)]
struct AddressV6 {
    address: [u8; 16],
    prefix: u32,
    interface: libc::c_int,
}

/// What an interface is given.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Its address, and how many bits of it the gateway shares.
    pub v4: (Ipv4Addr, u32),
    /// The same.
    pub v6: (Ipv6Addr, u32),
    /// The longest packet, bytes.
    pub mtu: u16,
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: ifreq is plain data for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let place = request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1);
    for (to, from) in place.zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

/// The kernel's form of an IPv4 address.
fn address(address: Ipv4Addr) -> libc::sockaddr {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
        sin_zero: [0; 8],
    };
    // SAFETY: both are plain data of 16 bytes; this one is what the other stands for.
    unsafe { std::mem::transmute(address) }
}

fn tell<T>(socket: &OwnedFd, call: libc::c_ulong, argument: &mut T) -> io::Result<()> {
    // SAFETY: each call below is given the structure that the kernel reads (and for an index also
    // writes) with it, which lives across the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), call, std::ptr::from_mut(argument)) };
    super::check(libc::c_long::from(result)).map(drop)
}

/// Makes an interface of this name in the network that this thread is in, of whole IP packets, each behind a
/// `struct virtio_net_hdr` that says whether it has its checksum yet. It goes when the descriptor is
/// closed.
pub fn open_tunnel(name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let device = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
    let mut wanted = request(name);
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    wanted.ifr_ifru.ifru_flags = flags as libc::c_short;
    tell(&device, SET_INTERFACE, &mut wanted)?;
    // SAFETY: this call takes a number. Without it, every packet has its checksum.
    unsafe { libc::ioctl(device.as_raw_fd(), SET_OFFLOAD, CHECKSUMS) };
    Ok(device)
}

/// Gives the interface its addresses, brings it up and lets everything go there that goes nowhere
/// else. A kernel without IPv6 is no error: says whether there is any.
pub fn set_up_tunnel(name: &str, ends: &Ends) -> io::Result<bool> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    let mut mtu = request(name);
    mtu.ifr_ifru.ifru_mtu = ends.mtu.into();
    tell(&socket, libc::SIOCSIFMTU, &mut mtu)?;
    let mask = u32::MAX.checked_shl(32 - ends.v4.1).unwrap_or(0);
    for (call, value) in
        [(libc::SIOCSIFADDR, ends.v4.0), (libc::SIOCSIFNETMASK, Ipv4Addr::from(mask))]
    {
        let mut wanted = request(name);
        wanted.ifr_ifru.ifru_addr = address(value);
        tell(&socket, call, &mut wanted)?;
    }
    let mut up = request(name);
    up.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    tell(&socket, libc::SIOCSIFFLAGS, &mut up)?;
    let mut interface = request(name).ifr_name;
    // SAFETY: rtentry is plain data for which zero is valid.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = address(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = address(Ipv4Addr::UNSPECIFIED);
    route.rt_flags = libc::RTF_UP;
    route.rt_dev = interface.as_mut_ptr();
    tell(&socket, libc::SIOCADDRT, &mut route)?;
    let mut index = request(name);
    tell(&socket, libc::SIOCGIFINDEX, &mut index)?;
    // SAFETY: the call before wrote this member.
    let index = unsafe { index.ifr_ifru.ifru_ifindex };
    Ok(set_up_v6(ends, index).is_ok())
}

fn set_up_v6(ends: &Ends, interface: libc::c_int) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET6, SocketType::DGRAM, flags, None)?;
    let (address, prefix) = (ends.v6.0.octets(), ends.v6.1);
    tell(&socket, libc::SIOCSIFADDR, &mut AddressV6 { address, prefix, interface })?;
    let mut route = RouteV6 {
        destination: [0; 16],
        source: [0; 16],
        gateway: [0; 16],
        kind: 0,
        destination_length: 0,
        source_length: 0,
        metric: 1,
        info: 0,
        flags: libc::RTF_UP.into(),
        interface,
    };
    tell(&socket, libc::SIOCADDRT, &mut route)
}
