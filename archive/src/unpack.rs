//! A tar stream as a tree: the hostile side.
//!
//! Nothing outside the root is written, changed, removed or read: each component of each name is
//! opened from an open directory and never through a link, whoever made it. Files are written under
//! another name in their directory and renamed when they are whole. What stood before a failure
//! stays, what was in work is gone.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, Uid, chownat, fchmod,
    fchown, fstat, ftruncate, futimens, linkat, mkdirat, mknodat, openat, renameat, renameat_with,
    statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::{Errno, pwrite};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::beneath::{open_child, open_directory};
use crate::error::shown;
use crate::limits::Meter;
use crate::member::{Kind, Member, Mtime, Segment};
use crate::reader::Reader;
use crate::removal::{list, remove};
use crate::walk::kind;
use crate::{Cancel, Error, Exclude, Limits, Progress, SafeName, Tally};
use crate::{draft_name, is_draft};

/// What happens to what is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overwrite {
    /// It stays, and unpacking fails with [`Error::Exists`]. Directories may exist.
    #[default]
    Refuse,
    /// It is replaced. A directory with content only where [`UnpackOptions::delete`] is set.
    Replace,
}

/// How an archive is unpacked.
#[derive(Default)]
pub struct UnpackOptions<'a> {
    /// What happens to what is there already.
    pub overwrite: Overwrite,
    /// What the archive does not have is removed, once the archive came whole.
    pub delete: bool,
    /// What is not removed for that, with everything below it.
    pub protect: Option<Exclude<'a>>,
    /// The most that is taken.
    pub limits: Limits,
    /// Permission bits that nothing gets.
    pub umask: u32,
    /// The owner of everything that is made; none leaves it to the system. Owners in the archive do
    /// not count.
    pub owner: Option<(u32, u32)>,
    /// Who hears of progress.
    pub progress: Option<Progress<'a>>,
    /// When to stop.
    pub cancel: Option<Cancel<'a>>,
}

/// Unpacks an archive below the directory `root`.
///
/// The archive must end with its mark, and the source after it: otherwise [`Error::Truncated`] or
/// [`Error::Malformed`], and nothing is removed. Missing parents are made with mode 0755. A member for
/// the root itself is passed over. After a failure the files that were whole stay, and no temporary
/// file is left.
pub fn unpack(
    source: &mut dyn std::io::Read,
    root: BorrowedFd<'_>,
    options: UnpackOptions<'_>,
) -> Result<Tally, Error> {
    let mut unpacker = Unpacker {
        root,
        meter: Meter::new(options.limits),
        names: HashSet::new(),
        directories: BTreeMap::new(),
        parent: None,
        random: Vec::new(),
        tally: Tally::default(),
        options,
    };
    let result = unpacker.members(&mut Reader::new(source));
    let result = match result {
        Ok(()) if unpacker.options.delete => unpacker.delete(),
        other => other,
    };
    let finished = unpacker.finish_directories(result.is_ok());
    result.and(finished)?;
    if let Some(progress) = &mut unpacker.options.progress {
        progress(&unpacker.tally);
    }
    Ok(unpacker.tally)
}

struct Unpacker<'r, 'a> {
    root: BorrowedFd<'r>,
    options: UnpackOptions<'a>,
    meter: Meter,
    /// What the archive has; only for `delete`.
    names: HashSet<Vec<u8>>,
    /// Modes and times that directories get at the end.
    directories: BTreeMap<Vec<u8>, (u32, Mtime)>,
    /// The directory of the last member.
    parent: Option<(Vec<u8>, OwnedFd)>,
    random: Vec<u8>,
    tally: Tally,
}

fn unwritable(name: &[u8], source: Errno) -> Error {
    Error::Unwritable { member: shown(name), source }
}

fn within_links(name: &[u8], error: Errno) -> Error {
    match error {
        Errno::LOOP | Errno::NOTDIR => Error::UnsafeName {
            member: shown(name),
            why: "a link or a file stands where a directory is needed",
        },
        error => unwritable(name, error),
    }
}

fn timestamps(mtime: Mtime) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() },
    }
}

impl Unpacker<'_, '_> {
    fn members(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        while let Some(member) = reader.next()? {
            let name = SafeName::parse(&member.name)?;
            self.check_cancel(name.as_bytes())?;
            self.meter.admit(name.as_bytes(), &member.link, member.stored, member.size)?;
            let Some((parent, last)) = name.split() else {
                if member.kind == Kind::Directory {
                    continue;
                }
                return Err(Error::UnsafeName {
                    member: shown(&member.name),
                    why: "it names the root, which is a directory",
                });
            };
            let directory = self.open_parent(name.as_bytes(), parent)?;
            let made = self.make(&member, &name, directory.as_fd(), last, reader);
            self.parent = Some((parent.to_vec(), directory));
            made?;
            if self.options.delete {
                self.remember(name.as_bytes());
            }
            self.tally.entries += 1;
            if self.tally.entries.is_multiple_of(256) {
                self.report();
            }
        }
        Ok(())
    }

    fn check_cancel(&self, name: &[u8]) -> Result<(), Error> {
        if self.options.cancel.is_some_and(|cancel| cancel()) {
            return Err(Error::Cancelled { member: shown(name) });
        }
        Ok(())
    }

    fn report(&mut self) {
        if let Some(progress) = &mut self.options.progress {
            progress(&self.tally);
        }
    }

    /// The name and its parents are in the archive.
    fn remember(&mut self, name: &[u8]) {
        let mut name = name;
        while !name.is_empty() && self.names.insert(name.to_vec()) {
            let end = name.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            name = &name[..end];
        }
    }

    fn open_parent(&mut self, name: &[u8], parent: &[u8]) -> Result<OwnedFd, Error> {
        match self.parent.take() {
            Some((known, directory)) if known == parent => Ok(directory),
            _ => open_directory(self.root, parent, true).map_err(|error| within_links(name, error)),
        }
    }

    fn make(
        &mut self,
        member: &Member,
        name: &SafeName,
        parent: BorrowedFd<'_>,
        last: &[u8],
        reader: &mut Reader<'_>,
    ) -> Result<(), Error> {
        let whole = name.as_bytes();
        let failed = |error| unwritable(whole, error);
        let mode = member.mode & !self.options.umask;
        if member.kind == Kind::Directory {
            return self.directory(parent, last, whole, mode, member.mtime);
        }
        let temporary = self.temporary().map_err(failed)?;
        let guard = Temporary { parent, name: &temporary };
        match member.kind {
            Kind::File => {
                let file = openat(
                    parent,
                    &temporary,
                    OFlags::WRONLY
                        | OFlags::CREATE
                        | OFlags::EXCL
                        | OFlags::NOFOLLOW
                        | OFlags::CLOEXEC,
                    Mode::RUSR | Mode::WUSR,
                )
                .map_err(failed)?;
                self.content(member, whole, &file, reader)?;
                self.own(&file).map_err(failed)?;
                fchmod(&file, Mode::from_raw_mode(mode)).map_err(failed)?;
                futimens(&file, &timestamps(member.mtime)).map_err(failed)?;
            }
            Kind::Symlink => {
                symlinkat(&member.link[..], parent, &temporary).map_err(failed)?;
                self.own_link(parent, &temporary, member.mtime).map_err(failed)?;
            }
            Kind::Fifo => {
                mknodat(parent, &temporary, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
                    .map_err(failed)?;
                let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let pipe = openat(parent, &temporary, flags, Mode::empty()).map_err(failed)?;
                self.own(&pipe).map_err(failed)?;
                fchmod(&pipe, Mode::from_raw_mode(mode)).map_err(failed)?;
                futimens(&pipe, &timestamps(member.mtime)).map_err(failed)?;
            }
            Kind::HardLink => self.hard_link(member, whole, parent, &temporary)?,
            Kind::Directory | Kind::Other => {
                return Err(Error::UnsupportedMember { member: shown(whole), kind: "a device" });
            }
        }
        self.place(parent, &temporary, last, whole)?;
        // Two names of the same file are not renamed onto each other: then the guard removes one.
        if member.kind != Kind::HardLink {
            guard.placed();
        }
        // A directory of that name, and what was to be done to it, is gone.
        self.directories.remove(whole);
        Ok(())
    }

    /// Puts what is whole to its name.
    fn place(
        &mut self,
        parent: BorrowedFd<'_>,
        temporary: &[u8],
        last: &[u8],
        whole: &[u8],
    ) -> Result<(), Error> {
        let failed = |error| unwritable(whole, error);
        if self.options.overwrite == Overwrite::Refuse {
            return renameat_with(parent, temporary, parent, last, RenameFlags::NOREPLACE).map_err(
                |error| match error {
                    Errno::EXIST => Error::Exists { member: shown(whole) },
                    error => failed(error),
                },
            );
        }
        match renameat(parent, temporary, parent, last) {
            Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            result => return result.map_err(failed),
        }
        match unlinkat(parent, last, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) if self.options.delete => {
                self.tally.removed += self.remove(parent, last, whole)?;
                // What the archive had below it is gone as well.
                let below = [whole, b"/"].concat();
                self.names.retain(|name| !name.starts_with(&below));
                self.directories.retain(|name, _| !name.starts_with(&below));
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                return Err(Error::Conflict { member: shown(whole) });
            }
            Err(error) => return Err(failed(error)),
        }
        renameat(parent, temporary, parent, last).map_err(failed)
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        last: &[u8],
        whole: &[u8],
        mode: u32,
        mtime: Mtime,
    ) -> Result<(), Error> {
        let failed = |error| unwritable(whole, error);
        let made = match mkdirat(parent, last, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => {
                let stat = statat(parent, last, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
                if kind(FileType::from_raw_mode(stat.st_mode)) == Kind::Directory {
                    false
                } else if self.options.overwrite == Overwrite::Refuse {
                    return Err(Error::Exists { member: shown(whole) });
                } else {
                    unlinkat(parent, last, AtFlags::empty()).map_err(failed)?;
                    mkdirat(parent, last, Mode::RWXU).map_err(failed)?;
                    true
                }
            }
            Err(error) => return Err(failed(error)),
        };
        if made {
            let directory = open_child(parent, last).map_err(|error| within_links(whole, error))?;
            self.own(&directory).map_err(failed)?;
        } else {
            self.open_up(parent, last).map_err(|error| within_links(whole, error))?;
        }
        self.directories.insert(whole.to_vec(), (mode, mtime));
        Ok(())
    }

    /// A directory that its owner cannot write to is opened up until the end.
    fn open_up(&self, parent: BorrowedFd<'_>, last: &[u8]) -> Result<(), Errno> {
        let directory = open_child(parent, last)?;
        let stat = fstat(&directory)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        if !mode.contains(Mode::RWXU) {
            fchmod(&directory, mode | Mode::RWXU)?;
        }
        self.own(&directory)
    }

    fn own(&self, file: &OwnedFd) -> Result<(), Errno> {
        match self.options.owner {
            Some((user, group)) => {
                fchown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))
            }
            None => Ok(()),
        }
    }

    fn own_link(&self, parent: BorrowedFd<'_>, name: &[u8], mtime: Mtime) -> Result<(), Errno> {
        if let Some((user, group)) = self.options.owner {
            let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
            chownat(parent, name, user, group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        utimensat(parent, name, &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)
    }

    fn content(
        &mut self,
        member: &Member,
        whole: &[u8],
        file: &OwnedFd,
        reader: &mut Reader<'_>,
    ) -> Result<(), Error> {
        let failed = |error| unwritable(whole, error);
        let all = [Segment { offset: 0, length: member.size }];
        for segment in member.segments.as_deref().unwrap_or(&all) {
            let (mut at, end) = (segment.offset, segment.offset + segment.length);
            while at < end {
                let mut part = reader.content(end - at)?;
                while !part.is_empty() {
                    match pwrite(file, part, at) {
                        Ok(0) => return Err(failed(Errno::IO)),
                        Ok(count) => {
                            at += count as u64;
                            self.tally.bytes += count as u64;
                            part = &part[count..];
                        }
                        Err(Errno::INTR) => {}
                        Err(error) => return Err(failed(error)),
                    }
                }
                if at < end {
                    self.check_cancel(whole)?;
                    self.report();
                }
            }
        }
        if member.segments.is_some() {
            ftruncate(file, member.size).map_err(failed)?;
        }
        Ok(())
    }

    fn hard_link(
        &self,
        member: &Member,
        whole: &[u8],
        parent: BorrowedFd<'_>,
        temporary: &[u8],
    ) -> Result<(), Error> {
        let bad =
            |why| Error::UnsafeLink { member: shown(whole), target: shown(&member.link), why };
        let target = SafeName::parse(&member.link)
            .map_err(|_| bad("that name leads out of the archive, or is none"))?;
        let (above, name) = target.split().ok_or_else(|| bad("that is the root"))?;
        let missing = |error| match error {
            Errno::NOENT => bad("there is no such file"),
            Errno::LOOP | Errno::NOTDIR => bad("a link stands in its way"),
            error => unwritable(whole, error),
        };
        let directory = open_directory(self.root, above, false).map_err(missing)?;
        let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(missing)?;
        if kind(FileType::from_raw_mode(stat.st_mode)) != Kind::File {
            return Err(bad("that is no regular file"));
        }
        linkat(&directory, name, parent, temporary, AtFlags::empty()).map_err(missing)
    }

    /// A name that nothing has and nobody can guess.
    fn temporary(&mut self) -> Result<Vec<u8>, Errno> {
        temporary_name(&mut self.random)
    }

    fn remove(&mut self, parent: BorrowedFd<'_>, last: &[u8], whole: &[u8]) -> Result<u64, Error> {
        let random = &mut self.random;
        remove(parent, last, &mut || temporary_name(random))
            .map_err(|source| Error::Unremovable { member: shown(whole), source })
    }

    /// Removes what the archive does not have.
    fn delete(&mut self) -> Result<(), Error> {
        self.parent = None;
        let mut waiting = vec![Vec::new()];
        while let Some(above) = waiting.pop() {
            let failed = |source| Error::Unremovable { member: shown(&above), source };
            let directory = open_directory(self.root, &above, false).map_err(failed)?;
            for name in list(directory.as_fd()).map_err(failed)? {
                // Somebody else's, on its way.
                if is_draft(&name) {
                    continue;
                }
                let mut whole = above.clone();
                if !whole.is_empty() {
                    whole.push(b'/');
                }
                whole.extend_from_slice(&name);
                let known = self.names.contains(&whole);
                let of = match statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => kind(FileType::from_raw_mode(stat.st_mode)),
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(failed(error)),
                };
                if known {
                    if of == Kind::Directory {
                        waiting.push(whole);
                    }
                } else if !self.options.protect.as_mut().is_some_and(|keep| keep(&whole, of)) {
                    self.check_cancel(&whole)?;
                    self.tally.removed += self.remove(directory.as_fd(), &name, &whole)?;
                }
            }
        }
        Ok(())
    }

    /// Modes and times of directories, the deepest first.
    fn finish_directories(&mut self, whole: bool) -> Result<(), Error> {
        while let Some((name, (mode, mtime))) = self.directories.pop_last() {
            let finished = open_directory(self.root, &name, false).and_then(|directory| {
                fchmod(&directory, Mode::from_raw_mode(mode))?;
                futimens(&directory, &timestamps(mtime))
            });
            if whole {
                finished.map_err(|error| within_links(&name, error))?;
            }
        }
        Ok(())
    }
}

fn temporary_name(random: &mut Vec<u8>) -> Result<Vec<u8>, Errno> {
    if random.len() < 16 {
        random.resize(256, 0);
        let filled = getrandom(&mut *random, GetRandomFlags::empty())?;
        random.truncate(filled);
        if filled < 16 {
            return Err(Errno::AGAIN);
        }
    }
    let mut chance = [0; 16];
    chance.copy_from_slice(&random[random.len() - 16..]);
    random.truncate(random.len() - 16);
    Ok(draft_name(&chance))
}

/// What is not placed is removed.
struct Temporary<'a> {
    parent: BorrowedFd<'a>,
    name: &'a [u8],
}

impl Temporary<'_> {
    fn placed(self) {
        std::mem::forget(self);
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // It is not there where nothing was made, or where it was renamed.
        let _ = unlinkat(self.parent, self.name, AtFlags::empty());
    }
}
