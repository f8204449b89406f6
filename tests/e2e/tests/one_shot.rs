//! `pyro run`: a command in a fresh VM, which is gone afterwards.

use pyro_e2e::Home;

#[test]
fn a_command_runs_in_a_fresh_vm() {
    let home = Home::new();
    let seen = home.run(["git", "--version"]).ok();
    assert!(seen.text().starts_with("git version 2."), "{seen}");
    assert!(seen.stderr.is_empty(), "{seen}");
    home.holds_only(&[]);
}
