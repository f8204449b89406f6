//! One small process per VM: parent of the VMM, proof of life, bounded serial log, guest streams.
//!
//! Owns one VM's directory for as long as the VMM runs, with the files that
//! [`pyro_core::Launch`]'s module lists. Refuses to know what runs in the guest, which backend it
//! is, and who asks: the node may come and go. A keeper that dies takes its VMM with it, so the
//! lock on `keeper.lock` tells the truth about both.
//!
//! ```text
//! node -- vm.sock --> splice --> session (yamux) -- fd 3 --> VMM -- virtio-serial --> agent
//!      -- keeper.sock --> control                   <-- pipe -- VMM (console, messages)
//! ```

mod control;
mod error;
mod guest;
mod keeper;
mod request;
mod serial;
mod session;
mod splice;
mod sys;

pub use error::KeeperError;
pub use keeper::run;
