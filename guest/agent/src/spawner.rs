//! The agent's side of the workload's process: starts it, asks it for commands, ends it.
//!
//! Making a process takes longer than telling it its command, so a few are made ahead (`recruit`).
//! Refuses to know what the command is for; it gives back a process and descriptors.

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{fs::FileExt, process::CommandExt},
    },
    pin::pin,
    process::{Command, Stdio},
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use pyro_wire::{Message, StartExec};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, sendmsg,
        socketpair,
    },
    process::{Pid, PidfdFlags, Signal},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{
    cgroup::{self, Cgroup, CgroupError, ExecCgroups},
    descriptor::Descriptor,
    reaper::Children,
    recruit::Step,
    sys,
    workload::{ANSWER_BYTES, Answer, HOME_TREES, Home, OPEN_TERMINAL, START_RECRUIT, window_size},
};

/// How long the name spaces may take, slow machines included.
const MAKING: Duration = Duration::from_secs(30);
/// A process that came no further between two looks will not become a command: its directory or
/// program may be on a file system that the workload itself serves.
const BETWEEN_LOOKS: Duration = Duration::from_secs(10);
/// How long it may take where it does get on: others may leave it little of the processor.
const BECOMING: Duration = Duration::from_mins(2);
/// Processes made ahead of their commands when it is quiet.
pub const STOCK: usize = 4;

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
    #[error("the command did not begin within {} s", .0.as_secs())]
    Slow(Duration),
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

/// What a command reads and writes; `/dev/null` where there is nothing.
#[derive(Clone, Copy, Default, Debug)]
pub struct StandardStreams<'a> {
    /// What it reads.
    pub stdin: Option<BorrowedFd<'a>>,
    /// Where its output goes.
    pub stdout: Option<BorrowedFd<'a>>,
    /// Where its errors go.
    pub stderr: Option<BorrowedFd<'a>>,
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

/// The workload's process while it has neither root nor name: the same for every workspace.
#[derive(Debug)]
pub struct Preparation {
    control: Descriptor,
    process: (i32, Descriptor),
}

impl Preparation {
    /// Starts it.
    pub async fn make(children: &Children) -> Result<Self, SpawnError> {
        let _ = cgroup::divide_workload(false);
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|error| SpawnError::Prepare(error.into()))?;
        children.starting();
        let spawned = Command::new("/proc/self/exe")
            .arg0("/init")
            .arg("workload")
            .env_clear()
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        children.started(spawned.as_ref().ok().map(|child| child.id() as i32));
        let child = spawned.map_err(SpawnError::Prepare)?;
        let pid = child.id() as i32;
        let pidfd = Pid::from_raw(pid)
            .ok_or(Errno::SRCH)
            .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()))
            .map_err(|error| SpawnError::Prepare(error.into()))?;
        let process = (pid, Descriptor::new(pidfd).map_err(SpawnError::Prepare)?);
        let mut control = Descriptor::new(ours).map_err(SpawnError::Prepare)?;
        let made = async {
            let made = timeout(MAKING, receive(&control)).await;
            let made = made.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            made_or_told(made.map_err(SpawnError::Talk)?.0, &mut control).await?;
            cgroup::divide_workload(true).map_err(SpawnError::Cgroup)
        };
        match made.await {
            Ok(()) => Ok(Self { control, process }),
            Err(error) => {
                end(&process, children).await;
                Err(error)
            }
        }
    }
}

/// Ends a process of ours, and waits for it.
async fn end((pid, pidfd): &(i32, Descriptor), children: &Children) {
    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
    let _ = pidfd.readable().await;
    let _ = children.take_status(*pid, pidfd);
}

/// Whether what was asked for is made; else why not, which follows the answer.
async fn made_or_told(answer: Answer, control: &mut Descriptor) -> Result<(), SpawnError> {
    if answer.errno == 0 {
        return Ok(());
    }
    let mut text = vec![0; answer.text as usize];
    control.read_exact(&mut text).await.map_err(SpawnError::Talk)?;
    Err(SpawnError::Make(String::from_utf8_lossy(&text).into_owned()))
}

/// The workload's process.
#[derive(Debug)]
pub struct Spawner {
    control: Mutex<Descriptor>,
    recruits: std::sync::Mutex<Vec<Recruit>>,
    children: Arc<Children>,
    process: (i32, Descriptor),
    init: (i32, Descriptor),
    /// `/dev/null`.
    null: OwnedFd,
    /// PID 1's `stat`, kept open: it is read at every command's end.
    init_stat: Option<File>,
}

impl Spawner {
    /// Makes the workload on the mounts that are there.
    pub async fn start(
        hostname: &str,
        preparation: Preparation,
        children: Arc<Children>,
    ) -> Result<Self, SpawnError> {
        let Preparation { mut control, process } = preparation;
        let made = Self::move_in(hostname, &mut control, &children).await;
        let (init, null) = match made {
            Ok(made) => made,
            Err(error) => {
                end(&process, &children).await;
                return Err(error);
            }
        };
        let init_stat = File::open(format!("/proc/{}/stat", init.0)).ok();
        Ok(Self {
            control: Mutex::new(control),
            recruits: std::sync::Mutex::default(),
            children,
            process,
            init,
            null,
            init_stat,
        })
    }

    async fn move_in(
        hostname: &str,
        control: &mut Descriptor,
        children: &Children,
    ) -> Result<((i32, Descriptor), OwnedFd), SpawnError> {
        let home = Home::of_agent().map_err(SpawnError::Prepare)?;
        let mut name = vec![hostname.len() as u8];
        name.extend(hostname.as_bytes());
        children.starting();
        let asked = async {
            send(&*control, &name, &home.trees())?;
            receive(control).await
        };
        let made = timeout(MAKING, asked).await;
        let made = made.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        children.started(made.as_ref().ok().map(|(answer, _)| answer.pid).filter(|pid| *pid > 0));
        let (answer, mut descriptors) = made.map_err(SpawnError::Talk)?;
        made_or_told(answer, control).await?;
        let pidfd = descriptors.pop().ok_or(io::ErrorKind::InvalidData.into());
        let init = pidfd.and_then(Descriptor::new).map_err(SpawnError::Talk)?;
        let null = File::options().read(true).write(true).open("/dev/null");
        Ok(((answer.pid, init), null.map_err(SpawnError::Prepare)?.into()))
    }

    /// Makes processes ahead of their commands, up to this many, and lets go of those that ended
    /// meanwhile.
    pub async fn stock(&self, wanted: usize, cgroups: &ExecCgroups) {
        let ended = {
            let mut stocked = self.recruits();
            let all = std::mem::take(&mut *stocked);
            let (alive, ended): (Vec<_>, Vec<_>) = all.into_iter().partition(Recruit::is_alive);
            *stocked = alive;
            ended
        };
        for recruit in ended {
            cgroups.tidy(Some(recruit.dismiss(&self.children).await));
        }
        while self.recruits().len() < wanted && !self.is_ending() {
            let Ok(recruit) = self.recruit(cgroups).await else { return };
            self.recruits().push(recruit);
        }
    }

    /// Waits until the oldest of the processes made ahead has ended. While one is not waited for
    /// ([`Spawner::stock`] does), the workload's PID 1 cannot end.
    pub async fn recruit_ended(&self) {
        let oldest = self.recruits().first().map(|recruit| recruit.pidfd.clone());
        match oldest {
            Some(pidfd) if pidfd.readable().await.is_ok() => {}
            _ => std::future::pending().await,
        }
    }

    /// Whether no process made ahead is left.
    pub fn is_bare(&self) -> bool {
        self.recruits().is_empty()
    }

    fn recruits(&self) -> MutexGuard<'_, Vec<Recruit>> {
        self.recruits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process that waits for its command; one made ahead, if there is one.
    async fn take(&self, cgroups: &ExecCgroups) -> Result<Recruit, SpawnError> {
        loop {
            let next = self.recruits().pop();
            let Some(recruit) = next else { return self.recruit(cgroups).await };
            // Whatever those inside did to it, it goes on.
            let goes_on = rustix::process::pidfd_send_signal(&recruit.pidfd, Signal::CONT).is_ok();
            if goes_on && recruit.is_alive() {
                return Ok(recruit);
            }
            cgroups.tidy(Some(recruit.dismiss(&self.children).await));
        }
    }

    async fn recruit(&self, cgroups: &ExecCgroups) -> Result<Recruit, SpawnError> {
        let cgroup = cgroups.take().map_err(SpawnError::Cgroup)?;
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .map_err(|error| SpawnError::Prepare(error.into()))?;
        self.children.starting();
        let asked = self.ask(START_RECRUIT, &[cgroup.as_fd(), theirs.as_fd()]).await;
        let pid = asked.as_ref().ok().map(|(answer, _)| answer.pid).filter(|pid| *pid > 0);
        self.children.started(pid);
        let (answer, mut descriptors) = asked.map_err(SpawnError::Talk)?;
        if answer.errno != 0 {
            return Err(SpawnError::Fork(io::Error::from_raw_os_error(answer.errno)));
        }
        let pidfd = descriptors.pop().ok_or(io::ErrorKind::InvalidData.into());
        let pidfd = pidfd.and_then(Descriptor::new).map_err(SpawnError::Talk)?;
        Ok(Recruit { cgroup, socket, pid: answer.pid, pidfd })
    }

    /// Starts a command in a cgroup of its own; it has a terminal where it has no `streams`. Whether
    /// it has begun is looked at after the `sign`, or when its process has ended. Not to be cancelled:
    /// the answer belongs to the question.
    pub async fn spawn(
        &self,
        request: &StartExec,
        cgroups: &ExecCgroups,
        streams: Option<StandardStreams<'_>>,
        sign: impl Future<Output = ()>,
    ) -> Result<(Process, Cgroup), SpawnError> {
        let terminal = match streams {
            Some(_) => None,
            None => Some(self.terminal(request).await?),
        };
        let descriptors: Vec<_> = match (streams, &terminal) {
            (Some(StandardStreams { stdin, stdout, stderr }), _) => {
                [stdin, stdout, stderr].map(|stream| stream.unwrap_or(self.null.as_fd())).into()
            }
            (None, terminal) => terminal.iter().map(|(_, slave)| slave.as_fd()).collect(),
        };
        let recruit = self.take(cgroups).await?;
        let told = async {
            recruit.tell(request, &descriptors).await?;
            recruit.became(sign).await
        };
        let failure = match while_it_gets_on(|| Progress::read(recruit.pid), told).await {
            Err(elapsed) => SpawnError::Slow(elapsed),
            Ok(Err(error)) => SpawnError::Talk(error),
            Ok(Ok(Become { failure: Some((step, errno)), .. })) => SpawnError::Become {
                step: Step::from_number(step),
                source: io::Error::from_raw_os_error(errno),
            },
            Ok(Ok(Become { inner_pid, failure: None })) => {
                let Recruit { cgroup, pid, pidfd, .. } = recruit;
                let terminal = terminal.map(|(master, _)| master);
                return Ok((Process { pid, inner_pid, pidfd, terminal }, cgroup));
            }
        };
        let cgroup = recruit.dismiss(&self.children).await;
        cgroups.tidy(Some(cgroup));
        Err(failure)
    }

    /// Both sides of a new terminal.
    async fn terminal(&self, request: &StartExec) -> Result<(Descriptor, OwnedFd), SpawnError> {
        let (answer, ends) = self.ask(OPEN_TERMINAL, &[]).await.map_err(SpawnError::Talk)?;
        let Ok([master, slave]) = <[OwnedFd; 2]>::try_from(ends) else {
            let error = io::Error::from_raw_os_error(answer.errno.max(1));
            return Err(SpawnError::Prepare(error));
        };
        let size = window_size(request.terminal.unwrap_or_default());
        rustix::termios::tcsetwinsize(&master, size)
            .map_err(|error| SpawnError::Prepare(error.into()))?;
        Ok((Descriptor::new(master).map_err(SpawnError::Prepare)?, slave))
    }

    async fn ask(
        &self,
        request: u8,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<(Answer, Vec<OwnedFd>)> {
        let control = self.control.lock().await;
        // The socket is empty between two questions, so a byte always fits.
        send(&*control, &[request], descriptors)?;
        receive(&control).await
    }

    /// The workload's process, which stands in all its name spaces but that of processes.
    pub fn process_id(&self) -> i32 {
        self.process.0
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
        // First: PID 1 ends only once every process of its name space was waited for.
        let recruits = std::mem::take(&mut *self.recruits());
        for recruit in recruits {
            recruit.dismiss(&self.children).await;
        }
        for (pid, pidfd) in [&self.init, &self.process] {
            let _ = pidfd.readable().await;
            let _ = self.children.take_status(*pid, pidfd);
        }
    }
}

/// From proc(5)'s `stat`: the flag `PF_EXITING`, a zombie, or a pending KILL.
fn is_ending(stat: &str) -> bool {
    let Some(stat) = Stat::of(stat) else { return true };
    let flags = stat.number(9).unwrap_or(0);
    let pending = stat.number(31).unwrap_or(0);
    stat.state() == "Z" || flags & 0x4 != 0 || pending & (1 << 8) != 0
}

/// A process's `stat`, as proc(5) numbers its fields.
struct Stat<'a>(Vec<&'a str>);

impl<'a> Stat<'a> {
    fn of(text: &'a str) -> Option<Self> {
        // The name may hold anything; the fields begin after its last parenthesis, with number 3.
        let (_, fields) = text.rsplit_once(')')?;
        Some(Self(fields.split_whitespace().collect()))
    }

    fn state(&self) -> &str {
        self.0.first().copied().unwrap_or_default()
    }

    fn number(&self, field: usize) -> Option<u64> {
        self.0.get(field - 3)?.parse().ok()
    }
}

/// Does work that a process has to end, for as long as the process gets on; otherwise says for how
/// long that was waited for.
async fn while_it_gets_on<T>(
    look: impl Fn() -> Option<Progress>,
    work: impl Future<Output = T>,
) -> Result<T, Duration> {
    let mut work = pin!(work);
    let began = Instant::now();
    let mut before = None;
    loop {
        if let Ok(done) = timeout(BETWEEN_LOOKS, &mut work).await {
            return Ok(done);
        }
        let now = look();
        if now.is_none_or(|now| now.is_stuck(before)) || began.elapsed() >= BECOMING {
            return Err(began.elapsed());
        }
        before = now;
    }
}

/// How far a process has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Progress {
    waits_for_a_processor: bool,
    page_faults: u64,
    clock_ticks: u64,
}

impl Progress {
    fn read(pid: i32) -> Option<Self> {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::of(&String::from_utf8_lossy(&stat))
    }

    fn of(stat: &str) -> Option<Self> {
        let stat = Stat::of(stat)?;
        Some(Self {
            waits_for_a_processor: stat.state() == "R",
            page_faults: stat.number(10)? + stat.number(12)?,
            clock_ticks: stat.number(14)? + stat.number(15)?,
        })
    }

    /// Whether it has come no further since the look before; the first look cannot tell.
    fn is_stuck(self, before: Option<Self>) -> bool {
        !self.waits_for_a_processor && before == Some(self)
    }
}

/// A process that waits for its command (`recruit`).
#[derive(Debug)]
struct Recruit {
    cgroup: Cgroup,
    /// Not watched: its end comes in the middle of the command's beginning, which the agent would
    /// only interrupt.
    socket: OwnedFd,
    pid: i32,
    pidfd: Descriptor,
}

/// What has come of what a recruit says.
#[derive(Default)]
struct Said {
    bytes: [u8; 12],
    length: usize,
}

impl Said {
    /// Takes what there is up to the end of it; `WouldBlock` where that is still to come.
    fn take(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while self.length < self.bytes.len() {
            match recv(socket, &mut self.bytes[self.length..], RecvFlags::DONTWAIT) {
                // Reset: it was killed with what we sent unread.
                Ok((0, _)) | Err(Errno::CONNRESET) => break,
                Ok((count, _)) => self.length += count,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn meaning(&self) -> Become {
        let word = |at: usize| std::array::from_fn(|index| self.bytes[at + index]);
        let failure = (u32::from_le_bytes(word(4)), i32::from_le_bytes(word(8)));
        Become {
            inner_pid: u32::from_le_bytes(word(0)),
            failure: (self.length == self.bytes.len()).then_some(failure),
        }
    }
}

/// What a recruit says of itself.
struct Become {
    inner_pid: u32,
    /// The step and errno at which it failed; none where it became the command, or was killed
    /// before it could say anything, which its exit status tells.
    failure: Option<(u32, i32)>,
}

impl Recruit {
    /// Whether it can become a command: one that was killed and does not know yet cannot.
    fn is_alive(&self) -> bool {
        !sys::is_dying(&self.pidfd)
    }

    /// Tells it its command.
    async fn tell(&self, request: &StartExec, streams: &[BorrowedFd<'_>]) -> io::Result<()> {
        let body = request.encode_to_vec();
        let order = [&(body.len() as u32).to_le_bytes()[..], &body].concat();
        // Nothing was sent before, so it begins at once.
        let sent = send(&self.socket, &order, streams)?;
        if sent < order.len() {
            self.watched()?.write_all(&order[sent..]).await?;
        }
        Ok(())
    }

    /// Waits for a sign of it, or its end, and then until it is its command or failed to become it.
    async fn became(&self, sign: impl Future<Output = ()>) -> io::Result<Become> {
        tokio::select! {
            biased;
            _ = self.pidfd.readable() => {}
            () = sign => {}
        }
        let mut said = Said::default();
        match said.take(self.socket.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.watched()?.when_readable(|socket| said.take(socket)).await?;
            }
            taken => taken?,
        }
        Ok(said.meaning())
    }

    /// The socket where it has to be waited for.
    fn watched(&self) -> io::Result<Descriptor> {
        Descriptor::new(rustix::io::fcntl_dupfd_cloexec(&self.socket, 0)?)
    }

    /// Ends it. Gives back its group.
    async fn dismiss(self, children: &Children) -> Cgroup {
        let _ = self.cgroup.kill();
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = self.pidfd.readable().await;
        let _ = children.take_status(self.pid, &self.pidfd);
        self.cgroup
    }
}

/// Sends bytes with descriptors, at once; says how many, at least one.
fn send(socket: &impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HOME_TREES))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, flags)?)
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

    fn stat(state: &str, flags: u64, minor_faults: u64, pending: u64) -> String {
        format!(
            "7 (a) b) {state} 0 1 1 0 -1 {flags} {minor_faults} 2 3 4 5 6 7 8 20 0 1 0 100 1000 10 \
             18446744073709551615 1 1 0 0 0 {pending} 0 0 0 0 0 17"
        )
    }

    #[test]
    fn a_process_that_gets_on_is_told_from_a_stuck_one() {
        let progress =
            |state, minor_faults| Progress::of(&stat(state, 0, minor_faults, 0)).unwrap();
        assert_eq!(
            progress("S", 7),
            Progress { waits_for_a_processor: false, page_faults: 10, clock_ticks: 11 }
        );
        assert!(!progress("D", 7).is_stuck(None));
        assert!(progress("D", 7).is_stuck(Some(progress("D", 7))));
        assert!(!progress("D", 8).is_stuck(Some(progress("D", 7))));
        assert!(!progress("R", 7).is_stuck(Some(progress("R", 7))));
        assert_eq!(Progress::of(""), None);
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_waited_for_while_its_process_gets_on() {
        let never = std::future::pending::<()>;
        let ticks = std::cell::Cell::new(0);
        let look = |waits_for_a_processor, more| {
            let ticks = &ticks;
            move || {
                ticks.set(ticks.get() + more);
                let clock_ticks = ticks.get();
                Some(Progress { waits_for_a_processor, page_faults: 0, clock_ticks })
            }
        };
        let done = tokio::time::sleep(BETWEEN_LOOKS / 2);
        assert_eq!(while_it_gets_on(|| None, done).await, Ok(()));
        // One that ended without its work will never do it.
        assert_eq!(while_it_gets_on(|| None, never()).await, Err(BETWEEN_LOOKS));
        assert_eq!(while_it_gets_on(look(false, 0), never()).await, Err(2 * BETWEEN_LOOKS));
        for slow in [look(false, 1), look(true, 0)] {
            assert_eq!(while_it_gets_on(slow, never()).await, Err(BECOMING));
        }
        let slow = tokio::time::sleep(BECOMING / 2);
        assert_eq!(while_it_gets_on(look(true, 0), slow).await, Ok(()));
        let itself = std::process::id() as i32;
        assert!(Progress::read(itself).is_some() && Progress::read(i32::MAX).is_none());
    }

    #[test]
    fn an_ending_init_is_seen_before_it_is_gone() {
        let stat = |state: &str, flags, pending| stat(state, flags, 1, pending);
        assert!(!is_ending(&stat("S", 0x40_0100, 0)));
        assert!(is_ending(&stat("S", 0x40_0100, 256)));
        assert!(is_ending(&stat("R", 0x4, 0)));
        assert!(is_ending(&stat("Z", 0, 0)));
    }
}
