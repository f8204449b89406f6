//! One service's output: two streams apart and in order together, with times, bounded each.
//!
//! A position is a count of bytes of both streams in the order in which they came, for the
//! service's whole life. Each stream is a chain of files `o-POSITION` or `e-POSITION` (hexadecimal)
//! of entries `[position u64][position in its stream u64][microseconds u64][length u32][bytes]`,
//! little endian. Where a chain is over its limit, its oldest file goes: the end is always kept.
//! What the disk does not take is dropped, and seen as a gap. Refuses to know processes.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use pyro_wire::LogEntry;
use tokio::sync::watch;

/// Kept of each stream where nothing else is said, bytes.
pub const DEFAULT_LIMIT: u64 = 16 << 20;
/// The least that can be asked for.
pub const SMALLEST_LIMIT: u64 = 64 << 10;
/// Kept of all logs together, bytes: half of the agent disk.
const MOST_OF_ALL: u64 = 2 << 30;
const HEADER: usize = 28;
/// The longest entry: one data frame of the wire.
const LONGEST: usize = pyro_wire::MAX_DATA;
/// Read from a file at once: any entry fits.
const CHUNK: usize = HEADER + LONGEST;
/// Told as the end of a log that was dropped.
const REMOVED: u64 = u64::MAX;
/// Lines that can be asked for from the end.
pub const MOST_LINES: usize = 100_000;

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// stdout.
    Out,
    /// stderr.
    Error,
}

impl Stream {
    fn letter(self) -> char {
        match self {
            Self::Out => 'o',
            Self::Error => 'e',
        }
    }
}

const STREAMS: [Stream; 2] = [Stream::Out, Stream::Error];

/// One file of a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Segment {
    /// The position of its first entry.
    start: u64,
    /// Its size.
    bytes: u64,
}

#[derive(Debug, Default)]
struct Chain {
    segments: VecDeque<Segment>,
    bytes: u64,
    /// Bytes of the stream that came.
    counted: u64,
    last: Option<Arc<File>>,
}

#[derive(Debug, Default)]
struct Inner {
    chains: [Chain; 2],
    end: u64,
}

/// What all logs of a workspace take together: the agent disk is not theirs alone.
#[derive(Debug)]
pub struct Budget {
    most: u64,
    taken: AtomicU64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { most: MOST_OF_ALL, taken: AtomicU64::new(0) }
    }
}

impl Budget {
    fn is_over(&self) -> bool {
        self.taken.load(Ordering::Relaxed) > self.most
    }
}

/// A service's log.
#[derive(Debug)]
pub struct Log {
    directory: PathBuf,
    limit: Mutex<u64>,
    budget: Arc<Budget>,
    inner: Mutex<Inner>,
    /// One append at a time, so that positions are in the order of the files.
    turn: Arc<tokio::sync::Mutex<()>>,
    progress: watch::Sender<u64>,
}

impl Log {
    /// The log in this directory, with what earlier boots left there. Blocks.
    pub fn open(directory: PathBuf, limit: u64, budget: &Arc<Budget>) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let mut inner = Inner::default();
        for entry in fs::read_dir(&directory)?.filter_map(Result::ok) {
            let name = entry.file_name();
            let parsed = name.to_str().and_then(|name| name.split_once('-')).and_then(|(s, at)| {
                Some((s == "e", s == "o" || s == "e", u64::from_str_radix(at, 16).ok()?))
            });
            if let Some((error, true, start)) = parsed {
                let bytes = entry.metadata().map_or(0, |found| found.len());
                inner.chains[usize::from(error)].segments.push_back(Segment { start, bytes });
            }
        }
        for (stream, chain) in STREAMS.into_iter().zip(&mut inner.chains) {
            chain.segments.make_contiguous().sort_by_key(|segment| segment.start);
            // Only the last one can have been cut off by the machine's end.
            if let Some(last) = chain.segments.back_mut() {
                let path = segment_path(&directory, stream, last.start);
                let (whole, ends) = measure(&path)?;
                if whole < last.bytes {
                    OpenOptions::new().write(true).open(&path)?.set_len(whole)?;
                    last.bytes = whole;
                }
                if let Some((position, counted)) = ends {
                    inner.end = inner.end.max(position);
                    chain.counted = counted;
                }
            }
            chain.bytes = chain.segments.iter().map(|segment| segment.bytes).sum();
            budget.taken.fetch_add(chain.bytes, Ordering::Relaxed);
        }
        let progress = watch::Sender::new(inner.end);
        Ok(Self {
            directory,
            limit: Mutex::new(limit.max(SMALLEST_LIMIT)),
            budget: budget.clone(),
            inner: Mutex::new(inner),
            turn: Arc::default(),
            progress,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another bound of each stream, from the next append on.
    pub fn set_limit(&self, limit: u64) {
        *self.limit.lock().unwrap_or_else(PoisonError::into_inner) = limit.max(SMALLEST_LIMIT);
    }

    /// Bytes of stdout and stderr that came.
    pub fn counted(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.chains[0].counted, inner.chains[1].counted)
    }

    /// The position after the last byte.
    pub fn end(&self) -> u64 {
        self.lock().end
    }

    /// Tells the position after the last byte, each time it moves.
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// Adds output that came now. Waits only for the agent disk.
    pub async fn append(self: &Arc<Self>, stream: Stream, now: Duration, bytes: Bytes) {
        // The turn ends when the writing does, also when nobody waits for it any more.
        let turn = self.turn.clone().lock_owned().await;
        let log = self.clone();
        let written = tokio::task::spawn_blocking(move || {
            log.append_now(stream, now, &bytes);
            drop(turn);
        });
        let written = written.await;
        if written.is_ok() {
            let end = self.lock().end;
            self.progress.send_replace(end);
        }
    }

    fn append_now(&self, stream: Stream, now: Duration, bytes: &[u8]) {
        let limit = *self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        let longest_file = (limit / 16).clamp(32 << 10, 1 << 20);
        for piece in bytes.chunks(LONGEST) {
            let (position, record, file) = {
                let mut inner = self.lock();
                let position = inner.end;
                inner.end += piece.len() as u64;
                let chain = &mut inner.chains[stream as usize];
                let mut record = Vec::with_capacity(HEADER + piece.len());
                record.extend_from_slice(&position.to_le_bytes());
                record.extend_from_slice(&chain.counted.to_le_bytes());
                record.extend_from_slice(&(now.as_micros() as u64).to_le_bytes());
                record.extend_from_slice(&(piece.len() as u32).to_le_bytes());
                record.extend_from_slice(piece);
                chain.counted += piece.len() as u64;
                let goes_on = chain.segments.back().is_some_and(|last| last.bytes < longest_file);
                (position, record, chain.last.clone().filter(|_| goes_on))
            };
            let (file, fresh) = match file {
                Some(file) => (Ok(file), false),
                None => self.next_file(stream, position),
            };
            let written = file.and_then(|file| {
                let whole = file.metadata()?.len();
                if let Err(error) = (&*file).write_all(&record) {
                    // Half an entry would make what follows unreadable.
                    let _ = file.set_len(whole);
                    return Err(error);
                }
                Ok(file)
            });
            let mut inner = self.lock();
            let chain = &mut inner.chains[stream as usize];
            if let Ok(file) = written {
                if fresh {
                    chain.segments.push_back(Segment { start: position, bytes: 0 });
                }
                chain.last = Some(file);
                if let Some(last) = chain.segments.back_mut() {
                    last.bytes += record.len() as u64;
                    chain.bytes += record.len() as u64;
                    self.budget.taken.fetch_add(record.len() as u64, Ordering::Relaxed);
                }
            } else if fresh {
                let _ = fs::remove_file(segment_path(&self.directory, stream, position));
            }
            // Where all together are too many, who prints now loses of its own.
            let all = || self.budget.is_over();
            while (chain.bytes > limit || all()) && chain.segments.len() > 1 {
                if let Some(oldest) = chain.segments.pop_front() {
                    chain.bytes -= oldest.bytes;
                    self.budget.taken.fetch_sub(oldest.bytes, Ordering::Relaxed);
                    let _ = fs::remove_file(segment_path(&self.directory, stream, oldest.start));
                }
            }
        }
    }

    /// The file that takes the entry at this position: the last one of earlier boots, or a new one.
    fn next_file(&self, stream: Stream, position: u64) -> (io::Result<Arc<File>>, bool) {
        let path = segment_path(&self.directory, stream, position);
        let made = OpenOptions::new().append(true).create(true).open(path);
        (made.map(Arc::new), true)
    }

    fn segments(&self, stream: Stream) -> Vec<Segment> {
        self.lock().chains[stream as usize].segments.iter().copied().collect()
    }

    /// Where the last `lines` lines of each of these streams begin.
    pub async fn tail(self: &Arc<Self>, streams: [bool; 2], lines: usize, each: bool) -> [u64; 2] {
        let log = self.clone();
        let lines = lines.min(MOST_LINES);
        let found = tokio::task::spawn_blocking(move || {
            [0, 1].map(|at| {
                let lines = if streams[at] { lines } else { 0 };
                log.last_lines(STREAMS[at], lines)
            })
        });
        let Ok(starts) = found.await else { return [0; 2] };
        let end = self.lock().end;
        let first = |starts: &[u64], lines: usize| match starts.len().checked_sub(lines) {
            Some(at) => starts.get(at).copied().unwrap_or(end),
            None => 0,
        };
        if each {
            return starts.map(|starts| first(&starts, lines));
        }
        let mut all = starts.concat();
        all.sort_unstable();
        [first(&all, lines); 2]
    }

    /// Positions at which the last lines of a stream begin, oldest first; fewer where there are
    /// fewer.
    fn last_lines(&self, stream: Stream, lines: usize) -> Vec<u64> {
        let mut found: Vec<u64> = Vec::new();
        // Where the file after this one begins.
        let mut follows = None;
        for segment in self.segments(stream).into_iter().rev() {
            if found.len() >= lines {
                break;
            }
            let path = segment_path(&self.directory, stream, segment.start);
            let Ok(text) = read_at(&path, 0, segment.bytes as usize) else { break };
            // The newest that are wanted: a file may hold nothing but newlines.
            let mut here = VecDeque::new();
            let mut begins = |position: u64| {
                here.push_back(position);
                if here.len() > lines {
                    here.pop_front();
                }
            };
            let mut ended = false;
            let mut rest = &text[..];
            while let Some((header, bytes, after)) = cut(rest) {
                // What comes after a newline, in this stream, begins a line.
                if std::mem::replace(&mut ended, bytes.ends_with(b"\n")) {
                    begins(header.position);
                }
                let inner = &bytes[..bytes.len().saturating_sub(1)];
                let newlines = inner.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
                newlines.for_each(|(at, _)| begins(header.position + at as u64 + 1));
                rest = after;
            }
            follows.filter(|_| ended).into_iter().for_each(&mut begins);
            follows = Some(segment.start);
            let mut here = Vec::from(here);
            here.append(&mut found);
            found = here;
            let first = self.segments(stream).first().copied();
            if first.is_none_or(|first| first.start == segment.start) {
                found.insert(0, segment.start);
            }
        }
        let excess = found.len().saturating_sub(lines);
        found.split_off(excess)
    }

    /// Drops everything, for good, and tells whoever follows.
    pub fn remove(&self) {
        let _ = fs::remove_dir_all(&self.directory);
        let chains = std::mem::take(&mut self.lock().chains);
        let bytes = chains.iter().map(|chain| chain.bytes).sum();
        self.budget.taken.fetch_sub(bytes, Ordering::Relaxed);
        self.progress.send_replace(REMOVED);
    }

    /// Whether it was dropped: nothing comes any more.
    pub fn is_removed(&self) -> bool {
        *self.progress.borrow() == REMOVED
    }
}

fn segment_path(directory: &Path, stream: Stream, start: u64) -> PathBuf {
    directory.join(format!("{}-{start:016x}", stream.letter()))
}

/// How much of a file is whole entries, and the position and count after the last.
fn measure(path: &Path) -> io::Result<(u64, Option<(u64, u64)>)> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let (mut at, mut ends) = (0, None);
    let mut header = [0; HEADER];
    while at + HEADER as u64 <= size {
        file.read_exact_at(&mut header, at)?;
        let found = Header::read(&header);
        let after = at + HEADER as u64 + u64::from(found.length);
        if found.length as usize > LONGEST || after > size {
            break;
        }
        ends = Some((
            found.position + u64::from(found.length),
            found.in_stream + u64::from(found.length),
        ));
        at = after;
    }
    Ok((at, ends))
}

#[derive(Clone, Copy, Debug)]
struct Header {
    position: u64,
    in_stream: u64,
    time_micros: u64,
    length: u32,
}

impl Header {
    fn read(mut bytes: &[u8]) -> Self {
        Self {
            position: bytes.get_u64_le(),
            in_stream: bytes.get_u64_le(),
            time_micros: bytes.get_u64_le(),
            length: bytes.get_u32_le(),
        }
    }
}

/// The first entry of a text, and what follows it; none where it is not whole.
fn cut(text: &[u8]) -> Option<(Header, &[u8], &[u8])> {
    let header = Header::read(text.get(..HEADER)?);
    let end = HEADER + header.length as usize;
    Some((header, text.get(HEADER..end)?, &text[end..]))
}

fn read_at(path: &Path, from: u64, length: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut text = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut text[filled..], from + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    text.truncate(filled);
    Ok(text)
}

/// What a reader gets next.
#[derive(Clone, PartialEq, Debug)]
pub enum Piece {
    /// Output.
    Entry(LogEntry),
    /// Nothing is kept between these positions.
    Gap(u64, u64),
}

/// What a reader wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Which streams.
    pub streams: [bool; 2],
    /// Nothing before these positions of each.
    pub from: [u64; 2],
    /// Nothing before this time, microseconds.
    pub since_micros: u64,
}

/// Reads both streams in the order in which they came, at its own pace.
#[derive(Debug)]
pub struct Reader {
    log: Arc<Log>,
    wanted: Wanted,
    /// Nothing from this position on.
    until: u64,
    streams: [StreamReader; 2],
}

#[derive(Debug, Default)]
struct StreamReader {
    segment: Option<u64>,
    /// Where in the segment's file the next read begins.
    at: u64,
    text: BytesMut,
    next: Option<(Header, Bytes)>,
    /// How much of the stream was seen.
    in_stream: Option<u64>,
}

impl Reader {
    /// Begins to read.
    pub fn new(log: Arc<Log>, wanted: Wanted) -> Self {
        // From the beginning on, what is not kept of it is a gap too.
        let from_the_beginning = wanted.since_micros == 0;
        let streams = wanted.from.map(|from| StreamReader {
            in_stream: (from == 0 && from_the_beginning).then_some(0),
            ..StreamReader::default()
        });
        Self { log, wanted, until: u64::MAX, streams }
    }

    /// Ends with what is there now: of a service that keeps printing there would be more for ever.
    pub fn up_to_now(self) -> Self {
        let until = self.log.end();
        Self { until, ..self }
    }

    /// The next piece; none where there is no more for now.
    pub async fn next(&mut self) -> Option<Piece> {
        // What is appended while the one stream is looked at is seen by neither: their order holds.
        let end = self.log.end().min(self.until);
        for at in [0, 1] {
            if self.wanted.streams[at] && self.streams[at].next.is_none() {
                let wanted = (self.wanted.from[at], self.wanted.since_micros);
                self.streams[at].fill(&self.log, STREAMS[at], wanted, end).await;
            }
        }
        let position = |at: usize| self.streams[at].next.as_ref().map(|(h, _)| h.position);
        let at = match (position(0), position(1)) {
            (None, None) => return None,
            (Some(out), Some(error)) => usize::from(error < out),
            (out, _) => usize::from(out.is_none()),
        };
        let stream = &mut self.streams[at];
        let (header, bytes) = stream.next.take()?;
        if let Some(seen) = stream.in_stream
            && header.in_stream > seen
        {
            let gap = header.in_stream - seen;
            stream.in_stream = Some(header.in_stream);
            stream.next = Some((header, bytes));
            return Some(Piece::Gap(header.position.saturating_sub(gap), header.position));
        }
        stream.in_stream = Some(header.in_stream + u64::from(header.length));
        Some(Piece::Entry(LogEntry {
            offset: header.position + u64::from(header.length) - bytes.len() as u64,
            time_micros: header.time_micros,
            stderr: at == 1,
            bytes,
        }))
    }
}

impl StreamReader {
    async fn fill(&mut self, log: &Arc<Log>, stream: Stream, wanted: (u64, u64), end: u64) {
        let (from, since) = wanted;
        loop {
            while let Some((header, bytes, _)) = cut(&self.text) {
                let length = bytes.len();
                if header.position >= end {
                    return;
                }
                self.text.advance(HEADER);
                let mut bytes = self.text.split_to(length).freeze();
                if header.position + length as u64 <= from || header.time_micros < since {
                    self.in_stream = Some(header.in_stream + length as u64);
                    continue;
                }
                let before = from.saturating_sub(header.position) as usize;
                bytes.advance(before.min(length));
                self.next = Some((header, bytes));
                return;
            }
            if !self.load(log, stream, from).await {
                return;
            }
        }
    }

    /// Reads on; says whether there was more.
    async fn load(&mut self, log: &Arc<Log>, stream: Stream, from: u64) -> bool {
        let segments = log.segments(stream);
        let current = match self.segment {
            Some(start) => segments.iter().find(|segment| segment.start == start),
            None => None,
        };
        let (segment, at) = match current {
            Some(segment) if segment.bytes > self.at => (*segment, self.at),
            _ => {
                // The file is read to its end, or gone: the next one that is there.
                let next = if let Some(start) = self.segment {
                    segments.iter().find(|segment| segment.start > start)
                } else {
                    let begins = segments.iter().rposition(|segment| segment.start <= from);
                    segments.get(begins.unwrap_or(0))
                };
                let Some(next) = next else { return false };
                self.text.clear();
                (*next, 0)
            }
        };
        let path = segment_path(&log.directory, stream, segment.start);
        let length = (segment.bytes - at).min(CHUNK as u64) as usize;
        let read = tokio::task::spawn_blocking(move || read_at(&path, at, length)).await;
        self.segment = Some(segment.start);
        match read {
            Ok(Ok(text)) if !text.is_empty() => {
                self.at = at + text.len() as u64;
                self.text.extend_from_slice(&text);
            }
            // Gone meanwhile.
            _ => {
                self.at = u64::MAX;
                self.text.clear();
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    async fn say(log: &Arc<Log>, stream: Stream, text: &str) {
        let now = Duration::from_secs(7);
        log.append(stream, now, Bytes::copy_from_slice(text.as_bytes())).await;
    }

    async fn read(log: &Arc<Log>, wanted: Wanted) -> Vec<Piece> {
        let mut reader = Reader::new(log.clone(), wanted);
        let mut pieces = Vec::new();
        while let Some(piece) = reader.next().await {
            pieces.push(piece);
        }
        pieces
    }

    fn texts(pieces: &[Piece]) -> String {
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Entry(entry) => text += std::str::from_utf8(&entry.bytes).unwrap(),
                Piece::Gap(from, to) => write!(text, "[{from}-{to}]").unwrap(),
            }
        }
        text
    }

    const BOTH: Wanted = Wanted { streams: [true, true], from: [0, 0], since_micros: 0 };

    #[tokio::test]
    async fn both_streams_come_back_in_order_and_apart_also_after_a_boot() {
        let directory = tempfile::tempdir().unwrap();
        let log =
            Arc::new(Log::open(directory.path().into(), DEFAULT_LIMIT, &Arc::default()).unwrap());
        for (stream, text) in
            [(Stream::Out, "one\n"), (Stream::Error, "two\n"), (Stream::Out, "three\n")]
        {
            say(&log, stream, text).await;
        }
        drop(log);
        let log =
            Arc::new(Log::open(directory.path().into(), DEFAULT_LIMIT, &Arc::default()).unwrap());
        assert_eq!(log.counted(), (10, 4));
        say(&log, Stream::Error, "four\n").await;
        assert_eq!(texts(&read(&log, BOTH).await), "one\ntwo\nthree\nfour\n");
        let error = Wanted { streams: [false, true], ..BOTH };
        assert_eq!(texts(&read(&log, error).await), "two\nfour\n");
        let later = Wanted { from: [9, 9], ..BOTH };
        assert_eq!(texts(&read(&log, later).await), "hree\nfour\n");
    }

    #[tokio::test]
    async fn the_last_lines_are_found_from_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let log =
            Arc::new(Log::open(directory.path().into(), DEFAULT_LIMIT, &Arc::default()).unwrap());
        for number in 0..50 {
            let stream = if number % 2 == 0 { Stream::Out } else { Stream::Error };
            say(&log, stream, &format!("line {number}\n")).await;
        }
        say(&log, Stream::Out, "open").await;
        let tail = async |streams, lines, each| {
            let from = log.tail(streams, lines, each).await;
            texts(&read(&log, Wanted { streams, from, since_micros: 0 }).await)
        };
        assert_eq!(tail([true, true], 3, false).await, "line 48\nline 49\nopen");
        assert_eq!(tail([true, true], 2, true).await, "line 47\nline 48\nline 49\nopen");
        assert_eq!(tail([true, false], 2, false).await, "line 48\nopen");
        assert_eq!(tail([true, false], 1000, false).await.lines().count(), 26);
        assert_eq!(tail([true, true], 0, false).await, "");
    }

    #[tokio::test]
    async fn a_log_of_nothing_but_newlines_has_its_last_lines() {
        let directory = tempfile::tempdir().unwrap();
        let log =
            Arc::new(Log::open(directory.path().into(), DEFAULT_LIMIT, &Arc::default()).unwrap());
        for _ in 0..40 {
            say(&log, Stream::Out, &"\n".repeat(LONGEST)).await;
        }
        let end = log.end();
        assert_eq!(log.tail([true, true], 5, false).await, [end - 5; 2]);
        let most = log.tail([true, true], usize::MAX, false).await;
        assert_eq!(most, [end - MOST_LINES as u64; 2]);
    }

    #[tokio::test]
    async fn who_follows_a_log_learns_that_it_was_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let log = Arc::new(
            Log::open(directory.path().join("log"), DEFAULT_LIMIT, &Arc::default()).unwrap(),
        );
        let mut progress = log.progress();
        log.remove();
        progress.changed().await.unwrap();
        assert!(log.is_removed());
    }

    #[tokio::test]
    async fn all_logs_together_leave_room_on_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let budget = Arc::new(Budget { most: 4 << 20, taken: AtomicU64::new(0) });
        let taken = || budget.taken.load(Ordering::Relaxed);
        let open = |name: &str| {
            Arc::new(Log::open(directory.path().join(name), DEFAULT_LIMIT, &budget).unwrap())
        };
        let logs = [open("a"), open("b"), open("c")];
        for _ in 0..40 {
            for log in &logs {
                say(log, Stream::Out, &"x".repeat(LONGEST)).await;
            }
        }
        assert!((2 << 20..=5 << 20).contains(&taken()), "{}", taken());
        let on_disk: u64 = ["a", "b", "c"]
            .iter()
            .flat_map(|name| fs::read_dir(directory.path().join(name)).unwrap())
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        assert_eq!(on_disk, taken());
        for log in &logs {
            log.remove();
        }
        assert_eq!(taken(), 0);
    }

    #[tokio::test]
    async fn a_noisy_stream_loses_its_beginning_and_not_the_quiet_ones() {
        let directory = tempfile::tempdir().unwrap();
        let log =
            Arc::new(Log::open(directory.path().into(), SMALLEST_LIMIT, &Arc::default()).unwrap());
        say(&log, Stream::Error, "kept\n").await;
        let line = "x".repeat(999) + "\n";
        for _ in 0..1000 {
            say(&log, Stream::Out, &line).await;
        }
        let pieces = read(&log, BOTH).await;
        let kept: usize = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Entry(entry) => entry.bytes.len(),
                Piece::Gap(..) => 0,
            })
            .sum();
        assert!((20_000..SMALLEST_LIMIT as usize).contains(&kept), "{kept}");
        assert!(texts(&pieces).starts_with("kept\n"));
        assert_eq!(log.counted(), (1_000_000, 5));
        let files = fs::read_dir(directory.path()).unwrap();
        let on_disk: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(on_disk <= SMALLEST_LIMIT + 100, "{on_disk}");
    }

    #[tokio::test]
    async fn an_entry_that_was_cut_off_is_dropped_and_the_log_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let log =
            Arc::new(Log::open(directory.path().into(), DEFAULT_LIMIT, &Arc::default()).unwrap());
        say(&log, Stream::Out, "one\n").await;
        say(&log, Stream::Out, "two\n").await;
        let path = segment_path(directory.path(), Stream::Out, 0);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
        let log =
            Arc::new(Log::open(directory.path().into(), DEFAULT_LIMIT, &Arc::default()).unwrap());
        say(&log, Stream::Out, "three\n").await;
        assert_eq!(texts(&read(&log, BOTH).await), "one\nthree\n");
    }

    #[tokio::test]
    async fn a_reader_that_does_not_follow_ends_though_more_and_more_is_printed() {
        let directory = tempfile::tempdir().unwrap();
        let log =
            Arc::new(Log::open(directory.path().into(), DEFAULT_LIMIT, &Arc::default()).unwrap());
        say(&log, Stream::Out, "a").await;
        say(&log, Stream::Error, "b").await;
        let mut reader = Reader::new(log.clone(), BOTH).up_to_now();
        let mut pieces = Vec::new();
        while let Some(piece) = reader.next().await {
            pieces.push(piece);
            assert!(pieces.len() < 100, "there is more for ever");
            say(&log, Stream::Out, "y").await;
            say(&log, Stream::Error, "y").await;
        }
        assert_eq!(texts(&pieces), "ab");
    }

    #[tokio::test]
    async fn a_reader_follows_what_comes() {
        let directory = tempfile::tempdir().unwrap();
        let log =
            Arc::new(Log::open(directory.path().into(), DEFAULT_LIMIT, &Arc::default()).unwrap());
        let mut reader = Reader::new(log.clone(), BOTH);
        assert_eq!(reader.next().await, None);
        for text in ["a", "b"] {
            say(&log, Stream::Out, text).await;
            let Some(Piece::Entry(entry)) = reader.next().await else { panic!() };
            assert_eq!(entry.bytes, text);
            assert_eq!(reader.next().await, None);
        }
    }
}
