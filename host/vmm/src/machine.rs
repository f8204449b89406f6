//! A machine in words that every backend understands.

use std::path::{Path, PathBuf};

use pyro_core::{Mebibytes, VcpuCount};

use crate::VmmError;

/// What a VMM is to emulate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Virtual CPUs.
    pub vcpus: VcpuCount,
    /// Memory.
    pub memory: Mebibytes,
    /// The kernel, an uncompressed ELF file (`vmlinux`).
    pub kernel: PathBuf,
    /// The initial RAM file system.
    pub initramfs: PathBuf,
    /// The four drives.
    pub drives: Drives,
}

/// The four drives that every machine has, in the order in which guests see them. Relative paths
/// are relative to the keeper's directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drives {
    /// The root image, read-only.
    pub root: PathBuf,
    /// The seed image, read-only.
    pub seed: PathBuf,
    /// The workspace disk.
    pub workspace: PathBuf,
    /// The agent disk.
    pub agent: PathBuf,
}

/// One drive as backends need it.
pub(crate) struct Drive<'a> {
    /// `root`, `seed`, `workspace` or `agent`.
    pub id: &'static str,
    pub path: &'a Path,
    pub is_read_only: bool,
}

impl Drives {
    pub(crate) fn in_order(&self) -> [Drive<'_>; 4] {
        [
            Drive { id: "root", path: &self.root, is_read_only: true },
            Drive { id: "seed", path: &self.seed, is_read_only: true },
            Drive { id: "workspace", path: &self.workspace, is_read_only: false },
            Drive { id: "agent", path: &self.agent, is_read_only: false },
        ]
    }
}

/// A path as text, which is all that command lines in JSON and VMM configurations carry.
pub(crate) fn text(path: &Path) -> Result<String, VmmError> {
    match path.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(VmmError::NotText { path: path.into() }),
    }
}
