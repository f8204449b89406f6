//! Where things stand below the state directory.
//!
//! ```text
//! pyro.db                      metadata
//! workspaces/<id>/disk.ext4    the workspace disk
//! workspaces/<id>/next.ext4    what that is to become by a reset
//! workspaces/<id>/last.ext4    what it was before a reset that is not done yet
//! workspaces/<id>/snapshots/   copies of the workspace disk, by name
//! workspaces/<id>/agent.ext4   the agent disk
//! workspaces/<id>/root.squashfs a link to the root image, where the file systems allow it: it
//!                              keeps the image from being pruned by any node that shares the cache
//! workspaces/<id>/seed.squashfs the same of its seed, where it has one
//! workspaces/<id>/vm/          the keeper's directory (made anew for each start)
//! workspaces/<id>/execs/       copies of finished execs' output
//! workspaces/<id>/services/    copies of services' logs
//! workspaces/<id>.removing/    what is being deleted
//! ```

use std::path::{Path, PathBuf};

use pyro_core::{ExecId, ServiceName, SnapshotName, WorkspaceId};

/// The extension of a copy of an output.
pub(crate) const OUTPUT: &str = "output";

/// Paths below one state directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    state: PathBuf,
}

impl Layout {
    pub(crate) fn new(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.state.join("pyro.db")
    }

    pub(crate) fn workspaces(&self) -> PathBuf {
        self.state.join("workspaces")
    }

    pub(crate) fn workspace(&self, id: WorkspaceId) -> PathBuf {
        self.workspaces().join(id.to_string())
    }

    pub(crate) fn disk(&self, id: WorkspaceId) -> PathBuf {
        self.workspace(id).join("disk.ext4")
    }

    pub(crate) fn next_disk(&self, id: WorkspaceId) -> PathBuf {
        self.workspace(id).join("next.ext4")
    }

    pub(crate) fn last_disk(&self, id: WorkspaceId) -> PathBuf {
        self.workspace(id).join("last.ext4")
    }

    pub(crate) fn snapshots(&self, id: WorkspaceId) -> PathBuf {
        self.workspace(id).join("snapshots")
    }

    pub(crate) fn snapshot(&self, id: WorkspaceId, name: &SnapshotName) -> PathBuf {
        self.snapshots(id).join(format!("{name}.ext4"))
    }

    pub(crate) fn agent_disk(&self, id: WorkspaceId) -> PathBuf {
        self.workspace(id).join("agent.ext4")
    }

    pub(crate) fn root_link(&self, id: WorkspaceId) -> PathBuf {
        self.workspace(id).join("root.squashfs")
    }

    pub(crate) fn seed_link(&self, id: WorkspaceId) -> PathBuf {
        self.workspace(id).join("seed.squashfs")
    }

    pub(crate) fn vm(&self, id: WorkspaceId) -> PathBuf {
        self.workspace(id).join("vm")
    }

    pub(crate) fn execs(&self, id: WorkspaceId) -> PathBuf {
        self.workspace(id).join("execs")
    }

    pub(crate) fn output(&self, id: WorkspaceId, exec: ExecId) -> PathBuf {
        self.execs(id).join(format!("{exec}.{OUTPUT}"))
    }

    pub(crate) fn services(&self, id: WorkspaceId) -> PathBuf {
        self.workspace(id).join("services")
    }

    pub(crate) fn service_log(&self, id: WorkspaceId, service: &ServiceName) -> PathBuf {
        self.services(id).join(format!("{service}.log"))
    }
}

/// Bytes a file or a tree occupies on the host; what cannot be read counts as nothing.
pub fn occupied_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return 0 };
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return own;
    }
    let Ok(entries) = std::fs::read_dir(path) else { return own };
    own + entries.flatten().map(|entry| occupied_bytes(&entry.path())).sum::<u64>()
}
