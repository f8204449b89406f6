//! Work that nobody waits for: records and control groups, done when the agent has been quiet.
//!
//! The machine may have a single processor; what is done here must not stand before an answer, nor
//! take time from a command that has just begun. It is put off until nothing was started or ended
//! for a moment, but never for long.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

/// Nothing happened for this long: quiet.
const QUIET: Duration = Duration::from_millis(60);
/// A command that has begun may be a short one, and it is not quiet while it runs: the first of a
/// boot takes so long under emulation.
const SHORT: Duration = Duration::from_millis(250);
/// The longest a job is put off, and how long a service is taken to warm up: when it becomes ready, the
/// agent should have nothing else to do.
const LONGEST: Duration = Duration::from_secs(1);
/// So many are put off, not more: a command may have to wait for all of them.
const MOST: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

/// The thread.
#[derive(Debug)]
pub struct Clerk(Arc<Desk>);

struct Desk {
    pile: Mutex<Pile>,
    /// The pile is no longer empty, or not to be put off any longer.
    changed: Condvar,
    began: Instant,
    /// When it was busy last, milliseconds after `began`.
    busy: AtomicU64,
    /// Until when it is busy whatever else happens, milliseconds after `began`.
    warming: AtomicU64,
}

#[derive(Default)]
struct Pile {
    jobs: Vec<Job>,
    is_urgent: bool,
    is_closed: bool,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Desk").field("jobs", &self.pile().jobs.len()).finish()
    }
}

impl Desk {
    fn pile(&self) -> MutexGuard<'_, Pile> {
        self.pile.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn was_busy_at(&self, since_began: Duration) {
        self.busy.store(since_began.as_millis() as u64, Ordering::Relaxed);
    }

    fn quiet_for(&self) -> Duration {
        let busy = self.busy.load(Ordering::Relaxed).max(self.warming.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(Duration::from_millis(busy))
    }

    fn work(&self) {
        while let Some(jobs) = self.next() {
            for job in jobs {
                job();
            }
        }
    }

    /// The jobs that are not to be put off any longer, once there are some; none at the end.
    fn next(&self) -> Option<Vec<Job>> {
        let mut pile = self.pile();
        while pile.jobs.is_empty() && !pile.is_closed {
            pile = self.changed.wait(pile).unwrap_or_else(PoisonError::into_inner);
        }
        let first = Instant::now();
        while !pile.is_urgent && !pile.is_closed && pile.jobs.len() < MOST {
            let left = LONGEST.saturating_sub(first.elapsed());
            let left = left.min(QUIET.saturating_sub(self.quiet_for()));
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(pile, left);
            pile = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        pile.is_urgent = false;
        let jobs = std::mem::take(&mut pile.jobs);
        (!jobs.is_empty() || !pile.is_closed).then_some(jobs)
    }
}

impl Default for Clerk {
    fn default() -> Self {
        let desk = Arc::new(Desk {
            pile: Mutex::default(),
            changed: Condvar::new(),
            began: Instant::now(),
            busy: AtomicU64::new(0),
            warming: AtomicU64::new(0),
        });
        let theirs = desk.clone();
        // Without the thread the jobs are lost, and with them only records.
        let thread = std::thread::Builder::new().name("clerk".into()).stack_size(256 << 10);
        desk.pile().is_closed = thread.spawn(move || theirs.work()).is_err();
        Self(desk)
    }
}

impl Drop for Clerk {
    fn drop(&mut self) {
        self.0.pile().is_closed = true;
        self.0.changed.notify_one();
    }
}

impl Clerk {
    /// Says that a command begins.
    pub fn busy(&self) {
        self.0.was_busy_at(self.0.began.elapsed() + SHORT);
    }

    /// Says that a service begins.
    pub fn warming(&self) {
        let until = self.0.began.elapsed() + LONGEST;
        self.0.warming.fetch_max(until.as_millis() as u64, Ordering::Relaxed);
    }

    /// Does it some time, in turn.
    pub fn put_off(&self, job: impl FnOnce() + Send + 'static) {
        self.0.was_busy_at(self.0.began.elapsed());
        self.add(Box::new(job), false);
    }

    fn add(&self, job: Job, is_urgent: bool) {
        let mut pile = self.0.pile();
        if pile.is_closed {
            return;
        }
        pile.jobs.push(job);
        pile.is_urgent |= is_urgent;
        // Not for each: the thread looks by itself whether it is quiet.
        let wakes = is_urgent || pile.jobs.len() == 1 || pile.jobs.len() >= MOST;
        drop(pile);
        if wakes {
            self.0.changed.notify_one();
        }
    }

    /// Waits until all that was put off is done.
    pub async fn catch_up(&self) {
        let (sender, done) = oneshot::channel();
        let job = move || {
            let _ = sender.send(());
        };
        self.add(Box::new(job), true);
        let _ = done.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn catching_up_does_all_that_was_put_off_in_order() {
        let clerk = Clerk::default();
        let (sender, done) = std::sync::mpsc::channel();
        for number in 0..100 {
            let sender = sender.clone();
            clerk.put_off(move || sender.send(number).unwrap());
        }
        clerk.catch_up().await;
        assert_eq!(done.try_iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }
}
