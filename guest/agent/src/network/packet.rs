//! Packets as bytes: what is read of them, how addresses are exchanged in them, and those that are
//! made here. Pure.
//!
//! Sources: RFC 791 and 8200 (IP), 9293 (TCP), 768 (UDP), 792 and 4443 (ICMP), 1071 and 1624
//! (checksums). Whatever is not understood whole is refused: fragments, extension headers, lengths
//! that do not fit.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;
/// Without options, bytes.
const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const LIVES: u8 = 64;
/// What an ICMP error repeats of the packet that it is about, bytes.
const MOST_QUOTED: usize = 512;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// What is carried in a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// A TCP segment.
    Tcp {
        /// Whether it asks for a new connection.
        is_first: bool,
        /// Whether it is a reset.
        is_reset: bool,
    },
    /// A UDP datagram; its content begins here.
    Udp {
        /// Offset in the packet.
        content: usize,
    },
    /// An ICMP echo request.
    Echo,
    /// Anything else.
    Other,
}

/// What the kernel says before each packet (`struct virtio_net_hdr`): among other things, whether its
/// checksum covers the addresses alone, since whoever gets it on this machine will not look at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offload([u8; OFFLOAD]);

/// Its length, bytes.
pub const OFFLOAD: usize = 10;

impl Offload {
    /// Of a packet that is as it is on any wire.
    pub const WHOLE: Self = Self([0; OFFLOAD]);

    /// Of a packet that was read, and the packet; `None` for one in pieces, which nobody asked for.
    pub fn split(read: &mut [u8]) -> Option<(Self, &mut [u8])> {
        let (header, packet) = read.split_first_chunk_mut::<OFFLOAD>()?;
        (header[1] == 0).then_some((Self(*header), packet))
    }

    /// As it is written before a packet.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn is_partial(&self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it speaks of this packet's checksum, if of any.
    fn fits(&self, packet: &Packet) -> bool {
        let place = match packet.transport {
            Transport::Tcp { .. } => 16,
            Transport::Udp { .. } => 6,
            _ => return !self.is_partial(),
        };
        let native = |at: usize| usize::from(u16::from_ne_bytes([self.0[at], self.0[at + 1]]));
        !self.is_partial() || (native(6), native(8)) == (packet.start, place)
    }
}

/// What was read of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Where from; port 0 where it has none.
    pub source: SocketAddr,
    /// Where to; port 0 where it has none.
    pub destination: SocketAddr,
    /// What it carries.
    pub transport: Transport,
    /// Where what it carries begins.
    start: usize,
    /// Where the packet ends; what was read may be longer.
    end: usize,
    /// Whether its checksum covers the addresses alone.
    is_partial: bool,
}

/// Why no connection or datagram gets out, as a program is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreachable {
    /// Somebody forbids it.
    Prohibited,
    /// There is no way.
    Host,
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn double(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The sum of RFC 1071, not yet folded.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let sum: u64 = words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    sum + u64::from(u32::from_be_bytes(last))
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// A checksum after some of what it covers was exchanged (RFC 1624, equation 3).
fn exchanged(checksum: u16, before: u64, after: u64) -> u16 {
    !fold(u64::from(!checksum) + u64::from(!fold(before)) + after)
}

fn address_sum(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    }
}

/// The sum of the pseudo-header.
fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u64 {
    address_sum(source) + address_sum(destination) + u64::from(protocol) + length as u64
}

/// Reads a packet. `None` where it is not one that is carried.
pub fn read(offload: Offload, bytes: &[u8]) -> Option<Packet> {
    let packet = read_whole(bytes)?;
    offload.fits(&packet).then_some(Packet { is_partial: offload.is_partial(), ..packet })
}

fn read_whole(bytes: &[u8]) -> Option<Packet> {
    let (source, destination, protocol, start, end) = match bytes.first()? >> 4 {
        4 => read_v4(bytes)?,
        6 => read_v6(bytes)?,
        _ => return None,
    };
    let carried = &bytes[start..end];
    let (source_port, destination_port, transport) = match protocol {
        TCP => {
            let header = usize::from(*carried.get(12)? >> 4) * 4;
            if header < TCP_HEADER || carried.len() < header {
                return None;
            }
            let flags = carried[13];
            let is_first = flags & (SYN | ACK | RST | FIN) == SYN;
            let transport = Transport::Tcp { is_first, is_reset: flags & RST != 0 };
            (word(carried, 0), word(carried, 2), transport)
        }
        UDP => {
            if carried.len() < UDP_HEADER || usize::from(word(carried, 4)) != carried.len() {
                return None;
            }
            let transport = Transport::Udp { content: start + UDP_HEADER };
            (word(carried, 0), word(carried, 2), transport)
        }
        ICMP if source.is_ipv4() && carried.len() >= 8 && carried[0] == 8 => {
            (0, 0, Transport::Echo)
        }
        ICMP6 if source.is_ipv6() && carried.len() >= 8 && carried[0] == 128 => {
            (0, 0, Transport::Echo)
        }
        _ => (0, 0, Transport::Other),
    };
    Some(Packet {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
        transport,
        start,
        end,
        is_partial: false,
    })
}

type Outer = (IpAddr, IpAddr, u8, usize, usize);

fn read_v4(bytes: &[u8]) -> Option<Outer> {
    if bytes.len() < V4_HEADER {
        return None;
    }
    let start = usize::from(bytes[0] & 0xf) * 4;
    let end = usize::from(word(bytes, 2));
    // The flag "more fragments" and the offset.
    let is_fragment = word(bytes, 6) & 0x3fff != 0;
    if start < V4_HEADER || end < start || bytes.len() < end || is_fragment {
        return None;
    }
    let address = |at| Ipv4Addr::from(double(bytes, at)).into();
    Some((address(12), address(16), bytes[9], start, end))
}

fn read_v6(bytes: &[u8]) -> Option<Outer> {
    if bytes.len() < V6_HEADER {
        return None;
    }
    let end = V6_HEADER + usize::from(word(bytes, 4));
    if bytes.len() < end {
        return None;
    }
    let address = |at: usize| {
        let octets: [u8; 16] = bytes[at..at + 16].try_into().ok()?;
        Some(IpAddr::from(Ipv6Addr::from(octets)))
    };
    Some((address(8)?, address(24)?, bytes[6], V6_HEADER, end))
}

impl Packet {
    /// The packet's own bytes.
    pub fn bytes<'a>(&self, read: &'a [u8]) -> &'a [u8] {
        &read[..self.end]
    }

    /// Gives a TCP segment other ends of the same family. Its checksums go on to be as right or wrong
    /// as they were.
    pub fn readdress(&self, bytes: &mut [u8], source: SocketAddr, destination: SocketAddr) {
        let before = address_sum(self.source.ip()) + address_sum(self.destination.ip());
        let after = address_sum(source.ip()) + address_sum(destination.ip());
        match (source.ip(), destination.ip(), self.source.is_ipv4()) {
            (IpAddr::V4(source), IpAddr::V4(destination), true) => {
                bytes[12..16].copy_from_slice(&source.octets());
                bytes[16..20].copy_from_slice(&destination.octets());
                let checksum = exchanged(word(bytes, 10), before, after);
                put(bytes, 10, checksum);
            }
            (IpAddr::V6(source), IpAddr::V6(destination), false) => {
                bytes[8..24].copy_from_slice(&source.octets());
                bytes[24..40].copy_from_slice(&destination.octets());
            }
            _ => return,
        }
        put(bytes, self.start, source.port());
        put(bytes, self.start + 2, destination.port());
        let checksum = word(bytes, self.start + 16);
        let checksum = if self.is_partial {
            // Not inverted yet, since there is more to be added.
            !exchanged(!checksum, before, after)
        } else {
            let ports = |a: SocketAddr, b: SocketAddr| u64::from(a.port()) + u64::from(b.port());
            let before = before + ports(self.source, self.destination);
            exchanged(checksum, before, after + ports(source, destination))
        };
        put(bytes, self.start + 16, checksum);
    }

    /// The reset that answers a TCP segment; none for a reset.
    pub fn reset(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let Transport::Tcp { is_reset: false, .. } = self.transport else { return None };
        let segment = &bytes[self.start..self.end];
        let flags = segment[13];
        let mut answer = [0; TCP_HEADER];
        put(&mut answer, 0, self.destination.port());
        put(&mut answer, 2, self.source.port());
        answer[12] = (TCP_HEADER as u8 / 4) << 4;
        if flags & ACK == 0 {
            let content = segment.len() - usize::from(segment[12] >> 4) * 4;
            let length = content as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
            let seen = double(segment, 4).wrapping_add(length);
            answer[8..12].copy_from_slice(&seen.to_be_bytes());
            answer[13] = RST | ACK;
        } else {
            answer[4..8].copy_from_slice(&segment[8..12]);
            answer[13] = RST;
        }
        let covered = pseudo(self.destination.ip(), self.source.ip(), TCP, TCP_HEADER);
        let checksum = !fold(covered + sum(&answer));
        put(&mut answer, 16, checksum);
        Some(wrap(self.destination.ip(), self.source.ip(), TCP, &answer))
    }

    /// The ICMP error that says of this packet that it went nowhere, from an address of the same
    /// family.
    pub fn unreachable(&self, bytes: &[u8], from: IpAddr, why: Unreachable) -> Vec<u8> {
        let quoted = &bytes[..self.end.min(MOST_QUOTED)];
        let (kind, code, protocol) = match (self.source.is_ipv4(), why) {
            (true, Unreachable::Prohibited) => (3, 13, ICMP),
            (true, Unreachable::Host) => (3, 1, ICMP),
            (false, Unreachable::Prohibited) => (1, 1, ICMP6),
            (false, Unreachable::Host) => (1, 3, ICMP6),
        };
        let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(quoted);
        let covered = match protocol {
            ICMP6 => pseudo(from, self.source.ip(), ICMP6, message.len()),
            _ => 0,
        };
        let checksum = !fold(covered + sum(&message));
        put(&mut message, 2, checksum);
        wrap(from, self.source.ip(), protocol, &message)
    }
}

/// The longest content of a datagram that is made here.
pub const MOST_CONTENT: usize = 0xffff - V4_HEADER - UDP_HEADER;

/// A UDP datagram between addresses of one family; `None` where its content is too long.
pub fn datagram(source: SocketAddr, destination: SocketAddr, content: &[u8]) -> Option<Vec<u8>> {
    if content.len() > MOST_CONTENT {
        return None;
    }
    let length = UDP_HEADER + content.len();
    let mut datagram = Vec::with_capacity(length);
    for value in [source.port(), destination.port(), length as u16, 0] {
        datagram.extend_from_slice(&value.to_be_bytes());
    }
    datagram.extend_from_slice(content);
    let covered = pseudo(source.ip(), destination.ip(), UDP, length);
    // No checksum at all is written as 0, so one that is 0 is written as its other form.
    let checksum = match !fold(covered + sum(&datagram)) {
        0 => 0xffff,
        checksum => checksum,
    };
    put(&mut datagram, 6, checksum);
    Some(wrap(source.ip(), destination.ip(), UDP, &datagram))
}

/// An IP packet.
fn wrap(source: IpAddr, destination: IpAddr, protocol: u8, carried: &[u8]) -> Vec<u8> {
    let mut packet = match (source, destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = vec![0; V6_HEADER];
            header[0] = 6 << 4;
            put(&mut header, 4, carried.len() as u16);
            header[6] = protocol;
            header[7] = LIVES;
            header[8..24].copy_from_slice(&source.octets());
            header[24..40].copy_from_slice(&destination.octets());
            header
        }
        (source, destination) => {
            let octets = |address| match address {
                IpAddr::V4(address) => Ipv4Addr::octets(&address),
                IpAddr::V6(_) => [0; 4],
            };
            let mut header = vec![0; V4_HEADER];
            header[0] = 4 << 4 | (V4_HEADER as u8 / 4);
            put(&mut header, 2, (V4_HEADER + carried.len()) as u16);
            header[8] = LIVES;
            header[9] = protocol;
            header[12..16].copy_from_slice(&octets(source));
            header[16..20].copy_from_slice(&octets(destination));
            let checksum = !fold(sum(&header));
            put(&mut header, 10, checksum);
            header
        }
    };
    packet.extend_from_slice(carried);
    packet
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Option<Packet> {
        super::read(Offload::WHOLE, bytes)
    }

    /// A TCP segment with right checksums.
    pub fn segment(source: &str, destination: &str, flags: u8, content: &[u8]) -> Vec<u8> {
        let (source, destination): (SocketAddr, SocketAddr) =
            (source.parse().unwrap(), destination.parse().unwrap());
        let mut segment = vec![0; TCP_HEADER];
        put(&mut segment, 0, source.port());
        put(&mut segment, 2, destination.port());
        segment[4..8].copy_from_slice(&1000u32.to_be_bytes());
        segment[12] = 5 << 4;
        segment[13] = flags;
        segment.extend_from_slice(content);
        let covered = pseudo(source.ip(), destination.ip(), TCP, segment.len());
        let checksum = !fold(covered + sum(&segment));
        put(&mut segment, 16, checksum);
        wrap(source.ip(), destination.ip(), TCP, &segment)
    }

    pub fn first(source: &str, destination: &str) -> Vec<u8> {
        segment(source, destination, SYN, b"")
    }

    /// Whether every checksum of a packet is right.
    fn is_sound(bytes: &[u8]) -> bool {
        let packet = read(bytes).unwrap();
        let carried = &bytes[packet.start..packet.end];
        let protocol = if packet.source.is_ipv4() { bytes[9] } else { bytes[6] };
        let covered = match protocol {
            ICMP => 0,
            _ => pseudo(packet.source.ip(), packet.destination.ip(), protocol, carried.len()),
        };
        let outer = packet.source.is_ipv6() || fold(sum(&bytes[..packet.start])) == 0xffff;
        outer && fold(covered + sum(carried)) == 0xffff
    }

    const ENDS: [(&str, &str); 2] =
        [("198.18.0.2:4000", "192.0.2.7:80"), ("[fd00::2]:4000", "[2001:db8::7]:80")];

    /// Said of a packet whose checksum is to be made from this place on, and put there.
    fn partial(start: usize, place: u8) -> Offload {
        Offload([1, 0, 0, 0, 0, 0, start as u8, 0, place, 0])
    }

    #[test]
    fn a_checksum_elsewhere_than_in_the_segment_is_refused() {
        let bytes = first("198.18.0.2:4000", "192.0.2.7:80");
        assert!(super::read(partial(V4_HEADER, 16), &bytes).is_some());
        for (start, place) in [(V4_HEADER, 6), (0, 16), (V4_HEADER + 2, 16), (200, 16)] {
            assert_eq!(super::read(partial(start, place), &bytes), None);
        }
        assert!(Offload::split(&mut [0; OFFLOAD - 1]).is_none());
        assert!(Offload::split(&mut [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 69]).is_none(), "in pieces");
    }

    #[test]
    fn a_connection_is_read() {
        for (source, destination) in ENDS {
            let bytes = first(source, destination);
            let packet = read(&bytes).unwrap();
            assert_eq!(packet.source, source.parse().unwrap());
            assert_eq!(packet.destination, destination.parse().unwrap());
            assert_eq!(packet.transport, Transport::Tcp { is_first: true, is_reset: false });
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes[..cut]), None);
            }
        }
    }

    #[test]
    fn fragments_and_extension_headers_are_not_carried() {
        let whole = first(ENDS[0].0, ENDS[0].1);
        for word in [0x2000, 0x0001, 0x1fff] {
            let mut bytes = whole.clone();
            put(&mut bytes, 6, word);
            assert_eq!(read(&bytes), None);
        }
        put(&mut whole.clone(), 6, 0x4000);
        assert!(read(&whole).is_some(), "do not fragment is no fragment");
        let mut bytes = first(ENDS[1].0, ENDS[1].1);
        bytes[6] = 44;
        assert_eq!(read(&bytes).unwrap().transport, Transport::Other);
    }

    #[test]
    fn answers_are_sound_packets() {
        for (source, destination) in ENDS {
            let gateway: IpAddr =
                if source.starts_with('[') { "fd00::1" } else { "198.18.0.1" }.parse().unwrap();
            for bytes in [first(source, destination), segment(source, destination, ACK, b"abc")] {
                let packet = read(&bytes).unwrap();
                let reset = packet.reset(&bytes).unwrap();
                assert!(is_sound(&reset));
                let read_again = read(&reset).unwrap();
                assert_eq!(read_again.source, packet.destination);
                assert_eq!(read_again.reset(&reset), None, "no reset answers a reset");
                for why in [Unreachable::Prohibited, Unreachable::Host] {
                    assert!(is_sound(&packet.unreachable(&bytes, gateway, why)));
                }
            }
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            for content in [&b""[..], b"a", b"ab", &[0xff; 1000]] {
                let bytes = datagram(source, destination, content).unwrap();
                assert!(is_sound(&bytes));
                let Transport::Udp { content: at } = read(&bytes).unwrap().transport else {
                    panic!("not a datagram")
                };
                assert_eq!(&bytes[at..], content);
            }
        }
    }

    proptest! {
        #[test]
        fn checksums_stay_right_whatever_the_ends(
            content in prop::collection::vec(any::<u8>(), 0..200),
            ports in any::<[u16; 2]>(), v4 in any::<[[u8; 4]; 2]>(), v6 in any::<[[u8; 16]; 2]>(),
        ) {
            for (index, (source, destination)) in ENDS.into_iter().enumerate() {
                let ends = |at: usize| -> SocketAddr {
                    let ip: IpAddr = if index == 0 { v4[at].into() } else { v6[at].into() };
                    SocketAddr::new(ip, ports[at])
                };
                let mut bytes = segment(source, destination, ACK, &content);
                let packet = read(&bytes).unwrap();
                packet.readdress(&mut bytes, ends(0), ends(1));
                prop_assert!(is_sound(&bytes));
                let packet = read(&bytes).unwrap();
                prop_assert_eq!((packet.source, packet.destination), (ends(0), ends(1)));
                // One that nobody has summed up yet stays so, and is right once somebody has.
                let mut bytes = segment(source, destination, ACK, &content);
                let length = packet.end - packet.start;
                let place = packet.start + 16;
                let (from, to) = (packet.source, packet.destination);
                let whole = read(&bytes).unwrap();
                let covered = pseudo(whole.source.ip(), whole.destination.ip(), TCP, length);
                put(&mut bytes, place, fold(covered));
                let packet = super::read(partial(packet.start, 16), &bytes).unwrap();
                packet.readdress(&mut bytes, from, to);
                let checksum = !fold(sum(&bytes[packet.start..]));
                put(&mut bytes, place, checksum);
                prop_assert!(is_sound(&bytes));
            }
        }

        #[test]
        fn whatever_comes_nothing_breaks(bytes in prop::collection::vec(any::<u8>(), 0..200), version in 0u8..8) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = version << 4 | (*first & 0xf);
            }
            if let Some(packet) = read(&bytes) {
                let _ = packet.reset(&bytes);
                let _ = packet.unreachable(&bytes, packet.destination.ip(), Unreachable::Host);
                if matches!(packet.transport, Transport::Tcp { .. }) {
                    packet.readdress(&mut bytes, packet.destination, packet.source);
                }
            }
        }
    }
}
