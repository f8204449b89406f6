//! Seeds: what the `/workspace` of a workspace begins with.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A seed of this node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Seed {
    /// Its digest.
    pub seed: String,
    /// Files, directories and links.
    pub entry_count: u64,
    /// Bytes of file content, without holes.
    pub bytes_written: u64,
    /// Bytes of its image.
    pub image_bytes: u64,
    /// Whether it was there before.
    pub reused: bool,
}

/// The seed that a workspace begins with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SeedChoice {
    /// Its digest.
    pub digest: String,
    /// `directory`, `tar_archive` or `git`: what it was made from.
    pub mode: String,
    /// Where that lay, as it is to be shown; the node does not look there.
    #[serde(default)]
    pub seed_path: Option<String>,
    /// Whether it was there, so that nothing was sent; as it is to be shown.
    #[serde(default)]
    pub reused: bool,
}
