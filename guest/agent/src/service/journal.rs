//! Every state change of every service, numbered, for whoever comes back to ask what it missed.
//!
//! The newest are kept on the agent disk in files `SEQUENCE` (hexadecimal, the first event in it) of
//! `[length u32 little endian][ServiceEvent]`; the oldest file goes when there are too many. Refuses
//! to know what the changes mean.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::DirBuilderExt,
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
        if let Some(last) = inner.files.back().copied() {
            let events = read_file(&path(directory, last));
            inner.sequence = events.last().map_or(last.saturating_sub(1), |event| event.sequence);
        }
        inner.sequence = inner.sequence.max(floor);
        self.newest.send_replace(inner.sequence);
        Ok(())
    }

    /// Numbers an event, keeps it and tells whoever follows. Writes a few hundred bytes.
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

    /// Those that come after this number and are kept, oldest first: those of one file. Blocks.
    pub fn after(&self, sequence: u64) -> Vec<ServiceEvent> {
        let (directory, files) = {
            let inner = self.lock();
            (inner.directory.clone(), inner.files.clone())
        };
        let begins = files.iter().rposition(|first| *first <= sequence + 1).unwrap_or(0);
        for first in files.iter().skip(begins) {
            let mut events = read_file(&path(&directory, *first));
            events.retain(|event| event.sequence > sequence);
            if !events.is_empty() {
                return events;
            }
        }
        Vec::new()
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

/// The whole events of a file; one that was cut off ends it.
fn read_file(path: &Path) -> Vec<ServiceEvent> {
    let mut text = Vec::new();
    let limit = LONGEST_FILE + LONGEST_EVENT as u64;
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut text));
    let mut events = Vec::new();
    let mut rest = if read.is_ok() { &text[..] } else { &[] };
    while let Some((length, body)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some(event) = body.get(..length).and_then(|body| ServiceEvent::decode(body).ok())
        else {
            break;
        };
        events.push(event);
        rest = &body[length..];
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_numbered_on_across_boots_and_none_is_missed() {
        let directory = tempfile::tempdir().unwrap();
        let event = || ServiceEvent { time_millis: 5, ..ServiceEvent::default() };
        for boot in 0..3 {
            let journal = Journal::default();
            journal.open(directory.path(), 0).unwrap();
            for number in 1..=100 {
                journal.add(event());
                assert_eq!(*journal.newest().borrow(), boot * 100 + number);
            }
        }
        let journal = Journal::default();
        journal.open(directory.path(), 0).unwrap();
        let (mut seen, mut all) = (7, Vec::new());
        loop {
            let events = journal.after(seen);
            let Some(last) = events.last() else { break };
            seen = last.sequence;
            all.extend(events.iter().map(|event| event.sequence));
        }
        assert_eq!(all, (8..=300).collect::<Vec<_>>());
    }
}
