//! Ports: publish them on the host, take them back, see who listens.

use std::fmt::Write as _;

use pyro_api::{Port, PublishPort, PublishPorts, PublishedPort, UnpublishPorts};
use pyro_core::Problem;
use serde_json::Value;

use crate::{
    answer::{Answer, object},
    arguments::{Arguments, invalid},
    call::Call,
};

/// Ports of a list that are shown at a time, and addresses of each.
const MOST: usize = 25;
const MOST_ADDRESSES: usize = 4;

/// `GUEST` or `HOST:GUEST`, each.
pub(crate) fn ports(arguments: &Arguments, name: &str) -> Result<Vec<PublishPort>, Problem> {
    let one = |text: &String| {
        let number = |text: &str| {
            text.trim().parse::<u32>().map_err(|_| {
                invalid(format!("{text:?} is no port")).hint("GUEST or HOST:GUEST, such as 8080:80")
            })
        };
        Ok(match text.split_once(':') {
            Some((host, guest)) => {
                PublishPort { guest_port: number(guest)?, host_port: Some(number(host)?) }
            }
            None => PublishPort { guest_port: number(text)?, host_port: None },
        })
    };
    arguments.list(name).iter().map(one).collect()
}

/// Where a port is reached on the host.
fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A published port in a few words.
pub(crate) fn shown(port: &PublishedPort) -> String {
    format!("{} on the host reaches port {}", address(&port.host, port.host_port), port.guest_port)
}

/// `port_publish`.
pub(crate) async fn publish(call: &Call) -> Result<Answer, Problem> {
    let workspace = call.workspace("workspace_id")?;
    let request = PublishPorts { ports: ports(&call.arguments, "ports")?, bind: None };
    let published = call.node().await?.publish_ports(&workspace, &request).await?;
    let mut text = String::new();
    for port in &published.published_ports {
        let _ = writeln!(text, "{}", shown(port));
    }
    Ok(Answer { text, document: object(&published), ..Answer::default() })
}

/// `port_unpublish`.
pub(crate) async fn unpublish(call: &Call) -> Result<Answer, Problem> {
    let workspace = call.workspace("workspace_id")?;
    let mut numbers = Vec::new();
    for port in ports(&call.arguments, "ports")? {
        if port.host_port.is_some() {
            return Err(invalid("one number is enough").hint("the host's port, such as 8080"));
        }
        numbers.push(port.guest_port);
    }
    let request = UnpublishPorts { ports: numbers };
    let gone = call.node().await?.unpublish_ports(&workspace, &request).await?;
    let mut text = String::new();
    for port in &gone.unpublished_ports {
        let (address, guest) = (address(&port.host, port.host_port), port.guest_port);
        let _ = writeln!(text, "{address} on the host does not reach port {guest} any more");
    }
    Ok(Answer { text, document: object(&gone), ..Answer::default() })
}

/// `port_list`.
pub(crate) async fn list(call: &Call) -> Result<Answer, Problem> {
    let workspace = call.workspace("workspace_id")?;
    let mut list = call.node().await?.ports(&workspace).await?;
    let skip = call.arguments.number("offset");
    let total = list.ports.len();
    list.ports = list.ports.into_iter().skip(skip).take(MOST).collect();
    for port in &mut list.ports {
        port.listening_addresses.truncate(MOST_ADDRESSES);
    }
    let mut text = format!("{total} ports of workspace {}\n", list.workspace_id);
    for port in &list.ports {
        text.push_str(&line(port));
    }
    let after = skip + list.ports.len();
    let mut document = object(&list);
    if after < total {
        let _ = writeln!(text, "{} more: offset={after}", total - after);
        document.insert("next_offset".to_owned(), Value::from(after));
    }
    Ok(Answer { text, document, ..Answer::default() })
}

fn line(port: &Port) -> String {
    let mut line = port.guest_port.to_string();
    if let Some(service) = &port.service {
        let _ = write!(line, "  service {service}");
    }
    match port.listening_addresses.as_slice() {
        [] => line.push_str("  nobody listens"),
        addresses => {
            let _ = write!(line, "  listens on {}", addresses.join(", "));
        }
    }
    if let Some(published) = &port.published {
        let address = address(&published.host, published.host_port);
        let _ = write!(line, "  published on {address}: {}", published.state);
        if let Some(reason) = &published.reason {
            let _ = write!(line, " ({reason})");
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Profile, catalogue};

    fn asked(given: &Value) -> Result<Vec<PublishPort>, Problem> {
        let tool = catalogue::of(Profile::WorkspaceFull).find(|tool| tool.name == "port_publish");
        let all = json!({"workspace_id": "w", "ports": given});
        let arguments = Arguments::check(tool.unwrap().parameters, all.as_object().cloned())?;
        ports(&arguments, "ports")
    }

    #[test]
    fn ports_are_taken_in_every_form_that_is_certain() {
        let port = |host_port, guest_port| PublishPort { guest_port, host_port };
        for (given, expected) in [
            (json!(["80"]), vec![port(None, 80)]),
            (json!(80), vec![port(None, 80)]),
            (json!("8080:80"), vec![port(Some(8080), 80)]),
            (
                json!([{"guest_port": 80}, {"guest_port": 81, "host_port": 0}, 82]),
                vec![port(None, 80), port(Some(0), 81), port(None, 82)],
            ),
        ] {
            assert_eq!(asked(&given).unwrap(), expected, "{given}");
        }
        for bad in [json!("x"), json!(["1:2:3"]), json!({"port": 80}), json!([true]), json!([[80]])]
        {
            assert_eq!(asked(&bad).unwrap_err().code, "invalid_arguments", "{bad}");
        }
    }
}
