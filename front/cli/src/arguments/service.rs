//! Verbs on services.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;

use crate::{completion, values};

#[derive(Subcommand, Debug)]
pub(crate) enum ServiceVerb {
    Start(Box<ServiceStartArguments>),
    /// List the services of a workspace
    #[command(visible_alias = "ls")]
    List(ServicesArguments),
    /// Show a service
    Status(ServiceArguments),
    Logs(ServiceLogsArguments),
    Stop(ServiceStopArguments),
    Restart(ServiceRestartArguments),
    Wait(ServiceWaitArguments),
    Signal(ServiceSignalArguments),
    Up(ServiceUpArguments),
    Down(ServiceDownArguments),
    /// Stop a service and drop its record and log
    #[command(visible_alias = "rm")]
    Delete(ServiceArguments),
}

impl ServiceVerb {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::Start(arguments) => arguments.json,
            Self::List(arguments) => arguments.json,
            Self::Status(arguments) | Self::Delete(arguments) => arguments.json,
            Self::Logs(arguments) => arguments.json,
            Self::Stop(arguments) => arguments.one.json,
            Self::Restart(arguments) => arguments.one.json,
            Self::Wait(arguments) => arguments.json,
            Self::Signal(arguments) => arguments.one.json,
            Self::Up(arguments) => arguments.json,
            Self::Down(arguments) => arguments.json,
        }
    }
}

/// The services of one workspace.
#[derive(Args, Debug)]
pub(crate) struct ServicesArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Print them as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// One service.
#[derive(Args, Debug)]
pub(crate) struct ServiceArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// The service's name
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(completion::services))]
    pub(crate) service: String,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Start a service, and wait until it is ready
#[derive(Args, Debug)]
#[command(
    override_usage = "pyro service start [OPTIONS] WORKSPACE SERVICE -- COMMAND...\n       pyro service start [OPTIONS] WORKSPACE SERVICE COMMAND...",
    after_help = "It is ready when the one probe says so; without a probe, once it has run for 200 ms.
One that runs as asked is left alone; one that ended gets a new run.
The exit code is 1 when it did not become ready, with the reason and its last lines of output.

Examples:
  pyro service start web app --ready-tcp 127.0.0.1:8000 -- python3 -m http.server 8000
  pyro service start web app --publish 8080:8000 -- python3 -m http.server 8000
  pyro service start web db --ready-command 'pg_isready -q' --restart on-failure -- ./run-db
  pyro service start web worker --depends-on db --ready-log 'waiting for jobs' -- ./worker"
)]
pub(crate) struct ServiceStartArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// What it is called in this workspace
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(completion::services))]
    pub(crate) service: String,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
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
    #[command(flatten)]
    pub(crate) ready: ProbeArguments,
    /// Time it has to become ready, as in 30, 5m [default: 30]
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Readiness")]
    pub(crate) ready_timeout_seconds: Option<Duration>,
    /// The longest time between two probes [default: 500]
    #[arg(long, value_name = "MILLISECONDS", help_heading = "Readiness")]
    pub(crate) ready_interval_ms: Option<u64>,
    /// What is done when it is not ready in time [default: stop]
    #[arg(long, value_name = "ACTION", value_parser = ["stop", "keep"], help_heading = "Readiness")]
    pub(crate) on_ready_timeout: Option<String>,
    /// Return at once; it goes on to become ready, for wait
    #[arg(long, help_heading = "Readiness")]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) health: HealthArguments,
    /// Start it again when it ended [default: no]
    #[arg(
        long,
        value_name = "POLICY",
        value_parser = ["no", "on-failure", "always", "unless-stopped"]
    )]
    pub(crate) restart: Option<String>,
    /// Restarts in a row until it has failed [default: 10]
    #[arg(long, value_name = "COUNT")]
    pub(crate) restart_limit: Option<u32>,
    /// Start it after another is ready (or: started, completed); may be repeated
    #[arg(long, value_name = "SERVICE[:CONDITION]")]
    pub(crate) depends_on: Vec<String>,
    /// The signal that asks it to end [default: TERM]
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,
    /// Time it has then until it is killed, as in 5, 30s [default: 5]
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) stop_grace_seconds: Option<Duration>,
    /// Bytes kept of each stream of its output [default: 16 MiB]
    #[arg(long, value_name = "BYTES")]
    pub(crate) log_limit: Option<u64>,
    /// Where it runs as something else, stop that first
    #[arg(long)]
    pub(crate) replace: bool,
    /// Fail rather than start a stopped workspace
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Publish a port of it on this host, for as long as it runs; may be repeated
    #[arg(long, value_name = "[HOST:]GUEST", value_parser = values::forward)]
    pub(crate) publish: Vec<values::Forward>,
    /// Pass a secret (not available yet)
    #[arg(long, value_name = "SECRET[=ENV]", hide = true)]
    pub(crate) secret_env: Vec<String>,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// How it is found out that a service is ready: at most one of these.
#[derive(Args, Debug, Default)]
#[group(multiple = false)]
pub(crate) struct ProbeArguments {
    /// Ready when this path is there; a relative one is under /workspace
    #[arg(long = "ready-file", value_name = "PATH", help_heading = "Readiness")]
    pub(crate) file: Option<String>,
    /// Ready when connections are accepted there
    #[arg(long = "ready-tcp", value_name = "HOST:PORT", help_heading = "Readiness")]
    pub(crate) tcp: Option<String>,
    /// Ready when a GET is answered with a status of 200 to 399
    #[arg(long = "ready-http", value_name = "URL", help_heading = "Readiness")]
    pub(crate) http: Option<String>,
    /// Ready when this shell line ends with 0
    #[arg(long = "ready-command", value_name = "COMMAND", help_heading = "Readiness")]
    pub(crate) command: Option<String>,
    /// Ready when a line of its output matches
    #[arg(long = "ready-log", value_name = "REGEX", help_heading = "Readiness")]
    pub(crate) log: Option<String>,
    /// Ready when it says so itself (sd_notify)
    #[arg(long = "ready-notify", help_heading = "Readiness")]
    pub(crate) notify: bool,
}

/// How its health is looked after once it is ready.
#[derive(Args, Debug, Default)]
pub(crate) struct HealthArguments {
    #[command(flatten)]
    pub(crate) probe: HealthProbeArguments,
    /// Time between two looks [default: 10]
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Health")]
    pub(crate) health_interval: Option<Duration>,
    /// Time one look may take
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Health")]
    pub(crate) health_timeout: Option<Duration>,
    /// Failures in a row that count [default: 3]
    #[arg(long, value_name = "COUNT", help_heading = "Health")]
    pub(crate) health_retries: Option<u32>,
    /// After ready, failures do not count for this long
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Health")]
    pub(crate) health_start_period: Option<Duration>,
    /// What is done when it fails [default: restart]
    #[arg(
        long,
        value_name = "ACTION",
        value_parser = ["restart", "report"],
        help_heading = "Health"
    )]
    pub(crate) health_action: Option<String>,
}

/// What is asked of its health: at most one of these.
#[derive(Args, Debug, Default)]
#[group(multiple = false)]
pub(crate) struct HealthProbeArguments {
    /// Well while this path is there
    #[arg(id = "health-file", long = "health-file", value_name = "PATH", help_heading = "Health")]
    pub(crate) file: Option<String>,
    /// Well while connections are accepted there
    #[arg(
        id = "health-tcp",
        long = "health-tcp",
        value_name = "HOST:PORT",
        help_heading = "Health"
    )]
    pub(crate) tcp: Option<String>,
    /// Well while a GET is answered with a status of 200 to 399
    #[arg(id = "health-http", long = "health-http", value_name = "URL", help_heading = "Health")]
    pub(crate) http: Option<String>,
    /// Well while this shell line ends with 0
    #[arg(
        id = "health-command",
        long = "health-command",
        value_name = "COMMAND",
        help_heading = "Health"
    )]
    pub(crate) command: Option<String>,
}

/// Show what a service prints
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pyro service logs web app
  pyro service logs web app --follow --timestamps
  pyro service logs web app --all --stream stderr")]
pub(crate) struct ServiceLogsArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// The service's name
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(completion::services))]
    pub(crate) service: String,
    /// Only the last lines [default: 200]
    #[arg(long, short = 'n', alias = "tail", value_name = "COUNT")]
    pub(crate) tail_lines: Option<u64>,
    /// All that is kept
    #[arg(long)]
    pub(crate) all: bool,
    /// Only what came in this last time, as in 30s, 5m, or since this Unix second
    #[arg(long, value_name = "TIME", value_parser = values::moment)]
    pub(crate) since: Option<f64>,
    /// Go on with what comes
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) follow: bool,
    /// Begin each line with the time it came
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Only this stream
    #[arg(long, value_name = "STREAM", value_parser = ["stdout", "stderr", "combined"])]
    pub(crate) stream: Option<String>,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Stop a service and every process it started
#[derive(Args, Debug)]
pub(crate) struct ServiceStopArguments {
    #[command(flatten)]
    pub(crate) one: ServiceArguments,
    /// Another signal than its own
    #[arg(short, long)]
    pub(crate) signal: Option<String>,
    /// Another time until it is killed, as in 5, 30s; 0: at once
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) grace_seconds: Option<Duration>,
}

/// Begin a new run of a service, and wait until it is ready
#[derive(Args, Debug)]
pub(crate) struct ServiceRestartArguments {
    #[command(flatten)]
    pub(crate) one: ServiceArguments,
    /// Return at once; it goes on to become ready, for wait
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Fail rather than start a stopped workspace
    #[arg(long)]
    pub(crate) no_start: bool,
}

/// Wait until a service is ready, or all of them
#[derive(Args, Debug)]
#[command(after_help = "The exit code is 1 when it cannot become ready, 124 when the time is over.

Examples:
  pyro service wait web app --timeout-seconds 2m
  pyro service wait web")]
pub(crate) struct ServiceWaitArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// The service's name; all that run or are to, if left out
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(completion::services))]
    pub(crate) service: Option<String>,
    /// Wait until it does not run any more, rather than until it is ready
    #[arg(long)]
    pub(crate) ended: bool,
    /// Wait no longer than this, as in 30, 30s, 5m; 0 means as long as it takes
    #[arg(long, alias = "timeout", value_name = "TIME", value_parser = values::duration)]
    pub(crate) timeout_seconds: Option<Duration>,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Send a signal to a service
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  pyro service signal web app HUP")]
pub(crate) struct ServiceSignalArguments {
    #[command(flatten)]
    pub(crate) one: ServiceArguments,
    /// The signal: a name or number
    pub(crate) signal: String,
    /// To every process of it, not only its main one's group
    #[arg(long)]
    pub(crate) whole_tree: bool,
}

/// Start the services that a file declares, and wait until they are ready
#[derive(Args, Debug)]
#[command(
    after_help = "Without --file and --path, the file is the first of pyro.toml, compose.yaml, compose.yml,
docker-compose.yaml and docker-compose.yml that is in this directory, or else in /workspace.
Services that run as the file says are left alone; those that changed are restarted.
${NAME} in the file is --env, or else the environment here (of a file in the workspace: --env only).
The exit code is 1 when a service did not become ready, 124 when the time is over.

Examples:
  pyro service up web
  pyro service up web api worker -f pyro.toml --remove-orphans
  pyro service up web --path /workspace/compose.yaml --env PORT=8080"
)]
pub(crate) struct ServiceUpArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Only these, and those they depend on; all if left out
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(completion::services))]
    pub(crate) services: Vec<String>,
    /// The file, here: .toml, or .yaml or .yml for a compose file
    #[arg(short, long, conflicts_with = "path")]
    pub(crate) file: Option<PathBuf>,
    /// The file, in the workspace; a relative path is under /workspace
    #[arg(long)]
    pub(crate) path: Option<String>,
    /// Set a variable that the file names; KEY alone copies its value from here
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Return at once; they go on to become ready, for wait
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Stop those that came from the file before and are not in it any more
    #[arg(long)]
    pub(crate) remove_orphans: bool,
    /// Wait no longer than this, as in 30, 5m; 0 means as long as each may take
    #[arg(long, alias = "timeout", value_name = "TIME", value_parser = values::duration)]
    pub(crate) timeout_seconds: Option<Duration>,
    /// Fail rather than start a stopped workspace
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Stop the services that came from a file, those that others need last
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pyro service down web
  pyro service down web worker
  pyro service down web -f compose.yaml")]
pub(crate) struct ServiceDownArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Only these; all that came from a file if left out
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(completion::services))]
    pub(crate) services: Vec<String>,
    /// Only those that came from a file of this name
    #[arg(short, long, conflicts_with = "path")]
    pub(crate) file: Option<PathBuf>,
    /// Only those that came from this file in the workspace
    #[arg(long)]
    pub(crate) path: Option<String>,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
