//! Two layers as the kernel merges them (Documentation/filesystems/overlayfs), as the agent mounts them:
//! with redirected directories, without metadata-only copies.
//!
//! A lower directory shows through the upper one of its path unless that is opaque; one that was moved says
//! where it came from. What hides a name is a character device 0:0, in either layer. Origins are for the
//! kernel's own inode numbers and are not looked at.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use crate::{
    DiskError,
    volume::{Name, Node, Volume},
};

/// A layer: a directory of a volume.
#[derive(Clone, Debug)]
pub(crate) struct Top {
    pub(crate) volume: Arc<Volume>,
    pub(crate) root: Node,
}

/// Where something is in the layers: at least in one of them.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    upper: Option<Node>,
    /// Only of a directory, or where the upper layer does not have it.
    lower: Option<Node>,
}

impl Place {
    pub(crate) fn node(&self) -> &Node {
        self.upper.as_ref().or(self.lower.as_ref()).expect("a place is in a layer")
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.node().is_directory()
    }

    /// Tells it from every other place of its overlay.
    pub(crate) fn identity(&self) -> (Option<u64>, Option<u64>) {
        (self.upper.as_ref().map(|node| node.id), self.lower.as_ref().map(|node| node.id))
    }
}

/// The merged layers.
#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    pub(crate) upper: Option<Top>,
    pub(crate) lower: Option<Top>,
    /// Names by which the kernel finds what was copied up of files of several names.
    index: Option<Top>,
    /// Of those, by their inode in the lower layer, what they are in the upper one.
    shared: Arc<OnceLock<HashMap<u64, u64>>>,
}

/// What an upper directory says of what lies below.
pub(crate) enum Below {
    SameName,
    Nothing,
    /// From the lower layer's root.
    At(Vec<u8>),
    /// Beside it.
    Named(Vec<u8>),
}

pub(crate) fn below(volume: &Volume, directory: &Node) -> Result<Below, DiskError> {
    if volume.overlay_attribute(directory, b"opaque")?.as_deref() == Some(b"y") {
        return Ok(Below::Nothing);
    }
    Ok(match volume.overlay_attribute(directory, b"redirect")? {
        None => Below::SameName,
        Some(path) if path.first() == Some(&b'/') => Below::At(path),
        Some(name) if name.is_empty() || name.contains(&b'/') => {
            return Err(volume.damaged("a directory was moved from what can be no name"));
        }
        Some(name) => Below::Named(name),
    })
}

/// The inode that a file was copied up from: a file handle (fs/overlayfs/overlayfs.h, struct `ovl_fb`) of
/// the kind that squashfs gives, with its inode's number and generation.
fn origin(handle: &[u8]) -> Option<u64> {
    const MAGIC: u8 = 0xfb;
    const BIG_ENDIAN: u8 = 1;
    const INODE_AND_GENERATION: u8 = 1;
    const HEAD: usize = 5 + 16;
    let [0, MAGIC, _, flags, INODE_AND_GENERATION, ..] = *handle else { return None };
    let number = handle.get(HEAD..HEAD + 4)?.try_into().ok()?;
    let is_big = flags & BIG_ENDIAN != 0;
    Some(if is_big { u32::from_be_bytes(number) } else { u32::from_le_bytes(number) }.into())
}

impl Overlay {
    pub(crate) fn new(upper: Option<Top>, lower: Option<Top>) -> Self {
        Self { upper, lower, index: None, shared: Arc::default() }
    }

    pub(crate) fn with_index(self, index: Option<Top>) -> Self {
        Self { index, ..self }
    }

    /// Files of several names in the lower layer that were copied up.
    pub(crate) fn shared(&self) -> Result<&HashMap<u64, u64>, DiskError> {
        if let Some(shared) = self.shared.get() {
            return Ok(shared);
        }
        let mut shared = HashMap::new();
        if let Some(index) = &self.index {
            for name in index.volume.names(&index.root)?.iter() {
                let node = index.volume.node(name.id)?;
                if node.is_directory() || node.is_whiteout {
                    continue;
                }
                let handle = index.volume.overlay_attribute(&node, b"origin")?;
                if let Some(inode) = handle.as_deref().and_then(origin) {
                    shared.insert(inode, node.id);
                }
            }
        }
        Ok(self.shared.get_or_init(|| shared))
    }

    /// What became of a file of the lower layer by another of its names.
    fn changed_by_another_name(&self, lower: &Node) -> Result<Option<Node>, DiskError> {
        match &self.index {
            Some(index) if lower.meta.links > 1 && !lower.is_directory() => {
                let id = self.shared()?.get(&lower.meta.inode);
                id.map(|id| index.volume.node(*id)).transpose()
            }
            _ => Ok(None),
        }
    }

    /// The root of both; none where there is no layer.
    pub(crate) fn root(&self) -> Option<Place> {
        let of = |top: &Option<Top>| top.as_ref().map(|top| top.root.clone());
        let (upper, lower) = (of(&self.upper), of(&self.lower));
        (upper.is_some() || lower.is_some()).then_some(Place { upper, lower })
    }

    /// What an upper directory is merged with.
    fn lower_of(
        &self,
        parent: &Place,
        upper: &Node,
        name: &[u8],
    ) -> Result<Option<Node>, DiskError> {
        let (Some(top), Some(lower)) = (&self.upper, &self.lower) else { return Ok(None) };
        let beside = |name: &[u8]| match &parent.lower {
            Some(directory) if directory.is_directory() => lower.volume.find(directory, name),
            _ => Ok(None),
        };
        let found = match below(&top.volume, upper)? {
            Below::Nothing => None,
            Below::SameName => beside(name)?,
            Below::Named(name) => beside(&name)?,
            Below::At(path) => {
                let mut node = Some(lower.root.clone());
                for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
                    node = match node {
                        Some(node) if node.is_directory() => lower.volume.find(&node, name)?,
                        _ => None,
                    };
                }
                node
            }
        };
        Ok(found.filter(Node::is_directory))
    }

    /// What has that name in a directory.
    pub(crate) fn child(&self, parent: &Place, name: &[u8]) -> Result<Option<Place>, DiskError> {
        let in_layer = |top: &Option<Top>, directory: &Option<Node>| match (top, directory) {
            (Some(top), Some(directory)) if directory.is_directory() => {
                top.volume.find(directory, name)
            }
            _ => Ok(None),
        };
        match in_layer(&self.upper, &parent.upper)? {
            Some(node) if node.is_whiteout => Ok(None),
            Some(node) => {
                let lower =
                    if node.is_directory() { self.lower_of(parent, &node, name)? } else { None };
                Ok(Some(Place { upper: Some(node), lower }))
            }
            None => {
                let lower = in_layer(&self.lower, &parent.lower)?.filter(|node| !node.is_whiteout);
                let Some(node) = lower else { return Ok(None) };
                let upper = self.changed_by_another_name(&node)?;
                let lower = upper.is_none().then_some(node);
                Ok(Some(Place { upper, lower }))
            }
        }
    }

    /// The names in a directory, sorted.
    pub(crate) fn names(&self, directory: &Place) -> Result<Vec<Box<[u8]>>, DiskError> {
        let in_layer = |top: &Option<Top>, node: &Option<Node>| match (top, node) {
            (Some(top), Some(node)) if node.is_directory() => top.volume.names(node).map(Some),
            _ => Ok(None),
        };
        let (upper, lower) =
            (in_layer(&self.upper, &directory.upper)?, in_layer(&self.lower, &directory.lower)?);
        let none = Vec::new();
        let (mut above, mut below) = (
            upper.as_ref().map_or(&none, |names| &**names).iter().peekable(),
            lower.as_ref().map_or(&none, |names| &**names).iter().peekable(),
        );
        let hides = |top: &Option<Top>, name: &Name| match top {
            Some(top) if name.may_hide => Ok(top.volume.node(name.id)?.is_whiteout),
            _ => Ok::<_, DiskError>(false),
        };
        let mut names = Vec::new();
        loop {
            // What its guest was writing when it died.
            let is_draft = |name: &&Name| pyro_archive::is_draft(&name.bytes);
            while above.next_if(is_draft).is_some() {}
            let (name, top) = match (above.peek(), below.peek()) {
                (None, None) => return Ok(names),
                (Some(a), Some(b)) if a.bytes > b.bytes => (below.next(), &self.lower),
                (None, Some(_)) => (below.next(), &self.lower),
                (Some(a), Some(b)) => {
                    if a.bytes == b.bytes {
                        below.next();
                    }
                    (above.next(), &self.upper)
                }
                (Some(_), None) => (above.next(), &self.upper),
            };
            if let Some(name) = name
                && !hides(top, name)?
            {
                names.push(name.bytes.clone());
            }
        }
    }

    /// Reads from a file into the buffer; how much it was.
    pub(crate) fn read(
        &self,
        place: &Place,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, DiskError> {
        match (&place.upper, &place.lower, &self.upper, &self.lower) {
            (Some(node), _, Some(top), _) | (None, Some(node), _, Some(top)) => {
                top.volume.read(node, offset, buffer)
            }
            _ => Ok(0),
        }
    }
}
