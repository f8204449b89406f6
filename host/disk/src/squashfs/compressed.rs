//! Blocks of data and metadata, unpacked; the last of them are kept.

use std::{
    collections::HashMap,
    io::Read,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{DiskError, Source};

/// In the length of a block of data: it is stored as it is.
pub(super) const HOLDS_PLAIN: u32 = 1 << 24;
/// The same of metadata.
const METADATA_PLAIN: u16 = 1 << 15;
/// What a block of metadata holds.
const METADATA: usize = 8192;
/// How many unpacked blocks are kept: at most 16 MiB of metadata, and of data at most 8.
const METADATA_KEPT: usize = 2048;
const DATA_KEPT: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compression {
    Gzip,
    Lz4,
    Zstd,
}

impl Compression {
    /// Unpacks, to no more than `most` bytes.
    fn unpack(self, packed: &[u8], most: usize) -> Option<Vec<u8>> {
        match self {
            Self::Gzip => {
                let mut bytes = Vec::new();
                let mut reader = flate2::read::ZlibDecoder::new(packed).take(most as u64 + 1);
                reader.read_to_end(&mut bytes).ok()?;
                Some(bytes).filter(|bytes| bytes.len() <= most)
            }
            Self::Lz4 => {
                let mut bytes = vec![0; most];
                let length = lz4_flex::block::decompress_into(packed, &mut bytes).ok()?;
                bytes.truncate(length);
                Some(bytes)
            }
            Self::Zstd => zstd::bulk::decompress(packed, most).ok(),
        }
    }
}

/// A block of metadata, and where the next begins.
type Metadata = (Arc<Vec<u8>>, u64);

pub(super) struct Blocks {
    pub(super) what: &'static str,
    source: Arc<dyn Source>,
    compression: Compression,
    metadata: Mutex<HashMap<u64, Metadata>>,
    data: Mutex<Vec<(u64, Arc<Vec<u8>>)>>,
}

impl Blocks {
    pub(super) fn new(
        source: Arc<dyn Source>,
        what: &'static str,
        compression: Compression,
    ) -> Self {
        Self { what, source, compression, metadata: Mutex::default(), data: Mutex::default() }
    }

    pub(super) fn damaged(&self, detail: &'static str) -> DiskError {
        DiskError::Damaged { what: self.what, detail }
    }

    /// Bytes as they are stored.
    pub(super) fn raw(&self, at: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let unread = |source| DiskError::Read { what: self.what, source };
        self.source.read_exact_at(buffer, at).map_err(unread)
    }

    fn metadata_block(&self, at: u64) -> Result<Metadata, DiskError> {
        {
            let kept = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = kept.get(&at) {
                return Ok(found.clone());
            }
        }
        let mut header = [0; 2];
        self.raw(at, &mut header)?;
        let header = u16::from_le_bytes(header);
        let length = usize::from(header & !METADATA_PLAIN);
        let mut bytes = vec![0; length];
        self.raw(at.saturating_add(2), &mut bytes)?;
        if header & METADATA_PLAIN == 0 {
            let unpacked = self.compression.unpack(&bytes, METADATA);
            bytes = unpacked.ok_or_else(|| self.damaged("a block cannot be unpacked"))?;
        }
        if bytes.is_empty() || bytes.len() > METADATA {
            return Err(self.damaged("a block of metadata has no size that can be"));
        }
        let found = (Arc::new(bytes), at.saturating_add(2 + length as u64));
        let mut kept = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= METADATA_KEPT {
            kept.clear();
        }
        kept.insert(at, found.clone());
        Ok(found)
    }

    /// So many bytes of metadata, from there on.
    pub(super) fn metadata(
        &self,
        block: u64,
        within: usize,
        length: usize,
    ) -> Result<Vec<u8>, DiskError> {
        let bytes = self.gather(block, within, length, false)?;
        if bytes.len() < length { Err(self.damaged("metadata is cut")) } else { Ok(bytes) }
    }

    /// The same, or as many as there are.
    pub(super) fn metadata_up_to(
        &self,
        block: u64,
        within: usize,
        length: usize,
    ) -> Result<Vec<u8>, DiskError> {
        self.gather(block, within, length, true)
    }

    fn gather(
        &self,
        mut block: u64,
        mut within: usize,
        length: usize,
        may_end: bool,
    ) -> Result<Vec<u8>, DiskError> {
        let mut gathered = Vec::new();
        while gathered.len() < length {
            let (bytes, next) = match self.metadata_block(block) {
                // What follows the last block is something else.
                Err(_) if may_end && !gathered.is_empty() => break,
                other => other?,
            };
            if within >= METADATA {
                within -= METADATA;
            } else {
                let part = bytes.get(within..).unwrap_or_default();
                if part.is_empty() {
                    break;
                }
                gathered.extend_from_slice(&part[..part.len().min(length - gathered.len())]);
                within = 0;
                if bytes.len() < METADATA {
                    break;
                }
            }
            block = next;
        }
        Ok(gathered)
    }

    /// A block of data.
    pub(super) fn data(
        &self,
        at: u64,
        stored: u32,
        most: usize,
    ) -> Result<Arc<Vec<u8>>, DiskError> {
        {
            let mut kept = self.data.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = kept.iter().position(|(of, _)| *of == at) {
                let found = kept.remove(place);
                let bytes = found.1.clone();
                kept.push(found);
                return Ok(bytes);
            }
        }
        let length = (stored & (HOLDS_PLAIN - 1)) as usize;
        if length > most {
            return Err(self.damaged("a block is longer than blocks are"));
        }
        let mut bytes = vec![0; length];
        self.raw(at, &mut bytes)?;
        if stored & HOLDS_PLAIN == 0 {
            let unpacked = self.compression.unpack(&bytes, most);
            bytes = unpacked.ok_or_else(|| self.damaged("a block cannot be unpacked"))?;
        }
        let bytes = Arc::new(bytes);
        let mut kept = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= DATA_KEPT {
            kept.remove(0);
        }
        kept.push((at, bytes.clone()));
        Ok(bytes)
    }
}
