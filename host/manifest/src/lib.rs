//! Files that say which services a workspace has: `pyro.toml`, and the `services` of a compose file.
//!
//! ```text
//! tree           what both languages say: scalars, lists and maps, each with its line
//! toml_text      TOML -> tree
//! yaml_text      YAML -> tree: anchors and merges undone, within bounds
//! interpolation  ${VARIABLE}
//! dotenv         files of variables
//! pyro_file      tree of a pyro.toml -> specifications
//! compose_file   tree of a compose file -> specifications
//! port           ports that a service publishes, as both say them
//! ```
//!
//! Pure: it reads texts, never files, and knows no workspace. What a file needs of where it lies
//! ([`needs`]) is fetched by whoever can reach it. Every text comes from strangers: sizes, depth,
//! and what aliases and variables grow to are bounded.

mod compose_file;
mod dotenv;
mod error;
mod interpolation;
mod manifest;
mod port;
mod pyro_file;
mod toml_text;
mod tree;
mod value;
mod yaml_text;

pub use error::ManifestError;
pub use manifest::{EnvFile, Manifest, Needs, Source, Surroundings, needs, read};
pub use port::Port;

#[cfg(test)]
mod documents;
#[cfg(test)]
mod stories;
