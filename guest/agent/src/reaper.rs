//! Reaping: the workload's PID 1, and the agent's own children.
//!
//! The agent waits for each exec by its pidfd. Nothing else is meant to become its child, because
//! orphans of the workload go to the workload's PID 1; [`Children::sweep`] takes what comes all
//! the same, and never an exec's exit.

use std::{
    collections::HashSet,
    io,
    os::fd::AsFd,
    sync::{Mutex, MutexGuard, PoisonError},
};

use pyro_core::ExitStatus;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::sys;

/// The workload's PID 1: lets go of everything, ignores signals (the kernel sees to that for a
/// PID 1 without handlers, pid_namespaces(7)) and reaps until it is killed from outside.
pub fn reap_for_ever() -> ! {
    let _ = rustix::thread::set_name(c"pyro-init");
    let _ = rustix::process::setsid();
    sys::clear_signals();
    sys::block_child_signal();
    sys::close_all();
    loop {
        while sys::reap_any() {}
        sys::await_child();
    }
}

/// The exit status of a child whose pidfd became readable, which is still to be taken: letting go of
/// the process takes longer than a look.
pub fn look_at_status(pidfd: &impl AsFd) -> io::Result<Option<ExitStatus>> {
    status(pidfd, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
}

fn status(pidfd: &impl AsFd, options: WaitIdOptions) -> io::Result<Option<ExitStatus>> {
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), options | WaitIdOptions::NOHANG)?;
    Ok(status.map(|status| match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::Code(code),
        (None, Some(signal)) => ExitStatus::Signal(signal),
        (None, None) => ExitStatus::Code(0),
    }))
}

/// The agent's children.
#[derive(Default, Debug)]
pub struct Children {
    known: Mutex<Known>,
}

#[derive(Default, Debug)]
struct Known {
    pids: HashSet<i32>,
    /// Children that may exist and are not known yet.
    starting: u32,
}

impl Children {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces that a child is being made; until [`Children::started`] nothing is swept.
    pub fn starting(&self) {
        self.known().starting += 1;
    }

    /// Says what came of it.
    pub fn started(&self, pid: Option<i32>) {
        let mut known = self.known();
        known.starting = known.starting.saturating_sub(1);
        known.pids.extend(pid);
    }

    /// Takes the exit status of a child whose pidfd became readable.
    pub fn take_status(&self, pid: i32, pidfd: &impl AsFd) -> io::Result<Option<ExitStatus>> {
        let status = status(pidfd, WaitIdOptions::EXITED)?;
        if status.is_some() {
            self.known().pids.remove(&pid);
        }
        Ok(status)
    }

    /// Reaps ended children that nobody knows.
    pub fn sweep(&self) {
        let known = self.known();
        if known.starting != 0 {
            return;
        }
        loop {
            let Some(pid) = sys::peek_child() else { return };
            if known.pids.contains(&pid) {
                return;
            }
            let Some(pid) = Pid::from_raw(pid) else { return };
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let _ = waitid(WaitId::Pid(pid), options);
        }
    }
}
