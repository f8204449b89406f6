//! Extended attributes, of which only those of overlays are looked for.

use super::{damaged, whole};
use crate::{
    DiskError,
    bytes::{le16, le32, part},
};

const MAGIC: u32 = 0xea02_0000;
/// Of `trusted.`, which is not written out.
const TRUSTED: u8 = 4;
const PREFIX: &[u8] = b"overlay.";

/// Among those in the inode itself, behind its fields.
pub(super) fn in_inode(inode: &[u8], name: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
    if inode.len() <= 128 {
        return Ok(None);
    }
    let at = 128 + usize::from(whole(le16(inode, 0x80))?);
    if le32(inode, at) != Some(MAGIC) {
        return Ok(None);
    }
    let entries = whole(inode.get(at + 4..))?;
    find(entries, entries, name)
}

/// Among those in a block of their own.
pub(super) fn in_block(block: &[u8], name: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
    if le32(block, 0) != Some(MAGIC) {
        return Err(damaged("attributes are where none can be"));
    }
    find(whole(block.get(32..))?, block, name)
}

/// `values` is what the places of values are counted from.
fn find(mut entries: &[u8], values: &[u8], name: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
    while let Some(word) = le32(entries, 0) {
        if word == 0 {
            break;
        }
        let [length, index] = *whole(part(entries, 0, 2))? else { break };
        let found = whole(part(entries, 16, length.into()))?;
        if index == TRUSTED && found.strip_prefix(PREFIX) == Some(name) {
            if whole(le32(entries, 4))? != 0 {
                return Err(damaged("an attribute of an overlay is in an inode of its own"));
            }
            let (at, size) = (whole(le16(entries, 2))?, whole(le32(entries, 8))?);
            let value = whole(part(values, at.into(), size as usize))?;
            return Ok(Some(value.to_vec()));
        }
        let whole_length = (16 + usize::from(length)).next_multiple_of(4);
        entries = whole(entries.get(whole_length..))?;
    }
    Ok(None)
}
