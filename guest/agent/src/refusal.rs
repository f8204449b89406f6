//! Why a call is refused, and the stable code the host sees.

use std::{error::Error, io};

use pyro_core::InvalidId;
use pyro_wire::{Problem, StartExec};

use crate::{cgroup::CgroupError, drives::DriveError, recruit::Step, spawner::SpawnError};

/// A call that was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The host speaks a generation this agent does not know.
    #[error("this agent speaks generation {known} and not {0}", known = pyro_wire::GENERATION)]
    Generation(u32),
    /// The first message names no verb.
    #[error("this agent does not know the call")]
    UnknownCall,
    /// What came is not what belongs here.
    #[error("malformed call: {0}")]
    Malformed(String),
    /// Nothing can be run before Personalize.
    #[error("the machine has no workspace yet")]
    NotPersonal,
    /// It is another workspace's already.
    #[error("the machine belongs to workspace {0}")]
    AlreadyPersonal(String),
    /// A workspace id or host name that cannot be one.
    #[error("{0:?} cannot be a host name")]
    InvalidHostname(String),
    /// A drive is missing or damaged.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// The workload cannot be made.
    #[error("the workload could not be made")]
    Workload(#[source] SpawnError),
    /// It is being made again and did not come in time.
    #[error("the workload is not there: it is being restarted")]
    NoWorkload,
    /// The machine is on its way down.
    #[error("the machine is shutting down")]
    ShuttingDown,
    /// Not an exec's id.
    #[error("{0:?} is not an exec id")]
    InvalidExecId(String),
    /// No exec of that id.
    #[error("no exec {0:?}")]
    ExecNotFound(String),
    /// The id is taken.
    #[error("exec {0} exists already")]
    ExecExists(String),
    /// It has not ended.
    #[error("exec {0} is still running")]
    ExecRunning(String),
    /// It has ended.
    #[error("exec {0} has ended")]
    ExecEnded(String),
    /// The bound of running execs.
    #[error("{0} commands are running already")]
    TooManyExecs(usize),
    /// The bound of calls at once.
    #[error("{} calls are being served already", crate::agent::MOST_CALLS)]
    TooManyCalls,
    /// No such signal.
    #[error("{0} is not a signal")]
    InvalidSignal(u32),
    /// No pipes for a command.
    #[error("making a command's streams")]
    Descriptors(#[source] io::Error),
    /// No cgroup for a command.
    #[error("making a command's cgroup")]
    Cgroup(#[source] CgroupError),
    /// The program is not there.
    #[error("command not found: {0}")]
    CommandNotFound(String),
    /// The program cannot be run.
    #[error("command cannot be executed: {name}")]
    NotExecutable {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The working directory is not there.
    #[error("working directory {name} cannot be entered")]
    WorkingDirectory {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No such user or group.
    #[error("no user {0:?} in the workspace")]
    UserNotFound(String),
    /// The process could not be started otherwise.
    #[error("the command could not be started")]
    Spawn(#[source] SpawnError),
    /// Nobody accepts a connection there.
    #[error("cannot connect to {host}:{port}")]
    NotConnected {
        /// The host, as the workload sees it.
        host: String,
        /// The port.
        port: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The workload's interface could not be made.
    #[error("the workspace's network interface could not be made")]
    Network(#[source] io::Error),
    /// The machine could not be given another name.
    #[error("the machine could not be named")]
    Hostname(#[source] io::Error),
    /// The clock could not be set.
    #[error("setting the clock")]
    Clock(#[source] io::Error),
    /// The specification of a service cannot be carried out.
    #[error("{0}")]
    InvalidService(String),
    /// No service of that name.
    #[error("no service {0:?}")]
    ServiceNotFound(String),
    /// It runs as something else.
    #[error("service {0} runs already, with another specification")]
    ServiceAlreadyRunning(String),
    /// It does not run.
    #[error("service {0} does not run")]
    ServiceNotRunning(String),
    /// Others depend on it.
    #[error("service {name} is needed by {by}")]
    ServiceNeeded {
        /// Which.
        name: String,
        /// By whom.
        by: String,
    },
    /// It would wait for itself.
    #[error("services would wait for each other: {0}")]
    DependencyCycle(String),
    /// It depends on one that is not there.
    #[error("service {name} depends on {on}, which there is not")]
    DependencyNotFound {
        /// Which.
        name: String,
        /// On what.
        on: String,
    },
    /// The bound of services.
    #[error("there are {0} services already")]
    TooManyServices(usize),
    /// A specification that is too long to be kept.
    #[error("a service's command, environment and probes are {0} bytes together at most")]
    ServiceTooLarge(usize),
    /// Its files could not be made.
    #[error("making the service's files")]
    ServiceFiles(#[source] io::Error),
    /// The same, told once already.
    #[error("{}", .0.message)]
    Told(Problem),
    /// A file that is not read.
    #[error("{path} {problem}")]
    File {
        /// Which.
        path: String,
        /// Why.
        problem: FileProblem,
    },
    /// What to look for is no expression.
    #[error("the pattern cannot be used: {0}")]
    Pattern(String),
    /// Writing to the workspace disk cannot be held up.
    #[error("the workspace disk cannot be frozen")]
    Freeze(#[source] io::Error),
    /// It is held up already.
    #[error("the workspace disk is frozen already")]
    Frozen,
    /// The call's task died.
    #[error("the call was interrupted")]
    Interrupted,
}

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// It is not there.
    #[error("is not there")]
    NotFound,
    /// It is a directory, a device, a pipe.
    #[error("is not a regular file")]
    NotRegular,
    /// It is longer than was asked for, bytes.
    #[error("is larger than {0} bytes")]
    TooLarge(u64),
    /// It cannot be read, or changed.
    #[error("cannot be used")]
    Unreadable(#[source] io::Error),
    /// Something is there already.
    #[error("is there already")]
    Exists,
    /// A directory where there should be none.
    #[error("is a directory")]
    Directory,
    /// No directory where there should be one.
    #[error("is not a directory")]
    NotDirectory,
    /// A directory that should be empty.
    #[error("is a directory that is not empty")]
    NotEmpty,
    /// No path.
    #[error("cannot be a path")]
    Invalid,
    /// The disk has no place for it.
    #[error("does not fit on the workspace's disk")]
    DiskFull,
    /// What is there cannot be changed.
    #[error("is on a file system that cannot be written")]
    ReadOnly,
    /// The text to replace is not in it.
    #[error("does not hold the text to replace")]
    TextNotFound,
    /// The text to replace is in it more than once.
    #[error("holds the text to replace {0} times")]
    TextAmbiguous(usize),
}

impl FileProblem {
    /// What an error of the system means for a file.
    pub fn of(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NotFound,
            io::ErrorKind::AlreadyExists => Self::Exists,
            io::ErrorKind::IsADirectory => Self::Directory,
            io::ErrorKind::DirectoryNotEmpty => Self::NotEmpty,
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => Self::Invalid,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::Unreadable(error),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "file_not_found",
            Self::NotRegular => "file_not_regular",
            Self::TooLarge(_) => "file_too_large",
            Self::Unreadable(_) => "file_unreadable",
            Self::Exists => "file_exists",
            Self::Directory => "file_is_directory",
            Self::NotDirectory => "file_not_directory",
            Self::NotEmpty => "directory_not_empty",
            Self::Invalid => "invalid_path",
            Self::DiskFull => "workspace_disk_full",
            Self::ReadOnly => "file_read_only",
            Self::TextNotFound => "edit_text_not_found",
            Self::TextAmbiguous(_) => "edit_text_ambiguous",
        }
    }
}

/// Text of the caller's in an error: shortened, never more than a line.
pub fn shown(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(200).collect();
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Refusal {
    /// What a failed start means to whoever asked for the command.
    pub fn of_spawn(error: SpawnError, request: &StartExec) -> Self {
        let (step, source) = match error {
            SpawnError::Become { step, source } => (step, source),
            SpawnError::Talk(_) => return Self::NoWorkload,
            // No PID 1 to be the child of.
            SpawnError::Fork(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
                return Self::NoWorkload;
            }
            error => return Self::Spawn(error),
        };
        let name = shown(request.arguments.first().map_or(&b""[..], |name| &name[..]));
        match step {
            Step::NotFound => Self::CommandNotFound(name),
            Step::Execute => Self::NotExecutable { name, source },
            Step::Directory => {
                Self::WorkingDirectory { name: shown(&request.working_directory), source }
            }
            Step::User => Self::UserNotFound(shown(request.user.as_bytes())),
            Step::Process => Self::Spawn(SpawnError::Become { step, source }),
        }
    }

    /// The code programs compare.
    pub fn code(&self) -> &str {
        match self {
            Self::Generation(_) => "unsupported_generation",
            Self::UnknownCall => "unknown_call",
            Self::Malformed(_) => "malformed_call",
            Self::NotPersonal => "not_personal",
            Self::AlreadyPersonal(_) => "already_personal",
            Self::InvalidHostname(_) => "invalid_hostname",
            Self::Drive(DriveError::Missing(_)) => "drive_missing",
            Self::Drive(_) => "disk_damaged",
            Self::Workload(_) => "workload_failed",
            Self::NoWorkload => "workload_unavailable",
            Self::ShuttingDown => "shutting_down",
            Self::InvalidExecId(_) => "invalid_exec_id",
            Self::ExecNotFound(_) => "exec_not_found",
            Self::ExecExists(_) => "exec_exists",
            Self::ExecRunning(_) => "exec_running",
            Self::ExecEnded(_) => "exec_ended",
            Self::TooManyExecs(_) => "too_many_execs",
            Self::TooManyCalls => "too_many_streams",
            Self::InvalidSignal(_) => "invalid_signal",
            Self::Descriptors(_) | Self::Cgroup(_) | Self::Spawn(_) => "exec_failed",
            Self::CommandNotFound(_) => "command_not_found",
            Self::NotExecutable { .. } => "command_not_executable",
            Self::WorkingDirectory { .. } => "working_directory_not_found",
            Self::UserNotFound(_) => "user_not_found",
            Self::NotConnected { .. } => "port_not_connected",
            Self::Network(_) => "network_unavailable",
            Self::Hostname(_) => "hostname_unavailable",
            Self::Clock(_) => "clock_failed",
            Self::InvalidService(_) => "invalid_service",
            Self::ServiceNotFound(_) => "service_not_found",
            Self::ServiceAlreadyRunning(_) => "service_already_running",
            Self::ServiceNotRunning(_) => "service_not_running",
            Self::ServiceNeeded { .. } => "service_needed",
            Self::DependencyCycle(_) => "dependency_cycle",
            Self::DependencyNotFound { .. } => "dependency_not_found",
            Self::TooManyServices(_) => "too_many_services",
            Self::ServiceTooLarge(_) => "service_too_large",
            Self::ServiceFiles(_) => "service_failed",
            Self::Told(problem) => &problem.code,
            Self::File { problem, .. } => problem.code(),
            Self::Pattern(_) => "invalid_pattern",
            Self::Freeze(_) => "freeze_failed",
            Self::Frozen => "disk_frozen",
            Self::Interrupted => "interrupted",
        }
    }

    /// As the wire carries it.
    pub fn to_problem(&self) -> Problem {
        if let Self::Told(problem) = self {
            return problem.clone();
        }
        let mut causes = Vec::new();
        let mut next = match self {
            Self::File { problem, .. } => problem.source(),
            _ => self.source(),
        };
        while let (Some(cause), true) = (next, causes.len() < 8) {
            causes.push(cause.to_string());
            next = cause.source();
        }
        Problem { code: self.code().to_owned(), message: self.to_string(), causes }
    }
}

impl From<InvalidId> for Refusal {
    fn from(error: InvalidId) -> Self {
        Self::InvalidExecId(error.0)
    }
}
