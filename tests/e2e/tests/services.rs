//! Services, as a user sees them.

use std::{
    io::Read,
    net::{TcpListener, TcpStream},
    thread,
};

use pyro_e2e::{Home, Verb, Workspace, patience, wait_until, wait_until_some};
use rustix::process::Signal;
use serde_json::Value;

/// A server on a port that greets whoever comes; `$0` is the port.
const SERVER: &str = r#"exec perl -MIO::Socket::INET -e '$| = 1; my $l = IO::Socket::INET->new(
    Listen => 9, LocalAddr => "127.0.0.1", LocalPort => shift, ReuseAddr => 1) or die;
    print "listening\n"; while (my $c = $l->accept) { print $c "HTTP/1.1 200 OK\r\n\r\nhello"; close $c }' $0"#;

trait Services {
    fn service(&self, verb: &str, words: &[&str]) -> Verb;
    fn shown(&self, name: &str) -> Value;

    /// Starts one with these flags and this shell script. Where it has a probe, it has the time that
    /// a slow machine needs.
    fn serve(&self, name: &str, flags: &[&str], script: &str) -> Verb {
        let seconds = patience(60).as_secs().to_string();
        let has = |start: &str| flags.iter().any(|flag| flag.starts_with(start));
        let time = ["--ready-timeout-seconds", &seconds];
        let is_timed = has("--ready-timeout-seconds") || !has("--ready-");
        let time = if is_timed { &[][..] } else { &time[..] };
        let words = [&[name], flags, time, &["--", "sh", "-c", script]].concat();
        self.service("start", &words)
    }

    /// Calls a verb that must fail with this code; flags stand before the command.
    fn refused(&self, verb: &str, words: &[&str], code: &str) -> Value {
        let at = words.iter().position(|word| *word == "--").unwrap_or(words.len());
        let words = [&words[..at], &["--json"], &words[at..]].concat();
        let told = self.service(verb, &words).code(1).json();
        assert_eq!((&told["ok"], &told["code"]), (&false.into(), &code.into()), "{told}");
        told
    }

    /// Starts one with these flags and this shell script, which must fail with this code.
    fn serve_refused(&self, name: &str, flags: &[&str], script: &str, code: &str) -> Value {
        self.refused("start", &[&[name], flags, &["--", "sh", "-c", script]].concat(), code)
    }

    fn serve_port(&self, name: &str, port: &str, flags: &[&str]) -> Verb {
        let address = format!("127.0.0.1:{port}");
        let flags = [&["--ready-tcp", &address], flags].concat();
        self.serve(name, &flags, &SERVER.replace("$0", port))
    }

    /// Waits until a server has said so many times that it listens: it does so after it listens.
    fn has_listened(&self, name: &str, times: usize) {
        wait_until(30, "it says that it listens", || {
            let logs = self.service("logs", &[name, "--all"]).ok().text();
            logs.matches("listening").count() == times
        });
    }
}

struct Of<'a>(&'a Home, &'a Workspace<'a>);

impl Services for Of<'_> {
    fn service(&self, verb: &str, words: &[&str]) -> Verb {
        let all = [&["service", verb, self.1.id()], words].concat();
        self.0.pyro(all)
    }

    fn shown(&self, name: &str) -> Value {
        self.service("status", &[name, "--json"]).ok().json()
    }
}

#[test]
fn services_live_beside_each_other_and_leave_nothing_in_the_workspace() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    let web = of.serve_port("web", "8080", &["--json"]).ok().json();
    assert_eq!((&web["state"], &web["ready"]), (&"running".into(), &true.into()), "{web}");
    let flags = ["--ready-file", "/run/worker/ready"];
    of.serve("worker", &flags, "mkdir -p /run/worker; touch /run/worker/ready; sleep 1000").ok();

    let list = of.service("list", &["--json"]).ok().json();
    assert_eq!((&list["count"], &list["running_count"]), (&2.into(), &2.into()), "{list}");
    assert_eq!(list["services"][0]["listening_ports"][0]["port"], 8080, "{list}");
    let table = of.service("ls", &[]).ok().text();
    assert!(table.contains("web") && table.contains("8080"), "{table}");
    let status = workspace.status();
    let counts = (&status["service_count"], &status["running_service_count"]);
    assert_eq!(counts, (&2.into(), &2.into()), "{status}");
    of.has_listened("web", 1);
    assert_eq!(workspace.sh("ls -A /workspace").ok().text(), "");

    for name in ["web", "worker"] {
        let stopped = of.service("stop", &[name, "--json"]).ok().json();
        assert_eq!(stopped["state"], "stopped", "{stopped}");
        assert_eq!(stopped["stop_reason"], "sigterm", "{stopped}");
        let again = of.service("stop", &[name, "--json"]).ok().json();
        assert_eq!(again["ended_at"], stopped["ended_at"], "a second stop changes nothing");
    }
    assert_eq!(home.list()["workspaces"][0]["running_service_count"], 0);
    of.service("delete", &["web"]).ok();
    of.service("status", &["web"]).fails("service_not_found");
    assert_eq!(workspace.status()["service_count"], 1);
}

#[test]
fn one_that_dies_before_it_is_ready_is_told_at_once_with_its_output() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    let flags = ["--ready-tcp", "127.0.0.1:1", "--ready-timeout-seconds", "100000"];
    let seen = of.serve("bad", &flags, "echo oh; echo no >&2; exit 3").code(1);
    let told = String::from_utf8_lossy(&seen.stderr).into_owned();
    assert!(
        told.contains("exit code 3") && told.contains("| oh") && told.contains("| no"),
        "{told}"
    );
    let problem = of.serve_refused("bad", &flags, "kill -9 $$", "service_exited");
    assert_eq!(problem["last_exit"]["signal"], 9, "{problem}");
    assert_eq!(problem["stop_reason"], "process_exited_before_ready", "{problem}");
    // One without a probe may end well at once: all it had to do was done.
    of.serve("quick", &[], "echo done").ok();
    wait_until(30, "it has ended", || of.shown("quick")["state"] == "exited");
    let problem = of.refused("start", &["none", "--", "/no/such"], "command_not_found");
    assert!(problem["error"].as_str().unwrap().contains("/no/such"), "{problem}");
    of.service("status", &["none"]).fails("service_not_found");
    let words = ["bad", "--cwd", "/nowhere", "--", "true"];
    of.refused("start", &words, "working_directory_not_found");
}

#[test]
fn one_that_is_not_ready_in_time_is_told_where_it_listens_instead() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    let seconds = patience(3).as_secs().to_string();
    let words = |name, action| {
        let flags = ["--ready-tcp", "127.0.0.1:8000", "--ready-timeout-seconds", &seconds];
        let start = [&[name, "--on-ready-timeout", action], &flags[..]].concat();
        [&start[..], &["--", "sh", "-c", SERVER, "5173"]].concat()
    };
    let problem = of.refused("start", &words("web", "stop"), "service_not_ready");
    assert_eq!(problem["stop_reason"], "readiness_timeout", "{problem}");
    assert!(problem["last_probe"]["result"].as_str().unwrap().contains("refused"), "{problem}");
    assert_eq!(of.shown("web")["state"], "failed");

    let problem = of.refused("start", &words("web", "keep"), "service_not_ready");
    let hints = problem["hints"].to_string();
    assert!(hints.contains("127.0.0.1:5173"), "{hints}");
    let kept = of.shown("web");
    assert_eq!((&kept["state"], &kept["ready"]), (&"running".into(), &false.into()), "{kept}");
}

#[test]
fn every_kind_of_probe_finds_its_service_ready() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    let ready = |name: &str, flags: &[&str], script: &str| {
        of.serve(name, flags, script).ok();
        let shown = of.shown(name);
        assert_eq!(
            (&shown["state"], &shown["ready"]),
            (&"running".into(), &true.into()),
            "{shown}"
        );
        shown
    };
    ready(
        "file",
        &["--ready-file", "deep/er/ready"],
        "sleep 0.2; mkdir -p deep/er; : > deep/er/ready; sleep 1000",
    );
    ready(
        "command",
        &["--ready-command", "test -e $WHERE", "-e", "WHERE=/tmp/there"],
        "sleep 0.2; : > /tmp/there; sleep 1000",
    );
    ready(
        "log",
        &["--ready-log", r"^ready in \d+ ms$"],
        "echo not ready; echo 'ready in 12 ms' >&2; sleep 1000",
    );
    let notify = r#"perl -MIO::Socket::UNIX -MSocket -e 'my $p = $ENV{NOTIFY_SOCKET}; $p =~ s/^@/\0/;
        socket(S, AF_UNIX, SOCK_DGRAM, 0); send(S, "STATUS=warm\nREADY=1", 0, sockaddr_un($p)) or die'; sleep 1000"#;
    assert_eq!(ready("notify", &["--ready-notify"], notify)["status_text"], "warm");
    let http = SERVER.replace("$0", "8081");
    ready("http", &["--ready-http", "http://localhost:8081/health"], &http);
    let tcp = SERVER.replace("127.0.0.1", "0.0.0.0").replace("$0", "8082");
    workspace.sh("echo 127.0.0.1 box.test >> /etc/hosts").ok();
    ready("tcp", &["--ready-tcp", "box.test:8082"], &tcp);
    let words = ["x", "--ready-tcp", "nonsense", "--", "true"];
    of.refused("start", &words, "invalid_readiness");
    of.refused("start", &["x", "--ready-log", "(", "--", "true"], "invalid_service");
}

#[test]
fn a_probe_says_whose_socket_answered_it() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    let said = |name: &str| of.shown(name)["last_probe"]["result"].as_str().unwrap().to_owned();
    of.serve_port("server", "9000", &[]).ok();
    of.serve("guest", &["--ready-tcp", "127.0.0.1:9000"], "exec sleep 1000").ok();
    wait_until(30, "it says who answered", || {
        said("guest").ends_with("; it is service server that listens there")
    });
    let own = said("server");
    assert!(own.ends_with("accepts connections"), "{own}");
}

#[test]
fn many_who_follow_hold_nobody_up() {
    // More than the streams that a guest's session once bore.
    const FOLLOWERS: usize = 150;
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    of.serve("talks", &[], "echo hello; exec sleep 1000").ok();
    let followers: Vec<_> =
        (0..FOLLOWERS).map(|_| of.service("logs", &["talks", "--follow"]).start()).collect();
    for follower in &followers {
        follower.wait_for("hello");
    }
    workspace.exec(["true"]).ok();
    of.service("stop", &["talks"]).ok();
    for follower in followers {
        follower.signal(Signal::KILL);
        follower.end();
    }
    workspace.exec(["true"]).ok();
    of.service("list", &[]).ok();
}

#[test]
fn a_hostile_listener_is_never_ready_and_never_holds_up_the_others() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    let server = |behaviour: &str| {
        format!(
            r#"exec perl -MIO::Socket::INET -e '$SIG{{PIPE}} = "IGNORE"; my $l = IO::Socket::INET->new(
            Listen => 9, LocalAddr => "127.0.0.1", LocalPort => 9000, ReuseAddr => 1) or die;
            while (my $c = $l->accept) {{ {behaviour}; close $c }}'"#
        )
    };
    for (name, behaviour) in [
        ("garbage", r#"print $c "SSH-2.0-x\r\n" x 1000"#),
        ("endless", r#"print $c "x" x 1000 for 1..100"#),
        ("redirect-loop", r#"print $c "HTTP/1.1 500 no\r\n\r\n""#),
        ("slow", r#"for (1..50) { print $c "H"; $c->flush; select undef, undef, undef, 0.2 }"#),
    ] {
        let flags =
            ["--ready-http", "http://127.0.0.1:9000/", "--ready-timeout-seconds", "3", "--no-wait"];
        of.serve(name, &flags, &server(behaviour)).ok();
        // Everything else answers meanwhile.
        workspace.exec(["true"]).ok();
        of.service("list", &[]).ok();
        of.service("wait", &[name]).fails("service_not_ready");
        assert_eq!(of.shown(name)["stop_reason"], "readiness_timeout");
    }
    let endless = ["--ready-command", "sleep 100000", "--ready-timeout-seconds", "1"];
    of.serve_refused("hangs", &endless, "sleep 100001", "service_not_ready");
    wait_until(30, "the probe's tree ended with it", || {
        workspace.guest_processes("sleep 10000") == 0
    });
}

#[test]
fn a_stop_ends_the_whole_tree_and_says_how() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    of.service("start", &["plain", "--", "sleep", "1000"]).ok();
    let stopped = of.service("stop", &["plain", "--json"]).ok().json();
    assert_eq!(stopped["stop_reason"], "sigterm", "{stopped}");
    assert_eq!(stopped["last_exit"]["signal"], 15, "{stopped}");

    let script = "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 54321' & (sleep 54321 &) ; \
                  touch /tmp/made; while :; do sleep 54321; done";
    let flags = ["--ready-file", "/tmp/made", "--stop-grace-seconds", "1"];
    of.serve("stubborn", &flags, script).ok();
    assert!(workspace.guest_processes("sleep 54321") > 0);
    let stopped = of.service("stop", &["stubborn", "--json"]).ok().json();
    assert_eq!(stopped["stop_reason"], "sigkill", "{stopped}");
    assert_eq!(workspace.guest_processes("sleep 54321"), 0);

    let script = "trap 'echo bye; exit 0' INT; touch /tmp/there; while :; do sleep 0.1; done";
    let flags = ["--ready-file", "/tmp/there", "--stop-signal", "INT"];
    of.serve("polite", &flags, script).ok();
    let stopped = of.service("stop", &["polite", "--json"]).ok().json();
    assert_eq!((&stopped["stop_reason"], &stopped["exit_code"]), (&"sigint".into(), &0.into()));
    assert!(of.service("logs", &["polite"]).ok().text().contains("bye"));
}

#[test]
fn restarts_follow_the_policy_up_to_the_limit() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    let flags = ["--restart", "on-failure", "--restart-limit", "2", "--no-wait"];
    of.serve("fails", &flags, "echo run; exit 1").ok();
    wait_until(60, "it was tried often enough", || of.shown("fails")["state"] == "failed");
    let shown = of.shown("fails");
    assert_eq!(
        (&shown["stop_reason"], &shown["restart_count"]),
        (&"restart_limit".into(), &2.into())
    );
    assert_eq!(of.service("logs", &["fails"]).ok().text(), "run\nrun\nrun");

    let flags = ["--restart", "on-failure", "--ready-file", "/tmp/up"];
    of.serve("once", &flags, "touch /tmp/up; while [ -e /tmp/up ]; do sleep 0.1; done; exit 0")
        .ok();
    workspace.sh("rm /tmp/up").ok();
    wait_until(60, "it has ended well", || of.shown("once")["state"] == "exited");

    let flags = ["--restart", "always", "--ready-file", "/tmp/up"];
    of.serve("again", &flags, "touch /tmp/up; sleep 1000").ok();
    let before = of.shown("again")["pid"].clone();
    of.service("signal", &["again", "KILL", "--whole-tree"]).ok();
    wait_until(60, "it runs again", || {
        let shown = of.shown("again");
        shown["ready"] == true && shown["restart_count"] == 1
    });
    assert_ne!(of.shown("again")["pid"], before);
    of.service("stop", &["again"]).ok();
    assert_eq!(of.shown("again")["state"], "stopped", "a stop is not undone by a policy");
}

#[test]
fn failing_health_is_told_and_restarts() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    workspace.sh("touch /tmp/well").ok();
    let health =
        ["--health-file", "/tmp/well", "--health-interval", "0.2", "--health-retries", "2"];
    of.serve("told", &[&health[..], &["--health-action", "report"]].concat(), "sleep 1000").ok();
    of.serve("restarted", &health, "sleep 1000").ok();
    for name in ["told", "restarted"] {
        wait_until(60, "it is well", || of.shown(name)["health"] == "passing");
    }
    workspace.sh("rm /tmp/well").ok();
    wait_until(60, "it is not well", || of.shown("told")["health"] == "failing");
    assert_eq!(of.shown("told")["restart_count"], 0);
    wait_until(60, "it was restarted", || of.shown("restarted")["restart_count"] != 0);
}

#[test]
fn dependencies_order_the_start_and_say_what_holds_it_up() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    of.serve_refused("x", &["--depends-on", "db"], "sleep 1000", "dependency_not_found");
    let flags = ["--ready-file", "/tmp/db", "--ready-timeout-seconds", "100000", "--no-wait"];
    of.serve("db", &flags, "sleep 1000").ok();
    of.serve("setup", &["--depends-on", "db:started", "--no-wait"], "echo done").ok();
    let flags = ["--depends-on", "db", "--depends-on", "setup:completed", "--no-wait"];
    let held = of.serve("web", &[&flags[..], &["--json"]].concat(), "sleep 1000").ok().json();
    assert_eq!((&held["state"], &held["pid"]), (&"starting".into(), &Value::Null), "{held}");
    wait_until(30, "only the database holds it up", || {
        of.shown("web")["waiting_for"] == serde_json::json!(["db"])
    });
    let problem =
        of.service("wait", &["web", "--timeout-seconds", "0.5", "--json"]).code(124).json();
    assert!(problem["error"].as_str().unwrap().contains("db"), "{problem}");
    workspace.sh("touch /tmp/db").ok();
    of.service("wait", &["web"]).ok();
    let started = |name: &str| of.shown(name)["started_at"].as_f64().unwrap();
    assert!(started("web") >= of.shown("db")["ready_at"].as_f64().unwrap());

    let flags = ["--replace", "--depends-on", "web"];
    of.serve_refused("db", &flags, "sleep 1000", "dependency_cycle");
    of.service("delete", &["db"]).fails("service_needed");
    of.serve("broken", &["--no-wait"], "exit 1").ok();
    of.serve_refused("after", &["--depends-on", "broken:completed"], "sleep 1", "service_held_up");
}

#[test]
fn starting_again_changes_nothing_and_another_specification_is_refused() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    of.serve_port("web", "8080", &[]).ok();
    let pid = of.shown("web")["pid"].clone();
    let again = of.serve_port("web", "8080", &["--json"]).ok().json();
    assert_eq!((&again["unchanged"], &again["pid"]), (&true.into(), &pid), "{again}");
    of.has_listened("web", 1);
    let words = ["web", "--ready-tcp", "127.0.0.1:8081", "--", "sh", "-c", SERVER, "8081"];
    of.refused("start", &words, "service_already_running");
    assert_eq!(of.shown("web")["pid"], pid);
    let other = of.serve_port("web", "8081", &["--replace", "--json"]).ok().json();
    assert_eq!(other["listening_ports"][0]["port"], 8081, "{other}");
    of.has_listened("web", 2);
    let restarted = of.service("restart", &["web", "--json"]).ok().json();
    assert_eq!(restarted["ready"], true, "{restarted}");
    assert_ne!(restarted["pid"], other["pid"]);
    // The runs' logs follow each other.
    of.has_listened("web", 3);
    of.refused("start", &["../x", "--", "true"], "invalid_service_name");
}

#[test]
fn a_killed_node_changes_no_service_and_loses_no_line_and_no_event() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    let script = "n=0; while :; do echo $n; n=$((n+1)); sleep 0.05; done";
    of.serve("counts", &["--ready-log", "^3$"], script).ok();
    let pid = of.shown("counts")["pid"].clone();
    let events = |after: u64| -> Vec<Value> {
        let after = after.to_string();
        let seen = workspace.call("events", ["--json", "--after", &after]).ok();
        seen.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let cursor = |events: &[Value]| events.last().unwrap()["cursor"].as_u64().unwrap();
    let first = wait_until_some(30, "the events say that it runs", || {
        let events = events(0);
        events.iter().any(|event| event["service"]["ready"] == true).then_some(events)
    });
    home.kill_node();
    let shown = of.shown("counts");
    assert_eq!((&shown["state"], &shown["pid"]), (&"running".into(), &pid), "{shown}");
    home.kill_node();
    of.service("stop", &["counts"]).ok();
    let later = wait_until_some(30, "the stop is told", || {
        let events = events(cursor(&first));
        events.iter().any(|event| event["service"]["state"] == "stopped").then_some(events)
    });
    assert!(later.iter().all(|event| event["cursor"].as_u64() > Some(cursor(&first))));
    let lines = of.service("logs", &["counts", "--all"]).ok().text();
    let numbers: Vec<usize> = lines.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>(), "no line is missing or twice");
}

#[test]
fn a_stopped_workspace_remembers_its_services_and_runs_them_again() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    of.serve_port("db", "5432", &[]).ok();
    of.serve_port("web", "8080", &["--depends-on", "db"]).ok();
    of.has_listened("web", 1);
    of.serve("done", &[], "echo done").ok();
    wait_until(30, "it has ended", || of.shown("done")["state"] == "exited");
    of.serve_port("off", "9000", &[]).ok();
    of.service("stop", &["off"]).ok();
    workspace.verb("stop").ok();

    let web = of.shown("web");
    let why = (&web["state"], &web["stop_reason"], &web["ready"]);
    assert_eq!(why, (&"stopped".into(), &"workspace_stopped".into(), &false.into()), "{web}");
    assert!(of.service("logs", &["web"]).ok().text().contains("listening"));
    let list = of.service("list", &["--json"]).ok().json();
    assert_eq!((&list["count"], &list["running_count"]), (&4.into(), &0.into()), "{list}");
    assert_eq!(workspace.state(), "stopped", "looking back starts nothing");
    home.kill_node();
    assert_eq!(of.shown("web")["stop_reason"], "workspace_stopped");

    workspace.verb("start").ok();
    wait_until(60, "they run again", || of.shown("web")["ready"] == true);
    for (name, state) in
        [("db", "running"), ("web", "running"), ("done", "exited"), ("off", "stopped")]
    {
        assert_eq!(of.shown(name)["state"], state, "{name}");
    }
    assert!(of.shown("web")["started_at"].as_f64() >= of.shown("db")["ready_at"].as_f64());
    // The log goes on.
    of.has_listened("web", 2);
}

#[test]
fn a_machine_that_died_is_told_apart_from_a_stop() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    of.serve_port("web", "8080", &[]).ok();
    workspace.vmm().kill();
    wait_until(60, "the end was noticed", || workspace.state() == "stopped");
    let web = of.shown("web");
    assert_eq!((&web["state"], &web["stop_reason"]), (&"stopped".into(), &"vm_killed".into()));
    workspace.verb("start").ok();
    wait_until(60, "it runs again", || of.shown("web")["ready"] == true);
}

#[test]
fn logs_are_cut_followed_and_told_apart() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    // Each line after the five hundredth waits for its turn.
    let script = "turn() { while [ ! -e /tmp/$1 ]; do sleep 0.1; done; }; \
                  i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done; touch /tmp/told; \
                  turn bad; echo bad >&2; turn byte; printf '\\377\\n'; turn more; echo more; sleep 1000";
    of.serve("web", &["--ready-file", "/tmp/told"], script).ok();
    let lines = |words: &[&str]| {
        let seen = of.service("logs", &[&["web"], words].concat()).ok();
        String::from_utf8_lossy(&seen.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for (turn, count) in [("none", 500), ("bad", 501), ("byte", 502)] {
        workspace.sh(&format!("touch /tmp/{turn}")).ok();
        wait_until(30, "the line is there", || lines(&["--all"]).len() == count);
    }
    assert_eq!(lines(&[]).len(), 200);
    assert_eq!(lines(&["--tail-lines", "3"])[..2], ["line 499", "bad"]);
    assert_eq!(lines(&["--stream", "stderr"]), ["bad"]);
    let stamped = lines(&["-n", "2", "--timestamps"]);
    assert!(stamped[0].ends_with("Z bad") && stamped[0].starts_with("20"), "{stamped:?}");
    assert_eq!(lines(&["--since", "1h"]).len(), 502);
    let json = of.service("logs", &["web", "--json"]).ok().json();
    assert_eq!((&json["tail_lines"], &json["truncated"]), (&200.into(), &true.into()), "{json}");
    assert_eq!(json["stderr"], "bad\n");
    let bytes = of.service("logs", &["web", "-n", "1"]).ok();
    assert_eq!(bytes.stdout, b"\xff\n", "any bytes come out as they went in");

    let client = of.service("logs", &["web", "--follow", "-n", "2"]).start();
    client.wait_for("bad");
    workspace.sh("touch /tmp/more").ok();
    client.wait_for("more");
    client.process().kill();
    assert_eq!(of.shown("web")["state"], "running", "who follows does not end it");
}

#[test]
fn fifty_services_start_restart_and_stop_at_once() {
    let home = Home::new();
    let workspace = home.workspace_with(&["-m", "512", "debian:12"]);
    let of = Of(&home, &workspace);
    thread::scope(|scope| {
        for number in 0..50 {
            let of = &of;
            scope.spawn(move || {
                let name = format!("s{number:02}");
                let file = format!("/tmp/{name}");
                let script = format!("echo {name}; : > {file}; exec sleep 1000");
                of.serve(&name, &["--ready-file", &file], &script).ok();
            });
        }
    });
    let list = of.service("list", &["--json"]).ok().json();
    assert_eq!((&list["count"], &list["running_count"]), (&50.into(), &50.into()));
    let services = list["services"].as_array().unwrap();
    assert!(services.iter().all(|service| service["ready"] == true));
    wait_until(30, "what it said is kept", || of.service("logs", &["s07"]).ok().text() == "s07");
    let pids = |services: &[Value]| services.iter().map(|it| it["pid"].clone()).collect::<Vec<_>>();
    let before = pids(services);
    thread::scope(|scope| {
        for number in 0..50 {
            let of = &of;
            scope.spawn(move || of.service("restart", &[&format!("s{number:02}")]).ok());
        }
    });
    let list = of.service("list", &["--json"]).ok().json();
    assert_eq!(list["running_count"], 50);
    let services = list["services"].as_array().unwrap();
    assert!(services.iter().all(|service| service["ready"] == true));
    assert!(pids(services).iter().zip(&before).all(|(new, old)| new != old), "each runs anew");
    thread::scope(|scope| {
        for number in 0..50 {
            let of = &of;
            scope.spawn(move || of.service("stop", &[&format!("s{number:02}")]).ok());
        }
    });
    assert_eq!(of.service("list", &["--json"]).ok().json()["running_count"], 0);
}

/// What was done about each service, by name.
fn actions(result: &Value) -> Vec<(&str, &str)> {
    let services = result["services"].as_array().into_iter().flatten();
    services
        .map(|it| {
            let field = |name| it[name].as_str().unwrap_or_default();
            (field("service_name"), field("action"))
        })
        .collect()
}

#[test]
fn a_file_of_services_is_brought_up_changed_and_brought_down() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    let project = home.scratch().join("project");
    std::fs::create_dir_all(&project).unwrap();
    let up =
        |words: &[&str]| of.service("up", &[words, &["--json"]].concat()).from_directory(&project);
    let declare = |text: &str| std::fs::write(project.join("pyro.toml"), text).unwrap();
    // The one that needs another stands before it.
    let file = |web: &str, orphan: &str| {
        format!(
            "[services.web]\n\
             command = \"echo up > /tmp/web; trap 'sleep 0.2; exit' TERM; sleep {web} & wait\"\n\
             ready_file = \"/tmp/web\"\nready_timeout_seconds = \"10m\"\n\
             depends_on = {{ db = \"ready\", setup = \"completed\" }}\n\
             [services.db]\ncommand = ['sleep', '1000']\nenv = {{ NAME = \"${{DB_NAME:-main}}\" }}\n\
             [services.setup]\ncommand = \"echo done\"\n{orphan}"
        )
    };
    let orphan = "[services.old]\ncommand = ['sleep', '2000']\n";
    declare(&file("1000", orphan));
    let first = up(&[]).ok().json();
    let all = [("db", "started"), ("setup", "started"), ("web", "started"), ("old", "started")];
    assert_eq!(actions(&first), all, "{first}");
    assert_eq!(first["failure"], Value::Null, "{first}");
    assert_eq!(of.shown("web")["ready"], true);
    assert_eq!(of.shown("web")["source"], "pyro.toml");
    let started = |name: &str| of.shown(name)["started_at"].as_f64().unwrap();
    assert!(started("web") >= of.shown("db")["ready_at"].as_f64().unwrap());

    // Again: nothing is touched, the job that has done its work included.
    let run = |name: &str| of.shown(name)["started_at"].clone();
    let before = ["db", "setup", "web", "old"].map(run);
    let again = up(&[]).ok().json();
    assert!(actions(&again).iter().all(|(_, action)| *action == "unchanged"), "{again}");
    assert_eq!(["db", "setup", "web", "old"].map(run), before);

    // Only what changed is restarted; what is not in the file any more is told.
    declare(&file("1001", ""));
    let changed = up(&[]).ok().json();
    let all =
        [("db", "unchanged"), ("setup", "unchanged"), ("web", "restarted"), ("old", "orphaned")];
    assert_eq!(actions(&changed), all, "{changed}");
    assert_eq!([run("db"), run("old")], [before[0].clone(), before[3].clone()]);
    let value = ["--env", "DB_NAME=other", "--remove-orphans", "db"];
    let value = up(&value).ok().json();
    assert_eq!(actions(&value), [("db", "restarted"), ("old", "stopped")], "{value}");
    assert_eq!(of.shown("old")["state"], "stopped");

    // Nothing happens where anything in the file is wrong.
    let circle = "[services.new]\ncommand = 'x'\ndepends_on = ['web']\n\
                  [services.web]\ncommand = 'x'\ndepends_on = ['new']\n";
    declare(circle);
    let problem = up(&[]).code(1).json();
    assert_eq!(problem["code"], "invalid_manifest", "{problem}");
    let error = problem["error"].as_str().unwrap();
    assert!(error.contains("pyro.toml:1") && error.contains("new -> web -> new"), "{problem}");
    of.service("status", &["new"]).fails("service_not_found");
    assert_eq!(of.shown("web")["state"], "running");

    // A service that others need is stopped after them.
    let down = of.service("down", &["--json"]).ok().json();
    assert_eq!(down["stopped_count"], 2, "{down}");
    let ended = |name: &str| of.shown(name)["ended_at"].as_f64().unwrap();
    assert!(ended("db") >= ended("web"));
    assert_eq!(of.service("down", &["--json"]).ok().json()["stopped_count"], 0);
}

/// What the server behind a port of this host says; nothing where nobody listens, here or inside.
fn said(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    Some(said)
}

#[test]
fn the_ports_of_a_file_are_published_while_its_services_run() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    let project = home.scratch().join("project");
    std::fs::create_dir_all(&project).unwrap();
    let server = |port: &str| SERVER.replace("$0", port);
    let declare = |web: &str, other: &str| {
        let service = |name: &str, port: &str, published: &str| {
            format!(
                "[services.{name}]\ncommand = '''{}'''\nready_tcp = '127.0.0.1:{port}'\n\
                 ready_timeout_seconds = '10m'\npublished_ports = [{published}]\n",
                server(port)
            )
        };
        let text = service("web", "8000", web) + &service("other", "8001", other);
        std::fs::write(project.join("pyro.toml"), text).unwrap();
    };
    let up = || of.service("up", &["--json"]).from_directory(&project);
    let ports = |name: &str| {
        let shown = of.shown(name);
        let ports = shown["published_ports"].as_array().unwrap().iter();
        ports.map(|port| port["host_port"].as_u64().unwrap() as u16).collect::<Vec<_>>()
    };
    declare("'0:8000'", "'0:8001', { guest_port = 8001, host_port = 0 }");
    up().ok();
    let (web, other) = (ports("web")[0], ports("other")[0]);
    assert!(said(web).unwrap().contains("hello"));
    assert!(said(other).unwrap().contains("hello"));

    // Without a restart they are what the file says, even where two change places.
    let run = of.shown("web")["started_at"].clone();
    declare(&format!("'{other}:8000'"), &format!("'{web}:8001'"));
    let told = up().ok().json();
    assert_eq!(actions(&told), [("web", "unchanged"), ("other", "unchanged")], "{told}");
    assert_eq!((ports("web"), ports("other")), (vec![other], vec![web]));
    assert_eq!(of.shown("web")["started_at"], run);
    assert!(said(web).is_some() && said(other).is_some());

    // One that is taken is told, and what there was stays; the others are as the file says.
    let held = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = held.local_addr().unwrap().port();
    declare(&format!("'{taken}:8000'"), "");
    let told = up().code(1).json();
    assert_eq!(actions(&told), [("web", "failed"), ("other", "unchanged")], "{told}");
    assert_eq!(told["services"][0]["failure"]["code"], "port_taken", "{told}");
    assert_eq!((ports("web"), ports("other")), (vec![other], vec![]));
    assert!(said(other).unwrap().contains("hello"));
    assert_eq!(said(web), None);
    of.service("down", &[]).ok();
    assert_eq!(said(other), None);

    // As compose says it.
    let compose = format!(
        "services:\n  web:\n    command: [sh, -c, {:?}]\n    ports: ['127.0.0.1:0:8000']\n",
        server("8000").replace('$', "$$")
    );
    std::fs::write(project.join("compose.yaml"), compose).unwrap();
    let file = ["--file", "compose.yaml", "--json"];
    of.service("up", &file).from_directory(&project).ok();
    let [port] = ports("web")[..] else { panic!("it has one port") };
    wait_until(60, "it listens inside", || said(port).is_some_and(|said| said.contains("hello")));
    std::fs::write(project.join("udp.yaml"), "services: {a: {command: a, ports: [53/udp]}}")
        .unwrap();
    let udp = ["--file", "udp.yaml", "--json"];
    let told = of.service("up", &udp).from_directory(&project).code(1).json();
    assert_eq!(told["code"], "invalid_manifest", "{told}");
    assert!(told["error"].as_str().unwrap().contains("udp"), "{told}");
}

#[test]
fn a_compose_file_of_the_workspace_is_brought_up() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    let nowhere = home.scratch().join("nowhere");
    std::fs::create_dir_all(&nowhere).unwrap();
    let up = |words: &[&str]| {
        of.service("up", &[words, &["--json"]].concat())
            .from_directory(&nowhere)
            .env("SECRET", "no")
    };
    assert_eq!(up(&[]).code(1).json()["code"], "manifest_not_found");
    workspace
        .sh("mkdir -p /workspace/app; cd /workspace/app; cat > compose.yaml <<'END'
x-common: &common
  restart: on-failure
services:
  web:
    <<: *common
    command: [sh, -c, 'echo $$FROM_FILE $$FROM_ENV $$SECRET > /tmp/seen; exec sleep 1000']
    env_file: web.env
    environment: {FROM_ENV: '${GIVEN:?it must be given}', SECRET: '${SECRET:-nothing}'}
    healthcheck: {test: [CMD, test, -s, /tmp/seen], interval: 1s, start_period: 10m}
    container_name: web
  job:
    command: sh -c 'exit 3'
    healthcheck: {test: [CMD, 'false'], interval: 1s, start_period: 10m}
    depends_on: {web: {condition: service_healthy}}
END
echo 'FROM_FILE=file' > web.env
ln -s ../../../../compose.yaml out.yaml")
        .ok();
    let path = ["--path", "app/compose.yaml"];
    let problem = up(&path).code(1).json();
    assert!(problem["error"].as_str().unwrap().contains("it must be given"), "{problem}");
    let given = [&path[..], &["--env", "GIVEN=env"]].concat();
    let told = up(&given).code(1).json();
    assert_eq!(actions(&told), [("web", "started"), ("job", "failed")], "{told}");
    assert_eq!((&told["ok"], &told["code"]), (&false.into(), &"services_failed".into()), "{told}");
    assert!(told["notices"].to_string().contains("container_name"), "{told}");
    // The environment of whoever calls is not shown to a file of the guest's.
    assert_eq!(workspace.sh("cat /tmp/seen").ok().text(), "file env nothing");
    assert_eq!(of.shown("web")["source"], "app/compose.yaml");
    let only = up(&[&given[..], &["web"]].concat()).ok().json();
    assert_eq!(actions(&only), [("web", "unchanged")], "{only}");
    assert_eq!(up(&["--path", "app/out.yaml"]).code(1).json()["code"], "manifest_not_found");
}

#[test]
fn a_workspace_that_is_started_without_its_services_leaves_them_stopped() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let of = Of(&home, &workspace);
    of.serve("web", &["--restart", "always"], "sleep 1000").ok();
    workspace.verb("stop").ok();
    workspace.call("start", ["--no-resume"]).ok();
    assert_eq!(workspace.sh("echo it runs").ok().text(), "it runs");
    assert_eq!(of.shown("web")["state"], "stopped");
    assert_eq!(workspace.guest_processes("sleep 1000"), 0);
    // Only this start was without them.
    workspace.verb("stop").ok();
    workspace.verb("start").ok();
    wait_until(60, "it runs again", || of.shown("web")["state"] == "running");
}
