//! exec, attach and run: bytes, signals, terminals and exit codes, against a node that plays a part.
#![allow(clippy::unwrap_used)]

mod fake_node;

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Stdio},
    sync::mpsc,
};

use fake_node::{E, FakeNode, W, end, end_run, exec, hear, hear_control, output, say};
use pyro_api::{ServerControl, StreamKind};
use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

const EXEC: &str = "POST /v1/workspaces/web/execs";

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn bytes_pass_unchanged_both_ways() {
    let node = FakeNode::new().exec(EXEC, |stream| {
        let mut stdin = Vec::new();
        loop {
            match hear(stream).unwrap() {
                (StreamKind::Stdin, bytes) => stdin.extend(bytes),
                (StreamKind::End, _) => break,
                other => panic!("{other:?}"),
            }
        }
        output(stream, StreamKind::Stdout, &stdin);
        output(stream, StreamKind::Stderr, b"\xfe\x1b[0m");
        end(stream, |_| {});
    });
    let mut child = node
        .command(&["exec", "-i", "web", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let seen = child.wait_with_output().unwrap();
    assert!(seen.stdout == bytes);
    assert_eq!(seen.stderr, b"\xfe\x1b[0m");
    assert_eq!(seen.status.code(), Some(0));
    assert_eq!(node.heard.lock().unwrap()[0].1["stdin"], true);
}

#[test]
fn the_exit_code_is_the_commands() {
    type Case = (&'static str, i32, fn(&mut pyro_api::Exec));
    let cases: [Case; 6] = [
        ("its own code", 7, |exec| exec.exit_code = Some(7)),
        ("a signal", 128 + 9, |exec| (exec.exit_code, exec.signal) = (Some(137), Some(9))),
        ("a signal without a code", 128 + 15, |exec| {
            (exec.exit_code, exec.signal) = (None, Some(15));
        }),
        ("its timeout", 124, |exec| (exec.exit_code, exec.timed_out) = (Some(143), true)),
        ("lost", 125, |exec| (exec.exit_code, exec.lost) = (None, Some("vm_died".into()))),
        ("out of memory", 137, |exec| (exec.exit_code, exec.oom_killed) = (Some(137), true)),
    ];
    for (what, code, how) in cases {
        let attach = format!("GET /v1/workspaces/web/execs/{E}/attach?offset=0");
        let node = FakeNode::new()
            .exec(EXEC, move |stream| end(stream, how))
            .exec(&attach, move |stream| end(stream, how))
            .exec("POST /v1/run", move |stream| end(stream, how));
        for command in [
            &["exec", "web", "--", "make"][..],
            &["exec", "--json", "web", "make"],
            &["attach", "web", E],
            &["exec", "attach", "web", E],
            &["run", "--", "make"],
        ] {
            assert_eq!(node.code(command), code, "{what}: {command:?}");
        }
    }
}

#[test]
fn what_could_not_run_has_the_codes_of_a_shell() {
    for (status, problem, code) in [
        (400, "command_not_found", 127),
        (400, "command_not_executable", 126),
        (404, "workspace_not_found", 125),
        (500, "vm_start_failed", 125),
    ] {
        let node = FakeNode::new().refuses(EXEC, status, problem, "no", &[]).refuses(
            "POST /v1/run",
            status,
            problem,
            "no",
            &[],
        );
        assert_eq!(node.code(&["exec", "web", "--", "x"]), code, "{problem}");
        assert_eq!(node.code(&["run", "--", "x"]), code, "{problem}");
    }
}

#[test]
fn what_became_of_the_output_is_told_on_stderr() {
    let node = FakeNode::new().exec(EXEC, |stream| {
        output(stream, StreamKind::Stdout, b"head\n");
        say(stream, &ServerControl::Gap { from: 5, to: 1_000_005 });
        output(stream, StreamKind::Stdout, b"tail\n");
        end(stream, |exec| exec.left_behind = 2);
    });
    insta::assert_snapshot!(node.see(&["exec", "web", "--", "make"]));
}

#[test]
fn what_a_timeout_ended_is_not_told_as_left_behind() {
    let node = FakeNode::new().exec(EXEC, |stream| {
        end(stream, |exec| (exec.left_behind, exec.timed_out) = (2, true));
    });
    insta::assert_snapshot!(node.see(&["exec", "web", "--", "make"]));
}

#[test]
fn one_json_document_holds_the_result_and_nothing_else_is_printed() {
    let play = |stream: &mut _| {
        output(stream, StreamKind::Stdout, b"out \xff\n");
        output(stream, StreamKind::Stderr, b"err\n");
        say(stream, &ServerControl::Gap { from: 5, to: 9 });
    };
    let node = FakeNode::new()
        .exec(EXEC, move |stream| {
            play(stream);
            end(stream, |exec| exec.left_behind = 1);
        })
        .exec("POST /v1/run", move |stream| {
            play(stream);
            end_run(stream);
        });
    insta::assert_snapshot!("json_of_exec", node.see(&["exec", "web", "--json", "--", "make"]));
    insta::assert_snapshot!("json_of_run", node.see(&["run", "--json", "debian:12", "make"]));
}

#[test]
fn a_lost_node_is_told_with_the_way_back() {
    let node = FakeNode::new().exec(EXEC, |stream| {
        output(stream, StreamKind::Stdout, b"so far\n");
    });
    insta::assert_snapshot!(node.see(&["exec", "web", "--", "make"]));
}

#[test]
fn signals_reach_the_command_and_two_interrupts_end_its_tree() {
    let (tell, told) = mpsc::channel();
    let node = FakeNode::new().exec(EXEC, move |stream| {
        output(stream, StreamKind::Stdout, b"up");
        while let Some(control) = hear_control(stream) {
            tell.send(control.clone()).unwrap();
            if control["type"] == "cancel" {
                end(stream, |exec| (exec.exit_code, exec.signal) = (Some(143), Some(15)));
                return;
            }
        }
    });
    let mut child = node
        .command(&["exec", "web", "--", "make"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 2]).unwrap();
    signal(&child, Signal::TERM);
    assert_eq!(told.recv().unwrap(), serde_json::json!({"type": "signal", "signal": 15}));
    signal(&child, Signal::INT);
    assert_eq!(told.recv().unwrap(), serde_json::json!({"type": "signal", "signal": 2}));
    signal(&child, Signal::INT);
    assert_eq!(told.recv().unwrap(), serde_json::json!({"type": "cancel"}));
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn a_signal_that_the_caller_ignores_stays_ignored() {
    let (tell, told) = mpsc::channel();
    let node = FakeNode::new().exec(EXEC, move |stream| {
        output(stream, StreamKind::Stdout, b"up");
        tell.send(hear_control(stream).unwrap()).unwrap();
        end(stream, |_| {});
    });
    let shell = node.command(&["exec", "web", "--", "make"]);
    let program = shell.get_program().to_owned();
    let mut ignoring = std::process::Command::new("sh");
    ignoring.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(program).args(shell.get_args());
    for (name, value) in shell.get_envs() {
        ignoring.env(name, value.unwrap_or_default());
    }
    let mut child = ignoring.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 2]).unwrap();
    signal(&child, Signal::HUP);
    signal(&child, Signal::QUIT);
    assert_eq!(told.recv().unwrap(), serde_json::json!({"type": "signal", "signal": 3}));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_reader_that_goes_ends_the_exec_quietly() {
    let (tell, told) = mpsc::channel();
    let node = FakeNode::new().exec(EXEC, move |stream| {
        let line = [b'y'; 1000];
        loop {
            let frame = pyro_api::StreamFrame {
                kind: StreamKind::Stdout,
                payload: bytes::Bytes::copy_from_slice(&line),
            };
            if stream.write_all(&frame.to_bytes()).is_err() {
                tell.send(()).unwrap();
                return;
            }
        }
    });
    let mut child = node
        .command(&["exec", "web", "--", "yes"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 100]).unwrap();
    let seen = child.wait_with_output().unwrap();
    assert_eq!(seen.status.code(), Some(141));
    assert_eq!(String::from_utf8(seen.stderr).unwrap(), "");
    told.recv().unwrap();
}

#[test]
fn a_command_that_does_not_read_stdin_ends_all_the_same() {
    let node = FakeNode::new().exec(EXEC, |stream| end(stream, |_| {}));
    let mut child =
        node.command(&["exec", "-i", "web", "--", "true"]).stdin(Stdio::piped()).spawn().unwrap();
    let held_open = child.stdin.take();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drop(held_open);
}

/// Both ends of a new terminal.
fn terminal() -> (File, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let size = Winsize { ws_col: 100, ws_row: 40, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&slave, size).unwrap();
    (master.into(), slave)
}

fn is_raw(terminal: &File) -> bool {
    !tcgetattr(terminal).unwrap().local_modes.contains(LocalModes::ICANON)
}

#[test]
fn a_terminal_is_raw_for_the_session_and_as_before_after_it() {
    let (tell, told) = mpsc::channel();
    let node = FakeNode::new().exec(EXEC, move |stream| {
        output(stream, StreamKind::Stdout, b"$ ");
        loop {
            match hear(stream).unwrap() {
                (StreamKind::Stdin, keys) => {
                    tell.send(format!("{keys:?}")).unwrap();
                    if keys == b"\x04" {
                        end(stream, |_| {});
                        return;
                    }
                }
                (_, control) => tell.send(String::from_utf8(control).unwrap()).unwrap(),
            }
        }
    });
    let (mut master, slave) = terminal();
    let end_of = |slave: &File| OwnedFd::from(slave.try_clone().unwrap());
    let mut child = node
        .command(&["shell", "web"])
        .stdin(end_of(&slave))
        .stdout(end_of(&slave))
        .stderr(end_of(&slave))
        .spawn()
        .unwrap();
    master.read_exact(&mut [0; 2]).unwrap();
    assert!(is_raw(&slave));
    let request = node.heard.lock().unwrap()[0].1.clone();
    assert_eq!(request["terminal"], serde_json::json!({"columns": 100, "rows": 40}));
    assert_eq!(request["command"], serde_json::json!(["bash", "-l"]));
    master.write_all(b"\x03").unwrap();
    assert_eq!(told.recv().unwrap(), "[3]");
    let size = Winsize { ws_col: 90, ws_row: 30, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&slave, size).unwrap();
    signal(&child, Signal::WINCH);
    assert_eq!(told.recv().unwrap(), r#"{"type":"resize","columns":90,"rows":30}"#);
    master.write_all(b"\x04").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!is_raw(&slave));
}

#[test]
fn what_a_guest_printed_steers_no_terminal_that_looks_at_the_logs() {
    let entry = serde_json::json!({
        "stdout": "\x1b]0;owned\x07\u{202e}", "stderr": "", "execution_mode": "guest_vsock",
        "recorded_at": 1.0, "stdout_file": "o", "stderr_file": "e",
    });
    let mut entry = entry.as_object().unwrap().clone();
    let exec = serde_json::to_value(exec().exec).unwrap();
    entry.extend(exec.as_object().unwrap().clone());
    let logs = serde_json::json!({"workspace_id": W, "count": 1, "entries": [entry]});
    let node = FakeNode::new().json("GET /v1/workspaces/web/logs", logs);
    let piped = node.command(&["logs", "web"]).output().unwrap().stdout;
    assert!(String::from_utf8(piped).unwrap().contains("\x1b]0;owned\x07\u{202e}"));
    let (mut master, slave) = terminal();
    let mut child =
        node.command(&["logs", "web"]).env("NO_COLOR", "1").stdout(slave).spawn().unwrap();
    assert!(child.wait().unwrap().success());
    let mut shown = Vec::new();
    let mut piece = [0; 4096];
    // The other side is closed: what was printed is followed by an error.
    while let Ok(length @ 1..) = master.read(&mut piece) {
        shown.extend_from_slice(&piece[..length]);
    }
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("\\x1b]0;owned\\x07\\u{202e}"), "{shown:?}");
    assert!(!shown.contains('\x1b'), "{shown:?}");
}

#[test]
fn a_terminal_is_as_before_when_the_node_goes_or_the_keys_to_leave_are_typed() {
    let attach = format!("GET /v1/workspaces/{W}/execs/{E}/attach?offset=7&stdin=true");
    for leave in [true, false] {
        let (tell, told) = mpsc::channel();
        let node = FakeNode::new().exec(&attach, move |stream| {
            output(stream, StreamKind::Stdout, b"$ ");
            if leave {
                tell.send(hear_control(stream).unwrap()).unwrap();
            }
        });
        let (mut master, slave) = terminal();
        let mut child = node
            .command(&["attach", "-it", W, E, "--offset", "7"])
            .stdin(OwnedFd::from(slave.try_clone().unwrap()))
            .stdout(OwnedFd::from(slave.try_clone().unwrap()))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        master.read_exact(&mut [0; 2]).unwrap();
        if leave {
            master.write_all(b"\x10\x11").unwrap();
            assert_eq!(told.recv().unwrap(), serde_json::json!({"type": "detach"}));
        }
        let code = if leave { 0 } else { 125 };
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(!is_raw(&slave));
    }
}

#[test]
fn wait_tells_the_code_and_124_when_its_patience_ends() {
    let mut ended = exec().exec;
    ended.running = false;
    ended.exit_code = Some(3);
    let line = format!("GET /v1/workspaces/web/execs/{E}/wait?timeout_seconds=");
    let node = FakeNode::new().json(&format!("{line}3600"), &ended).on(
        &format!("{line}1.*"),
        |_, stream| {
            let exec = serde_json::to_string(&exec().exec).unwrap();
            fake_node::reply(stream, 200, &exec);
        },
    );
    assert_eq!(node.code(&["wait", "web", E]), 3);
    assert_eq!(node.code(&["wait", "web", E, "--timeout-seconds", "1.5"]), 124);
    assert_eq!(node.code(&["wait", "web"]), 125);
}
