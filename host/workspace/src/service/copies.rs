//! Copies of services' logs on the host, so that a stopped workspace answers.
//!
//! A copy is a file of `[length u32 little endian][LogEntry]`, in the order in which the output
//! came. Written whole or not at all. A guest may stall or send without end: each copy is bounded in
//! bytes, all together in bytes and time.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{Stream, TryStreamExt, stream};
use pyro_core::{ServiceName, WorkspaceId};
use pyro_link::{Link, LinkError};
use pyro_wire::{Message, ReadServiceLog, ServiceList, service_log_piece::Piece};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{LogEntry, LogQuery, told::MOST_SERVICES};
use crate::{error::WorkspaceError, layout::Layout};

/// How long a guest may take for the next piece of a log.
const STALL: Duration = Duration::from_secs(10);
/// How long all copies of a workspace may take.
const ALL_COPIES: Duration = Duration::from_mins(1);
/// Copies made at once: each takes a stream to the guest.
const AT_ONCE: usize = 8;
/// The most that all copies of a workspace may take: what fits on an agent disk (4 GiB), and the
/// entries' heads.
const MOST_BYTES: u64 = 5 << 30;
/// What a copy may take beyond what its log is bounded by.
const SLACK: u64 = 4 << 20;
/// The log of a service that names no bound, bytes of a stream.
const USUAL_LIMIT: u64 = 16 << 20;
/// Of the names of copies that are being made.
const PARTIAL: &str = ".partial-";
/// Lines that can be asked for from the end.
const MOST_LINES: usize = 100_000;
/// The longest entry.
const MAX_ENTRY: usize = pyro_wire::MAX_DATA + 64;

/// Copies the logs of the services on this list; what fails or takes too long is logged and left as
/// it was.
pub(crate) async fn copy_logs(
    layout: &Layout,
    workspace: WorkspaceId,
    link: &Link,
    list: &ServiceList,
) {
    let left = Arc::new(AtomicU64::new(MOST_BYTES));
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut copies = JoinSet::new();
    for spec in list.records.iter().take(MOST_SERVICES).filter_map(|record| record.spec.as_ref()) {
        let Ok(name) = spec.name.parse::<ServiceName>() else { continue };
        let budget = Budget { own: most_of(spec.log_limit_bytes), left: left.clone() };
        let path = layout.service_log(workspace, &name);
        let (link, turns) = (link.clone(), turns.clone());
        copies.spawn(async move {
            let _turn = turns.acquire().await;
            if let Err(error) = copy(&link, &name, &path, budget).await {
                tracing::warn!(%workspace, service = %name, %error, "could not copy a log");
            }
        });
    }
    let all = async { while copies.join_next().await.is_some() {} };
    if tokio::time::timeout(ALL_COPIES, all).await.is_err() {
        tracing::warn!(%workspace, "the guest took too long for its services' logs");
    }
}

/// What a copy of a log may take whose streams have this bound.
fn most_of(limit: u64) -> u64 {
    let limit = if limit == 0 { USUAL_LIMIT } else { limit.min(*super::order::LOG_LIMIT.end()) };
    2 * limit + limit / 4 + SLACK
}

/// Bytes that a copy may take, of its own and of all.
struct Budget {
    own: u64,
    left: Arc<AtomicU64>,
}

impl Budget {
    /// Takes so many; says whether they were there.
    fn take(&mut self, bytes: u64) -> bool {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(bytes).filter(|_| bytes <= self.own)
        });
        self.own = self.own.saturating_sub(bytes);
        taken.is_ok()
    }
}

async fn copy(
    link: &Link,
    name: &ServiceName,
    path: &Path,
    budget: Budget,
) -> Result<(), WorkspaceError> {
    let call = ReadServiceLog { name: name.to_string(), ..ReadServiceLog::default() };
    let told = WorkspaceError::guest("copy a log");
    let (_, reader) = link.read_service_log(call).await.map_err(told)?;
    let pieces = stream::try_unfold(reader, |mut reader| async move {
        Ok::<_, LinkError>(reader.next().await?.map(|piece| (piece, reader)))
    });
    keep(pieces, path, budget, STALL).await
}

/// Keeps what comes as a copy, whole or not at all.
async fn keep(
    pieces: impl Stream<Item = Result<Piece, LinkError>>,
    path: &Path,
    mut budget: Budget,
    stall: Duration,
) -> Result<(), WorkspaceError> {
    let failed = || WorkspaceError::file(path);
    let refused = || WorkspaceError::guest("copy a log");
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory).map_err(failed())?;
    let file = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(directory).map_err(failed())?;
    let mut pieces = pin!(pieces);
    let mut writer = BufWriter::with_capacity(128 * 1024, file);
    loop {
        let piece = tokio::time::timeout(stall, pieces.try_next()).await;
        let piece = piece.map_err(|_| refused()(LinkError::Silent(stall)))?.map_err(refused())?;
        let entry = match piece {
            None => break,
            Some(Piece::Gap(_)) => continue,
            Some(Piece::Entry(entry)) => entry,
        };
        let body = entry.encode_to_vec();
        if !budget.take(4 + body.len() as u64) {
            return Err(refused()(LinkError::Mismatch("read_service_log with a bounded log")));
        }
        writer.write_all(&(body.len() as u32).to_le_bytes()).map_err(failed())?;
        writer.write_all(&body).map_err(failed())?;
    }
    let target = path.to_owned();
    tokio::task::spawn_blocking(move || {
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(&target).map(drop).map_err(|failed| failed.error)
    })
    .await
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    .map_err(failed())
}

/// Removes what a node that died left of copies it was making in this directory. Blocks.
pub(crate) fn sweep(services: &Path) {
    for entry in std::fs::read_dir(services).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(PARTIAL.as_bytes()) {
            remove(&entry.path());
        }
    }
}

/// Removes a copy, if there is one.
pub(crate) fn remove(path: &Path) {
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
    let lines = usize::try_from(lines).unwrap_or(usize::MAX).min(MOST_LINES);
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
    use futures::StreamExt;

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

    fn budget(own: u64, left: u64) -> Budget {
        Budget { own, left: Arc::new(AtomicU64::new(left)) }
    }

    fn said(text: &str) -> Piece {
        Piece::Entry(pyro_wire::LogEntry {
            bytes: text.as_bytes().to_vec().into(),
            ..pyro_wire::LogEntry::default()
        })
    }

    #[tokio::test]
    async fn a_guest_that_stalls_ends_the_copy_and_leaves_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.log");
        std::fs::write(&path, "before").unwrap();
        let stalls = stream::once(async { Ok(said("one")) }).chain(stream::pending());
        let kept = keep(stalls, &path, budget(1000, 1000), Duration::from_millis(1)).await;
        assert!(kept.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"before");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_guest_that_sends_without_end_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.log");
        for (own, left) in [(1000, u64::MAX), (u64::MAX, 1000)] {
            let endless = stream::repeat_with(|| Ok(said("more")));
            let kept = keep(endless, &path, budget(own, left), STALL).await;
            assert!(kept.is_err());
            assert!(!path.exists());
        }
    }

    #[test]
    fn what_a_dead_node_left_of_a_copy_is_swept() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["web.log", ".partial-abc"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        sweep(directory.path());
        assert!(directory.path().join("web.log").exists());
        assert!(!directory.path().join(".partial-abc").exists());
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
