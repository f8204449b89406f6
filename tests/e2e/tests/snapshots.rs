//! Snapshots of a workspace's disk, and the way back to them: what was there is there again, what was
//! not is not, and whoever dies on the way leaves one or the other.

#![allow(clippy::unwrap_used)]

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
    process::Command,
};

use pyro_e2e::{Home, Verb, Workspace, wait_until};
use serde_json::{Value, json};

/// A workspace of a home, with the verbs of snapshots.
struct Of<'a>(&'a Home, Workspace<'a>);

impl<'a> Of<'a> {
    fn new(home: &'a Home) -> Self {
        Self(home, home.workspace("debian:12"))
    }

    fn snapshot(&self, verb: &str, words: &[&str]) -> Verb {
        let all = [&["snapshot", verb, self.1.id()], words].concat();
        self.0.pyro(all)
    }

    #[track_caller]
    fn take(&self, name: &str) -> Value {
        self.snapshot("create", &[name, "--json"]).ok().json()
    }

    #[track_caller]
    fn names(&self) -> Vec<String> {
        let list = self.snapshot("list", &["--json"]).ok().json();
        let snapshots = list["snapshots"].as_array().unwrap();
        assert_eq!(list["count"], snapshots.len());
        snapshots.iter().map(|it| it["snapshot_name"].as_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    fn reset(&self, words: &[&str]) -> Value {
        self.1.call("reset", [words, &["--json"]].concat()).ok().json()
    }

    #[track_caller]
    fn says(&self, script: &str) -> String {
        self.1.sh(script).ok().text()
    }

    fn directory(&self) -> PathBuf {
        self.0.state().join("workspaces").join(self.1.id())
    }

    fn disk_of(&self, name: &str) -> PathBuf {
        self.directory().join("snapshots").join(format!("{name}.ext4"))
    }

    /// Nothing of a copy or a reset is under way.
    #[track_caller]
    fn is_tidy(&self, snapshots: &[&str]) {
        let names = |directory: PathBuf| -> Vec<String> {
            let entries = fs::read_dir(directory).into_iter().flatten();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        let odd: Vec<_> = names(self.directory())
            .into_iter()
            .filter(|name| {
                name.starts_with(".partial") || name == "next.ext4" || name == "last.ext4"
            })
            .collect();
        assert_eq!(odd, [] as [&str; 0]);
        let mut kept = names(self.directory().join("snapshots"));
        kept.sort();
        let mut expected: Vec<_> = snapshots.iter().map(|name| format!("{name}.ext4")).collect();
        expected.sort();
        assert_eq!(kept, expected);
    }
}

/// The file system of a disk is whole, its journal empty.
#[track_caller]
fn is_clean(disk: &PathBuf) {
    let checked = Command::new("/usr/sbin/e2fsck").arg("-fn").arg(disk).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

const FIRST: &str = "echo first > /workspace/file; mkdir -p d; echo a > d/a; ln -s a d/link; \
                     printf '#!/bin/sh\\necho one\\n' > /usr/local/bin/tool; \
                     chmod 750 /usr/local/bin/tool";
const THEN: &str = "echo then > /workspace/file; rm -r d; echo b > b; rm /usr/local/bin/tool; \
                    echo x > /etc/added";
const LOOK: &str = "cat /workspace/file; tool; readlink d/link; ls /workspace | tr '\\n' ' '; \
                    stat -c %a /usr/local/bin/tool; ls /etc/added 2>&1 | tail -c 26; \
                    true";

#[test]
fn what_was_changed_after_a_snapshot_is_back_after_a_reset() {
    let home = Home::new();
    let of = Of::new(&home);
    of.1.sh(FIRST).ok();
    let before = of.says(LOOK);
    let exec = of.1.detach("exec sleep 100000");
    let created = of.take("first");
    let snapshot = &created["snapshot"];
    assert_eq!(snapshot["snapshot_name"], "first");
    assert_eq!(snapshot["kind"], "named");
    assert_eq!(snapshot["deletable"], true);
    assert!(snapshot["entry_count"].as_u64().unwrap() > 11, "{created}");
    assert!(snapshot["bytes_written"].as_u64().unwrap() > 0, "{created}");
    assert!(snapshot["frozen_ms"].as_f64().unwrap() > 0.0, "{created}");
    is_clean(&of.disk_of("first"));
    // Everything went on meanwhile.
    assert_eq!(of.1.exec_record(&exec)["running"], true);

    of.1.sh(THEN).ok();
    of.take("then");
    let after = of.says(LOOK);
    assert_ne!(before, after);

    let reset = of.reset(&["--snapshot", "first"]);
    assert_eq!(reset["workspace_reset"]["snapshot_name"], "first", "{reset}");
    assert_eq!(reset["workspace_reset"]["kind"], "named");
    assert_eq!(reset["workspace_reset"]["destination"], "/workspace");
    assert_eq!(reset["workspace_reset"]["bytes_written"], snapshot["bytes_written"]);
    assert_eq!((&reset["reset_count"], &reset["command_count"]), (&json!(1), &json!(0)));
    assert_eq!((&reset["state"], &reset["last_command"]), (&json!("started"), &json!(null)));
    assert!(reset["last_reset_at"].as_f64().unwrap() > 0.0);
    let list = of.1.call("ps", ["--all", "--json"]).ok().json();
    assert_eq!(list["count"], 0, "{list}");
    assert_eq!(of.says(LOOK), before);
    assert_eq!(of.1.status()["last_command"]["sequence"], 1);

    // Snapshots survive it, and a stop.
    assert_eq!(of.names(), ["baseline", "then", "first"]);
    of.1.verb("stop").ok();
    let reset = of.reset(&["--snapshot", "then"]);
    assert_eq!(reset["state"], "started", "a stopped one is started");
    assert_eq!(of.says(LOOK), after);
    of.is_tidy(&["first", "then"]);

    let reset = of.reset(&[]);
    assert_eq!(reset["workspace_reset"]["kind"], "baseline");
    assert_eq!(reset["reset_count"], 3);
    assert_eq!(
        of.says("ls -A /workspace /usr/local/bin; ls /etc/added || echo none; hostname"),
        format!("/usr/local/bin:\n\n/workspace:\nnone\n{}", of.1.id())
    );
    of.snapshot("delete", &["first"]).ok();
    assert_eq!(of.names(), ["baseline", "then"]);
    of.is_tidy(&["then"]);
    home.pyro(["delete", of.1.id()]).ok();
    home.holds_only(&[]);
}

#[test]
fn names_are_checked_before_anything_is_done() {
    let home = Home::new();
    let of = Of::new(&home);
    for (words, code) in [
        (["snapshot", "create", of.1.id(), "baseline"], "snapshot_reserved"),
        (["snapshot", "delete", of.1.id(), "baseline"], "snapshot_reserved"),
        (["snapshot", "create", of.1.id(), "../x"], "invalid_snapshot_name"),
        (["snapshot", "create", of.1.id(), ".x"], "invalid_snapshot_name"),
        (["snapshot", "delete", of.1.id(), "none"], "snapshot_not_found"),
    ] {
        home.pyro(words).fails(code);
    }
    of.1.call("reset", ["--snapshot", "none"]).fails("snapshot_not_found");
    of.take("x");
    of.snapshot("create", &["x"]).fails("snapshot_exists");
    let list = of.snapshot("list", &["--json"]).ok().json();
    assert_eq!(list["snapshots"][0]["deletable"], false, "{list}");
    assert_eq!(list["snapshots"][0]["kind"], "baseline");
    let with = of.1.status()["disk_bytes"].as_u64().unwrap();
    of.snapshot("delete", &["x"]).ok();
    assert!(of.1.status()["disk_bytes"].as_u64().unwrap() < with);
    assert_eq!(of.1.status()["reset_count"], 0);
}

#[test]
fn a_stopped_one_is_copied_and_stays_stopped() {
    let home = Home::new();
    let of = Of::new(&home);
    of.1.sh(FIRST).ok();
    of.1.verb("stop").ok();
    let created = of.take("cold");
    assert_eq!(created["snapshot"]["frozen_ms"], 0.0, "{created}");
    assert_eq!(of.1.state(), "stopped");
    is_clean(&of.disk_of("cold"));
    of.1.sh("rm -r d").ok();
    of.reset(&["--snapshot", "cold"]);
    assert_eq!(of.says("cat d/a"), "a");
}

#[test]
fn whoever_writes_meanwhile_loses_nothing_and_the_snapshot_is_of_one_moment() {
    let home = Home::new();
    let of = Of::new(&home);
    // Two files that are written one after the other: the second never has more than the first.
    let script = "n=0; while [ ! -e stop ]; do n=$((n+1)); echo $n >> a; echo $n >> b; done; \
                  sync; wc -l < a; wc -l < b; echo $n";
    let writer = of.1.detach(script);
    wait_until(30, "it writes", || of.1.sh("test -s b").seen().exit_code() == Some(0));
    for name in ["one", "two", "three"] {
        of.take(name);
        is_clean(&of.disk_of(name));
    }
    of.1.exec(["touch", "stop"]).ok();
    of.1.call("wait", [&writer]).code(0);
    let told = of.1.call("attach", [&writer]).code(0).text();
    let counts: Vec<&str> = told.lines().collect();
    assert_eq!((counts[0], counts[1]), (counts[2], counts[2]), "{told}");
    of.reset(&["--snapshot", "two"]);
    let counts = of.says("wc -l < a; wc -l < b; tail -n 1 a; tail -n 1 b");
    let counts: Vec<u64> = counts.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!((counts[0], counts[1]), (counts[2], counts[3]), "lines are whole: {counts:?}");
    assert!(counts[0] - counts[1] <= 1, "{counts:?}");
}

#[test]
fn services_that_ran_run_again_and_are_proven_ready_and_others_are_forgotten() {
    let home = Home::new();
    let of = Of::new(&home);
    let service = |words: &[&str]| home.pyro([&["service"], words].concat());
    let id = of.1.id();
    let ready = ["--ready-command", "test -e /run/up"];
    let up = "touch /run/up; exec sleep 100000";
    service(&[&["start", id, "web"], &ready[..], &["--", "sh", "-c", up]].concat()).ok();
    service(&["start", id, "idle", "--", "sleep", "100000"]).ok();
    service(&["stop", id, "idle"]).ok();
    of.take("s");
    of.1.sh("echo x > x").ok();
    let first = service(&["status", id, "web", "--json"]).ok().json();
    of.reset(&["--snapshot", "s"]);
    let web = service(&["wait", id, "web", "--json"]).ok().json();
    assert_eq!(web["ready"], true, "{web}");
    assert_ne!(web["started_at"], first["started_at"]);
    service(&["status", id, "idle"]).fails("service_not_found");
    assert_eq!(of.1.status()["service_count"], 1);
    assert_eq!(of.says("ls"), "");

    of.reset(&["--no-resume"]);
    assert_eq!(of.1.status()["service_count"], 0);
    service(&["status", id, "web"]).fails("service_not_found");
    of.1.verb("stop").ok();
    assert_eq!(of.1.status()["service_count"], 0);
}

#[test]
fn a_reset_that_fails_leaves_everything_as_it_was() {
    let home = Home::new();
    let of = Of::new(&home);
    of.1.sh("echo kept > /workspace/file; echo too > /root/other").ok();
    home.pyro(["service", "start", of.1.id(), "web", "--", "sleep", "100000"]).ok();
    of.take("bad");
    // It is no file system any more.
    let disk = File::options().write(true).open(of.disk_of("bad")).unwrap();
    disk.write_all_at(&[0; 4096], 0).unwrap();
    let problem = of.1.call("reset", ["--snapshot", "bad"]).fails("reset_failed");
    assert!(!problem["causes"].as_array().unwrap().is_empty(), "{problem}");
    let status = of.1.status();
    assert_eq!((&status["state"], &status["activity"]), (&json!("started"), &json!(null)));
    assert_eq!(status["reset_count"], 0);
    let web = home.pyro(["service", "wait", of.1.id(), "web", "--json"]).ok().json();
    assert_eq!(web["state"], "running", "{web}");
    assert_eq!(of.says("cat /workspace/file /root/other"), "kept\ntoo");
    assert!(status["command_count"].as_u64().unwrap() >= 1);
    of.is_tidy(&["bad"]);
}

#[test]
fn two_at_once_are_one_and_an_error_and_the_rest_goes_on() {
    let home = Home::new();
    let of = Of::new(&home);
    of.1.sh("head -c 200M /dev/urandom > big; sync").ok();
    let first = of.snapshot("create", &["a", "--json"]).start();
    let second = of.snapshot("create", &["b", "--json"]).seen();
    // Reads do not wait for either.
    assert_eq!(of.1.state(), "started");
    of.1.exec(["true"]).ok();
    let both = [first.end(), second];
    let taken = both.iter().filter(|seen| seen.exit_code() == Some(0)).count();
    for refused in both.iter().filter(|seen| seen.exit_code() != Some(0)) {
        assert!(refused.text().contains("workspace_busy"), "{refused}");
    }
    assert!(taken >= 1);
    assert_eq!(of.names().len(), 1 + taken);
    // A stop waits for one that is being taken.
    let taking = of.snapshot("create", &["c", "--json"]).start();
    of.1.verb("stop").ok();
    taking.end();
    assert_eq!(of.1.state(), "stopped");
    for name in of.names().iter().filter(|name| *name != "baseline") {
        is_clean(&of.disk_of(name));
    }
}

/// Where the host's file system can, a snapshot shares its blocks with the disk until either is written to.
#[test]
fn where_the_host_can_a_snapshot_costs_no_copy() {
    let home = Home::new();
    let script = "truncate -s 4G xfs.img; mkfs.xfs -q -m reflink=1 xfs.img; mkdir xfs; mount -o loop xfs.img xfs
        export PYRO_HOME=$PWD/xfs/state
        leave() { \"$PYRO\" delete x || true; \"$PYRO\" node stop || true; umount -l xfs; }
        trap 'leave >/dev/null 2>&1' EXIT
        used() { df --output=used -k xfs | tail -n 1; }
        \"$PYRO\" create debian:12 --name x -m 256m
        \"$PYRO\" exec x -- sh -c 'head -c 300M /dev/urandom > /workspace/much; echo kept > /workspace/file; sync'
        before=$(used)
        \"$PYRO\" snapshot create x s --json > taken
        after=$(used)
        cat taken
        grep '\"by_reflink\": true' taken
        test $((after - before)) -lt 50000
        \"$PYRO\" exec x -- sh -c 'rm /workspace/much; echo lost > /workspace/file'
        test \"$(\"$PYRO\" diff x --from s --name-only | sort | tr '\\n' ' ')\" = 'file much '
        \"$PYRO\" reset x --snapshot s
        test \"$(\"$PYRO\" exec x -- sh -c 'cat /workspace/file; stat -c %s /workspace/much' | tr '\\n' ' ')\" = 'kept 314572800 '
        test $(($(used) - before)) -lt 100000
        ls -A $PYRO_HOME/workspaces/*/ | grep -e next -e last -e partial && exit 1
        true";
    home.sh_as_root_in_own_mounts(script).ok();
}

// --- at every step ------------------------------------------------------------------------------

/// Tells of one step; a macro's argument rather than a loop, so that each is a test with a name.
macro_rules! at_each_step {
    ($story:ident: $($name:ident $step:literal),+ $(,)?) => { $(
        #[test]
        fn $name() {
            $story($step);
        }
    )+ };
}

fn a_snapshot_is_cut_off(step: &str) {
    let home = Home::new();
    let of = Of::new(&home);
    of.1.sh("echo kept > file; sync").ok();
    home.crash_at(step, ["snapshot", "create", of.1.id(), "cut"]).expect_code(1);
    assert_eq!(of.names(), ["baseline"]);
    // The guest thaws by itself.
    assert_eq!(of.says("echo more >> file; sync; cat file"), "kept\nmore");
    of.is_tidy(&[]);
    of.take("cut");
    of.is_tidy(&["cut"]);
}

at_each_step! { a_snapshot_is_cut_off:
    a_snapshot_cut_off_once_frozen "snapshot:frozen",
    a_snapshot_cut_off_once_copied "snapshot:copied",
}

fn a_reset_is_cut_off(step: &str) {
    let home = Home::new();
    let of = Of::new(&home);
    of.1.sh("echo snapped > file; echo snapped > /root/file; sync").ok();
    of.take("s");
    of.1.sh("echo now > file; echo now > /root/file; sync").ok();
    home.pyro(["service", "start", of.1.id(), "web", "--", "sleep", "100000"]).ok();
    home.crash_at(step, ["reset", of.1.id(), "--snapshot", "s"]).expect_code(1);
    // One or the other, whole, and started as it was.
    wait_until(60, "it is settled", || {
        let status = of.1.status();
        status["activity"] == json!(null) && status["state"] == "started"
    });
    let count = of.1.status()["reset_count"].as_u64().unwrap();
    let expected = if count == 1 { "snapped\nsnapped" } else { "now\nnow" };
    assert_eq!(of.says("cat file /root/file"), expected, "after {count} resets");
    let undone = ["reset:announced", "reset:copied"].contains(&step);
    assert_eq!(count, u64::from(!undone), "{step}");
    let web = home.pyro(["service", "wait", of.1.id(), "web", "--json"]).ok().json();
    assert_eq!(web["state"], "running", "{web}");
    of.is_tidy(&["s"]);
    wait_until(60, "one keeper and one VMM are left", || home.vm_processes().len() == 2);
    of.reset(&["--snapshot", "s"]);
    assert_eq!(of.says("cat file"), "snapped");
}

at_each_step! { a_reset_is_cut_off:
    a_reset_cut_off_once_announced "reset:announced",
    a_reset_cut_off_once_copied "reset:copied",
    a_reset_cut_off_once_stopped "reset:stopped",
    a_reset_cut_off_once_swapped "reset:swapped",
    a_reset_cut_off_once_started "reset:started",
}

#[test]
fn a_vm_that_dies_while_it_is_copied_leaves_its_disk_and_no_half_snapshot() {
    let home = Home::new();
    let of = Of::new(&home);
    of.1.sh("echo kept > file; head -c 100M /dev/urandom > big; sync").ok();
    let vmm = of.1.vmm();
    let taking = of.snapshot("create", &["cut"]).start();
    vmm.kill();
    // Where it came too late for the VM, it is one of a stopped workspace.
    let kept: &[&str] = if taking.end().exit_code() == Some(0) { &["cut"] } else { &[] };
    wait_until(60, "it is reported stopped", || of.1.state() == "stopped");
    assert_eq!(of.names()[1..], *kept);
    assert_eq!(of.says("cat file"), "kept");
    of.is_tidy(kept);
}

// --- others die, while the node stands at a step ---------------------------------------------------

/// Kills the VMM or the keeper of a workspace while its node stands still, and lets that go on.
fn killed_meanwhile(home: &Home, of: &Of<'_>, step: &str, victim: &str, words: &[&str]) -> bool {
    let victim = if victim == "vmm" { of.1.vmm() } else { of.1.keeper() };
    let (client, node) = home.pause_at(step, words);
    // A reset's last step has a VM of its own.
    let victims = if step == "reset:started" { home.vm_processes() } else { vec![victim] };
    victims.iter().for_each(pyro_e2e::Process::kill);
    node.signal(rustix::process::Signal::CONT);
    client.end().exit_code() == Some(0)
}

fn a_reset_meets_a_death(step: &str, victim: &str) {
    let home = Home::new();
    let of = Of::new(&home);
    of.1.sh("echo snapped > file; echo snapped > /root/file; sync").ok();
    of.take("s");
    of.1.sh("echo now > file; echo now > /root/file; sync").ok();
    let words = ["reset", of.1.id(), "--snapshot", "s"];
    let done = killed_meanwhile(&home, &of, step, victim, &words);
    wait_until(60, "it is settled", || {
        let status = of.1.status();
        status["activity"] == json!(null) && ["started", "stopped"].contains(&of.1.state().as_str())
    });
    let count = of.1.status()["reset_count"].as_u64().unwrap();
    assert_eq!(count, u64::from(done), "{step}, {victim}");
    if of.1.state() == "started" {
        // That of a VM that died since is noticed in time.
        wait_until(60, "it answers or is stopped", || {
            of.1.state() == "stopped" || of.1.sh("true").seen().exit_code() == Some(0)
        });
    }
    let expected = if done { "snapped\nsnapped" } else { "now\nnow" };
    assert_eq!(of.says("cat file /root/file"), expected, "{step}, {victim}: done {done}");
    of.is_tidy(&["s"]);
    of.reset(&["--snapshot", "s"]);
    assert_eq!(of.says("cat file"), "snapped");
    wait_until(60, "one keeper and one VMM are left", || home.vm_processes().len() == 2);
}

fn a_snapshot_meets_a_death(step: &str, victim: &str) {
    let home = Home::new();
    let of = Of::new(&home);
    of.1.sh("echo kept > file; sync").ok();
    let words = ["snapshot", "create", of.1.id(), "cut"];
    let done = killed_meanwhile(&home, &of, step, victim, &words);
    wait_until(60, "it is stopped", || of.1.state() == "stopped");
    let kept: &[&str] = if done { &["cut"] } else { &[] };
    assert_eq!(of.names()[1..], *kept);
    of.is_tidy(kept);
    assert_eq!(of.says("cat file"), "kept");
    of.take("again");
}

/// A step and who dies at it; each is a test with a name.
macro_rules! at_each_death {
    ($story:ident: $($name:ident $step:literal $victim:literal),+ $(,)?) => { $(
        #[test]
        fn $name() {
            $story($step, $victim);
        }
    )+ };
}

at_each_death! { a_reset_meets_a_death:
    a_vm_dies_once_a_reset_is_announced "reset:announced" "vmm",
    a_vm_dies_once_a_reset_has_its_disk "reset:copied" "vmm",
    a_vm_dies_once_a_reset_has_started_it "reset:started" "vmm",
    a_keeper_dies_once_a_reset_is_announced "reset:announced" "keeper",
    a_keeper_dies_once_a_reset_has_its_disk "reset:copied" "keeper",
    a_keeper_dies_once_a_reset_has_started_it "reset:started" "keeper",
}

at_each_death! { a_snapshot_meets_a_death:
    a_vm_dies_while_its_disk_is_frozen "snapshot:frozen" "vmm",
    a_vm_dies_once_its_disk_is_copied "snapshot:copied" "vmm",
    a_keeper_dies_while_its_disk_is_frozen "snapshot:frozen" "keeper",
    a_keeper_dies_once_its_disk_is_copied "snapshot:copied" "keeper",
}
