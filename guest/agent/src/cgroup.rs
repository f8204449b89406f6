//! Control groups (version 2): one per exec, and the limits that leave the agent its reserve.
//!
//! | Group | Holds |
//! |---|---|
//! | `agent` | the agent and the workload's process, with the larger share of the processor |
//! | `pyro` | the limits and the device rule; nothing inside can name it |
//! | `pyro/init` | the workload's PID 1 |
//! | `pyro/workload` | where the workload's cgroup name space begins; writable there, as container engines want |
//! | `pyro/workload/exec-N` | one exec |
//!
//! Refuses to know what an exec is.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::fs::{Access, AtFlags, Mode, OFlags};
use tokio::io::Interest;

use crate::{sys, workload};

const TOP: &str = "/sys/fs/cgroup";
const PYRO: &str = "/sys/fs/cgroup/pyro";
/// Memory that the workload never gets.
const RESERVE_BYTES: u64 = 40 << 20;
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// How deep and how many groups of the workload's own making are taken away with an exec's.
const MAX_REMOVED: usize = 1000;
/// Groups made ahead.
const SPARE: usize = 4;

/// The devices that programs may expect: null, zero, full, random, urandom, tty, console, ptmx,
/// pseudo terminals, fuse, tun.
const DEVICES: [sys::Device; 11] = [
    device(1, Some(3)),
    device(1, Some(5)),
    device(1, Some(7)),
    device(1, Some(8)),
    device(1, Some(9)),
    device(5, Some(0)),
    device(5, Some(1)),
    device(5, Some(2)),
    device(136, None),
    device(10, Some(229)),
    device(10, Some(200)),
];

const fn device(major: u32, minor: Option<u32>) -> sys::Device {
    sys::Device { major, minor }
}

/// Something about a control group failed.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {what}")]
pub struct CgroupError {
    what: &'static str,
    path: String,
    #[source]
    source: io::Error,
}

trait At<T> {
    fn at(self, what: &'static str, path: impl AsRef<Path>) -> Result<T, CgroupError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, what: &'static str, path: impl AsRef<Path>) -> Result<T, CgroupError> {
        self.map_err(|source| CgroupError {
            what,
            path: path.as_ref().display().to_string(),
            source: source.into(),
        })
    }
}

fn write(path: &str, text: &str) -> Result<(), CgroupError> {
    fs::write(path, text).at("writing", path)
}

/// Makes the groups of the table above and moves the agent into its own. Once per boot, with the
/// memory that is available then.
pub fn make_tree(memory_bytes: u64) -> Result<(), CgroupError> {
    for path in [workload::AGENT_CGROUP, PYRO, workload::INIT_CGROUP, workload::CGROUP] {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result.at("making", path)?,
        }
    }
    write(&format!("{}/cgroup.procs", workload::AGENT_CGROUP), "0")?;
    for path in [TOP, PYRO] {
        for controller in CONTROLLERS {
            write(&format!("{path}/cgroup.subtree_control"), &format!("+{controller}"))?;
        }
    }
    let memory = memory_bytes.saturating_sub(RESERVE_BYTES).max(memory_bytes / 2);
    let processes = (memory_bytes >> 17).clamp(512, 16_384);
    write(&format!("{PYRO}/memory.max"), &memory.to_string())?;
    write(&format!("{PYRO}/pids.max"), &processes.to_string())?;
    write(&format!("{}/cpu.weight", workload::AGENT_CGROUP), "10000")?;
    let pyro = open(Path::new(PYRO))?;
    sys::attach_device_rule(pyro.as_fd(), &DEVICES).at("attaching the device rule", PYRO)
}

/// Lets the exec groups be limited and accounted, or (for a process to pass through, when there
/// are none) not.
pub fn divide_workload(divide: bool) -> Result<(), CgroupError> {
    let sign = if divide { '+' } else { '-' };
    let path = format!("{}/cgroup.subtree_control", workload::CGROUP);
    for controller in CONTROLLERS {
        write(&path, &format!("{sign}{controller}"))?;
    }
    Ok(())
}

fn open(path: &Path) -> Result<OwnedFd, CgroupError> {
    rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).at("opening", path)
}

/// A group.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    directory: OwnedFd,
    /// Opened when the group is made, because they are read when somebody waits for its end.
    events: Option<OwnedFd>,
    memory_peak: Option<OwnedFd>,
    memory_events: Option<OwnedFd>,
    processor: Option<OwnedFd>,
}

/// What a group used.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Usage {
    /// The most memory it held at once, bytes.
    pub memory_peak_bytes: u64,
    /// Processor time, microseconds.
    pub cpu_micros: u64,
    /// Whether a process of it was ended for want of memory.
    pub oom_killed: bool,
}

impl Cgroup {
    /// The group of the whole workload.
    pub fn workload() -> Result<Self, CgroupError> {
        Self::open(PathBuf::from(workload::CGROUP))
    }

    fn create(path: PathBuf) -> Result<Self, CgroupError> {
        fs::create_dir(&path).at("making", &path)?;
        Self::open(path)
    }

    fn open(path: PathBuf) -> Result<Self, CgroupError> {
        let directory = open(&path)?;
        let file = |name: &str| {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            rustix::fs::openat(&directory, name, flags, Mode::empty()).ok()
        };
        Ok(Self {
            events: file("cgroup.events"),
            memory_peak: file("memory.peak"),
            memory_events: file("memory.events"),
            processor: file("cpu.stat"),
            path,
            directory,
        })
    }

    fn file(&self, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat(&self.directory, name, flags | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Whether any process is in it or below it.
    pub fn is_populated(&self) -> bool {
        field(&read(self.events.as_ref()), "populated") == Some(1)
    }

    /// Waits until no process is left in it or below it.
    pub async fn emptied(&self) -> io::Result<()> {
        let file = self.file("cgroup.events", OFlags::RDONLY)?;
        let events = sys::watch(file, Interest::PRIORITY)?;
        loop {
            let mut text = [0; 256];
            rustix::fs::seek(events.get_ref(), rustix::fs::SeekFrom::Start(0))?;
            let length = rustix::io::read(events.get_ref(), &mut text[..])?;
            if field(&String::from_utf8_lossy(&text[..length]), "populated") != Some(1) {
                return Ok(());
            }
            events.ready(Interest::PRIORITY).await?.clear_ready();
        }
    }

    /// Ends every process in it and below it (KILL, at once, none can escape by forking).
    pub fn kill(&self) -> io::Result<()> {
        let file = self.file("cgroup.kill", OFlags::WRONLY)?;
        rustix::io::write(&file, b"1")?;
        Ok(())
    }

    /// The processes in it and below it, as the agent sees them.
    pub fn processes(&self) -> Vec<i32> {
        let mut found = Vec::new();
        let mut paths = vec![self.path.clone()];
        let mut seen = 0;
        while let (Some(path), true) = (paths.pop(), seen < MAX_REMOVED) {
            seen += 1;
            let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
            paths.extend(children(&path));
        }
        found
    }

    /// What it holds now, bytes.
    pub fn memory_bytes(&self) -> u64 {
        let file = self.file("memory.current", OFlags::RDONLY).ok();
        read(file.as_ref()).trim().parse().unwrap_or(0)
    }

    /// What it used so far.
    pub fn usage(&self) -> Usage {
        Usage {
            memory_peak_bytes: read(self.memory_peak.as_ref()).trim().parse().unwrap_or(0),
            cpu_micros: field(&read(self.processor.as_ref()), "usage_usec").unwrap_or(0),
            oom_killed: field(&read(self.memory_events.as_ref()), "oom_kill").unwrap_or(0) > 0,
        }
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// A file's beginning, at most 1 KiB; empty where it cannot be read.
fn read(file: Option<&OwnedFd>) -> String {
    let mut text = [0; 1024];
    let length = file.and_then(|file| rustix::io::pread(file, &mut text[..], 0).ok()).unwrap_or(0);
    String::from_utf8_lossy(&text[..length]).into_owned()
}

fn children(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    entries
        .take(MAX_REMOVED)
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Removes a group and those the workload made below it.
fn remove(path: PathBuf) -> io::Result<()> {
    let mut paths = vec![path];
    let mut at = 0;
    while at < paths.len() && paths.len() < MAX_REMOVED {
        let below = children(&paths[at]);
        paths.extend(below);
        at += 1;
    }
    let mut result = Ok(());
    for path in paths.iter().rev() {
        result = fs::remove_dir(path);
    }
    result
}

/// The number after a word at a line's beginning.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .and_then(|number| number.trim().parse().ok())
}

/// Makes exec groups ahead of their use and takes used ones away.
#[derive(Debug, Default)]
pub struct ExecCgroups {
    next: AtomicU64,
    spare: Mutex<Vec<Cgroup>>,
    /// Still held by a process that is on its way out.
    used: Mutex<Vec<Cgroup>>,
}

impl ExecCgroups {
    fn spare(&self) -> MutexGuard<'_, Vec<Cgroup>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self) -> Result<Cgroup, CgroupError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Cgroup::create(Path::new(workload::CGROUP).join(format!("exec-{number}")))
    }

    /// A group that is still there (the workload may remove empty ones).
    pub fn take(&self) -> Result<Cgroup, CgroupError> {
        while let Some(spare) = self.spare().pop() {
            let exists = (Access::EXISTS, AtFlags::empty());
            if rustix::fs::accessat(&spare, "cgroup.procs", exists.0, exists.1).is_ok() {
                return Ok(spare);
            }
        }
        self.make()
    }

    /// Removes what can be removed and makes the next spare. Called when nobody waits.
    pub fn tidy(&self, done: Option<Cgroup>) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.extend(done);
        used.retain(|cgroup| {
            remove(cgroup.path.clone())
                .is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY))
        });
        while self.spare().len() < SPARE {
            let Ok(cgroup) = self.make() else { return };
            self.spare().push(cgroup);
        }
    }

    /// Removes the spare ones, so that nothing is left in the workload's group.
    pub fn drop_spare(&self) {
        self.spare().clear();
        for path in children(Path::new(workload::CGROUP)) {
            let _ = remove(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "low 0\noom 3\noom_kill 2\noom_group_kill 9\n";
        assert_eq!(field(text, "oom_kill"), Some(2));
        assert_eq!(field(text, "oom"), Some(3));
        assert_eq!(field(text, "max"), None);
    }
}
