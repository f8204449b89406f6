//! ext4, as the workspace disk is made, and as its guest's kernel may leave it.
//!
//! ```text
//! journal     transactions that were committed and had not reached their places
//! extents     where a file's blocks are
//! attributes  extended attributes
//! ```
//!
//! Read by the kernel's description of the format (Documentation/filesystems/ext4). Checksums of metadata
//! are not compared but in the journal: what they would find shows as something that makes no sense, or
//! is a stranger's anyway. Names in directories are read in a line; the hashed index lies where such
//! readers see unused entries.

mod attributes;
mod extents;
mod journal;

use std::{collections::HashMap, sync::Arc};

use pyro_change::{Kind, Meta};

use self::extents::Run;
use crate::{
    DiskError, Source,
    bytes::{joined, le16, le32, part},
    volume::{FileSystem, MOST_NAMES, Name, Node, kind_of},
};

const WHAT: &str = "workspace disk";

/// The most bytes of one directory.
const MOST_DIRECTORY: u64 = 256 << 20;

/// Features without which a disk can be read wrongly, and which are known here.
mod incompatible {
    pub(super) const FILE_TYPE: u32 = 0x2;
    pub(super) const RECOVER: u32 = 0x4;
    pub(super) const EXTENTS: u32 = 0x40;
    pub(super) const WIDE: u32 = 0x80;
    pub(super) const MMP: u32 = 0x100;
    pub(super) const FLEXIBLE_GROUPS: u32 = 0x200;
    pub(super) const CHECKSUM_SEED: u32 = 0x2000;
    pub(super) const LARGE_DIRECTORY: u32 = 0x4000;
    pub(super) const KNOWN: u32 = FILE_TYPE
        | RECOVER
        | EXTENTS
        | WIDE
        | MMP
        | FLEXIBLE_GROUPS
        | CHECKSUM_SEED
        | LARGE_DIRECTORY;
}

const EXTENTS_FLAG: u32 = 0x8_0000;

fn damaged(detail: &'static str) -> DiskError {
    DiskError::Damaged { what: WHAT, detail }
}

const CUT: &str = "a structure does not fit where it is";

fn whole<T>(value: Option<T>) -> Result<T, DiskError> {
    value.ok_or_else(|| damaged(CUT))
}

/// Where the journal holds a newer block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Newer {
    block: u64,
    /// Its first four bytes were put aside, since they looked like the journal's own.
    is_escaped: bool,
}

/// Its shape, from the superblock.
#[derive(Clone, Debug)]
struct Shape {
    block_size: u64,
    first_block: u64,
    inodes: u32,
    inodes_per_group: u32,
    inode_size: u16,
    descriptor_size: u16,
    incompatible: u32,
    journal_inode: u32,
}

impl Shape {
    fn read(superblock: &[u8]) -> Result<Self, DiskError> {
        let word = |at| whole(le32(superblock, at));
        let half = |at| whole(le16(superblock, at));
        if half(0x38)? != 0xef53 {
            return Err(damaged("it holds no ext4"));
        }
        let unsupported = |detail| DiskError::Unsupported { what: WHAT, detail };
        let features = word(0x60)?;
        if features & !incompatible::KNOWN != 0 {
            return Err(unsupported("its ext4 has features that are not known here"));
        }
        let logarithm = word(0x18)?;
        if logarithm > 5 {
            return Err(unsupported("its blocks are larger than 32 KiB"));
        }
        let wide = features & incompatible::WIDE != 0;
        let shape = Self {
            block_size: 1024 << logarithm,
            first_block: word(0x14)?.into(),
            inodes: word(0x0)?,
            inodes_per_group: word(0x28)?,
            inode_size: if word(0x4c)? == 0 { 128 } else { half(0x58)? },
            descriptor_size: if wide { half(0xfe)? } else { 32 },
            incompatible: features,
            journal_inode: word(0xe0)?,
        };
        let sizes = shape.inode_size.is_power_of_two()
            && shape.inode_size >= 128
            && u64::from(shape.inode_size) <= shape.block_size
            && shape.descriptor_size >= if wide { 64 } else { 32 }
            && u64::from(shape.descriptor_size) <= shape.block_size;
        if !sizes || shape.inodes_per_group == 0 || shape.first_block > 1 {
            return Err(damaged("the superblock makes no sense"));
        }
        Ok(shape)
    }
}

/// An ext4 file system.
pub(crate) struct Ext4 {
    source: Arc<dyn Source>,
    shape: Shape,
    newer: HashMap<u64, Newer>,
}

impl Ext4 {
    pub(crate) fn open(source: Arc<dyn Source>) -> Result<Self, DiskError> {
        let mut superblock = [0; 1024];
        let unread = |source| DiskError::Read { what: WHAT, source };
        source.read_exact_at(&mut superblock, 1024).map_err(unread)?;
        let mut disk = Self { source, shape: Shape::read(&superblock)?, newer: HashMap::new() };
        if disk.shape.incompatible & incompatible::RECOVER != 0 {
            disk.newer = journal::newer(&disk)?;
            // The superblock may be among what was not in its place yet.
            disk.read_at(1024, &mut superblock)?;
            let shape = Shape::read(&superblock)?;
            if shape.block_size != disk.shape.block_size {
                return Err(damaged("the journal changes the size of blocks"));
            }
            disk.shape = shape;
        }
        Ok(disk)
    }

    /// Bytes of the disk as they are once the journal is in its place.
    fn read_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> Result<(), DiskError> {
        let unread = |source| DiskError::Read { what: WHAT, source };
        if self.newer.is_empty() {
            return self.source.read_exact_at(buffer, offset).map_err(unread);
        }
        while !buffer.is_empty() {
            let (block, within) = (offset / self.shape.block_size, offset % self.shape.block_size);
            let length = buffer.len().min((self.shape.block_size - within) as usize);
            let (now, rest) = buffer.split_at_mut(length);
            let newer = self.newer.get(&block).copied();
            let at = newer.map_or(block, |newer| newer.block);
            let at = at.checked_mul(self.shape.block_size).and_then(|at| at.checked_add(within));
            self.source.read_exact_at(now, whole(at)?).map_err(unread)?;
            if newer.is_some_and(|newer| newer.is_escaped) {
                for (at, byte) in journal::MAGIC.to_be_bytes().into_iter().enumerate() {
                    let place = (at as u64).checked_sub(within).map(|at| at as usize);
                    if let Some(place) = place.and_then(|at| now.get_mut(at)) {
                        *place = byte;
                    }
                }
            }
            buffer = rest;
            offset += length as u64;
        }
        Ok(())
    }

    fn block(&self, block: u64) -> Result<Vec<u8>, DiskError> {
        let mut bytes = vec![0; self.shape.block_size as usize];
        self.read_at(whole(block.checked_mul(self.shape.block_size))?, &mut bytes)?;
        Ok(bytes)
    }

    /// An inode's bytes.
    fn inode(&self, number: u64) -> Result<Vec<u8>, DiskError> {
        let shape = &self.shape;
        if number == 0 || number > shape.inodes.into() {
            return Err(damaged("a name stands for an inode that cannot be"));
        }
        let (group, within) = (
            (number - 1) / u64::from(shape.inodes_per_group),
            (number - 1) % u64::from(shape.inodes_per_group),
        );
        let table = (shape.first_block + 1) * shape.block_size;
        let mut descriptor = vec![0; shape.descriptor_size.into()];
        self.read_at(table + group * u64::from(shape.descriptor_size), &mut descriptor)?;
        let high = if descriptor.len() >= 64 { whole(le32(&descriptor, 0x28))? } else { 0 };
        let block = joined(high, whole(le32(&descriptor, 0x8))?);
        let at = block.checked_mul(shape.block_size);
        let at = at.and_then(|at| at.checked_add(within * u64::from(shape.inode_size)));
        let mut inode = vec![0; shape.inode_size.into()];
        self.read_at(whole(at)?, &mut inode)?;
        Ok(inode)
    }

    /// One run of blocks of a file, or of a hole in it.
    fn run(&self, inode: &[u8], block: u64) -> Result<Run, DiskError> {
        if whole(le32(inode, 0x20))? & EXTENTS_FLAG == 0 {
            let detail = "a file lists its blocks as ext3 did";
            return Err(DiskError::Unsupported { what: WHAT, detail });
        }
        extents::run(whole(part(inode, 0x28, 60))?, block, &|at| self.block(at))
    }

    fn read_blocks(
        &self,
        inode: &[u8],
        mut offset: u64,
        mut buffer: &mut [u8],
    ) -> Result<(), DiskError> {
        let size = self.shape.block_size;
        while !buffer.is_empty() {
            let run = self.run(inode, offset / size)?;
            let within = offset % size;
            let left = run.blocks.saturating_mul(size) - within;
            let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let (now, rest) = buffer.split_at_mut(length);
            match run.start {
                None => now.fill(0),
                Some(start) => {
                    let at = start.checked_mul(size).and_then(|at| at.checked_add(within));
                    self.read_at(whole(at)?, now)?;
                }
            }
            buffer = rest;
            offset += length as u64;
        }
        Ok(())
    }
}

/// Tells its inodes from those of an image below it.
const OF_THE_DISK: u64 = 1 << 63;

fn node_of(id: u64, inode: Vec<u8>) -> Result<Node, DiskError> {
    let half = |at| whole(le16(&inode, at));
    let word = |at| whole(le32(&inode, at));
    let mode = half(0x0)?;
    let links = half(0x1a)?;
    if mode == 0 || links == 0 {
        return Err(damaged("a name stands for a file that was removed"));
    }
    let mut mtime = (i64::from(word(0x10)? as i32), 0);
    if inode.len() > 128 && half(0x80)? >= 0x8c - 0x80 {
        let extra = word(0x88)?;
        mtime = (mtime.0 + (i64::from(extra & 3) << 32), (extra >> 2).min(999_999_999));
    }
    let is_whiteout = mode >> 12 == 0o02 && word(0x28)? == 0 && word(0x2c)? == 0;
    let meta = Meta {
        kind: kind_of(mode),
        size: joined(word(0x6c)?, word(0x4)?),
        mode: u32::from(mode & 0o7777),
        mtime,
        uid: u32::from(half(0x78)?) << 16 | u32::from(half(0x2)?),
        gid: u32::from(half(0x7a)?) << 16 | u32::from(half(0x18)?),
        links: links.into(),
        inode: id | OF_THE_DISK,
        link_target: None,
    };
    Ok(Node { id, meta, is_whiteout, content: inode.into() })
}

impl FileSystem for Ext4 {
    fn what(&self) -> &'static str {
        WHAT
    }

    fn root(&self) -> Result<Node, DiskError> {
        self.node(2)
    }

    fn node(&self, id: u64) -> Result<Node, DiskError> {
        let node = node_of(id, self.inode(id)?)?;
        if node.meta.size > self.shape.block_size << 32 {
            return Err(damaged("a file is larger than one can be"));
        }
        Ok(node)
    }

    fn names(&self, directory: &Node) -> Result<Vec<Name>, DiskError> {
        let size = self.shape.block_size;
        if directory.meta.size > MOST_DIRECTORY {
            return Err(DiskError::TooLarge("a directory"));
        }
        let mut names = Vec::new();
        let mut block = vec![0; size as usize];
        let mut at = 0;
        while at < directory.meta.size {
            let run = self.run(&directory.content, at / size)?;
            if run.start.is_none() {
                return Err(damaged("a directory has a hole"));
            }
            self.read_blocks(&directory.content, at, &mut block)?;
            self.names_of(&block, &mut names)?;
            at += size;
        }
        Ok(names)
    }

    fn read(&self, node: &Node, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let extents = whole(le32(&node.content, 0x20))? & EXTENTS_FLAG != 0;
        if node.meta.kind == Kind::Symlink && !extents {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let inline = whole(part(&node.content, 0x28, 60))?;
            buffer.copy_from_slice(whole(part(inline, from, buffer.len()))?);
            return Ok(());
        }
        self.read_blocks(&node.content, offset, buffer)
    }

    fn overlay_attribute(&self, node: &Node, name: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        if let Some(found) = attributes::in_inode(&node.content, name)? {
            return Ok(Some(found));
        }
        let (low, high) = (whole(le32(&node.content, 0x68))?, whole(le16(&node.content, 0x76))?);
        match joined(high, low) {
            0 => Ok(None),
            block => attributes::in_block(&self.block(block)?, name),
        }
    }
}

impl Ext4 {
    fn names_of(&self, block: &[u8], names: &mut Vec<Name>) -> Result<(), DiskError> {
        let typed = self.shape.incompatible & incompatible::FILE_TYPE != 0;
        let mut at = 0;
        while at + 8 <= block.len() {
            let inode = whole(le32(block, at))?;
            let length = usize::from(whole(le16(block, at + 4))?);
            let [name_length, kind] = *whole(part(block, at + 6, 2))? else {
                return Err(damaged(CUT));
            };
            if length < 8 || length % 4 != 0 || at + length > block.len() {
                return Err(damaged("a directory's entries do not follow each other"));
            }
            if inode != 0 {
                let name = whole(part(&block[..at + length], at + 8, name_length.into()))?;
                if name != b"." && name != b".." {
                    if names.len() == MOST_NAMES {
                        return Err(DiskError::TooLarge("a directory"));
                    }
                    let may_hide = !typed || matches!(kind, 0 | 3);
                    names.push(Name { bytes: name.into(), id: inode.into(), may_hide });
                }
            }
            at += length;
        }
        Ok(())
    }
}
