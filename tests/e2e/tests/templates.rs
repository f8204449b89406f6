//! VMs that are started from a template, on QEMU: each is a machine of its own, and a template that is
//! missing, damaged or half made costs time and nothing else.
//!
//! Firecracker boots every VM, so that these stories are told on QEMU alone (`cargo xtask test`).

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::FileExt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pyro_e2e::{Home, wait_until, wait_until_some};

/// Seconds until a template is made, whatever else this machine does: that has precedence.
const MADE: u64 = 240;

/// A home whose first VM has booted, and was saved for those that follow.
fn with_template() -> Home {
    let home = Home::new().with_own_images();
    let first = home.workspace("debian:12");
    assert!(!first.was_restored(), "nothing can be restored yet");
    wait_for_template(&home);
    home
}

#[track_caller]
fn wait_for_template(home: &Home) {
    wait_until(MADE, "a template is made", || !home.templates().is_empty());
}

#[test]
fn machines_of_one_template_have_nothing_in_common() {
    let home = with_template();
    let looked = "cat /proc/sys/kernel/random/boot_id; hostname; \
                  od -An -tx1 -N16 /dev/urandom; od -An -tx1 -N16 /dev/random; date +%s";
    let mut said = BTreeSet::new();
    for _ in 0..3 {
        let workspace = home.workspace("debian:12");
        assert!(workspace.was_restored());
        let text = workspace.sh(looked).ok().text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        said.extend(lines[..4].iter().map(|line| (*line).to_owned()));
        let guest = Duration::from_secs(lines[4].parse().unwrap());
        let host = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert!(host.abs_diff(guest) < Duration::from_mins(1), "{guest:?} is not {host:?}");
    }
    assert_eq!(said.len(), 12, "{said:?}");
}

#[test]
fn a_restored_machine_keeps_what_it_is_given() {
    let home = with_template();
    let workspace = home.workspace("debian:12");
    assert!(workspace.was_restored());
    workspace.sh("echo kept > /workspace/file && echo kept > /etc/file").ok();
    for _ in 0..2 {
        workspace.verb("stop").ok();
        workspace.verb("start").ok();
        assert!(workspace.was_restored());
        assert_eq!(workspace.sh("cat /workspace/file /etc/file").ok().text(), "kept\nkept");
    }
    home.kill_node();
    workspace.sh("exit 7").code(7);
}

#[test]
fn another_size_is_another_template() {
    let home = with_template();
    let larger = home.workspace_with(&["-m", "320", "--cpus", "2", "debian:12"]);
    assert!(!larger.was_restored());
    wait_until(MADE, "a second template is made", || home.templates().len() == 2);
    let next = home.workspace_with(&["-m", "320", "--cpus", "2", "debian:12"]);
    assert!(next.was_restored());
    assert_eq!(next.sh("nproc").ok().text(), "2");
    // Each of its processors has work, and a clock that runs.
    next.sh("sleep 0.1 & sleep 0.1 & wait").ok();
}

#[test]
fn a_template_whose_files_changed_is_not_used() {
    let home = with_template();
    let [template] = &home.templates()[..] else { panic!("one template") };
    File::options().write(true).open(template.join("state")).unwrap().set_len(5000).unwrap();
    let workspace = home.workspace("debian:12");
    assert!(!workspace.was_restored());
    assert_eq!(workspace.sh("echo works").ok().text(), "works");
    wait_until_some(MADE, "it is made again", || {
        let length = fs::metadata(template.join("state")).ok()?.len();
        (length > 5000).then_some(())
    });
    assert!(home.workspace("debian:12").was_restored());
}

#[test]
fn a_template_that_comes_to_nothing_is_left_for_a_boot() {
    let home = with_template();
    let [template] = &home.templates()[..] else { panic!("one template") };
    // Damaged in a way that nothing but a start can show.
    let memory = File::options().read(true).write(true).open(template.join("memory")).unwrap();
    let modified = memory.metadata().unwrap().modified().unwrap();
    memory.write_all_at(&vec![0; 64 << 20], 0).unwrap();
    memory.set_modified(modified).unwrap();
    let workspace = home.workspace("debian:12");
    assert!(!workspace.was_restored());
    assert_eq!(workspace.sh("echo works").ok().text(), "works");
    assert!(home.templates().is_empty(), "it is not tried again");
}

#[test]
fn a_node_that_dies_while_one_is_made_leaves_nothing() {
    let home = Home::new().with_own_images();
    let workspace = home.workspace("debian:12");
    let maker = wait_until_some(MADE, "a machine is made to be saved", || {
        home.template_processes().into_iter().next()
    });
    home.kill_node();
    wait_until(20, "the machine ends with its node", || {
        !maker.lives() && home.template_processes().is_empty()
    });
    assert!(home.templates().is_empty());
    // The one that was started goes on.
    assert_eq!(workspace.sh("echo works").ok().text(), "works");
    assert!(home.half_made().is_empty());

    assert!(!home.workspace("debian:12").was_restored());
    wait_for_template(&home);
    assert!(home.workspace("debian:12").was_restored());
}

#[test]
fn whoever_wants_none_boots_every_machine() {
    let home = Home::new().with_own_images().with("PYRO_INSTANT_START", "0");
    for _ in 0..2 {
        assert!(!home.workspace("debian:12").was_restored());
    }
    home.pyro(["node", "stop"]).ok();
    assert!(home.templates().is_empty() && home.half_made().is_empty());
}

#[test]
fn prune_takes_templates_and_leaves_the_machines() {
    let home = with_template();
    let workspace = home.workspace("debian:12");
    assert!(workspace.was_restored());
    home.pyro(["env", "prune"]).ok();
    assert!(home.templates().is_empty());
    // Its memory is read from the file that has no name any more.
    assert_eq!(workspace.sh("python3 -c 'print(6 * 7)'").ok().text(), "42");
}
