//! What this host can run, what was proven, and what to type where something is missing.
//!
//! Works without a node and on hosts where nothing works: whatever cannot be found out is part of
//! the report. "Proven" means that a guest was booted, just now, and its agent answered. Refuses
//! to know workspaces, and repairs nothing.

mod examine;
mod node;
mod place;
mod proof;
mod report;

pub use examine::{Request, examine};
pub use proof::Proof;
pub use report::{
    BackendReport, Check, KernelReport, KvmDevice, NodeReport, PlaceReport, ProgramReport, Report,
    Verdict,
};
