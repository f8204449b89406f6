//! What is asked of a tree of files.

use std::io::{self, Read};

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A pipe, a socket, a device.
    Other,
}

/// What is known of a file without its content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meta {
    /// What it is.
    pub kind: Kind,
    /// Bytes of content; of a symlink, of its target.
    pub size: u64,
    /// Permission bits, with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Seconds since the Unix epoch, and nanoseconds.
    pub mtime: (i64, u32),
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Names it has.
    pub links: u64,
    /// The same for all of them, and another for every other file of its tree.
    pub inode: u64,
    /// Of a symlink.
    pub link_target: Option<Vec<u8>>,
}

/// A tree of files, read only. Paths are relative to its root, `/` between names, any bytes in them; the
/// root itself is empty. The last name of a path is never followed, and none before it may be a symlink:
/// such a path is not there.
pub trait Tree {
    /// What is at a path; none where nothing is.
    fn meta(&self, path: &[u8]) -> io::Result<Option<Meta>>;
    /// The names in a directory, sorted by their bytes.
    fn names(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>>;
    /// The content of a regular file.
    fn open(&self, path: &[u8]) -> io::Result<Box<dyn Read + '_>>;
}

/// What a name in the upper layer of an overlay says of what lies below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Marker {
    /// It hides what has this name below (a whiteout).
    Hidden,
    /// A directory that is merged with the one of the same path below, where there is one.
    Merged,
    /// A directory that has nothing to do with what is at its path below: opaque, or moved here from
    /// another path of the lower layer.
    Apart,
    /// A file of its own, or copied up.
    File,
}

/// The upper layer of an overlay: the names that were touched since the overlay was made.
pub trait Layer {
    /// The names in a directory of this layer, sorted by their bytes, and what they say. Nothing where the
    /// layer has no such directory.
    fn touched(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Marker)>>;
    /// Whether a file of several names may have changed by one of them, of which the others, untouched, do
    /// not tell (an overlay's index).
    fn has_shared(&self) -> io::Result<bool>;
}
