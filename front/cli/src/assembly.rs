//! What the one binary is besides a client, passed in by its main.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, process::ExitCode};

use pyro_client::NodeLocation;
use pyro_core::Problem;
use serde_json::Value;

/// The other halves of the binary, as functions.
#[derive(Clone, Copy, Debug)]
pub struct Assembly {
    /// `pyro serve`: serves as a node until it is stopped. Not called inside an async runtime.
    pub serve: fn(ServeRequest) -> Result<(), Problem>,
    /// `pyro keep DIRECTORY`: keeps one VM.
    pub keep: fn(PathBuf) -> ExitCode,
    /// `pyro probe-kvm ...`: all arguments of the process.
    pub probe_kvm: fn(Vec<OsString>) -> ExitCode,
    /// `pyro doctor`. Not called inside an async runtime.
    pub doctor: fn(DoctorRequest) -> Result<DoctorReport, Problem>,
    /// `pyro mcp serve`: serves until its client goes. Not called inside an async runtime.
    pub mcp: fn(McpServeRequest) -> Result<(), Problem>,
    /// `pyro mcp config`: what a client's configuration needs.
    pub mcp_snippet: fn(&McpSnippetRequest) -> Result<McpSnippet, Problem>,
}

/// What an MCP server is told when it starts.
#[derive(Clone, Debug)]
pub struct McpServeRequest {
    /// `vm-run`, `workspace-core` or `workspace-full`.
    pub profile: String,
    /// Where to listen; stdin and stdout if `None`.
    pub http: Option<SocketAddr>,
    /// Where the node is, or why that is not known.
    pub location: Result<NodeLocation, Problem>,
    /// The backend that was asked for by PYRO_BACKEND or the configuration.
    pub backend: Option<String>,
    /// `PYRO_WORKSPACE`: what `@` means.
    pub current_workspace: Option<String>,
    /// Where the command was called.
    pub current_directory: Option<PathBuf>,
    /// The directories of this host whose files its tools may bring and write.
    pub allowed_paths: Vec<PathBuf>,
    /// All that git finds in its environment.
    pub git_environment: Vec<(OsString, OsString)>,
}

/// Which client's configuration is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct McpSnippetRequest {
    /// Its name, as `pyro mcp config` takes it.
    pub client: String,
    /// The profile to serve it.
    pub profile: String,
    /// This program.
    pub program: PathBuf,
}

/// What a client's configuration needs.
#[derive(Clone, PartialEq, Debug)]
pub struct McpSnippet {
    /// What to paste.
    pub text: String,
    /// Where to paste it.
    pub hint: String,
    /// The document of `--json`, an object.
    pub payload: Value,
}

/// What a node is told when it starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServeRequest {
    /// The state directory, absolute.
    pub state: PathBuf,
    /// The image cache, absolute.
    pub cache: PathBuf,
    /// This program, for keepers and probes.
    pub program: PathBuf,
    /// Started by a client: ends when there is nothing left to watch.
    pub on_demand: bool,
    /// The descriptor on which to say `ready`, or a problem as one line of JSON.
    pub ready_fd: Option<i32>,
}

/// What doctor is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DoctorRequest {
    /// The state directory, absolute; it need not exist. None where nothing says where it would be.
    pub state: Option<PathBuf>,
    /// The image cache, absolute; it need not exist. None as above.
    pub cache: Option<PathBuf>,
    /// This program, for probes.
    pub program: PathBuf,
    /// The platform to examine: `linux-x86_64`.
    pub platform: String,
    /// The backend that was asked for by PYRO_BACKEND or the configuration.
    pub backend: Option<String>,
}

/// What doctor found.
#[derive(Clone, PartialEq, Debug)]
pub struct DoctorReport {
    /// Whether a VM can run here: decides the exit code.
    pub usable: bool,
    /// The document of `--json`, an object; the command adds `node`.
    pub payload: Value,
    /// What a person is shown, in order.
    pub checks: Vec<Check>,
}

/// One thing doctor looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What was looked at, one or two words.
    pub name: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found, one line.
    pub summary: String,
    /// What to type where something is missing.
    pub hints: Vec<String>,
}

/// How one thing is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Worth knowing; nothing is broken.
    Notice,
    /// Broken or missing.
    Bad,
}
