//! What the owner has to do with snapshots: when one may be taken, and which there are.

use std::path::PathBuf;

use pyro_core::SnapshotName;
use pyro_directory::PARTIAL;
use pyro_store::{Phase, SnapshotRecord, WorkspaceRecord};
use tokio::sync::watch;

use super::task::Owner;
use crate::{
    checkpoint::{BegunCopy, CopyJob, Copying, MOST_SNAPSHOTS},
    error::{WorkspaceError, state_unwritable},
    state::Refusal,
};

impl Owner {
    /// Refuses what needs a workspace that either runs or is stopped.
    pub(super) fn is_settled(&self) -> Result<(), WorkspaceError> {
        let id = self.record.id;
        if self.record.is_warm {
            return Err(WorkspaceError::Gone(id));
        }
        match self.record.phase {
            Phase::Started | Phase::Stopped => Ok(()),
            Phase::Creating | Phase::Starting => {
                Err(WorkspaceError::Refused { id, refusal: Refusal::Creating })
            }
            Phase::Stopping | Phase::Deleting => {
                Err(WorkspaceError::Refused { id, refusal: Refusal::Deleting })
            }
        }
    }

    pub(super) fn begin_snapshot(&mut self, name: SnapshotName) -> Result<CopyJob, WorkspaceError> {
        let id = self.record.id;
        self.is_settled()?;
        if self.copy_under_way().is_some() {
            return Err(WorkspaceError::Busy(id));
        }
        let snapshots = &self.record.checkpoints.snapshots;
        if snapshots.iter().any(|snapshot| snapshot.name == name) {
            return Err(WorkspaceError::SnapshotExists { id, name });
        }
        if snapshots.len() >= MOST_SNAPSHOTS {
            return Err(WorkspaceError::TooManySnapshots(id));
        }
        let layout = &self.context.layout;
        pyro_directory::Directory::create(layout.snapshots(id))
            .map_err(|error| state_unwritable(&error))?;
        let place = layout.snapshot(id, &name);
        // What a delete left whose file could not be removed.
        let _ = std::fs::remove_file(&place);
        Ok(self.copy_job(place))
    }

    /// A copy of what the disk is now, that is kept by nobody.
    pub(super) fn begin_copy(&mut self) -> Result<BegunCopy, WorkspaceError> {
        self.is_settled()?;
        if let Some(other) = self.copy_under_way() {
            return Ok(BegunCopy::AfterThat(other));
        }
        let place = self.context.layout.workspace(self.record.id).join("now.ext4");
        Ok(BegunCopy::Job(self.copy_job(place)))
    }

    fn copy_under_way(&self) -> Option<watch::Receiver<()>> {
        self.copying.as_ref().and_then(Copying::under_way)
    }

    fn copy_job(&mut self, place: PathBuf) -> CopyJob {
        let disk = self.context.layout.disk(self.record.id);
        let link = self.live.as_ref().map(|live| live.link.clone());
        let (job, copying) = CopyJob::new(disk, place, link);
        self.copying = Some(copying);
        job
    }

    pub(super) fn keep_snapshot(&mut self, snapshot: SnapshotRecord) -> Result<(), WorkspaceError> {
        self.change_checkpoints(|record| record.checkpoints.snapshots.push(snapshot))
    }

    pub(super) fn delete_snapshot(&mut self, name: &SnapshotName) -> Result<(), WorkspaceError> {
        let id = self.record.id;
        self.find_snapshot(name)?;
        self.change_checkpoints(|record| {
            record.checkpoints.snapshots.retain(|snapshot| snapshot.name != *name);
        })?;
        let place = self.context.layout.snapshot(id, name);
        match std::fs::remove_file(&place) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(WorkspaceError::file(place)(error))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn find_snapshot(
        &self,
        name: &SnapshotName,
    ) -> Result<&SnapshotRecord, WorkspaceError> {
        let mut snapshots = self.record.checkpoints.snapshots.iter();
        snapshots.find(|snapshot| snapshot.name == *name).ok_or_else(|| {
            WorkspaceError::SnapshotNotFound { id: self.record.id, name: name.to_string() }
        })
    }

    /// Changes the record, on disk first.
    pub(super) fn change_checkpoints(
        &mut self,
        change: impl FnOnce(&mut WorkspaceRecord),
    ) -> Result<(), WorkspaceError> {
        let mut record = self.record.clone();
        change(&mut record);
        record.last_activity_at = self.activity.last_millis();
        self.context.store.save_workspace_durably(&record)?;
        self.record = record;
        self.announce();
        Ok(())
    }

    /// Returns once nobody copies the disk: before a VM begins or ends to write to it.
    pub(super) async fn await_copy(&mut self) {
        if let Some(copying) = &mut self.copying {
            copying.is_over().await;
        }
    }

    /// The same, and nothing needs to come of it.
    pub(super) async fn give_up_copy(&mut self) {
        if let Some(copying) = &self.copying {
            copying.give_up();
        }
        self.await_copy().await;
    }

    /// Removes what copies left that a dead node was making, and snapshots that no record speaks of.
    pub(super) fn sweep_copies(&self) {
        let (id, layout) = (self.record.id, &self.context.layout);
        let known: Vec<_> = self
            .record
            .checkpoints
            .snapshots
            .iter()
            .map(|snapshot| layout.snapshot(id, &snapshot.name))
            .collect();
        let entries = |directory| std::fs::read_dir(directory).into_iter().flatten().flatten();
        let partial = entries(layout.workspace(id))
            .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(PARTIAL.as_bytes()));
        let strays = entries(layout.snapshots(id)).filter(|entry| !known.contains(&entry.path()));
        for entry in partial.chain(strays) {
            if let Err(error) = std::fs::remove_file(entry.path()) {
                tracing::warn!(workspace = %id, %error, "could not remove half a copy");
            }
        }
    }
}
