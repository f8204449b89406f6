//! Where a node is, and how one would be started.

use std::path::PathBuf;

/// The Unix socket in the state directory on which the node listens.
pub(crate) const SOCKET: &str = "node.sock";

/// Held by whoever starts a node, and by a node that ends by idleness.
pub(crate) const START_LOCK: &str = "start.lock";

/// The file in the state directory to which a node started on demand writes.
pub(crate) const LOG: &str = "node.log";

/// Where a node is, and how one would be started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeLocation {
    /// The state directory, absolute.
    pub state: PathBuf,
    /// The image cache, absolute; told to a node that is started.
    pub cache: PathBuf,
    /// The `pyro` program that serves as a node; `None` where none may be started.
    pub program: Option<PathBuf>,
}
