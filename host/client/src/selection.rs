//! Which workspace `@` means in a directory: the record that `pyro use` keeps.
//!
//! One document in the state directory, keyed by directory, so that nothing is written into the
//! user's own tree.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use pyro_directory::{Directory, DirectoryError};

use crate::ClientError;

const FILE: &str = "selections.json";
const LOCK: &str = "selections.lock";
const LONGEST: usize = 16 * 1024 * 1024;

/// The record of chosen workspaces of one state directory.
#[derive(Debug)]
pub struct Selections {
    directory: Directory,
}

impl Selections {
    /// Opens the record in this state directory, which is made where it is missing.
    pub fn open(state: &Path) -> Result<Self, ClientError> {
        let directory = Directory::create(state).map_err(|source| ClientError::State { source })?;
        Ok(Self { directory })
    }

    /// The directory, this one or the nearest above it, for which a workspace was chosen, and the
    /// workspace.
    pub fn find(&self, from: &Path) -> Result<Option<(PathBuf, String)>, ClientError> {
        let chosen = self.read().map_err(selections)?;
        Ok(from.ancestors().find_map(|directory| {
            let workspace = chosen.get(&key(directory))?;
            Some((directory.to_owned(), workspace.clone()))
        }))
    }

    /// Chooses a workspace for a directory; `None` takes the choice back. Gives the former one.
    pub fn choose(
        &self,
        directory: &Path,
        workspace: Option<&str>,
    ) -> Result<Option<String>, ClientError> {
        let change = || {
            let _lock = self.directory.lock(LOCK)?;
            let mut chosen = self.read()?;
            let former = match workspace {
                Some(workspace) => chosen.insert(key(directory), workspace.to_owned()),
                None => chosen.remove(&key(directory)),
            };
            let document = serde_json::to_vec(&chosen).expect("texts are plain data");
            self.directory.write_whole(FILE, &document)?;
            Ok(former)
        };
        change().map_err(selections)
    }

    /// A record that cannot be understood counts as empty: it holds conveniences only.
    fn read(&self) -> Result<BTreeMap<String, String>, DirectoryError> {
        let content = self.directory.read(FILE, LONGEST)?.unwrap_or_default();
        Ok(serde_json::from_slice(&content).unwrap_or_default())
    }
}

fn selections(source: DirectoryError) -> ClientError {
    ClientError::Selections { source }
}

/// A path as text that is unique also where the path is not UTF-8.
fn key(path: &Path) -> String {
    path.as_os_str().as_encoded_bytes().escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_holds_below_its_directory_until_it_is_taken_back() {
        let state = tempfile::tempdir().unwrap();
        let selections = Selections::open(state.path()).unwrap();
        assert_eq!(selections.find(Path::new("/a/b")).unwrap(), None);
        selections.choose(Path::new("/a"), Some("one")).unwrap();
        selections.choose(Path::new("/a/b/c"), Some("two")).unwrap();
        let found = |path| selections.find(Path::new(path)).unwrap().map(|(_, chosen)| chosen);
        assert_eq!(found("/a/b").as_deref(), Some("one"));
        assert_eq!(found("/a/b/c/d").as_deref(), Some("two"));
        assert_eq!(found("/ab"), None);
        assert_eq!(selections.choose(Path::new("/a"), None).unwrap().as_deref(), Some("one"));
        assert_eq!(found("/a/b"), None);
    }
}
