//! What is different between two moments of a workspace: what it was when it was made, its snapshots, what
//! it is.
//!
//! A running guest tells what became of the baseline by itself. Everything else is read on the host from
//! the disks, without a VM: a snapshot's, a stopped workspace's, and where a guest runs, a copy of its disk
//! that is as consistent as a snapshot and has no name. Refuses to know how a disk is read
//! (`pyro_disk`) and what a difference is (`pyro_change`).

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use pyro_change::{Change, Layer, Options, Side, Tree, changes};
use pyro_core::SnapshotName;
use pyro_disk::{DiskError, Disks, Source, View};

use crate::{
    checkpoint::{BASELINE, BegunCopy, NOW},
    disk::{Disk, DiskFiles, blocking, found_at},
    error::WorkspaceError,
    exec::InUseGuard,
    files::{Changed, Difference, MOST_TEXT},
    owner::{Handle, Request},
};

/// What a workspace was once, or is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Moment {
    /// When it was made.
    Baseline,
    /// When a snapshot was taken.
    Snapshot(SnapshotName),
    /// It is.
    Now,
}

impl From<SnapshotName> for Moment {
    fn from(name: SnapshotName) -> Self {
        match name.as_str() {
            BASELINE => Self::Baseline,
            NOW => Self::Now,
            _ => Self::Snapshot(name),
        }
    }
}

/// What is different.
#[derive(Debug)]
pub struct Compared {
    /// By path.
    pub changes: Vec<Changed>,
    /// There is more.
    pub truncated: bool,
    /// The workspace was stopped, and was started for this.
    pub started_workspace: bool,
}

/// A file that is read for as long as somebody waits for what comes of it.
struct Watched {
    file: File,
    given_up: Arc<AtomicBool>,
}

impl Source for Watched {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.given_up.load(Ordering::Relaxed) {
            return Err(io::Error::other("nobody waits for it any more"));
        }
        FileExt::read_exact_at(&self.file, buffer, offset)
    }
}

/// Says so when nobody waits any more.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Where a moment is read from.
enum Opened {
    /// The seed alone.
    Baseline(Disks),
    /// What nobody writes to.
    Still(Disks),
    /// What is still for as long as the workspace is stopped.
    Stopped(Disk),
}

impl Opened {
    fn view(&self) -> Result<View, DiskError> {
        View::open(match self {
            Self::Baseline(disks) | Self::Still(disks) => disks.clone(),
            Self::Stopped(disk) => disk.disks(),
        })
    }
}

impl Handle {
    /// What became of `/workspace` from one moment to another. It is started where nothing else shows what
    /// it is, if that is allowed.
    pub async fn compare(
        &self,
        from: Moment,
        to: Moment,
        wanted: Difference,
        no_start: bool,
    ) -> Result<Compared, WorkspaceError> {
        if (&from, &to) == (&Moment::Baseline, &Moment::Now) && self.snapshot().live.is_some() {
            let files = self.files(no_start).await?;
            let (changes, truncated) = files.changes(wanted).await?;
            let started_workspace = files.started_workspace;
            return Ok(Compared { changes, truncated, started_workspace });
        }
        let _in_use = InUseGuard::new(self);
        loop {
            match self.compare_disks(&from, &to, &wanted).await {
                // It was stopped when its disk was opened, and there is another way to look at one that
                // runs.
                Err(WorkspaceError::Running(_)) => {}
                compared => return compared,
            }
        }
    }

    async fn compare_disks(
        &self,
        from: &Moment,
        to: &Moment,
        wanted: &Difference,
    ) -> Result<Compared, WorkspaceError> {
        let given_up = Arc::new(AtomicBool::new(false));
        let _waiting = Waiting(given_up.clone());
        let was = self.open_moment(from, &given_up).await?;
        let is = self.open_moment(to, &given_up).await?;
        let (id, wanted) = (self.id, wanted.clone());
        blocking(move || {
            let compared = differences(&is, &was, &wanted);
            for opened in [&is, &was] {
                if let Opened::Stopped(disk) = opened {
                    disk.judged(Ok(()))?;
                }
            }
            let (changes, truncated) =
                compared.map_err(|source| WorkspaceError::Disk { id, source })?;
            Ok(Compared { changes, truncated, started_workspace: false })
        })
        .await
    }

    async fn open_moment(
        &self,
        moment: &Moment,
        given_up: &Arc<AtomicBool>,
    ) -> Result<Opened, WorkspaceError> {
        let id = self.id;
        let disk = match moment {
            Moment::Baseline => None,
            Moment::Snapshot(name) => {
                let not_found = || WorkspaceError::SnapshotNotFound { id, name: name.to_string() };
                let snapshots = &self.snapshot().record.checkpoints.snapshots;
                if !snapshots.iter().any(|snapshot| snapshot.name == *name) {
                    return Err(not_found());
                }
                let place = self.context.layout.snapshot(id, name);
                Some(File::open(place).map_err(|error| match error.kind() {
                    // It was deleted since.
                    io::ErrorKind::NotFound => not_found(),
                    _ => unread(self, error),
                })?)
            }
            Moment::Now => match self.disk().await {
                Ok(disk) => return Ok(Opened::Stopped(disk)),
                Err(WorkspaceError::Running(_)) => Some(self.copy_of_now().await?),
                Err(error) => return Err(error),
            },
        };
        let record = &self.snapshot().record;
        let files = self.context.platform.disk_files(&self.context.layout, record).await?;
        let DiskFiles { root, seed, workspace } = files;
        let open = |path| File::open(path).map_err(|error| unread(self, error));
        let watched =
            |file| -> Arc<dyn Source> { Arc::new(Watched { file, given_up: given_up.clone() }) };
        let is_baseline = disk.is_none();
        let disk = disk.map_or_else(|| open(workspace), Ok)?;
        let disks = Disks {
            root_image: watched(open(root)?),
            seed_image: Some(watched(open(seed)?)),
            workspace_disk: watched(disk),
        };
        Ok(if is_baseline { Opened::Baseline(disks) } else { Opened::Still(disks) })
    }

    /// The disk of a guest that runs, as it is.
    async fn copy_of_now(&self) -> Result<File, WorkspaceError> {
        let handle = self.clone();
        // To its end also where nobody waits: a guest that is held up is let go by who held it.
        let copying = self.context.tasks.spawn(async move {
            loop {
                match handle.ask(|reply| Request::BeginCopy { reply }).await? {
                    BegunCopy::Job(job) => return job.unnamed(&handle).await,
                    BegunCopy::AfterThat(mut other) => while other.changed().await.is_ok() {},
                }
            }
        });
        copying.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

fn unread(handle: &Handle, source: io::Error) -> WorkspaceError {
    let source = DiskError::Read { what: "workspace's disks", source };
    WorkspaceError::Disk { id: handle.id, source }
}

fn differences(
    is: &Opened,
    was: &Opened,
    wanted: &Difference,
) -> Result<(Vec<Changed>, bool), DiskError> {
    let (is_view, was_view) = (is.view()?, was.view()?);
    let trees = [(is, &is_view), (was, &was_view)].map(|(opened, view)| {
        let whole = matches!(opened, Opened::Baseline(_));
        let tree = if whole { view.baseline() } else { view.workspace() };
        (tree, (!whole).then(|| view.workspace_layer()))
    });
    let [now, was] = trees.each_ref().map(|(tree, layer)| Side {
        merged: tree as &dyn Tree,
        layer: layer.as_ref().map(|layer| layer as &dyn Layer),
    });
    let options = Options {
        paths: wanted.paths.clone(),
        renames: wanted.renames,
        patches: wanted.patches,
        most_patch_bytes: wanted.most_patch_bytes,
        most_patches_bytes: wanted.most_patches_bytes,
        digests: wanted.digests,
        most_entries: wanted.most_entries,
    };
    let (mut told, mut text, mut is_too_much) = (Vec::new(), 0, false);
    let mut tell = |change: Change| {
        text += change.path.len() + 200;
        if text > MOST_TEXT {
            is_too_much = true;
            return Err(io::Error::other("that is enough"));
        }
        told.push(changed(change));
        Ok(())
    };
    let tally = changes(now, was, &options, &mut tell);
    in_order(&mut told);
    match tally {
        Ok(tally) => Ok((told, tally.truncated)),
        Err(_) if is_too_much => Ok((told, true)),
        Err(error) => Err(error
            .downcast::<DiskError>()
            .unwrap_or_else(|source| DiskError::Read { what: "workspace's disks", source })),
    }
}

/// Depth first, siblings by their bytes.
pub(crate) fn in_order(changes: &mut [Changed]) {
    let names = |change: &Changed| {
        change.path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    if !changes.is_sorted_by_key(names) {
        changes.sort_by_cached_key(names);
    }
}

fn changed(change: Change) -> Changed {
    let path = change.path;
    let old_path = change.old_path.unwrap_or_else(|| path.clone());
    Changed {
        status: change.status,
        now: change.now.map(|meta| found_at(path.clone(), meta)),
        was: change.was.map(|meta| found_at(old_path, meta)),
        path,
        now_digest: change.now_digest.map(Vec::from),
        was_digest: change.was_digest.map(Vec::from),
        binary: change.binary,
        patch: change.patch,
        patch_left_out: change.patch_left_out,
    }
}
