//! Ports of a workspace: who listens on them, and where they are published on the host.

use pyro_core::WorkspaceId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A port that is to be published.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishPort {
    /// The port of the workspace, 1 to 65535.
    pub guest_port: u32,
    /// The port of the host, 1025 to 65535; 0: any that is free; null: the guest's number where it can
    /// be had, else any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u32>,
}

/// Publishes ports of a workspace on the host: all of them or none.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishPorts {
    /// The ports.
    pub ports: Vec<PublishPort>,
    /// The host's address to listen on; null: localhost, 127.0.0.1 and ::1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<String>,
}

/// A port of the host that leads to a port of a workspace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PublishedPort {
    /// The host's address; 127.0.0.1 stands for localhost, ::1 too.
    pub host: String,
    /// The port of the host.
    pub host_port: u16,
    /// The port of the workspace.
    pub guest_port: u16,
    /// `tcp`.
    pub protocol: String,
}

/// The reply to a publish.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PublishedPorts {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// The ports that were asked for, in that order; those that were published before too.
    pub published_ports: Vec<PublishedPort>,
    /// What the caller should know, for example that others than this host may connect.
    pub notices: Vec<String>,
}

/// Takes published ports back: all of them or none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnpublishPorts {
    /// Ports of the host; a number that is none of these is a port of the workspace.
    pub ports: Vec<u32>,
}

/// The reply to an unpublish.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct UnpublishedPorts {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// What is not published any more.
    pub unpublished_ports: Vec<PublishedPort>,
}

/// The ports of a workspace, by number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PortList {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// How many.
    pub count: usize,
    /// One for each place where a port is published, one for each port that is only listened on.
    pub ports: Vec<Port>,
}

/// A port of a workspace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Port {
    /// Its number.
    pub guest_port: u16,
    /// `tcp`.
    pub protocol: String,
    /// The service that listens on it, or that it is published with; null: none.
    pub service: Option<String>,
    /// The guest's addresses on which somebody listens; `0.0.0.0` and `::` mean all.
    pub listening_addresses: Vec<String>,
    /// Where it is published; null: nowhere.
    pub published: Option<PortPublication>,
}

/// Where a port is published, and how that stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PortPublication {
    /// The host's address; 127.0.0.1 stands for localhost, ::1 too.
    pub host: String,
    /// The port of the host.
    pub host_port: u16,
    /// `listening`; `released`: not taken now, and taken again when the workspace or service is
    /// started; `failed`: it could not be taken.
    pub state: String,
    /// Why it is not listened on.
    pub reason: Option<String>,
    /// Connections that go through it now.
    pub connections: usize,
}
