//! Archives that lie. Each is built header by header; what lies outside must stay as it was, and no
//! temporary file may be left.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use pyro_archive::{Error, Limits, Overwrite, UnpackOptions, rewrite, unpack};
use tempfile::TempDir;

mod corpus;

use corpus::Tar;

/// A root with neighbours that nobody may touch.
struct Place {
    place: TempDir,
    before: Vec<String>,
}

impl Place {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let outside = place.path().join("outside");
        fs::create_dir_all(outside.join("inner")).unwrap();
        fs::write(outside.join("canary"), b"alive").unwrap();
        fs::write(outside.join("inner/canary"), b"alive").unwrap();
        fs::write(place.path().join("canary"), b"alive").unwrap();
        fs::create_dir(place.path().join("root")).unwrap();
        let root = place.path().join("root");
        // What a workload left there before.
        symlink(&outside, root.join("planted")).unwrap();
        symlink("../outside/canary", root.join("planted-file")).unwrap();
        fs::create_dir(root.join("full")).unwrap();
        fs::write(root.join("full/kept"), b"kept").unwrap();
        let before = Self::look(place.path());
        Self { place, before }
    }

    fn look(place: &Path) -> Vec<String> {
        let mut seen = Vec::new();
        for name in
            ["", "canary", "outside", "outside/canary", "outside/inner", "outside/inner/canary"]
        {
            let path = place.join(name);
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_dir() {
                let mut names: Vec<_> =
                    fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
                names.sort();
                format!("{names:?}")
            } else {
                fs::read_to_string(&path).unwrap()
            };
            seen.push(format!(
                "{name} {:o} {} {} {} {}.{} {content}",
                metadata.mode(),
                metadata.ino(),
                metadata.nlink(),
                metadata.uid(),
                metadata.mtime(),
                metadata.mtime_nsec(),
            ));
        }
        seen
    }

    fn root(&self) -> std::path::PathBuf {
        self.place.path().join("root")
    }

    fn assert_untouched(&self, what: &str) {
        assert_eq!(self.before, Self::look(self.place.path()), "{what}");
        let mut waiting = vec![self.root()];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                assert!(!entry.file_name().as_encoded_bytes().starts_with(b".pyro-"), "{what}");
                if entry.file_type().unwrap().is_dir() {
                    waiting.push(entry.path());
                }
            }
        }
    }
}

fn limits() -> Limits {
    Limits { entries: 1000, name_bytes: 100_000, bytes: 10 << 20, file_bytes: 20 << 20 }
}

fn unpack_into(root: &Path, mut bytes: &[u8], delete: bool) -> Result<(), Error> {
    let directory = File::open(root).unwrap();
    let options = UnpackOptions {
        overwrite: Overwrite::Replace,
        delete,
        limits: limits(),
        ..UnpackOptions::default()
    };
    unpack(&mut bytes, directory.as_fd(), options).map(|_| ())
}

fn code(result: Result<(), Error>) -> &'static str {
    match result {
        Ok(()) => "",
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() < 600 && !text.chars().any(char::is_control), "{text}");
            error.code()
        }
    }
}

#[test]
fn no_archive_gets_out() {
    let cases = corpus::cases();
    assert!(cases.len() >= 100);
    for (what, bytes, unpacking, rewriting) in cases {
        for delete in [false, true] {
            let place = Place::new();
            let expected = if delete && unpacking == "archive_conflict" { "" } else { unpacking };
            assert_eq!(
                code(unpack_into(&place.root(), &bytes, delete)),
                expected,
                "unpack: {what}"
            );
            place.assert_untouched(what);
            // Nothing is removed unless the archive came whole.
            assert!(expected.is_empty() || place.root().join("full/kept").exists(), "{what}");
        }
        let mut out = Vec::new();
        let result = rewrite(&mut &bytes[..], &mut out, &limits()).map(|_| ());
        assert_eq!(code(result), rewriting, "rewrite: {what}");
        if rewriting.is_empty() {
            let place = Place::new();
            // What stands there already may be in its way; nothing of the archive may be.
            let _ = unpack_into(&place.root(), &out, true);
            place.assert_untouched(what);
            let clean = tempfile::tempdir().unwrap();
            assert_eq!(code(unpack_into(clean.path(), &out, false)), "", "{what}");
        }
    }
}

#[test]
fn files_before_a_failure_are_whole_and_the_failing_one_is_not_there() {
    let place = tempfile::tempdir().unwrap();
    let mut bytes = Tar::default().file(b"d/first").0;
    bytes.extend_from_slice(
        &Tar::default().raw(b'0', b"d/second", b"", 1 << 20, |_| {}).bytes(b"part").0,
    );
    fs::create_dir(place.path().join("d")).unwrap();
    fs::write(place.path().join("d/second"), b"old").unwrap();
    assert_eq!(code(unpack_into(place.path(), &bytes, true)), "archive_truncated");
    assert_eq!(fs::read(place.path().join("d/first")).unwrap(), b"PWNED");
    assert_eq!(fs::read(place.path().join("d/second")).unwrap(), b"old");
    assert_eq!(fs::read_dir(place.path().join("d")).unwrap().count(), 2);
}

#[test]
fn a_file_is_not_written_through_its_other_name() {
    let place = Place::new();
    fs::hard_link(place.place.path().join("canary"), place.root().join("other")).unwrap();
    let bytes = Tar::default().file(b"other").end();
    unpack_into(&place.root(), &bytes, false).unwrap();
    assert_eq!(fs::read(place.place.path().join("canary")).unwrap(), b"alive");
}

#[test]
fn nothing_is_replaced_unless_allowed() {
    let place = Place::new();
    let root = File::open(place.root()).unwrap();
    for bytes in [
        Tar::default().file(b"planted-file").end(),
        Tar::default().link(b"planted", b"x").end(),
        Tar::default().file(b"full").end(),
        Tar::default().directory(b"planted").end(),
        Tar::default().file(b"full/kept").end(),
        Tar::default().file(b"n").hard(b"full/kept", b"n").end(),
    ] {
        let error = unpack(&mut &bytes[..], root.as_fd(), UnpackOptions::default()).unwrap_err();
        assert_eq!(error.code(), "archive_exists");
        place.assert_untouched("refused");
        let _ = fs::remove_file(place.root().join("n"));
    }
    let bytes = Tar::default().directory(b"full").file(b"full/new").end();
    unpack(&mut &bytes[..], root.as_fd(), UnpackOptions::default()).unwrap();
    assert_eq!(fs::read(place.root().join("full/kept")).unwrap(), b"kept");
}

#[test]
fn deleting_does_not_follow_links() {
    let place = Place::new();
    fs::create_dir_all(place.root().join("old/er")).unwrap();
    symlink("../../../outside", place.root().join("old/er/link")).unwrap();
    unpack_into(&place.root(), &Tar::default().end(), true).unwrap();
    assert_eq!(fs::read_dir(place.root()).unwrap().count(), 0);
    place.assert_untouched("deleted");
}

#[test]
fn a_directory_swapped_for_a_link_meanwhile_leads_nowhere() {
    let place = Place::new();
    let (root, stop) = (place.root(), AtomicBool::new(false));
    let bytes = (0..200)
        .fold(Tar::default(), |tar, number| {
            // Two parents in turn: neither is kept open.
            tar.file(format!("race/a/f{number}").as_bytes())
                .file(format!("race/b/f{number}").as_bytes())
        })
        .end();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = fs::rename(root.join("race"), root.join("aside"));
                let _ = symlink("../outside", root.join("race"));
                let _ = fs::remove_file(root.join("race"));
                let _ = fs::rename(root.join("aside"), root.join("race"));
            }
        });
        for round in 0..60 {
            if let Err(error) = unpack_into(&root, &bytes, round % 3 == 2) {
                let known = ["archive_unsafe_name", "archive_unwritable", "archive_unremovable"];
                assert!(known.contains(&error.code()), "{error}");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(place.before[2..], Place::look(place.place.path())[2..]);
}

#[test]
fn modes_lose_what_the_umask_takes() {
    let place = tempfile::tempdir().unwrap();
    let bytes = Tar::default()
        .raw(b'0', b"f", b"", 0, |header| header[100..107].copy_from_slice(b"0006777"))
        .end();
    let root = File::open(place.path()).unwrap();
    let options = UnpackOptions { umask: 0o6022, ..UnpackOptions::default() };
    unpack(&mut &bytes[..], root.as_fd(), options).unwrap();
    let mode = fs::metadata(place.path().join("f")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}
