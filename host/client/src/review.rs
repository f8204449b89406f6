//! A difference, as what is worth a second look, and what is folded, is decided of it.

use pyro_api::DiffEntry;
use pyro_change::Reviewed;

/// A change, as far as that matters.
pub fn reviewed(entry: &DiffEntry) -> Reviewed<'_> {
    let bits = |mode: &Option<String>| u32::from_str_radix(mode.as_deref()?, 8).ok();
    Reviewed {
        path: &entry.path,
        is_new: matches!(entry.status.as_str(), "added" | "renamed"),
        is_gone: entry.status == "deleted",
        is_file: entry.artifact_type == "file",
        mode: bits(&entry.mode),
        old_mode: bits(&entry.old_mode),
        size: entry.size_bytes.unwrap_or(0),
        link_target: entry.link_target.as_deref(),
    }
}
