//! One lab VM: QEMU, a virtiofs daemon per share, and the three ports the VM talks through.
//!
//! Refuses to know what the lines on the status port mean (see `run`).

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::Shutdown,
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::json;

use super::{cpio::Archive, needs, process, share::Share};

/// What runs in the VM; see `init.sh` for what starts it.
const RUN: &str = include_str!("guest/run.py");
/// What `run.py` loads before anything else.
const MODULES: [&str; 9] =
    ["virtio_console", "virtiofs", "overlay", "squashfs", "kvm-amd", "tun", "veth", "loop", "xfs"];

/// All that one run of the lab VM needs.
pub struct Machine {
    /// The directory of the boot files.
    pub image: PathBuf,
    /// The frequency of the host's time-stamp counter.
    pub tsc_khz: u64,
    /// The VM's memory.
    pub memory_mebibytes: u32,
    /// Directories of the host to be seen in the VM.
    pub shares: Vec<Share>,
    /// The program to run and its arguments.
    pub command: Vec<String>,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// Its working directory.
    pub directory: String,
    /// How long it may take, from the moment it starts.
    pub timeout: Duration,
    /// Whether to say on stderr what took how long.
    pub timings: bool,
}

/// A started VM; dropping it ends it and all that belongs to it.
pub struct Running {
    processes: Vec<Child>,
    directory: PathBuf,
    /// The command's standard output.
    pub stdout: UnixStream,
    /// The command's standard error.
    pub stderr: UnixStream,
    status: BufReader<UnixStream>,
    line: String,
}

impl Machine {
    /// Starts the VM with its files (sockets, logs) in a directory that is empty.
    pub fn start(&self, directory: &Path) -> Result<Running> {
        fs::write(directory.join("initramfs.cpio"), self.initramfs()?)?;
        let mut processes = Vec::new();
        let mut qemu = self.qemu(directory);
        for (number, share) in self.shares.iter().enumerate() {
            let socket = directory.join(format!("share{number}.sock"));
            processes.push(serve(share, &socket, directory)?);
            qemu.arg("-chardev")
                .arg(format!("socket,id=share{number},path=share{number}.sock"))
                .arg("-device")
                .arg(format!("vhost-user-fs-device,chardev=share{number},tag=share{number}"));
        }
        let mut ports = Vec::new();
        let mut guest_ends = Vec::new();
        for name in ["stdout", "stderr", "status"] {
            let (host, guest) = UnixStream::pair().context("make a pair of sockets")?;
            fcntl_setfd(guest.as_fd(), FdFlags::empty()).context("hand a socket to QEMU")?;
            qemu.arg("-chardev")
                .arg(format!("socket,id={name},fd={}", guest.as_raw_fd()))
                .arg("-device")
                .arg(format!("virtserialport,chardev={name},name=lab.{name}"));
            ports.push(host);
            guest_ends.push(guest);
        }
        processes.insert(0, qemu.spawn().context("run qemu-system-x86_64")?);
        let [stdout, stderr, status] = ports.try_into().expect("three ports were made just before");
        Ok(Running {
            processes,
            directory: directory.to_owned(),
            stdout,
            stderr,
            status: BufReader::new(status),
            line: String::new(),
        })
    }

    fn initramfs(&self) -> Result<Vec<u8>> {
        let shares: Vec<_> = self
            .shares
            .iter()
            .enumerate()
            .map(|(number, share)| {
                json!({
                    "tag": format!("share{number}"),
                    "guest": share.guest,
                    "mode": share.mode,
                    "aliases": share.aliases,
                })
            })
            .collect();
        let specification = json!({
            "modules": MODULES,
            "shares": shares,
            "command": self.command,
            "environment": self.environment,
            "directory": self.directory,
        });
        // The kernel unpacks archives that follow each other one after the other.
        let mut initramfs = fs::read(self.image.join("base.cpio")).context("read base.cpio")?;
        let mut archive = Archive::new();
        archive.file("lab/run.py", RUN.as_bytes());
        archive.file("lab/specification.json", specification.to_string().as_bytes());
        initramfs.extend(archive.finish());
        Ok(initramfs)
    }

    fn qemu(&self, directory: &Path) -> Command {
        let memory = self.memory_mebibytes;
        let root = self.image.join("root.ext4").display().to_string().replace(',', ",,");
        // Without random addresses QEMU need not translate every process anew.
        let kernel_arguments = format!(
            "console=ttyS0 quiet reboot=t panic=-1 mitigations=off random.trust_cpu=on \
             cryptomgr.notests norandmaps tsc=reliable tsc_early_khz={}",
            self.tsc_khz
        );
        let mut qemu = dies_with_us("qemu-system-x86_64");
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .args(["-machine", "microvm,rtc=on,memory-backend=memory"])
            // A second virtual CPU was seen to hang under nested emulation.
            .args(["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max", "-smp", "1"])
            .args(["-m", &format!("{memory}M"), "-object"])
            .arg(format!("memory-backend-memfd,id=memory,size={memory}M,share=on"))
            .args(["-global", "virtio-mmio.force-legacy=false", "-serial", "file:console.log"])
            .arg("-kernel")
            .arg(self.image.join("vmlinux"))
            .args(["-initrd", "initramfs.cpio", "-append", &kernel_arguments, "-drive"])
            .arg(format!("id=root,file={root},format=raw,if=none,cache=unsafe,snapshot=on"))
            .args(["-device", "virtio-blk-device,drive=root,serial=lab-root"])
            .args(["-device", "virtio-serial-device"])
            .current_dir(directory)
            // Where QEMU keeps what is written to the root disk.
            .env("TMPDIR", directory)
            .stdin(Stdio::null());
        log_to(&mut qemu, &directory.join("qemu.log"));
        qemu
    }
}

/// Starts the virtiofs daemon of one share; it serves on a socket that listens already.
fn serve(share: &Share, socket: &Path, directory: &Path) -> Result<Child> {
    let listener =
        UnixListener::bind(socket).with_context(|| format!("bind {}", socket.display()))?;
    fcntl_setfd(listener.as_fd(), FdFlags::empty()).context("hand a socket to virtiofsd")?;
    let mut daemon = dies_with_us(needs::VIRTIOFSD);
    daemon
        .arg(format!("--fd={}", listener.as_raw_fd()))
        .args(["-o", "sandbox=namespace,log_level=warn", "-o"])
        .arg(format!("cache={}", share.mode.cache()))
        .arg("-o")
        .arg(format!("source={}", share.host.display().to_string().replace(',', "\\,")))
        .stdin(Stdio::null());
    log_to(&mut daemon, &directory.join("virtiofsd.log"));
    daemon.spawn().context("run virtiofsd")
}

/// A command whose process is killed when this one ends, however it ends.
fn dies_with_us(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

fn log_to(command: &mut Command, path: &Path) {
    let log = || match File::options().create(true).append(true).open(path) {
        Ok(file) => Stdio::from(file),
        Err(_) => Stdio::null(),
    };
    command.stdout(log()).stderr(log());
}

/// What came from the status port.
pub enum Status {
    /// A whole line, without its end.
    Line(String),
    /// Nothing before the deadline.
    Silence,
    /// The VM has ended.
    End,
}

impl Running {
    /// The next line of the status port.
    pub fn status(&mut self, deadline: Instant) -> Result<Status> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Status::Silence);
            }
            self.status.get_ref().set_read_timeout(Some(left))?;
            match self.status.read_line(&mut self.line) {
                Ok(_) if self.line.ends_with('\n') => {
                    let line = self.line.trim_end().to_owned();
                    self.line.clear();
                    return Ok(Status::Line(line));
                }
                Ok(_) => return Ok(Status::End),
                Err(error) => match error.kind() {
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted => {}
                    std::io::ErrorKind::ConnectionReset => return Ok(Status::End),
                    _ => return Err(error).context("read the status port"),
                },
            }
        }
    }

    /// The last lines of the VM's console and of what its processes said.
    pub fn last_words(&self) -> String {
        ["console.log", "qemu.log", "virtiofsd.log"]
            .iter()
            .filter_map(|name| fs::read(self.directory.join(name)).ok())
            .map(|said| process::last_lines(&said, 12))
            .filter(|said| !said.is_empty())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // A process that has ended already cannot be killed, and needs not.
            let _ = process.kill();
            let _ = process.wait();
        }
        for port in [&self.stdout, &self.stderr] {
            let _ = port.shutdown(Shutdown::Both);
        }
    }
}
