//! Verbs on the node.

pub(super) mod status;
pub(super) mod stop;
