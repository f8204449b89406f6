//! What is known of a file.

use pyro_change::{Kind, Meta};

use super::{NONE, compressed::Blocks};
use crate::{
    DiskError,
    bytes::{le16, le32, le64},
    volume::LONGEST_TARGET,
};

/// The longest inode, but for what lists blocks and targets.
const LONGEST: usize = 56;

#[derive(Debug)]
pub(super) struct Inode {
    pub(super) meta: Meta,
    /// Their places in the table of owners.
    pub(super) owner: u16,
    pub(super) group: u16,
    pub(super) is_whiteout: bool,
    /// Of a file: where its blocks begin. Of a directory: the block of its names.
    pub(super) start: u64,
    /// Of a directory: where in that block. Of a file: where in the fragment its end is.
    pub(super) offset: usize,
    pub(super) fragment: u32,
    pub(super) size: u64,
    /// Bytes of a directory's names, and three.
    pub(super) listed: u64,
    /// What follows: a metadata block, and where in it.
    pub(super) rest: (u64, usize),
}

impl Inode {
    pub(super) fn read(blocks: &Blocks, block: u64, within: usize) -> Result<Self, DiskError> {
        // The last inode may be shorter than the longest.
        let bytes = blocks.metadata_up_to(block, within, LONGEST)?;
        let cut = || blocks.damaged("an inode is cut");
        let (mut inode, length) = parse(&bytes).ok_or_else(cut)?;
        inode.rest = (block, within + length);
        if inode.meta.kind == Kind::Symlink {
            if inode.meta.size > LONGEST_TARGET {
                return Err(blocks.damaged("a symlink has no target that can be"));
            }
            let size = inode.meta.size as usize;
            inode.meta.link_target = Some(blocks.metadata(block, within + length, size)?);
        }
        Ok(inode)
    }
}

/// An inode but for what follows it, and how long it is.
fn parse(bytes: &[u8]) -> Option<(Inode, usize)> {
    let half = |at| le16(bytes, at);
    let word = |at| le32(bytes, at);
    let wide = |at| word(at).map(u64::from);
    let kind = half(0)?;
    let meta = Meta {
        kind: Kind::Other,
        size: 0,
        mode: u32::from(half(2)? & 0o7777),
        mtime: (word(8)?.into(), 0),
        uid: 0,
        gid: 0,
        links: 1,
        inode: wide(12)?,
        link_target: None,
    };
    let mut inode = Inode {
        meta,
        owner: half(4)?,
        group: half(6)?,
        is_whiteout: false,
        start: 0,
        offset: 0,
        fragment: NONE,
        size: 0,
        listed: 0,
        rest: (0, 0),
    };
    let length = match kind {
        1 => {
            inode.meta.kind = Kind::Directory;
            (inode.start, inode.meta.links) = (wide(16)?, wide(20)?);
            (inode.listed, inode.offset) = (half(24)?.into(), half(26)?.into());
            32
        }
        8 => {
            inode.meta.kind = Kind::Directory;
            (inode.meta.links, inode.listed) = (wide(16)?, wide(20)?);
            (inode.start, inode.offset) = (wide(24)?, half(34)?.into());
            40
        }
        2 => {
            inode.meta.kind = Kind::Regular;
            (inode.start, inode.fragment) = (wide(16)?, word(20)?);
            (inode.offset, inode.size) = (word(24)? as usize, wide(28)?);
            32
        }
        9 => {
            inode.meta.kind = Kind::Regular;
            (inode.start, inode.size) = (le64(bytes, 16)?, le64(bytes, 24)?);
            (inode.meta.links, inode.fragment) = (wide(40)?, word(44)?);
            inode.offset = word(48)? as usize;
            56
        }
        3 | 10 => {
            inode.meta.kind = Kind::Symlink;
            (inode.meta.links, inode.size) = (wide(16)?, wide(20)?);
            24
        }
        4 | 5 | 11 | 12 => {
            inode.meta.links = wide(16)?;
            inode.is_whiteout = matches!(kind, 5 | 12) && word(20)? == 0;
            24
        }
        6 | 7 | 13 | 14 => {
            inode.meta.links = wide(16)?;
            20
        }
        _ => return None,
    };
    inode.meta.size = if inode.meta.kind == Kind::Directory { inode.listed } else { inode.size };
    Some((inode, length))
}
