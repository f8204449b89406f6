//! `pyro workspace service list`.

use super::card;
use crate::{
    arguments::ServicesArguments,
    context::Context,
    error::CommandError,
    output::{table::table_with_last, units},
    values::now,
};

pub(in crate::commands) async fn list(
    context: &Context,
    arguments: &ServicesArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let list = context.node().await?.services(&workspace).await?;
    if printer.json {
        printer.json(&list)?;
        return Ok(0);
    }
    let now = now();
    let rows: Vec<_> = list
        .services
        .iter()
        .map(|service| {
            let lives = service.pid.is_some();
            let measured = |text: String| if lives { text } else { "-".to_owned() };
            let up = service.started_at.map_or(0.0, |started| now - started);
            [
                service.service_name.to_string(),
                card::state(service),
                if service.ready { "yes" } else { "no" }.to_owned(),
                service.health.clone().unwrap_or_else(|| "-".to_owned()),
                service.restart_count.to_string(),
                measured(units::span(up)),
                measured(units::span(service.cpu_seconds)),
                measured(units::bytes(service.memory_bytes)),
                measured(card::ports(service)),
                card::published_cell(service),
            ]
        })
        .collect();
    let headings = [
        "SERVICE",
        "STATE",
        "READY",
        "HEALTH",
        "RESTARTS",
        "UPTIME",
        "CPU",
        "MEMORY",
        "PORTS",
        "PUBLISHED",
    ];
    let has_published = list.services.iter().any(card::is_published);
    printer.data(&table_with_last(has_published, headings, &rows))?;
    if rows.is_empty() && printer.shows_progress() {
        printer.hint("start one with: pyro service start WORKSPACE NAME -- COMMAND...");
    }
    Ok(0)
}
