//! What is different, and patches.

pub(super) mod diff;
pub(super) mod patch;
