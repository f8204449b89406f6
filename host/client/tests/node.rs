//! The client against a node that answers what the test tells it to.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use pyro_client::{
    ClientError, ExecEvent, Node, NodeLocation,
    api::{
        BuildEvent, Command, CreateWorkspace, Exec, ExecRequest, ExecResult, Kind, Problem,
        ServerControl, StreamFrame, StreamKind, Terminal,
    },
};

/// A state directory with a socket that hands each request to `answer`.
struct FakeNode {
    state: tempfile::TempDir,
}

/// The request's head and body, and the connection to answer on.
type Answer = dyn Fn(&str, &[u8], &mut UnixStream) + Send + Sync;

impl FakeNode {
    fn new(answer: impl Fn(&str, &[u8], &mut UnixStream) + Send + Sync + 'static) -> Self {
        let state = tempfile::tempdir().unwrap();
        serve(&state.path().join("node.sock"), Arc::new(answer));
        Self { state }
    }

    async fn client(&self) -> Node {
        Node::connect(location(self.state.path(), None)).await.unwrap()
    }
}

fn location(state: &Path, program: Option<&Path>) -> NodeLocation {
    NodeLocation {
        state: state.to_owned(),
        cache: state.join("cache"),
        program: program.map(Path::to_owned),
    }
}

fn serve(socket: &Path, answer: Arc<Answer>) {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let answer = answer.clone();
            thread::spawn(move || {
                if let Some((head, body)) = read_request(&mut stream) {
                    answer(&head, &body, &mut stream);
                }
            });
        }
    });
}

fn read_request(stream: &mut UnixStream) -> Option<(String, Vec<u8>)> {
    let mut received = Vec::new();
    let mut piece = [0; 4096];
    let end = loop {
        if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        match stream.read(&mut piece).ok()? {
            0 => return None,
            length => received.extend_from_slice(&piece[..length]),
        }
    };
    let head = String::from_utf8(received[..end].to_vec()).unwrap();
    let mut body = received.split_off(end + 4);
    let lower = head.to_lowercase();
    if let Some(at) = lower.find("content-length: ") {
        let length: usize = lower[at + 16..].lines().next().unwrap().parse().unwrap();
        while body.len() < length {
            let count = stream.read(&mut piece).unwrap();
            body.extend_from_slice(&piece[..count]);
        }
    } else if lower.contains("transfer-encoding: chunked") {
        while !body.ends_with(b"0\r\n\r\n") {
            let count = stream.read(&mut piece).unwrap();
            if count == 0 {
                break;
            }
            body.extend_from_slice(&piece[..count]);
        }
    }
    Some((head, body))
}

fn reply(stream: &mut UnixStream, status: &str, body: &str) {
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
}

fn exec(running: bool) -> Box<ExecResult> {
    Box::new(ExecResult {
        exec: Exec {
            exec_id: "00000000000e".parse().unwrap(),
            workspace_id: "0000000000aa".parse().unwrap(),
            sequence: 1,
            command: "true".into(),
            cwd: "/workspace".into(),
            running,
            detached: false,
            exit_code: (!running).then_some(0),
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
        environment_version: None,
        execution_mode: "guest_vsock".into(),
        stdout: String::new(),
        stderr: String::new(),
        lossy: false,
    })
}

fn request() -> ExecRequest {
    ExecRequest {
        command: Command::Arguments(vec!["cat".into()]),
        cwd: None,
        env: BTreeMap::new(),
        user: None,
        timeout_seconds: None,
        terminal: None,
        stdin: true,
        detach: false,
        no_start: false,
    }
}

fn upgrade(stream: &mut UnixStream) {
    let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: pyro-stream";
    write!(stream, "{head}\r\n\r\n").unwrap();
}

fn send(stream: &mut UnixStream, kind: StreamKind, payload: &'static [u8]) {
    let frame = StreamFrame { kind, payload: payload.into() };
    stream.write_all(&frame.to_bytes()).unwrap();
}

fn say(stream: &mut UnixStream, control: &ServerControl) {
    stream.write_all(&StreamFrame::control(control).to_bytes()).unwrap();
}

fn hear(stream: &mut UnixStream) -> StreamFrame {
    let mut header = [0; 5];
    stream.read_exact(&mut header).unwrap();
    let mut frame = header.to_vec();
    let length = u32::from_le_bytes(header[1..].try_into().unwrap()) as usize;
    frame.resize(5 + length, 0);
    stream.read_exact(&mut frame[5..]).unwrap();
    StreamFrame::cut(&mut bytes::BytesMut::from(&frame[..])).unwrap().unwrap()
}

#[tokio::test]
async fn names_reach_the_node_as_one_segment_of_the_path() {
    let node = FakeNode::new(|head, _, stream| {
        assert!(head.starts_with("GET /v1/workspaces/..%2Fa%20b HTTP/1.1"), "{head}");
        let body = r#"{"ok":false,"error":"no such workspace","code":"workspace_not_found",
            "hints":["pyro workspace list"],"kind":"not_found"}"#;
        reply(stream, "404 Not Found", body);
    });
    let problem = Problem::from(node.client().await.workspace("../a b").await.unwrap_err());
    assert_eq!((problem.kind, problem.code.as_str()), (Kind::NotFound, "workspace_not_found"));
    assert_eq!(problem.hints, ["pyro workspace list"]);
}

#[tokio::test]
async fn an_answer_that_is_no_document_is_told_as_one_of_another_version() {
    let node = FakeNode::new(|_, _, stream| reply(stream, "404 Not Found", "what?"));
    let problem = Problem::from(node.client().await.disk_usage().await.unwrap_err());
    assert_eq!(problem.code, "node_reply_invalid");
    assert!(problem.to_string().contains("404 Not Found: what?"), "{problem}");
}

#[tokio::test]
async fn a_question_is_asked_again_when_the_node_went_and_an_order_is_not() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let node = FakeNode::new(move |_, _, _| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let client = node.client().await;
    let error = client.workspaces().await.unwrap_err();
    assert_eq!(error.code(), "node_connection_lost");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let error = client.create_workspace(&CreateWorkspace::default()).await.unwrap_err();
    assert_eq!(error.code(), "node_connection_lost");
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn an_exec_streams_both_ways() {
    let node = FakeNode::new(|head, body, stream| {
        assert!(head.to_lowercase().contains("upgrade: pyro-stream"), "{head}");
        let request: ExecRequest = serde_json::from_slice(body).unwrap();
        assert!(request.stdin);
        upgrade(stream);
        say(stream, &ServerControl::Started { exec: exec(true), notices: vec!["started".into()] });
        assert_eq!(&hear(stream).payload[..], b"\xff\xfe");
        assert_eq!(hear(stream).kind, StreamKind::End);
        let resize = String::from_utf8(hear(stream).payload.to_vec()).unwrap();
        assert_eq!(resize, r#"{"type":"resize","columns":80,"rows":24}"#);
        send(stream, StreamKind::Control, br#"{"type":"of a newer node","x":1}"#);
        send(stream, StreamKind::Stdout, b"\xff\xfe");
        say(stream, &ServerControl::Gap { from: 2, to: 9 });
        send(stream, StreamKind::Stderr, b"e");
        say(stream, &ServerControl::Ended { exec: exec(false), cleanup: None });
        send(stream, StreamKind::End, b"");
    });
    let mut stream = node.client().await.exec("w", &request()).await.unwrap();
    stream.sender.stdin(b"\xff\xfe").await.unwrap();
    stream.sender.end().await.unwrap();
    stream.sender.resize(Terminal { columns: 80, rows: 24 }).await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = stream.receiver.next().await.unwrap() {
        events.push(event);
    }
    assert_eq!(
        events,
        [
            ExecEvent::Started { exec: exec(true), notices: vec!["started".into()] },
            ExecEvent::Stdout((&b"\xff\xfe"[..]).into()),
            ExecEvent::Gap { from: 2, to: 9 },
            ExecEvent::Stderr((&b"e"[..]).into()),
            ExecEvent::Ended { exec: exec(false), cleanup: None },
        ]
    );
}

#[tokio::test]
async fn a_lost_stream_says_how_to_find_the_command_again() {
    let node = FakeNode::new(|_, _, stream| {
        upgrade(stream);
        say(stream, &ServerControl::Started { exec: exec(true), notices: Vec::new() });
    });
    let mut stream = node.client().await.exec("w", &request()).await.unwrap();
    stream.receiver.next().await.unwrap();
    let problem = Problem::from(stream.receiver.next().await.unwrap_err());
    assert_eq!(problem.code, "node_connection_lost");
    assert!(problem.hints[0].contains("pyro attach 0000000000aa 00000000000e"), "{problem:?}");
}

#[tokio::test]
async fn a_build_tells_its_progress_line_by_line_and_its_failure_as_an_error() {
    let node = FakeNode::new(|head, _, stream| {
        assert!(head.starts_with("POST /v1/environments/debian:12/build?force=true "), "{head}");
        let lines = [
            r#"{"type":"progress","message":"packages","fraction":0.5}"#,
            r#"{"type":"problem","problem":{"kind":"failed","code":"no_space","message":"full"}}"#,
        ];
        reply(stream, "200 OK", &lines.join("\n"));
    });
    let mut build = node.client().await.build_environment("debian:12", true).await.unwrap();
    let event = build.next().await.unwrap().unwrap();
    assert_eq!(event, BuildEvent::Progress { message: "packages".into(), fraction: Some(0.5) });
    assert_eq!(build.next().await.unwrap_err().code(), "no_space");
}

#[tokio::test]
async fn an_import_is_sent_as_it_is_read_and_counted() {
    let node = FakeNode::new(|head, body, stream| {
        assert!(head.starts_with("POST /v1/environments/py/import "), "{head}");
        assert!(body.len() > 1_000_000);
        reply(stream, "400 Bad Request", "{}");
    });
    let counted = Arc::new(AtomicUsize::new(0));
    let counter = counted.clone();
    let tar = std::io::Cursor::new(vec![7; 1_000_000]);
    let progress = move |total| counter.store(usize::try_from(total).unwrap(), Ordering::SeqCst);
    node.client().await.import_environment("py", tar, progress).await.unwrap_err();
    assert_eq!(counted.load(Ordering::SeqCst), 1_000_000);
}

#[tokio::test]
async fn without_a_node_and_leave_to_start_one_the_error_says_so() {
    let state = tempfile::tempdir().unwrap();
    let absent = state.path().join("absent");
    for error in [
        Node::connect(location(&absent, None)).await.unwrap_err(),
        Node::connect_or_start(location(state.path(), None)).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "node_not_running");
    }
    assert!(!absent.exists());
}

/// A program that stands in for `pyro`; `$4` is the number of the descriptor to be ready on.
fn program(directory: &Path, script: &str) -> std::path::PathBuf {
    let path = directory.join("program");
    // Written by a child: a thread that forks just now would else hold it open for writing.
    let mut writer = std::process::Command::new("tee")
        .arg(&path)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    write!(writer.stdin.take().unwrap(), "#!/bin/sh\n{script}\n").unwrap();
    writer.wait().unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

#[tokio::test]
async fn ten_clients_at_once_start_one_node() {
    let state = tempfile::tempdir().unwrap();
    let program = program(
        state.path(),
        r#"echo "$PYRO_CACHE_DIR" >> "$PYRO_HOME/starts"
           until [ -S "$PYRO_HOME/node.sock" ]; do sleep 0.01; done
           echo ready > "/proc/self/fd/$4""#,
    );
    let socket = state.path().join("node.sock");
    let starts = state.path().join("starts");
    let waiting = starts.clone();
    thread::spawn(move || {
        while !waiting.exists() {
            thread::yield_now();
        }
        serve(&socket, Arc::new(|_: &str, _: &[u8], _: &mut UnixStream| {}));
    });
    let clients = (0..10).map(|_| Node::connect_or_start(location(state.path(), Some(&program))));
    for client in futures::future::join_all(clients).await {
        client.unwrap();
    }
    let started = std::fs::read_to_string(starts).unwrap();
    assert_eq!(started, format!("{}\n", state.path().join("cache").display()));
}

#[tokio::test]
async fn a_node_that_cannot_start_says_why() {
    let state = tempfile::tempdir().unwrap();
    let said = r#"{"kind":"failed","code":"schema_newer","message":"made by a newer version"}"#;
    let telling = program(state.path(), &format!("echo '{said}' > /proc/self/fd/$4"));
    let error = Node::connect_or_start(location(state.path(), Some(&telling))).await.unwrap_err();
    assert_eq!(error.code(), "schema_newer");
    let silent = program(state.path(), "exit 3");
    let error = Node::connect_or_start(location(state.path(), Some(&silent))).await.unwrap_err();
    assert!(matches!(error, ClientError::StartEnded { .. }), "{error:?}");
}
