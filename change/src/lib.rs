//! What is different between two trees of files, and patches.
//!
//! ```text
//! tree     what this crate asks of a tree, and of the layer of an overlay
//! ```
//!
//! Pure but for what it reads through [`Tree`]: it opens nothing, and does not know where a tree lies.

mod tree;

pub use tree::{Kind, Layer, Marker, Meta, Tree};
