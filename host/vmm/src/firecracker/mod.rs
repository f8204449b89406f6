//! Firecracker on KVM.
//!
//! The machine is described by a file that Firecracker reads when it starts: booting needs no
//! second actor that could die half-way. Its API socket is for later verbs.

mod api;
mod config;

use std::path::{Path, PathBuf};

use pyro_core::{Channel, Launch};
use pyro_directory::{Directory, DirectoryError};

pub use self::api::{Api, InstanceInfo};
use crate::{Backend, BackendName, HostClock, HostPrograms, Machine, VmmError, machine::text};

/// The Firecracker backend.
#[derive(Clone, Copy, Debug)]
pub struct Firecracker;

const CONFIG: &str = "vm.json";
const API_SOCKET: &str = "api.sock";

impl Backend for Firecracker {
    fn name(&self) -> BackendName {
        BackendName::Firecracker
    }

    fn find(&self, programs: &HostPrograms) -> Option<PathBuf> {
        programs.find("firecracker")
    }

    fn launch(
        &self,
        program: &Path,
        machine: &Machine,
        _clock: HostClock,
        directory: &Directory,
    ) -> Result<Launch, VmmError> {
        let failed =
            |source: DirectoryError| VmmError::Prepare { path: directory.path().into(), source };
        let config = config::Config::new(machine)?;
        let config = serde_json::to_vec_pretty(&config).expect("text and numbers");
        // Firecracker does not bind where a socket stands already.
        directory.remove(API_SOCKET).map_err(failed)?;
        directory.write_whole(CONFIG, &config).map_err(failed)?;
        // Its messages go where the guest's console goes: nothing but warnings.
        let arguments = ["--api-sock", API_SOCKET, "--config-file", CONFIG, "--level", "Warning"];
        let (program, arguments) = confine(text(program)?, arguments.map(str::to_owned).to_vec());
        Ok(Launch::new(program, arguments, Channel::Vmm))
    }
}

/// The one place through which program and arguments pass: a jailer goes around them here.
fn confine(program: String, arguments: Vec<String>) -> (String, Vec<String>) {
    (program, arguments)
}
