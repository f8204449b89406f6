//! Work that nobody waits for: records and control groups, done when the agent has been quiet.
//!
//! The machine may have a single processor; what is done here must not stand before an answer, nor
//! take time from a command that has just begun. It is put off until nothing was started or ended
//! for a moment, but never for long.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

/// Nothing happened for this long: quiet.
const QUIET: Duration = Duration::from_millis(60);
/// A command that has begun may be a short one, and it is not quiet while it runs: the first of a
/// boot takes so long under emulation.
const SHORT: Duration = Duration::from_millis(250);
/// The longest a job is put off.
const LONGEST: Duration = Duration::from_secs(1);
/// So many are put off, not more: a command may have to wait for all of them.
const MOST: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

/// The thread.
#[derive(Debug)]
pub struct Clerk {
    jobs: mpsc::Sender<(Job, bool)>,
    began: Instant,
    last: Arc<AtomicU64>,
}

impl Default for Clerk {
    fn default() -> Self {
        let (jobs, queue) = mpsc::channel();
        let began = Instant::now();
        let last = Arc::new(AtomicU64::new(0));
        let seen = last.clone();
        let quiet_for = move || {
            began.elapsed().saturating_sub(Duration::from_millis(seen.load(Ordering::Relaxed)))
        };
        // Without the thread the jobs are lost, and with them only records.
        let _ = std::thread::Builder::new()
            .name("clerk".into())
            .stack_size(256 << 10)
            .spawn(move || work(&queue, quiet_for));
        Self { jobs, began, last }
    }
}

fn work(queue: &mpsc::Receiver<(Job, bool)>, quiet_for: impl Fn() -> Duration) {
    while let Ok((job, mut urgent)) = queue.recv() {
        let first = Instant::now();
        let mut jobs = vec![job];
        while !urgent && jobs.len() < MOST && first.elapsed() < LONGEST {
            let left = QUIET.saturating_sub(quiet_for());
            if left.is_zero() {
                break;
            }
            match queue.recv_timeout(left) {
                Ok((job, now)) => {
                    jobs.push(job);
                    urgent = now;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for job in jobs {
            job();
        }
    }
}

impl Clerk {
    /// Says that a command begins.
    pub fn busy(&self) {
        self.was_busy_at(self.began.elapsed() + SHORT);
    }

    fn was_busy_at(&self, since_began: Duration) {
        self.last.store(since_began.as_millis() as u64, Ordering::Relaxed);
    }

    /// Does it some time, in turn.
    pub fn put_off(&self, job: impl FnOnce() + Send + 'static) {
        self.was_busy_at(self.began.elapsed());
        let _ = self.jobs.send((Box::new(job), false));
    }

    /// Waits until all that was put off is done.
    pub async fn catch_up(&self) {
        let (sender, done) = oneshot::channel();
        let job = move || {
            let _ = sender.send(());
        };
        if self.jobs.send((Box::new(job), true)).is_ok() {
            let _ = done.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn catching_up_does_all_that_was_put_off_in_order() {
        let clerk = Clerk::default();
        let (sender, done) = mpsc::channel();
        for number in 0..100 {
            let sender = sender.clone();
            clerk.put_off(move || sender.send(number).unwrap());
        }
        clerk.catch_up().await;
        assert_eq!(done.try_iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }
}
