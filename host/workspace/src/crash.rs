//! Named steps at which a test can have the node killed, to prove that the next one repairs; or stopped, so that
//! it can kill others meanwhile.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rustix::process::{Signal, getpid, kill_process};

/// How a step begins at which the node stops until it is told to go on (`SIGCONT`).
const PAUSE: &str = "pause:";

/// The step at which this node is to die or stop, if any.
#[derive(Clone, Debug, Default)]
pub(crate) struct CrashPoint {
    at: Option<String>,
    /// It stops once.
    has_stopped: Arc<AtomicBool>,
}

impl CrashPoint {
    pub(crate) fn new(at: Option<String>) -> Self {
        Self { at, has_stopped: Arc::default() }
    }

    /// Dies here as by `kill -9`, or stops, if this is the step that was asked for.
    pub(crate) fn reached(&self, step: &str) {
        let Some(asked) = self.at.as_deref() else { return };
        if asked == step {
            tracing::warn!(step, "dying at the step that was asked for");
            let _ = kill_process(getpid(), Signal::KILL);
        } else if asked.strip_prefix(PAUSE) == Some(step)
            && !self.has_stopped.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(step, "stopping at the step that was asked for");
            let _ = kill_process(getpid(), Signal::STOP);
        }
    }
}
