//! One piece of work that takes its time: says how far it is, and can be cancelled.

use std::{
    collections::BTreeMap,
    fmt, fs,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal},
};

use crate::{Error, Result};

/// How long a program may clean up after itself before it is killed.
const GRACE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// How far a job is.
#[derive(Clone, PartialEq, Debug)]
pub enum Progress {
    /// What is being done, and how much of the whole job is done (0 to 1) where that is known.
    Step {
        /// What is being done, for people.
        message: String,
        /// Between 0 and 1.
        fraction: Option<f64>,
    },
    /// Something the caller should know, but that is no failure.
    Notice(String),
}

/// A handle on one piece of work; clones are the same job.
#[derive(Clone)]
pub struct Job(Arc<Inner>);

struct Inner {
    report: Box<dyn Fn(Progress) + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    next: u64,
    /// The process groups that run for this job; none of them has been reaped.
    groups: BTreeMap<u64, Pid>,
}

impl Job {
    /// A job whose progress goes to this function, from whatever thread does the work.
    pub fn new(report: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { report: Box::new(report), state: Mutex::default() }))
    }

    /// A job nobody watches.
    pub fn silent() -> Self {
        Self::new(|_| ())
    }

    /// Ends the job soon: its programs are ended, with ten seconds to clean up, its
    /// function returns [`Error::Cancelled`], and nothing of it stays. Legal at any time.
    pub fn cancel(&self) {
        let groups: Vec<u64> = {
            let mut state = self.state();
            state.cancelled = true;
            state.groups.keys().copied().collect()
        };
        for group in groups {
            let job = self.clone();
            std::thread::spawn(move || job.end_group(group));
        }
    }

    /// Whether [`Job::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.state().cancelled
    }

    /// An error once the job is cancelled.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    pub(crate) fn step(&self, message: impl Into<String>, fraction: impl Into<Option<f64>>) {
        (self.0.report)(Progress::Step { message: message.into(), fraction: fraction.into() });
    }

    pub(crate) fn notice(&self, message: impl Into<String>) {
        (self.0.report)(Progress::Notice(message.into()));
    }

    /// Starts a process group for this job, unless the job is cancelled.
    pub(crate) fn start_group<T>(
        &self,
        start: impl FnOnce() -> Result<(T, Pid)>,
    ) -> Result<(T, u64)> {
        let mut state = self.state();
        if state.cancelled {
            return Err(Error::Cancelled);
        }
        let (started, pid) = start()?;
        let group = state.next;
        state.next += 1;
        state.groups.insert(group, pid);
        Ok((started, group))
    }

    /// Kills what a leader left behind and forgets its group: it has ended and will be reaped.
    pub(crate) fn end_remains(&self, group: u64) {
        self.signal_group(group, Signal::KILL);
        self.state().groups.remove(&group);
    }

    /// Tells a group to end, waits, and kills it if it does not.
    pub(crate) fn end_group(&self, group: u64) {
        let Some(leader) = self.signal_group(group, Signal::TERM) else { return };
        kill_tools(leader);
        if let Ok(handle) = pidfd_open(leader, PidfdFlags::empty()) {
            let mut wait = [PollFd::new(&handle, PollFlags::IN)];
            let _ = poll(&mut wait, Some(&GRACE));
        }
        self.signal_group(group, Signal::KILL);
    }

    /// Signals a group that has not been reaped; its leader's process id cannot be another's.
    fn signal_group(&self, group: u64, signal: Signal) -> Option<Pid> {
        let state = self.state();
        let leader = *state.groups.get(&group)?;
        let _ = kill_process_group(leader, signal);
        Some(leader)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kills what a group's leader runs, but not its own forks: they fail at once and clean up, where
/// the leader would otherwise wait for tools that ignore being told to end (dpkg).
fn kill_tools(leader: Pid) {
    let leader_name = Process::read(leader).map(|process| process.name);
    let Ok(entries) = fs::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = number.and_then(Pid::from_raw) else { continue };
        // The handle is taken first: what is then read belongs to the process it will signal.
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        let Some(process) = Process::read(pid) else { continue };
        if process.group == leader && Some(process.name) != leader_name {
            let _ = pidfd_send_signal(&handle, Signal::KILL);
        }
    }
}

/// What `/proc/PID/stat` tells of a process (proc(5)).
struct Process {
    name: String,
    group: Pid,
}

impl Process {
    fn read(pid: Pid) -> Option<Self> {
        let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
        let stat = String::from_utf8_lossy(&fs::read(path).ok()?).into_owned();
        // The name may itself hold blanks and parentheses.
        let (before, after) = stat.rsplit_once(") ")?;
        let (_, name) = before.split_once('(')?;
        // One that is ending has -1.
        let group = after.split(' ').nth(2)?.parse().ok().filter(|group| *group > 0)?;
        Some(Self { name: name.to_owned(), group: Pid::from_raw(group)? })
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}
