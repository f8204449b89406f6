//! Paths of the workload, resolved within its root as the workload itself would, and nowhere else.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat, statat,
};

use super::entry;
use crate::refusal::{FileProblem, Refusal, shown};

/// As many symlinks as the kernel follows.
const MOST_LINKS: usize = 40;

/// The workload's root directory.
pub(super) struct Root(OwnedFd);

/// A name in a directory that is open.
pub(super) struct Spot {
    pub(super) directory: OwnedFd,
    pub(super) name: CString,
}

/// What an error of the system means for a path.
pub(super) fn refused(path: &[u8]) -> impl Fn(io::Error) -> Refusal {
    let path = shown(path);
    move |error| Refusal::File { path: path.clone(), problem: FileProblem::of(error) }
}

fn text(path: &[u8]) -> io::Result<CString> {
    CString::new(path).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl Root {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self(root)
    }

    /// Opens what a path leads to.
    pub(super) fn open(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
        let relative = if path[start..].is_empty() { b"." } else { &path[start..] };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(&self.0, text(relative)?, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    }

    /// The directory and the name that a path ends with.
    pub(super) fn spot(&self, path: &[u8]) -> io::Result<Spot> {
        let (parent, name) = split(path)?;
        let directory = self.open(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(Spot { directory, name: text(name)? })
    }

    /// The same of what the path leads to, where its last name is a symlink. It need not be there.
    pub(super) fn target(&self, path: &[u8]) -> io::Result<Spot> {
        let mut path = path.to_vec();
        for _ in 0..MOST_LINKS {
            let spot = self.spot(&path)?;
            let Ok(target) = readlinkat(&spot.directory, &spot.name, Vec::new()) else {
                return Ok(spot);
            };
            let target = target.into_bytes();
            if target.starts_with(b"/") {
                path = target;
            } else {
                path.truncate(split(&path)?.0.len());
                path.push(b'/');
                path.extend_from_slice(&target);
            }
        }
        Err(rustix::io::Errno::LOOP.into())
    }

    /// Makes the directories that a path lies in.
    pub(super) fn make_parents(&self, path: &[u8]) -> Result<(), Refusal> {
        let made = split(path)
            .and_then(|(parent, _)| self.make_directories(parent, Mode::from_raw_mode(0o755)));
        made.map_err(|error| {
            let problem = match error.kind() {
                io::ErrorKind::NotADirectory => FileProblem::NotDirectory,
                _ => FileProblem::of(error),
            };
            Refusal::File { path: shown(path), problem }
        })
    }

    /// Makes a directory with those it lies in; one that is there is left as it is.
    pub(super) fn make_directories(&self, path: &[u8], mode: Mode) -> io::Result<()> {
        match self.open(path, OFlags::PATH) {
            Ok(found) => match entry::kind_of(found.as_fd())? {
                FileType::Directory => return Ok(()),
                _ => return Err(io::ErrorKind::NotADirectory.into()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let ends = (1..=path.len()).filter(|&end| end == path.len() || path[end] == b'/');
        for part in ends.map(|end| &path[..end]).filter(|part| !part.ends_with(b"/")) {
            if self.open(part, OFlags::PATH | OFlags::DIRECTORY).is_ok() {
                continue;
            }
            let spot = self.spot(part)?;
            let last = part.len() == path.len();
            let mode = if last { mode } else { Mode::from_raw_mode(0o755) };
            match rustix::fs::mkdirat(&spot.directory, &spot.name, mode) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Opens a regular file for reading. What else is there is not touched: a device or a pipe may not
    /// like that.
    pub(super) fn open_regular(&self, path: &[u8]) -> Result<File, FileProblem> {
        let found = self.open(path, OFlags::PATH).map_err(FileProblem::of)?;
        reopen_regular(found.as_fd())
    }
}

impl Spot {
    /// What the name stands for; not followed.
    pub(super) fn found(&self) -> io::Result<Option<rustix::fs::Stat>> {
        match statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens what a descriptor stands for, where it is a regular file.
pub(super) fn reopen_regular(found: BorrowedFd<'_>) -> Result<File, FileProblem> {
    if entry::kind_of(found).map_err(FileProblem::of)? != FileType::RegularFile {
        return Err(FileProblem::NotRegular);
    }
    let itself = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(CWD, itself, flags, Mode::empty());
    Ok(file.map_err(|error| FileProblem::of(error.into()))?.into())
}

/// A path's directory and its last name.
fn split(path: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let start = path[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    match &path[start..end] {
        b"" | b"." | b".." => Err(io::ErrorKind::InvalidInput.into()),
        name => Ok((&path[..start], name)),
    }
}
