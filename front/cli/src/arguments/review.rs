//! What is different, and patches.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;

use crate::completion;

/// Show what is different in /workspace from what it began with, or between two snapshots
///
/// The answer can be applied: `pyro diff W --patch | git apply`. What is in .git, and new directories with
/// much in them, is counted only; --all shows it. What may run by itself is marked.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pyro diff web
  pyro diff web src --stat
  pyro diff web --name-only --all
  pyro diff web --from before --to after
  pyro diff web --patch > changes.patch")]
pub(crate) struct DiffArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Only these paths and what is in them
    pub(crate) paths: Vec<String>,
    /// What it was: baseline, now, or the name of a snapshot [default: baseline]
    #[arg(long, value_name = "SNAPSHOT")]
    pub(crate) from: Option<String>,
    /// What became of it: baseline, now, or the name of a snapshot [default: now]
    #[arg(long, value_name = "SNAPSHOT")]
    pub(crate) to: Option<String>,
    /// Count changed lines, file by file
    #[arg(long, conflicts_with_all = ["name_only", "patch"])]
    pub(crate) stat: bool,
    /// Print only the names of what is different
    #[arg(long, conflicts_with = "patch")]
    pub(crate) name_only: bool,
    /// Print all patches byte for byte and nothing else, for git apply: without what is in .git
    #[arg(long, conflicts_with = "json")]
    pub(crate) patch: bool,
    /// Show what is in .git and in huge new directories too
    #[arg(long, short = 'a')]
    pub(crate) all: bool,
    /// Tell files that only have another name as renamed
    #[arg(long, short = 'M')]
    pub(crate) renames: bool,
    /// Leave out a longer patch of one file, up to 4 MiB [default: 1 MiB]
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_patch_bytes: Option<u64>,
    /// Fail rather than start a stopped workspace
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Print everything as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum PatchVerb {
    Apply(PatchApplyArguments),
}

impl PatchVerb {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::Apply(arguments) => arguments.json,
        }
    }
}

/// Change files of a workspace as a patch says, all or nothing
///
/// Takes what `git diff` and `diff -u` write, and what models do: wrong line numbers and counts are mended.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pyro patch apply web --patch-file fix.patch
  git diff | pyro patch apply web --patch-file -
  pyro patch apply web --patch-file fix.patch --check")]
pub(crate) struct PatchApplyArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// The patch itself
    #[arg(
        long,
        required_unless_present = "patch_file",
        conflicts_with = "patch_file",
        allow_hyphen_values = true
    )]
    pub(crate) patch: Option<String>,
    /// A file of this host that holds it; - is standard input
    #[arg(long, value_name = "PATH")]
    pub(crate) patch_file: Option<PathBuf>,
    /// What names in it are relative to
    #[arg(long, value_name = "PATH", default_value = "/workspace")]
    pub(crate) base: String,
    /// Say what would be, and change nothing
    #[arg(long)]
    pub(crate) check: bool,
    /// Fail rather than start a stopped workspace
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Print what changed as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
