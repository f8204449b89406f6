//! Saving a machine, and starting others from it.
//!
//! Source: QEMU 7.2, `docs/devel/migration.rst` and the QMP reference. A template is a directory:
//!
//! | File | Content |
//! |---|---|
//! | `memory` | the machine's memory, which it had as its own (a file that is mapped) |
//! | `state` | everything else, as a migration's stream; it leaves the memory out (`x-ignore-shared`) |
//! | `restore.in` | what a restored machine's monitor is told: to load the stream |
//! | `restore.out` | leads to `/dev/null`: nobody listens to that monitor |
//!
//! A machine is saved while it runs: one that was stopped before would be restored stopped. Its port
//! is open then and has no host on its other end, so that a restored one's session begins afresh.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    os::unix::{fs::MetadataExt, net},
    path::{Path, PathBuf},
};

use pyro_core::{Channel, Launch};
use pyro_directory::{Directory, DirectoryError};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::{Memory, PORT, Qemu, arguments, block_device, escaped};
use crate::{HostClock, Machine, Templates, VmmError, machine::text};

const MEMORY: &str = "memory";
const STATE: &str = "state";
/// QEMU adds `.in` and `.out` to a pipe's name.
const RESTORE: &str = "restore";

/// The monitor and the state's way out: sockets of the keeper's directory that QEMU connects to.
const CONTROL: &str = "control.sock";
const STATE_SOCKET: &str = "state.sock";

/// Without the memory, a state takes some 70 KiB.
const STATE_LIMIT: u64 = 64 << 20;
/// The longest line of the monitor's.
const LINE_LIMIT: u64 = 1 << 20;

impl Templates for Qemu {
    fn shape(
        &self,
        program: &Path,
        machine: &Machine,
        clock: HostClock,
    ) -> Result<String, VmmError> {
        let look = |path: &Path| {
            std::fs::metadata(path)
                .map_err(|source| VmmError::Look { path: path.to_owned(), source })
        };
        let size = |drive: &crate::machine::Drive<'_>| {
            Ok(format!("{} {} {}", drive.id, drive.is_read_only, look(drive.path)?.len()))
        };
        let arguments = arguments(machine, clock, Memory::Anonymous, PORT, size)?;
        // Another version of QEMU is another file.
        let found = look(program)?;
        let program = json!([
            text(program)?,
            found.dev(),
            found.ino(),
            found.len(),
            found.mtime(),
            found.mtime_nsec()
        ]);
        Ok(json!({ "format": 1, "program": program, "arguments": arguments }).to_string())
    }

    fn launch(
        &self,
        program: &Path,
        machine: &Machine,
        clock: HostClock,
        directory: &Directory,
        place: &Path,
    ) -> Result<(Launch, Saving), VmmError> {
        let failed =
            |source: DirectoryError| VmmError::Prepare { path: directory.path().into(), source };
        let saving = Saving {
            control: directory.bind(CONTROL, 0o600).map_err(failed)?,
            state: directory.bind(STATE_SOCKET, 0o600).map_err(failed)?,
            place: place.to_owned(),
        };
        let memory = place.join(MEMORY);
        let nobody = "socket,id=agent,path=agent.sock,server=on,wait=off";
        let mut arguments =
            arguments(machine, clock, Memory::Shared(&memory), nobody, block_device)?;
        arguments.extend(["-qmp".to_owned(), format!("unix:{CONTROL}")]);
        let mut launch = Launch::new(text(program)?, arguments, Channel::None);
        launch.in_background = true;
        Ok((launch, saving))
    }

    fn restore(
        &self,
        program: &Path,
        machine: &Machine,
        clock: HostClock,
        template: &Path,
    ) -> Result<Launch, VmmError> {
        let memory = template.join(MEMORY);
        let mut arguments = arguments(machine, clock, Memory::Copied(&memory), PORT, block_device)?;
        let monitor = escaped(&text(&template.join(RESTORE))?);
        for word in [
            "-incoming",
            "defer",
            "-chardev",
            &format!("pipe,id=monitor,path={monitor}"),
            "-mon",
            "chardev=monitor,mode=control",
        ] {
            arguments.push(word.to_owned());
        }
        let mut launch = Launch::new(text(program)?, arguments, Channel::Serial);
        launch.input = Some(template.join(STATE));
        Ok(launch)
    }
}

/// A machine that was launched to be saved.
#[derive(Debug)]
pub struct Saving {
    control: net::UnixListener,
    state: net::UnixListener,
    place: PathBuf,
}

impl Saving {
    /// Waits until its agent has the port open, and saves it. The machine is then of no more use.
    /// Waits for ever where the machine never comes so far.
    pub async fn save(self) -> Result<(), VmmError> {
        let failed = |step| move |source: io::Error| VmmError::Save { step, source };
        let monitor = connection(self.control).await.map_err(failed("reaching its monitor"))?;
        let mut monitor = Monitor::new(monitor);
        monitor.tell(json!({ "execute": "qmp_capabilities" })).await.map_err(failed("greeting"))?;
        let opened = |event: &Value| {
            (event["event"] == "VSERPORT_CHANGE").then(|| event["data"]["open"] == true)
        };
        monitor.until(opened).await.map_err(failed("waiting for its agent"))?;
        for command in [
            set_capabilities(&["x-ignore-shared", "events"]),
            json!({
                "execute": "migrate",
                "arguments": { "uri": format!("unix:{STATE_SOCKET}") },
            }),
        ] {
            monitor.tell(command).await.map_err(failed("asking for its state"))?;
        }
        let state = connection(self.state).await.map_err(failed("receiving its state"))?;
        receive(state, &self.place.join(STATE)).await.map_err(failed("keeping its state"))?;
        let ended = |event: &Value| {
            let status = event["data"]["status"].as_str().filter(|_| event["event"] == "MIGRATION");
            match status? {
                "completed" => Some(true),
                "failed" | "cancelled" => Some(false),
                _ => None,
            }
        };
        monitor.until(ended).await.map_err(failed("ending it"))?;
        instruct(&self.place).map_err(failed("writing how it is restored"))
    }
}

fn set_capabilities(names: &[&str]) -> Value {
    let capabilities: Vec<_> =
        names.iter().map(|name| json!({ "capability": name, "state": true })).collect();
    json!({
        "execute": "migrate-set-capabilities",
        "arguments": { "capabilities": capabilities },
    })
}

/// Writes what a restored machine's monitor is told. It reads one command at a time, to the end.
fn instruct(place: &Path) -> io::Result<()> {
    let mut told = File::create_new(place.join(format!("{RESTORE}.in")))?;
    for command in [
        json!({ "execute": "qmp_capabilities" }),
        set_capabilities(&["x-ignore-shared"]),
        json!({ "execute": "migrate-incoming", "arguments": { "uri": "fd:5" } }),
    ] {
        writeln!(told, "{command}")?;
    }
    std::os::unix::fs::symlink("/dev/null", place.join(format!("{RESTORE}.out")))
}

async fn connection(listener: net::UnixListener) -> io::Result<UnixStream> {
    listener.set_nonblocking(true)?;
    Ok(UnixListener::from_std(listener)?.accept().await?.0)
}

/// Keeps what comes, to its end.
async fn receive(state: UnixStream, path: &Path) -> io::Result<()> {
    let mut bytes = Vec::new();
    state.take(STATE_LIMIT + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > STATE_LIMIT {
        return Err(ErrorKind::FileTooLarge.into());
    }
    File::create_new(path)?.write_all(&bytes)
}

/// QEMU's monitor.
struct Monitor {
    lines: BufReader<OwnedReadHalf>,
    commands: OwnedWriteHalf,
    /// What it told before anybody asked.
    events: Vec<Value>,
}

impl Monitor {
    fn new(connection: UnixStream) -> Self {
        let (lines, commands) = connection.into_split();
        Self { lines: BufReader::new(lines), commands, events: Vec::new() }
    }

    /// Gives a command and waits until it is obeyed.
    async fn tell(&mut self, command: Value) -> io::Result<()> {
        self.commands.write_all(format!("{command}\n").as_bytes()).await?;
        loop {
            let answer = self.next().await?;
            if answer.get("return").is_some() {
                return Ok(());
            }
            if let Some(error) = answer.get("error") {
                return Err(io::Error::other(format!("{command}: {}", error["desc"])));
            }
            self.events.push(answer);
        }
    }

    /// Waits for an event that decides, and was maybe told already: for good or for bad.
    async fn until(&mut self, decides: impl Fn(&Value) -> Option<bool>) -> io::Result<()> {
        let mut told = std::mem::take(&mut self.events).into_iter();
        loop {
            let event = match told.next() {
                Some(event) => event,
                None => self.next().await?,
            };
            match decides(&event) {
                Some(true) => return Ok(()),
                Some(false) => return Err(io::Error::other(event.to_string())),
                None => {}
            }
        }
    }

    async fn next(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        (&mut self.lines).take(LINE_LIMIT).read_line(&mut line).await?;
        if line.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}
