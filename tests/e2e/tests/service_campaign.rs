//! Services under what is hardest for them: nodes that die at any moment, and output without end.
//!
//! `PYRO_E2E_CHANGES` and `PYRO_E2E_FLOOD_MIB` make the campaigns as long as one likes.

#![allow(clippy::unwrap_used, reason = "a story that cannot be told fails by a panic")]

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use pyro_e2e::{Home, random_bytes, setting, wait_until};
use rustix::process::Signal;
use serde_json::Value;

/// A number that the environment may set.
fn number(name: &str, otherwise: u64) -> u64 {
    let told = setting(name).map(|told| told.into_string().unwrap().parse().unwrap());
    told.unwrap_or(otherwise)
}

/// The node dies when nobody expects it, not at an event.
#[expect(clippy::disallowed_methods, reason = "the moment is what is tried")]
fn a_moment(length: Duration) {
    thread::sleep(length);
}

/// What was seen of the events so far.
#[derive(Default)]
struct Followed {
    cursor: u64,
    count: u64,
    revisions: BTreeMap<String, u64>,
}

impl Followed {
    /// Takes in whole lines up to a cursor; the last may have been cut off with its client.
    fn take_in(&mut self, text: &str, up_to: u64) {
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for line in text[..whole].lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            if event["ok"] == false {
                // The last line of a client whose node died.
                break;
            }
            let cursor = event["cursor"].as_u64().unwrap();
            if cursor > up_to {
                break;
            }
            assert!(cursor > self.cursor, "told again after {}: {event}", self.cursor);
            self.cursor = cursor;
            let service = &event["service"];
            let name = service["service_name"].as_str().unwrap();
            let revision = self.revisions.entry(name.to_owned()).or_default();
            assert_eq!(service["revision"], *revision + 1, "one was missed before {event}");
            *revision += 1;
            self.count += 1;
        }
    }
}

#[test]
fn every_state_change_is_told_once_whenever_nodes_die() {
    let wanted = number("PYRO_E2E_CHANGES", 600);
    let home = Home::new();
    let workspace = home.workspace_with(&["-m", "512", "debian:12"]);
    let id = workspace.id();
    let names: Vec<String> = (0..6).map(|number| format!("s{number}")).collect();
    workspace.sh("touch /tmp/ready").ok();
    for name in &names {
        let words = ["service", "start", id, name, "--ready-file", "/tmp/ready"];
        home.pyro([&words[..], &["--", "sleep", "1000"]].concat()).ok();
    }
    let enough = AtomicBool::new(false);
    let mut followed = Followed::default();
    let mut kills = 0;
    thread::scope(|scope| {
        for name in &names {
            let (home, enough) = (&home, &enough);
            scope.spawn(move || {
                while !enough.load(Ordering::Relaxed) {
                    // Its node may die under it; what the guest was told to do is done all the same.
                    home.pyro(["service", "restart", id, name]).seen();
                }
            });
        }
        // Whatever fails here must end the others.
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while followed.count < wanted {
                let after = followed.cursor.to_string();
                let client =
                    home.pyro(["events", id, "--json", "--follow", "--after", &after]).start();
                let random = random_bytes(2);
                let moment = u64::from(u16::from_le_bytes([random[0], random[1]])) % 1500;
                a_moment(Duration::from_millis(50 + moment));
                if let Some(node) = home.node() {
                    node.kill();
                    kills += 1;
                }
                client.signal(Signal::KILL);
                followed.take_in(&client.end().text(), u64::MAX);
            }
        }));
        enough.store(true, Ordering::Relaxed);
        told.unwrap_or_else(|failure| std::panic::resume_unwind(failure));
    });
    assert!(kills > 0);
    let mut at_once = Followed::default();
    at_once.take_in(&home.pyro(["events", id, "--json"]).ok().text(), followed.cursor);
    assert_eq!(
        (at_once.count, at_once.cursor, at_once.revisions),
        (followed.count, followed.cursor, followed.revisions),
        "what was followed is what there is"
    );
    eprintln!("{} changes, {kills} nodes killed", followed.count);
}

#[test]
fn output_without_end_is_kept_within_bounds() {
    let flood = number("PYRO_E2E_FLOOD_MIB", 64);
    let home = Home::new();
    let workspace = home.workspace_with(&["-m", "512", "debian:12"]);
    let id = workspace.id();
    let shown = |name: &str| home.pyro(["service", "status", id, name, "--json"]).ok().json();
    let serve = |name: &str, script: &str| {
        let words = ["service", "start", id, name, "--no-wait", "--", "sh", "-c", script];
        home.pyro(words).ok();
    };
    let ends = |name: &str| {
        wait_until(600, "it has written all of it", || shown(name)["state"] == "exited");
        let service = shown(name);
        assert_eq!(service["exit_code"], 0, "{service}");
        service["log_bytes"]["stdout"].as_u64().unwrap()
    };
    let last = |name: &str, lines: &str| {
        let seen = home.pyro(["service", "logs", id, name, "--tail-lines", lines]).ok();
        String::from_utf8(seen.stdout).unwrap()
    };

    serve("line", "head -c 100M /dev/zero | tr '\\0' x; echo; echo the end");
    assert_eq!(ends("line"), (100 << 20) + 9);
    assert_eq!(last("line", "1").trim_end(), "the end");

    serve("flood", &format!("yes $(seq -s ' ' 20) | head -c {flood}M; echo; echo the end"));
    // Everything else answers meanwhile.
    workspace.exec(["true"]).ok();
    home.pyro(["service", "list", id]).ok();
    assert_eq!(ends("flood"), (flood << 20) + 9);
    let tail = last("flood", "200");
    assert_eq!(tail.lines().count(), 200);
    assert_eq!(tail.lines().last(), Some("the end"));
    let node = home.node().unwrap().peak_mebibytes();
    assert!(node < 128, "the node took {node} MiB");
    workspace.exec(["true"]).ok();
}
