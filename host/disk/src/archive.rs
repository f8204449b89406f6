//! A file or a directory, out as tar.
//!
//! Modes, times, owners' numbers, symlinks as they stand, any bytes in names. Files with several names are
//! written once for each; pipes, sockets and devices are left out and counted.

use std::{
    ffi::OsStr,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
};

use pyro_change::{Kind, Meta};

use crate::{DiskError, View, view::Spot, workspace::Content};

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Archived {
    /// Files, directories and symlinks.
    pub entries: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Pipes, sockets and devices that were left out.
    pub left_out: u64,
}

/// Tells which side failed: reading errors pass through the archive's writer as those of `io`.
fn failed(error: io::Error) -> DiskError {
    match error.downcast::<DiskError>() {
        Ok(error) => error,
        Err(error) => DiskError::Write(error),
    }
}

fn header(meta: &Meta) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(meta.mode);
    header.set_uid(meta.uid.into());
    header.set_gid(meta.gid.into());
    header.set_mtime(u64::try_from(meta.mtime.0).unwrap_or_default());
    header.set_size(0);
    header
}

impl View {
    /// Writes what is at a path; names in the archive begin at the directory, and a file has its own. A
    /// symlink at the path is followed.
    pub fn archive(&self, path: &[u8], out: impl Write) -> Result<Archived, DiskError> {
        let top = self.resolve(path, true)?;
        let mut archive = tar::Builder::new(out);
        let mut done = Archived::default();
        if top.place.is_directory() {
            self.walk(&top, b"", true, &mut |spot, path| {
                let name = path.strip_prefix(b"/").unwrap_or(path);
                append(&mut archive, spot, name, &mut done)?;
                Ok(true)
            })?;
        } else {
            let name = path.rsplit(|byte| *byte == b'/').find(|name| !name.is_empty());
            append(&mut archive, &top, name.unwrap_or(b"file"), &mut done)?;
        }
        archive.finish().map_err(failed)?;
        Ok(done)
    }
}

fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    spot: &Spot<'_>,
    name: &[u8],
    done: &mut Archived,
) -> Result<(), DiskError> {
    let meta = &spot.place.node().meta;
    let mut header = header(meta);
    let name = OsStr::from_bytes(name);
    match meta.kind {
        Kind::Other => {
            done.left_out += 1;
            return Ok(());
        }
        Kind::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            archive.append_data(&mut header, name, io::empty()).map_err(failed)?;
        }
        Kind::Symlink => {
            header.set_entry_type(tar::EntryType::Symlink);
            let target = meta.link_target.as_deref().unwrap_or_default();
            // As it stands there: as a path it would be tidied, which is left to those that are too long.
            if header.set_link_name_literal(target).is_ok() {
                archive.append_data(&mut header, name, io::empty()).map_err(failed)?;
            } else {
                let target = OsStr::from_bytes(target);
                archive.append_link(&mut header, name, target).map_err(failed)?;
            }
        }
        Kind::Regular => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(meta.size);
            let content = Content::new(spot.overlay, spot.place.clone());
            archive.append_data(&mut header, name, content).map_err(failed)?;
            done.bytes += meta.size;
        }
    }
    done.entries += 1;
    Ok(())
}
