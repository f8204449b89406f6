//! VMs that are started before anybody asks for one (`PYRO_WARM_VMS`): nobody sees them, and whoever is
//! given one cannot tell.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use pyro_e2e::{Home, wait_until};
use serde_json::json;

/// Warm VMs that the node has ready.
fn warm(home: &Home) -> u64 {
    home.pyro(["node", "status", "--json"]).ok().json()["warm_count"].as_u64().unwrap()
}

#[track_caller]
fn wait_for_warm(home: &Home, count: u64) {
    wait_until(240, "there are so many warm VMs", || warm(home) == count);
}

/// The one warm VM, once nothing else is there that no list shows.
#[track_caller]
fn the_warm_one(home: &Home) -> String {
    wait_for_warm(home, 1);
    wait_until(60, "what has ended is gone", || unseen(home).len() == 1);
    unseen(home).pop_first().unwrap()
}

/// Those whose directories are there and that no list shows.
fn unseen(home: &Home) -> BTreeSet<String> {
    let listed: BTreeSet<_> = home.listed().into_iter().collect();
    home.directories().into_iter().filter(|id| !listed.contains(id)).collect()
}

#[test]
fn what_is_given_is_as_if_it_had_been_made_just_now() {
    let home = Home::new().with("PYRO_WARM_VMS", "1");
    let first = home.workspace("debian:12");
    let ready = the_warm_one(&home);
    assert_eq!(home.listed(), [first.id()]);
    home.pyro(["status", &ready]).fails("workspace_not_found");
    home.pyro(["delete", &ready]).fails("workspace_not_found");
    let words = ["debian:12", "--name", "web", "--label", "a=b", "--ttl-seconds", "3000"];
    let given = home.workspace_with(&words);
    assert_eq!(given.id(), ready, "it is the one that was there");
    let status = given.status();
    assert_eq!(status["name"], "web");
    assert_eq!(status["labels"], json!({"a": "b"}));
    assert_eq!((&status["state"], &status["command_count"]), (&json!("started"), &json!(0)));
    let said = given.sh("hostname; cat /etc/hostname; getent hosts web; ls -A /workspace").ok();
    assert_eq!(said.text(), "web\nweb\n127.0.1.1       web");
    assert!(!given.sh("cat /etc/hosts").ok().text().contains(&ready), "its name before is gone");
    // One of another shape is made as ever, and one whose name is taken is not.
    let ready = the_warm_one(&home);
    let other = home.workspace_with(&["debian:12", "--cpus", "2"]);
    assert_ne!(other.id(), ready);
    home.pyro(["create", "-m", "256", "debian:12", "--name", "web"]).fails("workspace_name_taken");
    // It is a workspace as every other: it is stopped and started, and keeps its name.
    given.sh("echo kept > /workspace/file").ok();
    given.verb("stop").ok();
    assert_eq!(given.sh("hostname; cat /workspace/file").ok().text(), "web\nkept");
    // Its workload keeps the name too.
    given.sh("python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x1234567)'").seen();
    wait_until(60, "the workload is there again", || given.status()["workload_restarts"] == 1);
    assert_eq!(given.sh("hostname").ok().text(), "web");
}

#[test]
fn a_one_shot_vm_is_given_with_the_network_it_asks_for() {
    let home = Home::new().with("PYRO_WARM_VMS", "1");
    home.run(["true"]).ok();
    let ready = the_warm_one(&home);
    let script = "hostname; cat /proc/net/dev";
    let words = ["run", "-m", "256", "--network", "debian:12", "--", "sh", "-c", script];
    let looked = home.pyro(words);
    let said = looked.ok().text();
    assert!(said.starts_with(&format!("{ready}\n")) && said.contains("pyro0"), "{said}");
    wait_for_warm(&home, 1);
    assert!(!unseen(&home).contains(&ready), "it is gone as every one-shot VM is");
}

#[test]
fn none_outlives_its_node_for_long() {
    let home = Home::new().with("PYRO_WARM_VMS", "2");
    let workspace = home.workspace("debian:12");
    wait_for_warm(&home, 2);
    let before = unseen(&home);
    assert_eq!(before.len(), 2);
    home.kill_node();
    assert_eq!(home.listed(), [workspace.id()]);
    assert_eq!(warm(&home), 0, "the next node has none");
    assert!(unseen(&home).is_disjoint(&before));
    home.run(["true"]).ok();
    wait_for_warm(&home, 2);
    home.pyro(["node", "stop"]).ok();
    wait_until(60, "the node is gone", || home.node().is_none());
    home.holds_only(&[workspace.id()]);
    workspace.verb("delete").ok();
    home.holds_only(&[]);
}

#[test]
fn how_many_there_are_is_a_number() {
    let home = Home::new().with("PYRO_WARM_VMS", "many");
    home.pyro(["list"]).fails("invalid_limit");
}
