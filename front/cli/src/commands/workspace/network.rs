//! `pyro workspace network`: what a workspace may reach, and what it wanted to.

use std::fmt::Write as _;

use pyro_api::{NetworkLogEntry, NetworkStatus, SetNetwork};

use crate::{
    arguments::{NetworkLogArguments, NetworkSetArguments, OneArguments},
    context::Context,
    error::CommandError,
    output::{table::card, units},
    printer::Printer,
};

pub(in crate::commands) async fn set(
    context: &Context,
    arguments: NetworkSetArguments,
) -> Result<u8, CommandError> {
    let workspace = context.workspace(&arguments.workspace)?;
    let request = SetNetwork {
        network_policy: arguments.policy,
        network_allow: arguments.allow,
        add: arguments.add,
    };
    let network = context.node().await?.set_network(&workspace, &request).await?;
    print(context.printer, &network)?;
    Ok(0)
}

pub(in crate::commands) async fn show(
    context: &Context,
    arguments: &OneArguments,
) -> Result<u8, CommandError> {
    let workspace = context.workspace(&arguments.workspace)?;
    let network = context.node().await?.network(&workspace).await?;
    print(context.printer, &network)?;
    Ok(0)
}

fn print(printer: Printer, network: &NetworkStatus) -> Result<(), CommandError> {
    if printer.json {
        return printer.json(network);
    }
    let mut fields = vec![
        ("workspace", network.workspace_id.to_string()),
        ("network", shown(&network.network_policy, &network.network_allow)),
    ];
    if !network.network_allow.is_empty() {
        fields.push(("allowed", printer.cell(&network.network_allow.join(" "))));
    }
    if network.closed_connections > 0 {
        fields.push(("ended", format!("{} connections", network.closed_connections)));
    }
    if network.network_enabled || network.connections > 0 {
        let connections = format!("{}, {} open", network.connections, network.open_connections);
        fields.push(("connections", connections));
        let (sent, received) = (network.bytes_sent, network.bytes_received);
        let bytes = format!("{} out, {} in", units::bytes(sent), units::bytes(received));
        fields.push(("carried", bytes));
        let (now, most) = (network.buffer_bytes, network.memory_bound_bytes);
        let memory = format!("{} of at most {}", units::bytes(now), units::bytes(most));
        fields.push(("memory", memory));
    }
    fields.push(("refused", network.denied.to_string()));
    printer.data(&card(&fields))
}

/// A policy as people are told of it: `off` with rules is not off.
pub(super) fn shown(policy: &str, allow: &[String]) -> String {
    if policy == "off" && !allow.is_empty() { "what is allowed".into() } else { policy.into() }
}

pub(in crate::commands) async fn log(
    context: &Context,
    arguments: &NetworkLogArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let node = context.node().await?;
    let mut log = node.network_log(&workspace, arguments.after, arguments.follow).await?;
    while let Some(entry) = log.next().await? {
        if printer.json {
            printer.json_line(&entry)?;
        } else {
            printer.line(&printer.cell(&line(&entry)))?;
        }
    }
    Ok(0)
}

/// When, what became of it, what, who, why, and what would allow it.
fn line(entry: &NetworkLogEntry) -> String {
    let mut line =
        format!("{} {:7} {}", units::moment((entry.at * 1e6) as u64), entry.verdict, what(entry));
    if let Some(process) = &entry.process {
        let _ = write!(line, " by {} ({})", process.name, process.pid);
    }
    if entry.count > 1 {
        let _ = write!(line, ", {} times", entry.count);
    }
    if let Some(rule) = &entry.rule {
        let _ = write!(line, ", by rule {rule}");
    }
    if let Some(why) = &entry.why {
        let _ = write!(line, ": {why}");
    }
    if let Some(hint) = &entry.hint {
        let _ = write!(line, " [{hint}]");
    }
    line
}

fn what(entry: &NetworkLogEntry) -> String {
    let address = entry.address.as_ref().map(|address| match entry.port {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
        None => address.clone(),
    });
    match (entry.protocol.as_str(), &entry.name, address) {
        ("dns", Some(name), Some(address)) => format!("name {name} ({address})"),
        ("dns", Some(name), None) => format!("name {name}"),
        (_, Some(name), Some(address)) => format!("{address} ({name})"),
        (_, _, Some(address)) => address,
        (protocol, _, None) => protocol.to_owned(),
    }
}
