//! The keeper's life: lock, launch, watch, record the end.

use std::{
    io::{self, PipeReader},
    os::fd::AsFd,
    path::Path,
    process::ExitStatus as ProcessStatus,
    sync::Arc,
    time::Duration,
};

use pyro_core::{Channel, ExitRecord, ExitStatus, KeeperRecord, Launch};
use pyro_directory::{Directory, DirectoryError, Lock};
use rustix::{
    fs::Mode,
    process::{Resource, Rlimit, setrlimit, setsid, umask},
};
use tokio::{
    net::unix::pipe,
    signal::unix::{SignalKind, signal},
    sync::Notify,
    task::JoinHandle,
};

use crate::{
    KeeperError, control,
    guest::Guest,
    serial::SerialLog,
    sys::{self, Vmm},
};

/// A launch file is a few kilobytes; more than this is not ours.
const LAUNCH_LIMIT: usize = 1 << 20;
/// How long streams may take to hand over what the guest sent before it ended.
const HAND_OVER: Duration = Duration::from_secs(2);

/// Is the keeper of `directory` until its VMM has ended: the whole process `pyro keep DIRECTORY`.
///
/// To be called first thing in `main`: it closes every descriptor beyond the standard three and
/// leaves the caller's session. Once the VMM runs, writes `ready\n` on standard output and
/// lets go of all three standard streams: whoever started it reads that line, or end of file after
/// an error that the caller prints.
pub fn run(directory: &Path) -> Result<(), KeeperError> {
    sys::close_inherited()
        .map_err(|source| KeeperError::Prepare { what: "the descriptors", source })?;
    // A keeper started by hand may lead its process group already; it then stays in its session.
    let _ = setsid();
    umask(Mode::RWXG | Mode::RWXO);
    // A core file of a VMM would hold the guest's memory.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|source| KeeperError::Prepare { what: "the event loop", source })?;
    runtime.block_on(keep(directory))
}

async fn keep(path: &Path) -> Result<(), KeeperError> {
    let failed = |source: DirectoryError| KeeperError::Directory { path: path.into(), source };
    let prepare = |what| move |source: io::Error| KeeperError::Prepare { what, source };

    let directory = Directory::open(path).map_err(failed)?;
    let lock = hold(&directory)
        .map_err(failed)?
        .ok_or_else(|| KeeperError::Held { path: path.join("keeper.lock") })?;
    let launch = read_launch(&directory, failed)?;
    for stale in ["exit.json", "keeper.json", "keeper.sock", "vm.sock"] {
        directory.remove(stale).map_err(failed)?;
    }

    let mut terminate = signal(SignalKind::terminate()).map_err(prepare("signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(prepare("signals"))?;
    let (output, vmm_output) = io::pipe().map_err(prepare("the console's pipe"))?;
    let log = SerialLog::create(&path.join("serial.log")).map_err(prepare("serial.log"))?;
    let control_socket = directory.bind("keeper.sock", 0o600).map_err(failed)?;
    let (guest_socket, port, vmm_port) = match launch.channel {
        Channel::Vmm | Channel::None => (None, None, None),
        Channel::Serial => {
            let socket = directory.bind("vm.sock", 0o600).map_err(failed)?;
            let (ours, theirs) =
                std::os::unix::net::UnixStream::pair().map_err(prepare("the guest's port"))?;
            (Some(socket), Some(ours), Some(theirs))
        }
    };

    let starter = if launch.in_background {
        recede();
        Some(starter().map_err(prepare("the standard input"))?)
    } else {
        None
    };
    let vmm = Vmm {
        launch: &launch,
        directory: path,
        output: vmm_output,
        port: vmm_port,
        lock: lock.as_fd(),
    };
    let mut child = sys::spawn(vmm)
        .map_err(|source| KeeperError::Execute { program: launch.program.clone(), source })?;
    let vmm_pid = child.id().map_or(0, u32::cast_signed);

    let kill = Arc::new(Notify::new());
    let console = record(output, log).map_err(prepare("the console's pipe"))?;
    control::serve(control_socket, Arc::clone(&kill)).map_err(prepare("keeper.sock"))?;
    let guest = match guest_socket.zip(port) {
        Some((socket, port)) => Some(Guest::serve(socket, port).map_err(prepare("vm.sock"))?),
        None => None,
    };

    let record = KeeperRecord { keeper_pid: std::process::id().cast_signed(), vmm_pid };
    directory.write_whole("keeper.json", &json(&record)).map_err(failed)?;
    announce();
    sys::release_code();

    let mut killed_on_request = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            () = kill.notified() => {}
            Some(()) = terminate.recv() => {}
            Some(()) = interrupt.recv() => {}
            () = gone(starter.as_ref()), if !killed_on_request => {}
        }
        killed_on_request = true;
        // Fails only where it has ended already, which the next turn sees.
        let _ = child.start_kill();
    };
    let status = status.map_err(|source| KeeperError::Wait { pid: vmm_pid, source })?;

    let last_output = finish_console(console).await;
    if let Some(guest) = guest {
        guest.finish(HAND_OVER).await;
    }
    let record = ExitRecord { status: exit_status(status), killed_on_request, last_output };
    directory.write_whole("exit.json", &json(&record)).map_err(failed)?;
    for gone in ["keeper.json", "vm.sock", "keeper.sock"] {
        directory.remove(gone).map_err(failed)?;
    }
    Ok(())
}

fn hold(directory: &Directory) -> Result<Option<Lock>, DirectoryError> {
    directory.try_lock("keeper.lock")
}

fn read_launch(
    directory: &Directory,
    failed: impl Fn(DirectoryError) -> KeeperError,
) -> Result<Launch, KeeperError> {
    let path = directory.path().join("launch.json");
    match directory.read("launch.json", LAUNCH_LIMIT).map_err(failed)? {
        Some(text) => {
            serde_json::from_slice(&text).map_err(|source| KeeperError::Launch { path, source })
        }
        None => Err(KeeperError::NoLaunch { path }),
    }
}

/// Leaves the processor to everybody else, but for a tenth, so that the work ends some day. Where
/// sessions are weighed as groups (sched(7), autogroup), it is the group's weight that counts.
fn recede() {
    const LOW: i32 = 10;
    let _ = rustix::process::setpriority_process(None, LOW);
    let _ = std::fs::write("/proc/self/autogroup", LOW.to_string());
}

/// Our standard input, which ends with whoever started us. Another handle on it, since the
/// standard streams are let go of.
fn starter() -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?)
}

/// Returns once whoever started us has gone; never where nobody is to be followed.
async fn gone(starter: Option<&pipe::Receiver>) {
    let Some(starter) = starter else { return std::future::pending().await };
    while starter.readable().await.is_ok() {
        match starter.try_read(&mut [0; 64]) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
        }
    }
}

/// Tells whoever started us that the VMM runs, and lets go of the standard streams. That nobody
/// listens is fine.
fn announce() {
    let _ = rustix::io::write(rustix::stdio::stdout(), b"ready\n");
    if let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

/// Moves what the VMM prints into the log until the pipe ends; the log comes back then.
fn record(output: PipeReader, mut log: SerialLog) -> io::Result<JoinHandle<SerialLog>> {
    let output = pipe::Receiver::from_owned_fd(output.into())?;
    Ok(tokio::spawn(async move {
        let mut chunk = Vec::new();
        while output.readable().await.is_ok() {
            chunk.clear();
            chunk.reserve(SerialLog::CHUNK);
            match output.try_read_buf(&mut chunk) {
                Ok(0) => break,
                // A full disk costs the log, not the VM.
                Ok(_) => drop(log.append(&chunk)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => chunk = Vec::new(),
                Err(_) => break,
            }
        }
        log
    }))
}

/// The last lines of what was printed. A child of the VMM may hold the pipe open: it is not
/// waited for.
async fn finish_console(mut console: JoinHandle<SerialLog>) -> String {
    if let Ok(Ok(log)) = tokio::time::timeout(HAND_OVER, &mut console).await {
        log.last_lines()
    } else {
        console.abort();
        String::new()
    }
}

fn exit_status(status: ProcessStatus) -> ExitStatus {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitStatus::Code(code),
        (None, Some(signal)) => ExitStatus::Signal(signal),
        (None, None) => unreachable!("wait reports only processes that ended"),
    }
}

fn json(record: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(record).expect("records hold only text and numbers")
}
