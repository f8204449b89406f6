//! Verbs for stories on real microVMs: a [`Home`] is one state directory with its node and VMs, and
//! everything is done to it as a user would, with the `pyro` command.
//!
//! The same stories are told on both backends: `PYRO_E2E_BACKEND` is `qemu` (the default) or
//! `firecracker`. `PYRO_E2E_PYRO` names the program under test; without it, it is the `pyro` that
//! stands beside the test programs (`target/<profile>/pyro`). `PYRO_E2E_PATIENCE` multiplies every
//! deadline (default 1, and 6 on firecracker, which runs under emulation in the lab); no story
//! asserts how long something takes. `PYRO_E2E_DIRECTORY` is where homes are made, `PYRO_E2E_TOOLS`
//! where `scripts/pack-guest-tools.sh` has packed what stories bring into guests (by default they pack
//! it themselves).
//!
//! The harness knows of the product only what stands in its documents: the command line, the state
//! directory and a keeper's files. It refuses to know how they come about.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a story that cannot be told fails by a panic, and says what it saw"
)]

mod backend;
mod far;
mod home;
mod process;
mod terminal;
mod verb;
mod wait;
mod workspace;

pub use backend::{Backend, backend, setting};
pub use home::Home;
pub use process::Process;
pub use terminal::Terminal;
pub use verb::{Client, Seen, Verb};
pub use wait::{patience, wait_until, wait_until_some};
pub use workspace::Workspace;

/// What a sequence of bytes is told by, in a failure's message and in a guest (`sha256sum`).
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    use std::fmt::Write;
    sha2::Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// So many bytes that no one could guess.
pub fn random_bytes(count: usize) -> Vec<u8> {
    use std::io::Read;
    let mut bytes = vec![0; count];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}
