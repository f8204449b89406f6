//! Connecting to the node of a state directory, and starting one where there is none.
//!
//! Ten clients that find no node start exactly one: who starts it holds `start.lock` from before the
//! second look at the socket until the node listens.

use std::{io, os::fd::AsRawFd, process::Stdio, time::Duration};

use pyro_core::Problem;
use pyro_directory::{Directory, DirectoryError};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::{UnixStream, unix::pipe},
    process::Command,
};

use crate::{
    ClientError, NodeLocation,
    location::{LOG, SOCKET, START_LOCK},
    sys,
};

/// How long a node may take from its start until it listens.
const START_DEADLINE: Duration = Duration::from_mins(1);

/// The longest line a starting node may say.
const MAX_LINE: u64 = 64 * 1024;

/// A connection to the node that runs; `None` where none listens.
pub(crate) async fn connect(directory: &Directory) -> Result<Option<UnixStream>, ClientError> {
    let absent =
        |kind| matches!(kind, Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused));
    match directory.connect_async(SOCKET).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if absent(error.io_kind()) => Ok(None),
        Err(error) if error.io_kind() == Some(io::ErrorKind::WouldBlock) => {
            // More clients at once than the listener's queue holds: only a blocking connect waits.
            let waiting = directory.clone();
            let connected = blocking(move || waiting.connect(SOCKET)).await;
            let convert = |stream: std::os::unix::net::UnixStream| {
                stream.set_nonblocking(true)?;
                UnixStream::from_std(stream)
            };
            match connected {
                Ok(stream) => convert(stream).map(Some).map_err(|source| ClientError::Connect {
                    source: DirectoryError::Connect { path: directory.path().join(SOCKET), source },
                }),
                Err(error) if absent(error.io_kind()) => Ok(None),
                Err(source) => Err(ClientError::Connect { source }),
            }
        }
        Err(source) => Err(ClientError::Connect { source }),
    }
}

/// A connection to the node, which is started where none listens.
pub(crate) async fn connect_or_start(
    directory: &Directory,
    location: &NodeLocation,
) -> Result<UnixStream, ClientError> {
    if let Some(stream) = connect(directory).await? {
        return Ok(stream);
    }
    let Some(program) = &location.program else {
        return Err(ClientError::NotRunning { state: location.state.clone() });
    };
    let waiting = directory.clone();
    let lock = blocking(move || waiting.lock(START_LOCK))
        .await
        .map_err(|source| ClientError::StartLock { source })?;
    if let Some(stream) = connect(directory).await? {
        return Ok(stream);
    }
    tracing::debug!(program = %program.display(), "starting a node");
    let spawn_error = |source| ClientError::Spawn { program: program.clone(), source };
    let (reader, writer) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| spawn_error(error.into()))?;
    let reader = pipe::Receiver::from_owned_fd(reader).map_err(spawn_error)?;
    let mut command = Command::new(program);
    command
        .args(["serve", "--on-demand", "--ready-fd", &writer.as_raw_fd().to_string()])
        .env("PYRO_HOME", &location.state)
        .env("PYRO_CACHE_DIR", &location.cache)
        .env_remove("PYRO_WORKSPACE")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    sys::detach_with(&mut command, writer);
    let child = command.spawn().map_err(spawn_error)?;
    // The writing end in this process goes with the command: end of file then means that the node
    // ended.
    drop(command);
    let mut line = String::new();
    let mut said = BufReader::new(reader.take(MAX_LINE));
    let log = location.state.join(LOG);
    match tokio::time::timeout(START_DEADLINE, said.read_line(&mut line)).await {
        Err(_) => {
            return Err(ClientError::StartTimeout { seconds: START_DEADLINE.as_secs(), log });
        }
        Ok(Err(source)) => return Err(spawn_error(source)),
        Ok(Ok(_)) => {}
    }
    // Not waited for: it outlives this process, and the runtime reaps it should it end before.
    drop(child);
    if line.trim_end() != "ready" {
        return match serde_json::from_str::<Problem>(&line) {
            Ok(problem) => Err(ClientError::Refused { problem }),
            Err(_) => Err(ClientError::StartEnded { log }),
        };
    }
    let connected = connect(directory).await?;
    drop(lock);
    connected.ok_or(ClientError::StartEnded { log })
}

/// Runs what may block on a thread where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the work does not panic and is not aborted")
}
