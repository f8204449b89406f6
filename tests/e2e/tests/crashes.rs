//! The node, the keeper, the VM and the guest die at bad moments: nothing is lost that was there,
//! nothing is left behind, and the next call works.

#![allow(clippy::unwrap_used)]

use std::fs;

use pyro_e2e::{Home, Workspace, wait_until, wait_until_some};

/// Leaves a workspace with a file the guest has synced.
fn with_synced_file(home: &Home) -> Workspace<'_> {
    let workspace = home.workspace("debian:12");
    workspace.sh("echo precious > /workspace/file && sync /workspace/file").ok();
    workspace
}

#[track_caller]
fn still_has_its_file(workspace: &Workspace<'_>) {
    assert_eq!(workspace.exec(["cat", "/workspace/file"]).ok().text(), "precious");
}

// --- the node -----------------------------------------------------------------------------------

#[test]
fn a_command_survives_the_node() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let script = "echo first; while [ ! -e go ]; do sleep 0.2; done; echo second; exit 11";
    let exec = workspace.detach(script);
    let vmm = workspace.vmm();
    let attached = workspace.call("attach", [&exec]).start();
    attached.wait_for("first");
    home.kill_node();
    // The client is told; it does not hang.
    attached.end().expect_code(125);
    assert!(vmm.lives());

    assert_eq!(workspace.exec_record(&exec)["running"], true);
    assert_eq!(workspace.vmm(), vmm);
    let attached = workspace.call("attach", [&exec]).start();
    attached.wait_for("first");
    workspace.exec(["touch", "go"]).ok();
    assert_eq!(attached.end().expect_code(11).text(), "first\nsecond");
}

#[test]
fn a_command_that_ended_while_no_node_lived_is_settled() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let script = "while [ ! -e go ]; do sleep 0.2; done; seq 1 5000; exit 12";
    let exec = workspace.detach(script);
    let opening = workspace.detach("sleep 3; touch go");
    home.kill_node();
    // The guest goes on meanwhile; whoever asks next finds what became of it.
    workspace.call("wait", [&opening]).code(0);
    home.kill_node();
    workspace.call("wait", [&exec]).code(12);
    let expected: Vec<_> = (1..=5000).map(|number| number.to_string()).collect();
    assert_eq!(workspace.call("attach", [&exec]).code(12).text(), expected.join("\n"));
    workspace.verb("stop").ok();
    assert_eq!(workspace.call("attach", [&exec]).code(12).text(), expected.join("\n"));
}

#[test]
fn a_command_whose_client_was_cut_off_can_be_attached() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let client = workspace.sh("echo first; while [ ! -e go ]; do sleep 0.2; done; exit 13").start();
    client.wait_for("first");
    home.kill_node();
    let seen = client.end().expect_code(125);
    assert!(seen.error_text().contains("attach"), "it says how to come back: {seen}");
    let list = workspace.call("ps", ["--json"]).ok().json();
    let exec = list["execs"][0]["exec_id"].as_str().unwrap().to_owned();
    let attached = workspace.call("attach", [&exec]).start();
    attached.wait_for("first");
    workspace.exec(["touch", "go"]).ok();
    attached.end().expect_code(13);
}

#[test]
fn a_node_killed_again_and_again_loses_nothing() {
    let home = Home::new();
    let workspace = with_synced_file(&home);
    let script = "n=0; while [ ! -e go ]; do n=$((n+1)); sleep 0.1; done; echo the end; exit 14";
    let exec = workspace.detach(script);
    let vmm = workspace.vmm();
    for _ in 0..5 {
        home.kill_node();
        still_has_its_file(&workspace);
        assert_eq!(workspace.vmm(), vmm);
    }
    workspace.exec(["touch", "go"]).ok();
    workspace.call("wait", [&exec]).code(14);
    assert_eq!(workspace.call("attach", [&exec]).code(14).text(), "the end");
    home.holds_only(&[workspace.id()]);
}

#[test]
fn a_node_killed_during_a_create_leaves_nothing_half_made() {
    let home = Home::new();
    let client = home.pyro(["create", "--id-only", "-m", "256"]).start();
    wait_until(60, "a VMM runs", || !home.vm_processes().is_empty());
    home.kill_node();
    client.end();
    let listed = home.listed();
    assert_eq!(home.directories(), listed);
    if listed.is_empty() {
        wait_until(20, "no VM is left", || home.vm_processes().is_empty());
    }
    let workspace = home.workspace("debian:12");
    workspace.exec(["true"]).ok();
}

// --- the node, at every step --------------------------------------------------------------------

/// Tells of one step; a macro's argument rather than a loop, so that each is a test with a name.
macro_rules! at_each_step {
    ($story:ident: $($name:ident $step:literal),+ $(,)?) => { $(
        #[test]
        fn $name() {
            $story($step);
        }
    )+ };
}

/// Whether half-made or finished, what is listed is whole, and what is not listed is not there.
fn a_create_is_cut_off(step: &str) {
    let home = Home::new();
    let other = with_synced_file(&home);
    home.crash_at(step, ["create", "--name", "cut", "-m", "256"]);
    home.holds_only(&[other.id()]);
    wait_until(20, "only the other's VM is left", || home.vm_processes().len() <= 2);
    still_has_its_file(&other);
    // The name is free again.
    let again = home.workspace_with(&["--name", "cut"]);
    again.exec(["true"]).ok();
    home.pyro(["delete", again.id(), other.id()]).ok();
    home.holds_only(&[]);
}

at_each_step! { a_create_is_cut_off:
    a_create_cut_off_once_recorded "create:recorded",
    a_create_cut_off_once_the_disks_are_made "create:disks",
    a_create_cut_off_once_launched "create:launched",
    a_create_cut_off_once_the_guest_answered "create:answered",
    a_create_cut_off_once_the_guest_is_personal "create:personal",
}

fn a_run_is_cut_off(step: &str) {
    let home = Home::new();
    home.crash_at(step, ["run", "-m", "256", "--", "true"]).expect_code(125);
    home.holds_only(&[]);
    home.run(["true"]).ok();
    home.holds_only(&[]);
}

at_each_step! { a_run_is_cut_off:
    a_run_cut_off_once_launched "create:launched",
    a_run_cut_off_once_the_guest_is_personal "create:personal",
}

fn a_start_is_cut_off(step: &str) {
    let home = Home::new();
    let workspace = with_synced_file(&home);
    workspace.verb("stop").ok();
    home.crash_at(step, ["start", workspace.id()]).expect_code(1);
    home.holds_only(&[workspace.id()]);
    still_has_its_file(&workspace);
    assert_eq!(workspace.state(), "started");
    assert_eq!(home.vm_processes().len(), 2, "one keeper and one VMM");
}

at_each_step! { a_start_is_cut_off:
    a_start_cut_off_once_announced "start:announced",
    a_start_cut_off_once_launched "start:launched",
    a_start_cut_off_once_the_guest_answered "start:answered",
    a_start_cut_off_once_the_guest_is_personal "start:personal",
}

fn a_stop_is_cut_off(step: &str) {
    let home = Home::new();
    let workspace = with_synced_file(&home);
    let exec = workspace.detach("echo said; exec sleep 100000");
    home.crash_at(step, ["stop", workspace.id()]).expect_code(1);
    assert_eq!(workspace.state(), "stopped");
    assert_eq!(workspace.status()["stop_reason"], "requested");
    wait_until(20, "no VM is left", || home.vm_processes().is_empty());
    let record = workspace.exec_record(&exec);
    assert_eq!(record["running"], false, "{record}");
    home.holds_only(&[workspace.id()]);
    still_has_its_file(&workspace);
}

at_each_step! { a_stop_is_cut_off:
    a_stop_cut_off_once_announced "stop:announced",
    a_stop_cut_off_once_the_execs_ended "stop:execs_ended",
    a_stop_cut_off_once_shut_down "stop:shut_down",
}

fn a_delete_is_cut_off(step: &str) {
    let home = Home::new();
    let workspace = home.workspace_with(&["--name", "cut"]);
    home.crash_at(step, ["delete", workspace.id()]).expect_code(1);
    home.holds_only(&[]);
    home.pyro(["status", "cut"]).fails("workspace_not_found");
    home.workspace_with(&["--name", "cut"]).exec(["true"]).ok();
}

at_each_step! { a_delete_is_cut_off:
    a_delete_cut_off_once_announced "delete:announced",
    a_delete_cut_off_once_killed "delete:killed",
    a_delete_cut_off_once_removed "delete:removed",
}

#[test]
fn an_exec_cut_off_before_the_guest_heard_of_it_is_lost() {
    let home = Home::new();
    let workspace = with_synced_file(&home);
    let words = ["exec", "-d", workspace.id(), "--", "sh", "-c", "echo ran > /workspace/ran"];
    home.crash_at("exec:announced", words).expect_code(125);
    let list = workspace.call("ps", ["--all", "--json"]).ok().json();
    let cut = list["execs"].as_array().unwrap().iter().find(|exec| exec["sequence"] == 2).unwrap();
    assert_eq!((&cut["running"], &cut["lost"]), (&false.into(), &"never_started".into()), "{cut}");
    workspace.exec(["test", "-e", "/workspace/ran"]).code(1);
    still_has_its_file(&workspace);
}

#[test]
fn an_exec_cut_off_once_started_goes_on() {
    let home = Home::new();
    let workspace = with_synced_file(&home);
    let words = ["exec", "-d", workspace.id(), "--", "sh", "-c", "echo said; exit 15"];
    home.crash_at("exec:started", words).expect_code(125);
    let list = workspace.call("ps", ["--all", "--json"]).ok().json();
    let cut = list["execs"].as_array().unwrap().iter().find(|exec| exec["sequence"] == 2).unwrap();
    let exec = cut["exec_id"].as_str().unwrap();
    assert_eq!(workspace.call("attach", [exec]).code(15).text(), "said");
    still_has_its_file(&workspace);
}

#[test]
fn an_exec_with_a_client_cut_off_once_started_can_be_attached() {
    let home = Home::new();
    let workspace = with_synced_file(&home);
    let words = ["exec", workspace.id(), "--", "sh", "-c", "echo said; exec sleep 100000"];
    home.crash_at("exec:started", words).expect_code(125);
    let list = workspace.call("ps", ["--json"]).ok().json();
    let cut = list["execs"].as_array().unwrap().iter().find(|exec| exec["sequence"] == 2).unwrap();
    let exec = cut["exec_id"].as_str().unwrap();
    let attached = workspace.call("attach", [exec]).start();
    attached.wait_for("said");
    workspace.call("kill", [exec]).ok();
    attached.end().expect_code(128 + 15);
}

fn an_adoption_is_cut_off(step: &str) {
    let home = Home::new();
    let workspace = with_synced_file(&home);
    let exec = workspace.detach("echo said; while [ ! -e go ]; do sleep 0.2; done; exit 16");
    let vmm = workspace.vmm();
    home.crash_at(step, ["list"]);
    still_has_its_file(&workspace);
    assert_eq!(workspace.vmm(), vmm);
    workspace.exec(["touch", "go"]).ok();
    assert_eq!(workspace.call("attach", [&exec]).code(16).text(), "said");
}

at_each_step! { an_adoption_is_cut_off:
    an_adoption_cut_off_once_the_guest_answered "adopt:answered",
    an_adoption_cut_off_once_the_guest_is_personal "adopt:personal",
}

// --- the keeper, the VM, the guest --------------------------------------------------------------

#[track_caller]
fn is_stopped_because(workspace: &Workspace<'_>, home: &Home, reasons: &[&str]) {
    wait_until(60, "it is reported stopped", || workspace.state() == "stopped");
    let status = workspace.status();
    let reason = status["stop_reason"].as_str().unwrap();
    assert!(reasons.contains(&reason), "{reason} is none of {reasons:?}: {status}");
    wait_until(20, "no VM is left", || home.vm_processes().is_empty());
}

#[test]
fn a_killed_vm_is_reported_and_starts_again_with_its_disk() {
    let home = Home::new();
    let workspace = with_synced_file(&home);
    let client = workspace.sh("echo ready; exec sleep 100000").start();
    client.wait_for("ready");
    workspace.vmm().kill();
    let seen = client.end().expect_code(125);
    assert!(!seen.stderr.is_empty(), "{seen}");
    is_stopped_because(&workspace, &home, &["vm_killed"]);
    let list = workspace.call("ps", ["--all", "--json"]).ok().json();
    assert_eq!(list["running_count"], 0, "{list}");
    still_has_its_file(&workspace);
    assert_eq!(workspace.status()["stop_reason"], serde_json::Value::Null);
}

#[test]
fn a_killed_keeper_takes_its_vm_along_and_the_disk_stays() {
    let home = Home::new();
    let workspace = with_synced_file(&home);
    let vmm = workspace.vmm();
    workspace.keeper().kill();
    wait_until(20, "the VMM has gone with its keeper", || !vmm.lives());
    is_stopped_because(&workspace, &home, &["keeper_killed"]);
    still_has_its_file(&workspace);
}

#[test]
fn a_vm_killed_while_no_node_lived_is_reported_too() {
    let home = Home::new();
    let workspace = with_synced_file(&home);
    let exec = workspace.detach("exec sleep 100000");
    home.kill_node();
    let vmm = workspace.vmm();
    vmm.kill();
    wait_until(20, "it is gone", || home.vm_processes().is_empty());
    is_stopped_because(&workspace, &home, &["vm_killed"]);
    assert_eq!(workspace.exec_record(&exec)["lost"], "vm_died");
    still_has_its_file(&workspace);
}

#[test]
fn everything_killed_at_once_is_brought_in_order() {
    let home = Home::new();
    let workspace = with_synced_file(&home);
    let (node, keeper, vmm) = (home.node().unwrap(), workspace.keeper(), workspace.vmm());
    for process in [&node, &keeper, &vmm] {
        process.kill();
    }
    wait_until(20, "all are gone", || !node.lives() && home.vm_processes().is_empty());
    is_stopped_because(&workspace, &home, &["keeper_killed", "vm_killed"]);
    still_has_its_file(&workspace);
}

#[test]
fn a_guest_whose_kernel_crashes_is_reported_so() {
    let home = Home::new();
    let workspace = with_synced_file(&home);
    workspace.sh("echo c > /proc/sysrq-trigger").code(125);
    is_stopped_because(&workspace, &home, &["guest_crashed"]);
    still_has_its_file(&workspace);
}

#[test]
fn the_guests_console_is_kept() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let log = home.state().join("workspaces").join(workspace.id()).join("vm/serial.log");
    workspace.vmm().kill();
    wait_until_some(20, "the exit record is written", || {
        fs::metadata(log.with_file_name("exit.json")).ok()
    });
    assert!(fs::metadata(log).is_ok());
}
