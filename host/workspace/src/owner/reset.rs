//! The way back: a disk is made beside the one there is, takes its place while no VM runs, and is
//! started on. The old one stays until that has gone well.
//!
//! ```text
//! announced   the record says that there is a reset          undone
//! copied      next.ext4 is whole                             undone while the VM runs, else finished
//! stopped     no VM                                          finished
//! swapped     last.ext4 is the old disk, disk.ext4 the new   finished
//! started     the guest is ready on the new disk             finished
//! ```
//!
//! What the next node does where this one dies stands at the right. How far a swap came is told by which
//! of the three files there are. Whatever fails before the guest is ready gives the old disk back.

use std::{io, path::Path};

use futures::{StreamExt, stream};
use pyro_core::{ServiceName, SnapshotName};
use pyro_store::{Phase, ResetRecord};
use pyro_wire::ListServices;

use super::{
    handle::{Live, StopReason},
    task::Owner,
};
use crate::{
    checkpoint::{WasReset, copy_disk, reset_failed},
    error::WorkspaceError,
    exec::GRACE,
    registry::now_millis,
    service::{all_told, remove_log},
};

/// Calls at once that have a guest forget.
const AT_ONCE: usize = 16;

/// Why a service ended that is to run again when its workspace does.
const WITH_WORKSPACE: [&str; 6] = [
    "workspace_stopped",
    "vm_died",
    "guest_crashed",
    "vm_killed",
    "keeper_killed",
    "host_restarted",
];

impl Owner {
    pub(super) async fn reset(
        &mut self,
        name: Option<SnapshotName>,
        resume: bool,
    ) -> Result<WasReset, WorkspaceError> {
        self.is_settled()?;
        let snapshot = name.as_ref().map(|name| self.find_snapshot(name)).transpose()?.cloned();
        self.await_copy().await;
        // Of one before that could not be ended.
        self.reconcile_reset().await;
        let reset = ResetRecord {
            snapshot: name.clone(),
            resume,
            was_started: self.live.is_some(),
            services: Vec::new(),
        };
        self.change_checkpoints(|record| record.checkpoints.reset = Some(reset))?;
        self.context.crash.reached("reset:announced");
        let copied = self.make_next_disk(name.as_ref()).await;
        if let Err(error) = copied {
            self.abandon_reset();
            return Err(error);
        }
        self.context.crash.reached("reset:copied");
        let services = if resume { self.services_that_ran() } else { Vec::new() };
        let noted = self.change_checkpoints(|record| {
            if let Some(reset) = &mut record.checkpoints.reset {
                reset.services = services;
            }
        });
        let stopped = match noted {
            Ok(()) if self.live.is_some() => self.stop(GRACE, StopReason::Requested).await,
            noted => noted,
        };
        if let Err(error) = stopped {
            self.abandon_reset();
            return Err(error);
        }
        self.context.crash.reached("reset:stopped");
        self.finish_reset().await?;
        Ok(WasReset { workspace: self.snapshot(), snapshot })
    }

    async fn make_next_disk(&self, name: Option<&SnapshotName>) -> Result<(), WorkspaceError> {
        let (id, layout) = (self.record.id, &self.context.layout);
        let next = layout.next_disk(id);
        // Of a reset that could not be undone wholly.
        let _ = std::fs::remove_file(&next);
        match name {
            None => self.context.platform.create_workspace_disk(next, self.record.disk).await,
            Some(name) => copy_disk(layout.snapshot(id, name), next).await,
        }
    }

    /// Those that run again when the workspace does.
    fn services_that_ran(&self) -> Vec<ServiceName> {
        let services = self.context.store.services(self.record.id).unwrap_or_default();
        let ran = services.into_iter().filter(|service| {
            service.state.is_active()
                || service.stop_reason.as_deref().is_some_and(|why| WITH_WORKSPACE.contains(&why))
        });
        ran.map(|service| service.name).collect()
    }

    /// From a stopped workspace with its new disk beside it, however far the swap came.
    async fn finish_reset(&mut self) -> Result<(), WorkspaceError> {
        let Some(reset) = self.record.checkpoints.reset.clone() else { return Ok(()) };
        let started = match self.swap_disks() {
            Ok(()) => {
                self.context.crash.reached("reset:swapped");
                self.ensure_started(reset.resume).await.map(drop)
            }
            Err(error) => Err(error),
        };
        match started {
            Ok(()) => {
                self.context.crash.reached("reset:started");
                self.commit_reset(&reset).await
            }
            Err(error) => {
                self.abandon_reset();
                if reset.was_started
                    && let Err(error) = self.ensure_started(true).await
                {
                    tracing::warn!(workspace = %self.record.id, %error, "could not start it again");
                }
                Err(reset_failed(self.record.id, error).into())
            }
        }
    }

    fn swap_disks(&self) -> Result<(), WorkspaceError> {
        let (id, layout) = (self.record.id, &self.context.layout);
        let (disk, next, last) = (layout.disk(id), layout.next_disk(id), layout.last_disk(id));
        swap(&disk, &next, &last).map_err(WorkspaceError::file(disk))
    }

    /// Gives the old disk back, where it has gone, and forgets that there was to be a reset.
    fn abandon_reset(&mut self) {
        let (id, layout) = (self.record.id, &self.context.layout);
        let (disk, next, last) = (layout.disk(id), layout.next_disk(id), layout.last_disk(id));
        let undone = swap_back(&disk, &next, &last)
            .map_err(WorkspaceError::file(disk))
            .and_then(|()| self.change_checkpoints(|record| record.checkpoints.reset = None));
        if let Err(error) = undone {
            // It is tried again by the next node.
            tracing::error!(workspace = %id, %error, "could not undo a reset");
        }
    }

    /// The guest is ready on its new disk: what was before is forgotten.
    async fn commit_reset(&mut self, reset: &ResetRecord) -> Result<(), WorkspaceError> {
        let id = self.record.id;
        let gone = match self.live.clone() {
            Some(live) => forget_in_guest(&live, &reset.services).await,
            None => Vec::new(),
        };
        for name in gone {
            self.context.store.remove_service(id, &name)?;
            remove_log(&self.context.layout.service_log(id, &name));
            self.set_ports(&name, Vec::new()).await;
        }
        self.context.store.remove_execs(id)?;
        let outputs = std::fs::read_dir(self.context.layout.execs(id));
        for output in outputs.into_iter().flatten().flatten() {
            let _ = std::fs::remove_file(output.path());
        }
        self.change_checkpoints(|record| {
            record.command_count = 0;
            record.last_command = None;
            record.checkpoints.reset = None;
            record.checkpoints.reset_count += 1;
            record.checkpoints.last_reset_at = Some(now_millis());
        })?;
        self.remove_spare_disks();
        self.exec_ends.send_modify(|ends| *ends += 1);
        Ok(())
    }

    fn remove_spare_disks(&self) {
        let (id, layout) = (self.record.id, &self.context.layout);
        for spare in [layout.next_disk(id), layout.last_disk(id)] {
            match std::fs::remove_file(spare) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(workspace = %id, %error, "could not remove a disk");
                }
                _ => {}
            }
        }
    }

    /// After a node died, once it is known whether a VM lives: finishes or undoes what it had begun.
    pub(super) async fn reconcile_reset(&mut self) {
        let Some(reset) = self.record.checkpoints.reset.clone() else {
            self.remove_spare_disks();
            return;
        };
        let (id, layout) = (self.record.id, &self.context.layout);
        let (next, last) = (layout.next_disk(id).exists(), layout.last_disk(id).exists());
        let done = match self.record.phase {
            Phase::Started if last => self.commit_reset(&reset).await,
            Phase::Stopped if last || next => self.finish_reset().await,
            _ => {
                self.abandon_reset();
                Ok(())
            }
        };
        if let Err(error) = done {
            tracing::warn!(workspace = %id, %error, "could not finish a reset");
        }
    }
}

/// Puts the next disk into the place of the one there is, which becomes the last; safe to repeat.
fn swap(disk: &Path, next: &Path, last: &Path) -> io::Result<()> {
    if !last.exists() {
        std::fs::rename(disk, last)?;
    }
    if next.exists() {
        std::fs::rename(next, disk)?;
    }
    sync_directory(disk)
}

/// Undoes that, however far it came; safe to repeat.
fn swap_back(disk: &Path, next: &Path, last: &Path) -> io::Result<()> {
    if last.exists() {
        std::fs::rename(last, disk)?;
    }
    match std::fs::remove_file(next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    sync_directory(disk)
}

fn sync_directory(file: &Path) -> io::Result<()> {
    std::fs::File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Has a guest forget its commands, and services that did not run; gives those.
async fn forget_in_guest(live: &Live, keep: &[ServiceName]) -> Vec<ServiceName> {
    let link = &live.link;
    let execs = link.list_execs().await.unwrap_or_default();
    stream::iter(execs)
        .for_each_concurrent(AT_ONCE, |exec| async move {
            if let Err(error) = link.forget_exec(exec.exec_id).await {
                tracing::debug!(%error, "a command was not forgotten");
            }
        })
        .await;
    let listed = link.list_services(ListServices::default()).await;
    let services = listed.map(|list| all_told(&list)).unwrap_or_default();
    let mut left: Vec<_> = services
        .into_iter()
        .filter(|service| !service.state.is_active() && !keep.contains(&service.name))
        .map(|service| service.name)
        .collect();
    let mut gone = Vec::new();
    // Those that others need go after them.
    loop {
        let mut needed = Vec::new();
        let before = left.len();
        for name in left {
            match link.delete_service(name.to_string()).await {
                Ok(()) => gone.push(name),
                Err(error) => {
                    tracing::debug!(service = %name, %error, "a service was not forgotten");
                    needed.push(name);
                }
            }
        }
        if needed.is_empty() || needed.len() == before {
            return gone;
        }
        left = needed;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_swap_that_was_cut_off_anywhere_can_be_finished_and_undone() {
        // Which of disk, next and last there are, with what they hold.
        for state in [["old", "new", ""], ["", "new", "old"], ["new", "", "old"]] {
            for undo in [false, true] {
                let home = tempfile::tempdir().unwrap();
                let [disk, next, last] =
                    ["disk", "next", "last"].map(|name| home.path().join(name));
                for (path, text) in [&disk, &next, &last].into_iter().zip(state) {
                    if !text.is_empty() {
                        fs::write(path, text).unwrap();
                    }
                }
                for _ in 0..2 {
                    let act = if undo { swap_back } else { swap };
                    act(&disk, &next, &last).unwrap();
                }
                let holds = if undo { "old" } else { "new" };
                assert_eq!(fs::read_to_string(&disk).unwrap(), holds, "{state:?}");
                assert!(!next.exists());
                assert_eq!(last.exists(), !undo);
            }
        }
    }
}
