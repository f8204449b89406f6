//! Copies of large files with holes: by reflink where the file system can, else of what is allocated
//! only. Whole or not at all.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek},
    io::Errno,
};

use crate::{DirectoryError, directory::temporary_name};

/// How the names of copies begin that are not whole yet.
pub const PARTIAL: &str = ".partial-";

/// Copied between two looks at whether it is still wanted, bytes.
const PIECE: usize = 16 << 20;

/// Copied at once where it must go through memory, bytes.
const THROUGH_MEMORY: usize = 1 << 20;

/// A copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copied {
    /// It shares its blocks with the file.
    pub by_reflink: bool,
    /// Bytes it occupies; those that are shared count.
    pub allocated: u64,
}

/// A copy that has all of its file, and not yet its name; dropped before that, it is gone.
#[derive(Debug)]
pub struct SparseCopy {
    file: File,
    partial: PathBuf,
    from: PathBuf,
    to: PathBuf,
    by_reflink: bool,
    is_kept: bool,
}

impl SparseCopy {
    /// Copies a file beside a path where nothing is, with mode 0600. Blocks.
    ///
    /// `goes_on` hears how many bytes were copied so far, and says whether the copy is still wanted.
    pub fn make(
        from: &Path,
        to: &Path,
        goes_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Self, DirectoryError> {
        Self::make_so(from, to, goes_on, true)
    }

    fn make_so(
        from: &Path,
        to: &Path,
        goes_on: &mut dyn FnMut(u64) -> bool,
        may_reflink: bool,
    ) -> Result<Self, DirectoryError> {
        let failed =
            |source| DirectoryError::Copy { from: from.to_owned(), to: to.to_owned(), source };
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let partial = to.with_file_name(format!("{PARTIAL}{}", &temporary_name(&name)[1..]));
        let source = File::open(from).map_err(failed)?;
        let file =
            File::options().read(true).write(true).create_new(true).mode(0o600).open(&partial);
        let mut copy = Self {
            file: file.map_err(failed)?,
            partial,
            from: from.to_owned(),
            to: to.to_owned(),
            by_reflink: false,
            is_kept: false,
        };
        copy.by_reflink = may_reflink && ioctl_ficlone(&copy.file, &source).is_ok();
        if !copy.by_reflink && !copy_data(&source, &copy.file, goes_on).map_err(failed)? {
            return Err(DirectoryError::GivenUp { path: to.to_owned() });
        }
        Ok(copy)
    }

    /// The copy for whoever reads it now: it has no name, and is gone with its file.
    pub fn into_unnamed(self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Gives it its name; on disk when this returns. Blocks.
    pub fn keep(mut self) -> Result<Copied, DirectoryError> {
        let keep = || {
            self.file.sync_all()?;
            let allocated = self.file.metadata()?.blocks() * 512;
            fs::rename(&self.partial, &self.to)?;
            File::open(self.to.parent().unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(Copied { by_reflink: self.by_reflink, allocated })
        };
        let kept = keep().map_err(|source| DirectoryError::Copy {
            from: self.from.clone(),
            to: self.to.clone(),
            source,
        })?;
        self.is_kept = true;
        Ok(kept)
    }
}

impl Drop for SparseCopy {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Copies a file to a path where nothing is, whole or not at all; on disk when this returns. Blocks.
pub fn copy_sparse(
    from: &Path,
    to: &Path,
    goes_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Copied, DirectoryError> {
    SparseCopy::make(from, to, goes_on)?.keep()
}

/// Copies what is not a hole, from an open file into an empty one; says whether it was let to its end.
/// Blocks.
pub fn copy_data(from: &File, to: &File, goes_on: &mut dyn FnMut(u64) -> bool) -> io::Result<bool> {
    to.set_len(from.metadata()?.len())?;
    let (mut position, mut copied) = (0, 0);
    loop {
        let start = match seek(from, SeekFrom::Data(position)) {
            Err(Errno::NXIO) => return Ok(true),
            start => start?,
        };
        let end = seek(from, SeekFrom::Hole(start))?;
        let (mut source, mut target) = (start, start);
        while source < end {
            if !goes_on(copied) {
                return Ok(false);
            }
            let length = usize::try_from(end - source).unwrap_or(PIECE).min(PIECE);
            let piece = copy_piece(from, &mut source, to, &mut target, length)?;
            if piece == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            copied += piece as u64;
        }
        position = end;
    }
}

/// Copies up to so many bytes and moves both positions on: in the kernel where it can, else through
/// memory, as it must between most file systems that are not the same.
fn copy_piece(
    from: &File,
    source: &mut u64,
    to: &File,
    target: &mut u64,
    length: usize,
) -> io::Result<usize> {
    match copy_file_range(from, Some(&mut *source), to, Some(&mut *target), length) {
        Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => (),
        copied => return Ok(copied?),
    }
    let mut piece = vec![0; length.min(THROUGH_MEMORY)];
    let read = from.read_at(&mut piece, *source)?;
    to.write_all_at(&piece[..read], *target)?;
    *source += read as u64;
    *target += read as u64;
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: u64 = 64 << 20;

    /// A long file with little in it.
    fn sparse(directory: &Path) -> PathBuf {
        let path = directory.join("disk");
        let file = File::create_new(&path).unwrap();
        file.set_len(LENGTH).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(&vec![7; 100_000], 20 << 20).unwrap();
        file.write_all_at(b"end", LENGTH - 3).unwrap();
        path
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "disk").collect()
    }

    #[test]
    fn a_copy_is_the_same_and_its_holes_are_holes() {
        let home = tempfile::tempdir().unwrap();
        let disk = sparse(home.path());
        for (name, may_reflink) in [("any", true), ("plain", false)] {
            let path = home.path().join(name);
            let copy = SparseCopy::make_so(&disk, &path, &mut |_| true, may_reflink).unwrap();
            assert!(!path.exists(), "it has no name yet");
            let copied = copy.keep().unwrap();
            assert!(copied.allocated < 1 << 20, "{copied:?}");
            assert!(may_reflink || !copied.by_reflink);
            assert!(fs::read(&path).unwrap() == fs::read(&disk).unwrap());
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        }
    }

    /// The kernel copies between file systems of different types only through memory.
    #[test]
    fn a_copy_to_another_file_system_is_the_same() {
        let (here, there) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let disk = sparse(here.path());
        let copy = there.path().join("copy");
        let copied = copy_sparse(&disk, &copy, &mut |_| true).unwrap();
        assert!(copied.allocated < 1 << 20, "{copied:?}");
        assert!(fs::read(&copy).unwrap() == fs::read(&disk).unwrap());
    }

    #[test]
    fn nothing_is_left_of_a_copy_that_was_given_up_or_failed() {
        let home = tempfile::tempdir().unwrap();
        let disk = sparse(home.path());
        let given_up =
            SparseCopy::make_so(&disk, &home.path().join("copy"), &mut |copied| copied == 0, false);
        assert!(matches!(given_up, Err(DirectoryError::GivenUp { .. })), "{given_up:?}");
        let missing =
            copy_sparse(&home.path().join("none"), &home.path().join("copy"), &mut |_| true);
        assert!(matches!(missing, Err(DirectoryError::Copy { .. })), "{missing:?}");
        drop(SparseCopy::make(&disk, &home.path().join("copy"), &mut |_| true).unwrap());
        assert_eq!(names(home.path()), [] as [&str; 0]);
    }
}
