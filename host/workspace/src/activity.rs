//! What counts as use: the idle time runs only while nobody uses a workspace.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::sync::Notify;

use crate::registry::now_millis;

/// How much a workspace is used now, and when it was last used.
#[derive(Debug)]
pub(crate) struct Activity {
    users: AtomicUsize,
    last_millis: AtomicU64,
    /// Told when the last user leaves.
    pub(crate) idle: Notify,
}

/// Somebody uses the workspace for as long as this lives.
#[derive(Debug)]
pub(crate) struct InUse(Arc<Activity>);

impl Activity {
    pub(crate) fn new(last_millis: u64) -> Arc<Self> {
        Arc::new(Self {
            users: AtomicUsize::new(0),
            last_millis: AtomicU64::new(last_millis),
            idle: Notify::new(),
        })
    }

    /// Begins a use.
    pub(crate) fn begin(self: &Arc<Self>) -> InUse {
        self.users.fetch_add(1, Ordering::SeqCst);
        self.touch();
        InUse(self.clone())
    }

    /// A use that is over at once.
    pub(crate) fn touch(&self) {
        self.last_millis.fetch_max(now_millis(), Ordering::SeqCst);
    }

    pub(crate) fn is_used(&self) -> bool {
        self.users.load(Ordering::SeqCst) > 0
    }

    pub(crate) fn last_millis(&self) -> u64 {
        self.last_millis.load(Ordering::SeqCst)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.touch();
        if self.0.users.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_one();
        }
    }
}
