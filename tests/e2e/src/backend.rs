//! Which backend the stories are told on, and what else comes from the environment.

use std::{env, ffi::OsString, fmt, path::PathBuf};

/// A backend under test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// QEMU's microvm under software emulation, on the machine itself.
    Qemu,
    /// Firecracker, where `/dev/kvm` works.
    Firecracker,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Qemu => "qemu",
            Self::Firecracker => "firecracker",
        })
    }
}

impl Backend {
    /// How many VMs may be asked for at once.
    pub fn crowd(self) -> usize {
        match self {
            Self::Qemu => 8,
            Self::Firecracker => 4,
        }
    }
}

/// The backend the stories are told on.
pub fn backend() -> Backend {
    match setting("PYRO_E2E_BACKEND").as_deref().map(|name| name.to_str()) {
        None | Some(Some("qemu")) => Backend::Qemu,
        Some(Some("firecracker")) => Backend::Firecracker,
        Some(other) => panic!("PYRO_E2E_BACKEND is qemu or firecracker, not {other:?}"),
    }
}

/// A setting of the harness; one that is empty counts as absent.
#[expect(clippy::disallowed_methods, reason = "the harness is its own edge")]
pub fn setting(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The program under test.
pub(crate) fn program() -> PathBuf {
    let told = setting("PYRO_E2E_PYRO").map(PathBuf::from);
    let program = told.unwrap_or_else(|| {
        // target/<profile>/deps/<test>
        let test = env::current_exe().unwrap();
        test.parent().and_then(|deps| deps.parent()).unwrap().join("pyro")
    });
    assert!(
        program.is_file(),
        "there is no {}: `cargo build -p pyro` makes it, PYRO_E2E_PYRO names another",
        program.display()
    );
    program
}
