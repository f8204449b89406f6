//! What is known of a file, as the host is told it.

use std::{io, os::fd::BorrowedFd};

use bytes::Bytes;
use pyro_wire::{FileEntry, FileKind};
use rustix::fs::{FileType, Stat, fstat, readlinkat};

/// What a descriptor stands for.
pub(super) fn kind_of(file: BorrowedFd<'_>) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(file)?.st_mode))
}

/// An entry without the target of a symlink.
pub(super) fn of_stat(path: &[u8], found: &Stat) -> FileEntry {
    let kind = match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => FileKind::FileRegular,
        FileType::Directory => FileKind::FileDirectory,
        FileType::Symlink => FileKind::FileSymlink,
        _ => FileKind::FileOther,
    };
    FileEntry {
        path: path.to_vec().into(),
        kind: kind.into(),
        size_bytes: if kind == FileKind::FileDirectory { 0 } else { found.st_size.max(0) as u64 },
        mode: found.st_mode & 0o7777,
        mtime_seconds: found.st_mtime,
        mtime_nanos: found.st_mtime_nsec as u32,
        link_target: Bytes::default(),
        uid: found.st_uid,
        gid: found.st_gid,
        links: found.st_nlink,
        replaced: 0,
    }
}

/// An entry of a name in a directory.
pub(super) fn of_name(
    path: &[u8],
    directory: BorrowedFd<'_>,
    name: &std::ffi::CStr,
    found: &Stat,
) -> FileEntry {
    let mut entry = of_stat(path, found);
    if entry.kind() == FileKind::FileSymlink {
        let target = readlinkat(directory, name, Vec::new()).unwrap_or_default();
        entry.link_target = target.into_bytes().into();
    }
    entry
}
