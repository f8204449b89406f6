//! One call of the `pyro` command.

use std::{
    ffi::OsStr,
    fmt,
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle},
    time::Instant,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open},
};
use serde_json::Value;

use crate::{Process, patience};

/// Seconds a call may take before it counts as hung.
const DEADLINE: u64 = 150;

/// A call that was not made yet.
#[derive(Debug)]
#[must_use = "a verb does nothing until it is told what to end with: ok, code, fails, seen, start"]
pub struct Verb {
    command: Command,
    stdin: Option<Vec<u8>>,
}

impl Verb {
    pub(crate) fn new(command: Command) -> Self {
        Self { command, stdin: None }
    }

    /// Sets a variable of the client (and of a node that it starts).
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Calls it from this directory.
    pub fn from_directory(mut self, directory: &std::path::Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// What it reads; nothing without this.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Makes the call and goes on; it may be fed and read meanwhile.
    pub fn start(mut self) -> Client {
        let feed = self.stdin.take();
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let line = format!(
            "pyro{}",
            self.command
                .get_args()
                .fold(String::new(), |line, word| { format!("{line} {}", word.display()) })
        );
        let mut child = self.command.spawn().unwrap();
        let stdout = Collected::from(child.stdout.take().unwrap());
        let stderr = Collected::from(child.stderr.take().unwrap());
        let mut stdin = child.stdin.take();
        if let Some(bytes) = feed {
            let mut pipe = stdin.take().unwrap();
            // Who does not read to the end breaks the pipe, which is no failure of the story.
            thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        Client { line, child, stdin, stdout, stderr }
    }

    /// Makes the call and waits for its end, whatever that is.
    #[track_caller]
    pub fn seen(self) -> Seen {
        let mut client = self.start();
        client.close_stdin();
        client.end()
    }

    /// Makes the call, which must succeed.
    #[track_caller]
    pub fn ok(self) -> Seen {
        self.code(0)
    }

    /// Makes the call, which must end with this exit code.
    #[track_caller]
    pub fn code(self, code: i32) -> Seen {
        self.seen().expect_code(code)
    }

    /// Makes the call (with `--json`), which must fail with this stable code of an error.
    #[track_caller]
    pub fn fails(mut self, code: &str) -> Value {
        self.command.arg("--json");
        let seen = self.seen();
        let told: Option<Value> = serde_json::from_slice(&seen.stdout).ok();
        let told = told.filter(|told| told["ok"] == false && told["code"] == code);
        told.unwrap_or_else(|| panic!("it should have failed as {code}: {seen}"))
    }
}

/// A call that goes on.
#[derive(Debug)]
pub struct Client {
    line: String,
    child: Child,
    stdin: Option<std::process::ChildStdin>,
    stdout: Collected,
    stderr: Collected,
}

impl Client {
    /// Its process.
    pub fn process(&self) -> Process {
        Process::of(self.child.id() as i32).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Feeds it.
    pub fn feed(&mut self, bytes: &[u8]) {
        let pipe = self.stdin.as_mut().unwrap();
        pipe.write_all(bytes).unwrap();
        pipe.flush().unwrap();
    }

    /// Ends its stdin.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// What came on its stdout so far.
    pub fn so_far(&self) -> Vec<u8> {
        self.stdout.so_far()
    }

    /// Waits until its stdout holds this.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let found = self.stdout.wait_for(text.as_bytes());
        assert!(
            found,
            "waited in vain for {text:?} of `{}`; stdout {:?}, stderr {:?}",
            self.line,
            shown(&self.stdout.so_far()),
            shown(&self.stderr.so_far())
        );
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Seen {
        let Some(status) = ended(&mut self.child) else {
            let _ = self.child.kill();
            let _ = self.child.wait();
            panic!(
                "`{}` does not end; stdout {:?}, stderr {:?}",
                self.line,
                shown(&self.stdout.so_far()),
                shown(&self.stderr.so_far())
            );
        };
        let (stdout, stderr) = (self.stdout.end(), self.stderr.end());
        Seen { line: std::mem::take(&mut self.line), status, stdout, stderr }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Waits for a child's end; none where it does not come.
pub(crate) fn ended(child: &mut Child) -> Option<ExitStatus> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).unwrap();
    let deadline = Instant::now() + patience(DEADLINE);
    while child.try_wait().unwrap().is_none() {
        let left = Timespec::try_from(deadline.checked_duration_since(Instant::now())?).unwrap();
        let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left));
    }
    Some(child.wait().unwrap())
}

/// How a call ended and what it printed.
#[derive(Clone, Debug)]
pub struct Seen {
    line: String,
    status: ExitStatus,
    /// All of its stdout.
    pub stdout: Vec<u8>,
    /// All of its stderr.
    pub stderr: Vec<u8>,
}

impl Seen {
    /// Its exit code; none where a signal ended it.
    pub fn exit_code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Fails unless it ended with this exit code.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "the check is what it is called for")]
    pub fn expect_code(self, code: i32) -> Self {
        assert!(self.exit_code() == Some(code), "it should have ended with {code}: {self}");
        self
    }

    /// Its stdout as text, without white space around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// Its stderr as text.
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Its stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("it should have printed JSON ({error}): {self}"))
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stdout, stderr) = (shown(&self.stdout), shown(&self.stderr));
        write!(f, "`{}`: {}\nstdout: {stdout}\nstderr: {stderr}", self.line, self.status)
    }
}

/// Bytes for a failure's message.
fn shown(bytes: &[u8]) -> String {
    let more =
        if bytes.len() > 4096 { format!("... ({} bytes)", bytes.len()) } else { String::new() };
    String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).into_owned() + &more
}

/// What came so far, and whether that is all.
type Heard = (Vec<u8>, bool);

/// A stream that is read as it comes.
#[derive(Debug)]
pub(crate) struct Collected {
    shared: Arc<(Mutex<Heard>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

impl Collected {
    pub(crate) fn from(mut stream: impl Read + Send + 'static) -> Self {
        let shared = Arc::new((Mutex::new((Vec::new(), false)), Condvar::new()));
        let theirs = shared.clone();
        let reader = thread::spawn(move || {
            let mut piece = vec![0; 64 * 1024];
            loop {
                // A terminal whose other end is gone gives EIO.
                let count = stream.read(&mut piece).unwrap_or(0);
                let mut state = theirs.0.lock().unwrap();
                state.0.extend_from_slice(&piece[..count]);
                state.1 = count == 0;
                theirs.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Self { shared, reader: Some(reader) }
    }

    pub(crate) fn so_far(&self) -> Vec<u8> {
        self.shared.0.lock().unwrap().0.clone()
    }

    pub(crate) fn wait_for(&self, text: &[u8]) -> bool {
        let limit = patience(DEADLINE);
        let found = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        let state = self.shared.0.lock().unwrap();
        let waited = self
            .shared
            .1
            .wait_timeout_while(state, limit, |(bytes, ended)| !found(bytes) && !*ended);
        found(&waited.unwrap().0.0)
    }

    pub(crate) fn end(&mut self) -> Vec<u8> {
        self.reader.take().unwrap().join().unwrap();
        std::mem::take(&mut self.shared.0.lock().unwrap().0)
    }
}
