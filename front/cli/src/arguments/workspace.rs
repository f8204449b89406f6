//! Verbs on workspaces, and on the commands that run in them.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use clap_complete::ArgValueCandidates;

use super::{
    CommandArguments, CopyArguments, DiffArguments, DiskVerb, ExportArguments, FileVerb, PatchVerb,
    PortVerb, ResetArguments, ServiceVerb, SnapshotVerb, SyncVerb, VmArguments,
};
use crate::{completion, values};

#[derive(Subcommand, Debug)]
pub(crate) enum WorkspaceVerb {
    Create(CreateArguments),
    Exec(ExecArguments),
    #[command(visible_alias = "ls")]
    List(ListArguments),
    /// Show a workspace
    Status(OneArguments),
    Update(UpdateArguments),
    Ps(PsArguments),
    Kill(KillArguments),
    Wait(WaitArguments),
    Attach(AttachArguments),
    /// Show the commands of a workspace and what they printed
    #[command(after_help = "Example:\n  pyro logs web")]
    Logs(OneArguments),
    Start(StartArguments),
    Stop(StopArguments),
    #[command(visible_alias = "rm")]
    Delete(DeleteArguments),
    Prune(PruneArguments),
    /// Work with services: named processes that are proven ready
    #[command(visible_alias = "svc", arg_required_else_help = true)]
    Service {
        #[command(subcommand)]
        verb: ServiceVerb,
    },
    Events(EventsArguments),
    /// Look at the files of a workspace, and change them
    #[command(arg_required_else_help = true)]
    File {
        #[command(subcommand)]
        verb: FileVerb,
    },
    /// Look at the disks of a stopped workspace, without starting it
    #[command(arg_required_else_help = true)]
    Disk {
        #[command(subcommand)]
        verb: DiskVerb,
    },
    Diff(DiffArguments),
    Export(ExportArguments),
    /// Bring files of this host into a workspace, and take home what was changed
    #[command(arg_required_else_help = true)]
    Sync {
        #[command(subcommand)]
        verb: SyncVerb,
    },
    #[command(name = "cp", alias = "copy")]
    Copy(CopyArguments),
    /// Change the files of a workspace by patches
    #[command(arg_required_else_help = true)]
    Patch {
        #[command(subcommand)]
        verb: PatchVerb,
    },
    /// Take, list and delete snapshots of a workspace's disk
    #[command(arg_required_else_help = true)]
    Snapshot {
        #[command(subcommand)]
        verb: SnapshotVerb,
    },
    Reset(ResetArguments),
    /// Say and see what a workspace may reach
    #[command(arg_required_else_help = true)]
    Network {
        #[command(subcommand)]
        verb: NetworkVerb,
    },
    Forward(ForwardArguments),
    /// Work with ports: who listens on them, and where they are published on this host
    #[command(arg_required_else_help = true)]
    Port {
        #[command(subcommand)]
        verb: PortVerb,
    },
}

impl WorkspaceVerb {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::Create(arguments) => arguments.json,
            Self::Exec(arguments) => arguments.command.json,
            Self::List(arguments) => arguments.json,
            Self::Status(arguments) | Self::Logs(arguments) => arguments.json,
            Self::Start(arguments) => arguments.one.json,
            Self::Update(arguments) => arguments.json,
            Self::Ps(arguments) => arguments.json,
            Self::Kill(arguments) => arguments.json,
            Self::Wait(arguments) => arguments.json,
            Self::Attach(arguments) => arguments.json,
            Self::Stop(arguments) => arguments.json,
            Self::Delete(arguments) => arguments.json,
            Self::Prune(arguments) => arguments.json,
            Self::Service { verb } => verb.json(),
            Self::Events(arguments) => arguments.json,
            Self::File { verb } => verb.json(),
            Self::Disk { verb } => verb.json(),
            Self::Diff(arguments) => arguments.json,
            Self::Export(arguments) => arguments.json,
            Self::Sync { verb } => verb.json(),
            Self::Copy(arguments) => arguments.json,
            Self::Patch { verb } => verb.json(),
            Self::Snapshot { verb } => verb.json(),
            Self::Reset(arguments) => arguments.json,
            Self::Network { verb } => match verb {
                NetworkVerb::Set(arguments) => arguments.json,
                NetworkVerb::Show(arguments) => arguments.json,
                NetworkVerb::Log(arguments) => arguments.json,
            },
            Self::Forward(arguments) => arguments.json,
            Self::Port { verb } => verb.json(),
        }
    }
}

/// Make a workspace and start it
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pyro create
  pyro create debian:12-build --name build --cpus 2 -m 4g
  pyro create --seed-path . --respect-ignore
  pyro create --seed-git https://example.org/project.git@v1.2
  W=$(pyro create --id-only) && pyro exec $W -- uname -r")]
pub(crate) struct CreateArguments {
    /// The environment, debian:12 if left out
    #[arg(add = ArgValueCandidates::new(completion::environments))]
    pub(crate) environment: Option<String>,
    #[command(flatten)]
    pub(crate) vm: VmArguments,
    /// What happens when its idle time is over [default: stop]
    #[arg(long, value_name = "ACTION")]
    pub(crate) on_expiry: Option<OnExpiry>,
    #[command(flatten)]
    pub(crate) network: NetworkArguments,
    /// A name to call it by
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A label; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::pair)]
    pub(crate) label: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) seed: SeedArguments,
    /// Give it a secret (not available yet)
    #[arg(long, value_name = "NAME=VALUE", hide = true)]
    pub(crate) secret: Vec<String>,
    /// Give it a secret from a file (not available yet)
    #[arg(long, value_name = "NAME=PATH", hide = true)]
    pub(crate) secret_file: Vec<String>,
    /// Print only its id
    #[arg(long, conflicts_with = "json")]
    pub(crate) id_only: bool,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `/workspace` begins with.
#[derive(Args, Debug, Default)]
pub(crate) struct SeedArguments {
    /// Begin with these files: a directory, or an archive (.tar, .tar.gz, .tar.zst)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) seed_path: Option<PathBuf>,
    /// Leave out what matches: a pattern as in a .gitignore; may be repeated
    #[arg(long, value_name = "GLOB", requires = "seed_path")]
    pub(crate) exclude: Vec<String>,
    /// Leave out what .gitignore and .pyroignore say
    #[arg(long, requires = "seed_path")]
    pub(crate) respect_ignore: bool,
    /// Begin with what a git repository tracks, and its history: a directory or a URL, at a branch, a
    /// tag or a commit
    #[arg(long, value_name = "REPO[@REF]", conflicts_with = "seed_path")]
    pub(crate) seed_git: Option<String>,
}

/// What a workspace or VM may reach.
#[derive(Args, Debug, Default)]
pub(crate) struct NetworkArguments {
    /// What it may reach: off, egress (everything public), egress+published-ports [default: off]
    #[arg(long, visible_alias = "network-policy", value_name = "POLICY")]
    pub(crate) network: Option<String>,
    /// Let it reach HOST[:PORT], whatever the policy; may be repeated: a name, *.example.com, an
    /// address, a network
    #[arg(long, value_name = "RULE")]
    pub(crate) allow: Vec<String>,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
pub(crate) enum OnExpiry {
    /// It is stopped and keeps its disk
    Stop,
    /// It is deleted
    Delete,
}

/// Run a command in a workspace
#[derive(Args, Debug)]
#[command(
    override_usage = "pyro exec [OPTIONS] WORKSPACE -- COMMAND...\n       pyro exec [OPTIONS] WORKSPACE COMMAND...\n       pyro exec attach WORKSPACE EXEC",
    after_help = "The exit code is the command's; 128+N when signal N ended it, 124 after its timeout,
126 or 127 when it cannot be executed or is not found, 125 when pyro itself failed.
With -it, ctrl-p ctrl-q leaves the command running.

Examples:
  pyro exec web -- git --version
  pyro exec -it web -- bash -l
  pyro exec web --cwd /tmp --env CI=1 --timeout-seconds 5m -- sh -c 'make && make test'
  pyro exec web --detach -- sleep 60"
)]
pub(crate) struct ExecArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    #[command(flatten)]
    pub(crate) command: CommandArguments,
    /// Return at once; the command goes on, for wait, attach and kill
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    pub(crate) detach: bool,
    /// Fail rather than start a stopped workspace
    #[arg(long)]
    pub(crate) no_start: bool,
}

/// Open a shell in a workspace: exec -it WORKSPACE -- bash -l
#[derive(Args, Debug)]
pub(crate) struct ShellArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Directory it starts in
    #[arg(short = 'w', long, value_name = "DIRECTORY")]
    pub(crate) cwd: Option<String>,
    /// Set a variable; KEY alone copies its value from here
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Run as this user (name, uid, name:group or uid:gid)
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// Fail rather than start a stopped workspace
    #[arg(long)]
    pub(crate) no_start: bool,
}

/// List workspaces, the most recently used first
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  pyro list\n  pyro list --state stopped --label team=web -q")]
pub(crate) struct ListArguments {
    /// Print only ids
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) quiet: bool,
    /// Only those with this label; may be repeated
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) label: Vec<String>,
    /// Only those in this state
    #[arg(long, value_name = "STATE", value_parser = ["started", "stopped"])]
    pub(crate) state: Option<String>,
    /// Print them as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// One workspace.
#[derive(Args, Debug)]
pub(crate) struct OneArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Start a stopped workspace; every use of it does so too
#[derive(Args, Debug)]
pub(crate) struct StartArguments {
    #[command(flatten)]
    pub(crate) one: OneArguments,
    /// Leave services that ran when it was stopped as they are, rather than run them again
    #[arg(long)]
    pub(crate) no_resume: bool,
}

/// Change a workspace's name and labels
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  pyro update web --name api --label team=backend --clear-label old"
)]
pub(crate) struct UpdateArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Its new name
    #[arg(long, conflicts_with = "clear_name")]
    pub(crate) name: Option<String>,
    /// Take its name away
    #[arg(long)]
    pub(crate) clear_name: bool,
    /// Set a label; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::pair)]
    pub(crate) label: Vec<(String, String)>,
    /// Take a label away; may be repeated
    #[arg(long, value_name = "KEY")]
    pub(crate) clear_label: Vec<String>,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// List the commands of a workspace
#[derive(Args, Debug)]
pub(crate) struct PsArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Show all that ended, not only the newest
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Print them as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reach ports of a workspace on this host, for as long as this command runs
///
/// Works whatever the workspace's network is. Only this host can connect, unless --bind says otherwise.
/// A stopped workspace is started by the first connection.
#[derive(Args, Debug)]
#[command(
    after_help = "Where no HOST is given, the guest's number is taken, or any where that is not free.

Examples:
  pyro forward web 8000                   this host's port 8000 is the workspace's
  pyro forward web 8080:8000 5432         two ports, the first under another number
  pyro forward web 0:8000                 under any number, which is told"
)]
pub(crate) struct ForwardArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// A port of the workspace, and before it one of this host if it is to be another
    #[arg(required = true, value_name = "[HOST:]GUEST", value_parser = values::forward)]
    pub(crate) ports: Vec<values::Forward>,
    /// Listen on this address of this host [default: localhost, v4 and v6]
    #[arg(long, value_name = "ADDRESS", default_value = "localhost", hide_default_value = true,
        value_parser = values::bind)]
    pub(crate) bind: values::Bind,
    /// Print what is forwarded as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum NetworkVerb {
    Set(NetworkSetArguments),
    /// Show what a workspace may reach, and what it does
    Show(OneArguments),
    Log(NetworkLogArguments),
}

/// Change what a workspace may reach, at once
///
/// Connections that are open and no longer fit are ended.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pyro workspace network set web egress
  pyro workspace network set web --allow example.org --allow '*.example.com:443'
  pyro workspace network set web --add --allow 192.0.2.7:5432
  pyro workspace network set web off")]
pub(crate) struct NetworkSetArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// off, egress (everything public) or egress+published-ports [default: off]
    #[arg(required_unless_present = "allow")]
    pub(crate) policy: Option<String>,
    /// Let it reach HOST[:PORT], whatever the policy; may be repeated: a name, *.example.com, an
    /// address, a network
    #[arg(long, value_name = "RULE")]
    pub(crate) allow: Vec<String>,
    /// Keep the policy and the rules that there are, and add these
    #[arg(long)]
    pub(crate) add: bool,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what a workspace wanted to reach, and what became of it
#[derive(Args, Debug)]
#[command(after_help = "Example:
  pyro workspace network log web --follow")]
pub(crate) struct NetworkLogArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Only what came after this entry's seq
    #[arg(long, default_value_t = 0, value_name = "SEQ")]
    pub(crate) after: u64,
    /// Go on with what comes
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Print one JSON document on each line
    #[arg(long)]
    pub(crate) json: bool,
}

/// End a command and every process it started, or send it a signal
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pyro kill web 1f3a                      TERM to all its processes, then KILL
  pyro kill web 1f3a --signal INT         only this signal")]
pub(crate) struct KillArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// The exec: id or prefix
    #[arg(add = ArgValueCandidates::new(completion::execs))]
    pub(crate) exec: String,
    /// Send only this signal: a name or number
    #[arg(short, long)]
    pub(crate) signal: Option<String>,
    /// Print the exec as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Wait for a command, and end with its exit code
#[derive(Args, Debug)]
pub(crate) struct WaitArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// The exec: id or prefix
    #[arg(add = ArgValueCandidates::new(completion::execs))]
    pub(crate) exec: String,
    /// Wait no longer than this, as in 30, 30s, 5m; 0 means as long as it takes
    #[arg(long, alias = "timeout", value_name = "TIME", value_parser = values::duration)]
    pub(crate) timeout_seconds: Option<Duration>,
    /// Print the exec as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what a command prints, and end with its exit code
#[derive(Args, Debug)]
#[command(after_help = "With -it, ctrl-p ctrl-q leaves the command running.

Examples:
  pyro attach web 1f3a
  pyro attach web 1f3a --offset 65536")]
pub(crate) struct AttachArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// The exec: id or prefix
    #[arg(add = ArgValueCandidates::new(completion::execs))]
    pub(crate) exec: String,
    /// Begin at this byte of its output
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    pub(crate) offset: u64,
    /// Send stdin to the command
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// The command has a terminal: pass keys and window size on
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) tty: bool,
    /// Print the result as one JSON document once it ended
    #[arg(long)]
    pub(crate) json: bool,
}

/// Stop a workspace in order; it keeps its disk
#[derive(Args, Debug)]
pub(crate) struct StopArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Time its processes have to end, as in 5, 30s [default: 5]
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) grace_seconds: Option<Duration>,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Delete workspaces with their disks
#[derive(Args, Debug)]
pub(crate) struct DeleteArguments {
    /// The workspaces: ids, prefixes, names or @
    #[arg(required = true, value_name = "WORKSPACE", add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspaces: Vec<String>,
    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Delete stopped workspaces that were not used for long
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  pyro workspace prune --older-than 7d --dry-run")]
pub(crate) struct PruneArguments {
    /// Only those not used for this long, as in 12h, 7d
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) older_than: Duration,
    /// Only say what would be deleted
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what becomes of a workspace's services
#[derive(Args, Debug)]
#[command(after_help = "Example:
  pyro events web --follow --json")]
pub(crate) struct EventsArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Go on with what happens
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only what came after this cursor
    #[arg(long, default_value_t = 0, value_name = "CURSOR")]
    pub(crate) after: u64,
    /// Print each as one JSON document on a line, with its cursor
    #[arg(long)]
    pub(crate) json: bool,
}
