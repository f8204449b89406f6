//! A tree as a tar stream.
//!
//! Nothing is followed: every file is opened relative to its open directory, links are read as links.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, fstat, openat, readlinkat, seek, statat,
};
use rustix::io::{Errno, read};

use crate::beneath::open_directory;
use crate::error::shown;
use crate::member::{Kind, MAX_SEGMENTS, Mtime, Segment, close};
use crate::walk::{Walk, kind};
use crate::writer::{Head, Writer};
use crate::{Error, SafeName, Tally};

/// Whether an entry is left out, with everything below it: asked with its path below the root.
pub type Exclude<'a> = &'a mut dyn FnMut(&[u8], Kind) -> bool;
/// Called now and then with what was done so far.
pub type Progress<'a> = &'a mut dyn FnMut(&Tally);
/// Asked now and then; true ends the work with [`Error::Cancelled`].
pub type Cancel<'a> = &'a dyn Fn() -> bool;

/// What is packed, and how.
#[derive(Default)]
pub struct PackOptions<'a> {
    /// Paths below the root, each with everything below it and with its parents; none for all.
    pub paths: Vec<SafeName>,
    /// Names in the archive: what lies at the first name gets the second one instead; what lies
    /// elsewhere is left out. The empty name is the root.
    pub rename: Option<(SafeName, SafeName)>,
    /// Owner 0:0, whoever owns the files.
    pub root_owned: bool,
    /// Times in whole seconds: an archive without extended headers for most files.
    pub whole_seconds: bool,
    /// What is left out.
    pub exclude: Option<Exclude<'a>>,
    /// Who hears of progress.
    pub progress: Option<Progress<'a>>,
    /// When to stop.
    pub cancel: Option<Cancel<'a>>,
}

/// Packs what lies below the directory `root` and writes the archive, with its end mark, to `sink`.
///
/// Depth first, siblings sorted by bytes; the root itself is no member. Sockets and devices are left
/// out and counted. A file that changes its size meanwhile is cut, or filled with zeros, to the size
/// it had, and counted. Fails at the first file that cannot be read.
pub fn pack(
    root: BorrowedFd<'_>,
    options: PackOptions<'_>,
    sink: &mut dyn std::io::Write,
) -> Result<Tally, Error> {
    let mut paths = options.paths.clone();
    paths.sort_unstable();
    let mut packer = Packer {
        options,
        writer: Writer::new(sink),
        tally: Tally::default(),
        links: HashMap::new(),
        name: Vec::new(),
        target: Vec::new(),
        parents: Vec::new(),
    };
    if paths.is_empty() {
        packer.below(Walk::new(root, b"")?)?;
    }
    let mut last: Option<&SafeName> = None;
    for path in &paths {
        if last.is_some_and(|last| within(path.as_bytes(), last.as_bytes())) {
            continue;
        }
        last = Some(path);
        packer.path(root, path)?;
    }
    packer.writer.finish()?;
    if let Some(progress) = &mut packer.options.progress {
        progress(&packer.tally);
    }
    Ok(packer.tally)
}

/// Whether `path` is `directory` or lies below it.
pub(crate) fn within(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty()
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

pub(crate) fn mtime(stat: &Stat) -> Mtime {
    Mtime { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}

struct Packer<'a, 'w> {
    options: PackOptions<'a>,
    writer: Writer<'w>,
    tally: Tally,
    /// Files with names yet to come: their first name and how many.
    links: HashMap<(u64, u64), (Vec<u8>, u64)>,
    /// The current member's name in the archive.
    name: Vec<u8>,
    target: Vec<u8>,
    /// Parents of selected paths that are members already.
    parents: Vec<Vec<u8>>,
}

fn unreadable(path: &[u8], source: Errno) -> Error {
    Error::Unreadable { member: shown(path), source }
}

impl Packer<'_, '_> {
    /// One selected path, with its parents.
    fn path(&mut self, root: BorrowedFd<'_>, path: &SafeName) -> Result<(), Error> {
        let Some((parent, name)) = path.split() else {
            return self.below(Walk::new(root, b"")?);
        };
        let whole = path.as_bytes();
        let failed = |error| unreadable(whole, error);
        for at in (0..whole.len()).filter(|at| whole[*at] == b'/') {
            let above = &whole[..at];
            if self.parents.iter().all(|known| known != above) {
                let directory = open_directory(root, above, false).map_err(failed)?;
                let stat = fstat(&directory).map_err(failed)?;
                self.parents.push(above.to_vec());
                self.plain(above, Kind::Directory, &stat, b"")?;
            }
        }
        let directory = open_directory(root, parent, false).map_err(failed)?;
        let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let kind = kind(FileType::from_raw_mode(stat.st_mode));
        if self.entry(directory.as_fd(), name, whole, kind)? {
            self.below(Walk::new(root, whole)?)?;
        }
        Ok(())
    }

    fn below(&mut self, mut walk: Walk<'_>) -> Result<(), Error> {
        while let Some(kind) = walk.next()? {
            if self.entry(walk.directory(), walk.name(), walk.path(), kind)? {
                walk.descend()?;
            }
        }
        Ok(())
    }

    /// Packs one entry; whether it is a directory to go into.
    fn entry(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        mut of: Kind,
    ) -> Result<bool, Error> {
        if self.options.cancel.is_some_and(|cancel| cancel()) {
            return Err(Error::Cancelled { member: shown(path) });
        }
        if self.options.exclude.as_mut().is_some_and(|exclude| exclude(path, of)) {
            return Ok(false);
        }
        if of == Kind::File {
            let opened = openat(
                directory,
                name,
                OFlags::RDONLY
                    | OFlags::NOFOLLOW
                    | OFlags::NONBLOCK
                    | OFlags::NOCTTY
                    | OFlags::CLOEXEC,
                Mode::empty(),
            );
            match opened {
                Ok(file) => {
                    let stat = fstat(&file).map_err(|error| unreadable(path, error))?;
                    of = kind(FileType::from_raw_mode(stat.st_mode));
                    if of == Kind::File {
                        self.file(&file, path, &stat)?;
                        return Ok(false);
                    }
                }
                // It became a link since it was listed.
                Err(Errno::LOOP) => {}
                Err(error) => return Err(unreadable(path, error)),
            }
        }
        if of == Kind::Other {
            self.tally.skipped += 1;
            return Ok(false);
        }
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| unreadable(path, error))?;
        of = kind(FileType::from_raw_mode(stat.st_mode));
        match of {
            Kind::Directory => {
                self.plain(path, of, &stat, b"")?;
                return Ok(true);
            }
            Kind::Symlink => {
                let target = readlinkat(directory, name, std::mem::take(&mut self.target))
                    .map_err(|error| unreadable(path, error))?
                    .into_bytes();
                self.plain(path, of, &stat, &target)?;
                self.target = target;
            }
            Kind::Fifo => self.plain(path, of, &stat, b"")?,
            Kind::File | Kind::HardLink => return Err(unreadable(path, Errno::STALE)),
            Kind::Other => self.tally.skipped += 1,
        }
        Ok(false)
    }

    /// The current member's name in the archive, or false where it has none.
    fn rename(&mut self, path: &[u8]) -> bool {
        self.name.clear();
        let Some((from, to)) = &self.options.rename else {
            self.name.extend_from_slice(path);
            return true;
        };
        if !within(path, from.as_bytes()) {
            return false;
        }
        let rest = &path[from.as_bytes().len()..];
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        self.name.extend_from_slice(to.as_bytes());
        if !rest.is_empty() {
            if !self.name.is_empty() {
                self.name.push(b'/');
            }
            self.name.extend_from_slice(rest);
        }
        !self.name.is_empty()
    }

    fn begin(
        &mut self,
        kind: Kind,
        stat: &Stat,
        link: &[u8],
        size: u64,
        segments: Option<&[Segment]>,
    ) -> Result<(), Error> {
        let mut mtime = mtime(stat);
        if self.options.whole_seconds {
            mtime.nanoseconds = 0;
        }
        let owner = if self.options.root_owned { (0, 0) } else { (stat.st_uid, stat.st_gid) };
        self.tally.entries += 1;
        if self.tally.entries.is_multiple_of(256)
            && let Some(progress) = &mut self.options.progress
        {
            progress(&self.tally);
        }
        let mode = stat.st_mode & 0o7777;
        self.writer.begin(&Head {
            name: &self.name,
            kind,
            link,
            mode,
            mtime,
            size,
            segments,
            owner,
        })
    }

    fn plain(&mut self, path: &[u8], kind: Kind, stat: &Stat, link: &[u8]) -> Result<(), Error> {
        if self.rename(path) {
            self.begin(kind, stat, link, 0, None)?;
        }
        Ok(())
    }

    fn file(&mut self, file: &OwnedFd, path: &[u8], stat: &Stat) -> Result<(), Error> {
        if !self.rename(path) {
            return Ok(());
        }
        #[allow(clippy::useless_conversion, reason = "their widths differ between machines")]
        let (identity, names) =
            ((u64::from(stat.st_dev), u64::from(stat.st_ino)), u64::from(stat.st_nlink));
        if names > 1 {
            if let Some((first, more)) = self.links.remove(&identity) {
                self.begin(Kind::HardLink, stat, &first, 0, None)?;
                if more > 1 {
                    self.links.insert(identity, (first, more - 1));
                }
                return Ok(());
            }
            self.links.insert(identity, (self.name.clone(), names - 1));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let allocated = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        let segments = if allocated < size { holes(file, size) } else { None };
        self.begin(Kind::File, stat, b"", size, segments.as_deref())?;
        let mut changed = false;
        match segments {
            None => changed = self.content(file, path, size, true)?,
            Some(segments) => {
                for segment in segments {
                    seek(file, SeekFrom::Start(segment.offset))
                        .map_err(|error| unreadable(path, error))?;
                    changed |= self.content(file, path, segment.length, false)?;
                }
            }
        }
        self.tally.changed += u64::from(changed);
        self.writer.end()
    }

    /// Copies `size` bytes; whether the file had fewer or, where this is to be its end, more.
    fn content(
        &mut self,
        file: &OwnedFd,
        path: &[u8],
        size: u64,
        last: bool,
    ) -> Result<bool, Error> {
        let mut left = size;
        while left > 0 {
            let room = self.writer.room()?;
            let most = left.saturating_add(u64::from(last));
            let part = room.len().min(usize::try_from(most).unwrap_or(usize::MAX));
            let count = match read(file, &mut room[..part]) {
                Ok(count) => count as u64,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(unreadable(path, error)),
            };
            if count == 0 {
                self.tally.bytes += left;
                self.writer.zeros(left)?;
                return Ok(true);
            }
            let taken = count.min(left);
            self.writer.wrote(taken as usize);
            self.tally.bytes += taken;
            left -= taken;
            if count > taken {
                return Ok(true);
            }
            if left > 0 {
                if self.options.cancel.is_some_and(|cancel| cancel()) {
                    return Err(Error::Cancelled { member: shown(path) });
                }
                if let Some(progress) = &mut self.options.progress {
                    progress(&self.tally);
                }
            }
        }
        Ok(false)
    }
}

/// Where a file has data; none where it has no holes or its file system cannot tell.
fn holes(file: &OwnedFd, size: u64) -> Option<Vec<Segment>> {
    let mut segments = Vec::new();
    let mut at = 0;
    while at < size {
        let offset = match seek(file, SeekFrom::Data(at)) {
            Ok(offset) if offset < size => offset,
            Ok(_) | Err(Errno::NXIO) => break,
            Err(_) => {
                seek(file, SeekFrom::Start(0)).ok()?;
                return None;
            }
        };
        // Too many pieces for a map: the rest is one, holes and all.
        let end = if segments.len() + 2 >= MAX_SEGMENTS {
            size
        } else {
            seek(file, SeekFrom::Hole(offset)).map_or(size, |end| end.min(size))
        };
        segments.push(Segment { offset, length: end - offset });
        at = end;
    }
    close(&mut segments, size);
    let whole = [Segment { offset: 0, length: size }];
    if segments == whole {
        seek(file, SeekFrom::Start(0)).ok()?;
        return None;
    }
    Some(segments)
}
