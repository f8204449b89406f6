//! A directory of this host in which something grows until it is whole.
//!
//! It is locked for as long as its owner lives, so that what a dead one left is known, and goes with the next
//! one that is made beside it.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

const DRAFT: &str = ".pyro-draft-of-";
/// Until it is locked it goes by this name, which nobody looks for.
const MAKING: &str = ".pyro-making-";

/// A directory that goes with this.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    _lock: File,
}

impl Draft {
    /// Makes one in a directory.
    pub(crate) fn new(parent: &Path) -> io::Result<Self> {
        remove_abandoned(parent);
        let made = tempfile::Builder::new().prefix(MAKING).tempdir_in(parent)?;
        let lock = File::open(made.path())?;
        lock.lock()?;
        let name = made.path().file_name().unwrap_or_default().to_string_lossy();
        let chance = name.strip_prefix(MAKING).unwrap_or_default();
        let path = parent.join(format!("{DRAFT}{chance}"));
        fs::rename(made.path(), &path)?;
        // It has another name by now.
        let _ = made.keep();
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// What of ours nobody holds any more.
fn remove_abandoned(parent: &Path) {
    let own = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(DRAFT.as_bytes()) {
            continue;
        }
        let path = entry.path();
        let is_ours = |it: fs::Metadata| it.is_dir() && it.uid() == own;
        let Ok(true) = path.symlink_metadata().map(is_ours) else { continue };
        let Ok(held) = File::open(&path) else { continue };
        match held.try_lock() {
            Ok(()) => {
                if let Err(error) = fs::remove_dir_all(&path) {
                    tracing::warn!(path = %path.display(), %error, "could not remove half an export");
                }
            }
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_one_left_goes_with_the_next_and_what_lives_stays() {
        let parent = tempfile::tempdir().unwrap();
        let count = || fs::read_dir(parent.path()).unwrap().count();
        let living = Draft::new(parent.path()).unwrap();
        fs::write(living.path().join("file"), "").unwrap();
        // As a killed process leaves it: with its name, and without its lock.
        let dead = parent.path().join(format!("{DRAFT}dead"));
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("file"), "").unwrap();
        fs::write(parent.path().join(format!("{DRAFT}file")), "").unwrap();
        let other = Draft::new(parent.path()).unwrap();
        assert!(!dead.exists() && living.path().join("file").exists());
        assert_eq!(count(), 3);
        drop((living, other));
        assert_eq!(count(), 1);
    }
}
