//! Starting a VM's keeper, and asking it.
//!
//! Everything goes through the keeper's directory (see [`pyro_core::Launch`]'s module), so a node
//! that was not there when the keeper started asks just as well.

use std::{io, path::Path, process::Stdio, time::Duration};

use pyro_core::{ExitRecord, KeeperRecord, Problem};
use pyro_directory::{Directory, DirectoryError};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixStream, unix::pipe},
    process::Command,
};

/// A keeper could not be started or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeeperError {
    /// The program could not be executed.
    #[error("cannot execute {program} as a keeper")]
    Execute {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The keeper said why it does not keep.
    #[error("the VM does not start: {said}")]
    Refused {
        /// What it said.
        said: String,
    },
    /// The keeper neither began nor ended in time.
    #[error("the keeper of {directory} does not begin")]
    Silent {
        /// Its directory.
        directory: String,
    },
    /// The keeper's directory could not be used.
    #[error("cannot ask the keeper")]
    Directory {
        /// Why.
        #[source]
        source: DirectoryError,
    },
    /// A record is not what it should be.
    #[error("{file} of {directory} is not a record")]
    Record {
        /// The file.
        file: &'static str,
        /// The keeper's directory.
        directory: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl KeeperError {
    /// A stable name of the variant.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Execute { .. } | Self::Silent { .. } => "keeper_failed",
            Self::Refused { .. } => "vm_start_failed",
            Self::Directory { .. } | Self::Record { .. } => "keeper_unreadable",
        }
    }
}

impl From<KeeperError> for Problem {
    fn from(error: KeeperError) -> Self {
        Self::from_error(error.code(), &error).hint("pyro doctor")
    }
}

/// Starts `program keep DIRECTORY`, where `launch.json` stands already, and returns once the VMM
/// runs. The keeper leaves our session, working directory and descriptors, and outlives us; while
/// we live it is reaped when it ends.
pub async fn start(program: &Path, directory: &Directory) -> Result<(), KeeperError> {
    start_with(program, directory, Stdio::null()).await
}

/// Keeps a VM that was launched in the background alive: dropped, also with the whole process, it
/// ends the VM.
#[derive(Debug)]
pub struct Leash {
    _input: io::PipeWriter,
}

/// As [`start`], where `launch.json` says that the VM is in the background.
pub async fn start_in_background(
    program: &Path,
    directory: &Directory,
) -> Result<Leash, KeeperError> {
    let (theirs, input) = io::pipe().map_err(|source| KeeperError::Execute {
        program: program.display().to_string(),
        source,
    })?;
    start_with(program, directory, theirs.into()).await?;
    Ok(Leash { _input: input })
}

async fn start_with(
    program: &Path,
    directory: &Directory,
    input: Stdio,
) -> Result<(), KeeperError> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let execute = |source| KeeperError::Execute { program: program.display().to_string(), source };

    let path = std::path::absolute(directory.path()).map_err(execute)?;
    let (said, saying) = io::pipe().map_err(execute)?;
    let said = pipe::Receiver::from_owned_fd(said.into()).map_err(execute)?;
    let mut command = Command::new(program);
    command
        .arg("keep")
        .arg(path)
        .current_dir("/")
        .stdin(input)
        .stdout(saying.try_clone().map_err(execute)?)
        .stderr(saying);
    let mut keeper = command.spawn().map_err(execute)?;
    // Our copies of the pipe's other end must go, or its end is never seen.
    drop(command);

    let mut text = String::new();
    let mut said = said.take(64 << 10);
    let read = tokio::time::timeout(PATIENCE, said.read_to_string(&mut text)).await;
    if read.is_err() {
        let _ = keeper.start_kill();
    }
    tokio::spawn(async move { keeper.wait().await });
    match read {
        Err(_) => Err(KeeperError::Silent { directory: directory.path().display().to_string() }),
        Ok(Err(source)) => Err(execute(source)),
        Ok(Ok(_)) if text == "ready\n" => Ok(()),
        Ok(Ok(_)) => {
            let said = text.trim().trim_start_matches("error: ").to_owned();
            Err(KeeperError::Refused { said })
        }
    }
}

/// Whether a keeper, and so its VMM, lives in the directory.
pub fn is_alive(directory: &Directory) -> Result<bool, KeeperError> {
    directory.is_locked("keeper.lock").map_err(|source| KeeperError::Directory { source })
}

/// What the keeper says of itself, while it lives.
pub fn record(directory: &Directory) -> Result<Option<KeeperRecord>, KeeperError> {
    read(directory, "keeper.json")
}

/// How the last VMM ended; nothing where its keeper was killed with it.
pub fn exit(directory: &Directory) -> Result<Option<ExitRecord>, KeeperError> {
    read(directory, "exit.json")
}

/// A keeper that is watched: an event for whoever waits for its end.
#[derive(Debug)]
pub struct Watch {
    directory: Directory,
    control: Option<UnixStream>,
}

impl Watch {
    /// Begins to watch; a keeper that has ended already is seen as such.
    pub async fn begin(directory: &Directory) -> Result<Self, KeeperError> {
        match directory.connect_async("keeper.sock").await {
            Ok(control) => Ok(Self { directory: directory.clone(), control: Some(control) }),
            Err(error) => match error.io_kind() {
                Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                    Ok(Self { directory: directory.clone(), control: None })
                }
                _ => Err(KeeperError::Directory { source: error }),
            },
        }
    }

    /// Returns once the keeper and its VMM have ended: [`exit`] then says how, and another may
    /// begin. Cancel-safe.
    pub async fn ended(&mut self) {
        /// How long a VMM may outlive its sockets.
        const PATIENCE: Duration = Duration::from_secs(20);
        if let Some(control) = &mut self.control {
            let mut ignored = [0; 64];
            while matches!(control.read(&mut ignored).await, Ok(1..)) {}
            self.control = None;
        }
        let directory = self.directory.clone();
        let free =
            tokio::task::spawn_blocking(move || directory.wait_until_unlocked("keeper.lock"));
        let _ = tokio::time::timeout(PATIENCE, free).await;
    }

    /// Asks the keeper to kill its VMM; [`Watch::ended`] tells when it has.
    pub async fn kill(&mut self) {
        if let Some(control) = &mut self.control {
            // Fails only where it has ended, which is what was asked for.
            let _ = control.write_all(b"kill\n").await;
        }
    }
}

/// Kills the VM of a directory and returns once it has ended.
pub async fn kill(directory: &Directory) -> Result<(), KeeperError> {
    let mut watch = Watch::begin(directory).await?;
    watch.kill().await;
    watch.ended().await;
    Ok(())
}

fn read<T: DeserializeOwned>(
    directory: &Directory,
    file: &'static str,
) -> Result<Option<T>, KeeperError> {
    let text = directory.read(file, 1 << 20).map_err(|source| KeeperError::Directory { source })?;
    let record = text.map(|text| serde_json::from_slice(&text)).transpose();
    record.map_err(|source| KeeperError::Record {
        file,
        directory: directory.path().display().to_string(),
        source,
    })
}
