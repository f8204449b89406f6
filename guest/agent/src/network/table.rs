//! Which connection is which: pure decisions about every packet that the workload sends.
//!
//! A connection of the workload goes to a port of the agent's own in the workload's network, so that
//! the guest's kernel does TCP on both sides: the packet that leaves the workload comes back to it,
//! with the gateway as the source and the agent's listener as the destination, and the listener's
//! answers are exchanged the other way. The gateway's port tells connections apart.
//!
//! Owns the table and its bounds. Refuses to know who decides what may be reached.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use super::packet::{self, Offload, Packet, Transport, Unreachable};

/// The workload's address.
pub const GUEST_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Where its packets go and where it asks for names. Of a block that is never routed (RFC 2544).
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The same of IPv6: unique local addresses (RFC 4193).
pub const GUEST_V6: Ipv6Addr = Ipv6Addr::new(0xfd70, 0x7972, 0x6f00, 0, 0, 0, 0, 2);
/// As [`GATEWAY_V4`].
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd70, 0x7972, 0x6f00, 0, 0, 0, 0, 1);
/// Where names are asked for.
pub const NAME_PORT: u16 = 53;

/// Connections at once.
pub const MOST_CONNECTIONS: usize = 1024;
/// Those that have ended and whose last packets may still come.
const MOST_ENDED: usize = 4096;
/// How long that is: a port is not taken again within a minute.
const LAST_PACKETS: Duration = Duration::from_mins(1);
/// The longest first packet of a connection: it is held. No kernel sends a longer one.
const LONGEST_FIRST: usize = 2048;
/// The longest query by UDP that is read, bytes.
const MOST_QUERY: usize = 4096;

/// The gateway of an address's family.
pub fn gateway(address: IpAddr) -> IpAddr {
    if address.is_ipv4() { GATEWAY_V4.into() } else { GATEWAY_V6.into() }
}

/// The workload's address of the same family.
pub fn guest(address: IpAddr) -> IpAddr {
    if address.is_ipv4() { GUEST_V4.into() } else { GUEST_V6.into() }
}

/// A connection as the workload's program sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flow {
    /// The program's port.
    pub port: u16,
    /// Where it goes.
    pub destination: SocketAddr,
}

/// The ports that the agent listens on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listening {
    /// For IPv4.
    pub v4: u16,
    /// For IPv6; 0: there is none.
    pub v6: u16,
}

impl Listening {
    fn port(self, address: IpAddr) -> u16 {
        if address.is_ipv4() { self.v4 } else { self.v6 }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Its first packet is held until somebody says whether there is a connection.
    Held,
    Open,
    Ended(Duration),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    flow: Flow,
    stage: Stage,
}

/// What to do with a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Nothing.
    Drop,
    /// It was given other ends: it goes back.
    Return,
    /// This goes back instead.
    Answer(Vec<u8>),
    /// Ask whether there is a connection, and hold the packet until then.
    Connect {
        /// The gateway's port for it.
        number: u16,
        /// Which.
        flow: Flow,
    },
    /// Ask what the answer is.
    Query {
        /// Who asks.
        from: SocketAddr,
        /// Whom.
        to: SocketAddr,
        /// What.
        query: Vec<u8>,
    },
}

/// Every connection.
#[derive(Debug)]
pub struct Table {
    listening: Listening,
    flows: HashMap<Flow, u16>,
    entries: HashMap<u16, Entry>,
    ended: VecDeque<u16>,
    next: u16,
}

impl Table {
    /// None yet, for these listeners.
    pub fn new(listening: Listening) -> Self {
        Self {
            listening,
            flows: HashMap::new(),
            entries: HashMap::new(),
            ended: VecDeque::new(),
            next: 1024,
        }
    }

    /// Decides on one packet of the workload's, and gives it its other ends where it goes back.
    pub fn decide(&mut self, offload: Offload, bytes: &mut [u8], now: Duration) -> Action {
        let Some(packet) = packet::read(offload, bytes) else { return Action::Drop };
        let (from, to) = (packet.source, packet.destination);
        // A packet with somebody else's source address is nobody's.
        if from.ip() != guest(from.ip()) {
            return Action::Drop;
        }
        match packet.transport {
            Transport::Tcp { is_first, .. } => {
                let ours = self.listening.port(from.ip());
                if from.port() == ours && to.ip() == gateway(to.ip()) {
                    self.inward(&packet, bytes)
                } else {
                    self.outward(&packet, is_first, bytes, now)
                }
            }
            Transport::Udp { content } if to.ip() == gateway(to.ip()) && to.port() == NAME_PORT => {
                let query = &packet.bytes(bytes)[content..];
                if query.len() > MOST_QUERY {
                    return Action::Drop;
                }
                Action::Query { from, to, query: query.to_vec() }
            }
            Transport::Udp { .. } | Transport::Echo if !is_for_many(to.ip()) => {
                let why = Unreachable::Prohibited;
                Action::Answer(packet.unreachable(bytes, gateway(from.ip()), why))
            }
            _ => Action::Drop,
        }
    }

    /// What the listener says goes to the program, as if its peer had said it.
    fn inward(&mut self, packet: &Packet, bytes: &mut [u8]) -> Action {
        let Some(entry) = self.entries.get(&packet.destination.port()) else {
            return packet.reset(bytes).map_or(Action::Drop, Action::Answer);
        };
        let flow = entry.flow;
        if flow.destination.is_ipv4() != packet.source.is_ipv4() {
            return Action::Drop;
        }
        let program = SocketAddr::new(packet.source.ip(), flow.port);
        packet.readdress(bytes, flow.destination, program);
        Action::Return
    }

    fn outward(
        &mut self,
        packet: &Packet,
        is_first: bool,
        bytes: &mut [u8],
        now: Duration,
    ) -> Action {
        let flow = Flow { port: packet.source.port(), destination: packet.destination };
        let refuse = |packet: &Packet| packet.reset(bytes).map_or(Action::Drop, Action::Answer);
        let known = self.flows.get(&flow).copied();
        let stage = known.and_then(|number| Some((number, self.entries.get(&number)?.stage)));
        match stage {
            Some((_, Stage::Held)) => Action::Drop,
            Some((number, Stage::Open)) => self.to_listener(packet, number, bytes),
            Some((number, Stage::Ended(_))) if !is_first => self.to_listener(packet, number, bytes),
            _ if !is_first => refuse(packet),
            _ if self.listening.port(packet.source.ip()) == 0
                || (flow.destination.ip() == gateway(flow.destination.ip())
                    && flow.destination.port() != NAME_PORT) =>
            {
                refuse(packet)
            }
            _ if packet.bytes(bytes).len() > LONGEST_FIRST => Action::Drop,
            _ => match self.enter(flow, now) {
                Some(number) => Action::Connect { number, flow },
                None => refuse(packet),
            },
        }
    }

    fn to_listener(&self, packet: &Packet, number: u16, bytes: &mut [u8]) -> Action {
        let ip = packet.source.ip();
        let source = SocketAddr::new(gateway(ip), number);
        packet.readdress(bytes, source, SocketAddr::new(ip, self.listening.port(ip)));
        Action::Return
    }

    /// A number for a new connection; none where there are too many.
    fn enter(&mut self, flow: Flow, now: Duration) -> Option<u16> {
        let is_over = |entry: &Entry| match entry.stage {
            Stage::Ended(at) => now.saturating_sub(at) >= LAST_PACKETS,
            _ => false,
        };
        while let Some(oldest) = self.ended.front().copied() {
            let is_full = self.ended.len() > MOST_ENDED;
            if !is_full && !self.entries.get(&oldest).is_none_or(is_over) {
                break;
            }
            self.ended.pop_front();
            self.remove(oldest);
        }
        if self.entries.len() - self.ended.len() >= MOST_CONNECTIONS {
            return None;
        }
        let number = (0..=u16::MAX)
            .map(|offset| self.next.wrapping_add(offset))
            .find(|number| *number >= 1024 && !self.entries.contains_key(number))?;
        self.next = number.wrapping_add(1);
        self.flows.insert(flow, number);
        self.entries.insert(number, Entry { flow, stage: Stage::Held });
        Some(number)
    }

    fn remove(&mut self, number: u16) {
        if let Some(entry) = self.entries.remove(&number)
            && self.flows.get(&entry.flow) == Some(&number)
        {
            self.flows.remove(&entry.flow);
        }
    }

    /// There is a connection: gives its first packet the ends that make it go to the listener.
    /// Whether that is so still.
    pub fn open(&mut self, number: u16, offload: Offload, first: &mut [u8]) -> bool {
        let packet = packet::read(offload, first);
        let (Some(entry), Some(packet)) = (self.entries.get_mut(&number), packet) else {
            return false;
        };
        entry.stage = Stage::Open;
        self.to_listener(&packet, number, first);
        true
    }

    /// There is none: it is forgotten at once.
    pub fn refuse(&mut self, number: u16) {
        self.remove(number);
    }

    /// It has ended; its last packets still find their way.
    pub fn end(&mut self, number: u16, now: Duration) {
        if let Some(entry) = self.entries.get_mut(&number)
            && !matches!(entry.stage, Stage::Ended(_))
        {
            entry.stage = Stage::Ended(now);
            self.ended.push_back(number);
        }
    }

    /// The connection of a number.
    #[cfg(test)]
    fn is_open(&self, number: u16) -> bool {
        self.entries.get(&number).is_some_and(|entry| entry.stage == Stage::Open)
    }
}

/// The answer to a first packet that leads nowhere.
pub fn refusal(offload: Offload, first: &[u8], why: Option<Unreachable>) -> Option<Vec<u8>> {
    let packet = packet::read(offload, first)?;
    match why {
        Some(why) => Some(packet.unreachable(first, gateway(packet.source.ip()), why)),
        None => packet.reset(first),
    }
}

/// Nobody answers what was sent to many.
fn is_for_many(address: IpAddr) -> bool {
    address.is_multicast()
        || matches!(address, IpAddr::V4(address) if address.is_broadcast() || address.octets()[3] == 255)
}

#[cfg(test)]
mod tests {
    use super::{super::packet::tests::first, *};

    const LISTENING: Listening = Listening { v4: 7000, v6: 7001 };
    const NOW: Duration = Duration::from_secs(100);
    const ACK: u8 = 16;

    fn connect(table: &mut Table, source: &str, destination: &str) -> (u16, Vec<u8>) {
        let mut bytes = first(source, destination);
        let Action::Connect { number, .. } = table.decide(Offload::WHOLE, &mut bytes, NOW) else {
            panic!("not a connection")
        };
        assert_eq!(table.decide(Offload::WHOLE, &mut bytes.clone(), NOW), Action::Drop, "held");
        (number, bytes)
    }

    #[test]
    fn a_connection_goes_to_the_listener_and_comes_back_as_its_peer() {
        for (source, destination, listener, gateway) in [
            ("198.18.0.2:4000", "192.0.2.7:80", "198.18.0.2:7000", "198.18.0.1"),
            (
                "[fd70:7972:6f00::2]:4000",
                "[2001:db8::7]:80",
                "[fd70:7972:6f00::2]:7001",
                "[fd70:7972:6f00::1]",
            ),
        ] {
            let mut table = Table::new(LISTENING);
            let (number, mut bytes) = connect(&mut table, source, destination);
            assert!(table.open(number, Offload::WHOLE, &mut bytes));
            let packet = packet::read(Offload::WHOLE, &bytes).unwrap();
            assert_eq!(packet.destination, listener.parse().unwrap());
            assert_eq!(packet.source, format!("{gateway}:{number}").parse().unwrap());
            let peer = format!("{gateway}:{number}");
            let mut bytes = packet::tests::segment(listener, &peer, ACK, b"hello");
            assert_eq!(table.decide(Offload::WHOLE, &mut bytes, NOW), Action::Return);
            let packet = packet::read(Offload::WHOLE, &bytes).unwrap();
            assert_eq!(packet.source, destination.parse().unwrap());
            assert_eq!(packet.destination, source.parse().unwrap());
            table.end(number, NOW);
            let mut late = packet::tests::segment(source, destination, ACK, b"");
            assert_eq!(
                table.decide(Offload::WHOLE, &mut late, NOW),
                Action::Return,
                "its last packets"
            );
            let (next, _) = connect(&mut table, source, destination);
            assert_ne!(next, number);
        }
    }

    #[test]
    fn only_the_workloads_own_address_is_carried() {
        let mut table = Table::new(LISTENING);
        for source in ["10.0.0.1:1", "198.18.0.1:1", "127.0.0.1:1", "198.18.0.3:1"] {
            let mut bytes = first(source, "192.0.2.7:80");
            assert_eq!(table.decide(Offload::WHOLE, &mut bytes, NOW), Action::Drop, "{source}");
        }
        let mut bytes = first("[fe80::1]:1", "[2001:db8::7]:80");
        assert_eq!(table.decide(Offload::WHOLE, &mut bytes, NOW), Action::Drop);
    }

    #[test]
    fn what_belongs_to_no_connection_is_reset() {
        let mut table = Table::new(LISTENING);
        let mut bytes = packet::tests::segment("198.18.0.2:4000", "192.0.2.7:80", ACK, b"");
        assert!(matches!(table.decide(Offload::WHOLE, &mut bytes, NOW), Action::Answer(_)));
        let mut bytes = first("198.18.0.2:4000", "198.18.0.1:80");
        assert!(
            matches!(table.decide(Offload::WHOLE, &mut bytes, NOW), Action::Answer(_)),
            "the gateway's ports"
        );
        let mut bytes = first("198.18.0.2:7000", "198.18.0.1:5000");
        assert!(
            matches!(table.decide(Offload::WHOLE, &mut bytes, NOW), Action::Answer(_)),
            "a forged answer"
        );
    }

    #[test]
    fn a_first_packet_that_carries_much_is_not_held() {
        let mut table = Table::new(LISTENING);
        let mut bytes =
            packet::tests::segment("198.18.0.2:4000", "192.0.2.7:80", 2, &[0; LONGEST_FIRST]);
        assert_eq!(table.decide(Offload::WHOLE, &mut bytes, NOW), Action::Drop);
    }

    #[test]
    fn datagrams_are_answered_and_not_carried() {
        let mut table = Table::new(LISTENING);
        let mut decide = |to: &str| {
            let from = "198.18.0.2:9".parse().unwrap();
            let mut bytes = packet::datagram(from, to.parse().unwrap(), b"query").unwrap();
            table.decide(Offload::WHOLE, &mut bytes, NOW)
        };
        assert!(
            matches!(decide("198.18.0.1:53"), Action::Query { query, .. } if query == b"query")
        );
        for to in ["8.8.8.8:53", "192.0.2.1:123", "198.18.0.1:54"] {
            assert!(matches!(decide(to), Action::Answer(_)), "{to}");
        }
        for to in ["224.0.0.251:5353", "255.255.255.255:67"] {
            assert_eq!(decide(to), Action::Drop, "{to}");
        }
    }

    #[test]
    fn a_flood_of_connections_finds_an_end() {
        let mut table = Table::new(LISTENING);
        let mut numbers = Vec::new();
        for port in 1..=MOST_CONNECTIONS {
            numbers.push(connect(&mut table, &format!("198.18.0.2:{port}"), "192.0.2.7:80").0);
        }
        let mut bytes = first("198.18.0.2:5000", "192.0.2.7:80");
        assert!(matches!(table.decide(Offload::WHOLE, &mut bytes, NOW), Action::Answer(_)));
        table.refuse(numbers[0]);
        connect(&mut table, "198.18.0.2:5000", "192.0.2.7:80");
        for round in 0..20 {
            for port in 10_000..11_000u16 {
                if let Some(number) = numbers.pop() {
                    table.end(number, NOW);
                }
                let (number, mut bytes) =
                    connect(&mut table, &format!("198.18.0.2:{port}"), "192.0.2.7:80");
                assert!(
                    table.open(number, Offload::WHOLE, &mut bytes) && table.is_open(number),
                    "{round}"
                );
                table.end(number, NOW);
            }
        }
        assert!(table.entries.len() <= MOST_CONNECTIONS + MOST_ENDED + 1);
    }
}
