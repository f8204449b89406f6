//! Commands with a terminal.

use pyro_e2e::{Home, Terminal};

#[test]
fn a_terminal_is_one_inside_too_and_follows_the_window() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let script = "test -t 0 && test -t 1 && test -t 2 && echo all-three; stty size; echo $TERM; \
                  trap 'stty size; exit 4' WINCH; echo ready; while :; do sleep 0.2; done";
    let words = ["exec", "-it", workspace.id(), "--", "sh", "-c", script];
    let terminal = Terminal::open(&home, &words, 97, 31);
    terminal.wait_for("ready");
    let shown = terminal.shown();
    assert!(shown.contains("all-three"), "{shown:?}");
    assert!(shown.contains("31 97"), "{shown:?}");
    assert!(shown.contains("xterm-256color"), "{shown:?}");
    terminal.resize(120, 45);
    terminal.wait_for("45 120");
    assert_eq!(terminal.end(), Some(4));
}

#[test]
fn keys_reach_a_shell_and_control_c_interrupts_what_runs_in_it() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let mut terminal = Terminal::open(&home, &["shell", workspace.id()], 100, 30);
    terminal.wait_for("# ");
    terminal.keys("echo in-$((40 + 2))\r");
    terminal.wait_for("in-42");
    // What is typed is shown too, so the words must differ.
    terminal.keys("sh -c 'echo slee''ping; exec sleep 100000'\r");
    terminal.wait_for("sleeping");
    terminal.keys("\x03");
    terminal.keys("echo out-$((50 + 5))\r");
    terminal.wait_for("out-55");
    terminal.keys("exit 6\r");
    assert_eq!(terminal.end(), Some(6));
}

#[test]
fn a_shell_that_was_left_goes_on_past_the_node_until_somebody_comes_back() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let mut terminal = Terminal::open(&home, &["shell", workspace.id()], 100, 30);
    terminal.wait_for("# ");
    terminal.keys("kept=$((40 + 2)); echo set-$kept\r");
    terminal.wait_for("set-42");
    terminal.keys("\x10\x11");
    terminal.wait_for("pyro attach -it");
    assert_eq!(terminal.end(), Some(0));
    let list = workspace.call("ps", ["--json"]).ok().json();
    let exec = list["execs"][0]["exec_id"].as_str().unwrap_or_default().to_owned();
    assert_eq!(workspace.exec_record(&exec)["running"], true);

    home.kill_node();
    let mut terminal = Terminal::open(&home, &["attach", "-it", workspace.id(), &exec], 100, 30);
    terminal.wait_for("set-42");
    terminal.keys("echo still-$kept\r");
    terminal.wait_for("still-42");
    terminal.keys("exit 5\r");
    assert_eq!(terminal.end(), Some(5));
}
