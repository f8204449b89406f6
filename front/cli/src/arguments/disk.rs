//! Verbs on the disks of stopped workspaces.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;

use crate::completion;

#[derive(Subcommand, Debug)]
pub(crate) enum DiskVerb {
    #[command(visible_alias = "ls")]
    List(DiskListArguments),
    #[command(visible_alias = "cat")]
    Read(DiskReadArguments),
    Export(DiskExportArguments),
}

impl DiskVerb {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::List(arguments) => arguments.json,
            Self::Read(arguments) => arguments.json,
            Self::Export(arguments) => arguments.json,
        }
    }
}

/// List what is in a directory of a stopped workspace, without starting it
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pyro disk list web\n  pyro disk list web /etc --recursive --json"
)]
pub(crate) struct DiskListArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Absolute, or relative to /workspace
    #[arg(default_value = "/workspace")]
    pub(crate) path: OsString,
    /// Go into directories
    #[arg(long, short = 'r')]
    pub(crate) recursive: bool,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print a file of a stopped workspace, without starting it
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pyro disk read web src/app.py
  pyro disk read web /var/log/dpkg.log --content-only > dpkg.log")]
pub(crate) struct DiskReadArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Absolute, or relative to /workspace
    pub(crate) path: OsString,
    /// The most bytes, up to 1 MiB
    #[arg(long, default_value_t = 65536)]
    pub(crate) max_bytes: u64,
    /// Begin at this byte
    #[arg(long)]
    pub(crate) offset: Option<u64>,
    /// Print the content as it is, also on a terminal
    #[arg(long, conflicts_with = "json")]
    pub(crate) content_only: bool,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Write the disk of a stopped workspace to a file, as raw ext4
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  pyro disk export web --output web.ext4 && sudo mount -o loop,ro web.ext4 /mnt"
)]
pub(crate) struct DiskExportArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// The file; it must not be there yet
    #[arg(long, short = 'o', value_name = "PATH")]
    pub(crate) output: PathBuf,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
