//! Verbs on ports.

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;

use crate::{completion, values};

#[derive(Subcommand, Debug)]
pub(crate) enum PortVerb {
    Publish(PublishArguments),
    #[command(visible_alias = "ls")]
    List(PortsArguments),
    Unpublish(UnpublishArguments),
}

impl PortVerb {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::Publish(arguments) => arguments.json,
            Self::List(arguments) => arguments.json,
            Self::Unpublish(arguments) => arguments.json,
        }
    }
}

/// Publish ports of a workspace on this host, until they are unpublished
///
/// Works whatever the workspace's network is. Only this host can connect, unless --bind says otherwise.
/// A hand-stopped workspace's ports are taken again at its next start; one that its idle time stopped is
/// started by a connection.
#[derive(Args, Debug)]
#[command(
    after_help = "Where no HOST is given, the guest's number is taken, or any where that is not free.

Examples:
  pyro port publish web 8000                   this host's port 8000 is the workspace's
  pyro port publish web 8080:8000 5432         two ports, the first under another number
  pyro port publish web 0:8000                 under any number, which is told"
)]
pub(crate) struct PublishArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// A port of the workspace, and before it one of this host if it is to be another
    #[arg(required = true, value_name = "[BIND:][HOST:]GUEST", value_parser = values::publication)]
    pub(crate) ports: Vec<values::Publication>,
    /// Listen on this address of this host [default: localhost, v4 and v6]
    #[arg(long, value_name = "ADDRESS", value_parser = values::bind)]
    pub(crate) bind: Option<values::Bind>,
    /// Print what is published as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// List the ports of a workspace: who listens on them, and where they are published
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  pyro port list web")]
pub(crate) struct PortsArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Print them as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Take published ports back, and cut their connections
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  pyro port unpublish web 8080")]
pub(crate) struct UnpublishArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// A port of this host, else of the workspace
    #[arg(required = true, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) ports: Vec<u16>,
    /// Print what is not published any more as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
