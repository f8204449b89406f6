//! Named steps at which a test can have the node killed, to prove that the next one repairs.

/// The step at which this node is to die, if any.
#[derive(Clone, Debug, Default)]
pub(crate) struct CrashPoint(pub(crate) Option<String>);

impl CrashPoint {
    /// Dies here as by `kill -9`, if this is the step that was asked for.
    pub(crate) fn reached(&self, step: &str) {
        if self.0.as_deref() == Some(step) {
            tracing::warn!(step, "dying at the step that was asked for");
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
        }
    }
}
