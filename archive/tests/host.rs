//! Sources, rules and surveys, as the host uses them. Git is the referee of the rules.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use pyro_archive::host::{MAX_SENSITIVE, Rules, Source, StreamOptions, survey};
use pyro_archive::{Error, Limits, UnpackOptions, unpack};
use tempfile::TempDir;

fn tree(files: &[(&str, &str)]) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let whole = place.path().join(path);
        fs::create_dir_all(whole.parent().unwrap()).unwrap();
        fs::write(whole, content).unwrap();
    }
    place
}

fn streamed(path: &Path, rules: Rules) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let options = StreamOptions { rules, ..StreamOptions::default() };
    Source::open(path)?.stream(options, &mut bytes)?;
    Ok(bytes)
}

fn files_below(root: &Path) -> BTreeSet<String> {
    let output = Command::new("find")
        .args([".", "-type", "f", "-printf", "%P\\n"])
        .current_dir(root)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn unpacked(mut bytes: &[u8]) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let root = File::open(place.path()).unwrap();
    unpack(&mut bytes, root.as_fd(), UnpackOptions::default()).unwrap();
    place
}

fn git(root: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "core.excludesFile=/dev/null"])
        .args(arguments)
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_rules_of_git_leave_out_what_git_leaves_out() {
    let place = tree(&[
        (
            ".gitignore",
            "*.log\n!keep.log\n/build\nnode_modules/\n**/cache/*\n!**/cache/kept\n\\#odd\ntrail \n[bad\n# comment\ndoc/*.txt\n{x,y}.md\n",
        ),
        ("a.log", ""),
        ("keep.log", ""),
        ("build/x", ""),
        ("src/build/x", ""),
        ("node_modules/m/keep.log", ""),
        ("src/node_modules/m/x", ""),
        ("src/.gitignore", "!*.log\n/local\n*.tmp\n!deep/\n"),
        ("src/b.log", ""),
        ("src/local", ""),
        ("src/deep/local", ""),
        ("src/deep/.gitignore", "!x.tmp\n"),
        ("src/deep/x.tmp", ""),
        ("src/deep/y.tmp", ""),
        ("cache/a", ""),
        ("src/cache/kept", ""),
        ("src/cache/a", ""),
        ("#odd", ""),
        ("trail", ""),
        ("doc/a.txt", ""),
        ("x.md", ""),
        ("{x,y}.md", ""),
        ("doc/sub/a.txt", ""),
        ("secret", ""),
        ("private/x", ""),
    ]);
    let root = place.path();
    git(root, &["init", "-q"]);
    fs::create_dir_all(root.join(".git/info")).unwrap();
    fs::write(root.join(".git/info/exclude"), "secret\n/private/\n").unwrap();
    let theirs: BTreeSet<String> = git(root, &["ls-files", "-co", "--exclude-standard"])
        .lines()
        .map(|line| line.trim_matches('"').to_owned())
        .collect();
    let rules = Rules { respect_ignore: true, ..Rules::default() };
    let back = unpacked(&streamed(root, rules.clone()).unwrap());
    let ours: BTreeSet<String> =
        files_below(back.path()).into_iter().filter(|path| !path.starts_with(".git/")).collect();
    assert_eq!(ours, theirs);

    let file = File::open(root).unwrap();
    let with = survey(file.as_fd(), &rules, None).unwrap();
    let without = survey(file.as_fd(), &Rules::default(), None).unwrap();
    assert_eq!(with.ignored_entries, without.ignored_entries);
    assert_eq!(with.entries + with.ignored_entries, without.entries);
    assert_ne!(with.fingerprint, without.fingerprint);
}

#[test]
fn pyroignore_counts_before_gitignore_and_excludes_before_both() {
    let place = tree(&[
        (".gitignore", "*.log\n"),
        (".pyroignore", "!a.log\nbig/\n"),
        ("a.log", ""),
        ("b.log", ""),
        ("big/x", ""),
        ("c.txt", ""),
        ("sub/c.txt", ""),
    ]);
    let rules = Rules { excludes: vec!["/c.txt".to_owned()], respect_ignore: true };
    let back = unpacked(&streamed(place.path(), rules).unwrap());
    let names: Vec<_> = files_below(back.path()).into_iter().collect();
    assert_eq!(names, [".gitignore", ".pyroignore", "a.log", "sub/c.txt"]);
    let bad = Rules { excludes: vec!["a[".to_owned()], respect_ignore: false };
    assert_eq!(streamed(place.path(), bad).unwrap_err().code(), "archive_bad_rule");
}

#[test]
fn an_unchanged_directory_is_recognised_and_a_changed_one_too() {
    let place = tree(&[("a/b", "content"), ("c", "more")]);
    let file = File::open(place.path()).unwrap();
    let look = || survey(file.as_fd(), &Rules::default(), None).unwrap();
    let first = look();
    assert_eq!((first.entries, first.bytes), (3, 11));
    assert_eq!(first, look());
    fs::write(place.path().join("a/b"), "CONTENT").unwrap();
    let second = look();
    assert_ne!(first.fingerprint, second.fingerprint);
    fs::rename(place.path().join("c"), place.path().join("d")).unwrap();
    assert_ne!(second.fingerprint, look().fingerprint);
}

#[test]
fn secrets_are_named_but_not_without_end() {
    let place = tempfile::tempdir().unwrap();
    for number in 0..30 {
        fs::write(place.path().join(format!("{number:02}\x1b.pem")), "").unwrap();
    }
    let file = File::open(place.path()).unwrap();
    let survey = survey(file.as_fd(), &Rules::default(), None).unwrap();
    assert_eq!((survey.sensitive_count, survey.sensitive.len()), (30, MAX_SENSITIVE));
    assert_eq!(survey.sensitive[0], "00\\x1b.pem");
}

#[test]
fn directories_and_archives_of_every_format_are_the_same_source() {
    let place = tree(&[("a/b", "content"), ("c", "more")]);
    let plain = streamed(place.path(), Rules::default()).unwrap();
    let archives = tempfile::tempdir().unwrap();
    // Names say nothing: the first bytes do.
    for (name, program) in [("x.tgz", "cat"), ("x.tar", "gzip"), ("x", "zstd")] {
        let path = archives.path().join(name);
        let mut child = Command::new(program)
            .stdin(std::process::Stdio::piped())
            .stdout(File::create(&path).unwrap())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&plain).unwrap();
        assert!(child.wait().unwrap().success());
        let source = Source::open(&path).unwrap();
        assert!(!source.is_directory());
        let before = source.survey(&Rules::default(), None).unwrap();
        assert!(streamed(&path, Rules::default()).unwrap() == plain, "{name}");
        assert_eq!(before, source.survey(&Rules::default(), None).unwrap());

        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(streamed(&path, Rules::default()).unwrap_err().code(), "archive_truncated");
        let rules = Rules { respect_ignore: true, ..Rules::default() };
        assert_eq!(streamed(&path, rules).unwrap_err().code(), "archive_bad_rule");
    }
}

#[test]
fn what_decompresses_without_end_is_cut_off_by_the_limits() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("bomb.tar.gz");
    let mut tar = Command::new("tar");
    File::create(place.path().join("zeros")).unwrap().set_len(64 << 20).unwrap();
    assert!(
        tar.args(["-czf", "bomb.tar.gz", "zeros"])
            .current_dir(place.path())
            .status()
            .unwrap()
            .success()
    );
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    let options = StreamOptions { limits, ..StreamOptions::default() };
    let error = Source::open(&path).unwrap().stream(options, &mut std::io::sink()).unwrap_err();
    assert_eq!(error.code(), "archive_too_large");
}

#[test]
fn what_is_neither_is_refused() {
    let place = tree(&[("text", "no archive"), ("empty", "")]);
    for name in ["text", "empty"] {
        let error = Source::open(&place.path().join(name)).unwrap_err();
        assert_eq!(error.code(), "archive_unknown_format");
    }
    assert_eq!(Source::open(Path::new("/dev/zero")).unwrap_err().code(), "archive_unknown_format");
    let error = Source::open(&place.path().join("missing")).unwrap_err();
    assert_eq!(error.code(), "archive_open_failed");
}
