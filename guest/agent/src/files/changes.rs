//! What is different in `/workspace` from what it began with, by the overlay's upper layer: cost is by what
//! was touched.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
};

use bytes::Bytes;
use pyro_change::{Change, Kind, Layer, Marker, Meta, Options, Side, Status, Tally, Tree, changes};
use pyro_wire::{ChangeStatus, FileEntry, FileKind, FileTally, ListChanges, file_outcome};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fgetxattr, fstat, openat, openat2,
    readlinkat, statat,
};

use super::{
    conversation::{Ending, Output},
    list::names,
    root::reopen_regular,
};
use crate::{
    drives,
    refusal::{FileProblem, Refusal},
    workload,
};

/// Of one piece of a patch, bytes.
const PIECE: usize = 32 << 10;

/// Changes of which only the paths are wanted.
const MOST_PATHS: u64 = 1_000_000;

fn unreadable(error: io::Error) -> Refusal {
    let path = workload::WORKSPACE.to_owned();
    Refusal::File { path, problem: FileProblem::of(error) }
}

/// Compares what is with what was.
fn compare(
    options: &Options,
    tell: &mut dyn FnMut(Change) -> io::Result<()>,
) -> Result<Tally, Refusal> {
    let open = |path: String| Directory::open(&path).map_err(unreadable);
    let now = open(workload::WORKSPACE.to_owned())?;
    let was = open(drives::seed())?;
    let upper = Upper {
        directory: open(format!("{}/workspace/upper", workload::DISK))?,
        index: open(format!("{}/workspace/work", workload::DISK))?,
    };
    let now_side = Side { merged: &now, layer: Some(&upper) };
    let was_side = Side { merged: &was, layer: None };
    changes(now_side, was_side, options, tell).map_err(unreadable)
}

/// The paths that are different and there, relative to `/workspace`: within some of it, or all.
pub(super) fn paths(within: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Refusal> {
    let options = Options {
        paths: within,
        renames: false,
        patches: false,
        most_patch_bytes: 0,
        most_patches_bytes: 0,
        digests: false,
        most_entries: MOST_PATHS,
    };
    let mut paths = Vec::new();
    let mut keep = |change: Change| {
        let meta = change.now.as_ref();
        // A directory of which only the mode is different would bring all that is in it.
        let is_old = |meta: &Meta| meta.kind == Kind::Directory && change.was.is_some();
        if meta.is_some_and(|meta| !is_old(meta)) {
            paths.push(change.path);
        }
        Ok(())
    };
    if compare(&options, &mut keep)?.truncated {
        return Err(Refusal::File {
            path: workload::WORKSPACE.to_owned(),
            problem: FileProblem::TooLarge(MOST_PATHS),
        });
    }
    Ok(paths)
}

/// Tells what is different.
pub(super) fn list(call: &ListChanges, output: &Output) -> Result<Ending, Refusal> {
    let options = Options {
        paths: call.paths.iter().map(|path| path.to_vec()).collect(),
        renames: call.renames,
        patches: call.patches,
        most_patch_bytes: call.most_patch_bytes,
        most_patches_bytes: call.most_patches_bytes,
        digests: call.digests,
        most_entries: call.most_entries,
    };
    output.go_on()?;
    let mut gone = false;
    let mut tell = |change| {
        tell(change, output).map_err(|_| {
            gone = true;
            io::Error::from(io::ErrorKind::ConnectionReset)
        })
    };
    let tally = compare(&options, &mut tell);
    if gone {
        return Err(Refusal::Interrupted);
    }
    let tally = tally?;
    let told =
        FileTally { entries: tally.entries, truncated: tally.truncated, ..FileTally::default() };
    Ok(Ending::outcome(file_outcome::Result::Changes(told)))
}

fn tell(change: Change, output: &Output) -> Result<(), Refusal> {
    let mut patch = Bytes::from(change.patch.unwrap_or_default());
    let status = match change.status {
        Status::Modified => ChangeStatus::ChangeModified,
        Status::Added => ChangeStatus::ChangeAdded,
        Status::Deleted => ChangeStatus::ChangeDeleted,
        Status::TypeChanged => ChangeStatus::ChangeType,
        Status::Renamed => ChangeStatus::ChangeRenamed,
    };
    let old = change.old_path.unwrap_or_else(|| change.path.clone());
    let digest = |digest: Option<[u8; 32]>| digest.map_or_else(Bytes::new, |it| it.to_vec().into());
    let told = pyro_wire::Change {
        status: status.into(),
        now: change.now.map(|meta| entry(&change.path, meta)),
        was: change.was.map(|meta| entry(&old, meta)),
        now_digest: digest(change.now_digest),
        was_digest: digest(change.was_digest),
        binary: change.binary,
        patch_bytes: patch.len() as u64,
        patch_left_out: change.patch_left_out,
        path: change.path.into(),
    };
    output.tell(file_outcome::Result::Change(told))?;
    while !patch.is_empty() {
        output.data(patch.split_to(patch.len().min(PIECE)))?;
    }
    Ok(())
}

fn entry(path: &[u8], meta: Meta) -> FileEntry {
    let kind = match meta.kind {
        Kind::Regular => FileKind::FileRegular,
        Kind::Directory => FileKind::FileDirectory,
        Kind::Symlink => FileKind::FileSymlink,
        Kind::Other => FileKind::FileOther,
    };
    FileEntry {
        path: path.to_vec().into(),
        kind: kind.into(),
        size_bytes: if meta.kind == Kind::Directory { 0 } else { meta.size },
        mode: meta.mode,
        mtime_seconds: meta.mtime.0,
        mtime_nanos: meta.mtime.1,
        link_target: meta.link_target.unwrap_or_default().into(),
        uid: meta.uid,
        gid: meta.gid,
        links: meta.links,
        replaced: 0,
    }
}

/// A directory of the agent's, in which no symlink is followed and no other file system gone into.
struct Directory(OwnedFd);

impl Directory {
    fn open(path: &str) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty())?))
    }

    fn at(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let path = CString::new(path).map_err(|_| io::ErrorKind::InvalidInput)?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        Ok(openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    }

    /// The same, and none where nothing is there.
    fn found(&self, path: &[u8]) -> io::Result<Option<OwnedFd>> {
        match self.at(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::EXDEV) => Ok(None),
                _ => Err(error),
            },
        }
    }
}

impl Tree for Directory {
    fn meta(&self, path: &[u8]) -> io::Result<Option<Meta>> {
        let Some(found) = self.found(path)? else { return Ok(None) };
        let about = fstat(&found)?;
        let kind = match FileType::from_raw_mode(about.st_mode) {
            FileType::RegularFile => Kind::Regular,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            _ => Kind::Other,
        };
        let link_target = match kind {
            Kind::Symlink => Some(readlinkat(&found, c"", Vec::new())?.into_bytes()),
            _ => None,
        };
        Ok(Some(Meta {
            kind,
            size: about.st_size.max(0) as u64,
            mode: about.st_mode & 0o7777,
            mtime: (about.st_mtime, about.st_mtime_nsec as u32),
            uid: about.st_uid,
            gid: about.st_gid,
            links: about.st_nlink,
            inode: about.st_ino,
            link_target,
        }))
    }

    fn names(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let directory = self.at(path, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(names(&directory)?.into_iter().map(CString::into_bytes).collect())
    }

    fn open(&self, path: &[u8]) -> io::Result<Box<dyn Read + '_>> {
        let found = self.at(path, OFlags::PATH | OFlags::NOFOLLOW)?;
        let file: File = reopen_regular(found.as_fd()).map_err(io::Error::other)?;
        Ok(Box::new(file))
    }
}

/// The upper layer of the overlay that `/workspace` is.
struct Upper {
    directory: Directory,
    /// Where the kernel keeps its index in.
    index: Directory,
}

impl Layer for Upper {
    fn has_shared(&self) -> io::Result<bool> {
        Ok(match self.index.found(b"index")? {
            Some(index) => !names(&index)?.is_empty(),
            None => false,
        })
    }

    fn touched(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Marker)>> {
        let Some(directory) = self.directory.found(path)? else { return Ok(Vec::new()) };
        let mut touched = Vec::new();
        for name in names(&directory)? {
            let Ok(found) = statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let marker = match FileType::from_raw_mode(found.st_mode) {
                FileType::CharacterDevice if found.st_rdev == 0 => Marker::Hidden,
                FileType::Directory if is_apart(&directory, &name) => Marker::Apart,
                FileType::Directory => Marker::Merged,
                _ => Marker::File,
            };
            touched.push((name.into_bytes(), marker));
        }
        Ok(touched)
    }
}

/// Whether a directory hides what has its path below, or came here from elsewhere. Where that cannot be
/// told it counts as such: then all of it is looked at.
fn is_apart(directory: &OwnedFd, name: &CString) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(inner) = openat(directory, name, flags, Mode::empty()) else { return true };
    let mut value = [0_u8; 1];
    ["trusted.overlay.opaque", "trusted.overlay.redirect"].iter().any(|attribute| {
        match fgetxattr(&inner, *attribute, &mut value) {
            Ok(length) => length > 0,
            Err(rustix::io::Errno::NODATA) => false,
            // It is longer than the place for it, so it is there.
            Err(_) => true,
        }
    })
}
