//! The thread that writes what the supervisor must not forget: records and the journal.
//!
//! On the agent disk, which may be slow; the agent's own thread answers everybody meanwhile. One
//! thing at a time, in the order in which it was asked for. Refuses to know what is written.

use std::sync::mpsc;

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// The thread.
#[derive(Debug)]
pub struct Scribe {
    jobs: Option<mpsc::Sender<Job>>,
}

impl Default for Scribe {
    fn default() -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let work = move || queue.into_iter().for_each(|job| job());
        let thread = std::thread::Builder::new().name("scribe".into()).stack_size(256 << 10);
        Self { jobs: thread.spawn(work).is_ok().then_some(jobs) }
    }
}

impl Scribe {
    /// Writes; returns when that is done. It is done also when nobody waits for it any more.
    pub async fn write(&self, job: impl FnOnce() + Send + 'static) {
        let (sender, done) = oneshot::channel();
        let job: Job = Box::new(move || {
            job();
            let _ = sender.send(());
        });
        let refused = match &self.jobs {
            Some(jobs) => jobs.send(job).err().map(|refused| refused.0),
            None => Some(job),
        };
        // Without the thread it is done here: late is better than never.
        if let Some(job) = refused {
            job();
        }
        let _ = done.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_asked_for_is_written_in_order_also_when_nobody_waits() {
        let scribe = Scribe::default();
        let (sender, written) = mpsc::channel();
        for number in 0..100 {
            let sender = sender.clone();
            let writing = scribe.write(move || sender.send(number).unwrap());
            let _ = futures::poll!(Box::pin(writing));
        }
        scribe.write(|| {}).await;
        assert_eq!(written.try_iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }
}
