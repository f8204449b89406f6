//! A walk through a tree: depth first, siblings sorted by bytes, links never followed.
//!
//! It keeps one list of names per level on the heap and at most [`OPEN`] directories open, so that no
//! depth can exhaust the stack or the descriptors.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, RawDir, fstat, statat};
use rustix::io::Errno;

use crate::Error;
use crate::beneath::{open_child, open_directory};
use crate::error::shown;
use crate::is_draft;
use crate::member::Kind;
use crate::name::PATH_MAX;

const OPEN: usize = 64;
const LISTING: usize = 32 * 1024;

pub(crate) fn kind(of: FileType) -> Kind {
    match of {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        _ => Kind::Other,
    }
}

struct Level {
    /// None while it is too far up to be kept open.
    directory: Option<OwnedFd>,
    identity: (u64, u64),
    names: Vec<u8>,
    /// Start and length in `names`, and kind; last first.
    entries: Vec<(u32, u16, Kind)>,
    /// Bytes of the path before the entries' names.
    base: usize,
}

pub(crate) struct Walk<'a> {
    root: BorrowedFd<'a>,
    levels: Vec<Level>,
    spare: Vec<Level>,
    path: Vec<u8>,
    name: usize,
    listing: Vec<MaybeUninit<u8>>,
}

impl<'a> Walk<'a> {
    /// A walk of everything below the directory `start` (canonical, empty for the root itself).
    pub(crate) fn new(root: BorrowedFd<'a>, start: &[u8]) -> Result<Self, Error> {
        let mut walk = Self {
            root,
            levels: Vec::new(),
            spare: Vec::new(),
            path: start.to_vec(),
            name: start.len(),
            listing: Vec::new(),
        };
        walk.listing.resize(LISTING, MaybeUninit::uninit());
        let directory = open_directory(root, start, false).map_err(|error| walk.failed(error))?;
        walk.enter(directory)?;
        Ok(walk)
    }

    fn failed(&self, source: Errno) -> Error {
        let member = if self.path.is_empty() { ".".to_owned() } else { shown(&self.path) };
        Error::Unreadable { member, source }
    }

    /// The current entry's path below the root.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Its last component.
    pub(crate) fn name(&self) -> &[u8] {
        &self.path[self.name..]
    }

    /// The directory it lies in.
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.levels.last().and_then(|level| level.directory.as_ref()).map_or(self.root, AsFd::as_fd)
    }

    /// The next entry: a directory's own entries come only after [`Walk::descend`].
    pub(crate) fn next(&mut self) -> Result<Option<Kind>, Error> {
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            self.path.truncate(level.base);
            if let Some((start, length, kind)) = level.entries.pop() {
                if !self.path.is_empty() {
                    self.path.push(b'/');
                }
                self.name = self.path.len();
                let start = start as usize;
                self.path.extend_from_slice(&level.names[start..start + usize::from(length)]);
                if self.path.len() > PATH_MAX {
                    return Err(self.failed(Errno::NAMETOOLONG));
                }
                return Ok(Some(kind));
            }
            if let Some(level) = self.levels.pop() {
                self.spare.push(level);
            }
            self.reopen()?;
        }
    }

    /// The level that is on top again may have been closed: open it again, if it is still the same.
    fn reopen(&mut self) -> Result<(), Error> {
        let Some(level) = self.levels.last() else { return Ok(()) };
        if level.directory.is_some() || level.entries.is_empty() {
            return Ok(());
        }
        self.path.truncate(level.base);
        let identity = level.identity;
        let directory =
            open_directory(self.root, &self.path, false).map_err(|error| self.failed(error))?;
        if identify(&directory).map_err(|error| self.failed(error))? != identity {
            return Err(self.failed(Errno::STALE));
        }
        if let Some(level) = self.levels.last_mut() {
            level.directory = Some(directory);
        }
        Ok(())
    }

    /// Goes into the directory that is the current entry.
    pub(crate) fn descend(&mut self) -> Result<(), Error> {
        let directory =
            open_child(self.directory(), self.name()).map_err(|error| self.failed(error))?;
        self.enter(directory)
    }

    fn enter(&mut self, directory: OwnedFd) -> Result<(), Error> {
        let mut level = self.spare.pop().unwrap_or_else(|| Level {
            directory: None,
            identity: (0, 0),
            names: Vec::new(),
            entries: Vec::new(),
            base: 0,
        });
        level.names.clear();
        level.entries.clear();
        level.base = self.path.len();
        if self.levels.len() >= OPEN {
            level.identity = identify(&directory).map_err(|error| self.failed(error))?;
        }
        let mut listing = RawDir::new(&directory, &mut self.listing);
        while let Some(entry) = listing.next() {
            let entry =
                entry.map_err(|source| Error::Unreadable { member: shown(&self.path), source })?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." || is_draft(name) {
                continue;
            }
            let of = match entry.file_type() {
                FileType::Unknown => match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(self.failed(error)),
                },
                known => known,
            };
            let too_many = |_| Error::Unreadable { member: shown(&self.path), source: Errno::FBIG };
            let start = u32::try_from(level.names.len()).map_err(too_many)?;
            let length = u16::try_from(name.len()).map_err(too_many)?;
            level.entries.push((start, length, kind(of)));
            level.names.extend_from_slice(name);
        }
        let names = &level.names;
        let slice = |(start, length, _): &(u32, u16, Kind)| {
            &names[*start as usize..*start as usize + usize::from(*length)]
        };
        level.entries.sort_unstable_by(|one, other| slice(other).cmp(slice(one)));
        level.directory = Some(directory);
        self.levels.push(level);
        // The deep end is in use; the levels just below the root are the ones to close.
        if self.levels.len() > OPEN {
            let far = self.levels.len() - OPEN;
            if self.levels[far].directory.is_some() {
                if self.levels[far].identity == (0, 0)
                    && let Some(directory) = &self.levels[far].directory
                {
                    let identity = identify(directory).map_err(|error| self.failed(error))?;
                    self.levels[far].identity = identity;
                }
                self.levels[far].directory = None;
            }
        }
        Ok(())
    }
}

fn identify(directory: &OwnedFd) -> Result<(u64, u64), Errno> {
    let stat = fstat(directory)?;
    #[allow(clippy::useless_conversion, reason = "their widths differ between machines")]
    Ok((u64::from(stat.st_dev), u64::from(stat.st_ino)))
}
