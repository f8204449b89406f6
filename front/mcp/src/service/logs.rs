//! What a service printed: the end of it, or from a position on, cut to head and tail.

use pyro_api::ServiceLogEntry;
use pyro_client::{ClientError, Node, ServiceLogQuery};
use pyro_core::Problem;
use serde_json::Value;
use std::fmt::Write as _;

use super::{card, named};
use crate::{answer::Answer, call::Call, output::Transcript, resources::log_link};

/// Of a longer log only both ends are read, and of the last lines only so much: bytes.
const READ_WHOLE: u64 = 4 * 1024 * 1024;

/// What is read at each end of a longer log, bytes.
const READ_END: u64 = 1024 * 1024;

/// What a resource shows of a log: lines of each stream, bytes.
const SHOWN_LINES: u64 = 1000;
const SHOWN_BYTES: usize = 20_000;

/// Which part of a log.
struct Part<'a> {
    node: &'a Node,
    workspace: &'a str,
    service: &'a str,
    /// Bytes of both streams that there were when it was asked for.
    end: u64,
    since: Option<f64>,
    stream: &'a str,
}

impl Part<'_> {
    fn query(&self) -> ServiceLogQuery {
        ServiceLogQuery {
            since: self.since,
            stream: Some(self.stream.to_owned()),
            ..ServiceLogQuery::default()
        }
    }

    /// Reads entries into a transcript until there are no more, or it says that it has enough.
    async fn read(
        &self,
        query: &ServiceLogQuery,
        mut take: impl FnMut(&ServiceLogEntry, &[u8]) -> bool,
    ) -> Result<(), ClientError> {
        let mut entries =
            self.node.stream_service_logs(self.workspace, self.service, query).await?;
        while let Some(entry) = entries.next().await? {
            if !take(&entry, &bytes(&entry)) {
                break;
            }
        }
        Ok(())
    }

    /// The last lines of each stream.
    async fn tail(&self, lines: u64, transcript: &mut Transcript) -> Result<(), ClientError> {
        // A line may be as long as the whole log.
        let offset = Some(self.end.saturating_sub(READ_WHOLE)).filter(|offset| *offset > 0);
        let streams: &[&str] = match self.stream {
            "combined" => &["stdout", "stderr"],
            "stdout" => &["stdout"],
            _ => &["stderr"],
        };
        for stream in streams {
            let stream = Some((*stream).to_owned());
            let query = ServiceLogQuery { tail_lines: Some(lines), offset, stream, ..self.query() };
            self.read(&query, |entry, bytes| {
                transcript.place(entry.offset);
                put(transcript, entry, bytes);
                true
            })
            .await?;
        }
        transcript.seen_to(self.end);
        Ok(())
    }

    /// All from a position on; of much, head and tail.
    async fn from(&self, offset: u64, transcript: &mut Transcript) -> Result<(), ClientError> {
        let whole = self.stream == "combined" && self.since.is_none();
        let last = self.end.saturating_sub(READ_END);
        let long = whole && self.end > offset.saturating_add(READ_WHOLE);
        let mut read = 0;
        let query = ServiceLogQuery { all: true, offset: Some(offset), ..self.query() };
        self.read(&query, |entry, bytes| {
            if whole {
                // What lies between was rotated away.
                transcript.lost(offset, entry.offset);
            } else {
                transcript.place(entry.offset);
            }
            put(transcript, entry, bytes);
            read += bytes.len() as u64;
            !long || (read < READ_END && entry.offset < last)
        })
        .await?;
        if long && transcript.next() < last {
            transcript.skip_to(last);
            let query = ServiceLogQuery { all: true, offset: Some(last), ..self.query() };
            self.read(&query, |entry, bytes| {
                transcript.lost(last, entry.offset);
                put(transcript, entry, bytes);
                true
            })
            .await?;
        } else if long {
            let from = transcript.next();
            let query = ServiceLogQuery { all: true, offset: Some(from), ..self.query() };
            self.read(&query, |entry, bytes| {
                transcript.lost(from, entry.offset);
                put(transcript, entry, bytes);
                true
            })
            .await?;
        }
        transcript.seen_to(self.end);
        Ok(())
    }
}

fn put(transcript: &mut Transcript, entry: &ServiceLogEntry, bytes: &[u8]) {
    if entry.stream == "stderr" {
        transcript.stderr(bytes);
    } else {
        transcript.stdout(bytes);
    }
}

fn bytes(entry: &ServiceLogEntry) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    match (&entry.text, &entry.hex) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(hex)) => {
            let pairs = hex.as_bytes().chunks_exact(2);
            pairs.map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
        }
        (None, None) => Vec::new(),
    }
}

/// `service_logs`.
pub(crate) async fn logs(call: &Call) -> Result<Answer, Problem> {
    let (workspace, name) = (call.workspace("workspace_id")?, named(call)?);
    let arguments = &call.arguments;
    let node = call.node().await?;
    let service = node.service(&workspace, &name).await?;
    let total = service.log_bytes.stdout + service.log_bytes.stderr;
    let part = Part {
        node: &node,
        workspace: &workspace,
        service: &name,
        end: total,
        since: arguments.integer("since").map(|since| since as f64),
        stream: arguments.text("stream").unwrap_or("combined"),
    };
    let budget = arguments.number("max_bytes");
    let offset = arguments.integer("offset");
    let all = arguments.flag("all") || offset.is_some();
    let mut transcript = Transcript::new(offset.unwrap_or_default(), budget);
    let lines = arguments.integer("tail_lines").unwrap_or_default();
    if all {
        part.from(offset.unwrap_or_default(), &mut transcript).await?;
    } else if lines > 0 {
        part.tail(lines, &mut transcript).await?;
    } else {
        transcript.place(total);
    }
    let shown = transcript.show(budget);
    let mut document = card::document(&service);
    let mut text =
        format!("service {} is {}; {total} bytes of output\n", name, card::standing(&service));
    if shown.lossy {
        text.push_str("note: bytes that are no UTF-8 were replaced\n");
    }
    for (stream, said) in [("stdout", &shown.stdout), ("stderr", &shown.stderr)] {
        if !said.is_empty() {
            let end = if said.ends_with('\n') { "" } else { "\n" };
            let _ = write!(text, "--- {stream}\n{said}{end}");
        }
    }
    if shown.stdout.is_empty() && shown.stderr.is_empty() {
        text.push_str("(no output)\n");
    }
    let read_on = |offset: u64| {
        let id = service.workspace_id;
        format!("service_logs(workspace_id=\"{id}\", service_name=\"{name}\", offset={offset})")
    };
    let omitted = shown.omitted_bytes;
    if let Some(from) = shown.omitted_from {
        let next = read_on(from);
        let _ = writeln!(text, "--- {omitted} bytes omitted; read on with: {next}");
        document.insert("omitted_from".to_owned(), from.into());
        document.insert("next".to_owned(), next.into());
    } else if service.state.is_active() {
        let next = read_on(shown.next_offset);
        let _ = writeln!(text, "--- what comes next: {next}");
        document.insert("next".to_owned(), next.into());
    }
    let said = (shown.stdout.len() + shown.stderr.len()) as u64;
    for (field, value) in [
        ("stdout", Value::from(shown.stdout)),
        ("stderr", shown.stderr.into()),
        ("tail_lines", if all { Value::Null } else { lines.into() }),
        ("truncated", (omitted > 0 || said < total).into()),
        ("lossy", shown.lossy.into()),
        ("omitted_bytes", omitted.into()),
        ("next_offset", shown.next_offset.into()),
    ] {
        document.insert(field.to_owned(), value);
    }
    let mut links = Vec::new();
    if omitted > 0 {
        links.push(log_link(&service.workspace_id.to_string(), &name));
    }
    Ok(Answer { text, document, links, failed: false })
}

/// The end of a log as a resource shows it: stdout, then stderr.
pub(crate) async fn text(node: &Node, workspace: &str, name: &str) -> Result<String, Problem> {
    let service = node.service(workspace, name).await?;
    let end = service.log_bytes.stdout + service.log_bytes.stderr;
    let part = Part { node, workspace, service: name, end, since: None, stream: "combined" };
    let mut transcript = Transcript::new(0, SHOWN_BYTES);
    part.tail(SHOWN_LINES, &mut transcript).await?;
    let shown = transcript.show(SHOWN_BYTES);
    let mut text = shown.stdout;
    if !text.is_empty() && !text.ends_with('\n') && !shown.stderr.is_empty() {
        text.push('\n');
    }
    text.push_str(&shown.stderr);
    Ok(text)
}
