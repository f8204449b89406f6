//! Files of this host into a workspace, and a workspace's onto this host.

mod choose;
pub(super) mod copy;
pub(super) mod export;
pub(super) mod pull;
pub(super) mod push;
