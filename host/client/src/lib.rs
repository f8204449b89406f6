//! The typed client of the node: finds it, starts it, speaks HTTP to it.
//!
//! Owns how a node is found in a state directory and started without a race, one method per route,
//! the upgraded streams of `exec`, `attach` and `run`, and how files of this host become a seed. Refuses to know: terminals, printing, the
//! process environment; where things are is a parameter.
//!
//! ```no_run
//! # async fn example() -> Result<(), pyro_client::ClientError> {
//! use pyro_client::{Node, NodeLocation, api};
//! let node = Node::connect_or_start(NodeLocation {
//!     state: "/home/me/.local/state/pyro".into(),
//!     cache: "/home/me/.cache/pyro".into(),
//!     program: Some("/usr/bin/pyro".into()),
//! })
//! .await?;
//! let workspace = node.create_workspace(&api::CreateWorkspace::default()).await?;
//! # Ok(()) }
//! ```

mod archive;
mod connection;
mod disk;
mod documents;
mod draft;
mod error;
mod exec_stream;
mod files;
mod git;
mod location;
mod manifest;
mod network;
mod node;
mod port_stream;
mod pull;
mod pull_memory;
mod review;
mod seed;
mod selection;
mod services;
mod snapshots;
mod start;
mod sys;

pub use archive::{
    ArchiveStream, Carried, ExportQuery, Exported, Format, Push, Rules, Survey, Tally,
};
pub use disk::DiskImage;
pub use documents::Documents;
pub use error::ClientError;
pub use exec_stream::{ExecEvent, ExecReceiver, ExecSender, ExecStream};
pub use files::{DiffQuery, FilePath, ReadQuery};
pub use git::GitSeed;
pub use location::NodeLocation;
pub use manifest::given_file;
pub use node::{BuildStream, Node, Output};
pub use port_stream::PortStream;
pub use pull::{Plan, PullPlan, Pulled};
pub use pyro_api as api;
pub use review::reviewed;
pub use seed::{SeedFiles, SeedProgress, SeedReport, SeedRequest};
pub use selection::Selections;
pub use services::ServiceLogQuery;
