//! Names: moved, removed, made.

use std::{ffi::CString, io, os::fd::OwnedFd};

use pyro_wire::{Done, MakeDirectory, MoveFile, RemoveFile, reply::Result as Answer};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, openat, renameat_with, statat, unlinkat},
    io::Errno,
};

use super::{
    conversation::Ending,
    list::{entry_at, names},
    root::{Root, refused},
};
use crate::refusal::{FileProblem, Refusal, shown};

/// Renames a file or a directory.
pub(super) fn rename(root: &Root, call: &MoveFile) -> Result<Ending, Refusal> {
    let from = root.spot(&call.from).map_err(refused(&call.from))?;
    if from.found().map_err(refused(&call.from))?.is_none() {
        return Err(Refusal::File { path: shown(&call.from), problem: FileProblem::NotFound });
    }
    let refused = refused(&call.to);
    root.make_parents(&call.to)?;
    let to = root.spot(&call.to).map_err(&refused)?;
    let flags = if call.replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    renameat_with(&from.directory, &from.name, &to.directory, &to.name, flags)
        .map_err(|error| refused(error.into()))?;
    let moved = entry_at(root, &call.to, false).map_err(&refused)?;
    Ok(Ending::answer(Answer::FileEntry(moved)))
}

/// Removes a file, or a directory.
pub(super) fn remove(root: &Root, call: &RemoveFile) -> Result<Ending, Refusal> {
    let refused = refused(&call.path);
    let spot = root.spot(&call.path).map_err(&refused)?;
    let Some(found) = spot.found().map_err(&refused)? else {
        return Err(Refusal::File { path: shown(&call.path), problem: FileProblem::NotFound });
    };
    let done = match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory if call.recursive => remove_tree(spot.directory, spot.name),
        FileType::Directory => {
            unlinkat(&spot.directory, &spot.name, AtFlags::REMOVEDIR).map_err(Into::into)
        }
        _ => unlinkat(&spot.directory, &spot.name, AtFlags::empty()).map_err(Into::into),
    };
    done.map_err(&refused)?;
    Ok(Ending::answer(Answer::Done(Done {})))
}

/// Makes a directory, with those it lies in.
pub(super) fn make_directory(root: &Root, call: &MakeDirectory) -> Result<Ending, Refusal> {
    let refused = refused(&call.path);
    let mode = Mode::from_raw_mode(call.mode.unwrap_or(0o755) & 0o7777);
    root.make_directories(&call.path, mode).map_err(|error| match error.kind() {
        io::ErrorKind::NotADirectory => {
            Refusal::File { path: shown(&call.path), problem: FileProblem::NotDirectory }
        }
        _ => refused(error),
    })?;
    let made = entry_at(root, &call.path, true).map_err(&refused)?;
    Ok(Ending::answer(Answer::FileEntry(made)))
}

/// A directory that is being emptied.
struct Emptied {
    above: OwnedFd,
    name: CString,
    directory: OwnedFd,
    names: Vec<CString>,
}

impl Emptied {
    fn open(above: OwnedFd, name: CString) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(&above, &name, flags, Mode::empty())?;
        let names = names(&directory)?;
        Ok(Self { above, name, directory, names })
    }
}

/// Removes a directory with all that is in it. Links in it are removed, never followed; what others
/// make in it meanwhile may keep it.
fn remove_tree(above: OwnedFd, name: CString) -> io::Result<()> {
    let mut levels = vec![Emptied::open(above, name)?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop() else {
            unlinkat(&level.above, &level.name, AtFlags::REMOVEDIR)?;
            levels.pop();
            continue;
        };
        let found = match statat(&level.directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            let above = level.directory.try_clone()?;
            levels.push(Emptied::open(above, name)?);
            continue;
        }
        match unlinkat(&level.directory, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
