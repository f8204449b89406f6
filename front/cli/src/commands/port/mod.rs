//! Verbs on ports.

pub(super) mod list;
pub(super) mod publish;
pub(super) mod unpublish;

use pyro_api::PublishedPort;

/// Where a port is reached on this host.
fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A published port as a cell of a table, or a part of one.
pub(super) fn cell(port: &PublishedPort) -> String {
    format!("{}->{}", address(&port.host, port.host_port), port.guest_port)
}

/// A published port in a few words.
pub(super) fn shown(port: &PublishedPort) -> String {
    format!("{} -> {}", address(&port.host, port.host_port), port.guest_port)
}
