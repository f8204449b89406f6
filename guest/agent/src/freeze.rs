//! Holding up all writing to the workspace disk while the host copies it.
//!
//! Owns when the disk is frozen, and above all that it is thawed again: a thread of its own does both,
//! and thaws when it is told to, when whoever would tell it is gone, or when the time is over. The file
//! system is the one under the overlays: those cannot be frozen. Nothing else of the agent's may wait
//! for this disk meanwhile; its own records are on another. Refuses to know what is copied.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use pyro_wire::{
    DiskThawed, Done, FileOutcome, FrameKind, FreezeDisk, file_outcome, reply::Result as Answer,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, oneshot},
};

use crate::{
    agent::Agent,
    call::{refuse, reply},
    console,
    frames::{FrameReader, FrameWriter, StreamError},
    refusal::Refusal,
    sys, workload,
};

/// The longest a disk is frozen, whatever the host says: the kernel takes one that waits for two minutes
/// for hung.
const LONGEST: Duration = Duration::from_secs(100);
const STACK: usize = 64 << 10;

/// What may be frozen.
trait Disk: Send + 'static {
    /// Most is written out before anybody is held up.
    fn write_out(&mut self) -> io::Result<()>;
    fn freeze(&mut self) -> io::Result<()>;
    fn thaw(&mut self) -> io::Result<()>;
}

/// A file system, by a directory of it.
struct FileSystem {
    path: PathBuf,
    directory: Option<File>,
}

impl FileSystem {
    fn directory(&mut self) -> io::Result<&File> {
        if self.directory.is_none() {
            self.directory = Some(File::open(&self.path)?);
        }
        self.directory.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for FileSystem {
    fn write_out(&mut self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(self.directory()?)?)
    }

    fn freeze(&mut self) -> io::Result<()> {
        sys::freeze(self.directory()?.as_fd())
    }

    fn thaw(&mut self) -> io::Result<()> {
        sys::thaw(self.directory()?.as_fd())
    }
}

/// Lets the disk be frozen by one at a time.
#[derive(Debug)]
pub struct Freezer {
    turn: Arc<Semaphore>,
    /// Its end ends a freeze.
    order: Mutex<Option<mpsc::Sender<()>>>,
}

impl Default for Freezer {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), order: Mutex::default() }
    }
}

/// A disk that is frozen, or about to be.
struct Freeze {
    frozen: oneshot::Receiver<io::Result<()>>,
    thawed: oneshot::Receiver<DiskThawed>,
}

impl Freezer {
    fn begin(&self, mut disk: impl Disk, longest: Duration) -> Result<Freeze, Refusal> {
        let turn = self.turn.clone().try_acquire_owned().map_err(|_| Refusal::Frozen)?;
        let (order, ordered) = mpsc::channel::<()>();
        let (tell_frozen, frozen) = oneshot::channel();
        let (tell_thawed, thawed) = oneshot::channel();
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = Some(order);
        let work = move || {
            let written = disk.write_out();
            let begun = Instant::now();
            if let Err(error) = written.and_then(|()| disk.freeze()) {
                drop(turn);
                let _ = tell_frozen.send(Err(error));
                return;
            }
            let _ = tell_frozen.send(Ok(()));
            let waited = ordered.recv_timeout(longest);
            // Only who was asked for it by name may say that all is of one moment.
            let expired = waited.is_err();
            if let Err(error) = disk.thaw() {
                console::note(&format!("thawing the workspace disk: {error}"));
            }
            let micros = begun.elapsed().as_micros() as u64;
            // Whoever hears of it may freeze it again.
            drop(turn);
            let _ = tell_thawed.send(DiskThawed { micros, expired });
        };
        let thread = std::thread::Builder::new().name("freeze".into()).stack_size(STACK);
        thread.spawn(work).map_err(Refusal::Descriptors)?;
        Ok(Freeze { frozen, thawed })
    }

    fn take(&self) -> Option<mpsc::Sender<()>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Ends a freeze in order.
    fn end(&self) {
        if let Some(order) = self.take() {
            let _ = order.send(());
        }
    }

    /// Ends a freeze that nobody may rely on any more.
    fn give_up(&self) {
        drop(self.take());
    }

    /// The same, and there is no other one after it. Returns once the disk can be written.
    pub async fn close(&self) {
        self.give_up();
        // It is never given back.
        if let Ok(turn) = self.turn.acquire().await {
            turn.forget();
        }
    }
}

/// Gives a freeze up where its call is given up.
struct Guard<'a>(&'a Freezer);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// Answers the call, to the disk's thaw.
pub async fn serve<R, W>(
    call: &FreezeDisk,
    reader: &mut FrameReader<R>,
    writer: &mut FrameWriter<W>,
    agent: &Arc<Agent>,
) -> Result<(), StreamError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    if agent.is_shutting_down() {
        return refuse(writer, &Refusal::ShuttingDown).await;
    }
    if !agent.hello().personal {
        return refuse(writer, &Refusal::NotPersonal).await;
    }
    let disk = FileSystem { path: Path::new(workload::DISK).to_owned(), directory: None };
    let longest = Duration::from_millis(call.deadline_millis).min(LONGEST);
    hold(disk, longest, &agent.freezer, reader, writer).await
}

async fn hold<R, W>(
    disk: impl Disk,
    longest: Duration,
    freezer: &Freezer,
    reader: &mut FrameReader<R>,
    writer: &mut FrameWriter<W>,
) -> Result<(), StreamError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Freeze { frozen, mut thawed } = match freezer.begin(disk, longest) {
        Ok(freeze) => freeze,
        Err(refusal) => return refuse(writer, &refusal).await,
    };
    let guard = Guard(freezer);
    let mut ended = Box::pin(until_end(reader));
    let frozen = tokio::select! {
        frozen = frozen => frozen,
        // Whoever ends it before it began wants nothing of it.
        () = &mut ended => return Ok(()),
    };
    match frozen {
        Ok(Ok(())) => reply(writer, Answer::Done(Done {})).await?,
        Ok(Err(error)) => return refuse(writer, &Refusal::Freeze(error)).await,
        Err(_) => return refuse(writer, &Refusal::Interrupted).await,
    }
    let outcome = tokio::select! {
        biased;
        outcome = &mut thawed => outcome,
        () = &mut ended => {
            freezer.end();
            thawed.await
        }
    };
    // What comes next may be another's.
    std::mem::forget(guard);
    let result = match outcome {
        Ok(thawed) => file_outcome::Result::Thawed(thawed),
        Err(_) => file_outcome::Result::Problem(Refusal::Interrupted.to_problem()),
    };
    writer.message(&FileOutcome { result: Some(result) }).await?;
    writer.end().await
}

/// Returns when the host says End, or has gone.
async fn until_end<R: AsyncRead + Unpin>(reader: &mut FrameReader<R>) {
    while let Ok(Some(frame)) = reader.next().await {
        if frame.kind == FrameKind::End {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use pyro_wire::{Frame, Reply};

    use super::*;

    /// A disk that only remembers.
    #[derive(Clone, Default)]
    struct Pretended(Arc<AtomicBool>);

    impl Disk for Pretended {
        fn write_out(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn freeze(&mut self) -> io::Result<()> {
            self.0.store(true, Ordering::SeqCst);
            Ok(())
        }

        fn thaw(&mut self) -> io::Result<()> {
            self.0.store(false, Ordering::SeqCst);
            Ok(())
        }
    }

    const LONG: Duration = Duration::from_mins(1);

    /// The conversation, with a host that says this once the disk is frozen, or goes without a word.
    async fn conversation(longest: Duration, says_end: Option<bool>) -> Option<DiskThawed> {
        let (host, guest) = tokio::io::duplex(1 << 16);
        let disk = Pretended::default();
        let frozen = disk.0.clone();
        let freezer = Arc::new(Freezer::default());
        let held = freezer.clone();
        let serving = tokio::spawn(async move {
            let (read, write) = tokio::io::split(guest);
            let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
            let _ = hold(disk, longest, &held, &mut reader, &mut writer).await;
        });
        let (read, write) = tokio::io::split(host);
        let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
        let first: Frame = reader.next().await.unwrap().unwrap();
        let first: Reply = first.message().unwrap();
        assert!(matches!(first.result, Some(Answer::Done(_))), "{first:?}");
        let mut told = None;
        match says_end {
            Some(true) => {
                assert!(frozen.load(Ordering::SeqCst));
                writer.end().await.unwrap();
            }
            Some(false) => {}
            None => {
                assert!(frozen.load(Ordering::SeqCst));
                drop((reader, writer));
                serving.await.unwrap();
                freezer.close().await;
                assert!(!frozen.load(Ordering::SeqCst));
                return None;
            }
        }
        while let Ok(Some(frame)) = reader.next().await {
            if frame.kind == FrameKind::End {
                break;
            }
            let outcome: FileOutcome = frame.message().unwrap();
            match outcome.result {
                Some(file_outcome::Result::Thawed(thawed)) => told = Some(thawed),
                other => panic!("{other:?}"),
            }
        }
        assert!(!frozen.load(Ordering::SeqCst));
        told
    }

    #[tokio::test]
    async fn a_disk_is_thawed_when_the_host_says_so() {
        let thawed = conversation(LONG, Some(true)).await.unwrap();
        assert!(!thawed.expired);
    }

    #[tokio::test]
    async fn a_disk_is_thawed_when_the_host_is_gone() {
        conversation(LONG, None).await;
    }

    #[tokio::test]
    async fn a_disk_is_thawed_when_its_time_is_over_and_that_is_told() {
        let thawed = conversation(Duration::from_millis(1), Some(false)).await.unwrap();
        assert!(thawed.expired);
    }

    #[tokio::test]
    async fn whoever_hears_of_a_thaw_may_freeze_at_once() {
        let freezer = Freezer::default();
        for _ in 0..500 {
            let freeze = freezer.begin(Pretended::default(), LONG).unwrap();
            freeze.frozen.await.unwrap().unwrap();
            freezer.end();
            freeze.thawed.await.unwrap();
        }
    }

    #[tokio::test]
    async fn one_freezes_at_a_time_and_none_once_the_machine_goes() {
        let freezer = Freezer::default();
        let first = freezer.begin(Pretended::default(), LONG).unwrap();
        first.frozen.await.unwrap().unwrap();
        assert!(matches!(
            freezer.begin(Pretended::default(), LONG).map(drop),
            Err(Refusal::Frozen)
        ));
        freezer.close().await;
        assert!(first.thawed.await.unwrap().expired);
        assert!(freezer.begin(Pretended::default(), LONG).is_err());
    }
}
