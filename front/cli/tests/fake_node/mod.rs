//! A node that answers what a test tells it to, and the command run against it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use pyro_api::{
    Exec, ExecResult, ServerControl, StreamFrame, StreamKind, VmCleanup, Workspace, WorkspaceSeed,
    WorkspaceSummary,
};
use serde_json::Value;

pub const W: &str = "0000000000aa";
pub const E: &str = "0000000000ee";

/// What a connection is answered with.
type Answer = Arc<dyn Fn(Request, &mut UnixStream) + Send + Sync>;

pub struct Request {
    /// Method and target, for example `GET /v1/node`.
    pub line: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A state directory with a node in it.
pub struct FakeNode {
    pub home: tempfile::TempDir,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    /// Every request there was, with its body.
    pub heard: Arc<Mutex<Vec<(String, Value)>>>,
}

impl FakeNode {
    pub fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("state")).unwrap();
        let listener = UnixListener::bind(home.path().join("state/node.sock")).unwrap();
        let answers = Arc::new(Mutex::new(HashMap::<String, Answer>::new()));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let node = Self { home, answers: answers.clone(), heard: heard.clone() };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (answers, heard) = (answers.clone(), heard.clone());
                thread::spawn(move || {
                    let Some(request) = read_request(&mut stream) else { return };
                    heard.lock().unwrap().push((request.line.clone(), request.json()));
                    let answer = find(&answers.lock().unwrap(), &request.line);
                    match answer {
                        Some(answer) => answer(request, &mut stream),
                        None => refuse(&mut stream, 404, "not_canned", &request.line, &[]),
                    }
                });
            }
        });
        node
    }

    /// Answers this method and target with whatever the function writes.
    pub fn on(
        self,
        line: &str,
        answer: impl Fn(Request, &mut UnixStream) + Send + Sync + 'static,
    ) -> Self {
        self.answers.lock().unwrap().insert(line.to_owned(), Arc::new(answer));
        self
    }

    /// Answers with a JSON document.
    pub fn json(self, line: &str, document: impl serde::Serialize) -> Self {
        let document = serde_json::to_string(&document).unwrap();
        self.on(line, move |_, stream| reply(stream, 200, &document))
    }

    /// Answers with an error.
    pub fn refuses(self, line: &str, status: u16, code: &str, error: &str, hints: &[&str]) -> Self {
        let (code, error) = (code.to_owned(), error.to_owned());
        let hints: Vec<String> = hints.iter().map(|hint| (*hint).to_owned()).collect();
        self.on(line, move |_, stream| {
            let hints: Vec<&str> = hints.iter().map(String::as_str).collect();
            refuse(stream, status, &code, &error, &hints);
        })
    }

    /// Answers with an exec whose stream the function plays after it was told as started.
    pub fn exec(self, line: &str, play: impl Fn(&mut UnixStream) + Send + Sync + 'static) -> Self {
        self.on(line, move |_, stream| {
            let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade";
            write!(stream, "{head}\r\nupgrade: pyro-stream\r\n\r\n").unwrap();
            say(stream, &ServerControl::Started { exec: exec(), notices: Vec::new() });
            play(stream);
        })
    }

    /// The command with its arguments, in this state directory and nothing else around it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pyro-front"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PYRO_HOME", self.home.path().join("state"))
            .env("PYRO_CACHE_DIR", self.home.path().join("cache"))
            .env("PYRO_NODE_START", "never")
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end and writes down what a person saw.
    pub fn see(&self, arguments: &[&str]) -> String {
        seen(&self.command(arguments).output().unwrap(), self.home.path())
    }

    pub fn code(&self, arguments: &[&str]) -> i32 {
        self.command(arguments).output().unwrap().status.code().unwrap()
    }
}

/// The answer to this line, or to a beginning of it that was canned with a star.
fn find(answers: &HashMap<String, Answer>, line: &str) -> Option<Answer> {
    let begins = |canned: &str| canned.strip_suffix('*').is_some_and(|it| line.starts_with(it));
    let exact = answers.get(line);
    exact.or_else(|| answers.iter().find(|(canned, _)| begins(canned)).map(|it| it.1)).cloned()
}

/// Exit code, stdout and stderr as text.
pub fn seen(output: &Output, home: &Path) -> String {
    let home = home.to_str().unwrap();
    let mut text = format!("exit code: {}\n", output.status.code().unwrap());
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        let shown = String::from_utf8_lossy(bytes).replace(home, "[HOME]");
        let _ = write!(text, "----- {name} -----\n{shown}");
    }
    text
}

pub fn reply(stream: &mut UnixStream, status: u16, body: &str) {
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
}

pub fn refuse(stream: &mut UnixStream, status: u16, code: &str, error: &str, hints: &[&str]) {
    let kind = match status {
        400 => "invalid",
        404 => "not_found",
        409 => "conflict",
        501 => "not_available",
        _ => "failed",
    };
    let body = serde_json::json!({
        "ok": false, "error": error, "code": code, "hints": hints, "kind": kind,
    });
    reply(stream, status, &body.to_string());
}

fn read_request(stream: &mut UnixStream) -> Option<Request> {
    let mut received = Vec::new();
    let mut byte = [0];
    while !received.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        received.push(byte[0]);
    }
    let head = String::from_utf8(received).unwrap();
    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    let lower = head.to_lowercase();
    let mut body = Vec::new();
    if let Some(at) = lower.find("content-length: ") {
        let length: usize = lower[at + 16..].lines().next().unwrap().parse().unwrap();
        body.resize(length, 0);
        stream.read_exact(&mut body).unwrap();
    } else if lower.contains("transfer-encoding: chunked") {
        while !body.ends_with(b"0\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
            body.push(byte[0]);
        }
    }
    Some(Request { line, body })
}

pub fn say(stream: &mut UnixStream, control: &ServerControl) {
    let _ = stream.write_all(&StreamFrame::control(control).to_bytes());
}

pub fn output(stream: &mut UnixStream, kind: StreamKind, payload: &[u8]) {
    let mut pieces = payload.chunks(pyro_api::MAX_FRAME).peekable();
    let mut first = true;
    while first || pieces.peek().is_some() {
        first = false;
        let payload = bytes::Bytes::copy_from_slice(pieces.next().unwrap_or_default());
        let _ = stream.write_all(&StreamFrame { kind, payload }.to_bytes());
    }
}

/// The next frame from the client; `None` when it went.
pub fn hear(stream: &mut UnixStream) -> Option<(StreamKind, Vec<u8>)> {
    let mut header = [0; 5];
    stream.read_exact(&mut header).ok()?;
    let length = u32::from_le_bytes(header[1..].try_into().unwrap()) as usize;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).ok()?;
    Some((StreamKind::from_byte(header[0]).unwrap().0, payload))
}

/// The next control document from the client.
pub fn hear_control(stream: &mut UnixStream) -> Option<Value> {
    loop {
        if let (StreamKind::Control, payload) = hear(stream)? {
            return serde_json::from_slice(&payload).ok();
        }
    }
}

/// The command ends as the function says.
pub fn end(stream: &mut UnixStream, how: impl FnOnce(&mut Exec)) {
    let mut exec = exec();
    exec.exec.running = false;
    exec.exec.exit_code = Some(0);
    exec.exec.ended_at = Some(3.0);
    exec.exec.duration_ms = 1500;
    how(&mut exec.exec);
    say(stream, &ServerControl::Ended { exec, cleanup: None });
    output(stream, StreamKind::End, b"");
}

/// The same for a run.
pub fn end_run(stream: &mut UnixStream) {
    let mut exec = exec();
    exec.exec.running = false;
    exec.exec.exit_code = Some(0);
    let vm_id = exec.exec.workspace_id;
    let cleanup = VmCleanup { vm_id, deleted: true, reason: "post_exec_cleanup".into() };
    say(stream, &ServerControl::Ended { exec, cleanup: Some(cleanup) });
    output(stream, StreamKind::End, b"");
}

/// An exec that runs.
pub fn exec() -> Box<ExecResult> {
    Box::new(ExecResult {
        exec: Exec {
            exec_id: E.parse().unwrap(),
            workspace_id: W.parse().unwrap(),
            sequence: 1,
            command: "make test".into(),
            cwd: "/workspace".into(),
            running: true,
            detached: false,
            exit_code: None,
            signal: None,
            timed_out: false,
            cancelled: false,
            oom_killed: false,
            lost: None,
            started_at: 1.0,
            ended_at: None,
            duration_ms: 2,
            stdout_bytes: 0,
            stderr_bytes: 0,
            truncated: false,
            left_behind: 0,
            network_denied: Vec::new(),
            memory_peak_bytes: 0,
            cpu_seconds: 0.0,
        },
        environment: "debian:12".into(),
        environment_version: Some("1".into()),
        execution_mode: "guest_vsock".into(),
        stdout: String::new(),
        stderr: String::new(),
        lossy: false,
    })
}

/// A started workspace, made two days ago.
pub fn workspace() -> Workspace {
    Workspace {
        workspace_id: W.parse().unwrap(),
        name: Some("web".into()),
        labels: [("team".to_owned(), "web".to_owned())].into(),
        environment: "debian:12".into(),
        environment_version: Some("1".into()),
        vcpu_count: 1,
        mem_mib: 1024,
        disk_mib: 20480,
        ttl_seconds: None,
        on_expiry: "stop".into(),
        created_at: days_ago(2),
        last_activity_at: days_ago(1),
        expires_at: None,
        state: "started".into(),
        activity: None,
        stop_reason: None,
        stop_detail: None,
        network_policy: "off".into(),
        network_allow: Vec::new(),
        network_enabled: false,
        guest_ip: None,
        tap_name: None,
        allow_host_compat: false,
        execution_mode: "guest_vsock".into(),
        workspace_path: "/workspace".into(),
        workspace_seed: WorkspaceSeed {
            mode: "empty".into(),
            seed_path: None,
            destination: "/workspace".into(),
            entry_count: 0,
            bytes_written: 0,
            seed_digest: None,
            reused: false,
        },
        secrets: Vec::new(),
        command_count: 3,
        last_command: None,
        reset_count: 0,
        last_reset_at: None,
        service_count: 0,
        running_service_count: 0,
        metadata: [].into(),
        backend: "qemu".into(),
        accelerated: false,
        disk_bytes: 3 << 20,
        workload_restarts: 0,
    }
}

/// The same in a list.
pub fn summary() -> WorkspaceSummary {
    let workspace = workspace();
    WorkspaceSummary {
        workspace_id: workspace.workspace_id,
        name: workspace.name,
        labels: workspace.labels,
        environment: workspace.environment,
        state: workspace.state,
        activity: None,
        stop_reason: None,
        created_at: workspace.created_at,
        last_activity_at: workspace.last_activity_at,
        expires_at: None,
        command_count: 3,
        service_count: 0,
        running_service_count: 0,
        backend: workspace.backend,
    }
}

fn days_ago(days: u32) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    now - f64::from(days) * 86_400.0 - 60.0
}
