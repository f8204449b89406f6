//! What was taken home before: per workspace and directory of this host, each path as it was then.
//!
//! With it, a pull knows what the workspace changed since, and what was changed here. Without it (it holds
//! conveniences only) a pull compares with what the workspace began with.

use std::{
    collections::BTreeMap,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use pyro_api::DiffEntry;
use pyro_core::WorkspaceId;
use pyro_directory::Directory;
use sha2::{Digest, Sha256};

use crate::{ClientError, pull::bytes_of, seed::hexadecimal};

const DIRECTORY: &str = "pulls";
const LONGEST: usize = 64 << 20;

/// What was taken of one workspace to one directory.
#[derive(Debug)]
pub(crate) struct PullMemory {
    directory: Directory,
    file: String,
    taken: BTreeMap<Vec<u8>, DiffEntry>,
}

impl PullMemory {
    /// Reads it; what cannot be understood counts as nothing.
    pub(crate) fn open(
        state: &Path,
        workspace: WorkspaceId,
        to: &Path,
    ) -> Result<Self, ClientError> {
        let failed = |source| ClientError::State { source };
        let to = to.canonicalize().or_else(|_| std::path::absolute(to));
        let to = to.unwrap_or_else(|_| PathBuf::new());
        let place = hexadecimal(&Sha256::digest(to.as_os_str().as_bytes())[..8]);
        let file = format!("{workspace}-{place}.json");
        let directory = Directory::create(state.join(DIRECTORY)).map_err(failed)?;
        let content = directory.read(&file, LONGEST).map_err(failed)?.unwrap_or_default();
        let taken: Vec<DiffEntry> = serde_json::from_slice(&content).unwrap_or_default();
        let taken = taken.into_iter().map(|entry| (bytes_of(&entry), entry)).collect();
        Ok(Self { directory, file, taken })
    }

    pub(crate) fn of(&self, path: &[u8]) -> Option<&DiffEntry> {
        self.taken.get(path)
    }

    /// All that is remembered.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Vec<u8>, &DiffEntry)> {
        self.taken.iter()
    }

    /// Keeps what is at home now as the workspace has it; and nothing of what is as it was at first.
    pub(crate) fn keep<'a>(
        &mut self,
        entries: impl Iterator<Item = (&'a DiffEntry, bool)>,
    ) -> Result<(), ClientError> {
        for (entry, is_as_at_first) in entries {
            if is_as_at_first {
                self.taken.remove(&bytes_of(entry));
            } else {
                let short = DiffEntry { text_patch: None, marks: Vec::new(), ..entry.clone() };
                self.taken.insert(bytes_of(entry), short);
            }
        }
        let all: Vec<&DiffEntry> = self.taken.values().collect();
        let document = serde_json::to_vec(&all).expect("entries are plain data");
        self.directory
            .write_whole(&self.file, &document)
            .map_err(|source| ClientError::State { source })
    }

    /// Forgets what was taken of workspaces that are no more.
    pub(crate) fn forget_all_but(&self, workspaces: &[WorkspaceId]) {
        let known: Vec<String> = workspaces.iter().map(ToString::to_string).collect();
        let names = std::fs::read_dir(self.directory.path()).into_iter().flatten().flatten();
        for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
            let of = name.split_once('-').map_or("", |(id, _)| id);
            // What another client is writing begins with a dot.
            if !name.starts_with('.') && !known.iter().any(|id| id == of) {
                let _ = self.directory.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_of_a_deleted_workspace_is_forgotten_and_what_others_write_stays() {
        let state = tempfile::tempdir().unwrap();
        let [one, other] = ["0123456789ab", "ba9876543210"].map(|id| id.parse().unwrap());
        let mut memory = PullMemory::open(state.path(), one, state.path()).unwrap();
        memory.keep(std::iter::empty()).unwrap();
        let mut gone = PullMemory::open(state.path(), other, state.path()).unwrap();
        gone.keep(std::iter::empty()).unwrap();
        let place = state.path().join(DIRECTORY);
        // Another client's, which has not its name yet.
        let half = place.join(format!(".{}.1-0", gone.file));
        std::fs::write(&half, "").unwrap();
        memory.forget_all_but(&[one]);
        assert!(place.join(&memory.file).exists() && half.exists());
        assert!(!place.join(&gone.file).exists());
    }
}
