//! Published ports: when one is taken, and what is told of them. Pure.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use pyro_core::ServiceName;
use pyro_store::{Phase, PublishedPort};

use crate::owner::StopReason;

/// A port that is to be published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortRequest {
    /// The address of this host; none: `localhost`, v4 and v6.
    pub bind: Option<IpAddr>,
    /// None: the guest's number if it can be had, else any; 0: any.
    pub host_port: Option<u16>,
    /// The port of the workspace.
    pub guest_port: u16,
}

impl PortRequest {
    /// Whether a port that is published is what this asks for.
    pub(crate) fn is(&self, port: &PublishedPort, service: Option<&ServiceName>) -> bool {
        self.bind == port.bind
            && self.guest_port == port.guest_port
            && service == port.service.as_ref()
            && self.host_port.is_none_or(|wanted| wanted == 0 || wanted == port.host_port)
    }
}

/// Where a published port stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PortState {
    /// Who connects is carried.
    Listening,
    /// It is not taken, and need not be: why.
    Released(String),
    /// It could not be taken: why.
    Failed(String),
}

/// A published port as it stands.
#[derive(Clone, Debug)]
pub struct PortStatus {
    /// The port.
    pub port: PublishedPort,
    /// Where it stands.
    pub state: PortState,
    connections: Arc<AtomicUsize>,
}

impl PortStatus {
    pub(crate) fn new(
        port: PublishedPort,
        state: PortState,
        connections: Arc<AtomicUsize>,
    ) -> Self {
        Self { port, state, connections }
    }

    /// How many connections go through it now.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Why a port is not taken now; none where it is to be.
///
/// A workspace's own ports are there while it is started, and while its idle time has it stopped, so
/// that a connection starts it. A service's are there while that is.
pub(crate) fn held_back(
    port: &PublishedPort,
    phase: Phase,
    stop_reason: Option<&str>,
    is_service_active: bool,
) -> Option<String> {
    let idles = stop_reason == Some(StopReason::Idle.as_str());
    let is_there = match phase {
        Phase::Started => true,
        Phase::Starting => port.service.is_none(),
        Phase::Stopping | Phase::Stopped => port.service.is_none() && idles,
        Phase::Creating | Phase::Deleting => false,
    };
    match &port.service {
        _ if !is_there => Some("the workspace is stopped".to_owned()),
        Some(name) if !is_service_active => Some(format!("service {name} does not run")),
        _ => None,
    }
}

/// Whether two ports want the same of this host.
pub(crate) fn is_same_place(a: &PublishedPort, b: &PublishedPort) -> bool {
    a.host_port == b.host_port && a.bind == b.bind
}

/// A port of a workspace: who listens on it, and where it is published.
#[derive(Clone, Debug)]
pub struct PortRow {
    /// Its number.
    pub guest_port: u16,
    /// The service that listens, or that it is published with.
    pub service: Option<String>,
    /// The guest's addresses on which it is listened to.
    pub listening: Vec<String>,
    /// Where it is published.
    pub published: Option<PortStatus>,
}

/// One row for each publication, and one for each port that is only listened on.
pub(crate) fn rows(
    listening: &[(String, u16)],
    services: &[(String, Vec<(String, u16)>)],
    published: &[PortStatus],
) -> Vec<PortRow> {
    let mut ports: BTreeMap<u16, (Vec<String>, Option<String>)> = BTreeMap::new();
    let of_services = services.iter().flat_map(|(name, ports)| {
        ports.iter().map(move |(address, port)| (address, *port, Some(name)))
    });
    let of_all = listening.iter().map(|(address, port)| (address, *port, None));
    for (address, port, name) in of_services.chain(of_all) {
        let (addresses, service) = ports.entry(port).or_default();
        if !addresses.contains(address) {
            addresses.push(address.clone());
        }
        if service.is_none() {
            *service = name.cloned();
        }
    }
    for status in published {
        ports.entry(status.port.guest_port).or_default();
    }
    let mut rows = Vec::new();
    for (guest_port, (listening, service)) in ports {
        let of_port = published.iter().filter(|status| status.port.guest_port == guest_port);
        let mut places: Vec<_> = of_port.map(|status| Some(status.clone())).collect();
        if places.is_empty() {
            places.push(None);
        }
        for published in places {
            let with = published.as_ref().and_then(|status| status.port.service.as_ref());
            let service = service.clone().or_else(|| with.map(ToString::to_string));
            rows.push(PortRow { guest_port, service, listening: listening.clone(), published });
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn port(host_port: u16, guest_port: u16, service: Option<&str>) -> PublishedPort {
        let service = service.map(|name| name.parse().unwrap());
        PublishedPort { bind: None, host_port, guest_port, service }
    }

    #[test]
    fn a_port_is_taken_when_somebody_could_be_behind_it() {
        use Phase::{Creating, Deleting, Started, Starting, Stopped, Stopping};
        let own = port(8000, 80, None);
        let of_service = port(8000, 80, Some("web"));
        let taken = |port, phase, reason, active| held_back(port, phase, reason, active).is_none();
        for (phase, reason, expected) in [
            (Started, None, true),
            (Starting, Some("idle"), true),
            (Stopped, Some("idle"), true),
            (Stopping, Some("idle"), true),
            (Stopped, Some("requested"), false),
            (Stopping, Some("requested"), false),
            (Stopped, Some("guest_crashed"), false),
            (Stopped, None, false),
            (Creating, None, false),
            (Deleting, Some("idle"), false),
        ] {
            assert_eq!(taken(&own, phase, reason, false), expected, "{phase:?} {reason:?}");
            assert!(!taken(&of_service, phase, reason, false), "{phase:?} {reason:?}");
            let with_service = taken(&of_service, phase, reason, true);
            assert_eq!(with_service, phase == Started, "{phase:?} {reason:?}");
        }
        let why = held_back(&of_service, Started, None, false).unwrap();
        assert_eq!(why, "service web does not run");
    }

    #[test]
    fn what_is_published_already_is_known_again() {
        let ask = |host_port| PortRequest { bind: None, host_port, guest_port: 80 };
        let there = port(8000, 80, None);
        for host_port in [None, Some(0), Some(8000)] {
            assert!(ask(host_port).is(&there, None), "{host_port:?}");
        }
        assert!(!ask(Some(8001)).is(&there, None));
        assert!(!ask(None).is(&there, Some(&"web".parse().unwrap())));
        let elsewhere = PortRequest { bind: Some(Ipv4Addr::UNSPECIFIED.into()), ..ask(None) };
        assert!(!elsewhere.is(&there, None));
    }

    #[test]
    fn a_list_shows_who_listens_and_where_it_is_published() {
        let status = |port| PortStatus::new(port, PortState::Listening, Arc::default());
        let at = |address: &str, port| (address.to_owned(), port);
        let listening = [at("0.0.0.0", 80), at("::", 80), at("127.0.0.1", 5432)];
        let services = [("web".to_owned(), vec![at("0.0.0.0", 80)])];
        let published = [status(port(8000, 80, None)), status(port(9000, 90, Some("api")))];
        let rows = rows(&listening, &services, &published);
        let shown: Vec<_> = rows
            .iter()
            .map(|row| {
                let host = row.published.as_ref().map(|status| status.port.host_port);
                (row.guest_port, row.service.as_deref(), row.listening.join(" "), host)
            })
            .collect();
        assert_eq!(
            shown,
            [
                (80, Some("web"), "0.0.0.0 ::".to_owned(), Some(8000)),
                (90, Some("api"), String::new(), Some(9000)),
                (5432, None, "127.0.0.1".to_owned(), None),
            ]
        );
    }
}
