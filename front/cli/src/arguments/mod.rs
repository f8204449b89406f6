//! The command line as types: every verb with its flags and help.

mod command;
mod disk;
mod env;
mod file;
mod host;
mod mcp;
mod port;
mod review;
mod service;
mod snapshot;
mod transfer;
mod workspace;

use clap::{Parser, Subcommand};

pub(crate) use command::{CommandArguments, RunArguments, VmArguments};
pub(crate) use disk::{DiskExportArguments, DiskListArguments, DiskReadArguments, DiskVerb};
pub(crate) use env::{
    BuildArguments, DeleteEnvironmentArguments, EnvVerb, ImportArguments, InspectArguments,
};
pub(crate) use file::{
    FileEditArguments, FileListArguments, FileMkdirArguments, FileMoveArguments, FileReadArguments,
    FileRemoveArguments, FileSearchArguments, FileStatArguments, FileVerb, FileWriteArguments,
};
pub(crate) use host::{
    CompletionsArguments, DoctorArguments, JsonArguments, NodeVerb, ServeArguments, UseArguments,
};
pub(crate) use mcp::{McpConfigArguments, McpServeArguments, McpVerb};
pub(crate) use port::{PortVerb, PortsArguments, PublishArguments, UnpublishArguments};
pub(crate) use review::{DiffArguments, PatchApplyArguments, PatchVerb};
pub(crate) use service::{
    HealthArguments, HealthProbeArguments, ProbeArguments, ServiceArguments, ServiceDownArguments,
    ServiceLogsArguments, ServiceRestartArguments, ServiceSignalArguments, ServiceStartArguments,
    ServiceStopArguments, ServiceUpArguments, ServiceVerb, ServiceWaitArguments, ServicesArguments,
};
pub(crate) use snapshot::{ResetArguments, SnapshotArguments, SnapshotVerb, SnapshotsArguments};
pub(crate) use transfer::{
    CopyArguments, ExportArguments, ExportFormat, SyncPullArguments, SyncPushArguments, SyncVerb,
};
pub(crate) use workspace::{
    AttachArguments, CreateArguments, DeleteArguments, EventsArguments, ExecArguments,
    ForwardArguments, KillArguments, ListArguments, NetworkLogArguments, NetworkSetArguments,
    NetworkVerb, OnExpiry, OneArguments, PruneArguments, PsArguments, SeedArguments,
    ShellArguments, StartArguments, StopArguments, UpdateArguments, WaitArguments, WorkspaceVerb,
};

/// Linux machines of their own for coding agents, each in a microVM.
///
/// WORKSPACE is an id, a unique prefix of one (4 or more characters), a name, or @: the one in
/// PYRO_WORKSPACE, else the one set for this directory with `pyro use`.
#[derive(Parser, Debug)]
#[command(
    name = "pyro",
    bin_name = "pyro",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "Examples:
  pyro run -- uname -a                          a command in a fresh VM
  pyro create --name web                        a workspace that lasts
  pyro exec web -- apt list --installed         a command in it
  pyro shell web                                a shell in it
  pyro demo                                     all of this, shown"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    Run(RunArguments),
    #[command(flatten)]
    Workspace(WorkspaceVerb),
    Shell(ShellArguments),
    /// Work with workspaces: the long forms of create, exec, list and so on
    #[command(name = "workspace", alias = "ws", arg_required_else_help = true)]
    WorkspaceGroup {
        #[command(subcommand)]
        verb: WorkspaceVerb,
    },
    /// Work with environments: the root file systems workspaces start from
    #[command(arg_required_else_help = true)]
    Env {
        #[command(subcommand)]
        verb: EnvVerb,
    },
    Use(UseArguments),
    /// Show what the disk is used for
    Df(JsonArguments),
    Doctor(DoctorArguments),
    /// Show what pyro does: a command in a VM, and a workspace that remembers
    Demo,
    Serve(ServeArguments),
    /// Look at the node, the process that owns the workspaces of a state directory
    #[command(arg_required_else_help = true)]
    Node {
        #[command(subcommand)]
        verb: NodeVerb,
    },
    /// Serve models, and tell their clients of it
    #[command(arg_required_else_help = true)]
    Mcp {
        #[command(subcommand)]
        verb: McpVerb,
    },
    Completions(CompletionsArguments),
}

impl Verb {
    /// Whether the answer is asked for as JSON.
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Run(arguments) => arguments.command.json,
            Self::Workspace(verb) | Self::WorkspaceGroup { verb } => verb.json(),
            Self::Env { verb } => verb.json(),
            Self::Use(arguments) => arguments.json.json,
            Self::Df(arguments) => arguments.json,
            Self::Doctor(arguments) => arguments.json.json,
            Self::Node { verb } => verb.json(),
            Self::Mcp { verb } => verb.json(),
            Self::Shell(_) | Self::Demo | Self::Serve(_) | Self::Completions(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::invocation::Invocation;

    fn parse(line: &[&str]) -> (Verb, Option<Vec<String>>) {
        let words = std::iter::once(&"pyro").chain(line).map(Into::into).collect();
        let invocation = Invocation::new(words);
        let command = invocation.command.map(|words| {
            words.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>()
        });
        (Cli::try_parse_from(&invocation.arguments).unwrap().verb, command)
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_takes_its_command_after_dashes_or_plainly() {
        let expected = ["git", "--version"].map(str::to_owned);
        for (line, environment) in [
            (&["run", "debian:12", "--", "git", "--version"][..], Some("debian:12")),
            (&["run", "debian:12", "git", "--version"], Some("debian:12")),
            (&["run", "--", "git", "--version"], None),
            (
                &["run", "--mem-mib", "2g", "debian:12", "--cpus=2", "--", "git", "--version"],
                Some("debian:12"),
            ),
        ] {
            let (verb, command) = parse(line);
            let Verb::Run(run) = verb else { panic!("{line:?}") };
            assert_eq!(run.environment.as_deref(), environment, "{line:?}");
            let words = command.unwrap_or(run.command.words);
            assert_eq!(words, expected, "{line:?}");
        }
    }

    #[test]
    fn flags_stand_before_or_after_positionals() {
        for line in [
            &["workspace", "exec", "w", "--timeout-seconds", "5m", "-it", "--", "top"][..],
            &["exec", "-i", "--timeout-seconds=300", "-t", "w", "--", "top"],
            &["ws", "exec", "-ti", "w", "--timeout-seconds", "300s", "top"],
        ] {
            let (verb, _) = parse(line);
            let (Verb::Workspace(WorkspaceVerb::Exec(exec))
            | Verb::WorkspaceGroup { verb: WorkspaceVerb::Exec(exec) }) = verb
            else {
                panic!("{line:?}")
            };
            assert_eq!(exec.workspace, "w");
            assert!(exec.command.interactive && exec.command.tty);
            assert_eq!(exec.command.timeout_seconds.unwrap().as_secs(), 300);
        }
    }

    #[test]
    fn a_flag_after_the_first_word_of_a_plain_command_is_the_commands() {
        let (verb, _) = parse(&["exec", "w", "ls", "--json", "-i"]);
        assert!(!verb.json());
        let Verb::Workspace(WorkspaceVerb::Exec(exec)) = verb else { panic!() };
        assert_eq!(exec.command.words, ["ls", "--json", "-i"]);
    }

    #[test]
    fn the_skill_for_agents_teaches_lines_that_parse() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../skills/pyro/SKILL.md");
        let page = std::fs::read_to_string(page).unwrap();
        let (header, _) = page
            .strip_prefix("---\nname: pyro\ndescription: ")
            .unwrap()
            .split_once("\n---\n")
            .unwrap();
        assert!(header.len() <= 1024, "a description is read with every session");
        let mut taught = 0;
        for block in page.split("```sh\n").skip(1) {
            for line in block.split("```").next().unwrap().lines() {
                let Some(begin) = line.find("pyro ") else { continue };
                let line = line[begin..].split("  #").next().unwrap().trim_end_matches(')');
                let words = shell_words::split(line.trim()).unwrap();
                let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
                parse(&words);
                taught += 1;
            }
        }
        assert!(taught > 10, "{taught}");
    }

    #[test]
    fn short_forms_are_the_long_ones() {
        for (short, long) in [
            (&["ls", "-q"][..], &["workspace", "list", "-q"][..]),
            (&["rm", "a", "b"], &["workspace", "delete", "a", "b"]),
            (
                &["create", "debian:12", "--name", "x"],
                &["ws", "create", "--name", "x", "debian:12"],
            ),
            (&["attach", "w", "e"], &["workspace", "exec", "attach", "w", "e"]),
            (&["env", "build", "debian:12"], &["env", "pull", "debian:12"]),
        ] {
            let shown = |line| match parse(line).0 {
                Verb::WorkspaceGroup { verb } => format!("{:?}", Verb::Workspace(verb)),
                verb => format!("{verb:?}"),
            };
            assert_eq!(shown(short), shown(long));
        }
    }
}
