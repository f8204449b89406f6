//! Snapshots of a workspace's disk, and the way back to them.
//!
//! A snapshot is a copy of the whole disk. It is taken beside the owner, which only says when it may
//! begin and keeps what came of it; the guest holds up whoever writes meanwhile. Refuses to know how a
//! disk is copied (`pyro_directory`), and what a reset does in which order (`owner/reset.rs`).

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pyro_core::{Problem, SnapshotName, WorkspaceId};
use pyro_directory::{DirectoryError, SparseCopy, copy_sparse};
use pyro_link::Link;
use pyro_store::SnapshotRecord;
use tokio::sync::watch;

use crate::{
    error::{WorkspaceError, state_unwritable},
    exec::InUseGuard,
    owner::{Handle, Request, Snapshot},
    platform::blocking,
    registry::now_millis,
};

/// Snapshots of one workspace.
pub(crate) const MOST_SNAPSHOTS: usize = 64;

/// What a workspace was when it was made goes by this name.
pub const BASELINE: &str = "baseline";

/// And by this what it is.
pub const NOW: &str = "now";

/// How long whoever writes to the disk may be held up.
const LONGEST_FREEZE: Duration = Duration::from_secs(90);

/// A copy of the disk that is being made, to the owner.
#[derive(Debug)]
pub(crate) struct Copying {
    given_up: Arc<AtomicBool>,
    over: watch::Receiver<()>,
    claim: watch::Receiver<()>,
}

/// Until something has come of a copy, no other is begun.
pub(crate) type Claim = Arc<watch::Sender<()>>;

impl Copying {
    /// Whether nothing has come of it yet: what tells when something has.
    pub(crate) fn under_way(&self) -> Option<watch::Receiver<()>> {
        self.claim.has_changed().is_ok().then(|| self.claim.clone())
    }

    /// Has it given up.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Returns once nobody reads the disk for it any more.
    pub(crate) async fn is_over(&mut self) {
        while self.over.changed().await.is_ok() {}
    }
}

/// A copy of the disk that is to be made.
#[derive(Debug)]
pub(crate) struct CopyJob {
    disk: PathBuf,
    place: PathBuf,
    /// None: no VM writes to the disk.
    link: Option<Link>,
    given_up: Arc<AtomicBool>,
    /// Its end says that the disk is not read any more.
    reading: watch::Sender<()>,
    claim: Claim,
}

/// What comes of asking for a copy.
#[derive(Debug)]
pub(crate) enum BegunCopy {
    Job(CopyJob),
    /// Another is being made; its end is when this is closed.
    AfterThat(watch::Receiver<()>),
}

/// A copy as it was made, which has no name yet.
struct Made {
    copy: SparseCopy,
    created_at: u64,
    frozen_micros: u64,
}

impl CopyJob {
    pub(crate) fn new(disk: PathBuf, place: PathBuf, link: Option<Link>) -> (Self, Copying) {
        let given_up = Arc::new(AtomicBool::new(false));
        let (reading, over) = watch::channel(());
        let (claim, claimed) = watch::channel(());
        let copying = Copying { given_up: given_up.clone(), over, claim: claimed };
        let claim = Arc::new(claim);
        (Self { disk, place, link, given_up, reading, claim }, copying)
    }

    pub(crate) fn claim(&self) -> Claim {
        self.claim.clone()
    }

    /// Makes it and gives it its name; what fails leaves nothing.
    async fn keep(
        self,
        handle: &Handle,
        name: SnapshotName,
    ) -> Result<SnapshotRecord, WorkspaceError> {
        let place = self.place.clone();
        let made = self.make(handle).await?;
        // What was copied is of that moment; that it gets to the disk holds nobody up.
        let disk = keep_copy(made.copy, place.clone()).await.inspect_err(|_| {
            let _ = std::fs::remove_file(place);
        })?;
        Ok(SnapshotRecord {
            name,
            created_at: made.created_at,
            entries: disk.entries,
            bytes: disk.bytes,
            frozen_micros: made.frozen_micros,
            by_reflink: disk.by_reflink,
        })
    }

    /// Makes it, to be read and never kept.
    pub(crate) async fn unnamed(self, handle: &Handle) -> Result<File, WorkspaceError> {
        let copy = self.make(handle).await?.copy;
        Ok(copy.into_unnamed().map_err(|error| state_unwritable(&error))?)
    }

    async fn make(self, handle: &Handle) -> Result<Made, WorkspaceError> {
        let crash = &handle.context.crash;
        let frozen = match &self.link {
            None => None,
            Some(link) => {
                let frozen = link.freeze_disk(LONGEST_FREEZE).await;
                Some(frozen.map_err(WorkspaceError::guest("freeze the workspace disk"))?)
            }
        };
        crash.reached("snapshot:frozen");
        let created_at = now_millis();
        let copied = begin_copy(self.disk, self.place, self.given_up).await;
        crash.reached("snapshot:copied");
        let thawed = match frozen {
            None => None,
            Some(frozen) => {
                let thawed = frozen.thaw().await;
                Some(thawed.map_err(WorkspaceError::guest("thaw the workspace disk"))?)
            }
        };
        drop(self.reading);
        let copy = copied?.ok_or(WorkspaceError::SnapshotGivenUp(handle.id))?;
        if thawed.as_ref().is_some_and(|thawed| thawed.expired) {
            return Err(WorkspaceError::SnapshotTooSlow { id: handle.id, most: LONGEST_FREEZE });
        }
        Ok(Made { copy, created_at, frozen_micros: thawed.map_or(0, |thawed| thawed.micros) })
    }
}

/// A disk that was copied.
struct CopiedDisk {
    entries: u64,
    bytes: u64,
    by_reflink: bool,
}

/// Copies a disk to where it has no name yet; none where it was given up.
async fn begin_copy(
    from: PathBuf,
    to: PathBuf,
    given_up: Arc<AtomicBool>,
) -> Result<Option<SparseCopy>, WorkspaceError> {
    blocking(move || {
        let mut goes_on = |_| !given_up.load(Ordering::Relaxed);
        match SparseCopy::make(&from, &to, &mut goes_on) {
            Ok(copy) => Ok(Some(copy)),
            Err(DirectoryError::GivenUp { .. }) => Ok(None),
            Err(error) => Err(state_unwritable(&error)),
        }
    })
    .await
}

/// Gives a copy its name, on disk.
async fn keep_copy(copy: SparseCopy, to: PathBuf) -> Result<CopiedDisk, WorkspaceError> {
    blocking(move || {
        let copied = copy.keep().map_err(|error| state_unwritable(&error))?;
        let entries = entries(&to).map_err(|error| state_unwritable(&error))?;
        Ok(CopiedDisk { entries, bytes: copied.allocated, by_reflink: copied.by_reflink })
    })
    .await
}

/// Copies a disk, whole or not at all.
pub(crate) async fn copy_disk(from: PathBuf, to: PathBuf) -> Result<(), WorkspaceError> {
    blocking(move || {
        let copied = copy_sparse(&from, &to, &mut |_| true);
        copied.map(drop).map_err(|error| state_unwritable(&error))
    })
    .await
}

/// Inodes in use of an ext4, by its superblock (Linux, Documentation/filesystems/ext4/super.rst).
fn entries(disk: &Path) -> std::io::Result<u64> {
    const SUPERBLOCK: u64 = 1024;
    let mut start = [0; 20];
    File::open(disk)?.read_exact_at(&mut start, SUPERBLOCK)?;
    let word = |at: usize| {
        u64::from(u32::from_le_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]))
    };
    Ok(word(0).saturating_sub(word(16)))
}

/// A workspace that was reset.
#[derive(Clone, Debug)]
pub struct WasReset {
    /// As it stands now.
    pub workspace: Arc<Snapshot>,
    /// What it was reset to; none: what it was when it was made.
    pub snapshot: Option<SnapshotRecord>,
}

fn named(id: WorkspaceId, name: &SnapshotName) -> Result<(), WorkspaceError> {
    match name.as_str() {
        BASELINE | NOW => Err(WorkspaceError::SnapshotReserved { id, name: name.clone() }),
        _ => Ok(()),
    }
}

impl Handle {
    /// Takes a snapshot of its disk, whether it runs or not. It is taken to its end also where nobody
    /// waits for it any more.
    pub async fn create_snapshot(
        &self,
        name: SnapshotName,
    ) -> Result<SnapshotRecord, WorkspaceError> {
        named(self.id, &name)?;
        let in_use = InUseGuard::new(self);
        let handle = self.clone();
        let taking = self.context.tasks.spawn(async move {
            let _in_use = in_use;
            let begin = name.clone();
            let job = handle.ask(|reply| Request::BeginSnapshot { name: begin, reply }).await?;
            let _claim = job.claim();
            let record = job.keep(&handle, name).await?;
            let place = handle.context.layout.snapshot(handle.id, &record.name);
            let kept = record.clone();
            match handle.ask(|reply| Request::KeepSnapshot { record: kept, reply }).await {
                Ok(()) => Ok(record),
                Err(error) => {
                    let _ = std::fs::remove_file(place);
                    Err(error)
                }
            }
        });
        taking.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// Deletes a snapshot.
    pub async fn delete_snapshot(&self, name: SnapshotName) -> Result<(), WorkspaceError> {
        named(self.id, &name)?;
        self.ask(|reply| Request::DeleteSnapshot { name, reply }).await
    }

    /// Gives it the disk of a snapshot, or a fresh one, and starts it. With `resume`, services that
    /// ran run again. Where that fails it is as it was. It is done to its end also where nobody waits
    /// for it any more.
    pub async fn reset(
        &self,
        snapshot: SnapshotName,
        resume: bool,
    ) -> Result<WasReset, WorkspaceError> {
        let _in_use = InUseGuard::new(self);
        let snapshot = Some(snapshot).filter(|name| name.as_str() != BASELINE);
        self.ask(|reply| Request::Reset { snapshot, resume, reply }).await
    }
}

/// What of a reset's failure is told.
pub(crate) fn reset_failed(id: WorkspaceId, why: WorkspaceError) -> Problem {
    let why = Problem::from(why);
    let mut problem = Problem::failed(
        "reset_failed",
        format!("workspace {id} could not be started on its new disk, and has its old one again"),
    )
    .cause(&why.message);
    problem.causes.extend(why.causes);
    problem.hint("another snapshot, or `baseline`, may start: `pyro snapshot list WORKSPACE`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inodes_in_use_are_read_from_the_superblock() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("disk");
        let mut bytes = vec![0; 4096];
        bytes[1024..1028].copy_from_slice(&1000_u32.to_le_bytes());
        bytes[1040..1044].copy_from_slice(&958_u32.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(entries(&path).unwrap(), 42);
    }
}
