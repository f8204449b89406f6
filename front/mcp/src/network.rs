//! What a workspace may reach: say, see, and look into what it wanted to.

use pyro_api::{NetworkLogEntry, NetworkStatus, SetNetwork};
use pyro_core::Problem;
use serde_json::json;

use crate::{
    answer::{Answer, object},
    call::Call,
    exec::fitting,
};

fn shown(network: &NetworkStatus) -> Answer {
    let mut lines =
        vec![format!("workspace {}: network {}", network.workspace_id, network.network_policy)];
    if !network.network_allow.is_empty() {
        lines.push(format!("it reaches {}", network.network_allow.join(", ")));
    }
    if network.closed_connections > 0 {
        lines.push(format!("{} connections were ended", network.closed_connections));
    }
    lines.push(format!(
        "{} connections so far, {} open; {} bytes out, {} in; {} refused",
        network.connections,
        network.open_connections,
        network.bytes_sent,
        network.bytes_received,
        network.denied
    ));
    Answer::new(lines.join("\n"), network)
}

/// `workspace_network_set`.
pub(crate) async fn set(call: &Call) -> Result<Answer, Problem> {
    let workspace = call.workspace("workspace_id")?;
    let request = SetNetwork {
        network_policy: call.arguments.text("network_policy").map(str::to_owned),
        network_allow: call.arguments.list("network_allow"),
        add: false,
    };
    let network = call.node().await?.set_network(&workspace, &request).await?;
    Ok(shown(&network))
}

/// `workspace_network_show`.
pub(crate) async fn show(call: &Call) -> Result<Answer, Problem> {
    let workspace = call.workspace("workspace_id")?;
    Ok(shown(&call.node().await?.network(&workspace).await?))
}

/// `workspace_network_log`.
pub(crate) async fn log(call: &Call) -> Result<Answer, Problem> {
    let workspace = call.workspace("workspace_id")?;
    let after = call.arguments.integer("after").unwrap_or_default();
    let mut log = call.node().await?.network_log(&workspace, after, false).await?;
    let mut all = Vec::new();
    while let Some(entry) = log.next().await? {
        all.push(entry);
    }
    let mut text = match all.len() {
        0 => "it wanted to reach nothing\n".to_owned(),
        count => format!("{count} entries\n"),
    };
    let entry = |entry: &NetworkLogEntry| (line(entry), object(entry));
    // The newest matter most where not all have room.
    let (mut entries, omitted) = fitting(all.iter().rev().map(entry), &mut text, call);
    entries.reverse();
    Ok(Answer::new(text, &json!({"entries": entries, "omitted_count": omitted})))
}

fn line(entry: &NetworkLogEntry) -> String {
    let what = [&entry.name, &entry.address].into_iter().flatten().cloned().collect::<Vec<_>>();
    let port = entry.port.map(|port| format!(" port {port}")).unwrap_or_default();
    let why = entry.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let hint = entry.hint.as_ref().map(|hint| format!(" [{hint}]")).unwrap_or_default();
    format!("{}  {} {}{port}{why}{hint}\n", entry.verdict, entry.protocol, what.join(" "))
}
