//! Commands with a terminal.

use std::fmt::Write as _;

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

/// What terminals have been steered by: titles, the clipboard, answers that are typed for the user, other
/// character sets, colours that hide, the cursor, C1 controls, the direction of reading, what is not seen.
const HOSTILE: [&str; 24] = [
    "\u{1b}]0;title\u{7}",
    "\u{1b}]52;c;cm0gLXJmIC8K\u{7}",
    "\u{1b}]8;;http://example.com\u{1b}\\here\u{1b}]8;;\u{1b}\\",
    "\u{1b}]1337;File=:AAAA\u{7}",
    "\u{1b}[6n",
    "\u{1b}[c",
    "\u{1b}[5i",
    "\u{1b}[2J\u{1b}[H",
    "\u{1b}[3A\u{1b}[2K",
    "\u{1b}[8m",
    "\u{1b}[?1049h",
    "\u{1b}[?25l",
    "\u{1b}c",
    "\u{1b}#8",
    "\u{1b}(0",
    "\u{1b}P+q544e\u{1b}\\",
    "\u{1b}_Gi=1\u{1b}\\",
    "\u{9b}31m",
    "\u{90}q\u{9c}",
    "\u{7f}\u{8}\u{8}\u{7}",
    "\u{e}\u{f}",
    "\u{202e}gnp.exe",
    "\u{2066}a\u{2069}\u{200f}",
    "ad\u{200b}min\u{feff}\u{e0041}",
];

/// The bytes without colours, which are the program's own: of foregrounds, weights and their ends.
fn steers(shown: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(shown);
    let mut rest = String::new();
    let mut parts = text.split("\u{1b}[");
    rest.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(part.len());
        let (codes, after) = part.split_at(end);
        let own = ["", "0", "1", "2", "31", "32", "33", "34", "35", "36", "39", "22"];
        let is_colour = after.starts_with('m') && codes.split(';').all(|code| own.contains(&code));
        // A line of progress is taken back by the one that wrote it.
        let is_progress = (codes.is_empty() || codes == "2" || codes == "1")
            && (after.starts_with('K') || after.starts_with('A'));
        if !is_colour && !is_progress {
            rest.push('\u{1b}');
        }
        rest.push_str(after.get(1..).unwrap_or_default());
    }
    let harmful = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t' | '\r'))
            || matches!(c, '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
            || matches!(c, '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0041}')
    };
    let at = rest.find(harmful)?;
    let before = rest.floor_char_boundary(at.saturating_sub(80));
    Some(rest[before..].chars().take(120).collect::<String>().escape_debug().to_string())
}

#[test]
fn nothing_that_a_guest_wrote_steers_a_terminal() {
    let home = Home::new();
    let workspace = home.workspace_with(&["debian:12", "--name", "hostile"]);
    let mut script = String::new();
    for (number, text) in HOSTILE.iter().enumerate() {
        // As a name, as content, as a link's target, as a directory.
        let name = text.replace('/', "\u{2044}");
        let _ = writeln!(
            script,
            "mkdir -p '{number} {name}'; printf '%s\\n' '{text}' > '{number} {name}/f{name}'
             ln -s '{text}' 'l{number}'; printf '%s\\n' '{text}' >> all; echo '{text}'"
        );
    }
    workspace.exec_with(&["-i"], ["sh"]).stdin(script.into_bytes()).ok();
    workspace.sh("cat all; cat all >&2; exit 3").code(3);
    let start = ["service", "start", "hostile", "s", "--", "sh", "-c", "cat all; exit 4"];
    home.pyro(start).code(1);
    home.pyro(["snapshot", "create", "hostile", "kept"]).ok();
    workspace.sh("mv all more; rm -r 0*").ok();
    let name = format!("9 {}", HOSTILE[9]);
    let to = home.scratch().join("to");
    std::fs::create_dir(&to).unwrap();
    let to = to.to_str().unwrap();
    let words: [&[&str]; 20] = [
        &["diff", "hostile"],
        &["diff", "hostile", "--all"],
        &["diff", "hostile", "--stat", "--all"],
        &["diff", "hostile", "--name-only", "--all"],
        &["diff", "hostile", "--from", "kept", "--all", "--renames"],
        &["diff", "hostile", "--patch"],
        &["file", "list", "hostile", "--recursive"],
        &["file", "read", "hostile", "more"],
        &["file", "stat", "hostile", &name],
        &["file", "stat", "hostile", "l3"],
        &["file", "search", "hostile", "."],
        &["file", "read", "hostile", &name],
        &["file", "remove", "hostile", &name],
        &["logs", "hostile"],
        &["ps", "hostile"],
        &["status", "hostile"],
        &["service", "logs", "hostile", "s"],
        &["service", "status", "hostile", "s"],
        &["events", "hostile"],
        &["sync", "pull", "hostile", "--to", to, "--check"],
    ];
    for words in words {
        let shown = Terminal::open(&home, words, 120, 40).whole();
        assert!(!shown.is_empty(), "{words:?}");
        assert_eq!(steers(&shown), None, "{words:?}");
    }
    home.pyro(["stop", "hostile"]).ok();
    let stopped: [&[&str]; 3] = [
        &["disk", "list", "hostile", "--recursive"],
        &["disk", "read", "hostile", "more"],
        &["disk", "read", "hostile", &name],
    ];
    for words in stopped {
        let shown = Terminal::open(&home, words, 120, 40).whole();
        assert!(!shown.is_empty(), "{words:?}");
        assert_eq!(steers(&shown), None, "{words:?}");
    }
    // The check itself sees each of them.
    for text in HOSTILE {
        assert!(steers(text.as_bytes()).is_some(), "{text:?}");
    }
}
