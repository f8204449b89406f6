//! What a workspace may reach, and what it wanted to.

use pyro_core::WorkspaceId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Changes what a workspace may reach, at once.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetNetwork {
    /// `off`, `egress` or `egress+published-ports`; null: as it is with `add`, else `off`.
    #[serde(default)]
    pub network_policy: Option<String>,
    /// What it may reach besides: names, wildcards, addresses or networks, each with a port or
    /// without.
    #[serde(default)]
    pub network_allow: Vec<String>,
    /// Keep the rules that there are and add these.
    #[serde(default)]
    pub add: bool,
}

/// What a workspace may reach, and what it does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct NetworkStatus {
    /// Whose it is.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// `off`, `egress` or `egress+published-ports`.
    pub network_policy: String,
    /// What it may reach besides.
    pub network_allow: Vec<String>,
    /// Whether it has a network: its policy, or a rule, lets it reach something.
    pub network_enabled: bool,
    /// Of a change: connections that it ended, because they no longer fit.
    pub closed_connections: u64,
    /// Connections that are open or being opened.
    pub open_connections: u64,
    /// Connections that were opened since the node began.
    pub connections: u64,
    /// Bytes that went out since the node began.
    pub bytes_sent: u64,
    /// Bytes that came in since the node began.
    pub bytes_received: u64,
    /// Connections and look-ups that were refused since the node began.
    pub denied: u64,
    /// Look-ups of names since the node began.
    pub queries: u64,
    /// Bytes of memory that its connections take on the host now.
    pub buffer_bytes: u64,
    /// The most memory on the host that they can take.
    pub memory_bound_bytes: u64,
}

/// Something that a workspace wanted to reach. Repetitions in a row are one entry.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct NetworkLogEntry {
    /// Grows by one with each entry and each repetition: a cursor.
    pub seq: u64,
    /// When; of repetitions the last. Unix seconds.
    pub at: f64,
    /// When it was so for the first time. Unix seconds.
    pub first_at: f64,
    /// How often, in a row.
    pub count: u64,
    /// `allowed`, `denied`, `failed` (allowed, and it did not work) or `closed` (by a change of the
    /// policy).
    pub verdict: String,
    /// `tcp` (a connection) or `dns` (a look-up).
    pub protocol: String,
    /// Who, by the guest's word.
    pub process: Option<NetworkProcess>,
    /// The name that was looked up, that the address belongs to, or that was claimed.
    pub name: Option<String>,
    /// The address.
    pub address: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The rule that let it through.
    pub rule: Option<String>,
    /// Why not, for programs: `network_off`, `not_allowed`, `port_not_allowed`, `special_address`,
    /// `local_name`, `invalid_name`, `no_server_name`, `other_server_name`, `other_host`,
    /// `other_protocol`, `malformed`, `policy_changed`, `host_unknown`.
    pub reason: Option<String>,
    /// Why not, for people.
    pub why: Option<String>,
    /// The flag that would allow it.
    pub hint: Option<String>,
}

/// A process of a workspace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct NetworkProcess {
    /// Its id within the workspace.
    pub pid: u32,
    /// What it is called.
    pub name: String,
}
