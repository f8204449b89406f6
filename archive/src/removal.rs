//! Removes trees without following a link, with two directories open at most, however deep they are.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, RawDir, SeekFrom, renameat, seek, unlinkat};
use rustix::io::Errno;

use crate::beneath::open_child;

const LISTING: usize = 16 * 1024;

/// Removes `name` in `parent`, whatever it is, with everything below it. Returns how many entries.
///
/// A directory within a directory is first moved up, next to the others: so no depth is a problem.
/// `fresh` gives names that nothing has.
pub(crate) fn remove(
    parent: BorrowedFd<'_>,
    name: &[u8],
    fresh: &mut dyn FnMut() -> Result<Vec<u8>, Errno>,
) -> Result<u64, Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => return Ok(1),
        Err(Errno::NOENT) => return Ok(0),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let mut removed = 0;
    if remove_empty(parent, name)? {
        return Ok(1);
    }
    let top = open_child(parent, name)?;
    loop {
        let inner = sweep(top.as_fd(), &mut removed)?;
        if inner.is_empty() {
            break;
        }
        for name in inner {
            let directory = open_child(top.as_fd(), &name)?;
            for deeper in sweep(directory.as_fd(), &mut removed)? {
                renameat(&directory, &deeper, &top, fresh()?)?;
            }
            drop(directory);
            if !remove_empty(top.as_fd(), &name)? {
                return Err(Errno::NOTEMPTY);
            }
            removed += 1;
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)?;
    Ok(removed + 1)
}

/// Whether the directory was empty, and is removed.
fn remove_empty(parent: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes everything in a directory but directories with content, whose names it returns.
fn sweep(directory: BorrowedFd<'_>, removed: &mut u64) -> Result<Vec<Vec<u8>>, Errno> {
    let mut kept = Vec::new();
    for name in list(directory)? {
        match unlinkat(directory, &name, AtFlags::empty()) {
            Ok(()) => *removed += 1,
            Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => {
                if remove_empty(directory, &name)? {
                    *removed += 1;
                } else {
                    kept.push(name);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(kept)
}

/// The names in a directory, from its beginning.
pub(crate) fn list(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    seek(directory, SeekFrom::Start(0))?;
    let mut buffer = vec![MaybeUninit::uninit(); LISTING];
    let mut listing = RawDir::new(directory, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = listing.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}
