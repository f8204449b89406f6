//! Verbs on workspaces, and on the commands that run in them.

pub(super) mod attach;
mod card;
pub(super) mod create;
pub(super) mod delete;
pub(super) mod events;
pub(super) mod exec;
pub(super) mod forward;
pub(super) mod kill;
pub(super) mod list;
pub(super) mod logs;
pub(super) mod network;
pub(super) mod prune;
pub(super) mod ps;
pub(super) mod reset;
mod seed;
pub(super) mod start;
pub(super) mod status;
pub(super) mod stop;
pub(super) mod update;
pub(super) mod wait;
