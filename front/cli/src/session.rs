//! A command that runs, wired to this process: stdin, stdout, stderr, signals and window size.
//!
//! Four parties that never wait for each other longer than they must: a thread that reads stdin, a
//! thread that writes stdout and stderr, a task that says things to the node, and the session
//! itself, which hears the node and the signals.

use std::{
    cell::OnceCell,
    fs::File,
    io::{self, Read, Write},
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use bytes::Bytes;
use pyro_api::{Exec, ExecResult, Terminal, VmCleanup};
use pyro_client::{ExecEvent, ExecReceiver, ExecSender, ExecStream};
use pyro_core::{ExecId, Problem, WorkspaceId};
use rustix::stdio;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    error::CommandError,
    printer::Printer,
    terminal::{self, RawMode},
};

/// A second Ctrl-C within this time ends the command's whole process tree.
const TWICE: Duration = Duration::from_millis(1500);

/// How much of each stream is kept for a JSON document, bytes.
const LONGEST_TEXT: usize = 64 * 1024 * 1024;

/// What detaches on a terminal: ctrl-p, then ctrl-q.
const DETACH_KEYS: [u8; 2] = [0x10, 0x11];

/// How a command is wired to this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wiring {
    /// Send stdin to it.
    pub(crate) stdin: bool,
    /// It has a terminal, of which this one is the other side.
    pub(crate) terminal: bool,
    /// Keep its output for a JSON document instead of writing it.
    pub(crate) collect: bool,
    /// Ctrl-p ctrl-q leaves it running.
    pub(crate) detach_keys: bool,
}

/// How a session ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The command ended.
    Ended(Box<Ended>),
    /// The caller left it running: what it is called, once the node has said so.
    Detached(Option<(WorkspaceId, ExecId)>),
    /// The caller insisted on leaving.
    Interrupted,
}

/// A command that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its record, with its output where it was collected.
    pub(crate) result: ExecResult,
    /// Set on a run: its VM was deleted.
    pub(crate) cleanup: Option<VmCleanup>,
}

/// Carries a command to its end.
pub(crate) async fn carry(
    stream: ExecStream,
    wiring: Wiring,
    printer: Printer,
) -> Result<Outcome, CommandError> {
    let signals = Signals::new()?;
    let raw = if wiring.terminal && wiring.stdin {
        RawMode::enter().map_err(|error| {
            Problem::failed("terminal_failed", "cannot set the terminal to raw mode").cause(error)
        })?
    } else {
        None
    };
    let (say, sayings) = mpsc::channel(16);
    let (input, inputs) = mpsc::channel(4);
    let speaker = tokio::spawn(speak(stream.sender, sayings, inputs, wiring.stdin));
    if wiring.stdin {
        let keys = wiring.detach_keys && raw.is_some();
        let say = say.clone();
        std::thread::spawn(move || read_stdin(&input, &say, keys));
    } else {
        drop(input);
    }
    let outcome = hear(stream.receiver, wiring, printer, signals, &say, speaker).await;
    drop(raw);
    outcome
}

/// What is said to the node.
#[derive(Debug)]
enum Saying {
    Signal(u32),
    Resize(Terminal),
    Cancel,
    Detach,
}

/// Says what is to be said, stdin last: a command that does not read keeps nothing else waiting
/// but what was begun. Tells whether it ended by leaving the command running.
async fn speak(
    mut sender: ExecSender,
    mut sayings: mpsc::Receiver<Saying>,
    mut inputs: mpsc::Receiver<Vec<u8>>,
    mut reading: bool,
) -> bool {
    loop {
        let said = tokio::select! {
            biased;
            saying = sayings.recv() => match saying {
                Some(Saying::Signal(number)) => sender.signal(number).await,
                Some(Saying::Resize(size)) => sender.resize(size).await,
                Some(Saying::Cancel) => sender.cancel().await,
                Some(Saying::Detach) => return sender.detach().await.is_ok(),
                None => return false,
            },
            input = inputs.recv(), if reading => if let Some(bytes) = input {
                sender.stdin(&bytes).await
            } else {
                reading = false;
                sender.end().await
            },
        };
        if said.is_err() {
            // The receiving half knows better why the connection broke, and may still have output.
            while sayings.recv().await.is_some() {}
            return false;
        }
    }
}

/// Hears the node and the signals until the command ended and its output was written.
async fn hear(
    mut receiver: ExecReceiver,
    wiring: Wiring,
    printer: Printer,
    mut signals: Signals,
    say: &mpsc::Sender<Saying>,
    speaker: JoinHandle<bool>,
) -> Result<Outcome, CommandError> {
    let (output, written) = start_writing();
    let started = OnceCell::new();
    let pump = async {
        let ended = pump(&mut receiver, &started, &output, wiring, printer).await;
        drop(output);
        ended
    };
    tokio::pin!(pump, written, speaker);
    let mut result = None;
    let mut heard = false;
    let mut spoken = false;
    let mut interrupts = Interrupts::default();
    let finished = loop {
        tokio::select! {
            // Who was told to leave it running may close the connection: that was no loss.
            biased;
            said = &mut speaker, if !spoken => {
                spoken = true;
                if matches!(said, Ok(true)) {
                    return Ok(Outcome::Detached(started.get().copied()));
                }
            },
            number = signals.next() => match number {
                None => {
                    if wiring.terminal {
                        let _ = say.try_send(Saying::Resize(terminal::size()));
                    }
                }
                Some(number) => match interrupts.count(number) {
                    1 => { let _ = say.try_send(Saying::Signal(number)); }
                    2 => {
                        printer.notice("ending the command and all its processes");
                        let _ = say.try_send(Saying::Cancel);
                    }
                    _ => return Ok(Outcome::Interrupted),
                },
            },
            wrote = &mut written => match wrote.unwrap_or(Ok(())) {
                Ok(()) => break result,
                Err(error) => return Err(CommandError::stdout(&error)),
            },
            ended = &mut pump, if !heard => {
                heard = true;
                // Nothing where the writing thread has gone: it says why.
                result = ended.transpose();
            }
        }
    };
    match finished {
        Some(Ok(ended)) => Ok(Outcome::Ended(ended)),
        Some(Err(error)) => Err(error),
        None => Err(CommandError::BrokenPipe),
    }
}

fn text(bytes: Result<String, std::string::FromUtf8Error>) -> String {
    bytes.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Takes the node's events until the last; `None` when the writing thread has gone.
async fn pump(
    receiver: &mut ExecReceiver,
    started: &OnceCell<(WorkspaceId, ExecId)>,
    output: &mpsc::Sender<(Target, Bytes)>,
    wiring: Wiring,
    printer: Printer,
) -> Result<Option<Box<Ended>>, CommandError> {
    let mut collected = (Vec::new(), Vec::new());
    let mut cut = false;
    loop {
        let (target, bytes) = match receiver.next().await? {
            Some(ExecEvent::Started { exec, notices }) => {
                let _ = started.set((exec.exec.workspace_id, exec.exec.exec_id));
                for notice in notices {
                    printer.notice(&notice);
                }
                continue;
            }
            Some(ExecEvent::Stdout(bytes)) => (Target::Stdout, bytes),
            Some(ExecEvent::Stderr(bytes)) => (Target::Stderr, bytes),
            Some(ExecEvent::Gap { from, to }) => {
                if wiring.collect {
                    continue;
                }
                let notice = format!("[{} bytes of output were dropped]\n", to - from.min(to));
                (Target::Stderr, notice.into())
            }
            Some(ExecEvent::Ended { exec: mut result, cleanup }) => {
                result.exec.truncated |= cut;
                if wiring.collect {
                    let (out, err) = collected;
                    let (out, err) = (String::from_utf8(out), String::from_utf8(err));
                    result.lossy |= out.is_err() || err.is_err();
                    result.stdout = text(out);
                    result.stderr = text(err);
                }
                return Ok(Some(Box::new(Ended { result: *result, cleanup })));
            }
            None => {
                let problem = Problem::failed("invalid_stream", "the stream ended without an end");
                return Err(problem.into());
            }
        };
        if wiring.collect {
            let kept = if target == Target::Stdout { &mut collected.0 } else { &mut collected.1 };
            let room = (LONGEST_TEXT - kept.len()).min(bytes.len());
            kept.extend_from_slice(&bytes[..room]);
            cut |= room < bytes.len();
        } else if output.send((target, bytes)).await.is_err() {
            return Ok(None);
        }
    }
}

/// Where output goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Target {
    Stdout,
    Stderr,
}

/// A thread that writes what it is sent, in order, and tells when it is done with all or could not
/// write to stdout. A stderr that is gone loses its part quietly.
fn start_writing() -> (mpsc::Sender<(Target, Bytes)>, oneshot::Receiver<io::Result<()>>) {
    let (output, mut pieces) = mpsc::channel::<(Target, Bytes)>(8);
    let (tell, written) = oneshot::channel();
    std::thread::spawn(move || {
        let mut write = || {
            let mut stdout = unbuffered(stdio::stdout())?;
            let mut stderr = unbuffered(stdio::stderr())?;
            while let Some((target, bytes)) = pieces.blocking_recv() {
                match target {
                    Target::Stdout => write_all(&mut stdout, &bytes)?,
                    Target::Stderr => {
                        let _ = write_all(&mut stderr, &bytes);
                    }
                }
            }
            Ok(())
        };
        let _ = tell.send(write());
    });
    (output, written)
}

fn unbuffered(descriptor: BorrowedFd<'_>) -> io::Result<File> {
    Ok(descriptor.try_clone_to_owned()?.into())
}

/// Writes also where somebody else has set the descriptor not to block.
fn write_all(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait_until(file, rustix::event::PollFlags::OUT)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn wait_until(file: &File, flags: rustix::event::PollFlags) -> io::Result<()> {
    let mut polled = [rustix::event::PollFd::new(file, flags)];
    rustix::event::poll(&mut polled, None)?;
    Ok(())
}

/// Reads stdin to its end, or until nobody wants it.
fn read_stdin(input: &mpsc::Sender<Vec<u8>>, say: &mpsc::Sender<Saying>, detach_keys: bool) {
    let Ok(mut stdin) = unbuffered(stdio::stdin()) else { return };
    let mut buffer = vec![0; 64 * 1024];
    let mut keys = Keys::default();
    loop {
        let length = match stdin.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if wait_until(&stdin, rustix::event::PollFlags::IN).is_err() {
                    return;
                }
                continue;
            }
            Err(_) => return,
        };
        let bytes = if detach_keys {
            let Some(bytes) = keys.filter(&buffer[..length]) else {
                let _ = say.blocking_send(Saying::Detach);
                return;
            };
            bytes
        } else {
            buffer[..length].to_vec()
        };
        if !bytes.is_empty() && input.blocking_send(bytes).is_err() {
            return;
        }
    }
}

/// Looks for the detach keys in what is typed.
#[derive(Debug, Default)]
struct Keys {
    half: bool,
}

impl Keys {
    /// What is to be passed on; `None` once both keys were typed. The first key is held back until
    /// the next shows what it was meant for.
    fn filter(&mut self, typed: &[u8]) -> Option<Vec<u8>> {
        let mut passed = Vec::with_capacity(typed.len() + 1);
        for byte in typed {
            if self.half {
                if *byte == DETACH_KEYS[1] {
                    return None;
                }
                passed.push(DETACH_KEYS[0]);
                self.half = false;
            }
            if *byte == DETACH_KEYS[0] {
                self.half = true;
            } else {
                passed.push(*byte);
            }
        }
        Some(passed)
    }
}

/// Counts Ctrl-C that follow each other closely.
#[derive(Debug, Default)]
struct Interrupts {
    last: Option<Instant>,
    count: u32,
}

impl Interrupts {
    /// How often in a row; other signals always count as the first.
    fn count(&mut self, number: u32) -> u32 {
        if number != interrupt() {
            return 1;
        }
        let again = self.last.is_some_and(|last| last.elapsed() < TWICE);
        self.count = if again { self.count + 1 } else { 1 };
        self.last = Some(Instant::now());
        self.count
    }
}

fn interrupt() -> u32 {
    SignalKind::interrupt().as_raw_value() as u32
}

/// The signals that concern a command.
#[derive(Debug)]
struct Signals {
    /// `None` where the caller had it ignored, as `nohup` does: then it stays so.
    passed_on: [(u32, Option<Signal>); 4],
    resize: Signal,
}

impl Signals {
    fn new() -> Result<Self, CommandError> {
        let ignored = ignored_signals();
        let passed_on = |kind: SignalKind| {
            let number = kind.as_raw_value() as u32;
            let listener = match ignored >> (number - 1) & 1 {
                0 => Some(signal(kind)?),
                _ => None,
            };
            Ok::<_, io::Error>((number, listener))
        };
        let listen = || {
            Ok(Self {
                passed_on: [
                    passed_on(SignalKind::interrupt())?,
                    passed_on(SignalKind::terminate())?,
                    passed_on(SignalKind::hangup())?,
                    passed_on(SignalKind::quit())?,
                ],
                resize: signal(SignalKind::window_change())?,
            })
        };
        listen().map_err(|error: io::Error| {
            Problem::failed("signals_failed", "cannot listen for signals").cause(error).into()
        })
    }

    /// The next signal to be passed on; `None` when the window's size changed.
    async fn next(&mut self) -> Option<u32> {
        let [(int, a), (term, b), (hup, c), (quit, d)] = &mut self.passed_on;
        tokio::select! {
            () = arrival(a) => Some(*int),
            () = arrival(b) => Some(*term),
            () = arrival(c) => Some(*hup),
            () = arrival(d) => Some(*quit),
            _ = self.resize.recv() => None,
        }
    }
}

async fn arrival(listener: &mut Option<Signal>) {
    match listener {
        Some(listener) => {
            listener.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// The signals this process ignores, bit N-1 for signal N (proc(5), SigIgn).
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// The exit code that tells how a command ended, with notices for a person.
pub(crate) fn exit_code(exec: &Exec, printer: Printer) -> Result<u8, Problem> {
    // What its timeout or its caller ended was not left behind for good.
    if exec.left_behind > 0 && !exec.timed_out && !exec.cancelled {
        let (were, it) = match exec.left_behind {
            1 => ("1 process that it left behind was".to_owned(), "it"),
            many => (format!("{many} processes that it left behind were"), "them"),
        };
        printer.notice(&format!("{were} ended with the command"));
        printer.hint(&format!("to keep {it} running, start the command with --detach"));
    }
    if exec.oom_killed {
        printer.notice("the kernel ended a process of it for want of memory");
        printer.hint("a workspace made with a larger --mem-mib has more");
    }
    for denied in &exec.network_denied {
        printer.notice(&format!("the network policy refused something: {}", denied.why));
        printer.hint(&format!(
            "{} would allow it; now: pyro workspace network set {} --add {}",
            denied.hint, exec.workspace_id, denied.hint
        ));
    }
    if exec.timed_out {
        let seconds = exec.duration_ms as f64 / 1000.0;
        let after = crate::output::units::span(seconds);
        printer.notice(&format!("the command hit its timeout and was ended after {after}"));
        return Ok(124);
    }
    if let Some(code) = exec.exit_code {
        return Ok(u8::try_from(code).unwrap_or(255));
    }
    if let Some(signal) = exec.signal {
        return Ok(u8::try_from(128 + signal).unwrap_or(255));
    }
    let why = match exec.lost.as_deref() {
        Some("workload_restarted") => "the workspace was rebooted from inside",
        Some("vm_died") => "its VM ended",
        Some("never_started") => "the node ended before it was started",
        Some("guest_lost_track") => "the guest saw no end of it",
        Some("workspace_stopped") => "the workspace was stopped",
        Some(other) => other,
        None => "no exit code is known",
    };
    let workspace = exec.workspace_id;
    Err(Problem::failed("exec_lost", format!("the end of the command was not seen: {why}"))
        .hint(format!("what it printed until then: pyro logs {workspace}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_detach_keys_are_found_across_reads_and_else_passed_on() {
        let mut keys = Keys::default();
        assert_eq!(keys.filter(b"a\x10").unwrap(), b"a");
        assert_eq!(keys.filter(b"b").unwrap(), b"\x10b");
        assert_eq!(keys.filter(b"\x10\x10").unwrap(), b"\x10");
        assert_eq!(keys.filter(b"\x11"), None);
    }

    #[test]
    fn only_interrupts_in_a_row_count_up() {
        let mut interrupts = Interrupts::default();
        assert_eq!([15, 2, 2, 15, 2].map(|number| interrupts.count(number)), [1, 1, 2, 1, 3]);
    }
}
