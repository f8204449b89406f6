//! What can go wrong with a workspace, and how it is told.

use std::{io, path::PathBuf, time::Duration};

use pyro_core::{ExecId, Problem, SnapshotName, WorkspaceId, is_disk_full};
use pyro_disk::DiskError;
use pyro_link::LinkError;
use pyro_store::StoreError;

use crate::state::Refusal;

/// An operation on a workspace failed.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// Nothing is known by that reference.
    #[error("there is no workspace {0:?}")]
    NotFound(String),
    /// More than one is meant.
    #[error("{reference:?} could be any of {} workspaces", candidates.len())]
    Ambiguous {
        /// What was given.
        reference: String,
        /// Ids (and names) it fits.
        candidates: Vec<String>,
    },
    /// More than one exec is meant.
    #[error("{reference:?} could be any of {} execs of workspace {workspace}", candidates.len())]
    ExecAmbiguous {
        /// The workspace.
        workspace: WorkspaceId,
        /// What was given.
        reference: String,
        /// Ids it fits.
        candidates: Vec<String>,
    },
    /// No exec is known by that reference.
    #[error("workspace {workspace} has no exec {reference:?}")]
    ExecNotFound {
        /// The workspace.
        workspace: WorkspaceId,
        /// What was given.
        reference: String,
    },
    /// The exec has ended, so the request has no target.
    #[error("exec {0} has ended")]
    ExecEnded(ExecId),
    /// The workspace is stopped and was not to be started.
    #[error("workspace {0} is stopped")]
    Stopped(WorkspaceId),
    /// The workspace runs, and what was asked is for stopped ones.
    #[error("workspace {0} is running")]
    Running(WorkspaceId),
    /// A disk of a stopped workspace could not be read.
    #[error("cannot read the disks of workspace {id}")]
    Disk {
        /// The workspace.
        id: WorkspaceId,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// The phase does not allow it.
    #[error("cannot do that to workspace {id}")]
    Refused {
        /// The workspace.
        id: WorkspaceId,
        /// Why.
        #[source]
        refusal: Refusal,
    },
    /// The workspace's owner is gone: it was deleted meanwhile.
    #[error("workspace {0} was deleted meanwhile")]
    Gone(WorkspaceId),
    /// Metadata could not be kept.
    #[error("cannot keep the workspace's state")]
    Store(#[source] StoreError),
    /// A file of the workspace could not be written.
    #[error("cannot write {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The guest or its channel failed.
    #[error("cannot {operation}")]
    Guest {
        /// What was to be done.
        operation: &'static str,
        /// Why not.
        #[source]
        source: LinkError,
    },
    /// The VM could not be started.
    #[error("workspace {id} could not be started: {reason}")]
    Start {
        /// The workspace.
        id: WorkspaceId,
        /// In one line.
        reason: String,
        /// The last lines of the guest's console.
        console: Vec<String>,
    },
    /// A seed that a workspace is to begin with is not in the cache.
    #[error("there is no seed {0}")]
    SeedNotFound(pyro_image::Digest),
    /// Its disk is being copied.
    #[error("a snapshot of workspace {0} is being taken")]
    Busy(WorkspaceId),
    /// The name of a snapshot is taken.
    #[error("workspace {id} has a snapshot {name} already")]
    SnapshotExists {
        /// The workspace.
        id: WorkspaceId,
        /// The name.
        name: SnapshotName,
    },
    /// There is no such snapshot.
    #[error("workspace {id} has no snapshot {name:?}")]
    SnapshotNotFound {
        /// The workspace.
        id: WorkspaceId,
        /// What was given.
        name: String,
    },
    /// The bound of snapshots.
    #[error("workspace {0} has {most} snapshots already", most = crate::checkpoint::MOST_SNAPSHOTS)]
    TooManySnapshots(WorkspaceId),
    /// The baseline, and what is, are neither taken nor deleted.
    #[error(
        "{name} is no snapshot's name: baseline is what workspace {id} was when it was made, now what it is"
    )]
    SnapshotReserved {
        /// The workspace.
        id: WorkspaceId,
        /// What was given.
        name: SnapshotName,
    },
    /// The workspace was deleted while it was taken.
    #[error("the snapshot of workspace {0} was given up")]
    SnapshotGivenUp(WorkspaceId),
    /// Whoever writes could not be held up for so long.
    #[error("the disk of workspace {id} could not be copied within {} seconds", most.as_secs())]
    SnapshotTooSlow {
        /// The workspace.
        id: WorkspaceId,
        /// How long it may take.
        most: Duration,
    },
    /// Already told in full by a layer below.
    #[error("{0}")]
    Told(Problem),
}

impl From<StoreError> for WorkspaceError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Problem> for WorkspaceError {
    fn from(problem: Problem) -> Self {
        Self::Told(problem)
    }
}

impl WorkspaceError {
    pub(crate) fn guest(operation: &'static str) -> impl FnOnce(LinkError) -> Self {
        move |source| Self::Guest { operation, source }
    }

    /// Whether the guest never answered, as opposed to answering badly or being gone.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Self::Guest { source: LinkError::Silent(_), .. })
    }

    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path: path.into(), source }
    }
}

/// An error with its causes in one line.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        // A guest's causes came as text.
        if let Some(LinkError::Guest { causes, .. }) = cause.downcast_ref() {
            line = causes.iter().fold(line, |line, cause| format!("{line}: {cause}"));
        }
        source = cause.source();
    }
    line
}

/// The state directory does not take a file; a full disk is told as that.
pub(crate) fn state_unwritable(error: &(dyn std::error::Error + 'static)) -> Problem {
    if is_disk_full(error) {
        return Problem::from_error("host_disk_full", error)
            .hint("free space where the state directory is; `pyro df` shows what pyro uses");
    }
    Problem::from_error("state_unwritable", error)
        .hint("check the state directory's permissions and the disk's free space")
}

/// Why a disk was not read.
fn disk_unread(id: WorkspaceId, error: &DiskError) -> Problem {
    let text = error.to_string();
    match error {
        DiskError::NotFound(_) => Problem::not_found("file_not_found", text),
        DiskError::NotDirectory(_) => Problem::invalid("file_not_directory", text),
        DiskError::IsDirectory(_) => {
            Problem::invalid("file_is_directory", text).hint("list it, or name a file in it")
        }
        DiskError::NotRegular(_) => Problem::invalid("file_not_regular", text),
        DiskError::Loop(_) => Problem::invalid("invalid_path", text),
        DiskError::TooLarge(_) => Problem::invalid("file_too_large", text),
        DiskError::NeedsRecovery(_) => {
            Problem::conflict("disk_needs_recovery", text).hint(format!(
                "start it and stop it once: `pyro start {id}`, then `pyro workspace stop {id}`"
            ))
        }
        _ => Problem::from_error("disk_unreadable", error)
            .hint("`pyro workspace disk export` takes the disk out as it is"),
    }
}

/// What to do about what a guest has refused.
fn hint_of(code: &str) -> Option<&'static str> {
    Some(match code {
        "file_is_directory" => "list it, or name a file in it",
        "directory_not_empty" => "ask for what is in it to go too (--recursive)",
        "file_exists" => "ask for it to be replaced, or choose another name",
        "edit_text_not_found" => {
            "read the file: the text must be as it stands there, blanks and all"
        }
        "edit_text_ambiguous" => "give more of the text around it, or have all of them replaced",
        "workspace_disk_full" => "remove something; a new workspace may have a larger --disk-mib",
        _ => return None,
    })
}

impl From<WorkspaceError> for Problem {
    fn from(error: WorkspaceError) -> Self {
        match error {
            WorkspaceError::NotFound(reference) => Self::not_found(
                "workspace_not_found",
                format!("there is no workspace {reference:?}"),
            )
            .hint("`pyro ls` lists the workspaces there are"),
            WorkspaceError::Ambiguous { reference, candidates } => Self::invalid(
                "workspace_ambiguous",
                format!("{reference:?} could be any of: {}", candidates.join(", ")),
            )
            .hint("give more characters of the id, or the whole name"),
            WorkspaceError::ExecAmbiguous { workspace, reference, candidates } => Self::invalid(
                "exec_ambiguous",
                format!("{reference:?} could be any of: {}", candidates.join(", ")),
            )
            .hint(format!("give more characters of the id; `pyro ps -a {workspace}` lists all")),
            WorkspaceError::ExecNotFound { workspace, reference } => Self::not_found(
                "exec_not_found",
                format!("workspace {workspace} has no exec {reference:?}"),
            )
            .hint(format!("`pyro ps {workspace}` lists its execs")),
            WorkspaceError::SeedNotFound(digest) => {
                Self::not_found("seed_not_found", format!("there is no seed {digest}"))
                    .hint("its files are to be sent again: it was not used, and pruned")
            }
            WorkspaceError::ExecEnded(exec) => {
                Self::conflict("exec_ended", format!("exec {exec} has ended"))
            }
            WorkspaceError::Stopped(id) => {
                Self::conflict("workspace_stopped", format!("workspace {id} is stopped"))
                    .hint(format!("`pyro start {id}` starts it; without --no-start this verb does"))
            }
            WorkspaceError::Running(id) => {
                let text =
                    format!("workspace {id} is running: its disks change while they are read");
                Self::conflict("workspace_running", text).hint(format!(
                    "`pyro workspace stop {id}` stops it; `pyro file` reads while it runs"
                ))
            }
            WorkspaceError::Disk { id, source } => disk_unread(id, &source),
            WorkspaceError::Refused { id, refusal } => {
                let code = match refusal {
                    Refusal::Deleting => "workspace_deleting",
                    Refusal::Creating => "workspace_creating",
                    Refusal::Impossible { .. } => "internal_error",
                };
                Self::conflict(code, format!("workspace {id}: {refusal}"))
            }
            WorkspaceError::Gone(id) => {
                Self::not_found("workspace_not_found", format!("workspace {id} was deleted"))
            }
            WorkspaceError::Busy(_) => Self::conflict("workspace_busy", error.to_string())
                .hint("try again once it is taken"),
            WorkspaceError::SnapshotExists { .. } => {
                Self::conflict("snapshot_exists", error.to_string())
                    .hint("choose another name, or delete it: pyro snapshot delete WORKSPACE NAME")
            }
            WorkspaceError::SnapshotNotFound { .. } => {
                Self::not_found("snapshot_not_found", error.to_string())
                    .hint("`pyro snapshot list WORKSPACE` lists them")
            }
            WorkspaceError::TooManySnapshots(_) => {
                Self::conflict("too_many_snapshots", error.to_string())
                    .hint("delete some: pyro snapshot delete WORKSPACE NAME")
            }
            WorkspaceError::SnapshotReserved { .. } => {
                Self::invalid("snapshot_reserved", error.to_string())
                    .hint("choose another name; `pyro reset WORKSPACE` goes back to the baseline")
            }
            WorkspaceError::SnapshotGivenUp(_) => {
                Self::conflict("snapshot_given_up", error.to_string())
            }
            WorkspaceError::SnapshotTooSlow { .. } => Self::failed(
                "snapshot_too_slow",
                error.to_string(),
            )
            .hint(
                "stop the workspace first: a stopped one's snapshot may take as long as it takes",
            ),
            WorkspaceError::Store(store) => store.into(),
            WorkspaceError::Told(problem) => problem,
            WorkspaceError::File { .. } => state_unwritable(&error),
            WorkspaceError::Guest { source: LinkError::Guest { ref code, .. }, .. }
                if code == "unknown_call" =>
            {
                Self::conflict("workspace_outdated", error.to_string())
                    .cause("its guest was started by an older pyro")
                    .hint("stop the workspace, and start it")
            }
            WorkspaceError::Guest {
                source: LinkError::Guest { code, message, causes }, ..
            } => {
                let mut problem = match code.as_str() {
                    "command_not_found"
                    | "command_not_executable"
                    | "working_directory_not_found"
                    | "user_not_found"
                    | "invalid_exec"
                    | "invalid_service"
                    | "dependency_cycle"
                    | "dependency_not_found"
                    | "too_many_services"
                    | "service_too_large"
                    | "file_not_regular"
                    | "file_too_large"
                    | "file_is_directory"
                    | "file_not_directory"
                    | "invalid_path"
                    | "invalid_pattern"
                    | "edit_text_not_found"
                    | "edit_text_ambiguous" => Self::invalid(code, message),
                    _ if code.starts_with("patch_") || code.starts_with("archive_") => {
                        Self::invalid(code, message)
                    }
                    "exec_not_found" | "service_not_found" | "file_not_found" => {
                        Self::not_found(code, message)
                    }
                    "service_already_running"
                    | "service_not_running"
                    | "service_needed"
                    | "file_exists"
                    | "directory_not_empty"
                    | "file_read_only"
                    | "workspace_disk_full"
                    | "port_not_connected"
                    | "too_many_streams" => Self::conflict(code, message),
                    _ => Self::failed(code, message),
                };
                problem.causes = causes;
                match hint_of(&problem.code) {
                    Some(hint) => problem.hint(hint),
                    None => problem,
                }
            }
            WorkspaceError::Guest { source: LinkError::Oversized(_), .. } => {
                Self::invalid("request_too_large", error.to_string())
                    .hint("its command, environment and the like are 1 MiB together at most")
            }
            WorkspaceError::Guest { source: LinkError::Crowded(_), .. } => {
                let mut problem = Self::conflict("too_many_streams", error.to_string());
                if let Some(cause) = std::error::Error::source(&error) {
                    problem = problem.cause(cause);
                }
                problem.hint(
                    "end some of those that follow its commands or logs, or wait for services",
                )
            }
            WorkspaceError::Guest { .. } => Self::from_error("guest_unreachable", &error)
                .hint("`pyro status` tells whether the VM still runs"),
            WorkspaceError::Start { id, reason, console } => {
                let mut problem = Self::failed(
                    "workspace_start_failed",
                    format!("workspace {id} could not be started: {reason}"),
                );
                problem.causes = console;
                problem.hint("`pyro doctor` checks what this host can run")
            }
        }
    }
}
