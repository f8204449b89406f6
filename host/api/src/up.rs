//! Several services at once, as a file declares them.

use std::collections::BTreeMap;

use pyro_core::WorkspaceId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ErrorBody, Service};

/// Makes the services of a workspace what a file declares: those that run as they should are left
/// alone, those that changed are restarted, and those that do not run are started.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpServices {
    /// The file, as its caller read it.
    #[serde(default)]
    pub file: Option<GivenFile>,
    /// Where it is in the workspace instead; a relative path is under `/workspace`. Default: the
    /// first of `pyro.toml`, `compose.yaml`, `compose.yml`, `docker-compose.yaml` and
    /// `docker-compose.yml` that is there. Files it names are read beside it.
    #[serde(default)]
    pub path: Option<String>,
    /// Values of variables that it names.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Only these, and those they depend on. Default: all.
    #[serde(default)]
    pub services: Vec<String>,
    /// Stop those that came from the file before and are not in it any more.
    #[serde(default)]
    pub remove_orphans: bool,
    /// Answer at once, rather than when each is ready or cannot be any more.
    #[serde(default)]
    pub no_wait: bool,
    /// Wait for so many seconds at most. Default: for as long as each may take.
    #[serde(default)]
    pub timeout_seconds: Option<f64>,
    /// Do not start a stopped workspace for this; fail instead.
    #[serde(default)]
    pub no_start: bool,
}

/// A file of services with what it needs of where it lies.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenFile {
    /// Its name; the ending says what it is: `.toml`, or `.yaml` or `.yml` for a compose file.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The text of `.env` beside it: variables where `variables` has none.
    #[serde(default)]
    pub dot_env: Option<String>,
    /// Texts of the files of variables that it names, by path as it gives them; null: not there.
    #[serde(default)]
    pub env_files: BTreeMap<String, Option<String>>,
}

/// Asks what a file of services needs of where it lies.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ManifestRequest {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The text of `.env` beside it.
    #[serde(default)]
    pub dot_env: Option<String>,
    /// Values of variables, as far as they are known: paths may have some.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
}

/// What a file of services needs of where it lies.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ManifestNeeds {
    /// Variables it names.
    pub variables: Vec<String>,
    /// Files of variables it names: absolute, or relative to it.
    pub env_files: Vec<NamedEnvFile>,
}

/// A file of variables.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct NamedEnvFile {
    /// Where it is.
    pub path: String,
    /// Whether it is an error where it is not there.
    pub required: bool,
}

/// What came of an up.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct UpResult {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// The file, as its services know it.
    pub file: String,
    /// How many services are told of.
    pub count: usize,
    /// How many of them are not as they should be.
    pub failed_count: usize,
    /// Each, after those it depends on; then orphans.
    pub services: Vec<UpService>,
    /// Whether the time to wait was over first.
    pub timed_out: bool,
    /// Set where not all of them are as they should be: which, and what to look at.
    pub failure: Option<ErrorBody>,
    /// What the caller should know, for example what of the file was ignored.
    pub notices: Vec<String>,
}

/// What was done about a service.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct UpService {
    /// Its name.
    pub service_name: String,
    /// `started`, `restarted`, `unchanged`, `failed`; of one that is not in the file any more
    /// `orphaned`, or `stopped`.
    pub action: String,
    /// As it stands; null where it could not be started at all.
    pub service: Option<Service>,
    /// Where it did not become ready: its last lines of output.
    pub log_tail: Vec<String>,
    /// Why it is not as it should be.
    pub failure: Option<ErrorBody>,
}

/// Stops the services that came from a file.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DownServices {
    /// From which: its name, or its path in the workspace. Default: from any.
    #[serde(default)]
    pub file: Option<String>,
    /// Only these. Default: all.
    #[serde(default)]
    pub services: Vec<String>,
}

/// What came of a down.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DownResult {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// How many services are told of.
    pub count: usize,
    /// How many of them ran.
    pub stopped_count: usize,
    /// Each, by name.
    pub services: Vec<DownService>,
}

/// A service after a down.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DownService {
    /// Its name.
    pub service_name: String,
    /// `stopped`, or `unchanged` where it did not run.
    pub action: String,
    /// As it stands.
    pub service: Service,
}
