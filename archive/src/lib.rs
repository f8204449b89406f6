//! Trees of files as tar streams: packed, checked, and unpacked where nothing can leave its place.
//!
//! Owns the tar format, which names and sizes of an archive are taken, and how a tree is read and
//! made without following a link. Refuses to know where an archive comes from, who asked for it, and
//! how its errors are shown. Everything blocks.

mod beneath;
mod draft;
mod error;
#[cfg(feature = "host")]
pub mod host;
mod limits;
mod member;
mod name;
mod pack;
mod reader;
mod removal;
mod rewrite;
mod unpack;
mod walk;
mod writer;

pub use draft::{draft_name, is_draft};
pub use error::Error;
pub use limits::{Limits, Tally};
pub use member::Kind;
pub use name::{NAME_MAX, PATH_MAX, SafeName};
pub use pack::{Cancel, Exclude, PackOptions, Progress, pack};
pub use rewrite::{rewrite, rewrite_watched};
pub use unpack::{Overwrite, UnpackOptions, unpack};
