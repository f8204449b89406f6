//! What is different between two trees of files, and patches.
//!
//! ```text
//! tree     what this crate asks of a tree, and of the layer of an overlay
//! changes  what is different between two of them
//! unified  a difference as a patch
//! patch    a patch, as it was written by whomever
//! apply    where it fits
//! review   what a person should look at first
//! ```
//!
//! Pure but for what it reads through [`Tree`]: it opens nothing, and does not know where a tree lies.

mod apply;
mod changes;
mod patch;
mod review;
mod tree;
mod unified;

pub use apply::{Applied, Miss, apply};
pub use changes::{Change, Options, Side, Status, Tally, changes};
pub use patch::{Action, FilePatch, Hunk, LONGEST_PATCH, Line, LineKind, Patch, PatchError, parse};
pub use review::{Mark, Reviewed, Shown, fold, marks};
pub use tree::{Kind, Layer, Marker, Meta, Tree};
pub use unified::{Version, git_mode, is_binary, unified};
