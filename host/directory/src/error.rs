//! What can go wrong in a directory, one variant per operation.

use std::{io, path::PathBuf};

/// An operation in a private directory failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The directory could not be made.
    #[error("cannot create the directory {path}")]
    Create {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The directory could not be opened.
    #[error("cannot open the directory {path}")]
    Open {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was given is not the name of an entry: names hold no slash.
    #[error("{name:?} is not a file name in {path}")]
    Name {
        /// The directory.
        path: PathBuf,
        /// The name as given.
        name: String,
    },
    /// A socket could not be bound.
    #[error("cannot listen on {path}")]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A socket could not be connected to.
    #[error("cannot connect to {path}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is longer than the reader allows.
    #[error("{path} is longer than {limit} bytes")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The longest allowed, in bytes.
        limit: usize,
    },
    /// A file could not be written; what stood there before still stands.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file could not be copied; nothing of the copy is left.
    #[error("cannot copy {from} to {to}")]
    Copy {
        /// The file.
        from: PathBuf,
        /// The copy.
        to: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A copy was given up; nothing of it is left.
    #[error("the copy {path} was given up")]
    GivenUp {
        /// The copy.
        path: PathBuf,
    },
    /// A lock could not be taken or looked at.
    #[error("cannot lock {path}")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file could not be removed.
    #[error("cannot remove {path}")]
    Remove {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl DirectoryError {
    /// The operating system's error, where there is one.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Create { source, .. }
            | Self::Open { source, .. }
            | Self::Bind { source, .. }
            | Self::Connect { source, .. }
            | Self::Read { source, .. }
            | Self::Write { source, .. }
            | Self::Copy { source, .. }
            | Self::Lock { source, .. }
            | Self::Remove { source, .. } => Some(source.kind()),
            Self::Name { .. } | Self::TooLong { .. } | Self::GivenUp { .. } => None,
        }
    }
}
