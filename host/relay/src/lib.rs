//! Everything that a workspace sends out: policy, names, connections, and what was refused.
//!
//! One [`Relay`] stands between a guest and the network. The guest's programs look names up
//! ([`Relay::dns`]) and connect to addresses ([`Relay::connect`]); the relay decides by its [`Policy`],
//! really connects, and carries the bytes ([`Outgoing::carry`]). No packet of a guest ever reaches a
//! network: connections and look-ups are made anew here, by the host's kernel and resolver.
//!
//! Owns what may be reached and what was. Refuses to know how a guest's connections get here (it takes
//! any stream), what a workspace is, and who asks for the log.
//!
//! What holds, whatever a guest sends:
//!
//! - The host itself, private networks, link-local and metadata addresses are reached only where a
//!   rule names them literally ([`classify`]), also when a name that is allowed resolves to them.
//! - Under an allow-list, an address is reached by a name only if this relay resolved that name to it.
//! - What only a name let through must say that name, where it says one at all: TLS in its
//!   ClientHello, HTTP in each request ([`Inspector`]).
//! - All of it is bounded: connections, look-ups, names, buffers, lines of the log.

mod address;
mod dns;
mod domain;
mod hello;
mod http;
mod inspection;
mod log;
mod names;
mod outgoing;
mod policy;
mod relay;
mod resolver;
mod rule;
mod settings;

#[cfg(test)]
#[path = "../tests/support/samples.rs"]
mod samples;

pub use address::{Class, canonical, classify};
pub use dns::Transport;
pub use domain::{DomainName, InvalidName};
pub use inspection::{Check, Claim, Inspector, MOST_HELD, Violation};
pub use log::{Entry, Follow, Log, LogSink, Process, Protocol, Verdict};
pub use outgoing::{Carried, CarryError, Outgoing};
pub use policy::{Denial, InvalidPolicy, MOST_RULES, Policy, Reason};
pub use relay::{Figures, Refusal, Relay};
pub use resolver::{Resolve, ResolveError, SystemResolver};
pub use rule::{InvalidRule, Rule};
pub use settings::{Clock, Dial, Direct, HostAddresses, Interfaces, Limits, Settings, SystemClock};
