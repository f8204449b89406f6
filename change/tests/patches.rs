//! Patches: those made here go through git and through our own hands; those others write are understood.

#![allow(clippy::unwrap_used, reason = "a story that goes wrong ends")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use proptest::prelude::*;
use pyro_change::{Action, Miss, PatchError, Version, apply, git_mode, parse, unified};

fn applied(old: &str, patch: &str) -> Result<String, Miss> {
    let patch = parse(patch.as_bytes(), b"/workspace").unwrap();
    assert_eq!(patch.files.len(), 1, "{patch:?}");
    apply(old.as_bytes(), &patch.files[0]).map(|it| String::from_utf8(it.content).unwrap())
}

const OLD: &str = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n";
const NEW: &str = "one\ntwo\nTHREE\nfour\nfive\nsix\nseven\neight\n";

#[test]
fn what_people_and_models_write_is_understood() {
    let hunk = " two\n-three\n+THREE\n four\n";
    for (what, patch) in [
        (
            "git",
            format!(
                "diff --git a/f b/f\nindex 1..2 100644\n--- a/f\n+++ b/f\n@@ -2,3 +2,3 @@ fn x()\n{hunk}"
            ),
        ),
        (
            "diff -u",
            format!(
                "--- f.orig\t2024-01-01 00:00:00.0 +0000\n+++ f\t2024-01-01\n@@ -2,3 +2,3 @@\n{hunk}"
            ),
        ),
        ("no prefix", format!("diff --git f f\n--- f\n+++ f\n@@ -2,3 +2,3 @@\n{hunk}")),
        ("wrong counts", format!("--- a/f\n+++ b/f\n@@ -2,9 +2,1 @@\n{hunk}")),
        ("too small counts", format!("--- a/f\n+++ b/f\n@@ -2,1 +2,1 @@\n{hunk}")),
        ("wrong line", format!("--- a/f\n+++ b/f\n@@ -7,3 +7,3 @@\n{hunk}")),
        ("bare header", format!("--- a/f\n+++ b/f\n@@\n{hunk}")),
        ("dots in it", format!("--- a/f\n+++ b/f\n@@ ... @@\n{hunk}")),
        ("a fence", format!("```diff\n--- a/f\n+++ b/f\n@@ -2,3 +2,3 @@\n{hunk}```\n")),
        (
            "a fence and talk",
            format!("\n```\nHere it is:\n--- a/f\n+++ b/f\n@@\n{hunk}\n```\nDone.\n"),
        ),
        (
            "a mail",
            format!(
                "From: x\nSubject: y\n\n---\n f | 2 +-\n\n--- a/f\n+++ b/f\n@@ -2,3 +2,3 @@\n{hunk}-- \n2.39.5\n\n"
            ),
        ),
        (
            "no newline at its end",
            format!("--- a/f\n+++ b/f\n@@ -2,3 +2,3 @@\n{}", hunk.trim_end()),
        ),
        (
            "an absolute name",
            format!("--- /workspace/f\n+++ /workspace/f\n@@ -2,3 +2,3 @@\n{hunk}"),
        ),
        ("windows", format!("--- a/f\n+++ b/f\n@@ -2,3 +2,3 @@\n{hunk}").replace('\n', "\r\n")),
        (
            "trailing blanks",
            format!("--- a/f\n+++ b/f\n@@ -2,3 +2,3 @@\n{}", hunk.replace("two", "two  ")),
        ),
        ("a model's", format!("*** Begin Patch\n*** Update File: f\n@@\n{hunk}*** End Patch\n")),
        (
            "a model's without @@",
            format!("*** Begin Patch\n*** Update File: /workspace/f\n{hunk}*** End Patch"),
        ),
        (
            "a model's with an anchor",
            format!("*** Begin Patch\n*** Update File: f\n@@ one\n{hunk}\n*** End Patch\n"),
        ),
        (
            "a model's in a fence",
            format!(
                "```\n*** Begin Patch\n*** Update File: f\n@@ -2,3 +2,3 @@\n{hunk}*** End Patch\n```\n"
            ),
        ),
    ] {
        assert_eq!(applied(OLD, &patch).as_deref(), Ok(NEW), "{what}: {patch}");
    }
}

#[test]
fn lines_that_look_like_headers_are_lines() {
    let patch = "--- a/f\n+++ b/f\n@@ -1,3 +1,2 @@\n a\n--- old\n-+++ x\n+++ new\n";
    assert_eq!(applied("a\n-- old\n+++ x\n", patch).unwrap(), "a\n++ new\n");
    let signature = "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n-a\n+b\n -- \n";
    assert_eq!(applied("a\n-- \n", signature).unwrap(), "b\n-- \n");
}

#[test]
fn ends_of_lines_and_files_are_kept() {
    let patch = "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n";
    assert_eq!(applied("a\r\nb\r\n", patch).unwrap(), "a\r\nc\r\n");
    let append = "--- a/f\n+++ b/f\n@@ -1,1 +1,2 @@\n a\n+b\n";
    assert_eq!(applied("a", append).unwrap(), "a\nb\n");
    let without = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n\\ No newline at end of file\n";
    assert_eq!(applied("a", without).unwrap(), "b");
    let gained = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n";
    assert_eq!(applied("a", gained).unwrap(), "a\n");
    let empty = "--- a/f\n+++ b/f\n@@ -1,4 +1,4 @@\n a\n\n-b\n+c\n\n";
    assert_eq!(applied("a\n\nb\n\n", empty).unwrap(), "a\n\nc\n\n");
}

#[test]
fn what_does_not_fit_says_what_is_nearest() {
    let patch = "--- a/f\n+++ b/f\n@@ -2,3 +2,3 @@\n two\n-drei\n+THREE\n four\n";
    let miss = applied(OLD, patch).unwrap_err();
    assert_eq!(miss.code(), "patch_does_not_fit");
    let expected = "hunk 1 does not fit: nearest is line 2, where 2 of 3 lines are alike; \
                    line 3 is \"three\", not \"drei\"";
    assert_eq!(miss.to_string(), expected);
    let twice = "--- a/f\n+++ b/f\n@@\n-a\n+b\n";
    assert_eq!(applied("a\nx\na\n", twice), Err(Miss::Ambiguous { hunk: 1, places: 2 }));
    let overlap = "--- a/f\n+++ b/f\n@@ -1,2 +1,1 @@\n one\n-two\n@@ -2,2 +2,1 @@\n-two\n three\n";
    assert_eq!(applied(OLD, overlap).unwrap_err().code(), "patch_overlaps");
    assert_eq!(
        applied("", twice).unwrap_err().to_string(),
        "hunk 1 does not fit: the file is empty"
    );
}

#[test]
fn a_hunk_is_where_it_says_or_nearest_to_that() {
    let file = "a\nx\na\nx\na\n";
    let at = |line| format!("--- a/f\n+++ b/f\n@@ -{line} +{line} @@\n-a\n+b\n");
    assert_eq!(applied(file, &at(1)).unwrap(), "b\nx\na\nx\na\n");
    assert_eq!(applied(file, &at(3)).unwrap(), "a\nx\nb\nx\na\n");
    assert_eq!(applied(file, &at(9)).unwrap(), "a\nx\na\nx\nb\n");
    let end = "*** Begin Patch\n*** Update File: f\n@@\n-a\n+b\n*** End of File\n*** End Patch\n";
    assert_eq!(applied(file, end).unwrap(), "a\nx\na\nx\nb\n");
    let anchored = "*** Begin Patch\n*** Update File: f\n@@ x\n@@ x\n-a\n+b\n*** End Patch\n";
    assert_eq!(applied(file, anchored).unwrap(), "a\nx\na\nx\nb\n");
    // Each hunk behind the one before it.
    let two =
        "*** Begin Patch\n*** Update File: f\n@@\n a\n-x\n+y\n a\n x\n@@\n-a\n+b\n*** End Patch\n";
    assert_eq!(applied(file, two).unwrap(), "a\ny\na\nx\nb\n");
}

#[test]
fn files_come_go_and_are_renamed() {
    let text = "diff --git a/new file b/new file\nnew file mode 100755\n--- /dev/null\n+++ b/new file\t\n@@ -0,0 +1 @@\n+x\n\
        diff --git a/gone b/gone\ndeleted file mode 100644\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n\
        diff --git a/was b/dir/is\nsimilarity index 100%\nrename from was\nrename to dir/is\n\
        diff --git a/mode b/mode\nold mode 100644\nnew mode 100755\n\
        diff --git a/empty b/empty\nnew file mode 100644\nindex 0000000..e69de29\n\
        diff --git \"a/\\303\\244\" \"b/\\303\\244\"\nnew file mode 120000\n--- /dev/null\n+++ \"b/\\303\\244\"\n@@ -0,0 +1 @@\n+target\n\\ No newline at end of file\n";
    let patch = parse(text.as_bytes(), b"/workspace").unwrap();
    let seen: Vec<_> = patch
        .files
        .iter()
        .map(|it| (it.action, &*it.old, &*it.new, it.mode, it.hunks.len()))
        .collect();
    let expected = [
        (Action::Add, "new file", "new file", Some(0o100_755), 1),
        (Action::Delete, "gone", "gone", None, 1),
        (Action::Rename, "was", "dir/is", None, 0),
        (Action::Modify, "mode", "mode", Some(0o100_755), 0),
        (Action::Add, "empty", "empty", Some(0o100_644), 0),
        (Action::Add, "ä", "ä", Some(0o120_000), 1),
    ];
    let expected =
        expected.map(|(a, old, new, mode, hunks)| (a, old.as_bytes(), new.as_bytes(), mode, hunks));
    assert_eq!(seen, expected);
    assert!(patch.files[5].is_symlink());
    let model = "*** Begin Patch\n*** Add File: a/b\n+one\n+two\n*** Delete File: c\n*** Update File: d\n*** Move to: e\n@@\n-x\n+y\n*** End Patch\n";
    let patch = parse(model.as_bytes(), b"/workspace").unwrap();
    let actions: Vec<_> = patch.files.iter().map(|it| (it.action, &*it.new)).collect();
    assert_eq!(
        actions,
        [(Action::Add, &b"a/b"[..]), (Action::Delete, b"c"), (Action::Rename, b"e")]
    );
    assert_eq!(apply(b"", &patch.files[0]).unwrap().content, b"one\ntwo\n");
}

#[test]
fn what_is_no_patch_is_refused() {
    let code = |text: &str| parse(text.as_bytes(), b"/workspace").map_err(|error| error.code());
    assert_eq!(code(""), Err("patch_empty"));
    assert_eq!(code("nothing of a patch\n"), Err("patch_empty"));
    assert_eq!(code("--- a/../x\n+++ b/../x\n@@ -1 +1 @@\n-a\n+b\n"), Err("patch_unsafe_name"));
    assert_eq!(code("--- /etc/x\n+++ /etc/x\n@@ -1 +1 @@\n-a\n+b\n"), Err("patch_unsafe_name"));
    assert_eq!(code("--- a/x\n+++ b/x\n@@ -1 +1 @@\n"), Err("patch_malformed"));
    assert_eq!(code("*** Begin Patch\n*** Rename File: x\n"), Err("patch_malformed"));
    assert_eq!(code("diff --git a/x b/x\nGIT binary patch\nliteral 1\n"), Err("patch_binary"));
    assert_eq!(code(&"x".repeat((1 << 20) + 1)), Err("patch_too_long"));
    assert!(matches!(parse(b"*** Begin Patch\nx\n", b"/"), Err(PatchError::Line { line: 2, .. })));
}

#[test]
fn a_hostile_patch_takes_no_longer_than_it_may() {
    let file = "a\n".repeat(1 << 21);
    let hunk = format!("@@ -1 +1 @@\n{}-b\n", " a\n".repeat(100));
    let patch = format!("--- a/f\n+++ b/f\n{}", hunk.repeat(2000));
    assert!(matches!(applied(&file, &patch), Err(Miss::NotFound { .. } | Miss::TooMuch)));
    let fits = format!("@@ -9999999 +1 @@\n{}-a\n", " a\n".repeat(100));
    let patch = format!("--- a/f\n+++ b/f\n{}", fits.repeat(2000));
    applied(&file, &patch).unwrap_err();
}

fn git_applied(directory: &Path, patch: &[u8]) {
    let patch_file = directory.join(".patch");
    fs::write(&patch_file, patch).unwrap();
    let done = Command::new("git")
        .args(["apply", "--unidiff-zero", ".patch"])
        .current_dir(directory)
        .env("GIT_CEILING_DIRECTORIES", directory.parent().unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(patch);
    assert!(done.status.success(), "{}\n{text}", String::from_utf8_lossy(&done.stderr));
    fs::remove_file(patch_file).unwrap();
}

fn lines() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "a\n",
        "b\n",
        "\n",
        " c\n",
        "d \n",
        "-- \n",
        "--- a/x\n",
        "+++ b/x\n",
        "@@ -1 +1 @@\n",
        "e\r\n",
        "\\ No newline\n",
        "diff --git a/x b/x\n",
        "\u{e4}\n",
    ]);
    let end = prop::sample::select(vec!["", "last", "\n", "\r"]);
    (prop::collection::vec(line, 0..30), end)
        .prop_map(|(lines, end)| [lines.concat(), end.to_owned()].concat().into_bytes())
}

fn side(it: Option<&(Vec<u8>, u32)>) -> Option<Version<'_>> {
    it.map(|(content, mode)| Version { mode: *mode, content })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn what_is_made_here_goes_through_git_and_through_our_own_hands(
        old in prop::option::of((lines(), any::<bool>())),
        new in prop::option::of((lines(), any::<bool>())),
        path in prop::sample::select(vec!["f", "with blank", "d/\u{e4}\"\\x", "tab\there", "b/a"]),
    ) {
        let mode = |executable: bool| git_mode(if executable { 0o755 } else { 0o644 }, false);
        let version = |it: &Option<(Vec<u8>, bool)>| it.clone().map(|(content, x)| (content, mode(x)));
        let (old, new) = (version(&old), version(&new));
        let patch = unified(path.as_bytes(), side(old.as_ref()), side(new.as_ref()));
        if old == new {
            prop_assert_eq!(patch, b"");
            return Ok(());
        }
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(path);
        if let Some((content, mode)) = &old {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, content).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode & 0o777)).unwrap();
        }
        git_applied(home.path(), &patch);
        let is = fs::read(&file).ok().map(|content| {
            let executable = fs::metadata(&file).unwrap().permissions().mode() & 0o100 != 0;
            (content, mode(executable))
        });
        prop_assert_eq!(&is, &new);

        let parsed = parse(&patch, b"/workspace").unwrap();
        prop_assert_eq!(parsed.files.len(), 1);
        let file = &parsed.files[0];
        prop_assert_eq!(&*file.new, path.as_bytes());
        let was = old.as_ref().map_or(&b""[..], |(content, _)| content);
        let applied = apply(was, file).unwrap();
        prop_assert_eq!(applied.mended_hunks, 0);
        let wanted = new.as_ref().map_or(&b""[..], |(content, _)| content);
        prop_assert_eq!(applied.content, wanted);
    }
}
