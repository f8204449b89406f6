//! The MCP server and how clients are told of it.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};

const PROFILES: [&str; 3] = ["vm-run", "workspace-core", "workspace-full"];

#[derive(Subcommand, Debug)]
pub(crate) enum McpVerb {
    Serve(McpServeArguments),
    Config(McpConfigArguments),
}

impl McpVerb {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::Serve(_) => false,
            Self::Config(arguments) => arguments.json,
        }
    }
}

/// Serve tools to an MCP client, over stdin and stdout
///
/// Not for use by hand: a client starts it. `pyro mcp config CLIENT` prints what to tell the client.
#[derive(Args, Debug)]
pub(crate) struct McpServeArguments {
    /// Which tools: one-shot commands, the everyday ones, or all
    #[arg(long, value_parser = PROFILES, default_value = "workspace-core")]
    pub(crate) profile: String,
    /// Serve over HTTP instead, at this loopback address; port 0 picks one
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,
    /// A directory of this host whose files its tools may bring and write; repeatable [default: the current
    /// directory, unless that is /, a home directory or a cache]
    #[arg(long, value_name = "DIR")]
    pub(crate) allow_path: Vec<PathBuf>,
}

/// Print what to paste into an MCP client's configuration
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pyro mcp config claude-code
  pyro mcp config codex >> ~/.codex/config.toml")]
pub(crate) struct McpConfigArguments {
    /// The client
    #[arg(value_parser = ["claude-code", "claude-desktop", "codex", "cursor", "gemini", "opencode", "vscode"])]
    pub(crate) client: String,
    /// Which tools: one-shot commands, the everyday ones, or all
    #[arg(long, value_parser = PROFILES, default_value = "workspace-core")]
    pub(crate) profile: String,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
