//! The directory in which images are kept, and how something appears in it whole.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use pyro_directory::{Directory, DirectoryError, Lock};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Digest, Error, Job, Result};

/// Held for moments: while an entry of `building/` is made or leftovers are removed.
const GATE: &str = "gate.lock";
/// Records are small; a larger one is not ours.
const RECORD_LIMIT: usize = 16 << 20;

/// The image cache. Clones share it; many processes may use one cache at a time.
#[derive(Clone, Debug)]
pub struct Cache {
    root: Directory,
    building: Directory,
    locks: Directory,
    pub(crate) names: Directory,
    pub(crate) fingerprints: Directory,
}

impl Cache {
    /// Opens the cache, making it where it is missing, and removes what dead builds left.
    pub fn open(path: &Path) -> Result<Self> {
        let open = |path: PathBuf| {
            Directory::create(&path).map_err(|source| Error::Cache { path, source })
        };
        let cache = Self {
            root: open(path.to_owned())?,
            building: open(path.join("building"))?,
            locks: open(path.join("locks"))?,
            names: open(path.join("names"))?,
            fingerprints: open(path.join("fingerprints"))?,
        };
        for kind in
            ["environments", "kernels", "boot", "disks", crate::seed::KIND, crate::template::KIND]
        {
            open(path.join(kind))?;
        }
        cache.remove_leftovers()?;
        Ok(cache)
    }

    /// Where the cache is.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Where something of this kind and digest is or would be.
    pub(crate) fn place(&self, kind: &str, digest: &Digest) -> PathBuf {
        self.path().join(kind).join(digest.as_str())
    }

    /// Waits until nobody else builds this, and keeps others from it.
    pub(crate) fn lock(&self, what: &str, job: &Job) -> Result<Lock> {
        let name = format!("{what}.lock");
        let unusable = |source| self.unusable(source);
        if let Some(lock) = self.locks.try_lock(&name).map_err(unusable)? {
            return Ok(lock);
        }
        job.step(format!("waiting for another build of {what}"), None);
        let lock = self.locks.lock(&name).map_err(unusable)?;
        job.check()?;
        Ok(lock)
    }

    /// Takes a lock, unless somebody holds it.
    pub(crate) fn try_lock(&self, name: &str) -> Result<Option<Lock>> {
        self.locks.try_lock(name).map_err(|source| self.unusable(source))
    }

    /// A directory of our own for something to be made in.
    pub(crate) fn start_building(&self) -> Result<Building> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let _gate = self.building.lock(GATE).map_err(|source| self.unusable(source))?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        let path = self.building.path().join(&name);
        // A dead process may have had our process id.
        remove_tree(&path)?;
        make_directory(&path)?;
        let lock =
            self.building.lock(&format!("{name}.lock")).map_err(|source| self.unusable(source))?;
        Ok(Building { path, name, parent: self.building.clone(), lock: Some(lock) })
    }

    /// Puts what was made in `building/content` in its place, unless the same is there already.
    pub(crate) fn publish(&self, building: &Building, kind: &str, digest: &Digest) -> Result<()> {
        let place = self.place(kind, digest);
        let made = building.content();
        match fs::rename(&made, &place) {
            Ok(()) => {
                let parent = self.path().join(kind);
                let sync = || fs::File::open(&parent)?.sync_all();
                sync().map_err(|source| Error::Write { path: parent.clone(), source })
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
                ) =>
            {
                remove_tree(&made)
            }
            Err(source) => Err(Error::Write { path: place, source }),
        }
    }

    /// Reads a record; `None` where there is none.
    pub(crate) fn read_record<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
        match read_bounded(path, RECORD_LIMIT) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| Error::Record { path: path.to_owned(), source }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Read { path: path.to_owned(), source }),
        }
    }

    /// Writes a record of the cache's root whole.
    pub(crate) fn write_root_record(&self, name: &str, record: &impl Serialize) -> Result<()> {
        self.root.write_whole(name, &as_json(record)).map_err(|source| self.unusable(source))
    }

    pub(crate) fn unusable(&self, source: DirectoryError) -> Error {
        Error::Cache { path: self.path().to_owned(), source }
    }

    fn remove_leftovers(&self) -> Result<()> {
        let directory = self.building.path().to_owned();
        let _gate = self.building.lock(GATE).map_err(|source| self.unusable(source))?;
        let unreadable = |source| Error::Read { path: directory.clone(), source };
        for entry in fs::read_dir(&directory).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            let Some(name) = name.to_str() else { continue };
            let maker = name.strip_suffix(".lock").unwrap_or(name);
            if name == GATE {
                continue;
            }
            let lock = format!("{maker}.lock");
            let free = self.building.try_lock(&lock).map_err(|source| self.unusable(source))?;
            // What cannot be removed now is only room on the disk, and no reason to do nothing at
            // all; its lock stays, so that the next opening tries again.
            if free.is_some() && remove_tree(&directory.join(maker)).is_ok() {
                self.building.remove(&lock).map_err(|source| self.unusable(source))?;
            }
        }
        Ok(())
    }
}

/// A directory in which something is being made; removed when dropped.
pub(crate) struct Building {
    path: PathBuf,
    name: String,
    parent: Directory,
    lock: Option<Lock>,
}

impl Building {
    /// What will be published.
    pub(crate) fn content(&self) -> PathBuf {
        self.path.join("content")
    }

    /// Makes and returns the directory that will be published.
    pub(crate) fn make_content(&self) -> Result<PathBuf> {
        let path = self.content();
        make_directory(&path)?;
        Ok(path)
    }

    /// Makes and returns a directory for what programs leave behind.
    pub(crate) fn make_scratch(&self) -> Result<PathBuf> {
        let path = self.path.join("scratch");
        make_directory(&path)?;
        Ok(path)
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the cache is next opened.
        if remove_tree(&self.path).is_ok() {
            let _ = self.parent.remove(&format!("{}.lock", self.name));
        }
        drop(self.lock.take());
    }
}

/// JSON as it stands in the cache.
pub(crate) fn as_json(record: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(record).expect("records hold only what JSON can hold");
    text.push(b'\n');
    text
}

/// Writes a file that is on disk when this returns.
pub(crate) fn write_synced(path: &Path, content: &[u8]) -> Result<()> {
    let write = || {
        let mut file = fs::File::create_new(path)?;
        io::Write::write_all(&mut file, content)?;
        file.sync_all()
    };
    write().map_err(|source| Error::Write { path: path.to_owned(), source })
}

pub(crate) fn make_directory(path: &Path) -> Result<()> {
    fs::create_dir(path).map_err(|source| Error::Write { path: path.to_owned(), source })
}

/// Removes a directory and all in it; that there is none is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(Error::Remove { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

pub(crate) fn read_bounded(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = fs::File::open(path)?;
    io::Read::read_to_end(&mut io::Read::take(file, limit as u64 + 1), &mut content)?;
    if content.len() > limit {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("longer than {limit} bytes")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_removes_what_dead_builds_left_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path()).unwrap();
        let live = cache.start_building().unwrap();
        live.make_content().unwrap();
        let dead = home.path().join("building/1-1");
        fs::create_dir_all(dead.join("content")).unwrap();
        fs::write(home.path().join("building/1-1.lock"), "").unwrap();
        Cache::open(home.path()).unwrap();
        assert!(live.content().exists());
        assert!(!dead.exists() && !home.path().join("building/1-1.lock").exists());
    }

    #[test]
    fn what_is_published_is_never_changed() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path()).unwrap();
        let digest = Digest::of(b"");
        for content in ["first", "second"] {
            let building = cache.start_building().unwrap();
            write_synced(&building.make_content().unwrap().join("file"), content.as_bytes())
                .unwrap();
            cache.publish(&building, "environments", &digest).unwrap();
        }
        let file = cache.place("environments", &digest).join("file");
        assert_eq!(fs::read_to_string(file).unwrap(), "first");
        let left: Vec<_> = fs::read_dir(home.path().join("building")).unwrap().collect();
        assert_eq!(left.len(), 1, "only the gate: {left:?}");
    }
}
