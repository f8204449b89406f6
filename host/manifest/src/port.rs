//! Ports that a service publishes on this host: `[HOST:]GUEST`, as `service start --publish` takes
//! them, and what compose files make of it.
//! <https://github.com/compose-spec/compose-spec/blob/main/05-services.md#ports>

use std::{collections::BTreeMap, net::IpAddr};

use pyro_core::ServiceName;

use crate::{
    tree::{Entry, Fault, Node, Value},
    value,
};

/// A port of a service that is published on this host's `localhost` for as long as it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Port {
    /// The port of this host. None: the guest's number if it can be had, else any; 0: any.
    pub host_port: Option<u16>,
    /// The port of the workspace.
    pub guest_port: u16,
}

/// Ports of a service: as many as a workspace has.
const MOST_PORTS: usize = 128;
/// The lowest port of this host that can be asked for.
const LOWEST_HOST_PORT: u16 = 1025;
/// How a port is written.
const FORM: &str = "it is GUEST or HOST:GUEST; a HOST is 1025 or more, or 0 for any that is free";
/// The keys of a port in a `pyro.toml`.
const KEYS: [&str; 2] = ["guest_port", "host_port"];
/// The keys of a port in a compose file.
const COMPOSE_KEYS: [&str; 7] =
    ["target", "published", "host_ip", "protocol", "mode", "name", "app_protocol"];

/// `published_ports` of a `pyro.toml`: each a number, `HOST:GUEST`, or a table as payloads have it.
pub(crate) fn of_pyro_file(node: &Node, what: &str) -> Result<Vec<Port>, Fault> {
    let hint = "for example: published_ports = [8000, \"8080:80\"]";
    each(node, what, hint, |node, what| {
        if let Value::Map(entries) = &node.value {
            return of_keys(node, entries, what);
        }
        let text = value::scalar(node, what)?;
        let (host, guest) = match text.split_once(':') {
            Some((host, guest)) => (Some(host), guest),
            None => (None, text),
        };
        port(node.line, what, host, guest)
    })
}

/// `ports` of a compose file, in its short form or its long one.
pub(crate) fn of_compose_file(node: &Node, what: &str) -> Result<Vec<Port>, Fault> {
    let hint = "for example: ports: [\"8080:80\"]";
    each(node, what, hint, |node, what| match &node.value {
        Value::Map(entries) => of_compose_keys(node, entries, what),
        _ => of_compose_text(node.line, value::scalar(node, what)?, what),
    })
}

fn each(
    node: &Node,
    what: &str,
    hint: &str,
    read: impl Fn(&Node, &str) -> Result<Port, Fault>,
) -> Result<Vec<Port>, Fault> {
    let Value::List(items) = &node.value else {
        let wrong = format!("{what} is a list of ports, not {}", node.kind());
        return Err(Fault::new(node.line, wrong).hint(hint));
    };
    if items.len() > MOST_PORTS {
        let wrong = format!("{what} are more than {MOST_PORTS}");
        return Err(Fault::too_large(node.line, wrong));
    }
    let what = format!("each of {what}");
    items.iter().map(|item| read(item, &what)).collect()
}

fn of_keys(node: &Node, entries: &[Entry], what: &str) -> Result<Port, Fault> {
    let (mut host, mut guest) = (None, None);
    for entry in entries {
        let Entry { name, node, .. } = entry;
        match name.as_str() {
            "guest_port" => guest = Some(value::scalar(node, name)?),
            "host_port" => host = Some(value::scalar(node, name)?),
            _ => return Err(value::unknown(entry, what, &KEYS)),
        }
    }
    let guest = guest.ok_or_else(|| Fault::new(node.line, format!("{what} needs guest_port")))?;
    port(node.line, what, host, guest)
}

fn of_compose_keys(node: &Node, entries: &[Entry], what: &str) -> Result<Port, Fault> {
    let (mut published, mut target) = (None, None);
    for entry in entries {
        let Entry { line, name, node } = entry;
        match name.as_str() {
            "target" => target = Some(value::scalar(node, name)?),
            "published" => published = Some(value::scalar(node, name)?),
            "host_ip" => is_localhost(*line, what, value::scalar(node, name)?)?,
            "protocol" => is_tcp(*line, what, value::scalar(node, name)?)?,
            // How it is reached in a cluster, and what it is called.
            "mode" | "name" | "app_protocol" => {}
            _ => return Err(value::unknown(entry, what, &COMPOSE_KEYS)),
        }
    }
    let target = target.ok_or_else(|| Fault::new(node.line, format!("{what} needs target")))?;
    port(node.line, what, published.filter(|text| !text.is_empty()), target)
}

/// `[[ADDRESS:]HOST:]GUEST[/PROTOCOL]`; of an address, the port may be left out.
fn of_compose_text(line: usize, text: &str, what: &str) -> Result<Port, Fault> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    is_tcp(line, what, protocol)?;
    let mut parts = ports.rsplitn(3, ':');
    let guest = parts.next().unwrap_or_default();
    let host = parts.next();
    match parts.next() {
        Some(address) => {
            is_localhost(line, what, address)?;
            port(line, what, host.filter(|text| !text.is_empty()), guest)
        }
        None => port(line, what, host, guest),
    }
}

fn is_tcp(line: usize, what: &str, protocol: &str) -> Result<(), Fault> {
    if protocol.eq_ignore_ascii_case("tcp") {
        return Ok(());
    }
    let wrong = format!("{what} is published for TCP, not for {:?}", short(protocol));
    Err(Fault::new(line, wrong).hint("remove it, or rename ports to x-ports"))
}

fn is_localhost(line: usize, what: &str, address: &str) -> Result<(), Fault> {
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let bare = bare.unwrap_or(address);
    let is_loopback = |address: IpAddr| address.is_loopback();
    if bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(is_loopback) {
        return Ok(());
    }
    let wrong = format!("{what} is published on localhost, not on {:?}", short(address));
    Err(Fault::new(line, wrong)
        .hint("remove the address; `pyro port publish --bind ADDRESS` lets others reach a port"))
}

fn port(line: usize, what: &str, host: Option<&str>, guest: &str) -> Result<Port, Fault> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| is_number).ok_or_else(|| {
            let wrong = format!("{what} is a port, not {:?}", short(text));
            if text.contains('-') {
                return Fault::new(line, wrong)
                    .hint("ranges are not published: name each port by itself");
            }
            Fault::new(line, wrong).hint(FORM)
        })
    };
    let guest_port = number(guest)?;
    let host_port = host.map(number).transpose()?;
    if guest_port == 0 {
        return Err(Fault::new(line, format!("{what} is a port, not 0")).hint(FORM));
    }
    if let Some(low) = host_port.filter(|port| (1..LOWEST_HOST_PORT).contains(port)) {
        let wrong = format!("{what}: {low} is not a port of the host to publish on");
        return Err(Fault::new(line, wrong).hint(FORM));
    }
    Ok(Port { host_port, guest_port })
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Whether no two want one port of this host: each service with its line and its ports.
pub(crate) fn are_apart<'a>(
    services: impl Iterator<Item = (usize, &'a ServiceName, &'a [Port])>,
) -> Result<(), Fault> {
    let mut taken = BTreeMap::new();
    for (line, name, ports) in services {
        for port in ports {
            let Some(number) = port.host_port.filter(|number| *number != 0) else { continue };
            let before = taken.insert(number, (name, port.guest_port));
            if let Some((other, guest)) = before
                && (other, guest) != (name, port.guest_port)
            {
                let wrong = format!("{name} publishes port {number} of the host, as {other} does");
                return Err(Fault::new(line, wrong).hint("0 takes any port that is free"));
            }
        }
    }
    Ok(())
}
