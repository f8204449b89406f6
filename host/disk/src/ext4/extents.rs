//! Where a file's blocks are: a tree of at most six levels, the first of them in the inode.

use super::{CUT, damaged, whole};
use crate::{
    DiskError,
    bytes::{joined, le16, le32, part},
};

const MAGIC: u16 = 0xf30a;
/// As in Linux.
const DEEPEST: u16 = 5;
/// A longer run is one that was reserved and not written: it reads as zeros.
const LONGEST_WRITTEN: u16 = 0x8000;

/// Blocks that follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    /// The first; none: nothing but zeros.
    pub(super) start: Option<u64>,
    /// How many, at least one.
    pub(super) blocks: u64,
}

/// The run that begins with that block of the file.
pub(super) fn run(
    root: &[u8],
    block: u64,
    read: &dyn Fn(u64) -> Result<Vec<u8>, DiskError>,
) -> Result<Run, DiskError> {
    let mut node = root.to_vec();
    let mut above = None;
    // Up to where nothing else is said.
    let mut limit = u64::from(u32::MAX) + 1;
    if block >= limit {
        return Ok(Run { start: None, blocks: 1 });
    }
    loop {
        if whole(le16(&node, 0))? != MAGIC {
            return Err(damaged("a file's blocks are listed by what is no list"));
        }
        let (entries, depth) = (usize::from(whole(le16(&node, 2))?), whole(le16(&node, 6))?);
        if depth > DEEPEST || above.is_some_and(|above: u16| above.checked_sub(1) != Some(depth)) {
            return Err(damaged("the lists of a file's blocks do not fit each other"));
        }
        let list = part(&node, 12, entries * 12).ok_or_else(|| damaged(CUT))?;
        let mut chosen = None;
        for entry in list.chunks_exact(12) {
            let first = u64::from(whole(le32(entry, 0))?);
            if first > block {
                limit = limit.min(first);
                break;
            }
            chosen = Some((first, entry));
        }
        let hole = |limit: u64| Run { start: None, blocks: limit - block };
        let Some((first, entry)) = chosen else { return Ok(hole(limit)) };
        if depth == 0 {
            let length = whole(le16(entry, 4))?;
            let (length, written) = match length {
                0 => return Err(damaged("a run of blocks is empty")),
                1..=LONGEST_WRITTEN => (u64::from(length), true),
                _ => (u64::from(length - LONGEST_WRITTEN), false),
            };
            let into = block - first;
            if into >= length {
                return Ok(hole(limit));
            }
            let start = joined(whole(le16(entry, 6))?, whole(le32(entry, 8))?);
            let blocks = (length - into).min(limit - block);
            return Ok(Run { start: written.then_some(start + into), blocks });
        }
        let next = joined(whole(le16(entry, 8))?, whole(le32(entry, 4))?);
        above = Some(depth);
        node = read(next)?;
    }
}
