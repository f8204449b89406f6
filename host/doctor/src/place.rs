//! Whether a directory can be used, without making it.

use std::{fs::File, io, path::Path};

use rustix::{
    fs::{CWD, Mode, OFlags, openat, statvfs},
    io::Errno,
};

use crate::PlaceReport;

/// Looks at a directory, or at the nearest one above it that exists.
pub(crate) fn look(path: Option<&Path>) -> PlaceReport {
    let report = |writable, free_bytes, problem| PlaceReport {
        path: path.map(Path::to_owned),
        writable,
        free_bytes,
        problem,
    };
    let Some(path) = path else {
        let problem = "HOME is not set, and this user has no home directory".into();
        return report(false, None, Some(problem));
    };
    let Some(nearest) = path.ancestors().find(|path| path.symlink_metadata().is_ok()) else {
        return report(false, None, Some("no part of it exists".into()));
    };
    let free_bytes = statvfs(nearest).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    if !nearest.is_dir() {
        let problem = format!("{} is not a directory", nearest.display());
        return report(false, free_bytes, Some(problem));
    }
    match try_write(nearest) {
        Ok(()) => report(true, free_bytes, None),
        Err(error) => {
            let problem = format!("cannot write to {}: {error}", nearest.display());
            report(false, free_bytes, Some(problem))
        }
    }
}

/// Makes a file and removes it: what permissions promise, a file system may still refuse.
fn try_write(directory: &Path) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    match openat(CWD, directory, flags, Mode::RUSR | Mode::WUSR) {
        Ok(_) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => {
            let probe = directory.join(format!(".pyro-doctor-{}", std::process::id()));
            File::create_new(&probe)?;
            std::fs::remove_file(&probe)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_can_be_made_can_be_used() {
        let root = tempfile::tempdir().unwrap();
        let wanted = root.path().join("not/yet");
        let place = look(Some(&wanted));
        assert!(place.writable && place.free_bytes.is_some(), "{place:?}");
        assert!(!wanted.exists(), "looking makes nothing");
        std::fs::write(root.path().join("not"), "a file").unwrap();
        assert!(look(Some(&wanted)).problem.unwrap().ends_with("not is not a directory"));
        assert!(!look(Some(Path::new("/proc/none"))).writable);
        assert!(!look(Some(Path::new("relative/none"))).writable);
    }
}
