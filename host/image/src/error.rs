//! What can go wrong, one variant per operation.

use std::{io, path::PathBuf, process::ExitStatus};

use pyro_core::{Kind, Problem, is_disk_full};

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
    /// An archive is not taken for a seed.
    #[error("the files cannot be taken")]
    Seed {
        /// What is wrong with it.
        #[source]
        source: pyro_archive::Error,
    },
    /// An archive does not hold a root file system.
    #[error("the archive does not hold a usable root file system: {reason}")]
    NotARoot {
        /// What is missing.
        reason: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// Nothing is installed under this name, and no recipe has it.
    #[error("there is no environment {name:?}")]
    UnknownEnvironment {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// No recipe has this name, so that it cannot be built.
    #[error("{name:?} is not in the catalogue, so it cannot be built")]
    NotInCatalogue {
        /// The name.
        name: String,
        /// The names in it.
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
        if self.is_disk_full() {
            return "host_disk_full";
        }
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
            Self::Seed { source } => source.code(),
            Self::NotARoot { .. } => "not_a_root_file_system",
            Self::UnknownEnvironment { .. } | Self::NotInCatalogue { .. } => "environment_unknown",
            Self::ReservedName { .. } => "environment_name_reserved",
            Self::NotInstalled { .. } => "environment_not_installed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the host's disk is full: a call said so, or a program did with its last words.
    fn is_disk_full(&self) -> bool {
        match self {
            Self::Failed { source: LastWords(said), .. } => {
                said.contains("No space left on device") || said.contains("Disk quota exceeded")
            }
            _ => is_disk_full(self),
        }
    }

    fn kind(&self) -> Kind {
        if self.is_disk_full() {
            return Kind::Failed;
        }
        match self {
            Self::UnknownEnvironment { .. } | Self::NotInCatalogue { .. } => Kind::NotFound,
            Self::Archive(_)
            | Self::TooLarge { .. }
            | Self::Seed { .. }
            | Self::NotARoot { .. }
            | Self::ReservedName { .. } => Kind::Invalid,
            Self::NotInstalled { .. } | Self::NoKernel | Self::Cancelled => Kind::Conflict,
            _ => Kind::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        if self.is_disk_full() {
            return Some(
                "free space on the host's disk; `pyro df` shows what pyro uses, `pyro env prune` \
                 deletes images that nothing needs"
                    .to_owned(),
            );
        }
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
            Self::UnknownEnvironment { known, .. } => {
                Some(format!("there are: {known}; any other comes by `pyro env import NAME TAR`"))
            }
            Self::NotInCatalogue { known, .. } => Some(format!(
                "the catalogue has: {known}; an imported one is renewed by `pyro env import`"
            )),
            Self::ReservedName { .. } => {
                Some("choose another name, or `pyro env build` for the built-in one".to_owned())
            }
            Self::Cache { .. } => Some("PYRO_CACHE_DIR names another image cache".to_owned()),
            Self::Seed { source } => source.hint().map(str::to_owned),
            Self::NotARoot { hint, .. } => Some((*hint).to_owned()),
            Self::Record { path, .. } => Some(format!(
                "remove {} and build again: images hold nothing that cannot be built again",
                path.display()
            )),
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

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_full_disk_is_told_wherever_it_was_met() {
        let full = || io::Error::from_raw_os_error(28);
        let quota = || io::Error::from_raw_os_error(122);
        let said = "mksquashfs: write failed because No space left on device".to_owned();
        let errors = [
            Error::Write { path: "/c/x".into(), source: full() },
            Error::Write { path: "/c/x".into(), source: quota() },
            Error::Cache {
                path: "/c".into(),
                source: pyro_directory::DirectoryError::Write {
                    path: "/c/names/x".into(),
                    source: full(),
                },
            },
            Error::Failed {
                program: "mksquashfs",
                status: ExitStatus::from_raw(256),
                source: LastWords(said),
                unprivileged: true,
            },
        ];
        for error in errors {
            let problem = Problem::from(error);
            assert_eq!(problem.code, "host_disk_full", "{problem}");
            assert!(problem.hints[0].contains("pyro df"), "{problem:?}");
        }
        let denied = Error::Write { path: "/c/x".into(), source: io::Error::from_raw_os_error(13) };
        assert_eq!(Problem::from(denied).code, "write_failed");
    }
}
