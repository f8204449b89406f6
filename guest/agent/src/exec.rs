//! Execs: commands that run or ran, from the first byte to the record.
//!
//! Owns an exec's life: one task per running exec reads its output, watches its end, its time limit
//! and its orders. Refuses to know streams to the host (`call`), name spaces (`spawner`) and what
//! is kept of the output (`spool`).

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use pyro_core::{ExecId, ExitStatus};
use pyro_wire::{ExecRecord, GuestEvent, StartExec, Terminal, guest_event};
use rustix::process::{Pid, Signal};
use tokio::{
    io::AsyncWriteExt,
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    agent::Agent,
    cgroup::Cgroup,
    clock,
    descriptor::Descriptor,
    reaper::look_at_status,
    record,
    refusal::Refusal,
    spawner::{Process, STOCK, Spawner, StandardStreams},
    spool::{Counts, Limits, Spool, Stored, Stream},
    workload::window_size,
};

/// Spools of all execs together on the agent disk.
const STORED_LIMIT: u64 = 2 << 30;
/// Execs that may run at once.
const MAX_RUNNING: usize = 512;
/// Bytes read from a pipe at once: first these, which most commands do not fill,
const FIRST_READ_BYTES: usize = 4 << 10;
/// and these once one did.
const READ_BYTES: usize = 64 << 10;
/// What a command that prints much can write ahead of the agent.
const PIPE_BYTES: usize = 256 << 10;
/// While output streams, it is taken at most this often: on one processor every small write would
/// otherwise cost a turn of its own.
const TURN: Duration = Duration::from_millis(1);
/// Output that comes later than this after the last is taken at once.
const STREAMING: Duration = Duration::from_millis(4);
/// A command that is waited for and prints nothing is said to have begun after this long: most have
/// ended by then, and the agent has nothing to do meanwhile.
const SILENT: Duration = Duration::from_millis(10);
/// What is read from a pipe after the end, at most: more than a pipe can hold.
const DRAIN_BYTES: usize = 2 << 20;
/// How long the rest of a process tree may take to end by itself once the main process has.
const LINGER: Duration = Duration::from_millis(30);
/// How long processes may take to die once killed.
const DYING: Duration = Duration::from_secs(5);
/// TERM to KILL where the caller gave no time.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// An order for a running exec.
#[derive(Debug)]
pub enum Order {
    /// A signal for its process group, or for every process of it.
    Signal {
        /// The signal.
        signal: Signal,
        /// Whether every process gets it.
        whole_tree: bool,
    },
    /// A new size of its terminal.
    Resize(Terminal),
    /// TERM, grace, KILL.
    Cancel {
        /// The time between, where it differs from the exec's own.
        grace: Option<Duration>,
    },
}

/// Something for a command's stdin.
#[derive(Debug)]
pub enum Input {
    /// Bytes.
    Bytes(Bytes),
    /// No more.
    End,
}

/// One exec.
#[derive(Debug)]
pub struct Exec {
    /// Its output.
    pub spool: Spool,
    record: Mutex<ExecRecord>,
    started: Instant,
    attached: AtomicU32,
    orders: Option<mpsc::Sender<Order>>,
    input: Option<mpsc::Sender<Input>>,
    ended: watch::Sender<bool>,
}

/// Counts a stream as attached for as long as it lives.
#[derive(Debug)]
pub struct Attachment(Arc<Exec>);

impl Drop for Attachment {
    fn drop(&mut self) {
        self.0.attached.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Exec {
    fn lock(&self) -> MutexGuard<'_, ExecRecord> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record as of now.
    pub fn record(&self) -> ExecRecord {
        let mut record = self.lock().clone();
        let Counts { stdout, stderr, dropped, .. } = self.spool.counts();
        (record.stdout_bytes, record.stderr_bytes) = (stdout, stderr);
        (record.dropped_from, record.dropped_to) = dropped;
        record.attached = self.attached.load(Ordering::Relaxed);
        if record.running {
            record.duration_micros = self.started.elapsed().as_micros() as u64;
        }
        record
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.lock().running
    }

    /// Whether it has got as far as a process.
    pub fn has_process(&self) -> bool {
        self.lock().pid != 0
    }

    /// Counts one more stream as attached.
    pub fn attach(self: &Arc<Self>) -> Attachment {
        self.attached.fetch_add(1, Ordering::Relaxed);
        Attachment(self.clone())
    }

    /// Gives an order. One for an exec that has ended is lost.
    pub async fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order).await;
        }
    }

    /// Feeds its stdin; waits while the command does not read. Where it has none or has closed it,
    /// the input is lost.
    pub async fn feed(&self, input: Input) {
        if let Some(feed) = &self.input {
            let _ = feed.send(input).await;
        }
    }

    /// Waits for the end.
    pub async fn ended(&self) {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

/// All execs the agent knows.
#[derive(Debug, Default)]
pub struct Execs {
    all: Mutex<BTreeMap<ExecId, Arc<Exec>>>,
    /// In order of their beginning.
    order: Mutex<Vec<ExecId>>,
    directory: Mutex<Option<PathBuf>>,
    stored: Arc<Stored>,
}

impl Execs {
    fn all(&self) -> MutexGuard<'_, BTreeMap<ExecId, Arc<Exec>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self) -> MutexGuard<'_, Vec<ExecId>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory(&self, id: ExecId) -> Option<PathBuf> {
        let execs = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        execs.as_ref().map(|execs| record::directory(execs, id))
    }

    /// Takes in what earlier boots left in this directory, and keeps new records there.
    pub fn load(&self, directory: PathBuf) {
        for (id, record) in record::load(&directory) {
            let counts = Counts {
                stdout: record.stdout_bytes,
                stderr: record.stderr_bytes,
                end: record.stdout_bytes.saturating_add(record.stderr_bytes),
                dropped: (record.dropped_from, record.dropped_to),
            };
            let spool = Spool::load(record::directory(&directory, id), counts, self.stored.clone());
            let exec = Exec {
                spool,
                record: Mutex::new(record),
                started: Instant::now(),
                attached: AtomicU32::new(0),
                orders: None,
                input: None,
                ended: watch::Sender::new(true),
            };
            self.all().insert(id, Arc::new(exec));
            self.order().push(id);
        }
        *self.directory.lock().unwrap_or_else(PoisonError::into_inner) = Some(directory);
    }

    /// Finds an exec by its id as the host spells it.
    pub fn find(&self, id: &str) -> Result<Arc<Exec>, Refusal> {
        let found = id.parse().ok().and_then(|id: ExecId| self.all().get(&id).cloned());
        found.ok_or_else(|| Refusal::ExecNotFound(id.chars().take(64).collect()))
    }

    /// Every exec, in order of their beginning.
    pub fn list(&self) -> Vec<Arc<Exec>> {
        let all = self.all();
        self.order().iter().filter_map(|id| all.get(id).cloned()).collect()
    }

    /// Those that run.
    pub fn running(&self) -> Vec<Arc<Exec>> {
        self.list().into_iter().filter(|exec| exec.is_running()).collect()
    }

    /// Drops a finished exec and its output.
    pub fn forget(&self, id: &str) -> Result<(), Refusal> {
        let exec = self.find(id)?;
        if exec.is_running() {
            return Err(Refusal::ExecRunning(id.to_owned()));
        }
        if let Ok(id) = id.parse() {
            self.remove(id, &exec);
        }
        Ok(())
    }

    fn remove(&self, id: ExecId, exec: &Exec) {
        self.all().remove(&id);
        self.order().retain(|other| *other != id);
        exec.spool.drop_all();
        if let Some(directory) = self.directory(id) {
            record::remove(&directory);
        }
    }

    /// Keeps to the bounds: oldest finished output first.
    fn trim(&self) {
        if self.order().len() <= record::MAX_RECORDS && self.stored.bytes() <= STORED_LIMIT {
            return;
        }
        let finished: Vec<_> = {
            let all = self.all();
            let order = self.order();
            order
                .iter()
                .filter_map(|id| all.get(id).map(|exec| (*id, exec.clone())))
                .filter(|(_, exec)| !exec.is_running())
                .collect()
        };
        let excess = finished.len().saturating_sub(record::MAX_RECORDS);
        for (id, exec) in &finished[..excess] {
            self.remove(*id, exec);
        }
        for (id, exec) in &finished[excess..] {
            if self.stored.bytes() <= STORED_LIMIT {
                break;
            }
            exec.spool.drop_all();
            if let Some(directory) = self.directory(*id) {
                let _ = record::write(&directory, &exec.record());
            }
        }
    }

    /// Claims an id and a place among the running ones.
    fn admit(&self, id: ExecId, exec: Arc<Exec>) -> Result<(), Refusal> {
        let mut all = self.all();
        if all.contains_key(&id) {
            return Err(Refusal::ExecExists(id.to_string()));
        }
        if all.values().filter(|exec| exec.is_running()).count() >= MAX_RUNNING {
            return Err(Refusal::TooManyExecs(MAX_RUNNING));
        }
        all.insert(id, exec);
        self.order().push(id);
        Ok(())
    }
}

/// A command's streams. Until it has begun, its own ends of them too.
struct Ends {
    stdin: Option<OwnedFd>,
    their_stdin: Option<OwnedFd>,
    out: Source,
    error: Source,
    /// Nobody waits for the command to begin, but for what it prints and its end.
    is_watched: bool,
}

impl Ends {
    fn new(request: &StartExec) -> io::Result<Self> {
        let has_pipes = request.terminal.is_none();
        let source = |stream| {
            if has_pipes { Source::pipe(stream) } else { Ok(Source::nothing(stream)) }
        };
        let (their_stdin, stdin) = if request.stdin && has_pipes {
            let (reader, writer) = io::pipe()?;
            (Some(reader.into()), Some(writer.into()))
        } else {
            (None, None)
        };
        Ok(Self {
            stdin,
            their_stdin,
            out: source(Stream::Out)?,
            error: source(Stream::Error)?,
            is_watched: request.attach && has_pipes && !request.stdin,
        })
    }

    /// The command's ends; none where it has a terminal.
    fn theirs(&self) -> Option<StandardStreams<'_>> {
        Some(StandardStreams {
            stdin: self.their_stdin.as_ref().map(AsFd::as_fd),
            stdout: Some(self.out.writer.as_ref()?.as_fd()),
            stderr: Some(self.error.writer.as_ref()?.as_fd()),
        })
    }

    /// Ends when it is time to know whether the command has begun.
    async fn sign(&self) {
        if self.is_watched {
            tokio::select! {
                () = self.out.ready() => {}
                () = self.error.ready() => {}
                () = sleep(SILENT) => {}
            }
        }
    }
}

/// Starts a command. Runs to its end even when whoever asked has gone.
pub async fn start(agent: Arc<Agent>, request: StartExec) -> Result<Arc<Exec>, Refusal> {
    let task = tokio::spawn(start_to_the_end(agent, request));
    task.await.unwrap_or_else(|_| Err(Refusal::Interrupted))
}

async fn start_to_the_end(agent: Arc<Agent>, request: StartExec) -> Result<Arc<Exec>, Refusal> {
    let id: ExecId = request
        .exec_id
        .parse()
        .map_err(|error: pyro_core::InvalidId| Refusal::InvalidExecId(error.0))?;
    agent.clerk.busy();
    let mut spawner = agent.workload(None).await?;
    let (orders_sender, orders) = mpsc::channel(64);
    let feeds = request.stdin || request.terminal.is_some();
    let (input_sender, input) = mpsc::channel(4);
    let execs = &agent.execs;
    let exec = Arc::new(Exec {
        spool: Spool::new(execs.directory(id), Limits::default(), execs.stored.clone()),
        record: Mutex::new(ExecRecord {
            exec_id: id.to_string(),
            running: true,
            detached: request.detached,
            started_millis: clock::now().as_millis() as u64,
            ..ExecRecord::default()
        }),
        started: Instant::now(),
        attached: AtomicU32::new(0),
        orders: Some(orders_sender),
        input: feeds.then_some(input_sender),
        ended: watch::Sender::new(false),
    });
    execs.admit(id, exec.clone())?;
    let spawned = async {
        let mut ends = Ends::new(&request).map_err(Refusal::Descriptors)?;
        let mut again = true;
        loop {
            let begun = spawner.spawn(&request, &agent.cgroups, ends.theirs(), ends.sign());
            match begun.await {
                Ok((process, cgroup)) => {
                    ends.their_stdin = None;
                    return Ok((ends, cgroup, process));
                }
                // The workload is ending, or has just removed the group under us.
                Err(error) if error.is_about_the_workload() && again => {
                    again = false;
                    if spawner.is_ending() {
                        spawner = agent.workload(Some(&spawner)).await?;
                    }
                }
                Err(error) => return Err(Refusal::of_spawn(error, &request)),
            }
        }
    };
    let (ends, cgroup, process) = match spawned.await {
        Ok(spawned) => spawned,
        Err(refusal) => {
            exec.lock().running = false;
            execs.remove(id, &exec);
            exec.spool.finish();
            exec.ended.send_replace(true);
            return Err(refusal);
        }
    };
    exec.lock().pid = process.inner_pid;
    let running = Running {
        agent,
        id,
        exec: exec.clone(),
        spawner,
        cgroup,
        process,
        limits: TimeLimits {
            timeout: (request.timeout_millis > 0)
                .then(|| Duration::from_millis(request.timeout_millis)),
            grace: match request.grace_millis {
                0 => DEFAULT_GRACE,
                millis => Duration::from_millis(millis),
            },
        },
    };
    tokio::spawn(running.run(ends, orders, input));
    Ok(exec)
}

struct TimeLimits {
    timeout: Option<Duration>,
    grace: Duration,
}

struct Running {
    agent: Arc<Agent>,
    id: ExecId,
    exec: Arc<Exec>,
    spawner: Arc<Spawner>,
    cgroup: Cgroup,
    process: Process,
    limits: TimeLimits,
}

/// One stream of output, until it ends.
struct Source {
    descriptor: Option<Descriptor>,
    /// The command's end of a pipe, kept so that its last process does not end the stream: the agent
    /// would have to look, just before it has to look again because that process has ended.
    writer: Option<OwnedFd>,
    stream: Stream,
    buffer: Vec<u8>,
    prints_much: bool,
    taken: Option<Instant>,
    held: bool,
}

impl Source {
    /// A stream without output.
    fn nothing(stream: Stream) -> Self {
        Self {
            descriptor: None,
            writer: None,
            stream,
            buffer: Vec::new(),
            prints_much: false,
            taken: None,
            held: false,
        }
    }

    /// A new pipe.
    fn pipe(stream: Stream) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let descriptor = Some(Descriptor::to_read(reader.into())?);
        Ok(Self { descriptor, writer: Some(writer.into()), ..Self::nothing(stream) })
    }

    /// Waits for output; never comes back once the stream has ended.
    async fn ready(&self) {
        match &self.descriptor {
            Some(descriptor) => {
                if let (true, Some(taken)) = (self.held, self.taken) {
                    sleep_until(taken + TURN).await;
                }
                let _ = descriptor.readable().await;
            }
            None => std::future::pending().await,
        }
    }

    /// For the next read.
    fn make_room(&mut self) {
        if !self.prints_much {
            self.buffer.resize(FIRST_READ_BYTES, 0);
        } else if self.buffer.len() < READ_BYTES {
            self.buffer.resize(READ_BYTES, 0);
            if let Some(pipe) = &self.descriptor {
                // A smaller pipe will do.
                let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES);
            }
        }
    }

    /// Reads once, after [`Source::ready`], into the spool.
    async fn pump(&mut self, spool: &Spool) {
        let Some(descriptor) = self.descriptor.clone() else { return };
        self.make_room();
        let read = descriptor.try_read(&mut self.buffer);
        let partial = matches!(read, Ok(Some(count)) if count < self.buffer.len());
        self.take(spool, read).await;
        let now = Instant::now();
        let streaming = self.taken.is_some_and(|taken| now - taken < STREAMING);
        self.held = partial && streaming;
        self.taken = Some(now);
    }

    /// Reads all that is there, up to a bound, into the spool.
    async fn drain(&mut self, spool: &Spool) {
        let mut left = DRAIN_BYTES;
        while left > 0 {
            let Some(descriptor) = self.descriptor.clone() else { return };
            self.make_room();
            let read = descriptor.read_now(&mut self.buffer);
            let Some(count) = self.take(spool, read).await else { return };
            left = left.saturating_sub(count);
        }
    }

    async fn take(&mut self, spool: &Spool, read: io::Result<Option<usize>>) -> Option<usize> {
        match read {
            Ok(None) => None,
            // A terminal's end is EIO.
            Ok(Some(0)) | Err(_) => {
                self.descriptor = None;
                None
            }
            Ok(Some(count)) => {
                self.prints_much |= count == self.buffer.len();
                spool.append(self.stream, &self.buffer[..count]).await;
                Some(count)
            }
        }
    }
}

impl Running {
    async fn run(
        self,
        ends: Ends,
        mut orders: mpsc::Receiver<Order>,
        input: mpsc::Receiver<Input>,
    ) {
        let terminal = self.process.terminal.clone();
        let Ends { stdin, mut out, mut error, .. } = ends;
        if terminal.is_some() {
            out.descriptor.clone_from(&terminal);
        }
        let stdin = stdin.and_then(|fd| Descriptor::new(fd).ok()).or(terminal.clone());
        let feeding =
            stdin.map(|stdin| tokio::spawn(feed(stdin, terminal.is_some(), input)).abort_handle());
        let far = Instant::now() + Duration::from_hours(24 * 365);
        let mut timeout_at = self.limits.timeout.map_or(far, |limit| self.exec.started + limit);
        let mut kill_at = far;
        let mut lingering = false;
        let status = loop {
            tokio::select! {
                biased;
                ended = self.process.pidfd.readable() => {
                    match (ended, look_at_status(&self.process.pidfd)) {
                        (Ok(()), Ok(None)) => { self.process.pidfd.clear_readable(); }
                        (_, Ok(Some(status))) => break Some(status),
                        _ => break None,
                    }
                }
                Some(order) = orders.recv() => match order {
                    Order::Resize(size) => if let Some(terminal) = &terminal {
                        let _ = rustix::termios::tcsetwinsize(terminal, window_size(size));
                    },
                    Order::Signal { signal, whole_tree } => self.signal(signal, whole_tree, terminal.as_ref()),
                    Order::Cancel { grace } => if !lingering {
                        lingering = true;
                        self.exec.lock().cancelled = true;
                        self.signal(Signal::TERM, true, None);
                        kill_at = Instant::now() + grace.unwrap_or(self.limits.grace);
                        timeout_at = far;
                    },
                },
                () = sleep_until(timeout_at) => {
                    timeout_at = far;
                    lingering = true;
                    self.exec.lock().timed_out = true;
                    self.signal(Signal::TERM, true, None);
                    kill_at = Instant::now() + self.limits.grace;
                }
                () = sleep_until(kill_at) => {
                    kill_at = far;
                    let _ = self.cgroup.kill();
                }
                () = error.ready() => error.pump(&self.exec.spool).await,
                () = out.ready() => out.pump(&self.exec.spool).await,
            }
        };
        let duration = self.exec.started.elapsed();
        let workload_restarted = self.spawner.is_ending();
        let mut left_behind = 0;
        if self.cgroup.is_populated() {
            let wait = if lingering && kill_at != far {
                // TERM was sent; the others have the same grace as the main process had.
                kill_at.saturating_duration_since(Instant::now())
            } else {
                LINGER
            };
            let drained = async {
                // What they print meanwhile must not block them.
                loop {
                    tokio::select! {
                        () = error.ready() => error.pump(&self.exec.spool).await,
                        () = out.ready() => out.pump(&self.exec.spool).await,
                    }
                }
            };
            tokio::select! {
                _ = timeout(wait, self.cgroup.emptied()) => {}
                () = drained => {}
            }
            if self.cgroup.is_populated() {
                left_behind = self.cgroup.processes().len() as u32;
                let _ = self.cgroup.kill();
                let _ = timeout(DYING, self.cgroup.emptied()).await;
            }
        }
        error.drain(&self.exec.spool).await;
        out.drain(&self.exec.spool).await;
        if let Some(feeding) = feeding {
            feeding.abort();
        }
        let usage = self.cgroup.usage();
        {
            let mut record = self.exec.lock();
            record.running = false;
            record.duration_micros = duration.as_micros() as u64;
            match status {
                Some(ExitStatus::Code(code)) => record.exit_code = Some(code),
                Some(ExitStatus::Signal(signal)) => record.signal = Some(signal),
                None => record.signal = Some(Signal::KILL.as_raw()),
            }
            record.left_behind = left_behind;
            record.memory_peak_bytes = usage.memory_peak_bytes;
            record.cpu_micros = usage.cpu_micros;
            record.oom_killed = usage.oom_killed;
            record.workload_restarted = workload_restarted;
        }
        self.exec.spool.finish();
        let record = self.exec.record();
        self.agent.tell(GuestEvent { event: Some(guest_event::Event::ExecEnded(record.clone())) });
        // From here on nobody waits for this task but a shut-down.
        tokio::task::yield_now().await;
        let _ = self.agent.children.take_status(self.process.pid, &self.process.pidfd);
        // While the host takes in the end; else when it is quiet.
        if self.spawner.is_bare() {
            self.spawner.stock(STOCK, &self.agent.cgroups).await;
        }
        self.exec.spool.settle().await;
        let (agent, cgroup, id, record) =
            (self.agent.clone(), self.cgroup, self.id, self.exec.record());
        self.agent.clerk.put_off(move || {
            if let Some(directory) = agent.execs.directory(id)
                && agent.execs.find(&record.exec_id).is_ok()
                && let Err(error) = record::write(&directory, &record)
            {
                crate::console::note(&format!("record of exec {id}: {error}"));
            }
            agent.cgroups.tidy(Some(cgroup));
            agent.children.sweep();
            agent.restock();
        });
        self.exec.ended.send_replace(true);
        self.agent.execs.trim();
    }

    fn signal(&self, signal: Signal, whole_tree: bool, terminal: Option<&Descriptor>) {
        if whole_tree {
            for pid in self.cgroup.processes() {
                if let Some(pid) = Pid::from_raw(pid) {
                    let _ = rustix::process::kill_process(pid, signal);
                }
            }
            return;
        }
        let foreground = terminal.and_then(|terminal| rustix::termios::tcgetpgrp(terminal).ok());
        if let Some(group) = foreground.or_else(|| Pid::from_raw(self.process.pid)) {
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }
}

/// Feeds a command's stdin. What it does not want is thrown away.
async fn feed(mut stdin: Descriptor, terminal: bool, mut input: mpsc::Receiver<Input>) {
    const END_OF_TRANSMISSION: &[u8] = &[4];
    let mut open = true;
    while let Some(next) = input.recv().await {
        match next {
            Input::Bytes(bytes) if open => open = stdin.write_all(&bytes).await.is_ok(),
            Input::Bytes(_) => {}
            Input::End if terminal => {
                let _ = stdin.write_all(END_OF_TRANSMISSION).await;
            }
            Input::End => break,
        }
    }
    // The pipe closes here, where the command sees the end; later input is thrown away.
    drop(stdin);
    while input.recv().await.is_some() {}
}
