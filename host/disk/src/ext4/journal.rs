//! The journal of a disk that was not unmounted: which blocks are newer there than in their places.
//!
//! Nothing is written: reading goes by what is found here. The rules are those of jbd2's recovery: only
//! whole transactions count, in their order, until the first that is not there; a block that was revoked
//! later is not taken from before.

use std::collections::HashMap;

use super::{Ext4, Newer};
use crate::{
    DiskError,
    bytes::{be16, be32, be64, joined, part},
};

pub(super) const MAGIC: u32 = 0xc03b_3998;

/// The most blocks that are followed: a journal of 4 GiB.
const MOST_BLOCKS: u32 = 1 << 20;

mod block {
    pub(super) const DESCRIPTOR: u32 = 1;
    pub(super) const COMMIT: u32 = 2;
    pub(super) const SUPERBLOCKS: [u32; 2] = [3, 4];
    pub(super) const REVOKE: u32 = 5;
}

mod feature {
    pub(super) const REVOKE: u32 = 0x1;
    pub(super) const WIDE: u32 = 0x2;
    pub(super) const CHECKSUM_2: u32 = 0x8;
    pub(super) const CHECKSUM_3: u32 = 0x10;
    /// Commits are complete without their blocks being so, which their checksums tell.
    pub(super) const KNOWN: u32 = REVOKE | WIDE | CHECKSUM_2 | CHECKSUM_3;
}

mod tag {
    pub(super) const ESCAPED: u32 = 1;
    pub(super) const SAME_UUID: u32 = 2;
    pub(super) const LAST: u32 = 8;
}

struct Journal<'a> {
    disk: &'a Ext4,
    inode: Vec<u8>,
    features: u32,
    first: u32,
    length: u32,
    seed: u32,
}

/// What a transaction says.
#[derive(Default)]
struct Transaction {
    blocks: Vec<(u64, Newer)>,
    revoked: Vec<u64>,
}

/// Every block that is newer in the journal.
pub(super) fn newer(disk: &Ext4) -> Result<HashMap<u64, Newer>, DiskError> {
    let refuse = DiskError::NeedsRecovery;
    let number = disk.shape.journal_inode;
    if number == 0 {
        return Err(refuse("it is on another device"));
    }
    let mut journal = Journal {
        inode: disk.inode(number.into())?,
        disk,
        features: 0,
        first: 1,
        length: 1,
        seed: 0,
    };
    let superblock = journal.block(0)?;
    let word = |at| be32(&superblock, at).ok_or(refuse("its superblock is cut"));
    let kind = word(4)?;
    if word(0)? != MAGIC || !block::SUPERBLOCKS.contains(&kind) {
        return Err(refuse("it has no superblock"));
    }
    let block_size = u64::from(word(0xc)?);
    let (sequence, start) = (word(0x18)?, word(0x1c)?);
    (journal.length, journal.first) = (word(0x10)?, word(0x14)?);
    if kind == 4 {
        journal.features = word(0x28)?;
        let uuid = part(&superblock, 0x30, 16).ok_or(refuse("its superblock is cut"))?;
        journal.seed = crc32c(!0, uuid);
    }
    if journal.features & !feature::KNOWN != 0 {
        return Err(refuse("it has features that are not known here"));
    }
    if block_size != disk.shape.block_size || journal.length > MOST_BLOCKS {
        return Err(refuse("its superblock makes no sense"));
    }
    if start == 0 {
        return Ok(HashMap::new());
    }
    if journal.first == 0 || start < journal.first || start >= journal.length {
        return Err(refuse("its superblock makes no sense"));
    }
    journal.follow(start, sequence)
}

impl Journal<'_> {
    fn place(&self, block: u32) -> Result<u64, DiskError> {
        let run = self.disk.run(&self.inode, block.into())?;
        run.start.ok_or(DiskError::NeedsRecovery("it has a hole"))
    }

    fn block(&self, block: u32) -> Result<Vec<u8>, DiskError> {
        self.disk.block(self.place(block)?)
    }

    fn after(&self, block: u32) -> u32 {
        if block + 1 >= self.length { self.first } else { block + 1 }
    }

    fn has_checksums(&self) -> bool {
        self.features & (feature::CHECKSUM_2 | feature::CHECKSUM_3) != 0
    }

    /// Whether a block is what its checksum at `at` says.
    fn is_whole(&self, block: &[u8], at: usize) -> bool {
        if !self.has_checksums() {
            return true;
        }
        let (Some(before), Some(said)) = (block.get(..at), be32(block, at)) else { return false };
        let after = block.get(at + 4..).unwrap_or_default();
        crc32c(crc32c(crc32c(self.seed, before), &[0; 4]), after) == said
    }

    fn follow(&self, start: u32, mut sequence: u32) -> Result<HashMap<u64, Newer>, DiskError> {
        let mut committed = Vec::new();
        let mut now = Transaction::default();
        let mut at = start;
        let mut left = self.length;
        let tail = (self.disk.shape.block_size as usize).saturating_sub(4);
        while left > 0 {
            left -= 1;
            let bytes = self.block(at)?;
            at = self.after(at);
            let header = (be32(&bytes, 0), be32(&bytes, 4), be32(&bytes, 8));
            if header.0 != Some(MAGIC) || header.2 != Some(sequence) {
                break;
            }
            match header.1 {
                Some(block::DESCRIPTOR) if self.is_whole(&bytes, tail) => {
                    for (block, is_escaped) in self.tags(&bytes) {
                        if left == 0 {
                            break;
                        }
                        left -= 1;
                        let newer = Newer { block: self.place(at)?, is_escaped };
                        now.blocks.push((block, newer));
                        at = self.after(at);
                    }
                }
                Some(block::REVOKE) if self.is_whole(&bytes, tail) => {
                    now.revoked.extend(self.revoked(&bytes));
                }
                Some(block::COMMIT) if self.is_whole(&bytes, 0x10) => {
                    committed.push(std::mem::take(&mut now));
                    sequence = sequence.wrapping_add(1);
                }
                _ => break,
            }
        }
        Ok(settle(&committed))
    }

    /// The blocks that a descriptor announces, and whether each is escaped.
    fn tags(&self, descriptor: &[u8]) -> Vec<(u64, bool)> {
        let wide = self.features & feature::WIDE != 0;
        let third = self.features & feature::CHECKSUM_3 != 0;
        let second = self.features & feature::CHECKSUM_2 != 0;
        let size = if third { 16 } else { 8 + 2 * usize::from(second) + 4 * usize::from(wide) };
        let end = descriptor.len() - if self.has_checksums() { 4 } else { 0 };
        let mut tags = Vec::new();
        let mut at = 12;
        while at + size <= end {
            let Some(low) = be32(descriptor, at) else { break };
            let flags = if third {
                be32(descriptor, at + 4)
            } else {
                be16(descriptor, at + 6).map(u32::from)
            };
            let Some(flags) = flags else { break };
            let high = if wide { be32(descriptor, at + 8).unwrap_or_default() } else { 0 };
            tags.push((joined(high, low), flags & tag::ESCAPED != 0));
            if flags & tag::LAST != 0 {
                break;
            }
            at += size + if flags & tag::SAME_UUID == 0 { 16 } else { 0 };
        }
        tags
    }

    fn revoked(&self, bytes: &[u8]) -> Vec<u64> {
        let size = if self.features & feature::WIDE != 0 { 8 } else { 4 };
        let end = be32(bytes, 12).map_or(0, |end| end as usize).min(bytes.len());
        let list = bytes.get(16..end).unwrap_or_default().chunks_exact(size);
        list.filter_map(
            |entry| {
                if size == 8 { be64(entry, 0) } else { be32(entry, 0).map(u64::from) }
            },
        )
        .collect()
    }
}

/// What holds in the end: the last of each block, unless it was revoked with it or after it.
fn settle(transactions: &[Transaction]) -> HashMap<u64, Newer> {
    let mut revoked = HashMap::new();
    for (at, transaction) in transactions.iter().enumerate() {
        revoked.extend(transaction.revoked.iter().map(|block| (*block, at)));
    }
    let mut newer = HashMap::new();
    for (at, transaction) in transactions.iter().enumerate() {
        for (block, place) in &transaction.blocks {
            if revoked.get(block).is_none_or(|revoked| *revoked < at) {
                newer.insert(*block, *place);
            }
        }
    }
    newer
}

/// CRC-32C without the last inversion, as the kernel counts it.
fn crc32c(start: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut at = 0;
        while at < 256 {
            let mut value = at as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { value >> 1 ^ 0x82f6_3b78 } else { value >> 1 };
                bit += 1;
            }
            table[at] = value;
            at += 1;
        }
        table
    };
    bytes.iter().fold(start, |sum, byte| sum >> 8 ^ TABLE[usize::from(sum as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(block: u64) -> Newer {
        Newer { block, is_escaped: false }
    }

    #[test]
    fn the_last_of_each_block_counts_unless_it_was_revoked_since() {
        let transactions = [
            Transaction { blocks: vec![(1, at(10)), (2, at(11)), (3, at(12))], revoked: vec![] },
            Transaction { blocks: vec![(1, at(20))], revoked: vec![2, 3] },
            Transaction { blocks: vec![(3, at(30))], revoked: vec![] },
        ];
        assert_eq!(settle(&transactions), HashMap::from([(1, at(20)), (3, at(30))]));
    }

    #[test]
    fn checksums_are_those_of_castagnoli() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
    }
}
