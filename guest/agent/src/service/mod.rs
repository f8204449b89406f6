//! Services: named processes that outlive the call that started them, and are proven ready.
//!
//! ```text
//! call.rs -> calls -> services (all of them, by name) -> supervisor (one task per service)
//!                        |                                 |-> machine   what to do next: pure
//!                        |                                 |-> process   one run: streams, end
//!                        |-> journal  every state change   |-> probe     is it ready, is it well
//!                        '-> measure  what each uses       |-> log       what it prints
//!                                                          |-> record    what outlives a boot
//!                                                          |-> scribe    the thread that writes
//!                                                          '-> excerpt   what others are told
//! ```
//!
//! Owns what starts, probes, restarts and stops them, with or without a host that looks on. Refuses
//! to know the host: a stream that is lost changes no service.

mod calls;
mod excerpt;
mod journal;
mod listening;
mod log;
mod machine;
mod measure;
mod probe;
mod process;
mod record;
mod scribe;
mod services;
mod supervisor;

pub use calls::{answer, read_events, read_log};
pub use probe::{Place, connect};
pub use services::Services;
