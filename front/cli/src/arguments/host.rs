//! Verbs on the host: the node, doctor, choices and completions.

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;

use crate::completion;

/// Nothing but how to print.
#[derive(Args, Debug)]
pub(crate) struct JsonArguments {
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Say which workspace @ means in this directory and below it
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pyro use web               from now on, @ means web here
  pyro exec @ -- ls
  pyro use                   show what @ means
  pyro use --clear           forget it")]
pub(crate) struct UseArguments {
    /// The workspace: id, prefix or name; shows the present one if left out
    #[arg(conflicts_with = "clear", add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: Option<String>,
    /// Forget what was set for this directory
    #[arg(long)]
    pub(crate) clear: bool,
    #[command(flatten)]
    pub(crate) json: JsonArguments,
}

/// Say what works on this host, and what to do where something is missing
#[derive(Args, Debug)]
#[command(after_help = "Works without a node. The exit code is not 0 where nothing can run.")]
pub(crate) struct DoctorArguments {
    /// The platform of the guests
    #[arg(long, default_value = "linux-x86_64")]
    pub(crate) platform: String,
    #[command(flatten)]
    pub(crate) json: JsonArguments,
}

/// Serve as the node in the foreground
///
/// Not needed for use by hand: a node is started by the first command that needs one.
#[derive(Args, Debug)]
pub(crate) struct ServeArguments {
    /// End when there is nothing left to watch
    #[arg(long, hide = true)]
    pub(crate) on_demand: bool,
    /// The descriptor on which to say that it is ready
    #[arg(long, hide = true, value_name = "FD")]
    pub(crate) ready_fd: Option<i32>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum NodeVerb {
    /// Show the node that runs
    Status(JsonArguments),
    /// End the node; workspaces go on running and the next command starts a node again
    Stop(JsonArguments),
}

impl NodeVerb {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::Status(arguments) | Self::Stop(arguments) => arguments.json,
        }
    }
}

/// Print the script that makes a shell complete words
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  source <(pyro completions bash)
  pyro completions fish > ~/.config/fish/completions/pyro.fish")]
pub(crate) struct CompletionsArguments {
    /// The shell
    #[arg(value_parser = ["bash", "elvish", "fish", "powershell", "zsh"])]
    pub(crate) shell: String,
}
