//! What is in a directory, and what one name stands for.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, OwnedFd},
};

use pyro_archive::is_draft;
use pyro_wire::{
    FileEntries, FileEntry, FileKind, FileTally, ListFiles, StatFile, file_outcome,
    reply::Result as Answer,
};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, statat};

use super::{
    conversation::{Ending, Output},
    entry,
    root::{Root, refused},
};
use crate::refusal::Refusal;

/// Bytes of names that are told at once.
const BATCH: usize = 32 << 10;
/// Directories within each other; what lies deeper is left out, and said to be.
const DEEPEST: usize = 1000;

/// Answers with what is known of a path.
pub(super) fn stat(root: &Root, call: &StatFile) -> Result<Ending, Refusal> {
    let found = entry_at(root, &call.path, call.follow).map_err(refused(&call.path))?;
    Ok(Ending::answer(Answer::FileEntry(found)))
}

/// What is known of a path.
pub(super) fn entry_at(root: &Root, path: &[u8], follow: bool) -> io::Result<FileEntry> {
    let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    let file = root.open(path, OFlags::PATH | nofollow)?;
    let found = fstat(&file)?;
    Ok(entry::of_name(path, file.as_fd(), c"", &found))
}

/// Tells what is in a directory.
pub(super) fn list(root: &Root, call: &ListFiles, output: &Output) -> Result<Ending, Refusal> {
    let refused = refused(&call.path);
    let start = root.open(&call.path, OFlags::PATH).map_err(&refused)?;
    let found = fstat(&start).map_err(|error| refused(error.into()))?;
    let mut told = Told { output, batch: Vec::new(), bytes: 0, tally: FileTally::default() };
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        let first = Level::open(start, call.path.to_vec()).map_err(&refused)?;
        output.go_on()?;
        walk(first, call, &mut told)?;
    } else {
        output.go_on()?;
        told.tell(entry::of_stat(&call.path, &found))?;
    }
    told.flush()?;
    Ok(Ending::outcome(file_outcome::Result::Listed(told.tally)))
}

/// What is told, some at once.
struct Told<'a> {
    output: &'a Output,
    batch: Vec<FileEntry>,
    bytes: usize,
    tally: FileTally,
}

impl Told<'_> {
    fn tell(&mut self, entry: FileEntry) -> Result<(), Refusal> {
        self.tally.entries += 1;
        self.tally.bytes += entry.size_bytes;
        self.bytes += entry.path.len() + entry.link_target.len() + 40;
        self.batch.push(entry);
        if self.bytes >= BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Refusal> {
        self.bytes = 0;
        let entries = std::mem::take(&mut self.batch);
        if entries.is_empty() {
            return Ok(());
        }
        self.output.tell(file_outcome::Result::Entries(FileEntries { entries }))
    }
}

/// A directory on the way, and what of it is still to come.
struct Level {
    directory: OwnedFd,
    path: Vec<u8>,
    /// The last comes first.
    names: Vec<CString>,
}

impl Level {
    fn open(directory: OwnedFd, path: Vec<u8>) -> io::Result<Self> {
        let mut names = names(&directory)?;
        names.reverse();
        Ok(Self { directory, path, names })
    }
}

/// The names in a directory, sorted; without those of what is being written.
pub(super) fn names(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = openat(directory, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::new(readable)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.as_bytes(), b"." | b"..") && !is_draft(name.as_bytes()) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// A name in a directory, as a path.
pub(super) fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = path.to_vec();
    if !joined.ends_with(b"/") {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}

fn walk(first: Level, call: &ListFiles, told: &mut Told<'_>) -> Result<(), Refusal> {
    let mut levels = vec![first];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop() else {
            levels.pop();
            continue;
        };
        // What went away meanwhile is not there.
        let Ok(found) = statat(&level.directory, &name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        if told.tally.entries >= call.most_entries {
            told.tally.truncated = true;
            return Ok(());
        }
        let path = joined(&level.path, name.to_bytes());
        let entry = entry::of_name(&path, level.directory.as_fd(), &name, &found);
        let descend = call.recursive && entry.kind() == FileKind::FileDirectory;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inner = descend.then(|| openat(&level.directory, &name, flags, Mode::empty()));
        told.tell(entry)?;
        match inner {
            Some(Ok(_)) if levels.len() >= DEEPEST => told.tally.truncated = true,
            // One that cannot be read is as if it were empty.
            Some(Ok(inner)) => levels.extend(Level::open(inner, path)),
            _ => {}
        }
    }
    Ok(())
}
