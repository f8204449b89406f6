//! Whether a node lives, without asking it.

use std::path::Path;

use pyro_directory::Directory;
use serde::Deserialize;

use crate::NodeReport;

/// What a node says of itself in `node.json`, as far as it matters here.
#[derive(Deserialize)]
struct Record {
    pid: i64,
    version: Option<String>,
}

/// A node lives as long as `node.lock` is held. An unreadable directory has none.
pub(crate) fn look(state: Option<&Path>) -> NodeReport {
    let none = NodeReport { running: false, pid: None, version: None };
    let Some(Ok(directory)) = state.map(Directory::open) else { return none };
    if !directory.is_locked("node.lock").unwrap_or(false) {
        return none;
    }
    let record = directory.read("node.json", 64 << 10).ok().flatten();
    let record = record.and_then(|text| serde_json::from_slice::<Record>(&text).ok());
    NodeReport {
        running: true,
        pid: record.as_ref().map(|record| record.pid),
        version: record.and_then(|record| record.version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_lives_while_its_lock_is_held() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        directory.write_whole("node.json", br#"{"pid": 7, "version": "4", "new": 1}"#).unwrap();
        assert!(!look(Some(root.path())).running);
        let lock = directory.try_lock("node.lock").unwrap();
        let node = look(Some(root.path()));
        assert!(node.running);
        assert_eq!((node.pid, node.version.as_deref()), (Some(7), Some("4")));
        directory.write_whole("node.json", b"nonsense").unwrap();
        assert_eq!(look(Some(root.path())).pid, None);
        drop(lock);
        assert!(!look(Some(root.path())).running);
        assert!(!look(Some(Path::new("/nonexistent"))).running);
    }
}
