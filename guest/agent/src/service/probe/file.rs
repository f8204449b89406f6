//! Is a path there? Told by inotify on the deepest directory of it that is.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, ResolveFlags, inotify, openat2},
};
use tokio::{sync::mpsc, time::sleep};

use super::{Place, Seen};

/// What may make a path come to be: in a directory of it, or to it.
const CHANGES: inotify::WatchFlags = inotify::WatchFlags::CREATE
    .union(inotify::WatchFlags::MOVED_TO)
    .union(inotify::WatchFlags::ATTRIB)
    .union(inotify::WatchFlags::DELETE_SELF)
    .union(inotify::WatchFlags::MOVE_SELF);

/// One look.
pub async fn try_once(path: Vec<u8>, place: &Place) -> Seen {
    let shown = String::from_utf8_lossy(&path).into_owned();
    match place.with_files(move |root| open(&root, &path, OFlags::PATH)).await {
        Ok(_) => Seen::yes(format!("{shown} is there")),
        Err(error) => Seen::not_yet(format!("{shown}: {error}")),
    }
}

/// Threads that may watch at once. The workload's file systems may keep one for ever.
const MOST_WATCHES: usize = 256;
static WATCHES: AtomicUsize = AtomicUsize::new(0);
/// Between two watches where the directory is busy with other files.
const BUSY: Duration = Duration::from_millis(4);

/// Tells when it is there, and before that once that it is not. Where it cannot be watched, it is
/// looked at every so often.
pub async fn until_there(
    path: Vec<u8>,
    place: &Place,
    longest: Duration,
    tell: mpsc::Sender<Seen>,
) {
    let first = try_once(path.clone(), place).await;
    let there = first.passed;
    if tell.send(first).await.is_err() || there {
        return;
    }
    let shown = String::from_utf8_lossy(&path).into_owned();
    let watched = match watched(path.clone(), place, longest).await {
        Ok(()) => Ok(Seen::yes(format!("{shown} is there"))),
        Err(error) => Err(Seen::not_yet(format!("{shown} cannot be watched: {error}"))),
    };
    tell_or_look(watched, || try_once(path.clone(), place), longest, tell).await;
}

/// Tells what a watch has seen; where there was none, looks until it is there.
async fn tell_or_look<F: Future<Output = Seen>>(
    watched: Result<Seen, Seen>,
    look: impl Fn() -> F,
    longest: Duration,
    tell: mpsc::Sender<Seen>,
) {
    let (Ok(mut seen) | Err(mut seen)) = watched;
    while tell.send(seen.clone()).await.is_ok() && !seen.passed {
        // What is new is told.
        loop {
            sleep(longest.max(super::SHORTEST)).await;
            let next = look().await;
            if next.passed {
                seen = next;
                break;
            }
        }
    }
}

/// Returns when the path is there.
async fn watched(path: Vec<u8>, place: &Place, longest: Duration) -> io::Result<()> {
    let root = place.root()?;
    // The thread ends when this end closes, at the latest after its next look.
    let (cancelled, _cancel) = io::pipe()?;
    let permit = Permit::take().ok_or(io::ErrorKind::ResourceBusy)?;
    let (found, there) = tokio::sync::oneshot::channel();
    let watch = move || {
        let _ = found.send(watch(&root, &path, &cancelled.into(), longest));
        drop(permit);
    };
    std::thread::Builder::new().name("watch".into()).stack_size(128 << 10).spawn(watch)?;
    match there.await {
        Ok(Ok(true)) => Ok(()),
        Ok(Err(error)) => Err(error),
        Ok(Ok(false)) | Err(_) => Err(io::ErrorKind::Interrupted.into()),
    }
}

/// One of the threads that may watch.
struct Permit;

impl Permit {
    fn take() -> Option<Self> {
        let taken = WATCHES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            (count < MOST_WATCHES).then_some(count + 1)
        });
        taken.is_ok().then_some(Self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        WATCHES.fetch_sub(1, Ordering::Relaxed);
    }
}

fn open(root: &OwnedFd, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let relative = path.strip_prefix(b"/").unwrap_or(path);
    let relative = if relative.is_empty() { b"." } else { relative };
    let path = CString::new(relative).map_err(|_| io::ErrorKind::InvalidInput)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(root, &path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

/// Waits until the path is there; `false` when the other end of `cancelled` closed before.
fn watch(root: &OwnedFd, path: &[u8], cancelled: &OwnedFd, longest: Duration) -> io::Result<bool> {
    loop {
        // Anew each time: which directory is the deepest may have changed.
        let events = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        if let Ok(directory) = deepest(root, path) {
            let name = format!("/proc/self/fd/{}", directory.as_raw_fd());
            let _ = inotify::add_watch(&events, name, CHANGES);
        }
        // After the watch began, so that what came before it is seen too.
        if open(root, path, OFlags::PATH).is_ok() {
            return Ok(true);
        }
        let mut waiting =
            [PollFd::new(&events, PollFlags::IN), PollFd::new(cancelled, PollFlags::IN)];
        // A link may lead where nothing is watched: looked at anew as often as was asked for.
        match poll(&mut waiting, Some(&timespec(longest))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !waiting[1].revents().is_empty() {
            return Ok(false);
        }
        if open(root, path, OFlags::PATH).is_ok() {
            return Ok(true);
        }
        // Something else came to be: a directory with much of that costs a watch every so often.
        let mut ended = [PollFd::new(cancelled, PollFlags::IN)];
        if matches!(poll(&mut ended, Some(&timespec(BUSY))), Ok(1..)) {
            return Ok(false);
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) }
}

/// The deepest directory on the way to a path that is there.
fn deepest(root: &OwnedFd, path: &[u8]) -> io::Result<OwnedFd> {
    let mut way = path;
    loop {
        let end = way.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        way = &way[..end];
        match open(root, way, OFlags::PATH | OFlags::DIRECTORY) {
            Err(_) if !way.is_empty() => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc, thread};

    use super::*;

    #[test]
    fn a_path_that_comes_to_be_step_by_step_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let root: OwnedFd = fs::File::open(directory.path()).unwrap().into();
        let (cancelled, cancel) = io::pipe().unwrap();
        let (tell, told) = mpsc::channel();
        let hour = Duration::from_hours(1);
        thread::spawn(move || tell.send(watch(&root, b"/a/b/ready", &cancelled.into(), hour)));
        fs::create_dir_all(directory.path().join("a/b")).unwrap();
        fs::write(directory.path().join("a/b/other"), "").unwrap();
        fs::write(directory.path().join("ready.new"), "").unwrap();
        fs::rename(directory.path().join("ready.new"), directory.path().join("a/b/ready")).unwrap();
        assert!(told.recv_timeout(Duration::from_secs(20)).unwrap().unwrap());
        drop(cancel);
    }

    #[tokio::test]
    async fn what_cannot_be_watched_is_looked_at_until_it_is_there() {
        let (tell, mut told) = tokio::sync::mpsc::channel(4);
        let looks = std::cell::Cell::new(0);
        let look = async || {
            looks.set(looks.get() + 1);
            if looks.get() < 3 { Seen::not_yet("not there") } else { Seen::yes("there") }
        };
        let unwatched = Err(Seen::not_yet("too many watches"));
        tell_or_look(unwatched, look, Duration::from_millis(1), tell).await;
        assert_eq!(told.recv().await.unwrap().result, "too many watches");
        assert!(told.recv().await.unwrap().passed);
        assert_eq!(looks.get(), 3);
    }

    #[test]
    fn a_watch_that_nobody_needs_ends() {
        let directory = tempfile::tempdir().unwrap();
        let root: OwnedFd = fs::File::open(directory.path()).unwrap().into();
        let (cancelled, cancel) = io::pipe().unwrap();
        drop(cancel);
        assert!(!watch(&root, b"/x", &cancelled.into(), Duration::from_hours(1)).unwrap());
    }
}
