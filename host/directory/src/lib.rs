//! A private directory: sockets by any path length, whole-file writes, locks.
//!
//! Owns how a program keeps its files and sockets in one directory: every name is resolved from an
//! open handle, so a directory's path may be longer than a socket address allows (108 bytes) and
//! may hold any character. Refuses to know what the files mean.

mod copy;
mod directory;
mod error;
mod lock;

pub use copy::{Copied, PARTIAL, SparseCopy, copy_data, copy_sparse};
pub use directory::Directory;
pub use error::DirectoryError;
pub use lock::Lock;
