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
