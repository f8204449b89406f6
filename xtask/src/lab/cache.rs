//! Directories that are made once for given inputs: whole or not at all, and by one process.
//!
//! Refuses to know what stands in them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// A directory of entries named by what they are and the hash of their inputs.
pub struct Cache {
    path: PathBuf,
}

impl Cache {
    /// Opens the cache in this directory, made when missing.
    pub fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { path: path.canonicalize()? })
    }

    /// Where the cache stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The entry for these inputs. When it is missing (or `rebuild` is asked for), `make` fills an
    /// empty directory, which becomes the entry once `make` has succeeded.
    pub fn entry(
        &self,
        name: &str,
        inputs: &[&[u8]],
        rebuild: bool,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let entry = self.path.join(format!("{name}-{}", digest(inputs)));
        if entry.is_dir() && !rebuild {
            return Ok(entry);
        }
        let _lock = lock(&entry)?;
        if entry.is_dir() && !rebuild {
            return Ok(entry);
        }
        let unfinished = beside(&entry, "unfinished");
        remove(&unfinished)?;
        fs::create_dir(&unfinished).with_context(|| format!("create {}", unfinished.display()))?;
        make(&unfinished)?;
        remove(&entry)?;
        fs::rename(&unfinished, &entry).with_context(|| format!("publish {}", entry.display()))?;
        Ok(entry)
    }
}

/// Locks an entry against other processes for as long as the file is open.
fn lock(entry: &Path) -> Result<File> {
    let path = beside(entry, "lock");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("lab: waiting for another process that makes {}", entry.display());
        file.lock().with_context(|| format!("lock {}", path.display()))?;
    }
    Ok(file)
}

fn beside(entry: &Path, suffix: &str) -> PathBuf {
    let mut name = entry.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Removes a directory and all in it; none there is fine.
pub fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// The first 16 hexadecimal digits of the SHA-256 of the inputs, each with its length.
fn digest(inputs: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for input in inputs {
        hash.update((input.len() as u64).to_le_bytes());
        hash.update(input);
    }
    hexadecimal(&hash.finalize())[..16].to_owned()
}

/// Bytes in lower-case hexadecimal.
pub fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_build_leaves_no_entry_and_the_next_one_starts_empty() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let failed = cache.entry("x", &[b"input"], false, |path| {
            fs::write(path.join("half"), "")?;
            anyhow::bail!("interrupted")
        });
        assert!(failed.is_err());
        let entry = cache
            .entry("x", &[b"input"], false, |path| {
                assert!(!path.join("half").exists());
                Ok(fs::write(path.join("whole"), "")?)
            })
            .unwrap();
        assert!(entry.join("whole").exists());
        let again = cache.entry("x", &[b"input"], false, |_| panic!("it is there")).unwrap();
        assert_eq!(entry, again);
        let other = cache.entry("x", &[b"other"], false, |_| Ok(())).unwrap();
        assert_ne!(entry, other);
    }
}
