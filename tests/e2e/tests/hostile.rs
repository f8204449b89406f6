//! What a workload may do to its machine, by accident or on purpose: the command ends as its caller
//! would want, everything else goes on, and the agent answers.

use std::{io::Read, process::Stdio};

use pyro_e2e::{Home, Process, Terminal, Workspace, wait_until};

/// The next command works as if nothing had happened.
#[track_caller]
fn the_next_command_works(workspace: &Workspace<'_>) {
    assert_eq!(workspace.sh("echo works").ok().text(), "works");
}

#[test]
fn no_output_is_taken_for_text() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let seen = workspace.exec(["printf", r"\377\376"]).ok();
    assert_eq!(seen.stdout, b"\xff\xfe");
    let told = workspace.exec_with(&["--json"], ["printf", r"\377\376"]).ok().json();
    assert_eq!((&told["lossy"], &told["stdout_bytes"]), (&true.into(), &2.into()), "{told}");
    assert_eq!(told["stdout"], "\u{fffd}\u{fffd}");

    // A terminal is not steered by what a command is called or has printed.
    let steering = "echo '\u{1b}]0;title\u{7}\u{1b}[31m\u{202e}red'";
    workspace.sh(steering).ok();
    for words in [["ps", "--all", workspace.id()].as_slice(), &["logs", workspace.id()]] {
        let terminal = Terminal::open(&home, words, 200, 50);
        terminal.wait_for("\\x1b]0;title\\x07\\x1b[31m\\u{202e}red");
        let shown = terminal.shown();
        assert!(!shown.contains("\u{1b}]0;") && !shown.contains("\u{1b}[31m"), "{shown:?}");
        assert!(!shown.contains('\u{202e}'), "{shown:?}");
    }
}

#[test]
fn a_reader_that_stops_reading_holds_nothing_up() {
    // 200 blocks of 1 MiB: a line that names the block, then numbered ones, each of 64 bytes.
    const BLOCK: usize = 1 << 20 >> 6;
    const LINES: usize = 200 * BLOCK;
    const KEPT_AT_EACH_END: usize = 32 << 20;
    let line = |at: usize| match at % BLOCK {
        0 => format!("block {:0>57}\n", at / BLOCK).into_bytes(),
        number => format!("{number:0>63}\n").into_bytes(),
    };
    let script = "seq -f '%063.0f' 1 16383 > /tmp/lines; block=0; while [ $block -lt 200 ]; do \
                  printf 'block %057d\\n' $block; cat /tmp/lines; block=$((block + 1)); done";
    let home = Home::new();
    let workspace = home.workspace("debian:12");

    let mut client = home.command();
    client.args(["exec", workspace.id(), "--", "sh", "-c", script]);
    client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = client.spawn().unwrap();
    let mut stdout = client.stdout.take().unwrap();
    let mut read = vec![0; 64];
    stdout.read_exact(&mut read).unwrap();
    assert_eq!(read, line(0));

    // The command ends though nobody reads on.
    let record = || {
        let list = workspace.call("ps", ["--all", "--json"]).ok().json();
        list["execs"][0].clone()
    };
    wait_until(300, "the command has ended", || record()["running"] == false);
    let record = record();
    assert_eq!(record["exit_code"], 0, "{record}");
    assert_eq!(record["stdout_bytes"], LINES << 6, "{record}");
    assert_eq!(record["truncated"], true, "{record}");
    the_next_command_works(&workspace);
    let node = home.node().unwrap().peak_mebibytes();
    assert!(node < 80, "the node has held {node} MiB");
    let client_held = Process::of(client.id() as i32).unwrap().peak_mebibytes();
    assert!(client_held < 80, "the client has held {client_held} MiB");

    // Who reads on gets the beginning and the end, and is told of what lies between.
    let mut rest = read;
    stdout.read_to_end(&mut rest).unwrap();
    let ended = client.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(0), "{told}");
    assert!(told.contains("dropped"), "{told}");
    assert!((KEPT_AT_EACH_END..LINES << 6).contains(&rest.len()), "{} bytes", rest.len());
    let head = KEPT_AT_EACH_END >> 6;
    let right = |lines: &[u8], first: usize| {
        lines.chunks(64).enumerate().all(|(at, found)| found == line(first + at))
    };
    assert!(right(&rest[..head << 6], 0), "the beginning is not right");
    let tail = KEPT_AT_EACH_END / 2;
    assert!(right(&rest[rest.len() - tail..], LINES - (tail >> 6)), "the end is not right");

    // So does who looks back, from the stopped workspace too.
    workspace.verb("stop").ok();
    let seen = workspace.call("attach", [record["exec_id"].as_str().unwrap()]).ok();
    assert!(seen.error_text().contains("dropped"), "{}", seen.error_text());
    assert!(right(&seen.stdout[..head << 6], 0), "the beginning is not right");
    let length = seen.stdout.len();
    assert!(length < 70 << 20, "{length} bytes");
    assert!(right(&seen.stdout[length - tail..], LINES - (tail >> 6)), "the end is not right");
    let node = home.node().unwrap().peak_mebibytes();
    assert!(node < 80, "the node has held {node} MiB");
}

#[test]
fn what_keeps_a_pipe_open_keeps_nobody_waiting() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let script = "(setsid sleep 86421 &) ; echo done";
    let seen = workspace.sh(script).ok();
    assert_eq!(seen.text(), "done");
    assert!(seen.error_text().contains("1 process that it left behind"), "{seen}");
    assert!(seen.error_text().contains("--detach"), "{seen}");
    let told = workspace.exec_with(&["--json"], ["sh", "-c", script]).ok().json();
    assert_eq!((&told["left_behind"], &told["stdout"]), (&1.into(), &"done\n".into()), "{told}");
    assert_eq!(workspace.guest_processes("sleep 86421"), 0);
}

#[test]
fn killing_everything_ends_the_others_and_nothing_else() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let other = workspace.exec(["sleep", "86422"]).start();
    let exec = workspace.detach("exec sleep 86422");
    wait_until(60, "they run", || workspace.guest_processes("sleep 86422") == 2);
    let seen = workspace.sh("kill -9 -1; echo survived").ok();
    assert_eq!(seen.text(), "survived");
    other.end().expect_code(128 + 9);
    workspace.call("wait", [&exec]).code(128 + 9);
    the_next_command_works(&workspace);
    // No more than that: the machine was not restarted.
    assert_eq!(workspace.status()["workload_restarts"], 0);
}

#[test]
fn a_reboot_restarts_the_workload_and_keeps_its_files() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    workspace.sh("echo kept > file").ok();
    let other = workspace.detach("exec sleep 86423");
    // reboot(2), RESTART: what `reboot -f` does.
    let reboot = "import ctypes, time; ctypes.CDLL(None).reboot(0x1234567); time.sleep(86423)";
    let seen = workspace.exec(["python3", "-c", reboot]).code(125);
    assert!(seen.error_text().starts_with("error: "), "{seen}");
    assert!(seen.error_text().contains("rebooted"), "{seen}");
    assert!(seen.error_text().contains("hint: "), "{seen}");
    assert_eq!(workspace.exec(["cat", "file"]).ok().text(), "kept");
    let record = workspace.exec_record(&other);
    assert_eq!(record["lost"], "workload_restarted", "{record}");
    assert_eq!((&record["running"], record["exit_code"].is_null()), (&false.into(), true));
    assert_eq!(workspace.status()["workload_restarts"], 1);
    workspace.call("wait", [&other]).code(125);

    let again = workspace.exec_with(&["--json"], ["python3", "-c", reboot]).code(125).json();
    assert_eq!((&again["ok"], &again["code"]), (&false.into(), &"exec_lost".into()), "{again}");
    the_next_command_works(&workspace);
    assert_eq!(workspace.status()["workload_restarts"], 2);
}

#[test]
fn where_everything_is_removed_the_agent_still_answers() {
    let home = Home::new();
    let workspace = home.workspace("debian:12-base");
    let seen = workspace.sh("rm -rf --no-preserve-root / 2>/dev/null; echo removed").ok();
    assert_eq!(seen.text(), "removed");
    let gone = || {
        let seen = workspace.exec(["ls"]).code(127);
        assert!(seen.error_text().contains("command not found: ls"), "{seen}");
    };
    gone();
    assert_eq!(workspace.state(), "started");
    let list = workspace.call("ps", ["--all", "--json"]).ok().json();
    assert_eq!(list["execs"][0]["exit_code"], 0, "{list}");
    assert!(workspace.verb("logs").ok().text().contains("removed"));
    workspace.verb("stop").ok();
    workspace.verb("start").ok();
    gone();
    // Its disk was its own: others are as they were.
    let other = home.workspace("debian:12");
    the_next_command_works(&other);
    workspace.verb("delete").ok();
    home.holds_only(&[other.id()]);
}

#[test]
fn a_full_disk_stops_no_command_and_loses_no_record() {
    let home = Home::new();
    let workspace = home.workspace_with(&["--disk-mib", "1024", "debian:12"]);
    let fill = "fallocate -l 700M big; dd if=/dev/zero of=rest bs=1M 2>/dev/null; \
                dd if=/dev/zero of=last bs=1k 2>/dev/null; echo full";
    assert_eq!(workspace.sh(fill).ok().text(), "full");
    let seen = workspace.sh("echo still; dd if=/dev/zero of=more bs=64k count=1 2>&1").code(1);
    assert!(seen.text().starts_with("still"), "{seen}");
    assert!(seen.text().contains("No space left on device"), "{seen}");
    // What is printed stands on the agent's own disk.
    let bytes = workspace.exec(["head", "-c", "3000000", "/dev/zero"]).ok().stdout.len();
    assert_eq!(bytes, 3_000_000);
    let list = workspace.call("ps", ["--all", "--json"]).ok().json();
    assert_eq!(list["count"], 3, "{list}");
    assert_eq!(list["execs"][2]["stdout_bytes"], 3_000_000, "{list}");
    workspace.verb("stop").ok();
    workspace.verb("start").ok();
    assert!(workspace.verb("logs").ok().text().contains("No space left on device"));
    let seen = workspace.sh("rm big rest last && echo kept > file && cat file").ok();
    assert_eq!(seen.text(), "kept");
}

#[test]
fn a_fork_bomb_ends_by_its_timeout() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let bomb = ":(){ :|:& };:; sleep 86424";
    let seen = workspace.exec_with(&["--timeout-seconds", "4"], ["bash", "-c", bomb]).code(124);
    assert!(!seen.error_text().contains("--detach"), "{seen}");
    the_next_command_works(&workspace);
    assert_eq!(workspace.guest_processes("sleep 86424"), 0);
    let list = workspace.call("ps", ["--all", "--json"]).ok().json();
    assert_eq!(list["execs"][0]["timed_out"], true, "{list}");
    assert_eq!(workspace.status()["workload_restarts"], 0);
}

#[test]
fn what_takes_all_memory_is_ended_and_told() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let other = workspace.detach("exec sleep 86425");
    let seen = workspace.exec(["tail", "/dev/zero"]).code(128 + 9);
    assert!(seen.error_text().contains("memory"), "{seen}");
    assert!(seen.error_text().contains("--mem-mib"), "{seen}");
    the_next_command_works(&workspace);
    let list = workspace.call("ps", ["--all", "--json"]).ok().json();
    assert_eq!(list["execs"][1]["oom_killed"], true, "{list}");
    assert_eq!(workspace.exec_record(&other)["running"], true, "others go on");
    assert_eq!(workspace.exec_record(&other)["oom_killed"], false);
    assert_eq!(workspace.status()["workload_restarts"], 0);
}
