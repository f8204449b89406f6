//! Proving a backend: a guest is booted and its agent answers, then it is killed.
//!
//! The guest sees what every guest sees before it is told who it is; its disks are empty files. It
//! stands in a directory of the cache, locked for as long as this process lives: what an earlier
//! doctor left behind when it was killed is found and removed.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use pyro_core::{Mebibytes, Problem, VcpuCount};
use pyro_directory::{Directory, DirectoryError};
use pyro_image::{Cache, Kernel};
use pyro_link::Link;
use pyro_vmm::{Chosen, Drives, HostClock, Machine, keeper};
use serde::Serialize;

/// How long a guest may take until its agent answers.
const PATIENCE: Duration = Duration::from_mins(1);
const PLACE: &str = "doctor";
const LOCK: &str = "doctor.lock";

/// What was seen of a guest.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Proof {
    /// From the start of the keeper to the agent's answer, in seconds.
    pub boot_seconds: f64,
    /// What `uname -r` says in the guest.
    pub kernel_release: String,
    /// The agent's version.
    pub agent_version: String,
}

/// Boots a guest with the backend until its agent answers.
pub(crate) async fn prove(
    program: &Path,
    cache_path: &Path,
    kernel: &Kernel,
    agent: &'static [u8],
    chosen: &Chosen,
) -> Result<Proof, Problem> {
    let (place, kernel, chosen) = (cache_path.join(PLACE), kernel.clone(), chosen.clone());
    let cache = cache_path.to_owned();
    let prepared =
        tokio::task::spawn_blocking(move || prepare(&place, &cache, &kernel, agent, &chosen));
    let prepared = prepared
        .await
        .map_err(|error| Problem::from_error("doctor_failed", &error))
        .and_then(|prepared| prepared)?;
    let proof = tokio::select! {
        proof = boot(program, &prepared) => proof,
        _ = tokio::signal::ctrl_c() => Err(Problem::failed("interrupted", "interrupted")),
    };
    clear(&prepared.directory).await;
    proof
}

/// Removes what an earlier doctor left, and the guests it left running.
pub(crate) async fn sweep(cache: &Path) {
    let Ok(entries) = std::fs::read_dir(cache.join(PLACE)) else { return };
    for entry in entries.flatten() {
        let Ok(directory) = Directory::open(entry.path()) else { continue };
        if let Ok(Some(_lock)) = directory.try_lock(LOCK) {
            clear(&directory).await;
        }
    }
}

struct Prepared {
    directory: Directory,
    _lock: Option<pyro_directory::Lock>,
}

fn prepare(
    place: &Path,
    cache: &Path,
    kernel: &Kernel,
    agent: &[u8],
    chosen: &Chosen,
) -> Result<Prepared, Problem> {
    let failed = |error: DirectoryError| Problem::from_error("cache_unwritable", &error);
    let images = Cache::open(cache)?;
    let clock = HostClock::of_this_boot(cache)?;
    let name = format!("{}-{}", chosen.backend, std::process::id());
    let directory = Directory::create(place.join(name)).map_err(failed)?;
    let lock = directory.try_lock(LOCK).map_err(failed)?;
    let empty = |name: &str| {
        let path = directory.path().join(name);
        let file = std::fs::File::create(&path).and_then(|file| file.set_len(16 << 20));
        file.map_err(|error| Problem::from_error("cache_unwritable", &error))?;
        Ok::<_, Problem>(name.into())
    };
    let machine = Machine {
        vcpus: VcpuCount::ONE,
        memory: Mebibytes::new(256),
        kernel: kernel.vmlinux.clone(),
        initramfs: pyro_image::initramfs::build(&images, kernel, agent)?,
        drives: Drives {
            root: empty("root.img")?,
            seed: empty("seed.img")?,
            workspace: empty("workspace.img")?,
            agent: empty("agent.img")?,
        },
    };
    let backend = chosen.backend.backend();
    let launch = backend.launch(&chosen.program, &machine, clock, &directory)?;
    let launch = serde_json::to_vec_pretty(&launch).expect("text and numbers");
    directory.write_whole("launch.json", &launch).map_err(failed)?;
    Ok(Prepared { directory, _lock: lock })
}

async fn boot(program: &Path, prepared: &Prepared) -> Result<Proof, Problem> {
    let directory = &prepared.directory;
    let begin = Instant::now();
    keeper::start(program, directory).await?;
    let mut watch = keeper::Watch::begin(directory).await?;
    let link = Link::new(Arc::new(directory.clone()));
    let hello = tokio::select! {
        hello = link.hello(PATIENCE) => hello,
        () = watch.ended() => {
            let said = keeper::exit(directory)?.map(|exit| exit.last_output).unwrap_or_default();
            let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
            return Err(Problem::failed("guest_crashed", "the guest ended before it answered")
                .cause(format!("the last it said: {}", last.trim())));
        }
    };
    let hello = hello.map_err(|error| Problem::from_error("guest_silent", &error))?;
    Ok(Proof {
        boot_seconds: begin.elapsed().as_secs_f64(),
        kernel_release: hello.kernel_release.chars().take(200).collect(),
        agent_version: hello.agent_version.chars().take(200).collect(),
    })
}

/// Ends the guest, if one runs, and removes its directory. What cannot be removed now is found by
/// the next doctor.
async fn clear(directory: &Directory) {
    let _ = keeper::kill(directory).await;
    let _ = std::fs::remove_dir_all(directory.path());
}
