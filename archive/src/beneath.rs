//! Directories below a root, opened component by component, so that no link is ever followed.
//!
//! Whoever can write below the root may swap a directory for a link at any moment: every step is
//! made from an open directory, and a link there is an error of the system, not a way out.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

use crate::name::components;

const DIRECTORY: OFlags =
    OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::RDONLY);

/// Opens the directory `name` (canonical, as [`crate::SafeName`] makes it) below `root`; with
/// `make`, directories that are missing are made with mode 0755 less the umask. `NOTDIR` or `LOOP`
/// where a component is a link or a file.
pub(crate) fn open_directory(
    root: BorrowedFd<'_>,
    name: &[u8],
    make: bool,
) -> Result<OwnedFd, Errno> {
    let mut directory = openat(root, ".", DIRECTORY, Mode::empty())?;
    for component in components(name) {
        directory = match openat(&directory, component, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) if make => {
                match mkdirat(&directory, component, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error),
                }
                openat(&directory, component, DIRECTORY, Mode::empty())?
            }
            opened => opened?,
        };
    }
    Ok(directory)
}

/// Opens the directory `name` within `parent`; never through a link.
pub(crate) fn open_child(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    openat(parent, name, DIRECTORY, Mode::empty())
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
        let open = |name: &[u8], make| open_directory(fd.as_fd(), name, make);

        open(b"a/b/c", true).unwrap();
        assert!(root.join("a/b/c").is_dir());
        assert_eq!(open(b"missing", false).unwrap_err(), Errno::NOENT);
        assert!(open(b"link", true).is_err());
        assert!(open(b"link/new", true).is_err());
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }
}
