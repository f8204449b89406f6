//! Workspaces: their life, their names, and their files.

use std::{fs, thread};

use pyro_e2e::{Home, backend, wait_until};
use serde_json::json;

#[test]
fn a_workspace_lives_and_remembers() {
    let home = Home::new();
    let words = ["debian:12", "--name", "web", "--label", "team=red", "--label", "tier=1"];
    let workspace = home.workspace_with(&words);
    let status = workspace.status();
    assert_eq!(status["workspace_id"], workspace.id());
    assert_eq!(status["name"], "web");
    assert_eq!(status["labels"], json!({"team": "red", "tier": "1"}));
    assert_eq!(status["state"], "started");
    assert_eq!(status["backend"], backend().to_string());
    assert_eq!(status["mem_mib"], 256);
    assert_eq!(status["execution_mode"], "guest_vsock");

    workspace.sh("echo kept > /workspace/file; echo too > /root/other; ln -s file link").ok();
    workspace.sh("chmod 640 /workspace/file; chown 12:34 /workspace/file").ok();
    let first_boot = workspace.exec(["cat", "/proc/sys/kernel/random/boot_id"]).ok().text();

    workspace.verb("stop").ok();
    assert_eq!(workspace.state(), "stopped");
    assert_eq!(workspace.status()["stop_reason"], "requested");
    wait_until(10, "no VM is left", || home.vm_processes().is_empty());
    workspace.verb("stop").ok();
    home.pyro(["exec", "--no-start", "web", "--", "true"]).code(125);
    assert_eq!(workspace.state(), "stopped");

    workspace.verb("start").ok();
    workspace.verb("start").ok();
    assert_eq!(workspace.state(), "started");
    let seen = workspace.sh("cat link /root/other; stat -c '%a %u %g' file").ok();
    assert_eq!(seen.text(), "kept\ntoo\n640 12 34");
    assert_ne!(workspace.exec(["cat", "/proc/sys/kernel/random/boot_id"]).ok().text(), first_boot);

    // Using a stopped one starts it, and says so.
    workspace.verb("stop").ok();
    let seen = workspace.exec(["cat", "/workspace/file"]).ok();
    assert_eq!(seen.text(), "kept");
    assert!(seen.error_text().contains("start"), "{seen}");

    let deleted = workspace.call("delete", ["--json"]).ok().json();
    assert_eq!(deleted["deleted"], true, "{deleted}");
    home.holds_only(&[]);
    workspace.verb("status").fails("workspace_not_found");
}

#[test]
fn it_goes_by_id_prefix_name_and_at() {
    let home = Home::new();
    let workspace = home.workspace_with(&["--name", "web"]);
    let other = home.workspace_with(&["--name", "other"]);
    let here = home.scratch();
    home.pyro(["use", "other"]).from_directory(&here).ok();
    let hostname = |reference: &str| {
        let words = ["exec", reference, "--", "sh", "-c", "hostname"];
        home.pyro(words).from_directory(&here)
    };
    for reference in [workspace.id(), &workspace.id()[..6], "web"] {
        assert_eq!(hostname(reference).ok().text(), "web");
    }
    assert_eq!(hostname("@").ok().text(), "other");
    assert_eq!(hostname("@").env("PYRO_WORKSPACE", "web").ok().text(), "web");
    home.pyro(["use", "--clear"]).from_directory(&here).ok();
    hostname("@").code(125);

    for reference in ["nobody", "../x", &workspace.id()[..3], "", "ffff/../.."] {
        home.pyro(["status", reference]).fails("workspace_not_found");
    }
    home.pyro(["update", "web", "--name", "other"]).fails("workspace_name_taken");
    home.pyro(["create", "--name", "web"]).fails("workspace_name_taken");
    assert_eq!(other.status()["name"], "other");
    home.holds_only(&[workspace.id(), other.id()]);
}

#[test]
fn names_and_labels_can_be_changed_and_listed_by() {
    let home = Home::new();
    let workspace = home.workspace_with(&["--name", "old", "--label", "a=1"]);
    let words = ["--name", "new", "--label", "b=2", "--clear-label", "a", "--json"];
    let updated = workspace.call("update", words).ok().json();
    assert_eq!((&updated["name"], &updated["labels"]), (&json!("new"), &json!({"b": "2"})));
    home.pyro(["status", "old"]).fails("workspace_not_found");

    let list = home.list();
    assert_eq!(list["count"], 1);
    assert_eq!(list["workspaces"][0]["name"], "new");
    let quiet = |words: &[&str]| home.pyro(["list", "-q"].iter().chain(words)).ok().text();
    assert_eq!(quiet(&["--label", "b=2"]), workspace.id());
    assert_eq!(quiet(&["--label", "b=3"]), "");
    assert_eq!(quiet(&["--state", "stopped"]), "");
    assert_eq!(quiet(&["--state", "started"]), workspace.id());
    workspace.call("update", ["--clear-name"]).ok();
    assert_eq!(workspace.status()["name"], json!(null));
}

#[test]
fn prune_deletes_stopped_ones_only() {
    let home = Home::new();
    let (running, stopped) = (home.workspace("debian:12"), home.workspace("debian:12"));
    stopped.verb("stop").ok();
    let prune = |words: &[&str]| {
        home.pyro(["prune", "--json"].iter().chain(words)).ok().json()["count"].clone()
    };
    assert_eq!(prune(&["--older-than", "1h"]), 0);
    assert_eq!(prune(&["--older-than", "0", "--dry-run"]), 1);
    home.holds_only(&[running.id(), stopped.id()]);
    assert_eq!(prune(&["--older-than", "0"]), 1);
    home.holds_only(&[running.id()]);
    home.pyro(["delete", running.id()]).ok();
    home.holds_only(&[]);
}

#[test]
fn idle_time_stops_it_and_use_starts_it_again() {
    let home = Home::new();
    let workspace = home.workspace_with(&["--ttl-seconds", "3"]);
    workspace.sh("echo kept > file").ok();
    let reason = || home.list()["workspaces"][0]["stop_reason"].clone();
    wait_until(60, "idle time has stopped it", || reason() == "idle");
    wait_until(20, "no VM is left", || home.vm_processes().is_empty());
    // A command that runs is use, however long.
    let seen = workspace.sh("sleep 8; cat file").ok();
    assert_eq!(seen.text(), "kept");
    wait_until(60, "idle time has stopped it again", || reason() == "idle");
    // Also one that nobody looks on, and whose node died.
    let exec = workspace.detach("sleep 8; echo to the end");
    home.kill_node();
    wait_until(60, "idle time has stopped it a third time", || reason() == "idle");
    assert_eq!(workspace.call("attach", [&exec]).code(0).text(), "to the end");
}

#[test]
fn idle_time_deletes_it_where_that_was_asked_for() {
    let home = Home::new();
    home.workspace_with(&["--ttl-seconds", "3", "--on-expiry", "delete"]);
    wait_until(60, "it is deleted", || home.listed().is_empty());
    home.holds_only(&[]);
}

#[test]
fn many_live_at_once() {
    let home = Home::new();
    let count = backend().crowd();
    let ids: Vec<String> = thread::scope(|scope| {
        let made: Vec<_> = (0..count)
            .map(|_| scope.spawn(|| home.workspace("debian:12").id().to_owned()))
            .collect();
        made.into_iter().map(|made| made.join().unwrap()).collect()
    });
    assert_eq!(home.listed().len(), count);
    thread::scope(|scope| {
        for id in &ids {
            let workspace = home.existing(id);
            scope.spawn(move || {
                workspace.sh("hostname > /workspace/own").ok();
                assert_eq!(workspace.exec(["cat", "/workspace/own"]).ok().text(), workspace.id());
            });
        }
    });
    home.pyro(["delete"].into_iter().chain(ids.iter().map(String::as_str))).ok();
    home.holds_only(&[]);
}

#[test]
fn a_fresh_one_takes_little_room() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let bytes = workspace.status()["disk_bytes"].as_u64().unwrap();
    assert!(bytes < 4 << 20, "{bytes}");
    let apparent = home.state().join("workspaces").join(workspace.id()).join("disk.ext4");
    assert_eq!(fs::metadata(apparent).unwrap().len(), 20480 << 20);
    let usage = home.pyro(["df", "--json"]).ok().json();
    assert_eq!(usage["workspaces"][0]["workspace_id"], workspace.id());
}
