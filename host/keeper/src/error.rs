//! Why a keeper could not do its work.

use std::{io, path::PathBuf};

use pyro_directory::DirectoryError;

/// A keeper could not start its VMM or lost hold of its directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeeperError {
    /// The directory could not be opened, read or written.
    #[error("cannot use the directory {path}")]
    Directory {
        /// The keeper's directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: DirectoryError,
    },
    /// Another keeper lives in the directory.
    #[error("another keeper holds {path}")]
    Held {
        /// The lock file.
        path: PathBuf,
    },
    /// There is no launch file.
    #[error("there is no {path}")]
    NoLaunch {
        /// The launch file.
        path: PathBuf,
    },
    /// The launch file is not what it should be.
    #[error("{path} does not describe a launch")]
    Launch {
        /// The launch file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The event loop, a pipe or a socket could not be made.
    #[error("cannot prepare {what}")]
    Prepare {
        /// What was being made.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The VMM could not be executed.
    #[error("cannot execute {program}")]
    Execute {
        /// The VMM's program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The end of the VMM could not be awaited.
    #[error("cannot wait for the VMM, process {pid}")]
    Wait {
        /// The VMM's process id.
        pid: i32,
        /// Why.
        #[source]
        source: io::Error,
    },
}
