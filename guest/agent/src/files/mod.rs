//! Files of the workload, for the host.
//!
//! ```text
//! conversation   one call: a thread that may block, and the stream it speaks by
//! root           paths, resolved within the workload's root and nowhere else
//! entry          what is known of a file
//! read, list, search        looking
//! write, arrange, patch     changing, each file whole or not at all
//! archive, changes          much at once: in, out, and what is different
//! ```
//!
//! Refuses to follow anything out of the workload's root, to open what is no regular file, and to let
//! the agent wait for a file system that does not answer.

mod archive;
mod arrange;
mod changes;
mod conversation;
mod drafts;
mod entry;
mod lines;
mod list;
mod patch;
mod read;
mod root;
mod search;
mod write;

pub use conversation::{is_file_call, serve};
pub use drafts::remove_drafts;
