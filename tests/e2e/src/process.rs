//! Processes of this machine, as `/proc` shows them.

use std::{fs, os::unix::ffi::OsStrExt, path::Path};

use rustix::process::{Pid, Signal, kill_process};

/// A process; another that got its number later is told apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process {
    /// Its process id.
    pub pid: i32,
    /// Clock ticks from the host's boot to its start.
    started: u64,
}

impl Process {
    /// The process with this id, if there is one that is not just a zombie.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in brackets and may hold anything: proc(5).
        let fields: Vec<_> = stat[stat.rfind(')')? + 2..].split(' ').collect();
        let zombie = matches!(fields[0], "Z" | "X");
        (!zombie).then(|| Self { pid, started: fields[19].parse().unwrap() })
    }

    /// Whether it is still there.
    pub fn lives(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// The most memory it held at once so far, MiB.
    #[track_caller]
    pub fn peak_mebibytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
    }

    /// `R`, `S`, `T`, ... as in `/proc`.
    pub fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    /// Sends it a signal; one that is gone gets none.
    pub fn signal(&self, signal: Signal) {
        if self.lives() {
            let _ = kill_process(Pid::from_raw(self.pid).unwrap(), signal);
        }
    }

    /// `kill -9`.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Every process.
    fn all() -> impl Iterator<Item = Self> {
        fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(Self::of)
    }

    /// Every process that works in a directory or below it, though that may be deleted.
    pub(crate) fn in_directory(directory: &Path) -> Vec<Self> {
        let works_there = |process: &Self| {
            fs::read_link(format!("/proc/{}/cwd", process.pid))
                .is_ok_and(|place| place.starts_with(directory))
        };
        Self::all().filter(works_there).collect()
    }

    /// Every process to which this is the state directory.
    pub(crate) fn of_home(home: &Path) -> Vec<Self> {
        let told = [b"PYRO_HOME=", home.as_os_str().as_bytes()].concat();
        let is_told = |process: &Self| {
            fs::read(format!("/proc/{}/environ", process.pid))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|line| line == told))
        };
        Self::all().filter(is_told).collect()
    }
}
