//! One run of a service: its process in a cgroup of its own, its streams into the log, its end.
//!
//! Refuses to know why it is started and what follows from its end.

use std::{
    io,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use pyro_core::ExitStatus;
use pyro_wire::StartExec;
use rustix::process::{Pid, Signal};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    log::{Log, Stream},
    machine::Exit,
    probe::LineWatch,
};
use crate::{
    agent::Agent,
    cgroup::Cgroup,
    clock,
    descriptor::Descriptor,
    refusal::Refusal,
    spawner::{Process, Spawner, StandardStreams},
};

/// Bytes read from a pipe at once.
const READ_BYTES: usize = 32 << 10;
/// While output streams, it is taken at most this often: on one processor every small write would
/// otherwise cost a turn of its own.
const TURN: Duration = Duration::from_millis(1);
/// How long the rest of a process tree may take to end by itself once the main process has.
const LINGER: Duration = Duration::from_millis(30);
/// How long nothing may come from streams that stay open once no process of the tree is left:
/// somebody else may hold them.
const QUIET: Duration = Duration::from_millis(250);
/// How long such a somebody is listened to.
const STRANGER: Duration = Duration::from_secs(5);

/// Starts a command in the workload, in a group of its own, whatever has just become of the
/// workload's name spaces. Not to be cancelled.
pub async fn launch(
    agent: &Arc<Agent>,
    request: &StartExec,
    streams: StandardStreams<'_>,
) -> Result<(Process, Cgroup, Arc<Spawner>), Refusal> {
    agent.clerk.busy();
    let mut spawner = agent.workload(None).await?;
    let mut again = true;
    loop {
        let at_once = std::future::ready(());
        match spawner.spawn(request, &agent.cgroups, Some(streams), at_once).await {
            Ok((process, cgroup)) => return Ok((process, cgroup, spawner)),
            // The workload is ending, or has just removed the group under us.
            Err(error) if error.is_about_the_workload() && again => {
                again = false;
                if spawner.is_ending() {
                    spawner = agent.workload(Some(&spawner)).await?;
                }
            }
            Err(error) => return Err(Refusal::of_spawn(error, request)),
        }
    }
}

/// A run whose process lives.
#[derive(Debug)]
pub struct Run {
    /// Its number.
    pub number: u64,
    /// Its main process, as the workload sees it.
    pub inner_pid: u32,
    /// Everything it ever started.
    pub cgroup: Cgroup,
    /// The workload it stands in.
    pub spawner: Arc<Spawner>,
    /// It is being ended: what is left after the main process has as long as that one had.
    ending: AtomicBool,
    pid: i32,
}

/// What is needed to see a run through.
#[derive(Debug)]
pub struct Streams {
    pidfd: Descriptor,
    out: Descriptor,
    error: Descriptor,
}

impl Run {
    /// Starts it.
    pub async fn start(
        agent: &Arc<Agent>,
        number: u64,
        request: &StartExec,
    ) -> Result<(Arc<Self>, Streams), Refusal> {
        let (out, their_out) = io::pipe().map_err(Refusal::Descriptors)?;
        let (error, their_error) = io::pipe().map_err(Refusal::Descriptors)?;
        let streams = StandardStreams {
            stdin: None,
            stdout: Some(their_out.as_fd()),
            stderr: Some(their_error.as_fd()),
        };
        // Whatever can fail does so before there is a process to look after.
        let out = Descriptor::new(out.into()).map_err(Refusal::Descriptors)?;
        let error = Descriptor::new(error.into()).map_err(Refusal::Descriptors)?;
        let (process, cgroup, spawner) = launch(agent, request, streams).await?;
        agent.clerk.warming();
        let run = Self {
            number,
            inner_pid: process.inner_pid,
            cgroup,
            spawner,
            ending: AtomicBool::new(false),
            pid: process.pid,
        };
        Ok((Arc::new(run), Streams { pidfd: process.pidfd, out, error }))
    }

    /// Sends a signal to every process of it, or to the main process's group.
    pub fn signal(&self, number: i32, whole_tree: bool) {
        let Some(signal) = Signal::from_named_raw(number) else { return };
        if !whole_tree {
            if let Some(group) = Pid::from_raw(self.pid) {
                let _ = rustix::process::kill_process_group(group, signal);
            }
            return;
        }
        for pid in self.cgroup.processes() {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
    }

    /// Asks every process of it to end.
    pub fn end(&self, signal: i32) {
        self.ending.store(true, Ordering::Relaxed);
        self.signal(signal, true);
    }

    /// Ends every process of it at once.
    pub fn kill(&self) {
        self.ending.store(true, Ordering::Relaxed);
        let _ = self.cgroup.kill();
    }

    /// Sees it through: reads what it prints, until its last process is gone. Says when the main one
    /// is.
    pub async fn to_its_end(
        &self,
        agent: &Arc<Agent>,
        streams: Streams,
        log: &Arc<Log>,
        lines: Option<LineWatch>,
        main_ended: impl FnOnce(),
    ) -> Exit {
        let Streams { pidfd, out, error } = streams;
        let (gone, tree) = oneshot::channel();
        let pump = tokio::spawn(pump([out, error], log.clone(), lines, tree));
        let status = loop {
            let ended = pidfd.readable().await;
            match (ended, agent.children.take_status(self.pid, &pidfd)) {
                (Ok(()), Ok(None)) => pidfd.clear_readable(),
                (_, Ok(Some(status))) => break Some(status),
                _ => break None,
            }
        };
        main_ended();
        let workload_lost = self.spawner.is_ending();
        let mut left_behind = 0;
        if self.cgroup.is_populated() {
            if !self.ending.load(Ordering::Relaxed) {
                let _ = timeout(LINGER, self.cgroup.emptied()).await;
                if self.cgroup.is_populated() && !self.ending.load(Ordering::Relaxed) {
                    left_behind = self.cgroup.processes().len() as u32;
                    let _ = self.cgroup.kill();
                }
            }
            let _ = self.cgroup.emptied().await;
        }
        let _ = gone.send(());
        let _ = pump.await;
        let (code, signal) = match status {
            Some(ExitStatus::Code(code)) => (Some(code), None),
            Some(ExitStatus::Signal(signal)) => (None, Some(signal)),
            None => (None, Some(Signal::KILL.as_raw())),
        };
        let oom_killed = self.cgroup.usage().oom_killed;
        Exit { code, signal, oom_killed, left_behind, workload_lost }
    }
}

/// One stream, until it ends.
struct Source {
    pipe: Option<Descriptor>,
    stream: Stream,
    lines: Option<LineWatch>,
}

/// Reads both streams into the log until they end or, once the process tree is gone, nothing comes
/// any more. By turns, stdout first: two pipes do not tell which was written to first, and what is
/// read together is at most [`TURN`] apart.
async fn pump(
    pipes: [Descriptor; 2],
    log: Arc<Log>,
    lines: Option<LineWatch>,
    mut tree: oneshot::Receiver<()>,
) {
    let mut gone: Option<Instant> = None;
    let [out, error] = pipes;
    let source = |pipe, stream| Source { pipe: Some(pipe), stream, lines: lines.clone() };
    let mut sources = [source(out, Stream::Out), source(error, Stream::Error)];
    while sources.iter().any(|source| source.pipe.is_some()) {
        if gone.is_some_and(|gone| gone.elapsed() > STRANGER) {
            return;
        }
        tokio::select! {
            () = sources[0].ready() => {}
            () = sources[1].ready() => {}
            _ = &mut tree, if gone.is_none() => {
                gone = Some(Instant::now());
                continue;
            }
            () = sleep(QUIET), if gone.is_some() => return,
        }
        let begun = Instant::now();
        let mut all = true;
        for source in &mut sources {
            all &= source.take(&log).await;
        }
        if !all {
            sleep_until(begun + TURN).await;
        }
    }
}

impl Source {
    async fn ready(&self) {
        match &self.pipe {
            Some(pipe) => drop(pipe.readable().await),
            None => std::future::pending().await,
        }
    }

    /// Reads once; says whether there may be more at once.
    async fn take(&mut self, log: &Arc<Log>) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        let mut buffer = vec![0; READ_BYTES];
        match pipe.try_read(&mut buffer) {
            Ok(None) => false,
            Ok(Some(0)) | Err(_) => {
                self.pipe = None;
                false
            }
            Ok(Some(count)) => {
                buffer.truncate(count);
                if let Some(watch) = &mut self.lines
                    && !watch.look_at(&buffer)
                {
                    self.lines = None;
                }
                buffer.shrink_to_fit();
                log.append(self.stream, clock::now(), Bytes::from(buffer)).await;
                count == READ_BYTES
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Reads a pipe whose process is gone, though another holds its other end.
    async fn pumped(write: impl FnOnce(io::PipeWriter)) -> u64 {
        let directory = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::open(directory.path().into(), 1 << 20, &Arc::default()).unwrap());
        let (out, their_out) = io::pipe().unwrap();
        let (error, their_error) = io::pipe().unwrap();
        let pipes = [out, error].map(|pipe| Descriptor::new(pipe.into()).unwrap());
        let (gone, tree) = oneshot::channel();
        write(their_out.try_clone().unwrap());
        gone.send(()).unwrap();
        pump(pipes, log.clone(), None, tree).await;
        drop((their_out, their_error));
        log.counted().0
    }

    #[tokio::test]
    async fn what_stands_in_a_pipe_is_kept_though_another_holds_it_open() {
        let full = |mut pipe: io::PipeWriter| pipe.write_all(&vec![b'x'; 64 << 10]).unwrap();
        assert_eq!(pumped(full).await, 64 << 10);
    }
}
