//! What only the host needs: sources of seeds, rules of what is left out, surveys of directories.

mod rules;
mod sensitive;
mod source;
mod survey;

pub use rules::{Matcher, Rules};
pub use sensitive::is_sensitive;
pub use source::{Source, StreamOptions};
pub use survey::{MAX_SENSITIVE, Survey, survey};
