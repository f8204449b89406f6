//! Trees of files as tar streams: packed, checked, and unpacked where nothing can leave its place.
//!
//! Owns which names and sizes of an archive are acceptable, and what an archive's faults are called.
//! Refuses to know where an archive comes from and who asked for it.

mod beneath;
mod error;
mod limits;
mod name;

pub use beneath::open_directory;
pub use error::Error;
pub use limits::{Limits, Meter};
pub use name::{NAME_MAX, PATH_MAX, SafeName};
