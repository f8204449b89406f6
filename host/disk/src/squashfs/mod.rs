//! squashfs, as `mksquashfs` makes images of environments and seeds.
//!
//! ```text
//! compressed  blocks, unpacked, and the last of them kept
//! inode       what is known of a file
//! ```
//!
//! Read by the format's description (Documentation/filesystems/squashfs). Opening reads the superblock and the
//! owners; everything else is read when it is asked for. Extended attributes are not read: of a lowest
//! layer an overlay asks none.

mod compressed;
mod inode;

use std::sync::{Arc, Mutex, PoisonError};

use self::{
    compressed::{Blocks, Compression, HOLDS_PLAIN},
    inode::Inode,
};
use crate::{
    DiskError, Source,
    bytes::{le16, le32, le64},
    volume::{FileSystem, MOST_NAMES, Name, Node},
};

/// The most blocks of one file: 512 GiB in blocks of 128 KiB.
const MOST_BLOCKS: u64 = 4 << 20;
/// The most bytes of one directory.
const MOST_DIRECTORY: u64 = 256 << 20;
const NONE: u32 = u32::MAX;

/// Where each block of a file begins, and how long it is, with its flag.
type BlockList = Arc<Vec<(u64, u32)>>;

/// A squashfs file system.
pub(crate) struct Squashfs {
    blocks: Blocks,
    block_size: u32,
    owners: Vec<u32>,
    root: u64,
    inode_table: u64,
    directory_table: u64,
    fragment_table: u64,
    fragments: u32,
    /// Of the file that was read last.
    list: Mutex<Option<(u64, BlockList)>>,
}

impl Squashfs {
    /// None where it is all zeros at its beginning: an image of nothing.
    pub(crate) fn open(
        source: Arc<dyn Source>,
        what: &'static str,
    ) -> Result<Option<Self>, DiskError> {
        let mut superblock = [0; 96];
        let unread = |source| DiskError::Read { what, source };
        source.read_exact_at(&mut superblock, 0).map_err(unread)?;
        if superblock == [0; 96] {
            return Ok(None);
        }
        let damaged = |detail| DiskError::Damaged { what, detail };
        let unsupported = |detail| DiskError::Unsupported { what, detail };
        let word = |at| le32(&superblock, at).unwrap_or_default();
        let half = |at| le16(&superblock, at).unwrap_or_default();
        let long = |at| le64(&superblock, at).unwrap_or_default();
        if word(0) != 0x7371_7368 {
            return Err(unsupported("it holds no squashfs"));
        }
        if half(28) != 4 {
            return Err(unsupported("its squashfs is of another version"));
        }
        let compression = match half(20) {
            1 => Compression::Gzip,
            5 => Compression::Lz4,
            6 => Compression::Zstd,
            _ => return Err(unsupported("it is packed neither with zstd, lz4 nor gzip")),
        };
        let block_size = word(12);
        if !block_size.is_power_of_two() || !(4096..=1 << 20).contains(&block_size) {
            return Err(damaged("the superblock makes no sense"));
        }
        let blocks = Blocks::new(source, what, compression);
        let mut image = Self {
            blocks,
            block_size,
            owners: Vec::new(),
            root: long(32),
            inode_table: long(64),
            directory_table: long(72),
            fragment_table: long(80),
            fragments: word(16),
            list: Mutex::default(),
        };
        let count = usize::from(half(26));
        let at = image.entry(long(48), 0, 4)?;
        let bytes = image.blocks.metadata(at.0, at.1, count * 4)?;
        image.owners = bytes.chunks_exact(4).filter_map(|it| le32(it, 0)).collect();
        Ok(Some(image))
    }

    /// Where in its metadata block the entry of a table is: tables are found by a list of their blocks.
    fn entry(&self, table: u64, index: u64, size: u64) -> Result<(u64, usize), DiskError> {
        let at = index * size;
        let mut pointer = [0; 8];
        let place = table.checked_add(at / 8192 * 8);
        let place = place.ok_or_else(|| self.blocks.damaged("a table is nowhere"))?;
        self.blocks.raw(place, &mut pointer)?;
        Ok((u64::from_le_bytes(pointer), (at % 8192) as usize))
    }

    fn owner(&self, index: u16) -> Result<u32, DiskError> {
        let owner = self.owners.get(usize::from(index)).copied();
        owner.ok_or_else(|| self.blocks.damaged("a file belongs to nobody that is known"))
    }

    fn inode(&self, id: u64) -> Result<Inode, DiskError> {
        let block = self.inode_table.checked_add(id >> 16);
        let block = block.ok_or_else(|| self.blocks.damaged("an inode is nowhere"))?;
        Inode::read(&self.blocks, block, (id & 0xffff) as usize)
    }

    /// Where the blocks of a file are. Read once for each file that is read.
    fn list(&self, id: u64, inode: &Inode) -> Result<BlockList, DiskError> {
        {
            let kept = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, list)) = kept.as_ref().filter(|(of, _)| *of == id) {
                return Ok(list.clone());
            }
        }
        let size = u64::from(self.block_size);
        let count =
            if inode.fragment == NONE { inode.size.div_ceil(size) } else { inode.size / size };
        if count > MOST_BLOCKS {
            return Err(DiskError::TooLarge("a file of an image"));
        }
        let bytes = self.blocks.metadata(inode.rest.0, inode.rest.1, count as usize * 4)?;
        let mut at = inode.start;
        let mut list = Vec::with_capacity(count as usize);
        for length in bytes.chunks_exact(4).filter_map(|it| le32(it, 0)) {
            list.push((at, length));
            at = at.saturating_add(u64::from(length & (HOLDS_PLAIN - 1)));
        }
        let list = Arc::new(list);
        *self.list.lock().unwrap_or_else(PoisonError::into_inner) = Some((id, list.clone()));
        Ok(list)
    }

    fn fragment(&self, index: u32) -> Result<Arc<Vec<u8>>, DiskError> {
        if index >= self.fragments {
            return Err(self.blocks.damaged("a file's end is nowhere"));
        }
        let (block, within) = self.entry(self.fragment_table, index.into(), 16)?;
        let entry = self.blocks.metadata(block, within, 16)?;
        let start = le64(&entry, 0).unwrap_or_default();
        let length = le32(&entry, 8).unwrap_or_default();
        self.blocks.data(start, length, self.block_size as usize)
    }
}

impl FileSystem for Squashfs {
    fn what(&self) -> &'static str {
        self.blocks.what
    }

    fn root(&self) -> Result<Node, DiskError> {
        self.node(self.root)
    }

    fn node(&self, id: u64) -> Result<Node, DiskError> {
        let mut inode = self.inode(id)?;
        inode.meta.uid = self.owner(inode.owner)?;
        inode.meta.gid = self.owner(inode.group)?;
        Ok(Node { id, is_whiteout: inode.is_whiteout, meta: inode.meta, content: Box::default() })
    }

    fn names(&self, directory: &Node) -> Result<Vec<Name>, DiskError> {
        let inode = self.inode(directory.id)?;
        // A directory counts three bytes for itself and its parent, which are not written.
        let Some(length) = inode.listed.checked_sub(3).filter(|length| *length > 0) else {
            return Ok(Vec::new());
        };
        if length > MOST_DIRECTORY {
            return Err(DiskError::TooLarge("a directory"));
        }
        let block = self.directory_table.checked_add(inode.start);
        let block = block.ok_or_else(|| self.blocks.damaged("a directory is nowhere"))?;
        let bytes = self.blocks.metadata(block, inode.offset, length as usize)?;
        let mut names = Vec::new();
        names_of(&bytes, &mut names).ok_or_else(|| self.blocks.damaged("a directory is cut"))?;
        if names.len() > MOST_NAMES {
            return Err(DiskError::TooLarge("a directory"));
        }
        Ok(names)
    }

    fn read(&self, node: &Node, mut offset: u64, mut buffer: &mut [u8]) -> Result<(), DiskError> {
        let inode = self.inode(node.id)?;
        if inode.meta.link_target.is_some() {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let target = inode.meta.link_target.unwrap_or_default();
            let part = from.checked_add(buffer.len()).and_then(|to| target.get(from..to));
            let part = part.ok_or_else(|| self.blocks.damaged("a symlink is cut"))?;
            buffer.copy_from_slice(part);
            return Ok(());
        }
        let list = self.list(node.id, &inode)?;
        let size = u64::from(self.block_size);
        while !buffer.is_empty() {
            let (index, within) = (offset / size, (offset % size) as usize);
            let length = buffer.len().min(self.block_size as usize - within);
            let (now, rest) = buffer.split_at_mut(length);
            let copy = |bytes: &[u8], from: usize, now: &mut [u8]| {
                let part = from.checked_add(now.len()).and_then(|to| bytes.get(from..to));
                let part = part.ok_or_else(|| self.blocks.damaged("a file is cut"))?;
                now.copy_from_slice(part);
                Ok::<_, DiskError>(())
            };
            match list.get(usize::try_from(index).unwrap_or(usize::MAX)) {
                Some((_, 0)) => now.fill(0),
                Some((start, stored)) => {
                    copy(
                        &self.blocks.data(*start, *stored, self.block_size as usize)?,
                        within,
                        now,
                    )?;
                }
                None => {
                    let from = inode.offset.saturating_add(within);
                    copy(&self.fragment(inode.fragment)?, from, now)?;
                }
            }
            buffer = rest;
            offset += length as u64;
        }
        Ok(())
    }

    fn overlay_attribute(&self, _: &Node, _: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(None)
    }
}

fn names_of(bytes: &[u8], names: &mut Vec<Name>) -> Option<()> {
    const DEVICES: [u16; 2] = [5, 12];
    let mut at = 0;
    while at < bytes.len() {
        let count = le32(bytes, at)?.checked_add(1).filter(|count| *count <= 256)?;
        let block = u64::from(le32(bytes, at + 4)?);
        at += 12;
        for _ in 0..count {
            let (offset, kind) = (le16(bytes, at)?, le16(bytes, at + 4)?);
            let length = usize::from(le16(bytes, at + 6)?) + 1;
            let name = bytes.get(at + 8..at + 8 + length)?;
            let id = block << 16 | u64::from(offset);
            names.push(Name { bytes: name.into(), id, may_hide: DEVICES.contains(&kind) });
            at += 8 + length;
        }
    }
    Some(())
}
