//! `cargo xtask lab -- COMMAND`: a disposable virtual machine (L1) under QEMU's software emulation
//! with AMD's SVM emulated too, so that `/dev/kvm` and the real Firecracker work in it.
//!
//! One boot per command. What is slow to make (root disk, kernel) is cached by the hash of its
//! inputs; the root disk's changes are thrown away with the VM. Refuses to know what is tested.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use self::{cache::Cache, machine::Machine, share::Share};
use crate::tree;

mod cache;
mod cpio;
mod firecracker;
mod image;
mod kernel;
mod machine;
mod needs;
mod process;
mod run;
mod share;
mod sys;
mod tsc;

/// Where the checkout stands in the VM.
const TREE: &str = "/pyro";
/// Where cargo's target directory stands in the VM (writable, changes are thrown away).
const TARGET: &str = "/target";
/// Where pyro's image cache stands in the VM (writable, changes are thrown away).
const PYRO_CACHE: &str = "/var/cache/pyro";
/// The host's scratch directory in the VM (writable, kept).
const SCRATCH: &str = "/scratch";
/// Where the lab's own files (vmlinux, self-test) stand in the VM during the self-test.
const IMAGE: &str = "/lab/image";

/// Run a command in a disposable VM in which KVM (emulated) and the real Firecracker work.
///
/// Ends with the command's exit code, 124 on time-out, 125 when the lab itself failed. A VM that
/// does not boot in 90 s or says nothing for 60 s is replaced once, and that is said on stderr.
///
/// In the VM: the checkout read-only at /pyro, cargo's target directory at /target and pyro's image
/// cache at /var/cache/pyro (both writable, but what is written there is thrown away), all three
/// also at their paths of the host; a scratch directory at /scratch whose content is kept;
/// firecracker and jailer in /usr/local/bin; no network.
#[derive(clap::Args)]
pub struct Arguments {
    /// The command and its arguments.
    #[arg(last = true)]
    command: Vec<String>,
    /// Show one more directory of the host in the VM.
    #[arg(long = "share", value_name = "HOST:GUEST[:ro|rw|overlay]")]
    shares: Vec<Share>,
    /// Set an environment variable of the command.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = environment_variable)]
    environment: Vec<(String, String)>,
    /// End the VM when the command takes longer than this.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    timeout: u64,
    /// The VM's memory.
    #[arg(long, value_name = "MEBIBYTES", default_value_t = 8192)]
    memory: u32,
    /// The host's directory behind /scratch [default: lab-scratch in the target directory].
    #[arg(long, value_name = "DIRECTORY")]
    scratch: Option<PathBuf>,
    /// Cargo's target directory [default: the one this program stands in].
    #[arg(long, value_name = "DIRECTORY")]
    target_directory: Option<PathBuf>,
    /// Say on stderr what takes how long.
    #[arg(long)]
    timings: bool,
    /// Make the cached parts anew.
    #[arg(long)]
    rebuild: bool,
    /// Print the directory of the lab's kernel and root disk, made when missing, and end.
    #[arg(long, conflicts_with = "command")]
    path: bool,
    /// Print the path of the cached firecracker (jailer stands beside it), fetched when missing.
    #[arg(long, conflicts_with = "command")]
    firecracker: bool,
    /// Boot real Firecracker guests in the VM, and say how long they took.
    #[arg(long, conflicts_with = "command")]
    self_test: bool,

    #[arg(long, env = "XDG_CACHE_HOME", hide = true)]
    xdg_cache_home: Option<PathBuf>,
    #[arg(long, env = "PYRO_CACHE_DIR", hide = true)]
    pyro_cache_dir: Option<PathBuf>,
    #[arg(long, env = "HOME", hide = true)]
    home: Option<PathBuf>,
}

fn environment_variable(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => bail!("{text:?} is not NAME=VALUE"),
    }
}

/// Does what the arguments ask for.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let caches = arguments.cache_home()?;
    let cache = Cache::open(&caches.join("pyro-dev"))?;
    let tree = &tree::root();

    if arguments.firecracker {
        let directory = firecracker::cached(&cache, tree, false)?;
        println!("{}", directory.join("firecracker").display());
        return Ok(ExitCode::SUCCESS);
    }
    needs::check()?;
    let binaries = firecracker::cached(&cache, tree, arguments.rebuild)?;
    let image = image::cached(&cache, &binaries, arguments.rebuild)?;
    if arguments.path {
        println!("{}", image.display());
        return Ok(ExitCode::SUCCESS);
    }

    let command = match (arguments.self_test, arguments.command.is_empty()) {
        (true, _) => {
            vec!["sh".to_owned(), "-c".to_owned(), include_str!("guest/self_test.sh").to_owned()]
        }
        (false, false) => arguments.command.clone(),
        (false, true) if arguments.rebuild => return Ok(ExitCode::SUCCESS),
        (false, true) => bail!("no command: try `cargo xtask lab -- uname -a`"),
    };
    let machine = Machine {
        tsc_khz: tsc::cached_khz(&cache)?,
        memory_mebibytes: arguments.memory,
        shares: arguments.all_shares(tree, &caches, &image)?,
        command,
        environment: arguments.command_environment(),
        directory: TREE.to_owned(),
        timeout: Duration::from_secs(arguments.timeout),
        timings: arguments.timings,
        image,
    };
    run::run(&cache, &machine)
}

impl Arguments {
    fn cache_home(&self) -> Result<PathBuf> {
        let found = match (&self.xdg_cache_home, &self.home) {
            (Some(home), _) if home.is_absolute() => home.clone(),
            (_, Some(home)) if home.is_absolute() => home.join(".cache"),
            _ => bail!("neither XDG_CACHE_HOME nor HOME names a directory"),
        };
        Ok(found)
    }

    fn all_shares(&self, tree: &Path, caches: &Path, image: &Path) -> Result<Vec<Share>> {
        let target = match &self.target_directory {
            Some(target) => target.clone(),
            None => tree::target_directory()?,
        };
        let scratch = self.scratch.clone().unwrap_or_else(|| target.join("lab-scratch"));
        let pyro_cache = self.pyro_cache_dir.clone().unwrap_or_else(|| caches.join("pyro"));
        for directory in [&scratch, &pyro_cache] {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("create {}", directory.display()))?;
        }
        let mut shares = vec![
            Share::new(tree, TREE, share::Mode::ReadOnly)?.also_at_host_path(),
            Share::new(&target, TARGET, share::Mode::Overlay)?.also_at_host_path(),
            Share::new(&pyro_cache, PYRO_CACHE, share::Mode::Overlay)?.also_at_host_path(),
            Share::new(&scratch, SCRATCH, share::Mode::ReadWrite)?,
        ];
        if self.self_test {
            shares.push(Share::new(image, IMAGE, share::Mode::ReadOnly)?);
        }
        shares.extend(self.shares.iter().cloned());
        for share in &shares {
            ensure!(share.host.is_dir(), "{} is not a directory", share.host.display());
        }
        Ok(shares)
    }

    fn command_environment(&self) -> BTreeMap<String, String> {
        let preset = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("USER", "root"),
            ("LANG", "C.UTF-8"),
            ("PYRO_CACHE_DIR", PYRO_CACHE),
        ];
        let preset = preset.map(|(name, value)| (name.to_owned(), value.to_owned()));
        preset.into_iter().chain(self.environment.iter().cloned()).collect()
    }
}
