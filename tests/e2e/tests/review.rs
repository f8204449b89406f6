//! What is different in a workspace, and patches into it.

#![allow(clippy::unwrap_used)]

use std::{fs, process::Command};

use pyro_e2e::Home;
use serde_json::Value;

fn told(diff: &Value) -> Vec<String> {
    let entries = diff["entries"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entries.map(|entry| format!("{} {}", text(&entry["status"]), text(&entry["path"]))).collect()
}

#[test]
fn a_workspace_says_what_is_different_and_the_patch_leads_there() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let id = workspace.id();
    let diff = || home.pyro(["diff", id, "--json"]).ok().json();
    let nothing = diff();
    assert_eq!(
        (&nothing["changed"], &nothing["entries"]),
        (&false.into(), &Value::Array(Vec::new()))
    );
    workspace
        .sh("mkdir -p src empty 'with blank'; printf 'one\\ntwo\\n' > src/a; printf 'x' > 'with blank/ä'
             printf '#!/bin/sh\\n' > run; chmod 755 run; ln -s /etc/passwd out; ln -s src in
             printf 'a\\0b' > binary; mkfifo pipe
             mkdir -p .git/hooks node_modules; echo x > .git/hooks/pre-commit; echo x > .git/HEAD
             for n in $(seq 60); do echo $n > node_modules/$n; done")
        .ok();
    let changes = diff();
    let expected = [
        "added .git/HEAD",
        "added .git/hooks/pre-commit",
        "added binary",
        "added empty",
        "added in",
    ];
    assert_eq!(told(&changes)[..5], expected);
    assert_eq!(changes["summary"]["added"], 70);
    let entry = |path: &str| {
        let entries = changes["entries"].as_array().into_iter().flatten();
        entries.clone().find(|entry| entry["path"] == path).cloned().unwrap_or_default()
    };
    assert_eq!(entry("run")["marks"][0]["code"], "new_executable");
    assert_eq!(entry("out")["marks"][0]["code"], "link_leaves_tree");
    assert_eq!(entry("in")["marks"], Value::Null);
    assert_eq!(entry(".git/hooks/pre-commit")["marks"][0]["code"], "git_hook");
    assert_eq!(
        (&entry("binary")["binary"], &entry("binary")["size_bytes"]),
        (&true.into(), &3.into())
    );
    assert_eq!(entry("binary")["sha256"].as_str().map(str::len), Some(64));

    // People get what is much as one line.
    let names = home.pyro(["diff", id, "--name-only"]).ok().text();
    let expected = ".git/\nbinary\nempty\nin\nnode_modules/\nout\npipe\nrun\nsrc/a\nwith blank/ä";
    assert_eq!(names, expected);
    assert_eq!(home.pyro(["diff", id, "--name-only", "--all"]).ok().text().lines().count(), 70);
    let stat = home.pyro(["diff", id, "src", "--stat"]).ok();
    assert_eq!(stat.text(), "src/a | 2 ++");
    let text = home.pyro(["diff", id, "src", "run"]).ok().text();
    assert!(
        text.starts_with(
            "# run: added  ! a new file that can be executed\ndiff --git a/run b/run\n"
        ),
        "{text}"
    );
    home.pyro(["diff", id, "/etc"]).fails("invalid_path");

    // The patch goes through git, into an empty directory of this host.
    let here = home.scratch();
    let patch = home.pyro(["diff", id, "--patch"]).ok().stdout;
    fs::write(here.join("patch"), patch).unwrap();
    let git = |words: &[&str]| {
        let done = Command::new("git").args(words).current_dir(&here).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    git(&["apply", "patch"]);
    assert_eq!(fs::read(here.join("with blank/ä")).unwrap(), b"x");
    assert_eq!(fs::read_link(here.join("out")).unwrap().to_str(), Some("/etc/passwd"));

    // And through our own hands, into another workspace.
    let other = home.workspace("debian:12");
    let patch = here.join("patch");
    home.pyro(["patch", "apply", other.id(), "--patch-file", patch.to_str().unwrap()]).ok();
    let listing = "find . -path ./.git -prune -o -type f ! -name binary -exec sha256sum {} + | sort; ls -l run out in | cut -c1-10";
    assert_eq!(other.sh(listing).ok().text(), workspace.sh(listing).ok().text());
}

#[test]
fn a_patch_is_applied_all_or_nothing() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let id = workspace.id();
    workspace.sh("mkdir src; printf 'one\\ntwo\\nthree\\n' > src/a; printf 'keep\\n' > b").ok();
    let apply = |patch: &str, words: &[&str]| {
        home.pyro([&["patch", "apply", id, "--patch", patch], words].concat())
    };
    let good = "--- a/src/a\n+++ b/src/a\n@@ -40,9 +2,2 @@\n one\n-two\n+zwei\n three\n";
    let checked = apply(good, &["--check", "--json"]).ok().json();
    assert_eq!((&checked["changed"], &checked["checked"]), (&false.into(), &true.into()));
    assert_eq!(checked["entries"][0]["path"], "/workspace/src/a");
    assert_eq!(checked["entries"][0]["mended_hunks"], 1);
    let bad = format!("{good}--- a/b\n+++ b/b\n@@ -1 +1 @@\n-lost\n+found\n");
    let refused = apply(&bad, &[]).fails("patch_does_not_fit");
    let message = refused["error"].as_str().unwrap();
    assert!(message.contains("b: hunk 1 does not fit: no line of it is in the file"), "{message}");
    assert_eq!(workspace.sh("cat src/a").ok().text(), "one\ntwo\nthree");
    apply("*** Begin Patch\n*** Update File: /workspace/src/a\n@@\n one\n-two\n+zwei\n*** Add File: new/c\n+c\n*** Delete File: b\n*** End Patch", &[]).ok();
    assert_eq!(workspace.sh("cat src/a new/c; ls").ok().text(), "one\nzwei\nthree\nc\nnew\nsrc");
    apply("nothing", &[]).fails("patch_empty");
    apply("--- a/../x\n+++ b/../x\n@@ -1 +1 @@\n-a\n+b\n", &[]).fails("patch_unsafe_name");
    apply("--- a/gone\n+++ b/gone\n@@ -1 +1 @@\n-a\n+b\n", &[]).fails("file_not_found");
    let shown = home.pyro(["diff", id, "--name-only"]).ok().text();
    assert_eq!(shown, "new/c\nsrc/a");
}

#[test]
fn services_that_run_and_log_are_no_difference() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let id = workspace.id();
    let script = "touch /tmp/up; while :; do echo line; sleep 0.05; done";
    let start =
        ["service", "start", id, "talk", "--ready-file", "/tmp/up", "--", "sh", "-c", script];
    home.pyro(start).ok();
    let diff = home.pyro(["diff", id, "--json"]).ok().json();
    assert_eq!(diff["changed"], false, "{diff}");
}

/// Tells of a tree what a difference may be about.
const SCENE: &str = "mkdir -p src moved deep/deeper; printf 'one\\ntwo\\n' > src/a; echo gone > src/gone
    printf 'a\\0b' > binary; ln -s src link; echo same > same; echo x > deep/deeper/x; chmod 755 same";
const NEXT: &str = "printf 'one\\n2\\n' > src/a; rm src/gone; printf 'a\\0c' > binary; rm link; ln -s deep link
    chmod 644 same; mv moved new; mv deep/deeper deep/down; echo y > src/y; rm -rf src/never; touch -d @1 src/a";

#[test]
fn any_two_moments_of_a_workspace_are_compared() {
    let home = Home::new();
    let source = home.scratch().join("seed");
    fs::create_dir_all(source.join("kept")).unwrap();
    for name in ["kept/file", "of-the-seed", "goes"] {
        fs::write(source.join(name), format!("{name}\n")).unwrap();
    }
    let workspace = home.workspace_with(&["debian:12", "--seed-path", source.to_str().unwrap()]);
    let id = workspace.id();
    let diff = |words: &[&str]| home.pyro([&["diff", id, "--json"], words].concat()).ok().json();
    let tree = |words: &[&str]| {
        let document = diff(words);
        (document["summary"].clone(), document["entries"].clone(), document["patch"].clone())
    };
    let take = |name: &str| {
        home.pyro(["snapshot", "create", id, name]).ok();
    };
    workspace.sh(SCENE).ok();
    workspace.sh("rm goes; echo more >> of-the-seed; mv kept other").ok();
    let by_guest = tree(&[]);
    take("one");
    // A disk tells what its guest told: of the seed, of what hides it, and of directories that moved.
    assert_eq!(by_guest, tree(&["--to", "one"]));
    assert_eq!(diff(&["--to", "one"])["to"], "one");
    assert_eq!(diff(&["--from", "one"])["changed"], false);

    workspace.sh(NEXT).ok();
    let since = tree(&["--from", "one"]);
    let changes = diff(&["--from", "one"]);
    let expected = [
        "modified binary",
        "added deep/down/x",
        "deleted deep/deeper/x",
        "modified link",
        "deleted moved",
        "added new",
        "modified same",
        "modified src/a",
        "deleted src/gone",
        "added src/y",
    ];
    let mut is = told(&changes);
    is.sort();
    let mut expected = expected.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(is, expected);
    assert_eq!((&changes["from"], &changes["to"]), (&"one".into(), &"now".into()));
    let renamed = told(&diff(&["--from", "one", "--renames"]));
    assert!(renamed.contains(&"renamed deep/down/x".to_owned()), "{renamed:?}");
    take("two");
    assert_eq!(since, tree(&["--from", "one", "--to", "two"]));
    assert_eq!(told(&diff(&["--from", "one", "--to", "two", "src"])).len(), 3);
    // The way back is a patch, too.
    let back = home.pyro(["diff", id, "--from", "two", "--to", "one", "--patch"]).ok().stdout;
    let patch = home.scratch().join("back.patch");
    fs::write(&patch, &back).unwrap();
    let text = String::from_utf8_lossy(&back).into_owned();
    assert!(text.contains("-2\n+two\n"), "{text}");

    // Nobody is started for it, and a guest at work is held up for no longer than a snapshot takes.
    let all = tree(&["--all"]);
    home.pyro(["stop", id]).ok();
    assert_eq!(all, tree(&["--no-start"]));
    assert_eq!(since, tree(&["--from", "one", "--no-start"]));
    assert_eq!(home.pyro(["status", id, "--json"]).ok().json()["state"], "stopped");

    home.pyro(["diff", id, "--from", "none"]).fails("snapshot_not_found");
    home.pyro(["diff", id, "--from", "one", "--to", "one"]).fails("invalid_request");
    home.pyro(["diff", id, "--from", "no/name"]).fails("invalid_snapshot_name");
    home.pyro(["snapshot", "create", id, "now"]).fails("snapshot_reserved");
}

#[test]
fn two_who_compare_a_running_workspace_at_once_both_get_an_answer() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let id = workspace.id();
    home.pyro(["snapshot", "create", id, "before"]).ok();
    workspace.sh("for n in $(seq 200); do echo $n > $n; done").ok();
    std::thread::scope(|scope| {
        let compare = || home.pyro(["diff", id, "--from", "before", "--json"]).ok().json();
        let all: Vec<_> = (0..4).map(|_| scope.spawn(compare)).collect();
        for one in all {
            assert_eq!(one.join().unwrap()["summary"]["added"], 200);
        }
    });
    let left = fs::read_dir(home.state().join("workspaces").join(id)).unwrap();
    let left: Vec<_> = left.map(|it| it.unwrap().file_name()).collect();
    assert!(!left.iter().any(|it| it.as_encoded_bytes().starts_with(b".partial")), "{left:?}");
}
