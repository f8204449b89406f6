//! The tools of ports.

use super::{Definition, Field, Nature, SKIP, WORKSPACE};
use crate::{
    Profile,
    parameter::{Parameter, Shape},
};

const fn ports(about: &'static str) -> Parameter {
    Parameter { name: "ports", about, shape: Shape::Ports, required: true, rare: false }
}

/// Every tool of ports.
pub(super) const TOOLS: &[Definition] = &[
    Definition {
        name: "port_publish",
        title: "Publish ports on the host",
        about: "Make ports of a workspace reachable on the host's localhost, whatever its network, \
                until they are unpublished; all of them or none.",
        parameters: &[WORKSPACE, ports("GUEST or HOST:GUEST; HOST 0: any that is free")],
        output: &[Field("published_ports", "array")],
        nature: Nature::Changes,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "port_list",
        title: "List ports",
        about: "List the ports of a workspace: which service listens, where they are published.",
        parameters: &[WORKSPACE, SKIP],
        output: &[Field("count", "integer"), Field("ports", "array")],
        nature: Nature::Reads,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "port_unpublish",
        title: "Unpublish ports",
        about: "Take published ports back and cut their connections.",
        parameters: &[WORKSPACE, ports("of the host, else of the workspace")],
        output: &[Field("unpublished_ports", "array")],
        nature: Nature::Changes,
        profile: Profile::WorkspaceFull,
    },
];
