//! What can go wrong between a client and the node.

use std::{io, path::PathBuf};

use pyro_core::{ExecId, Kind, Problem, WorkspaceId};
use pyro_directory::DirectoryError;

/// A call to the node failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The state directory cannot be used.
    #[error("the state directory cannot be used")]
    State {
        /// Why.
        #[source]
        source: DirectoryError,
    },
    /// No node runs, and none may be started.
    #[error("no node is running in {state}")]
    NotRunning {
        /// The state directory.
        state: PathBuf,
    },
    /// There is a node, but its socket cannot be used.
    #[error("the node cannot be reached")]
    Connect {
        /// Why.
        #[source]
        source: DirectoryError,
    },
    /// Waiting for the right to start a node failed.
    #[error("cannot take the right to start a node")]
    StartLock {
        /// Why.
        #[source]
        source: DirectoryError,
    },
    /// The node's program could not be started.
    #[error("cannot start a node with {program}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The node ended before it was ready, without a word.
    #[error("the node ended before it was ready")]
    StartEnded {
        /// What it printed.
        log: PathBuf,
    },
    /// The node did not become ready in time.
    #[error("the node was not ready after {seconds} s")]
    StartTimeout {
        /// How long the client waited, seconds.
        seconds: u64,
        /// What it printed.
        log: PathBuf,
    },
    /// The node answered with a problem, or said one while it started.
    #[error("{}", .problem.message)]
    Refused {
        /// What it said.
        problem: Problem,
    },
    /// The connection broke before the answer was complete.
    #[error("the connection to the node was lost during {call}")]
    Lost {
        /// The method and route.
        call: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The connection of an exec broke before the command's end was known.
    #[error("the connection to the node was lost")]
    StreamLost {
        /// The exec, as far as it is known.
        exec: Option<(WorkspaceId, ExecId)>,
        /// Why; `None` when the node just closed it.
        #[source]
        source: Option<io::Error>,
    },
    /// The answer is not what this client understands.
    #[error("the node's answer to {call} is not understood")]
    Reply {
        /// The method and route.
        call: String,
        /// What is wrong with it.
        detail: String,
    },
    /// What was to be sent could not be read.
    #[error("cannot read what was to be sent")]
    Body {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of this host could not be written.
    #[error("cannot write {}", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The files that were to be sent cannot be taken.
    #[error("the files cannot be taken")]
    Files {
        /// Why.
        #[source]
        source: pyro_archive::Error,
    },
    /// Something that was to be done with git failed.
    #[error("cannot {doing}")]
    Git {
        /// What.
        doing: String,
        /// What git said last, or why it could not be run.
        #[source]
        source: io::Error,
    },
    /// A repository that was named cannot be meant.
    #[error("{given:?} names no repository: {why}")]
    Repository {
        /// As it was given, without credentials.
        given: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The record of chosen workspaces could not be read or written.
    #[error("cannot use the record of chosen workspaces")]
    Selections {
        /// Why.
        #[source]
        source: DirectoryError,
    },
}

impl ClientError {
    /// The stable code of this error.
    pub fn code(&self) -> &str {
        match self {
            Self::State { .. } | Self::Selections { .. } => "state_directory_unusable",
            Self::NotRunning { .. } => "node_not_running",
            Self::Connect { .. } => "node_unreachable",
            Self::StartLock { .. }
            | Self::Spawn { .. }
            | Self::StartEnded { .. }
            | Self::StartTimeout { .. } => "node_start_failed",
            Self::Refused { problem } => &problem.code,
            Self::Lost { .. } | Self::StreamLost { .. } => "node_connection_lost",
            Self::Reply { .. } => "node_reply_invalid",
            Self::Body { .. } => "input_unreadable",
            Self::Output { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                "output_exists"
            }
            Self::Output { .. } => "output_failed",
            Self::Files { source } => source.code(),
            Self::Git { .. } => "git_failed",
            Self::Repository { .. } => "invalid_repository",
        }
    }
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        let mut problem = Self::from_error(error.code(), &error);
        match error {
            ClientError::Refused { problem } => problem,
            ClientError::NotRunning { .. } => {
                problem.kind = Kind::Conflict;
                problem.hint("run one in the foreground with: pyro serve")
            }
            ClientError::Files { source } => {
                problem.kind = Kind::Invalid;
                match source.hint() {
                    Some(hint) => problem.hint(hint),
                    None => problem,
                }
            }
            ClientError::Git { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                problem.hint("install git, or seed a directory: --seed-path")
            }
            ClientError::Git { .. } => problem
                .hint("git must reach it without asking for anything, or --seed-path a clone"),
            ClientError::Repository { .. } => {
                problem.kind = Kind::Invalid;
                problem.hint("REPO is a directory or a URL, REF a branch, a tag or a commit")
            }
            ClientError::StartEnded { log } | ClientError::StartTimeout { log, .. } => {
                problem.hint(format!("what it said last is in {}", log.display()))
            }
            ClientError::StreamLost { exec: Some((workspace, exec)), .. } => {
                problem.hint(format!("see whether it still runs: pyro attach {workspace} {exec}"))
            }
            ClientError::Lost { .. } | ClientError::StreamLost { .. } => {
                problem.hint("see what became of it with: pyro workspace list")
            }
            ClientError::Output { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                problem.kind = Kind::Conflict;
                problem.hint("nothing is written over: choose another path")
            }
            ClientError::Reply { detail, .. } => problem
                .cause(detail)
                .hint("the running node may be of another version; end it with: pyro node stop"),
            ClientError::State { .. } | ClientError::Selections { .. } => {
                problem.hint("PYRO_HOME names another state directory")
            }
            _ => problem,
        }
    }
}
