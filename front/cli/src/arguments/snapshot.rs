//! Verbs on snapshots, and the reset.

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;

use crate::completion;

#[derive(Subcommand, Debug)]
pub(crate) enum SnapshotVerb {
    /// Take a snapshot of a workspace's whole disk, while everything keeps running
    ///
    /// Whoever writes to the disk waits until it is copied; how long is told.
    #[command(after_help = "Example:\n  pyro snapshot create web before-upgrade")]
    Create(SnapshotArguments),
    /// List the snapshots of a workspace: the baseline, then the newest first
    #[command(visible_alias = "ls")]
    List(SnapshotsArguments),
    /// Delete a snapshot
    #[command(visible_alias = "rm")]
    Delete(SnapshotArguments),
}

impl SnapshotVerb {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::Create(arguments) | Self::Delete(arguments) => arguments.json,
            Self::List(arguments) => arguments.json,
        }
    }
}

/// One snapshot.
#[derive(Args, Debug)]
pub(crate) struct SnapshotArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// The snapshot's name
    #[arg(value_name = "SNAPSHOT_NAME", add = ArgValueCandidates::new(completion::snapshots))]
    pub(crate) snapshot: String,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// The snapshots of one workspace.
#[derive(Args, Debug)]
pub(crate) struct SnapshotsArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Print them as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Give a workspace the disk of a snapshot, and start it
///
/// Services that ran run again; commands, their output and all other services are forgotten. Snapshots,
/// ports, network, name and labels stay. Where it fails the workspace is as it was.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pyro reset web                              what it was when it was made
  pyro reset web --snapshot before-upgrade")]
pub(crate) struct ResetArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Which snapshot
    #[arg(long, value_name = "NAME", default_value = "baseline",
        add = ArgValueCandidates::new(completion::snapshots))]
    pub(crate) snapshot: String,
    /// Forget the services that ran, rather than run them again
    #[arg(long)]
    pub(crate) no_resume: bool,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
