//! The floor under a boot: the same VMM, machine, kernel and drives, started by hand, with an init
//! that answers at once.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::Instant,
};

use pyro_core::{Mebibytes, VcpuCount};
use pyro_directory::Directory;
use pyro_image::Cache;
use pyro_vmm::{Backend, BackendName, Drives, HostClock, HostPrograms, Machine};

use crate::{Result, process::milliseconds, scene::Scene};

static FLOOR_INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/floor_init"));

/// The drives of a floor, which its boots share.
pub(crate) struct Floor {
    backend: &'static dyn Backend,
    program: PathBuf,
    machine: Machine,
    clock: HostClock,
    place: Directory,
    boots: usize,
}

impl Floor {
    pub(crate) fn new(scene: &Scene) -> Result<Self> {
        let cache = Cache::open(&scene.cache)?;
        let kernel = cache.kernel()?.ok_or("there is no kernel: pyro env build debian:12")?;
        let environment = cache
            .environment(&scene.environment.parse()?)?
            .ok_or("the environment is not built")?;
        let place = Directory::create(scene.state().join("floor"))?;
        let disk = |name: &str| place.path().join(name);
        pyro_image::disk::create_workspace(&cache, &disk("disk.ext4"), Mebibytes::new(20_480))?;
        pyro_image::disk::create_agent(&cache, &disk("agent.ext4"))?;
        let machine = Machine {
            vcpus: VcpuCount::ONE,
            memory: Mebibytes::new(512),
            initramfs: pyro_image::initramfs::build(&cache, &kernel, FLOOR_INIT)?,
            kernel: kernel.vmlinux,
            drives: Drives {
                root: environment.root,
                seed: pyro_image::seed::empty(&cache)?,
                workspace: disk("disk.ext4"),
                agent: disk("agent.ext4"),
            },
        };
        let backend = scene.backend.parse::<BackendName>()?.backend();
        let program = backend
            .find(&HostPrograms::new(None, ["/usr/local/bin".into(), "/usr/bin".into()]))
            .ok_or("the backend's program is missing")?;
        let clock = HostClock::of_this_boot(&scene.cache)?;
        Ok(Self { backend, program, machine, clock, place, boots: 0 })
    }

    /// Boots once; how long it took, in milliseconds.
    pub(crate) fn boot(&mut self) -> Result<f64> {
        self.boots += 1;
        let place = self.place.path().join(format!("vm{}", self.boots));
        let directory = Directory::create(place)?;
        let launch = self.backend.launch(&self.program, &self.machine, self.clock, &directory)?;
        let begun = Instant::now();
        // The agent's port needs its other end, though nobody speaks on it.
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        let mut vmm = Command::new("/bin/sh")
            .arg("-c")
            .arg("exec 3<&0 </dev/null; exec \"$0\" \"$@\"")
            .arg(&launch.program)
            .args(&launch.arguments)
            .current_dir(directory.path())
            .stdin(std::os::fd::OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let console = vmm.stdout.take().ok_or("the VMM has a console")?;
        let answered = BufReader::new(console)
            .split(b'\n')
            .map_while(std::result::Result::ok)
            .any(|line| String::from_utf8_lossy(&line).contains("floor-init answers"));
        let took = milliseconds(begun);
        vmm.kill()?;
        vmm.wait()?;
        drop(ours);
        if answered { Ok(took) } else { Err("the floor's init did not answer".into()) }
    }
}
