//! Copies of services' logs on the host, so that a stopped workspace answers.
//!
//! A copy is a file of `[length u32 little endian][LogEntry]`, in the order in which the output
//! came. Written whole or not at all.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use pyro_core::{ServiceName, WorkspaceId};
use pyro_link::Link;
use pyro_wire::{Message, ReadServiceLog, service_log_piece::Piece};

use super::{LogEntry, LogQuery};
use crate::{error::WorkspaceError, layout::Layout};

/// The most a copy may take: two streams at the highest limit, and their times. A guest that sends
/// more is not believed.
const MAX_COPY: u64 = 3 << 30;
/// The longest entry.
const MAX_ENTRY: usize = pyro_wire::MAX_DATA + 64;

/// Copies the logs of these services; what fails is logged and left as it was.
pub(crate) async fn copy_logs(
    layout: &Layout,
    workspace: WorkspaceId,
    link: &Link,
    names: &[ServiceName],
) {
    for name in names {
        let path = layout.service_log(workspace, name);
        if let Err(error) = copy(link, name, &path).await {
            tracing::warn!(%workspace, service = %name, %error, "could not copy a log");
        }
    }
}

async fn copy(link: &Link, name: &ServiceName, path: &Path) -> Result<(), WorkspaceError> {
    let failed = || WorkspaceError::file(path);
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory).map_err(failed())?;
    let file =
        tempfile::Builder::new().prefix(".partial-").tempfile_in(directory).map_err(failed())?;
    let mut writer = BufWriter::with_capacity(128 * 1024, file);
    let call = ReadServiceLog { name: name.to_string(), ..ReadServiceLog::default() };
    let told = WorkspaceError::guest("copy a log");
    let (_, mut reader) = link.read_service_log(call).await.map_err(told)?;
    let mut written = 0;
    while let Some(piece) = reader.next().await.map_err(WorkspaceError::guest("copy a log"))? {
        let Piece::Entry(entry) = piece else { continue };
        let body = entry.encode_to_vec();
        written += 4 + body.len() as u64;
        if written > MAX_COPY {
            return Err(WorkspaceError::guest("copy a log")(pyro_link::LinkError::Mismatch(
                "read_service_log with a bounded log",
            )));
        }
        writer.write_all(&(body.len() as u32).to_le_bytes()).map_err(failed())?;
        writer.write_all(&body).map_err(failed())?;
    }
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || {
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(&path).map(drop).map_err(|failed| failed.error)
    })
    .await
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    .map_err(WorkspaceError::file(path_of(name)))
}

fn path_of(name: &ServiceName) -> PathBuf {
    PathBuf::from(format!("the log of {name}"))
}

/// Removes a copy, if there is one.
pub(super) fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

/// Reads a copy; nothing where there is none.
pub(super) fn read(path: PathBuf, query: LogQuery) -> tokio::sync::mpsc::Receiver<LogEntry> {
    let (send, entries) = tokio::sync::mpsc::channel(16);
    tokio::task::spawn_blocking(move || {
        let Ok(from) = tail(&path, &query) else { return };
        let Ok(copy) = Entries::open(&path) else { return };
        for entry in copy.map_while(Result::ok) {
            let Some(entry) = wanted(entry, &query, from) else { continue };
            if send.blocking_send(entry).is_err() {
                return;
            }
        }
    });
    entries
}

/// What a query wants of an entry.
fn wanted(mut entry: LogEntry, query: &LogQuery, from: [u64; 2]) -> Option<LogEntry> {
    let stream = if entry.stderr { query.stderr } else { query.stdout };
    let from = from[usize::from(entry.stderr)];
    let end = entry.offset + entry.bytes.len() as u64;
    if !stream || entry.at_micros < query.since_millis.saturating_mul(1000) || end <= from {
        return None;
    }
    let before = from.saturating_sub(entry.offset) as usize;
    entry.bytes = entry.bytes.slice(before.min(entry.bytes.len())..);
    entry.offset = entry.offset.max(from);
    Some(entry)
}

/// Where the last lines begin, for each stream.
fn tail(path: &Path, query: &LogQuery) -> io::Result<[u64; 2]> {
    let Some(lines) = query.tail_lines else { return Ok([query.offset; 2]) };
    let lines = usize::try_from(lines).unwrap_or(usize::MAX);
    let mut starts: [VecDeque<u64>; 2] = Default::default();
    let mut begins = [true, true];
    for entry in Entries::open(path)? {
        let entry = entry?;
        let stream = usize::from(entry.stderr);
        if ![query.stdout, query.stderr][stream] {
            continue;
        }
        let kept = if query.tail_each { stream } else { 0 };
        for (at, byte) in entry.bytes.iter().enumerate() {
            if std::mem::replace(&mut begins[stream], *byte == b'\n') {
                starts[kept].push_back(entry.offset + at as u64);
                if starts[kept].len() > lines {
                    starts[kept].pop_front();
                }
            }
        }
    }
    let first = |starts: &VecDeque<u64>| match (starts.front(), lines) {
        (Some(first), 1..) => (*first).max(query.offset),
        (None, 1..) => query.offset,
        (_, 0) => u64::MAX,
    };
    Ok(if query.tail_each {
        [first(&starts[0]), first(&starts[1])]
    } else {
        [first(&starts[0]); 2]
    })
}

/// The entries of a copy.
struct Entries(BufReader<File>);

impl Entries {
    fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(|file| Self(BufReader::with_capacity(128 * 1024, file)))
    }

    fn read(&mut self) -> io::Result<Option<LogEntry>> {
        let mut length = [0; 4];
        match self.0.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_ENTRY {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        let entry = pyro_wire::LogEntry::decode(&body[..]).map_err(io::Error::other)?;
        Ok(Some(LogEntry {
            offset: entry.offset,
            at_micros: entry.time_micros,
            stderr: entry.stderr,
            bytes: entry.bytes,
        }))
    }
}

impl Iterator for Entries {
    type Item = io::Result<LogEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(entries: &[(u64, bool, &str)]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for (offset, stderr, text) in entries {
            let entry = pyro_wire::LogEntry {
                offset: *offset,
                time_micros: 1_000_000 * (1 + offset),
                stderr: *stderr,
                bytes: text.as_bytes().to_vec().into(),
            };
            let body = entry.encode_to_vec();
            file.write_all(&(body.len() as u32).to_le_bytes()).unwrap();
            file.write_all(&body).unwrap();
        }
        file
    }

    #[tokio::test]
    async fn a_copy_is_read_like_the_log_itself() {
        let file = write(&[(0, false, "one\ntw"), (6, true, "bad\n"), (10, false, "o\nopen")]);
        let text = async |query: LogQuery| {
            let mut entries = read(file.path().into(), query);
            let mut text = String::new();
            while let Some(entry) = entries.recv().await {
                text += std::str::from_utf8(&entry.bytes).unwrap();
            }
            text
        };
        let all = LogQuery { stdout: true, stderr: true, ..LogQuery::default() };
        assert_eq!(text(all.clone()).await, "one\ntwbad\no\nopen");
        assert_eq!(text(LogQuery { stderr: false, ..all.clone() }).await, "one\ntwo\nopen");
        let tail = LogQuery { tail_lines: Some(2), ..all.clone() };
        assert_eq!(text(tail.clone()).await, "bad\no\nopen");
        assert_eq!(text(LogQuery { tail_each: true, ..tail }).await, "twbad\no\nopen");
        assert_eq!(text(LogQuery { since_millis: 7000, ..all }).await, "bad\no\nopen");
    }
}
