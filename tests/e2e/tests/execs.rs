//! Commands in a workspace: what goes in, what comes out, how they end.

use std::{fs, thread};

use pyro_e2e::{Home, random_bytes, sha256, wait_until};
use rustix::process::Signal;

#[test]
fn output_and_errors_come_apart_and_byte_for_byte() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let seen = workspace.sh("printf '\\377\\376'; printf '\\000\\033[1m' >&2").ok();
    assert_eq!(seen.stdout, b"\xff\xfe");
    assert_eq!(seen.stderr, b"\0\x1b[1m");
}

#[test]
fn a_command_that_is_never_sent_leaves_no_record_of_one_that_runs() {
    let home = Home::new();
    let workspace = home.workspace("debian:12-base");
    let long = "x".repeat(100_000);
    let variables: Vec<String> = (0..11).map(|number| format!("V{number}={long}")).collect();
    let flags: Vec<&str> = variables.iter().flat_map(|variable| ["-e", variable]).collect();
    let seen = workspace.exec_with(&[&["--json"], &flags[..]].concat(), ["true"]).code(125);
    assert_eq!(seen.json()["code"], "request_too_large", "{seen}");
    let list = workspace.call("ps", ["--all", "--json"]).ok().json();
    assert_eq!((&list["count"], &list["running_count"]), (&0.into(), &0.into()), "{list}");
}

#[test]
fn the_exit_code_says_how_it_ended() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    workspace.sh("exit 0").code(0);
    workspace.sh("exit 255").code(255);
    workspace.sh("kill -9 $$").code(128 + 9);
    workspace.sh("kill -15 $$").code(128 + 15);
    for (command, code) in [("no-such-command", 127), ("/etc/passwd", 126), ("/workspace", 126)] {
        let seen = workspace.exec([command]).code(code);
        assert!(seen.stdout.is_empty(), "{seen}");
        assert!(seen.error_text().contains(command), "{seen}");
    }
    workspace.exec_with(&["--timeout-seconds", "1"], ["sleep", "1000"]).code(124);
    home.pyro(["exec", "no-such-workspace", "--", "true"]).code(125);
}

#[test]
fn ten_megabytes_pass_through_unharmed() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let bytes = random_bytes(10 << 20);
    let seen = workspace.exec_with(&["-i"], ["cat"]).stdin(bytes.clone()).ok();
    assert_eq!(seen.stdout.len(), bytes.len());
    assert_eq!(sha256(&seen.stdout), sha256(&bytes));
    let summed = workspace.exec_with(&["-i"], ["sha256sum"]).stdin(bytes.clone()).ok().text();
    assert_eq!(summed, format!("{}  -", sha256(&bytes)));
}

#[test]
fn stdin_is_empty_unless_it_is_asked_for() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    assert_eq!(workspace.exec(["cat"]).stdin("unwanted").ok().text(), "");
}

#[test]
fn variables_directory_and_user_are_as_asked() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let file = home.scratch().join("variables");
    fs::write(&file, "# a comment\nFROM_FILE=one two\nOVER=file\n").unwrap();
    let file = file.to_str().unwrap();

    let plain = workspace.sh("pwd; id -un; echo $HOME; hostname").ok().text();
    assert_eq!(plain, format!("/workspace\nroot\n/root\n{workspace}"));

    let flags = ["--env-file", file, "-e", "OVER=flag", "-e", "COPIED", "-w", "/tmp"];
    let script = "echo \"$FROM_FILE/$OVER/$COPIED\"; pwd";
    let seen = workspace.exec_with(&flags, ["sh", "-c", script]).env("COPIED", "from here").ok();
    assert_eq!(seen.text(), "one two/flag/from here\n/tmp");

    let flags = ["--user", "nobody"];
    let seen = workspace.exec_with(&flags, ["sh", "-c", "id -un; id -gn; echo $HOME"]).ok();
    assert_eq!(seen.text(), "nobody\nnogroup\n/nonexistent");
    let seen = workspace.exec_with(&["-u", "1234:5678"], ["sh", "-c", "id -u; id -g"]).ok();
    assert_eq!(seen.text(), "1234\n5678");

    workspace.exec_with(&["--user", "nobody-knows"], ["true"]).code(125);
    workspace.exec_with(&["-w", "/no/such/directory"], ["true"]).code(125);
}

#[test]
fn signals_reach_the_command() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    for (signal, name) in [(Signal::INT, "INT"), (Signal::TERM, "TERM"), (Signal::HUP, "HUP")] {
        let script = format!(
            "trap 'echo caught {name}; exit 42' {name}; echo ready; while :; do sleep 1; done"
        );
        let client = workspace.sh(&script).start();
        client.wait_for("ready");
        client.signal(signal);
        let seen = client.end().expect_code(42);
        assert!(seen.text().ends_with(&format!("caught {name}")), "{seen}");
    }
    let client = workspace.sh("echo ready; exec sleep 1000").start();
    client.wait_for("ready");
    client.signal(Signal::TERM);
    client.end().expect_code(128 + 15);
}

#[test]
fn a_client_that_is_killed_takes_its_command_along() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let client = workspace.sh("sleep 98765 & echo ready; sleep 98765").start();
    client.wait_for("ready");
    assert!(workspace.guest_processes("sleep 98765") >= 2);
    client.process().kill();
    wait_until(60, "the command is gone", || workspace.guest_processes("sleep 98765") == 0);
    let list = workspace.call("ps", ["--all", "--json"]).ok().json();
    let first = list["execs"].as_array().unwrap().iter().find(|exec| exec["sequence"] == 1);
    assert_eq!(first.unwrap()["cancelled"], true, "{list}");
}

#[test]
fn a_timeout_ends_the_whole_tree_and_keeps_the_output() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let script = "echo before; (setsid sleep 45671 &) ; sleep 45671 & sleep 45671";
    let seen = workspace.exec_with(&["--timeout-seconds", "8"], ["sh", "-c", script]).code(124);
    assert_eq!(seen.text(), "before");
    assert_eq!(workspace.guest_processes("sleep 45671"), 0);
    let logs = workspace.call("logs", ["--json"]).ok().json();
    assert_eq!(logs["entries"][0]["stdout"], "before\n");
    assert_eq!(logs["entries"][0]["timed_out"], true);
}

#[test]
fn a_detached_command_is_attached_as_often_as_wanted() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let gate = "while [ ! -e /tmp/go ]; do sleep 0.2; done";
    let exec = workspace.detach(&format!("echo first; {gate}; echo second; echo err >&2; exit 9"));
    assert_eq!(workspace.exec_record(&exec)["running"], true);

    let one = workspace.call("attach", [&exec]).start();
    let two = home.pyro(["exec", "attach", workspace.id(), &exec]).start();
    let waiting = workspace.call("wait", [&exec]).start();
    one.wait_for("first");
    two.wait_for("first");
    workspace.exec(["touch", "/tmp/go"]).ok();
    for client in [one, two] {
        let seen = client.end().expect_code(9);
        assert_eq!((seen.text(), seen.error_text()), ("first\nsecond".into(), "err\n".into()));
    }
    waiting.end().expect_code(9);

    // And afterwards, from anywhere.
    let words = ["--offset", "6", &exec[..6]];
    let seen = workspace.call("attach", words).code(9);
    assert_eq!(seen.text(), "second");
    workspace.call("wait", [&exec]).code(9);
    let record = workspace.exec_record(&exec);
    assert_eq!(record["exit_code"], 9);
    assert_eq!(record["stdout_bytes"], 13);
    assert_eq!(record["stderr_bytes"], 4);

    workspace.verb("stop").ok();
    let seen = workspace.call("attach", [&exec]).code(9);
    assert_eq!((seen.text(), seen.error_text()), ("first\nsecond".into(), "err\n".into()));
    assert_eq!(workspace.state(), "stopped", "looking back starts nothing");
}

#[test]
fn leaving_an_attached_command_leaves_it_running() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let exec = workspace.detach("echo ready; exec sleep 100000");
    let client = workspace.call("attach", [&exec]).start();
    client.wait_for("ready");
    client.process().kill();
    drop(client);
    workspace.exec(["true"]).ok();
    assert_eq!(workspace.exec_record(&exec)["running"], true);
    workspace.call("wait", ["--timeout-seconds", "1", &exec]).code(124);

    workspace.call("kill", [&exec]).ok();
    workspace.call("wait", [&exec]).code(128 + 15);
    let record = workspace.exec_record(&exec);
    assert_eq!((&record["running"], &record["signal"]), (&false.into(), &15.into()), "{record}");
}

#[test]
fn kill_sends_the_signal_that_was_asked_for() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let exec =
        workspace.detach("trap 'echo usr1; exit 5' USR1; echo ready; while :; do sleep 1; done");
    let client = workspace.call("attach", [&exec]).start();
    client.wait_for("ready");
    workspace.call("kill", ["--signal", "USR1", &exec]).ok();
    assert_eq!(client.end().expect_code(5).text(), "ready\nusr1");
    let problem = workspace.call("kill", [&exec]).fails("exec_ended");
    assert!(problem["error"].as_str().unwrap().contains(&exec), "{problem}");
    workspace.call("kill", ["feedfeedfeed"]).fails("exec_not_found");
    workspace.call("kill", [""]).fails("exec_not_found");
}

#[test]
fn the_logs_keep_what_was_printed_even_of_a_stopped_workspace() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    workspace.sh("echo one; echo two >&2; exit 3").code(3);
    workspace.sh("printf '\\377'").ok();
    let check = || {
        let logs = workspace.call("logs", ["--json"]).ok().json();
        assert_eq!(logs["count"], 2, "{logs}");
        assert_eq!(logs["entries"][0]["stdout"], "one\n");
        assert_eq!(logs["entries"][0]["stderr"], "two\n");
        assert_eq!(logs["entries"][0]["exit_code"], 3);
        assert_eq!(logs["entries"][1]["stdout"], "\u{fffd}");
    };
    check();
    workspace.verb("stop").ok();
    check();
    home.kill_node();
    check();
    let text = workspace.verb("logs").ok().text();
    assert!(text.contains("one") && text.contains("two"), "{text}");
}

#[test]
fn sixty_four_commands_at_once_print_a_mebibyte_each() {
    let home = Home::new();
    let workspace = home.workspace_with(&["-m", "512", "debian:12"]);
    // One call for each: 8192 lines of 128 bytes, told apart by number.
    let line = |number: usize| format!("{number:0>127}\n");
    thread::scope(|scope| {
        let clients: Vec<_> = (0..64)
            .map(|number| {
                let workspace = &workspace;
                scope.spawn(move || {
                    let line = line(number);
                    let script = format!("yes {} | head -n 8192", line.trim_end());
                    (number, workspace.sh(&script).ok().stdout)
                })
            })
            .collect();
        for client in clients {
            let (number, stdout) = client.join().unwrap();
            assert_eq!(stdout.len(), 1 << 20, "command {number}");
            assert!(stdout == line(number).repeat(8192).as_bytes(), "command {number}");
        }
    });
    let list = workspace.call("ps", ["--all", "--json"]).ok().json();
    assert_eq!((&list["count"], &list["running_count"]), (&64.into(), &0.into()));
}

#[test]
fn clients_of_two_workspaces_do_not_mix() {
    let home = Home::new();
    let workspaces = [home.workspace("debian:12"), home.workspace("debian:12")];
    thread::scope(|scope| {
        for workspace in &workspaces {
            for number in 0..6 {
                scope.spawn(move || {
                    let said = format!("{workspace} {number}");
                    let seen = workspace.exec_with(&["-i"], ["sh", "-c", "hostname; cat"]);
                    let seen = seen.stdin(said.clone()).ok();
                    assert_eq!(seen.text(), format!("{workspace}\n{said}"));
                });
            }
        }
    });
}
