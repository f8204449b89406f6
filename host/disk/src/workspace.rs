//! `/workspace` as a tree, and its upper layer, to find what changed.

use std::io::{self, Read};

use pyro_change::{Kind, Layer, Marker, Meta, Tree};

use crate::{
    DiskError, View,
    overlay::{Below, Overlay, Place, Top, below},
};

/// What is read at once.
const PIECE: usize = 128 << 10;

/// `/workspace`, merged.
#[derive(Clone, Copy, Debug)]
pub struct Merged<'a> {
    overlay: &'a Overlay,
}

/// What was touched in `/workspace`.
#[derive(Clone, Copy, Debug)]
pub struct Upper<'a> {
    overlay: &'a Overlay,
    top: Option<&'a Top>,
}

impl View {
    /// `/workspace`, merged.
    pub fn workspace(&self) -> Merged<'_> {
        Merged { overlay: &self.workspace }
    }

    /// What it was when it was made.
    pub fn baseline(&self) -> Merged<'_> {
        Merged { overlay: &self.baseline }
    }

    /// Its upper layer.
    pub fn workspace_layer(&self) -> Upper<'_> {
        Upper { overlay: &self.workspace, top: self.workspace.upper.as_ref() }
    }
}

fn names_of(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

impl Merged<'_> {
    fn place(self, path: &[u8]) -> Result<Option<Place>, DiskError> {
        let mut place = self.overlay.root();
        for name in names_of(path) {
            place = match place {
                Some(here) if here.is_directory() => self.overlay.child(&here, name)?,
                _ => None,
            };
        }
        Ok(place)
    }

    fn there(self, path: &[u8]) -> Result<Place, DiskError> {
        let place = self.place(path)?;
        place.ok_or_else(|| DiskError::NotFound(String::from_utf8_lossy(path).into_owned()))
    }
}

impl Tree for Merged<'_> {
    fn meta(&self, path: &[u8]) -> io::Result<Option<Meta>> {
        Ok(self.place(path)?.map(|place| place.node().meta.clone()))
    }

    fn names(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        // A workspace that was never started has no layer yet.
        if path.is_empty() && self.overlay.root().is_none() {
            return Ok(Vec::new());
        }
        let place = self.there(path)?;
        if !place.is_directory() {
            let path = String::from_utf8_lossy(path).into_owned();
            return Err(DiskError::NotDirectory(path).into());
        }
        let names = self.overlay.names(&place)?;
        Ok(names.into_iter().map(<[u8]>::into_vec).collect())
    }

    fn open(&self, path: &[u8]) -> io::Result<Box<dyn Read + '_>> {
        let place = self.there(path)?;
        if place.node().meta.kind != Kind::Regular {
            let path = String::from_utf8_lossy(path).into_owned();
            return Err(DiskError::NotRegular(path).into());
        }
        Ok(Box::new(Content::new(self.overlay, place)))
    }
}

/// A file's content, from its beginning.
pub(crate) struct Content<'a> {
    overlay: &'a Overlay,
    place: Place,
    offset: u64,
    piece: Vec<u8>,
    taken: usize,
}

impl<'a> Content<'a> {
    pub(crate) fn new(overlay: &'a Overlay, place: Place) -> Self {
        Self { overlay, place, offset: 0, piece: Vec::new(), taken: 0 }
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.piece.len() {
            let left = self.place.node().meta.size.saturating_sub(self.offset);
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
            self.piece.resize(length, 0);
            let length = self.overlay.read(&self.place, self.offset, &mut self.piece)?;
            self.piece.truncate(length);
            self.offset += length as u64;
            self.taken = 0;
        }
        let rest = self.piece.get(self.taken..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.taken += length;
        Ok(length)
    }
}

impl Layer for Upper<'_> {
    fn has_shared(&self) -> io::Result<bool> {
        Ok(!self.overlay.shared()?.is_empty())
    }

    fn touched(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Marker)>> {
        let Some(top) = self.top else { return Ok(Vec::new()) };
        let mut directory = top.root.clone();
        for name in names_of(path) {
            match top.volume.find(&directory, name)? {
                Some(node) if node.is_directory() => directory = node,
                _ => return Ok(Vec::new()),
            }
        }
        let names = top.volume.names(&directory)?;
        let mut touched = Vec::with_capacity(names.len());
        for name in names.iter().filter(|name| !pyro_archive::is_draft(&name.bytes)) {
            let node = top.volume.node(name.id)?;
            let marker = if node.is_whiteout {
                Marker::Hidden
            } else if !node.is_directory() {
                Marker::File
            } else if matches!(below(&top.volume, &node)?, Below::SameName) {
                Marker::Merged
            } else {
                Marker::Apart
            };
            touched.push((name.bytes.to_vec(), marker));
        }
        Ok(touched)
    }
}
