//! The contract between host and guest: frames and messages.
//!
//! Refuses to know: sockets, files, tasks. It turns bytes into frames and messages and back; both
//! sides move the bytes themselves.
//!
//! One call per stream. The host opens a stream and sends a [`Call`] in a [`FrameKind::Message`]
//! frame; the guest answers with one [`Reply`]. Some verbs go on with more frames, as
//! `proto/pyro_wire.proto` says. Each *direction* ends by its own [`FrameKind::End`] frame, because
//! neither transport can close one direction alone.
//!
//! **Invariants.** The generation is agreed in the first frame and nowhere else. The schema is
//! append-only (a test compares it with the frozen one). No length that the other side sends is
//! used to reserve memory before it was checked against a bound.

mod frame;
#[allow(missing_docs, clippy::pedantic, clippy::large_enum_variant, unused_qualifications)]
#[path = "generated/pyro.wire.rs"]
mod messages;

pub use frame::{Decoder, Frame, FrameError, FrameKind, HEADER_BYTES, MAX_DATA, MAX_MESSAGE};
pub use frame::{header, message_frame};
pub use messages::*;
pub use prost::Message;

/// The protocol generation of this build. Raised only when an older guest could misunderstand.
pub const GENERATION: u32 = 1;
