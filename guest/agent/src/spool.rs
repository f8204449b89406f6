//! One exec's output: bounded, in order, readable by any number at any pace.
//!
//! Owns the rule of what is kept: the first and the last part, in segments; what falls between is
//! dropped and known as one gap. Refuses to know processes and streams. An offset is a position in
//! the combined output: bytes of stdout and stderr in the order they came.
//!
//! A segment is a run of records `[stream u8][length u32 little endian][bytes]`. The last one grows
//! in memory; a full one becomes a file `START-LENGTH` (hexadecimal). Where it cannot be written,
//! it counts as dropped: a full disk never stops a command.

use std::{
    collections::VecDeque,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::watch;

/// Which stream bytes came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Stream {
    /// stdout, or the terminal.
    Out = 1,
    /// stderr.
    Error = 2,
}

/// Sizes that decide what is kept, in bytes of output.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of one segment.
    pub segment: usize,
    /// Kept from the beginning.
    pub head: u64,
    /// Kept up to the end.
    pub tail: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { segment: 256 << 10, head: 32 << 20, tail: 32 << 20 }
    }
}

/// Bytes on the agent disk, of all spools together.
#[derive(Debug, Default)]
pub struct Stored(AtomicU64);

impl Stored {
    /// How many there are.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    fn remove(&self, bytes: usize) {
        self.0.fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}

const RECORD_HEADER: usize = 5;
/// The longest record: one data frame of the wire.
const MAX_RECORD: usize = pyro_wire::MAX_DATA;
/// The longest file of a segment that is read back: records of one byte each.
const MAX_FILE_FACTOR: usize = 8;

#[derive(Debug)]
enum Body {
    Growing(Vec<u8>),
    /// On its way to a file, or for good where there is no directory.
    Whole(Bytes),
    File {
        size: usize,
    },
}

#[derive(Debug)]
struct Segment {
    start: u64,
    length: u64,
    body: Body,
}

impl Segment {
    fn end(&self) -> u64 {
        self.start + self.length
    }
    fn file_name(&self) -> String {
        format!("{:016x}-{:08x}", self.start, self.length)
    }
}

#[derive(Debug, Default)]
struct Inner {
    segments: VecDeque<Segment>,
    end: u64,
    counted: [u64; 2],
    dropped: (u64, u64),
    /// Segments that begin before this belong to the head.
    head_end: u64,
    tail_bytes: u64,
    ended: bool,
}

/// How far an exec's output has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// The offset after the last byte.
    pub end: u64,
    /// Whether no more will come.
    pub ended: bool,
}

/// Counts of a spool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Bytes of stdout that came.
    pub stdout: u64,
    /// Bytes of stderr that came.
    pub stderr: u64,
    /// The offset after the last byte.
    pub end: u64,
    /// The gap; both equal where there is none.
    pub dropped: (u64, u64),
}

/// One exec's output.
#[derive(Debug)]
pub struct Spool {
    directory: Option<PathBuf>,
    limits: Limits,
    stored: Arc<Stored>,
    inner: Mutex<Inner>,
    progress: watch::Sender<Progress>,
}

/// Where a reader stands.
#[derive(Debug, Default)]
pub struct Cursor {
    offset: u64,
    /// The segment the next two are for.
    segment: Option<u64>,
    /// Of the record the reader stands in.
    position: usize,
    /// Bytes of that record already read.
    consumed: usize,
    file: Option<(u64, Bytes)>,
}

impl Cursor {
    /// Stands at an offset.
    pub fn at(offset: u64) -> Self {
        Self { offset, ..Self::default() }
    }
    /// Where it stands.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

/// What a reader gets next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// Output, at most one data frame of it.
    Output(Stream, Bytes),
    /// Nothing is kept between these offsets.
    Gap(u64, u64),
    /// No more for now.
    End,
}

enum Found {
    Piece(Piece),
    Load(u64, PathBuf, usize),
}

impl Spool {
    /// An empty spool. Without a directory everything that is kept stays in memory.
    pub fn new(directory: Option<PathBuf>, limits: Limits, stored: Arc<Stored>) -> Self {
        let inner = Inner { head_end: limits.head, ..Inner::default() };
        Self {
            directory,
            limits,
            stored,
            inner: Mutex::new(inner),
            progress: watch::Sender::default(),
        }
    }

    /// A finished spool from its directory, with what its record says of it.
    pub fn load(directory: PathBuf, counts: Counts, stored: Arc<Stored>) -> Self {
        let mut segments: Vec<Segment> = fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let size = entry.metadata().ok()?.len() as usize;
                let name = entry.file_name();
                let (start, length) = name.to_str()?.split_once('-')?;
                let start = u64::from_str_radix(start, 16).ok()?;
                let length = u64::from_str_radix(length, 16).ok()?;
                (size as u64 >= length).then_some(Segment {
                    start,
                    length,
                    body: Body::File { size },
                })
            })
            .collect();
        segments.sort_by_key(|segment| segment.start);
        for segment in &segments {
            if let Body::File { size } = segment.body {
                stored.add(size);
            }
        }
        let spool = Self::new(Some(directory), Limits::default(), stored);
        {
            let mut inner = spool.lock();
            inner.segments = segments.into();
            inner.end = counts.end;
            inner.counted = [counts.stdout, counts.stderr];
            inner.dropped = counts.dropped;
            inner.ended = true;
        }
        spool.progress.send_replace(Progress { end: counts.end, ended: true });
        spool
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts so far.
    pub fn counts(&self) -> Counts {
        let inner = self.lock();
        let [stdout, stderr] = inner.counted;
        Counts { stdout, stderr, end: inner.end, dropped: inner.dropped }
    }

    /// To wait for more, or for the end.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Adds output. Waits only for the agent disk, and only while a segment is written.
    pub async fn append(&self, stream: Stream, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let full = {
                let mut inner = self.lock();
                let taken = inner.grow(stream, bytes, self.limits.segment);
                bytes = &bytes[taken..];
                let progress = Progress { end: inner.end, ended: false };
                let full = inner.seal_full(self.limits.segment);
                drop(inner);
                self.progress.send_replace(progress);
                full
            };
            if let Some(start) = full {
                self.store(start).await;
            }
        }
    }

    /// No more will come. What is still in memory is written by [`Spool::settle`].
    pub fn finish(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        let progress = Progress { end: inner.end, ended: true };
        drop(inner);
        self.progress.send_replace(progress);
    }

    /// Writes what is still in memory.
    pub async fn settle(&self) {
        let start = self.lock().seal_full(0);
        if let Some(start) = start {
            self.store(start).await;
        }
    }

    /// Drops all that is kept, to make room. The counts stay.
    pub fn drop_all(&self) {
        let mut inner = self.lock();
        while let Some(segment) = inner.segments.pop_front() {
            self.discard(&segment);
        }
        inner.dropped = (0, inner.end);
        inner.tail_bytes = 0;
    }

    fn discard(&self, segment: &Segment) {
        if let (Body::File { size }, Some(directory)) = (&segment.body, &self.directory) {
            let _ = fs::remove_file(directory.join(segment.file_name()));
            self.stored.remove(*size);
        }
    }

    /// Turns a whole segment into a file, and drops what is too much then.
    async fn store(&self, start: u64) {
        let job = {
            let inner = self.lock();
            let segment = inner.segments.iter().find(|segment| segment.start == start);
            match (segment, &self.directory) {
                (Some(Segment { body: Body::Whole(bytes), .. }), Some(directory)) => {
                    let name = segment.map(Segment::file_name).unwrap_or_default();
                    Some((directory.join(name), bytes.clone()))
                }
                _ => None,
            }
        };
        let written = match job {
            Some((path, bytes)) => {
                let size = bytes.len();
                let file = path.clone();
                let written =
                    tokio::task::spawn_blocking(move || write_segment(&file, &bytes)).await;
                let written = written.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
                Some(written.map(|()| (path, size)))
            }
            None => None,
        };
        let mut inner = self.lock();
        match written {
            Some(Ok((path, size))) => {
                let at = inner.segments.iter().position(|segment| segment.start == start);
                if let Some(at) = at {
                    inner.segments[at].body = Body::File { size };
                    self.stored.add(size);
                } else {
                    // Dropped while it was written.
                    let _ = fs::remove_file(path);
                }
            }
            Some(Err(_)) => self.give_up(&mut inner, start),
            None => {}
        }
        while inner.tail_bytes > self.limits.tail {
            if !self.drop_oldest_of_tail(&mut inner) {
                break;
            }
        }
    }

    /// The disk does not take a segment: it is dropped, and with it all of the tail before it.
    fn give_up(&self, inner: &mut Inner, start: u64) {
        if start < inner.head_end {
            inner.head_end = start;
            inner.tail_bytes = inner
                .segments
                .iter()
                .filter(|segment| segment.start >= start)
                .map(|segment| segment.length)
                .sum();
        }
        while let Some(first) = inner.segments.iter().find(|s| s.start >= inner.head_end) {
            if first.start > start || !self.drop_oldest_of_tail(inner) {
                break;
            }
        }
    }

    fn drop_oldest_of_tail(&self, inner: &mut Inner) -> bool {
        let head_end = inner.head_end;
        let Some(at) = inner.segments.iter().position(|segment| segment.start >= head_end) else {
            return false;
        };
        if matches!(inner.segments[at].body, Body::Growing(_)) {
            return false;
        }
        let Some(segment) = inner.segments.remove(at) else { return false };
        inner.tail_bytes -= segment.length.min(inner.tail_bytes);
        self.discard(&segment);
        if inner.dropped.0 == inner.dropped.1 {
            inner.dropped = (segment.start, segment.end());
        } else {
            inner.dropped = (inner.dropped.0.min(segment.start), segment.end());
        }
        true
    }

    /// What comes next for this reader. `End` is for now, or for good once [`Spool::finish`] was
    /// called and the cursor stands at the end.
    pub async fn next(&self, cursor: &mut Cursor) -> Piece {
        loop {
            let found = self.lock().next(cursor, self.directory.as_deref());
            match found {
                Found::Piece(piece) => return piece,
                Found::Load(start, path, size) => {
                    let read = tokio::task::spawn_blocking(move || read_segment(&path, size)).await;
                    match read {
                        Ok(Ok(bytes)) => cursor.file = Some((start, bytes)),
                        // Damaged or dropped meanwhile: it is not there.
                        _ => self.forget(start),
                    }
                }
            }
        }
    }

    fn forget(&self, start: u64) {
        let mut inner = self.lock();
        if let Some(at) = inner.segments.iter().position(|segment| segment.start == start)
            && let Some(segment) = inner.segments.remove(at)
        {
            self.discard(&segment);
            let (from, to) = inner.dropped;
            inner.dropped = if from == to {
                (segment.start, segment.end())
            } else {
                (from.min(segment.start), to.max(segment.end()))
            };
        }
    }
}

impl Inner {
    /// Puts bytes into the last segment, beginning one if needed; says how many.
    fn grow(&mut self, stream: Stream, bytes: &[u8], segment_bytes: usize) -> usize {
        let growing =
            self.segments.back().is_some_and(|last| matches!(last.body, Body::Growing(_)));
        if !growing {
            self.segments.push_back(Segment {
                start: self.end,
                length: 0,
                body: Body::Growing(Vec::new()),
            });
        }
        let head_end = self.head_end;
        let Some(Segment { start, length, body: Body::Growing(records) }) =
            self.segments.back_mut()
        else {
            return bytes.len();
        };
        let room = segment_bytes.saturating_sub(*length as usize).max(1);
        let taken = bytes.len().min(room).min(MAX_RECORD);
        records.reserve(taken + RECORD_HEADER);
        records.push(stream as u8);
        records.extend_from_slice(&(taken as u32).to_le_bytes());
        records.extend_from_slice(&bytes[..taken]);
        *length += taken as u64;
        if *start >= head_end {
            self.tail_bytes += taken as u64;
        }
        self.end += taken as u64;
        self.counted[stream as usize - 1] += taken as u64;
        taken
    }

    /// Closes the growing segment if it has this many bytes; gives its start.
    fn seal_full(&mut self, segment_bytes: usize) -> Option<u64> {
        let last = self.segments.back_mut()?;
        let records_bytes = match &last.body {
            Body::Growing(records) => records.len(),
            _ => return None,
        };
        // Output in tiny pieces is more header than bytes: it counts by its records, too.
        if (last.length as usize) < segment_bytes && records_bytes < 4 * segment_bytes {
            return None;
        }
        if let Body::Growing(records) = &mut last.body {
            last.body = Body::Whole(Bytes::from(std::mem::take(records)));
        }
        Some(last.start)
    }

    fn next(&self, cursor: &mut Cursor, directory: Option<&Path>) -> Found {
        if cursor.offset >= self.end {
            return Found::Piece(Piece::End);
        }
        let at = self.segments.partition_point(|segment| segment.end() <= cursor.offset);
        let Some(segment) = self.segments.get(at) else {
            let gap = Piece::Gap(cursor.offset, self.end);
            cursor.offset = self.end;
            return Found::Piece(gap);
        };
        if segment.start > cursor.offset {
            let gap = Piece::Gap(cursor.offset, segment.start);
            cursor.offset = segment.start;
            return Found::Piece(gap);
        }
        if cursor.segment != Some(segment.start) {
            cursor.segment = Some(segment.start);
            cursor.position = 0;
            cursor.consumed = 0;
            let mut skip = (cursor.offset - segment.start) as usize;
            std::mem::swap(&mut cursor.consumed, &mut skip);
        }
        let piece = match (&segment.body, &cursor.file) {
            (Body::Growing(records), _) => take_record(records, cursor, Bytes::copy_from_slice),
            (Body::Whole(records), _) => {
                take_record(records, cursor, |bytes| records.slice_ref(bytes))
            }
            (Body::File { .. }, Some((start, records))) if *start == segment.start => {
                let records = records.clone();
                take_record(&records, cursor, |bytes| records.slice_ref(bytes))
            }
            (Body::File { size }, _) => {
                let path = directory.unwrap_or(Path::new("/")).join(segment.file_name());
                return Found::Load(segment.start, path, *size);
            }
        };
        if let Some(piece) = piece {
            return Found::Piece(piece);
        }
        let gap = Piece::Gap(cursor.offset, segment.end());
        cursor.offset = segment.end();
        Found::Piece(gap)
    }
}

/// The rest of the record the cursor stands in, or of the one after it; `None` where the records
/// are damaged.
fn take_record(
    records: &[u8],
    cursor: &mut Cursor,
    cut: impl FnOnce(&[u8]) -> Bytes,
) -> Option<Piece> {
    loop {
        let record = records.get(cursor.position..)?;
        let (header, rest) = record.split_at_checked(RECORD_HEADER)?;
        let stream = match header[0] {
            1 => Stream::Out,
            2 => Stream::Error,
            _ => return None,
        };
        let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let bytes = rest.get(..length)?;
        if length == 0 {
            return None;
        }
        if cursor.consumed >= length {
            cursor.consumed -= length;
            cursor.position += RECORD_HEADER + length;
            continue;
        }
        let piece = &bytes[cursor.consumed..];
        cursor.offset += piece.len() as u64;
        cursor.consumed = 0;
        cursor.position += RECORD_HEADER + length;
        return Some(Piece::Output(stream, cut(piece)));
    }
}

fn write_segment(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let written = file.write_all(bytes);
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

fn read_segment(path: &Path, size: usize) -> io::Result<Bytes> {
    if size > MAX_FILE_FACTOR * Limits::default().segment {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    fs::read(path).map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMALL: Limits = Limits { segment: 64, head: 256, tail: 256 };

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    async fn all(spool: &Spool, offset: u64) -> (Vec<u8>, Vec<u8>, Vec<(u64, u64)>) {
        let (mut out, mut error, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
        let mut cursor = Cursor::at(offset);
        loop {
            match spool.next(&mut cursor).await {
                Piece::Output(Stream::Out, bytes) => out.extend_from_slice(&bytes),
                Piece::Output(Stream::Error, bytes) => error.extend_from_slice(&bytes),
                Piece::Gap(from, to) => gaps.push((from, to)),
                Piece::End => return (out, error, gaps),
            }
        }
    }

    #[test]
    fn the_middle_of_long_output_is_dropped_and_flagged() {
        block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let stored = Arc::new(Stored::default());
            let spool = Spool::new(Some(directory.path().join("x")), SMALL, stored.clone());
            let text: Vec<u8> = (0..4000u32).map(|number| (number % 251) as u8).collect();
            for piece in text.chunks(37) {
                spool.append(Stream::Out, piece).await;
            }
            spool.finish();
            spool.settle().await;
            let counts = spool.counts();
            assert_eq!((counts.stdout, counts.end), (4000, 4000));
            let (from, to) = counts.dropped;
            assert!(
                (256..320).contains(&from) && (4000 - 256 - 64..4000).contains(&to),
                "{from} {to}"
            );
            let (out, _, gaps) = all(&spool, 0).await;
            assert_eq!(gaps, [(from, to)]);
            assert_eq!(out, [&text[..from as usize], &text[to as usize..]].concat());
            assert!(stored.bytes() > 0);
            spool.drop_all();
            assert_eq!(stored.bytes(), 0);
            assert_eq!(all(&spool, 0).await.2, [(0, 4000)]);
        });
    }

    #[test]
    fn a_disk_that_takes_nothing_loses_output_and_says_so() {
        block_on(async {
            let spool =
                Spool::new(Some("/proc/nowhere".into()), SMALL, Arc::new(Stored::default()));
            spool.append(Stream::Out, &[7; 1000]).await;
            spool.finish();
            let (out, _, gaps) = all(&spool, 0).await;
            let (from, to) = spool.counts().dropped;
            assert_eq!((from, gaps), (0, vec![(0, to)]));
            assert_eq!(out.len() as u64, 1000 - to);
        });
    }

    #[test]
    fn a_finished_spool_is_read_back_from_its_directory() {
        block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let stored = Arc::new(Stored::default());
            let spool = Spool::new(Some(directory.path().into()), SMALL, stored.clone());
            spool.append(Stream::Out, &[1; 100]).await;
            spool.append(Stream::Error, b"ouch").await;
            spool.finish();
            spool.settle().await;
            let again = Spool::load(directory.path().into(), spool.counts(), stored);
            let (out, error, gaps) = all(&again, 98).await;
            assert_eq!((out, &error[..], gaps), (vec![1; 2], &b"ouch"[..], vec![]));
            assert!(again.progress().borrow().ended);
        });
    }

    proptest! {
        #[test]
        fn a_reader_that_keeps_up_gets_every_byte_in_order(
            pieces in prop::collection::vec((any::<bool>(), 1usize..150), 1..60),
            begin in 0u64..50,
        ) {
            block_on(async {
                let spool = Spool::new(None, Limits { head: 1 << 20, ..SMALL }, Arc::default());
                let mut expected = Vec::new();
                let mut seen = Vec::new();
                let mut cursor = Cursor::at(begin);
                for (index, (out, length)) in pieces.iter().enumerate() {
                    let bytes = vec![index as u8; *length];
                    let stream = if *out { Stream::Out } else { Stream::Error };
                    spool.append(stream, &bytes).await;
                    expected.extend(bytes.iter().map(|byte| (stream as u8, *byte)));
                    while let Piece::Output(stream, bytes) = spool.next(&mut cursor).await {
                        seen.extend(bytes.iter().map(|byte| (stream as u8, *byte)));
                    }
                }
                let begin = (begin as usize).min(expected.len());
                assert_eq!(seen, &expected[begin..]);
            });
        }

        #[test]
        fn damaged_segments_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), consumed in 0usize..100) {
            let mut cursor = Cursor { consumed, ..Cursor::default() };
            while take_record(&bytes, &mut cursor, Bytes::copy_from_slice).is_some() {}
        }
    }
}
