//! What is asked of a file system, and the directories that were read last.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use pyro_change::{Kind, Meta};

use crate::DiskError;

/// The longest target of a symlink, as in Linux.
pub(crate) const LONGEST_TARGET: u64 = 4096;
/// The most names of one directory.
pub(crate) const MOST_NAMES: usize = 2_000_000;
/// Directories that are kept, and the names of all of them together.
const MOST_KEPT: usize = 64;
const MOST_NAMES_KEPT: usize = 400_000;

/// A name in a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Name {
    pub(crate) bytes: Box<[u8]>,
    pub(crate) id: u64,
    /// It may be a device: a whiteout is one.
    pub(crate) may_hide: bool,
}

/// A file of one file system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) meta: Meta,
    /// A character device 0:0.
    pub(crate) is_whiteout: bool,
    /// Where its content is, to the file system alone.
    pub(crate) content: Box<[u8]>,
}

impl Node {
    pub(crate) fn is_directory(&self) -> bool {
        self.meta.kind == Kind::Directory
    }
}

/// The type in the mode of a file.
pub(crate) fn kind_of(mode: u16) -> Kind {
    match mode >> 12 {
        0o10 => Kind::Regular,
        0o04 => Kind::Directory,
        0o12 => Kind::Symlink,
        _ => Kind::Other,
    }
}

/// A file system, read only.
pub(crate) trait FileSystem: Send + Sync {
    /// What it is called where it is complained about.
    fn what(&self) -> &'static str;
    fn root(&self) -> Result<Node, DiskError>;
    /// A file by what its name says, without the target of a symlink.
    fn node(&self, id: u64) -> Result<Node, DiskError>;
    /// The names in a directory, but for itself and its parent, in any order.
    fn names(&self, directory: &Node) -> Result<Vec<Name>, DiskError>;
    /// Fills the buffer from there, which lies within the file's size.
    fn read(&self, node: &Node, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError>;
    /// The value of an attribute below `trusted.overlay.`.
    fn overlay_attribute(&self, node: &Node, name: &[u8]) -> Result<Option<Vec<u8>>, DiskError>;
}

/// A file system with the directories that were read last.
pub(crate) struct Volume {
    system: Box<dyn FileSystem>,
    recent: Mutex<Vec<(u64, Arc<Vec<Name>>)>>,
}

impl fmt::Debug for Volume {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Volume").field(&self.system.what()).finish()
    }
}

impl Volume {
    pub(crate) fn new(system: impl FileSystem + 'static) -> Self {
        Self { system: Box::new(system), recent: Mutex::default() }
    }

    pub(crate) fn root(&self) -> Result<Node, DiskError> {
        let root = self.system.root()?;
        if root.is_directory() { Ok(root) } else { Err(self.damaged("its root is no directory")) }
    }

    pub(crate) fn damaged(&self, detail: &'static str) -> DiskError {
        DiskError::Damaged { what: self.system.what(), detail }
    }

    pub(crate) fn node(&self, id: u64) -> Result<Node, DiskError> {
        let mut node = self.system.node(id)?;
        if node.meta.kind == Kind::Symlink {
            let size = node.meta.size;
            if size == 0 || size > LONGEST_TARGET {
                return Err(self.damaged("a symlink has no target that can be"));
            }
            let target = if let Some(target) = node.meta.link_target.take() {
                target
            } else {
                let mut target = vec![0; size as usize];
                self.system.read(&node, 0, &mut target)?;
                target
            };
            if target.contains(&0) {
                return Err(self.damaged("a symlink has no target that can be"));
            }
            node.meta.link_target = Some(target);
        }
        Ok(node)
    }

    /// The names in a directory, sorted.
    pub(crate) fn names(&self, directory: &Node) -> Result<Arc<Vec<Name>>, DiskError> {
        let id = directory.id;
        {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = recent.iter().position(|(kept, _)| *kept == id) {
                let found = recent.remove(at);
                let names = found.1.clone();
                recent.push(found);
                return Ok(names);
            }
        }
        let mut names = self.system.names(directory)?;
        let odd = |name: &[u8]| {
            name.is_empty()
                || name == b"."
                || name == b".."
                || name.contains(&b'/')
                || name.contains(&0)
        };
        if names.iter().any(|name| odd(&name.bytes)) {
            return Err(self.damaged("a directory holds what can be no name"));
        }
        names.sort_unstable_by(|a, b| a.bytes.cmp(&b.bytes));
        names.dedup_by(|a, b| a.bytes == b.bytes);
        let names = Arc::new(names);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push((id, names.clone()));
        let mut kept: usize = recent.iter().map(|(_, names)| names.len()).sum();
        while recent.len() > MOST_KEPT || kept > MOST_NAMES_KEPT && !recent.is_empty() {
            kept -= recent.remove(0).1.len();
        }
        Ok(names)
    }

    pub(crate) fn find(&self, directory: &Node, name: &[u8]) -> Result<Option<Node>, DiskError> {
        let names = self.names(directory)?;
        match names.binary_search_by(|entry| (*entry.bytes).cmp(name)) {
            Ok(at) => names.get(at).map(|entry| self.node(entry.id)).transpose(),
            Err(_) => Ok(None),
        }
    }

    /// Reads from there into the buffer, up to the end of the file; how much it was.
    pub(crate) fn read(
        &self,
        node: &Node,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, DiskError> {
        let left = node.meta.size.saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        if length > 0 {
            self.system.read(node, offset, &mut buffer[..length])?;
        }
        Ok(length)
    }

    pub(crate) fn overlay_attribute(
        &self,
        node: &Node,
        name: &[u8],
    ) -> Result<Option<Vec<u8>>, DiskError> {
        self.system.overlay_attribute(node, name)
    }
}
