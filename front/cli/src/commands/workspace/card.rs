//! A workspace as a person is shown it.

use pyro_api::{Service, Workspace};

use super::network::shown;
use crate::{
    commands::port,
    error::CommandError,
    output::{table::card, units},
    printer::Printer,
    values::now,
};

/// Prints a workspace: as one JSON document, or for a person.
pub(super) fn print(printer: Printer, workspace: &Workspace) -> Result<(), CommandError> {
    print_with(printer, workspace, &[])
}

/// The same with the services whose ports are to be shown, too.
pub(super) fn print_with(
    printer: Printer,
    workspace: &Workspace,
    services: &[Service],
) -> Result<(), CommandError> {
    if printer.json {
        return printer.json(workspace);
    }
    let now = now();
    let mut fields = vec![("workspace", workspace.workspace_id.to_string())];
    if let Some(name) = &workspace.name {
        fields.push(("name", printer.cell(name)));
    }
    let state = match (&workspace.activity, &workspace.stop_reason) {
        (Some(activity), _) => format!("{} ({activity})", workspace.state),
        (None, Some(reason)) => format!("{} ({})", workspace.state, reason.replace('_', " ")),
        (None, None) => workspace.state.clone(),
    };
    fields.push(("state", state));
    if let Some(detail) = &workspace.stop_detail {
        fields.push(("detail", printer.cell(detail)));
    }
    fields.push(("environment", printer.cell(&workspace.environment)));
    let acceleration = if workspace.accelerated { "" } else { ", software emulation" };
    let machine = format!(
        "{} vCPU, {} MiB, {}{acceleration}",
        workspace.vcpu_count, workspace.mem_mib, workspace.backend
    );
    fields.push(("machine", machine));
    let disk = u64::from(workspace.disk_mib) << 20;
    let used = units::bytes(workspace.disk_bytes);
    fields.push(("disk", format!("{used} used of {}", units::bytes(disk))));
    let policy = shown(&workspace.network_policy, &workspace.network_allow);
    fields.push(("network", policy));
    if !workspace.labels.is_empty() {
        fields.push(("labels", printer.cell(&labels(&workspace.labels))));
    }
    fields.push(("created", units::ago(workspace.created_at, now)));
    fields.push(("last used", units::ago(workspace.last_activity_at, now)));
    if let Some(expires_at) = workspace.expires_at {
        let action = if workspace.on_expiry == "delete" { "deleted" } else { "stopped" };
        fields.push(("expires", format!("{} ({action} then)", units::ahead(expires_at, now))));
    }
    if workspace.service_count > 0 {
        let (count, running) = (workspace.service_count, workspace.running_service_count);
        fields.push(("services", format!("{count}, {running} running")));
    }
    let ports: Vec<_> = services
        .iter()
        .filter(|service| service.state.is_active())
        .flat_map(|service| {
            let name = &service.service_name;
            service.published_ports.iter().map(move |it| format!("{} ({name})", port::shown(it)))
        })
        .collect();
    if !ports.is_empty() {
        fields.push(("published", ports.join(", ")));
    }
    fields.push(("commands", workspace.command_count.to_string()));
    if let Some(last) = &workspace.last_command {
        let code = last.exit_code.map_or("lost".to_owned(), |code| format!("exit {code}"));
        fields.push(("last command", format!("{} ({code})", printer.cell(&last.command))));
    }
    printer.data(&card(&fields))
}

/// `key=value` pairs in order.
pub(super) fn labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(" ")
}
