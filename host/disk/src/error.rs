//! What can go wrong with a disk.

use std::io;

/// A disk could not be read, or does not hold what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Its bytes could not be had.
    #[error("the {what} cannot be read")]
    Read {
        /// Which disk.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its structures make no sense.
    #[error("the {what} is damaged: {detail}")]
    Damaged {
        /// Which disk.
        what: &'static str,
        /// What was found.
        detail: &'static str,
    },
    /// It is made in a way that is not known here.
    #[error("the {what} cannot be read here: {detail}")]
    Unsupported {
        /// Which disk.
        what: &'static str,
        /// What it needs.
        detail: &'static str,
    },
    /// Its journal cannot be read, and without it the disk is not what it was last.
    #[error("the workspace disk was not left in order, and its journal cannot be read: {0}")]
    NeedsRecovery(&'static str),
    /// Nothing is there.
    #[error("there is no {0:?}")]
    NotFound(String),
    /// Something on the way there is no directory.
    #[error("{0:?} does not lead through directories")]
    NotDirectory(String),
    /// A directory, and a file was asked for.
    #[error("{0:?} is a directory")]
    IsDirectory(String),
    /// A pipe, a socket, a device.
    #[error("{0:?} is no regular file")]
    NotRegular(String),
    /// Symlinks lead to each other.
    #[error("too many symlinks on the way to {0:?}")]
    Loop(String),
    /// More than is read at once.
    #[error("{0} is too large to be read")]
    TooLarge(&'static str),
    /// What was read could not be written where it was to go.
    #[error("cannot write what was read")]
    Write(#[source] io::Error),
}

impl From<DiskError> for io::Error {
    fn from(error: DiskError) -> Self {
        let kind = match &error {
            DiskError::Read { source, .. } | DiskError::Write(source) => source.kind(),
            DiskError::NotFound(_) => io::ErrorKind::NotFound,
            DiskError::NotDirectory(_) => io::ErrorKind::NotADirectory,
            DiskError::IsDirectory(_) => io::ErrorKind::IsADirectory,
            DiskError::Unsupported { .. } => io::ErrorKind::Unsupported,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
