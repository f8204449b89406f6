//! Environments: the root file systems workspaces start from.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An environment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Environment {
    /// For example `debian:12`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is for.
    pub description: String,
    /// Packages it is known for.
    pub default_packages: Vec<String>,
    /// For example `debian`.
    pub distribution: String,
    /// For example `12`.
    pub distribution_version: String,
    /// `linux-x86_64`.
    pub platform: String,
    /// Null: registries come later.
    pub oci_registry: Option<String>,
    /// Null: registries come later.
    pub oci_repository: Option<String>,
    /// Null: registries come later.
    pub oci_reference: Option<String>,
    /// SHA-256 of the root image, once it is installed.
    pub source_digest: Option<String>,
    /// Which guests it works with.
    pub compatibility: String,
    /// The catalogue it is from.
    pub catalog_version: String,
    /// Whether it is here.
    pub installed: bool,
    /// The image cache.
    pub cache_dir: String,
    /// Where it is, or would be.
    pub install_dir: String,
    /// What is installed; null where it is not.
    #[schema(value_type = Object)]
    pub install_manifest: Option<serde_json::Value>,
    /// Bytes it occupies on the host.
    pub size_bytes: u64,
    /// `built`, `imported` or null.
    pub source: Option<String>,
}

/// The payload of `env list --json`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentCatalog {
    /// The catalogue's version.
    pub catalog_version: String,
    /// Catalogue entries first, then imported ones, each sorted by name.
    pub environments: Vec<Environment>,
}

/// One line of a build's progress (NDJSON).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BuildEvent {
    /// Something is being done.
    Progress {
        /// What.
        message: String,
        /// 0 to 1 where it is known.
        fraction: Option<f64>,
    },
    /// It is built (or was up to date).
    Done {
        /// What is installed now.
        environment: Box<Environment>,
        /// Whether anything had to be built.
        built: bool,
    },
    /// It failed; nothing was changed.
    Problem {
        /// Why.
        #[schema(value_type = Object)]
        problem: pyro_core::Problem,
    },
}

/// The reply to an import.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ImportedEnvironment {
    /// What is installed now.
    #[serde(flatten)]
    pub environment: Environment,
    /// Bytes of tar that were read.
    pub bytes_read: u64,
}

/// The reply to a prune.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct PrunedEnvironments {
    /// Images of environments that were deleted.
    pub deleted_environment_dirs: Vec<String>,
    /// How many of them.
    pub count: usize,
    /// Kernels that were deleted.
    #[serde(default)]
    pub deleted_kernel_dirs: Vec<String>,
    /// Initramfs archives that were deleted; they are made again when they are needed.
    #[serde(default)]
    pub deleted_initramfs_dirs: Vec<String>,
    /// Seeds that were deleted.
    #[serde(default)]
    pub deleted_seed_dirs: Vec<String>,
    /// What all that freed on the host's disk, in bytes.
    #[serde(default)]
    pub freed_bytes: u64,
}

/// The reply to a delete of an environment's name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeletedEnvironment {
    /// The name.
    pub name: String,
    /// `true`.
    pub deleted: bool,
    /// Its image, unless another name or a workspace needs it.
    pub deleted_environment_dirs: Vec<String>,
    /// How many that are: one or none.
    pub count: usize,
    /// What that freed on the host's disk, in bytes.
    #[serde(default)]
    pub freed_bytes: u64,
}
