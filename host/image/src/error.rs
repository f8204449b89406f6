//! What can go wrong, one variant per operation.

use std::{io, path::PathBuf, process::ExitStatus};

use pyro_core::{Kind, Problem};

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with images.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program of the distribution is not installed.
    #[error("{program} is not installed")]
    MissingProgram {
        /// The program.
        program: &'static str,
        /// What to install.
        packages: &'static str,
    },
    /// A program could not be started or watched.
    #[error("cannot run {program}")]
    Run {
        /// The program.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error("{program} failed ({status})")]
    Failed {
        /// The program.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The last it said.
        #[source]
        source: LastWords,
        /// Whether it ran without root, in a user namespace.
        unprivileged: bool,
    },
    /// The directory of the cache cannot be used.
    #[error("cannot use the image cache {path}", path = path.display())]
    Cache {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: pyro_directory::DirectoryError,
    },
    /// A file or directory cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or directory cannot be written.
    #[error("cannot write {path}", path = path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or directory cannot be removed.
    #[error("cannot remove {path}", path = path.display())]
    Remove {
        /// What was to be removed.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A record of the cache is not what this version writes.
    #[error("cannot understand {path}", path = path.display())]
    Record {
        /// The record.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The lock file of the kernel's inputs is damaged.
    #[error("cannot understand the lock file of the kernel's inputs")]
    LockFile(#[source] Box<toml::de::Error>),
    /// The archive offered no kernel package.
    #[error("no kernel package {package} came from the package archive")]
    NoKernelPackage {
        /// The package that was asked for.
        package: &'static str,
    },
    /// A kernel image has a form that is not understood.
    #[error("the kernel image is not usable: {reason}")]
    KernelImage {
        /// What is wrong with it.
        reason: String,
    },
    /// The kernel package lacks a module that guests need.
    #[error("the kernel package has no module {module}")]
    MissingModule {
        /// The module.
        module: String,
    },
    /// No kernel has been built.
    #[error("no kernel is installed")]
    NoKernel,
    /// An archive cannot be read.
    #[error("cannot read the tar archive")]
    Archive(#[source] io::Error),
    /// An archive is larger than an image may be.
    #[error("the root file system is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// An archive does not hold a root file system.
    #[error("the archive does not hold a usable root file system: {reason}")]
    NotARoot {
        /// What is missing.
        reason: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// No recipe has this name.
    #[error("there is no environment {name:?} to build")]
    UnknownEnvironment {
        /// The name that was asked for.
        name: String,
        /// The names that would do.
        known: String,
    },
    /// An import would take the place of a built-in environment.
    #[error("{name:?} is the name of a built-in environment")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// An environment is not in the cache.
    #[error("environment {name:?} is not installed")]
    NotInstalled {
        /// The name.
        name: String,
    },
    /// The work was cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// The last lines a failed program printed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct LastWords(pub String);

impl Error {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingProgram { .. } => "missing_program",
            Self::Run { .. } => "program_not_started",
            Self::Failed { .. } => "program_failed",
            Self::Cache { .. } => "image_cache_unusable",
            Self::Read { .. } => "read_failed",
            Self::Write { .. } => "write_failed",
            Self::Remove { .. } => "remove_failed",
            Self::Record { .. } => "image_record_damaged",
            Self::LockFile(_) => "kernel_lock_damaged",
            Self::NoKernelPackage { .. } => "kernel_package_missing",
            Self::KernelImage { .. } => "kernel_image_unusable",
            Self::MissingModule { .. } => "kernel_module_missing",
            Self::NoKernel => "kernel_not_installed",
            Self::Archive(_) => "archive_unreadable",
            Self::TooLarge { .. } => "environment_too_large",
            Self::NotARoot { .. } => "not_a_root_file_system",
            Self::UnknownEnvironment { .. } => "environment_unknown",
            Self::ReservedName { .. } => "environment_name_reserved",
            Self::NotInstalled { .. } => "environment_not_installed",
            Self::Cancelled => "cancelled",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::UnknownEnvironment { .. } => Kind::NotFound,
            Self::Archive(_)
            | Self::TooLarge { .. }
            | Self::NotARoot { .. }
            | Self::ReservedName { .. } => Kind::Invalid,
            Self::NotInstalled { .. } | Self::NoKernel | Self::Cancelled => Kind::Conflict,
            _ => Kind::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::MissingProgram { packages, .. } => Some(format!("apt-get install {packages}")),
            Self::Failed { unprivileged: true, .. } => Some(
                "without root this needs user namespaces, the package uidmap and a range for \
                 this user in /etc/subuid and /etc/subgid; or run it as root"
                    .to_owned(),
            ),
            Self::NoKernel | Self::KernelImage { .. } | Self::MissingModule { .. } => {
                Some("pyro env build debian:12".to_owned())
            }
            Self::NotInstalled { name } => Some(format!("pyro env build {name}")),
            Self::UnknownEnvironment { known, .. } => Some(format!(
                "built-in environments: {known}; any other comes by `pyro env import NAME TAR`"
            )),
            Self::ReservedName { .. } => {
                Some("choose another name, or `pyro env build` for the built-in one".to_owned())
            }
            Self::Cache { .. } => Some("PYRO_CACHE_DIR names another image cache".to_owned()),
            Self::NotARoot { hint, .. } => Some((*hint).to_owned()),
            Self::Record { path, .. } => Some(format!(
                "remove {} and build again: images hold nothing that cannot be built again",
                path.display()
            )),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("pyro env prune".to_owned())
            }
            _ => None,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let mut problem = Self::from_error(error.code(), &error);
        problem.kind = error.kind();
        match error.hint() {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}
