//! Directories below a root, opened component by component, so that no link is ever followed.
//!
//! Whoever can write below the root may swap a directory for a link at any moment: every step is
//! made from an open directory, and a link there is an error of the system, not a way out.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

use crate::{Error, SafeName};

const DIRECTORY: OFlags =
    OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::RDONLY);

/// Opens the directory `name` below `root`; with `make`, directories that are missing are made with
/// mode 0755 less the umask. Fails with [`Error::Directory`] where a component is a link or a file.
pub fn open_directory(root: BorrowedFd<'_>, name: &SafeName, make: bool) -> Result<OwnedFd, Error> {
    let failed = |source: Errno| Error::Directory {
        member: name.as_bytes().escape_ascii().to_string(),
        source,
    };
    let mut directory = openat(root, ".", DIRECTORY, Mode::empty()).map_err(failed)?;
    for component in name.components() {
        if make {
            match mkdirat(&directory, component, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        directory = openat(&directory, component, DIRECTORY, Mode::empty()).map_err(failed)?;
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn directories_are_made_below_the_root_and_links_are_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let (root, outside) = (place.path().join("root"), place.path().join("outside"));
        std::fs::create_dir_all(&root).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        symlink(&outside, root.join("link")).unwrap();
        let fd = std::fs::File::open(&root).unwrap();
        let open =
            |name: &[u8], make| open_directory(fd.as_fd(), &SafeName::parse(name).unwrap(), make);

        open(b"a/b/c", true).unwrap();
        assert!(root.join("a/b/c").is_dir());
        assert_eq!(open(b"missing", false).unwrap_err().code(), "archive_directory_failed");
        assert!(open(b"link", true).is_err());
        assert!(open(b"link/new", true).is_err());
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }
}
