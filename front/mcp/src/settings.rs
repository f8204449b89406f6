//! What a server is told when it starts.

use std::{ffi::OsString, path::PathBuf};

use pyro_client::NodeLocation;
use pyro_core::Problem;

use crate::Profile;

/// What a server is told when it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which tools it offers.
    pub profile: Profile,
    /// Where the node is; a problem here is told by the first call that needs the node.
    pub location: Result<NodeLocation, Problem>,
    /// The backend to ask for where a caller does not say.
    pub backend: Option<String>,
    /// What `@` means, where that is set for the whole process.
    pub current_workspace: Option<String>,
    /// The directory whose choice `@` means otherwise.
    pub current_directory: Option<PathBuf>,
    /// The directories of this host whose files its tools may bring and write.
    pub allowed_paths: Vec<PathBuf>,
    /// All that git finds in its environment where a workspace begins with a repository.
    pub git_environment: Vec<(OsString, OsString)>,
}
