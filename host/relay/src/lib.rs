//! x
mod address;
mod domain;
mod log;
mod hello; mod http; mod inspection;
mod names;
mod policy;
mod rule;
pub use policy::*; pub use rule::*; pub use log::*;pub use domain::*; pub use address::*; pub use inspection::*;
#[cfg(test)]
#[path = "../tests/support/samples.rs"]
mod samples;
