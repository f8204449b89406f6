//! What every backend can do.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use pyro_core::{Launch, Problem};
use pyro_directory::Directory;
use serde::{Deserialize, Serialize};

use crate::{Firecracker, HostClock, HostPrograms, Machine, Qemu, Saving, VmmError};

/// A kind of VMM.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendName {
    /// Firecracker on KVM.
    Firecracker,
    /// QEMU's `microvm` machine under software emulation.
    Qemu,
}

impl BackendName {
    /// Every backend, the preferred one first.
    pub const ALL: [Self; 2] = [Self::Firecracker, Self::Qemu];

    /// The name as users write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firecracker => "firecracker",
            Self::Qemu => "qemu",
        }
    }

    /// The backend of this name.
    pub fn backend(self) -> &'static dyn Backend {
        match self {
            Self::Firecracker => &Firecracker,
            Self::Qemu => &Qemu,
        }
    }

    /// Whether guests run on the processor itself.
    pub const fn is_accelerated(self) -> bool {
        match self {
            Self::Firecracker => true,
            Self::Qemu => false,
        }
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was given names no backend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a backend: backends are firecracker and qemu")]
pub struct UnknownBackend(pub String);

impl From<UnknownBackend> for Problem {
    fn from(error: UnknownBackend) -> Self {
        Self::invalid("invalid_backend", error.to_string())
            .hint("leave the backend out, or say auto, to have one picked")
    }
}

impl FromStr for BackendName {
    type Err = UnknownBackend;

    fn from_str(text: &str) -> Result<Self, UnknownBackend> {
        Self::ALL
            .into_iter()
            .find(|name| name.as_str() == text)
            .ok_or_else(|| UnknownBackend(text.chars().take(64).collect()))
    }
}

/// Turns a machine into something a keeper can run.
pub trait Backend: Sync {
    /// Its name.
    fn name(&self) -> BackendName;

    /// Its program, if the host has it.
    fn find(&self, programs: &HostPrograms) -> Option<PathBuf>;

    /// Says how to start the machine, and writes what the VMM reads besides its arguments into the
    /// keeper's directory. Legal while no keeper lives there; changes nothing else.
    fn launch(
        &self,
        program: &Path,
        machine: &Machine,
        clock: HostClock,
        directory: &Directory,
    ) -> Result<Launch, VmmError>;

    /// How it saves machines and starts others from them, if it can.
    fn templates(&self) -> Option<&'static dyn Templates> {
        None
    }
}

/// Starting machines from a template: one that was saved after the universal phase of its boot.
pub trait Templates: Sync {
    /// All that shapes the machine. Two with the same shape can be started from one template,
    /// whatever their drives hold. Looks at the files; blocking.
    fn shape(
        &self,
        program: &Path,
        machine: &Machine,
        clock: HostClock,
    ) -> Result<String, VmmError>;

    /// Says how to start the machine that is to be saved, with its memory in `place`, an empty
    /// directory. The keeper's directory stays as long as the machine runs.
    fn launch(
        &self,
        program: &Path,
        machine: &Machine,
        clock: HostClock,
        directory: &Directory,
        place: &Path,
    ) -> Result<(Launch, Saving), VmmError>;

    /// Says how to start a machine of the same shape from what was saved in `template`, as
    /// [`Backend::launch`] does for one that boots.
    fn restore(
        &self,
        program: &Path,
        machine: &Machine,
        clock: HostClock,
        template: &Path,
    ) -> Result<Launch, VmmError>;
}
