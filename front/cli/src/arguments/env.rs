//! Verbs on environments.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;

use super::JsonArguments;
use crate::completion;

#[derive(Subcommand, Debug)]
pub(crate) enum EnvVerb {
    /// List environments: those that can be built, then those that were imported
    List(JsonArguments),
    Inspect(InspectArguments),
    #[command(visible_alias = "pull")]
    Build(BuildArguments),
    Import(ImportArguments),
    #[command(visible_alias = "rm")]
    Delete(DeleteEnvironmentArguments),
    /// Delete images that have no name and that no workspace of this node uses
    ///
    /// Nodes that share an image cache do not know of each other's workspaces.
    Prune(JsonArguments),
}

impl EnvVerb {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::List(arguments) | Self::Prune(arguments) => arguments.json,
            Self::Inspect(arguments) => arguments.json,
            Self::Build(arguments) => arguments.json,
            Self::Import(arguments) => arguments.json,
            Self::Delete(arguments) => arguments.json,
        }
    }
}

/// Show an environment
#[derive(Args, Debug)]
pub(crate) struct InspectArguments {
    /// The environment
    #[arg(add = ArgValueCandidates::new(completion::environments))]
    pub(crate) environment: String,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Build an environment of the catalogue, unless it is up to date
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  pyro env build debian:12")]
pub(crate) struct BuildArguments {
    /// The environment
    #[arg(add = ArgValueCandidates::new(completion::environments))]
    pub(crate) environment: String,
    /// Build it even if it is up to date
    #[arg(long)]
    pub(crate) force: bool,
    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Make an environment from the files of a root file system
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pyro env import py python.tar.gz
  docker export CONTAINER | pyro env import py -")]
pub(crate) struct ImportArguments {
    /// What to call it
    pub(crate) name: String,
    /// A tar archive, or - for stdin
    #[arg(value_name = "TAR")]
    pub(crate) archive: PathBuf,
    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Delete environments: their names, and the images that nothing else needs
///
/// Workspaces that stand on an image keep it; `pyro env prune` deletes it once they are gone. An
/// environment of the catalogue can be built again.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  pyro env delete py")]
pub(crate) struct DeleteEnvironmentArguments {
    /// The environments
    #[arg(required = true, value_name = "ENVIRONMENT", add = ArgValueCandidates::new(completion::environments))]
    pub(crate) environments: Vec<String>,
    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
