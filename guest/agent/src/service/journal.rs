//! Every state change of every service, numbered, for whoever comes back to ask what it missed.
//!
//! The newest are kept on the agent disk in files `SEQUENCE` (hexadecimal, the first event in it) of
//! `[length u32 little endian][ServiceEvent]`; the oldest file goes when there are too many. A reader
//! keeps its place in the files: what it costs to go on is what is new. Refuses to know what the
//! changes mean.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, FileExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use pyro_wire::{Message, ServiceEvent};
use tokio::sync::watch;

/// Of one file, bytes.
const LONGEST_FILE: u64 = 1 << 20;
/// Files that are kept.
const MOST_FILES: usize = 16;
/// Of one event, bytes.
const LONGEST_EVENT: usize = 64 << 10;
/// Read at once, bytes: any event fits.
const CHUNK: usize = 4 + LONGEST_EVENT;

#[derive(Debug, Default)]
struct Inner {
    directory: PathBuf,
    /// The first sequence of each file, oldest first.
    files: VecDeque<u64>,
    current: Option<(File, u64)>,
    sequence: u64,
}

/// The journal.
#[derive(Debug, Default)]
pub struct Journal {
    inner: Mutex<Inner>,
    newest: watch::Sender<u64>,
}

/// How far a reader has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Position {
    seen: u64,
    /// The file, and where in it the next event begins.
    place: Option<(u64, u64)>,
}

impl Position {
    /// After the event with this number.
    pub fn after(sequence: u64) -> Self {
        Self { seen: sequence, place: None }
    }
}

impl Journal {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what earlier boots left in this directory, and goes on there with numbers above
    /// `floor`. Blocks. A machine that dies loses what its disk had not got yet, which others may
    /// have seen: the floor is what grows all the same, the wall clock in microseconds.
    pub fn open(&self, directory: &Path, floor: u64) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut files: Vec<u64> = fs::read_dir(directory)?
            .filter_map(Result::ok)
            .filter_map(|entry| u64::from_str_radix(entry.file_name().to_str()?, 16).ok())
            .collect();
        files.sort_unstable();
        let mut inner = self.lock();
        directory.clone_into(&mut inner.directory);
        inner.files = files.into();
        if let Some(first) = inner.files.back().copied() {
            let path = path(directory, first);
            // One that cannot be read is left as it is: the next event begins a file.
            if let Ok((whole, last)) = measure(&path) {
                inner.sequence = last.unwrap_or(first.saturating_sub(1));
                // It goes on where it is whole: what the machine's end cut off is no event.
                let file = OpenOptions::new().append(true).open(&path);
                inner.current =
                    file.and_then(|file| file.set_len(whole).map(|()| (file, whole))).ok();
            } else {
                inner.sequence = first;
            }
        }
        inner.sequence = inner.sequence.max(floor);
        self.newest.send_replace(inner.sequence);
        Ok(())
    }

    /// Numbers an event, keeps it and tells whoever follows. Writes a few hundred bytes; blocks.
    pub fn add(&self, mut event: ServiceEvent) {
        let mut inner = self.lock();
        inner.sequence += 1;
        event.sequence = inner.sequence;
        if let Err(error) = inner.keep(&event) {
            crate::console::note(&format!("journal of services: {error}"));
        }
        let newest = inner.sequence;
        drop(inner);
        self.newest.send_replace(newest);
    }

    /// The newest number, each time there is a newer one.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Some of those that come next and are kept, oldest first; none where there are no more. Blocks.
    pub fn next(&self, position: &mut Position) -> Vec<ServiceEvent> {
        let (directory, files) = {
            let inner = self.lock();
            (inner.directory.clone(), inner.files.clone())
        };
        let kept = position.place.filter(|(file, _)| files.contains(file));
        let (mut file, mut at) = kept.unwrap_or_else(|| {
            let begins = files.iter().rposition(|first| *first <= position.seen.saturating_add(1));
            (files.get(begins.unwrap_or(0)).copied().unwrap_or(0), 0)
        });
        loop {
            let text = read_at(&path(&directory, file), at);
            let (mut events, bytes) = whole(&text);
            if bytes > 0 {
                at += bytes as u64;
                position.place = Some((file, at));
                events.retain(|event| event.sequence > position.seen);
                let Some(last) = events.last() else { continue };
                position.seen = last.sequence;
                return events;
            }
            // Nothing whole follows here: it goes on in the next file, if there is one.
            match files.iter().find(|first| **first > file) {
                Some(next) => (file, at) = (*next, 0),
                None => return Vec::new(),
            }
        }
    }
}

impl Inner {
    fn keep(&mut self, event: &ServiceEvent) -> io::Result<()> {
        let body = event.encode_to_vec();
        if body.len() > LONGEST_EVENT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let record = [&(body.len() as u32).to_le_bytes()[..], &body].concat();
        if self.current.as_ref().is_none_or(|(_, bytes)| *bytes >= LONGEST_FILE) {
            let path = path(&self.directory, event.sequence);
            let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
            self.current = Some((file, 0));
            if self.files.back() != Some(&event.sequence) {
                self.files.push_back(event.sequence);
            }
            while self.files.len() > MOST_FILES {
                if let Some(oldest) = self.files.pop_front() {
                    let _ = fs::remove_file(self::path(&self.directory, oldest));
                }
            }
        }
        let Some((file, bytes)) = &mut self.current else { return Ok(()) };
        if let Err(error) = file.write_all(&record) {
            // What follows half an event could not be read: the next one begins a file.
            self.current = None;
            return Err(error);
        }
        *bytes += record.len() as u64;
        Ok(())
    }
}

fn path(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:016x}"))
}

/// A piece of a file; nothing where it cannot be read.
fn read_at(path: &Path, from: u64) -> Vec<u8> {
    let mut text = vec![0; CHUNK];
    let mut filled = 0;
    let Ok(file) = File::open(path) else { return Vec::new() };
    while filled < text.len() {
        match file.read_at(&mut text[filled..], from + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    text.truncate(filled);
    text
}

/// The whole events at the beginning of a text, and how many bytes they are.
fn whole(text: &[u8]) -> (Vec<ServiceEvent>, usize) {
    let mut events = Vec::new();
    let mut rest = text;
    while let Some((length, body)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let event = body.get(..length).and_then(|body| ServiceEvent::decode(body).ok());
        let Some(event) = event else { break };
        events.push(event);
        rest = &body[length..];
    }
    (events, text.len() - rest.len())
}

/// How many bytes of a file are whole events, and the number of the last.
fn measure(path: &Path) -> io::Result<(u64, Option<u64>)> {
    let mut text = Vec::new();
    File::open(path)?.take(LONGEST_FILE + CHUNK as u64).read_to_end(&mut text)?;
    let (events, bytes) = whole(&text);
    Ok((bytes as u64, events.last().map(|event| event.sequence)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> ServiceEvent {
        ServiceEvent { time_millis: 5, ..ServiceEvent::default() }
    }

    /// An event of about this many bytes.
    fn long(bytes: usize) -> ServiceEvent {
        let record = pyro_wire::ServiceRecord {
            detail: "x".repeat(bytes),
            ..pyro_wire::ServiceRecord::default()
        };
        ServiceEvent { record: Some(record), ..event() }
    }

    fn opened(directory: &Path) -> Journal {
        let journal = Journal::default();
        journal.open(directory, 0).unwrap();
        journal
    }

    fn all_after(journal: &Journal, position: &mut Position) -> Vec<u64> {
        let mut all = Vec::new();
        loop {
            let events = journal.next(position);
            if events.is_empty() {
                return all;
            }
            all.extend(events.iter().map(|event| event.sequence));
        }
    }

    fn numbers(range: std::ops::RangeInclusive<u64>) -> Vec<u64> {
        range.collect()
    }

    #[test]
    fn events_are_numbered_on_across_boots_and_none_is_missed() {
        let directory = tempfile::tempdir().unwrap();
        for boot in 0..30 {
            let journal = opened(directory.path());
            for number in 1..=100 {
                journal.add(event());
                assert_eq!(*journal.newest().borrow(), boot * 100 + number);
            }
        }
        let journal = opened(directory.path());
        assert_eq!(all_after(&journal, &mut Position::after(7)), numbers(8..=3000));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "boots share a file");
    }

    #[test]
    fn who_goes_on_reads_only_what_is_new() {
        let directory = tempfile::tempdir().unwrap();
        let journal = opened(directory.path());
        let mut position = Position::after(0);
        for number in 1..=200 {
            journal.add(long(10_000));
            assert_eq!(all_after(&journal, &mut position), numbers(number..=number));
            let (file, at) = position.place.unwrap();
            let size = fs::metadata(path(directory.path(), file)).unwrap().len();
            assert_eq!(at, size, "it stands at the end");
        }
        assert!(journal.lock().files.len() > 1);
    }

    #[test]
    fn who_comes_from_before_what_is_kept_goes_on_with_the_oldest() {
        let directory = tempfile::tempdir().unwrap();
        let journal = opened(directory.path());
        let mut slow = Position::after(0);
        journal.add(event());
        assert_eq!(all_after(&journal, &mut slow), [1]);
        while journal.lock().files[0] == 1 {
            journal.add(long(60_000));
        }
        for journal in [&journal, &opened(directory.path())] {
            let oldest = journal.lock().files[0];
            let newest = *journal.newest().borrow();
            for mut late in [slow.clone(), Position::after(0), Position::after(oldest - 1)] {
                assert_eq!(all_after(journal, &mut late), numbers(oldest..=newest));
            }
        }
        let on_disk: u64 = fs::read_dir(directory.path())
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        assert!(on_disk <= MOST_FILES as u64 * (LONGEST_FILE + CHUNK as u64), "{on_disk}");
    }

    #[test]
    fn what_the_machines_end_cut_off_is_no_event_and_hides_none() {
        let directory = tempfile::tempdir().unwrap();
        let journal = opened(directory.path());
        journal.add(event());
        journal.add(event());
        let file = path(directory.path(), 1);
        let whole = fs::metadata(&file).unwrap().len();
        OpenOptions::new().write(true).open(&file).unwrap().set_len(whole - 1).unwrap();
        let journal = opened(directory.path());
        journal.add(event());
        assert_eq!(all_after(&journal, &mut Position::after(0)), numbers(1..=2));
    }
}
