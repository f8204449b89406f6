//! `pyro workspace service logs`.

use pyro_api::ServiceLogEntry;
use pyro_client::ServiceLogQuery;

use super::named;
use crate::{
    arguments::ServiceLogsArguments, context::Context, error::CommandError, output::units,
    printer::Printer,
};

pub(in crate::commands) async fn logs(
    context: &Context,
    arguments: &ServiceLogsArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let service = named(&arguments.service)?;
    let query = ServiceLogQuery {
        tail_lines: arguments.tail_lines,
        all: arguments.all,
        since: arguments.since,
        stream: arguments.stream.clone(),
        offset: None,
        follow: arguments.follow,
    };
    let node = context.node().await?;
    if printer.json {
        printer.json(&node.service_logs(&workspace, service, &query).await?)?;
        return Ok(0);
    }
    let mut entries = node.stream_service_logs(&workspace, service, &query).await?;
    let mut lines = Lines { timestamps: arguments.timestamps, within: [false; 2] };
    while let Some(entry) = entries.next().await? {
        lines.print(printer, &entry)?;
    }
    Ok(0)
}

/// Puts a time before each line of either stream.
struct Lines {
    timestamps: bool,
    /// Whether the last piece of stdout, of stderr, ended within a line.
    within: [bool; 2],
}

impl Lines {
    fn print(&mut self, printer: Printer, entry: &ServiceLogEntry) -> Result<(), CommandError> {
        let bytes = match (&entry.text, &entry.hex) {
            // A terminal is shown nothing that could command it.
            (Some(text), _) => printer.shown(text).as_bytes().to_vec(),
            (None, hex) => {
                let bytes = from_hex(hex.as_deref().unwrap_or_default());
                printer.shown_bytes(bytes)
            }
        };
        if !self.timestamps {
            return printer.raw(&bytes);
        }
        let at = units::moment(entry.at_micros);
        let within = &mut self.within[usize::from(entry.stream == "stderr")];
        let mut text = Vec::with_capacity(bytes.len() + 64);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !*within {
                text.extend_from_slice(at.as_bytes());
                text.push(b' ');
            }
            text.extend_from_slice(line);
            *within = !line.ends_with(b"\n");
        }
        printer.raw(&text)
    }
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    hex.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
