//! `pyro run`: a command in a fresh VM, which is gone afterwards.

use std::fs;

use pyro_e2e::{Home, wait_until};

#[test]
fn a_command_runs_in_a_fresh_vm() {
    let home = Home::new();
    let seen = home.run(["git", "--version"]).ok();
    assert!(seen.text().starts_with("git version 2."), "{seen}");
    assert!(seen.stderr.is_empty(), "{seen}");
    home.holds_only(&[]);
}

#[test]
fn the_kernel_is_the_guests_own() {
    let home = Home::new();
    assert_eq!(home.run(["uname", "-r"]).ok().text(), Home::guest_kernel());
    // The same release may run outside too; this boot of it does not.
    let boot = "/proc/sys/kernel/random/boot_id";
    assert_ne!(home.run(["cat", boot]).ok().text(), fs::read_to_string(boot).unwrap().trim());
}

#[test]
fn the_exit_code_is_the_commands_and_the_vm_goes_all_the_same() {
    let home = Home::new();
    home.run(["sh", "-c", "exit 7"]).code(7);
    home.run(["no-such-command"]).code(127);
    home.holds_only(&[]);
}

#[test]
fn the_result_can_be_had_as_json() {
    let home = Home::new();
    let words = ["run", "--json", "-m", "256", "--", "sh", "-c", "echo out; echo err >&2; exit 3"];
    let result = home.pyro(words).code(3).json();
    assert_eq!(result["stdout"], "out\n");
    assert_eq!(result["stderr"], "err\n");
    assert_eq!(result["exit_code"], 3);
    assert_eq!(result["environment"], "debian:12");
    assert_eq!(result["cleanup"]["deleted"], true);
    assert_eq!(result["cleanup"]["vm_id"], result["vm_id"]);
    home.holds_only(&[]);
}

#[test]
fn it_reads_stdin_where_asked() {
    let home = Home::new();
    let words = ["run", "-i", "-m", "256", "debian:12", "--", "python3", "-"];
    assert_eq!(home.pyro(words).stdin("print(6 * 7)\n").ok().text(), "42");
}

#[test]
fn a_client_that_vanishes_takes_its_vm_along() {
    let home = Home::new();
    let client = home.run(["sh", "-c", "echo ready; exec sleep 100000"]).start();
    client.wait_for("ready");
    assert!(!home.vm_processes().is_empty());
    client.process().kill();
    wait_until(60, "the VM is gone", || home.vm_processes().is_empty());
    wait_until(20, "its directory is gone", || home.directories().is_empty());
}

#[test]
fn an_environment_nobody_knows_is_told_and_leaves_nothing() {
    let home = Home::new();
    let seen = home.pyro(["run", "no-such-environment", "--", "true"]).code(125);
    assert!(seen.error_text().contains("no-such-environment"), "{seen}");
    home.holds_only(&[]);
}
