//! The agent's side of the workload's process: starts it, asks it for commands, ends it.
//!
//! Refuses to know what the command is for; it gives back a process and descriptors.

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{fs::FileExt, process::CommandExt},
    },
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use pyro_wire::{Message, StartExec};
use rustix::{
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
    process::{Pid, PidfdFlags, Signal},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Mutex,
    time::timeout,
};

use crate::{
    cgroup::{self, Cgroup, CgroupError},
    descriptor::Descriptor,
    reaper::Children,
    workload::{ANSWER_BYTES, Answer, Step},
};

/// How long the name spaces may take, slow machines included.
const MAKING: Duration = Duration::from_secs(30);
/// How long a command may take to become one: its directory or program may be on a file system
/// that the workload itself serves.
const BECOMING: Duration = Duration::from_secs(20);

/// A command or the workload could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// A descriptor for it could not be made.
    #[error("preparing a process")]
    Prepare(#[source] io::Error),
    /// Its cgroup could not be made.
    #[error("preparing a cgroup")]
    Cgroup(#[source] CgroupError),
    /// The workload's process is gone or broken.
    #[error("talking to the workload's process")]
    Talk(#[source] io::Error),
    /// The workload's name spaces could not be made.
    #[error("making the workload: {0}")]
    Make(String),
    /// No process could be forked.
    #[error("starting a process")]
    Fork(#[source] io::Error),
    /// The process did not become the command.
    #[error("becoming the command ({step:?})")]
    Become {
        /// Where it failed.
        step: Step,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It took too long.
    #[error("the command did not begin within {} s", BECOMING.as_secs())]
    Slow,
}

impl SpawnError {
    /// Whether it says more about the workload's state than about the command.
    pub fn is_about_the_workload(&self) -> bool {
        match self {
            Self::Talk(_) => true,
            // No PID 1 to be the child of; no such group; no group any more.
            Self::Fork(error) => {
                matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::ENOENT | libc::ENODEV))
            }
            _ => false,
        }
    }
}

/// A process that was started.
#[derive(Debug)]
pub struct Process {
    /// Its id, as the agent sees it.
    pub pid: i32,
    /// Its id, as the workload sees it.
    pub inner_pid: u32,
    /// Readable once it ended.
    pub pidfd: Descriptor,
    /// The master side of its terminal.
    pub terminal: Option<Descriptor>,
}

/// The workload's process.
#[derive(Debug)]
pub struct Spawner {
    control: Mutex<Descriptor>,
    children: Arc<Children>,
    process: (i32, Descriptor),
    init: (i32, Descriptor),
    /// PID 1's `stat`, kept open: it is read at every command's end.
    init_stat: Option<File>,
}

impl Spawner {
    /// Makes the workload: name spaces on the mounts that are there.
    pub async fn start(hostname: &str, children: Arc<Children>) -> Result<Self, SpawnError> {
        let _ = cgroup::divide_workload(false);
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|error| SpawnError::Prepare(error.into()))?;
        children.starting();
        let spawned = Command::new("/proc/self/exe")
            .arg0("/init")
            .args(["workload", hostname])
            .env_clear()
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        children.started(spawned.as_ref().ok().map(|child| child.id() as i32));
        let child = spawned.map_err(SpawnError::Prepare)?;
        let pid = child.id() as i32;
        let pidfd = Pid::from_raw(pid)
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()))
            .map_err(|error| SpawnError::Prepare(error.into()))?;
        let process = (pid, Descriptor::new(pidfd).map_err(SpawnError::Prepare)?);
        let mut control = Descriptor::new(ours).map_err(SpawnError::Prepare)?;
        children.starting();
        let made = timeout(MAKING, receive(&control)).await;
        let made = made.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        children.started(made.as_ref().ok().map(|(answer, _)| answer.pid).filter(|pid| *pid > 0));
        let (answer, mut descriptors) = made.map_err(SpawnError::Talk)?;
        if answer.errno != 0 || descriptors.is_empty() {
            let mut text = vec![0; answer.text as usize];
            control.read_exact(&mut text).await.map_err(SpawnError::Talk)?;
            return Err(SpawnError::Make(String::from_utf8_lossy(&text).into_owned()));
        }
        let init = Descriptor::new(descriptors.remove(0)).map_err(SpawnError::Prepare)?;
        cgroup::divide_workload(true).map_err(SpawnError::Cgroup)?;
        let init_stat = File::open(format!("/proc/{}/stat", answer.pid)).ok();
        let init = (answer.pid, init);
        Ok(Self { control: Mutex::new(control), children, process, init, init_stat })
    }

    /// Starts a command in the cgroup. `streams` are its stdin, stdout and stderr; none where it
    /// has a terminal. Not to be cancelled: the answer belongs to the question.
    pub async fn spawn(
        &self,
        request: &StartExec,
        cgroup: &Cgroup,
        streams: Option<[OwnedFd; 3]>,
    ) -> Result<Process, SpawnError> {
        let (status, told) = io::pipe().map_err(SpawnError::Prepare)?;
        let mut status = Descriptor::new(status.into()).map_err(SpawnError::Prepare)?;
        let body = request.encode_to_vec();
        let asked = {
            let mut control = self.control.lock().await;
            let mut descriptors = vec![cgroup.as_fd(), told.as_fd()];
            descriptors.extend(streams.iter().flatten().map(AsFd::as_fd));
            self.children.starting();
            let asked = ask(&mut control, &body, &descriptors).await;
            self.children
                .started(asked.as_ref().ok().map(|(answer, _)| answer.pid).filter(|pid| *pid > 0));
            asked
        };
        drop((told, streams));
        let (answer, descriptors) = asked.map_err(SpawnError::Talk)?;
        if answer.errno != 0 {
            return Err(SpawnError::Fork(io::Error::from_raw_os_error(answer.errno)));
        }
        let mut descriptors = descriptors.into_iter().map(Descriptor::new);
        let pidfd = descriptors
            .next()
            .unwrap_or_else(|| Err(io::ErrorKind::InvalidData.into()))
            .map_err(SpawnError::Talk)?;
        let terminal = descriptors.next().transpose().map_err(SpawnError::Talk)?;
        let mut report = [0; 12];
        let mut length = 0;
        let becoming = async {
            while length < report.len() {
                match status.read(&mut report[length..]).await? {
                    0 => break,
                    read => length += read,
                }
            }
            io::Result::Ok(())
        };
        let became = timeout(BECOMING, becoming).await;
        let word = |at: usize| [report[at], report[at + 1], report[at + 2], report[at + 3]];
        let failure = match became {
            Err(_) => Some(SpawnError::Slow),
            Ok(Err(error)) => Some(SpawnError::Talk(error)),
            Ok(Ok(())) if length == 12 => Some(SpawnError::Become {
                step: Step::from_number(u32::from_le_bytes(word(4))),
                source: io::Error::from_raw_os_error(i32::from_le_bytes(word(8))),
            }),
            // Ended (or was killed) before it could say anything: its exit status tells.
            Ok(Ok(())) => None,
        };
        if let Some(failure) = failure {
            let _ = cgroup.kill();
            let _ = pidfd.readable().await;
            let _ = self.children.take_status(answer.pid, &pidfd);
            return Err(failure);
        }
        let inner_pid = u32::from_le_bytes(word(0));
        Ok(Process { pid: answer.pid, inner_pid, pidfd, terminal })
    }

    /// Waits until the workload's PID 1 has ended; says how, in words.
    pub async fn ended(&self) -> String {
        let _ = self.init.1.readable().await;
        let status = self.children.take_status(self.init.0, &self.init.1);
        match status {
            Ok(Some(pyro_core::ExitStatus::Signal(1))) => "it was rebooted from inside".to_owned(),
            Ok(Some(pyro_core::ExitStatus::Signal(2))) => "it was halted from inside".to_owned(),
            Ok(Some(status)) => format!("its init ended: {status:?}"),
            _ => "its init ended".to_owned(),
        }
    }

    /// Whether the workload's PID 1 is ending, seen before its pidfd says so: it ends last.
    pub fn is_ending(&self) -> bool {
        let mut stat = [0; 1024];
        match self.init_stat.as_ref().map(|file| file.read_at(&mut stat, 0)) {
            Some(Ok(length)) => is_ending(&String::from_utf8_lossy(&stat[..length])),
            _ => true,
        }
    }

    /// Ends the workload's PID 1, and with it every process inside, and the process itself.
    pub async fn end(&self) {
        for (_, pidfd) in [&self.init, &self.process] {
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
        }
        for (pid, pidfd) in [&self.init, &self.process] {
            let _ = pidfd.readable().await;
            let _ = self.children.take_status(*pid, pidfd);
        }
    }
}

/// From proc(5)'s `stat`: the flag `PF_EXITING`, a zombie, or a pending KILL.
fn is_ending(stat: &str) -> bool {
    // The name may hold anything; the fields begin after its last parenthesis, with number 3.
    let Some((_, fields)) = stat.rsplit_once(')') else { return true };
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let number = |at: usize| fields.get(at - 3).and_then(|text| text.parse::<u64>().ok());
    let flags = number(9).unwrap_or(0);
    let pending = number(31).unwrap_or(0);
    fields.first() == Some(&"Z") || flags & 0x4 != 0 || pending & (1 << 8) != 0
}

async fn ask(
    control: &mut Descriptor,
    body: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<(Answer, Vec<OwnedFd>)> {
    let header = (body.len() as u32).to_le_bytes();
    {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        // The socket is empty between two questions, so four bytes always fit.
        sendmsg(&*control, &[IoSlice::new(&header)], &mut ancillary, SendFlags::NOSIGNAL)?;
    }
    control.write_all(body).await?;
    receive(control).await
}

async fn receive(control: &Descriptor) -> io::Result<(Answer, Vec<OwnedFd>)> {
    control
        .when_readable(|fd| {
            let mut bytes = [0; ANSWER_BYTES];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let received = recvmsg(fd, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
            if received.bytes != ANSWER_BYTES {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let descriptors = ancillary
                .drain()
                .flat_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
                    _ => Vec::new(),
                })
                .collect();
            Ok((Answer::from_bytes(bytes), descriptors))
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_init_is_seen_before_it_is_gone() {
        let stat = |state: &str, flags: u64, pending: u64| {
            format!(
                "7 (a) b) {state} 0 1 1 0 -1 {flags} 1 2 3 4 5 6 7 8 20 0 1 0 100 1000 10 \
                 18446744073709551615 1 1 0 0 0 {pending} 0 0 0 0 0 17"
            )
        };
        assert!(!is_ending(&stat("S", 0x40_0100, 0)));
        assert!(is_ending(&stat("S", 0x40_0100, 256)));
        assert!(is_ending(&stat("R", 0x4, 0)));
        assert!(is_ending(&stat("Z", 0, 0)));
    }
}
