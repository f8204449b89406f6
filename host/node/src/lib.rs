//! The node: HTTP routes, wiring, idle exit.
//!
//! Owns the socket and what is said on it. Refuses to decide anything about a workspace: it parses
//! requests, asks `workspace`, and presents the answer.

mod file_path;
mod openapi;
mod parse;
mod present;
mod response;
mod routes;
mod server;
mod stream;

pub use openapi::document as openapi_document;
pub use server::{NodeError, NodeSettings, Ready, run};
