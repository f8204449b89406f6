//! The node: started by whoever needs it, replaceable at any time.

use std::{fs, thread};

use pyro_e2e::{Home, wait_until};

#[test]
fn ten_clients_at_once_start_exactly_one() {
    let home = Home::new();
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| home.pyro(["list"]).ok());
        }
    });
    assert_eq!(home.nodes().len(), 1);
    let log = fs::read_to_string(home.state().join("node.log")).unwrap();
    assert_eq!(log.matches("the node listens").count(), 1, "{log}");
}

#[test]
fn ten_clients_find_the_next_one_after_a_kill() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    workspace.sh("echo kept > file").ok();
    home.kill_node();
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| assert_eq!(workspace.exec(["cat", "file"]).ok().text(), "kept"));
        }
    });
    assert_eq!(home.nodes().len(), 1);
}

#[test]
fn stopping_it_leaves_workspaces_running() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let exec = workspace.detach("echo first; while [ ! -e go ]; do sleep 0.2; done; echo second");
    let (node, keeper, vmm) = (home.node().unwrap(), workspace.keeper(), workspace.vmm());

    let stopped = home.pyro(["node", "stop", "--json"]).ok().json();
    assert_eq!(stopped["pid"], node.pid);
    wait_until(20, "the node has ended", || !node.lives());
    let asked = home.pyro(["node", "status"]).code(1);
    assert!(asked.error_text().contains("no node is running"), "{asked}");
    assert!(home.nodes().is_empty(), "asking how it is starts none");
    assert!(keeper.lives() && vmm.lives());

    workspace.exec(["touch", "go"]).ok();
    assert_ne!(home.node().unwrap(), node);
    assert_eq!((workspace.keeper(), workspace.vmm()), (keeper, vmm));
    assert_eq!(workspace.call("attach", [&exec]).ok().text(), "first\nsecond");
}

#[test]
fn it_ends_when_nothing_is_left_to_watch() {
    let home = Home::new().with("PYRO_IDLE_EXIT_SECONDS", "1");
    home.pyro(["list"]).ok();
    wait_until(60, "the idle node has ended", || home.nodes().is_empty());

    let workspace = home.workspace("debian:12");
    let node = home.node().unwrap();
    // What it would take to end: a command that takes longer than the idle time.
    workspace.exec(["sleep", "3"]).ok();
    assert!(node.lives(), "a node with a VM to watch stays");
    workspace.verb("stop").ok();
    wait_until(60, "the idle node has ended", || home.nodes().is_empty());
    home.holds_only(&[workspace.id()]);
}

#[test]
fn its_status_says_who_it_is() {
    let home = Home::new();
    home.pyro(["list"]).ok();
    let status = home.pyro(["node", "status", "--json"]).ok().json();
    assert_eq!(status["pid"], home.node_pid());
    assert_eq!(status["state_directory"], home.state().to_str().unwrap());
    assert_eq!(status["workspace_count"], 0);
}

#[test]
fn a_long_state_directory_with_a_space_and_a_comma_works() {
    let name = format!("a space, and a comma {}", "x".repeat(180));
    let home = Home::named(&name);
    let workspace = home.workspace("debian:12");
    assert_eq!(workspace.sh("echo kept > file; cat file").ok().text(), "kept");
    home.kill_node();
    assert_eq!(workspace.exec(["cat", "file"]).ok().text(), "kept");
    home.pyro(["delete", workspace.id()]).ok();
    home.holds_only(&[]);
}
