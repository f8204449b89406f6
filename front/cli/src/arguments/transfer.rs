//! Files of this host into a workspace, and a workspace's onto this host.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::ArgValueCandidates;

use crate::completion;

/// Take a file or a directory out of a workspace
///
/// It is at --output whole or not at all. Nothing in it can write elsewhere on this host: links are made as
/// they are, and never followed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pyro export web dist --output ./dist
  pyro export web /workspace --output snapshot.tar.zst --format tar.zst
  pyro export web --diff --output ./changed")]
pub(crate) struct ExportArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Absolute, or relative to /workspace
    #[arg(default_value = "/workspace")]
    pub(crate) path: OsString,
    /// Where to; nothing may be there
    #[arg(long, short = 'o', value_name = "PATH")]
    pub(crate) output: PathBuf,
    /// What it becomes [default: as it is]
    #[arg(long, default_value = "dir", hide_default_value = true)]
    pub(crate) format: ExportFormat,
    /// Only what is different from what the workspace began with
    #[arg(long)]
    pub(crate) diff: bool,
    /// Replace what is at --output
    #[arg(long, short = 'f')]
    pub(crate) force: bool,
    /// Fail rather than start a stopped workspace
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Print what was taken out as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
pub(crate) enum ExportFormat {
    /// A file, a directory or a link, as it is
    Dir,
    /// A tar
    Tar,
    /// A tar, compressed by Zstandard
    #[value(name = "tar.zst")]
    TarZst,
}

#[derive(Subcommand, Debug)]
pub(crate) enum SyncVerb {
    Push(SyncPushArguments),
    Pull(SyncPullArguments),
}

impl SyncVerb {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::Push(arguments) => arguments.json,
            Self::Pull(arguments) => arguments.json,
        }
    }
}

/// Bring a directory or an archive of this host into a workspace that runs
///
/// Each file comes whole or not at all, with modes, times and links; it is root's there.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pyro sync push web ./src --dest /workspace/src --delete
  pyro sync push web release.tar.zst --dest /opt/release
  pyro sync push web . --respect-ignore --exclude '*.log'")]
pub(crate) struct SyncPushArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// A directory, or a .tar, .tar.gz or .tar.zst, of this host
    pub(crate) source_path: PathBuf,
    /// A directory of the workspace; made where it is not there
    #[arg(long, value_name = "PATH", default_value = "/workspace")]
    pub(crate) dest: OsString,
    /// Remove what is there and not in the source
    #[arg(long)]
    pub(crate) delete: bool,
    /// Leave such names out, as in a .gitignore; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Leave out what .gitignore and .pyroignore name
    #[arg(long)]
    pub(crate) respect_ignore: bool,
    /// Fail rather than start a stopped workspace
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Print what was brought as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Take home what was changed in a workspace, onto the directory it began with
///
/// Only what is different is taken, and only where this host's file is still what the workspace began
/// with, or what was taken of it last; else it is a conflict, and nothing is changed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pyro sync pull web --to . --check
  pyro sync pull web --to . --interactive
  pyro sync pull web src --to .")]
pub(crate) struct SyncPullArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Only these paths and what is in them
    pub(crate) paths: Vec<String>,
    /// The directory of this host
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
    /// Say what would be, and change nothing
    #[arg(long)]
    pub(crate) check: bool,
    /// Ask of each path whether it is taken, with its difference at hand
    #[arg(long, short = 'i', conflicts_with_all = ["check", "json", "force", "skip_conflicts"])]
    pub(crate) interactive: bool,
    /// Take the rest where there are conflicts
    #[arg(long, conflicts_with = "force")]
    pub(crate) skip_conflicts: bool,
    /// Write over this host's files where there are conflicts
    #[arg(long, short = 'f')]
    pub(crate) force: bool,
    /// Fail rather than start a stopped workspace
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Print what became of each path as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Copy files between this host and a workspace
///
/// A side that is in a workspace is WORKSPACE:PATH. As with cp -a, a directory that is there gets what is
/// copied into it.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pyro cp web:/var/log/app.log .
  pyro cp ./config.toml web:/etc/app/config.toml
  pyro cp ./src web:lib")]
pub(crate) struct CopyArguments {
    /// What: a path of this host, or WORKSPACE:PATH
    #[arg(value_name = "SOURCE")]
    pub(crate) from: OsString,
    /// Where to: a path of this host, or WORKSPACE:PATH
    #[arg(value_name = "TARGET")]
    pub(crate) to: OsString,
    /// Replace what is there
    #[arg(long, short = 'f')]
    pub(crate) force: bool,
    /// Print what was copied as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
