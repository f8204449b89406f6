//! Ports of this host, and the connections that come to them.
//!
//! A port is taken for every address that is meant or not at all: `localhost` is 127.0.0.1 and, where
//! there is IPv6, ::1, so that no other program answers half of those who say it. Refuses to know what
//! is behind a port.

mod descriptors;
mod hang_up;
mod port;

pub use descriptors::allow_most_descriptors;
pub use hang_up::hang_up;
pub use port::{HostPort, ListenError, Listening};
