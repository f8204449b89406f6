//! The disks of a stopped workspace, read without starting it.
//!
//! Reading holds nobody up: a workspace may be started at any time, and then whoever reads is told that it
//! runs. The owner says so before there is a VM ([`Started::tell`]), and a reader looks after each read: what
//! was read while nobody had said so was read from disks that nobody wrote to.

use std::{
    fmt,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use pyro_core::{Problem, WorkspaceId};
use pyro_disk::{DiskError, Disks, Kind, Meta, Source, View};

use crate::{
    error::WorkspaceError,
    exec::InUseGuard,
    files::{FileKind, FilePart, Found},
    owner::{Handle, Request},
};

/// What is read of a disk at once where all of it is, bytes.
const PIECE: usize = 256 << 10;

/// Whether a workspace that was stopped was started meanwhile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Started(Arc<AtomicBool>);

impl Started {
    /// From now on its guest may write. Those who ask later have something of their own to look at.
    pub(crate) fn tell(&mut self) {
        std::mem::take(self).0.store(true, Ordering::SeqCst);
    }

    fn is_so(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A disk's file, until the workspace is started.
struct Held {
    file: File,
    started: Started,
}

impl Source for Held {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(&self.file, buffer, offset)?;
        if self.started.is_so() {
            return Err(io::Error::other("the workspace was started meanwhile"));
        }
        Ok(())
    }
}

/// Where the disks of a workspace are.
pub(crate) struct DiskFiles {
    pub(crate) root: PathBuf,
    pub(crate) seed: PathBuf,
    pub(crate) workspace: PathBuf,
}

/// The disks of a workspace that is stopped, in use for as long as this lives.
#[derive(Clone)]
pub struct Disk {
    id: WorkspaceId,
    disks: Disks,
    workspace: Arc<Held>,
    _in_use: Arc<InUseGuard>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Disk").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The workspace disk as it is, piece by piece.
#[derive(Debug)]
pub struct DiskImage {
    disk: Disk,
    /// Of the whole.
    pub size_bytes: u64,
    offset: u64,
    /// Where the file has something next; before it there are only zeros.
    data: u64,
    zeros: Bytes,
}

impl Handle {
    /// The disks, where the workspace is stopped.
    pub async fn disk(&self) -> Result<Disk, WorkspaceError> {
        let in_use = Arc::new(InUseGuard::new(self));
        let (started, record) = self.ask(|reply| Request::ReadDisks { reply }).await?;
        let files = self.context.platform.disk_files(&self.context.layout, &record).await?;
        let id = self.id;
        blocking(move || {
            let open = |path: PathBuf| {
                let file = File::open(path).map_err(|source| {
                    let source = DiskError::Read { what: "workspace's disks", source };
                    WorkspaceError::Disk { id, source }
                })?;
                Ok::<_, WorkspaceError>(Arc::new(Held { file, started: started.clone() }))
            };
            let workspace = open(files.workspace)?;
            let disks = Disks {
                root_image: open(files.root)?,
                seed_image: Some(open(files.seed)?),
                workspace_disk: workspace.clone(),
            };
            Ok(Disk { id, disks, workspace, _in_use: in_use })
        })
        .await
    }
}

impl Disk {
    /// Up to `most` of what is in a directory; a path that is none lists itself. Whether there is more.
    pub async fn list(
        &self,
        path: Vec<u8>,
        recursive: bool,
        most: u64,
    ) -> Result<(Vec<Found>, bool), WorkspaceError> {
        let listed = self.look(move |view| view.list(&path, recursive, most)).await?;
        Ok((listed.0.into_iter().map(found).collect(), listed.1))
    }

    /// Up to `most` bytes of a regular file, from there.
    pub async fn read(
        &self,
        path: Vec<u8>,
        offset: u64,
        most: usize,
    ) -> Result<FilePart, WorkspaceError> {
        let part = self.look(move |view| view.read(&path, offset, most)).await?;
        Ok(FilePart { found: found(part.found), offset: part.offset, content: part.content })
    }

    async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&View) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<T, WorkspaceError> {
        let disk = self.clone();
        blocking(move || {
            let looked = View::open(disk.disks.clone()).and_then(|view| work(&view));
            disk.judged(looked)
        })
        .await
    }

    /// The bytes of the disks.
    pub(crate) fn disks(&self) -> Disks {
        self.disks.clone()
    }

    /// What was read counts only where nobody wrote meanwhile, and so does what could not be read.
    pub(crate) fn judged<T>(&self, looked: Result<T, DiskError>) -> Result<T, WorkspaceError> {
        if self.workspace.started.is_so() {
            return Err(WorkspaceError::Running(self.id));
        }
        looked.map_err(|source| WorkspaceError::Disk { id: self.id, source })
    }

    /// All of the workspace disk.
    pub async fn image(self) -> Result<DiskImage, WorkspaceError> {
        blocking(move || {
            let length = self.workspace.file.metadata().map(|metadata| metadata.len());
            let size_bytes = self.judged(length.map_err(unread))?;
            let zeros = Bytes::from(vec![0; PIECE]);
            Ok(DiskImage { disk: self, size_bytes, offset: 0, data: 0, zeros })
        })
        .await
    }
}

fn unread(source: io::Error) -> DiskError {
    DiskError::Read { what: "workspace disk", source }
}

impl DiskImage {
    /// What comes next; none at the end. Where the file has holes, zeros are told without a look.
    pub async fn next(mut self) -> Result<Option<(Bytes, Self)>, WorkspaceError> {
        let left = self.size_bytes - self.offset;
        if left == 0 {
            return Ok(None);
        }
        let length = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        if self.offset + length as u64 <= self.data && !self.disk.workspace.started.is_so() {
            self.offset += length as u64;
            let zeros = self.zeros.slice(..length);
            return Ok(Some((zeros, self)));
        }
        blocking(move || {
            let held = &self.disk.workspace;
            let next = rustix::fs::seek(&held.file, rustix::fs::SeekFrom::Data(self.offset));
            let next = match next {
                Ok(next) => next,
                // Nothing but a hole up to the end.
                Err(rustix::io::Errno::NXIO) => self.size_bytes,
                // A file system that knows no holes.
                Err(_) => self.offset,
            };
            let bytes = if next >= self.offset + length as u64 {
                self.data = next;
                self.zeros.slice(..length)
            } else {
                let mut buffer = vec![0; length];
                let read = held.read_exact_at(&mut buffer, self.offset).map_err(unread);
                self.disk.judged(read)?;
                buffer.into()
            };
            self.disk.judged(Ok(()))?;
            self.offset += length as u64;
            Ok(Some((bytes, self)))
        })
        .await
    }
}

fn found(found: pyro_disk::Found) -> Found {
    found_at(found.path, found.meta)
}

pub(crate) fn found_at(path: Vec<u8>, meta: Meta) -> Found {
    let kind = match meta.kind {
        Kind::Regular => FileKind::Regular,
        Kind::Directory => FileKind::Directory,
        Kind::Symlink => FileKind::Symlink,
        Kind::Other => FileKind::Other,
    };
    Found {
        path,
        kind,
        size_bytes: if kind == FileKind::Directory { 0 } else { meta.size },
        mode: meta.mode,
        modified: meta.mtime,
        link_target: meta.link_target,
        uid: meta.uid,
        gid: meta.gid,
    }
}

/// Off the event loop. A panic in a reader of what a stranger wrote is no end of the node.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkspaceError> + Send + 'static,
) -> Result<T, WorkspaceError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
        tracing::error!(%panic, "a disk could not be read");
        Err(Problem::failed("disk_unreadable", "a disk could not be read").into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_after_a_start_does_not_count() {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&path, "content").unwrap();
        let mut owner = Started::default();
        let held =
            |owner: &Started| Held { file: File::open(&path).unwrap(), started: owner.clone() };
        let (before, mut buffer) = (held(&owner), [0; 7]);
        before.read_exact_at(&mut buffer, 0).unwrap();
        owner.tell();
        before.read_exact_at(&mut buffer, 0).unwrap_err();
        // It was stopped again.
        held(&owner).read_exact_at(&mut buffer, 0).unwrap();
        before.read_exact_at(&mut buffer, 0).unwrap_err();
    }
}
