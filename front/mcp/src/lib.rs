//! The MCP server: pyro's verbs as tools for models.
//!
//! Owns what a model sees: names, descriptions and schemas of tools, how results are cut to what a
//! context window can bear, and the two doors, stdio and streamable HTTP. Refuses to know how anything
//! is done: every call goes through the client. Nothing here needs a node before the first call
//! that does, so that a client's start is never slower than this process.

mod answer;
mod arguments;
mod call;
mod catalogue;
mod client_config;
#[cfg(feature = "conformance")]
mod conformance;
mod disk;
mod exec;
mod file;
mod host_path;
mod http;
mod log;
mod network;
mod output;
mod parameter;
mod port;
mod profile;
mod progress;
mod prompts;
mod resources;
mod review;
mod server;
mod service;
mod settings;
mod snapshot;
mod stdio;
mod transfer;
mod vm;
mod workspace;

pub use client_config::{Client, Snippet};
#[cfg(feature = "conformance")]
pub use conformance::serve_fixtures;
pub use http::{Listening, serve_http};
pub use profile::Profile;
pub use settings::Settings;
pub use stdio::serve_stdio;
