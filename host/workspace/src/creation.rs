//! What a workspace is made from, and what may be changed later.

use std::collections::BTreeMap;

use pyro_core::{EnvironmentName, LabelKey, LabelValue, Mebibytes, VcpuCount, WorkspaceName};
use pyro_store::{OnExpiry, SeedMode, WorkspaceKind};

use crate::network::Network;

/// What a workspace is made from; every value parsed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Creation {
    /// Workspace or one-shot VM.
    pub kind: WorkspaceKind,
    /// The environment.
    pub environment: EnvironmentName,
    /// Virtual CPUs.
    pub vcpus: VcpuCount,
    /// Memory.
    pub memory: Mebibytes,
    /// Apparent size of its disk.
    pub disk: Mebibytes,
    /// Idle time after which it expires.
    pub ttl_seconds: Option<u64>,
    /// What happens then.
    pub on_expiry: OnExpiry,
    /// Discovery name.
    pub name: Option<WorkspaceName>,
    /// Discovery labels.
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// The backend asked for, if one was.
    pub backend: Option<String>,
    /// What it may reach.
    pub network: Network,
    /// What its `/workspace` begins with.
    pub seed: Option<SeedChoice>,
}

/// What a `/workspace` begins with: a seed that is in the cache.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeedChoice {
    /// The seed.
    pub digest: pyro_image::Digest,
    /// What it was made from.
    pub mode: SeedMode,
    /// Where that lay, as its caller names it.
    pub path: Option<String>,
    /// Whether the caller found it there.
    pub reused: bool,
}

/// A change of discovery metadata.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Change {
    /// The new name; `Some(None)` removes it.
    pub name: Option<Option<WorkspaceName>>,
    /// Labels to set.
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// Labels to remove.
    pub clear_labels: Vec<LabelKey>,
}
