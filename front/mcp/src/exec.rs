//! Commands: run them, wait for them, read what they said.
//!
//! A command is followed by a task of its own, so that the call may answer before the command ends:
//! the output seen so far is in its transcript, and how it stands in its stage.

use std::fmt::Write as _;
use std::{
    collections::VecDeque,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pyro_api::{Command, Exec, ExecRequest, ExecResult, SignalRequest, VmCleanup};
use pyro_client::{ClientError, ExecEvent, ExecStream, Node};
use pyro_core::Problem;
use serde_json::{Map, Value, json};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    answer::{Answer, object},
    call::{Call, LIST_BUDGET, PATIENCE},
    output::{Shown, Transcript, cost},
    resources::output_link,
};

/// How often a client that asked for progress hears of it.
const PROGRESS_EVERY: Duration = Duration::from_secs(3);

/// How long a command that was sent a signal is given to end of it, and one that must end.
const AFTER_SIGNAL: Duration = Duration::from_secs(1);
const AFTER_END: Duration = Duration::from_secs(10);

/// Output that is read whole, bytes; of more, only both ends are.
const READ_WHOLE: u64 = 4 * 1024 * 1024;

/// What is read at each end of more, bytes. Escape sequences and progress may make much of it go.
const READ_END: u64 = 1024 * 1024;

/// How many one-shot commands are remembered after they ended.
const REMEMBERED: usize = 32;

/// How a command stands.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// Asked for; it does not run yet.
    Opening,
    /// It runs; texts are empty.
    Started(Box<ExecResult>),
    /// It ended, and all its output was seen.
    Ended(Box<ExecResult>, Option<VmCleanup>),
    /// Nothing more is known of it.
    Failed(Problem),
}

/// A command that is followed.
#[derive(Debug)]
pub(crate) struct Followed {
    transcript: Arc<Mutex<Transcript>>,
    stage: watch::Receiver<Stage>,
    notices: Arc<Mutex<Vec<String>>>,
    /// Leaves the command running.
    leave: CancellationToken,
    /// Dropping it drops the stream, which ends the command unless it was attached to or left.
    _task: AbortOnDropHandle<()>,
}

impl Followed {
    /// Follows what `open` begins or attaches to.
    pub(crate) fn new(
        transcript: Arc<Mutex<Transcript>>,
        open: impl Future<Output = Result<ExecStream, ClientError>> + Send + 'static,
    ) -> Self {
        let (tell, stage) = watch::channel(Stage::Opening);
        let leave = CancellationToken::new();
        let notices = Arc::default();
        let follow =
            follow(open, Arc::clone(&transcript), Arc::clone(&notices), tell, leave.clone());
        let task = AbortOnDropHandle::new(tokio::spawn(follow));
        Self { transcript, stage, notices, leave, _task: task }
    }

    /// How it stands.
    pub(crate) fn stage(&self) -> Stage {
        self.stage.borrow().clone()
    }

    /// Waits until nothing more is to be known of it.
    pub(crate) async fn ended(&self) {
        let settled = |stage: &Stage| matches!(stage, Stage::Ended(..) | Stage::Failed(_));
        let _ = self.stage.clone().wait_for(settled).await;
    }

    fn transcript(&self) -> MutexGuard<'_, Transcript> {
        lock(&self.transcript)
    }

    /// What the node said when it began.
    pub(crate) fn notices(&self) -> Vec<String> {
        lock(&self.notices).clone()
    }

    /// Waits until it ended or the time is over, and tells how it stands then.
    pub(crate) async fn wait(&self, call: &Call, until: Option<Instant>) -> Stage {
        let mut stage = self.stage.clone();
        let settled = async {
            let settled = |stage: &Stage| matches!(stage, Stage::Ended(..) | Stage::Failed(_));
            stage.wait_for(settled).await.map(|stage| stage.clone())
        };
        let mut settled = std::pin::pin!(settled);
        let mut tick = interval_at(Instant::now() + PROGRESS_EVERY, PROGRESS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let patience = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let mut patience = std::pin::pin!(patience);
        loop {
            tokio::select! {
                biased;
                stage = &mut settled => {
                    return stage.expect("the task tells how it ended before it goes");
                }
                () = &mut patience => return self.stage(),
                _ = tick.tick(), if call.progress.is_heard() => {
                    let message = self.progress();
                    call.progress.tell(message).await;
                }
            }
        }
    }

    fn progress(&self) -> String {
        if matches!(*self.stage.borrow(), Stage::Opening) {
            return "the VM is starting".to_owned();
        }
        let transcript = self.transcript();
        match transcript.last_line() {
            Some(line) => format!("running, {} bytes of output: {line}", transcript.length()),
            None => "running, no output yet".to_owned(),
        }
    }

    /// Leaves it running without this process.
    pub(crate) async fn leave(self) {
        self.leave.cancel();
        // The task ends once the node was told, or once there is nobody to tell.
        let mut stage = self.stage.clone();
        while stage.changed().await.is_ok() {}
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn follow(
    open: impl Future<Output = Result<ExecStream, ClientError>>,
    transcript: Arc<Mutex<Transcript>>,
    notices: Arc<Mutex<Vec<String>>>,
    tell: watch::Sender<Stage>,
    left: CancellationToken,
) {
    let mut stream = match open.await {
        Ok(stream) => stream,
        Err(error) => return tell.send_modify(|stage| *stage = Stage::Failed(error.into())),
    };
    loop {
        let event = tokio::select! {
            event = stream.receiver.next() => event,
            () = left.cancelled() => {
                if let Err(error) = stream.sender.detach().await {
                    tracing::debug!(%error, "a command could not be left");
                }
                return;
            }
        };
        let stage = match event {
            Ok(Some(ExecEvent::Stdout(bytes))) => {
                lock(&transcript).stdout(&bytes);
                continue;
            }
            Ok(Some(ExecEvent::Stderr(bytes))) => {
                lock(&transcript).stderr(&bytes);
                continue;
            }
            Ok(Some(ExecEvent::Gap { from, to })) => {
                lock(&transcript).lost(from, to);
                continue;
            }
            Ok(Some(ExecEvent::Started { exec, notices: told })) => {
                lock(&notices).extend(told);
                Stage::Started(exec)
            }
            Ok(Some(ExecEvent::Ended { exec, cleanup })) => Stage::Ended(exec, cleanup),
            Ok(None) => return,
            Err(error) => Stage::Failed(error.into()),
        };
        let settled = matches!(stage, Stage::Ended(..) | Stage::Failed(_));
        tell.send_modify(|now| *now = stage);
        if settled {
            return;
        }
    }
}

/// One-shot commands that outlast the call that began them: their VM and their output are gone
/// when they end, so this process remembers.
#[derive(Debug, Default)]
pub(crate) struct Runs(Mutex<VecDeque<(String, Arc<Followed>)>>);

impl Runs {
    /// Remembers a command by its id.
    pub(crate) fn keep(&self, exec: String, followed: Arc<Followed>) {
        let mut runs = lock(&self.0);
        runs.push_back((exec, followed));
        let ended = |(_, run): &(String, Arc<Followed>)| {
            matches!(run.stage(), Stage::Ended(..) | Stage::Failed(_))
        };
        while runs.len() > REMEMBERED {
            let Some(oldest) = runs.iter().position(ended) else { break };
            runs.remove(oldest);
        }
    }

    fn find(&self, exec: &str) -> Option<Arc<Followed>> {
        let runs = lock(&self.0);
        runs.iter().find(|(id, _)| id == exec).map(|(_, run)| Arc::clone(run))
    }
}

/// What a command is asked to be by a call's arguments.
pub(crate) fn request(call: &Call) -> ExecRequest {
    let arguments = &call.arguments;
    let detach = arguments.flag("detach");
    let timeout = arguments.integer("timeout_seconds").filter(|timeout| *timeout > 0);
    ExecRequest {
        command: Command::Shell(arguments.required("command").to_owned()),
        cwd: arguments.text("cwd").map(str::to_owned),
        env: arguments.map("env"),
        user: arguments.text("user").map(str::to_owned),
        timeout_seconds: timeout.filter(|_| !detach).map(|timeout| timeout as f64),
        terminal: None,
        stdin: false,
        detach,
        no_start: false,
    }
}

/// A transcript for a call, from a combined offset on.
pub(crate) fn transcript(call: &Call, from: u64) -> Arc<Mutex<Transcript>> {
    Arc::new(Mutex::new(Transcript::new(from, call.arguments.number("max_bytes"))))
}

/// `workspace_exec`.
pub(crate) async fn exec(call: &Call) -> Result<Answer, Problem> {
    let workspace = call.workspace("workspace_id")?;
    let request = request(call);
    call.progress.tell("starting the command").await;
    let node = call.node().await?;
    if request.detach {
        let started = call
            .within("starting the command", async move {
                node.exec_detached(&workspace, &request).await
            })
            .await?;
        return Ok(Report::running(started).answer(call));
    }
    let open = {
        let node = Arc::clone(&node);
        async move { node.exec(&workspace, &request).await }
    };
    let followed = Followed::new(transcript(call, 0), open);
    let stage = followed.wait(call, call.deadline).await;
    let report = match stage {
        Stage::Failed(problem) => return Err(problem),
        Stage::Opening => return Err(not_started()),
        Stage::Ended(exec, _) => Report::of(*exec, &followed, call),
        Stage::Started(exec) => {
            let report = Report::of(as_it_stands(&node, *exec).await, &followed, call);
            followed.leave().await;
            return Ok(report.answer(call));
        }
    };
    let notices = followed.notices();
    Ok(report.answer(call).with_notices(notices))
}

/// The VM did not come up in the time of a call.
pub(crate) fn not_started() -> Problem {
    let seconds = PATIENCE.as_secs();
    Problem::failed("call_timeout", format!("the VM did not start within {seconds} s"))
        .hint("the command was not run; call again, and see workspace_status")
}

/// The record of a command that runs, as it is now.
async fn as_it_stands(node: &Node, started: ExecResult) -> ExecResult {
    let (workspace, exec) = (started.exec.workspace_id, started.exec.exec_id);
    let (workspace, exec) = (workspace.to_string(), exec.to_string());
    let status = node.exec_status(&workspace, &exec);
    match tokio::time::timeout(Duration::from_secs(2), status).await {
        Ok(Ok(exec)) => ExecResult { exec, ..started },
        _ => started,
    }
}

/// `exec_wait`.
pub(crate) async fn wait(call: &Call) -> Result<Answer, Problem> {
    let given = call.arguments.required("exec_id").to_owned();
    let patience = Duration::from_secs(call.arguments.integer("wait_seconds").unwrap_or_default());
    let now = Instant::now();
    let until = Some(call.deadline.map_or(now + patience, |latest| latest.min(now + patience)));
    if let Some(run) = call.pyro.runs.find(&given) {
        return match run.wait(call, until).await {
            Stage::Failed(problem) => Err(problem),
            Stage::Opening => Err(not_started()),
            Stage::Started(exec) => Ok(Report::of(*exec, &run, call).one_shot().answer(call)),
            Stage::Ended(exec, cleanup) => {
                Ok(Report::of(*exec, &run, call).cleaned(cleanup).one_shot().answer(call))
            }
        };
    }
    let workspace = call.workspace("workspace_id")?;
    let node = call.node().await?;
    let record = node.exec_status(&workspace, &given).await?;
    let offset = call.arguments.integer("offset").unwrap_or_default();
    let transcript = transcript(call, offset);
    let open = {
        let (node, transcript) = (Arc::clone(&node), Arc::clone(&transcript));
        let end = record.stdout_bytes + record.stderr_bytes;
        let (workspace, exec) = (record.workspace_id.to_string(), record.exec_id.to_string());
        async move {
            let mut from = offset;
            if end > offset.saturating_add(READ_WHOLE) {
                read_head(&node, &workspace, &exec, offset, &transcript).await?;
                from = end - READ_END;
                lock(&transcript).skip_to(from);
            }
            node.attach_exec(&workspace, &exec, from, false).await
        }
    };
    let followed = Followed::new(transcript, open);
    match followed.wait(call, until).await {
        Stage::Failed(problem) => Err(problem),
        Stage::Ended(exec, _) => Ok(Report::of(*exec, &followed, call).answer(call)),
        Stage::Started(exec) => {
            let exec = as_it_stands(&node, *exec).await;
            Ok(Report::of(exec, &followed, call).answer(call))
        }
        Stage::Opening => {
            Err(Problem::failed("call_timeout", "the output could not be read in time")
                .hint("call exec_wait again with a larger wait_seconds"))
        }
    }
}

/// Reads the beginning of much output.
async fn read_head(
    node: &Node,
    workspace: &str,
    exec: &str,
    offset: u64,
    transcript: &Mutex<Transcript>,
) -> Result<(), ClientError> {
    let mut stream = node.attach_exec(workspace, exec, offset, false).await?;
    while lock(transcript).length() < READ_END {
        match stream.receiver.next().await? {
            Some(ExecEvent::Stdout(bytes)) => lock(transcript).stdout(&bytes),
            Some(ExecEvent::Stderr(bytes)) => lock(transcript).stderr(&bytes),
            Some(ExecEvent::Gap { from, to }) => lock(transcript).lost(from, to),
            Some(ExecEvent::Started { .. }) => {}
            Some(ExecEvent::Ended { .. }) | None => break,
        }
    }
    Ok(())
}

/// `exec_list`.
pub(crate) async fn list(call: &Call) -> Result<Answer, Problem> {
    let workspace = call.workspace("workspace_id")?;
    let mut list = call.node().await?.execs(&workspace).await?;
    list.execs.reverse();
    let (count, running) = (list.count, list.running_count);
    let mut text = format!("{count} commands, {running} running\n");
    let entries = list.execs.iter().skip(call.arguments.number("offset"));
    let entry = |exec: &Exec| {
        let mut document = object(exec);
        let command = shortened(&exec.command);
        let line = format!("{}  {}  {command}\n", exec.exec_id, outcome(exec));
        document.insert("command".to_owned(), command.into());
        (line, document)
    };
    let (execs, omitted) = fitting(entries.map(entry), &mut text, call);
    let mut document = object(&json!({
        "workspace_id": list.workspace_id, "count": count, "running_count": running,
    }));
    document.insert("execs".to_owned(), execs.into());
    document.insert("omitted_count".to_owned(), omitted.into());
    Ok(Answer { text, document, ..Answer::default() })
}

/// As many entries as a result may hold; the text tells how to see the others.
pub(crate) fn fitting(
    entries: impl Iterator<Item = (String, Map<String, Value>)>,
    text: &mut String,
    call: &Call,
) -> (Vec<Value>, usize) {
    let (kept, omitted) = fitting_within(LIST_BUDGET, entries, text);
    if omitted > 0 {
        let next = call.arguments.number("offset") + kept.len();
        let _ = writeln!(text, "{omitted} more: call again with offset={next}");
    }
    (kept, omitted)
}

/// The first entries that fit into a budget of bytes, text and document together, and how many do
/// not.
pub(crate) fn fitting_within(
    budget: usize,
    entries: impl Iterator<Item = (String, Map<String, Value>)>,
    text: &mut String,
) -> (Vec<Value>, usize) {
    let mut left = budget;
    let mut kept = Vec::new();
    let mut omitted = 0;
    for (line, document) in entries {
        let document = Value::Object(document);
        let price = cost(&line) + document.to_string().len();
        if omitted > 0 || price > left {
            omitted += 1;
            continue;
        }
        left -= price;
        text.push_str(&line);
        kept.push(document);
    }
    (kept, omitted)
}

/// A command as a list shows it.
pub(crate) fn shortened(command: &str) -> String {
    const LONGEST: usize = 160;
    match command.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &command[..end]),
        None => command.to_owned(),
    }
}

/// `exec_signal`.
pub(crate) async fn signal(call: &Call) -> Result<Answer, Problem> {
    let workspace = call.workspace("workspace_id")?;
    let exec = call.arguments.required("exec_id").to_owned();
    let request = SignalRequest { signal: call.arguments.text("signal").map(str::to_owned) };
    let sent = request.signal.clone();
    let node = call.node().await?;
    let patience = if sent.is_some() { AFTER_SIGNAL } else { AFTER_END };
    let exec = call
        .within("ending the command", async move {
            node.signal_exec(&workspace, &exec, &request).await?;
            // What became of it says more than that it was asked to end.
            node.wait_exec(&workspace, &exec, Some(patience.as_secs_f64())).await
        })
        .await?;
    let what = sent.map_or_else(|| "asked to end".to_owned(), |signal| format!("sent {signal}"));
    let text = format!("{what}; exec_id {}: {}", exec.exec_id, outcome(&exec));
    let mut answer = Answer::new(text, &exec);
    answer.document.remove("command");
    Ok(answer)
}

/// How a command stands, in a few words.
pub(crate) fn outcome(exec: &Exec) -> String {
    let seconds = exec.duration_ms as f64 / 1000.0;
    let how = match (exec.exit_code, exec.signal) {
        _ if exec.running => return format!("running for {seconds:.1} s"),
        _ if exec.timed_out => "ended by its timeout".to_owned(),
        _ if exec.cancelled => "cancelled".to_owned(),
        (code, Some(signal)) => {
            format!("ended by signal {signal} (exit code {})", code.unwrap_or(128 + signal))
        }
        (Some(code), None) => format!("exit code {code}"),
        (None, None) => {
            let why = exec.lost.as_deref().unwrap_or("no exit code is known");
            return format!("lost ({why}) after {seconds:.1} s");
        }
    };
    format!("{how} after {seconds:.1} s")
}

/// What is told of a command.
pub(crate) struct Report {
    result: ExecResult,
    shown: Shown,
    cleanup: Option<VmCleanup>,
    /// Whether its output is gone with its VM.
    gone: bool,
    vm: bool,
}

impl Report {
    /// Of a command that was followed.
    pub(crate) fn of(result: ExecResult, followed: &Followed, call: &Call) -> Self {
        let shown = followed.transcript().show(call.arguments.number("max_bytes"));
        Self { result, shown, cleanup: None, gone: false, vm: false }
    }

    /// Of a command that just started, and goes on by itself.
    fn running(result: ExecResult) -> Self {
        Self { result, shown: Shown::default(), cleanup: None, gone: false, vm: false }
    }

    /// It ran in a VM of its own.
    pub(crate) fn one_shot(mut self) -> Self {
        self.vm = true;
        self
    }

    /// Its VM is gone, and its output with it.
    pub(crate) fn cleaned(mut self, cleanup: Option<VmCleanup>) -> Self {
        self.gone = cleanup.is_some();
        self.cleanup = cleanup;
        self
    }

    /// The call that goes on where this one stops.
    fn next(&self) -> Option<String> {
        let exec = &self.result.exec;
        let wait = |offset: u64| {
            let (workspace, exec) = (exec.workspace_id, exec.exec_id);
            let offset = if self.vm { String::new() } else { format!(", offset={offset}") };
            format!("exec_wait(workspace_id=\"{workspace}\", exec_id=\"{exec}\"{offset})")
        };
        if exec.running {
            return Some(wait(self.shown.next_offset));
        }
        self.shown.omitted_from.filter(|_| !self.vm).map(wait)
    }

    /// Text and document.
    pub(crate) fn answer(self, call: &Call) -> Answer {
        let exec = &self.result.exec;
        let shown = &self.shown;
        let mut text = outcome(exec);
        let (workspace, id) = (exec.workspace_id, exec.exec_id);
        if self.gone {
            text.push_str("; its VM was deleted\n");
        } else {
            let what = if self.vm { "VM" } else { "workspace" };
            let _ = writeln!(text, "; exec_id {id} in {what} {workspace}");
        }
        for notice in self.remarks() {
            let _ = writeln!(text, "note: {notice}");
        }
        for (name, said) in [("stdout", &shown.stdout), ("stderr", &shown.stderr)] {
            if !said.is_empty() {
                let end = if said.ends_with('\n') { "" } else { "\n" };
                let _ = write!(text, "--- {name}\n{said}{end}");
            }
        }
        if shown.stdout.is_empty() && shown.stderr.is_empty() {
            text.push_str("(no output)\n");
        }
        let next = self.next();
        let omitted = shown.omitted_bytes;
        if let (Some(next), true) = (&next, exec.running) {
            let _ = writeln!(text, "--- still running; go on with: {next}");
        } else if let Some(next) = &next {
            let _ = writeln!(text, "--- {omitted} bytes omitted; read on with: {next}");
        } else if omitted > 0 && call.arguments.has("max_bytes") {
            let _ = writeln!(text, "--- {omitted} bytes omitted; a larger max_bytes shows more");
        }
        let lost =
            !exec.running && exec.exit_code.is_none() && exec.signal.is_none() && !exec.timed_out;
        let mut links = Vec::new();
        if !self.vm && (exec.running || shown.omitted_bytes > 0) {
            let (workspace, exec) = (exec.workspace_id.to_string(), exec.exec_id.to_string());
            links.push(output_link(&workspace, &exec));
        }
        Answer { text, document: self.document(next), links, failed: lost }
    }

    fn remarks(&self) -> Vec<String> {
        let exec = &self.result.exec;
        let mut remarks = Vec::new();
        if exec.left_behind > 0 && !exec.timed_out && !exec.cancelled {
            let left = exec.left_behind;
            let mut remark = format!("{left} processes that it left behind were ended with it");
            if !self.vm {
                remark.push_str("; service_start keeps a server running");
            }
            remarks.push(remark);
        }
        if exec.oom_killed {
            remarks.push("the kernel ended a process of it for want of memory".to_owned());
        }
        for denied in &exec.network_denied {
            remarks.push(format!("the network policy refused something: {}", denied.why));
        }
        if self.shown.lossy {
            remarks.push("bytes that are no UTF-8 were replaced".to_owned());
        }
        remarks
    }

    fn document(&self, next: Option<String>) -> Map<String, Value> {
        let mut document = object(&self.result);
        let shown = &self.shown;
        document.remove("command");
        document.insert("stdout".to_owned(), shown.stdout.clone().into());
        document.insert("stderr".to_owned(), shown.stderr.clone().into());
        document.insert("lossy".to_owned(), shown.lossy.into());
        document.insert("omitted_bytes".to_owned(), shown.omitted_bytes.into());
        document.insert("next_offset".to_owned(), shown.next_offset.into());
        if let Some(from) = shown.omitted_from {
            document.insert("omitted_from".to_owned(), from.into());
        }
        if let Some(next) = next {
            document.insert("next".to_owned(), next.into());
        }
        if self.vm {
            document.insert("vm_id".to_owned(), self.result.exec.workspace_id.to_string().into());
        }
        if let Some(cleanup) = &self.cleanup {
            document.insert("cleanup".to_owned(), object(cleanup).into());
        }
        document
    }
}
