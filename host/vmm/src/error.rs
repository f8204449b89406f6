//! Why a machine could not be described or a host not be examined.

use std::{io, path::PathBuf};

use pyro_core::Problem;
use pyro_directory::DirectoryError;

/// An operation of this crate failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmmError {
    /// A path is not UTF-8.
    #[error("{} is not text: paths of images must be UTF-8", path.display())]
    NotText {
        /// The path, as far as it can be shown.
        path: PathBuf,
    },
    /// A file of the keeper's directory could not be written or removed.
    #[error("cannot prepare {path} for a VM")]
    Prepare {
        /// The keeper's directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: DirectoryError,
    },
    /// A file that a machine is made of could not be looked at.
    #[error("cannot look at {}", path.display())]
    Look {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A machine could not be saved.
    #[error("cannot save the machine: {step}")]
    Save {
        /// What failed.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The time since the host booted could not be told apart from another's.
    #[error("cannot read the host's boot id")]
    BootId {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program did not say its version.
    #[error("{} does not say its version", program.display())]
    Version {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Firecracker did not answer on its API socket.
    #[error("firecracker does not answer {request}")]
    Api {
        /// The method and path.
        request: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl VmmError {
    /// A stable name of the variant.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotText { .. } => "path_not_utf8",
            Self::Prepare { .. } | Self::Look { .. } => "vm_prepare_failed",
            Self::Save { .. } => "template_failed",
            Self::BootId { .. } => "boot_id_unreadable",
            Self::Version { .. } => "version_unknown",
            Self::Api { .. } => "firecracker_api_failed",
        }
    }
}

impl From<VmmError> for Problem {
    fn from(error: VmmError) -> Self {
        Self::from_error(error.code(), &error)
    }
}
