//! Verbs on environments.

pub(super) mod build;
pub(super) mod delete;
pub(super) mod import;
pub(super) mod inspect;
pub(super) mod list;
pub(super) mod prune;
