//! A directory with an awkward path, as a user would see it.
#![allow(clippy::unwrap_used)]

use std::{
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use pyro_directory::{Directory, DirectoryError};

/// A directory whose path has over 200 bytes, a space and a comma.
fn awkward() -> (tempfile::TempDir, Directory) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a b,c".repeat(20)).join("d".repeat(100));
    assert!(path.as_os_str().len() > 200);
    let directory = Directory::create(path).unwrap();
    (root, directory)
}

fn entries(directory: &Directory) -> Vec<PathBuf> {
    std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn sockets_work_however_long_the_path() {
    let (_root, directory) = awkward();
    let listener = directory.bind("node.sock", 0o600).unwrap();
    let mode = std::fs::symlink_metadata(directory.path().join("node.sock")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    let mut client = directory.connect("node.sock").unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"hello").unwrap();
    drop(client);
    let mut heard = String::new();
    server.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello");
}

#[tokio::test]
async fn a_task_connects_too() {
    let (_root, directory) = awkward();
    let listener = directory.bind("node.sock", 0o600).unwrap();
    directory.connect_async("node.sock").await.unwrap();
    listener.accept().unwrap();
}

#[test]
fn a_stale_socket_is_replaced_and_an_absent_one_refused() {
    let (_root, directory) = awkward();
    let error = directory.connect("node.sock").unwrap_err();
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::NotFound));
    drop(directory.bind("node.sock", 0o600).unwrap());
    let error = directory.connect("node.sock").unwrap_err();
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::ConnectionRefused));
    let _listener = directory.bind("node.sock", 0o600).unwrap();
    directory.connect("node.sock").unwrap();
    assert_eq!(entries(&directory).len(), 1);
}

#[test]
fn files_are_replaced_whole_and_read_within_bounds() {
    let (_root, directory) = awkward();
    assert_eq!(directory.read("record.json", 10).unwrap(), None);
    directory.write_whole("record.json", b"old").unwrap();
    directory.write_whole("record.json", b"new and longer").unwrap();
    assert_eq!(directory.read("record.json", 14).unwrap().unwrap(), b"new and longer");
    let error = directory.read("record.json", 13).unwrap_err();
    assert!(matches!(error, DirectoryError::TooLong { limit: 13, .. }));
    assert_eq!(entries(&directory), [directory.path().join("record.json")]);
    directory.remove("record.json").unwrap();
    directory.remove("record.json").unwrap();
}

#[test]
fn a_lock_has_one_holder_until_it_is_dropped() {
    let (_root, directory) = awkward();
    assert!(!directory.is_locked("keeper.lock").unwrap());
    assert!(entries(&directory).is_empty());
    let lock = directory.try_lock("keeper.lock").unwrap().unwrap();
    assert!(directory.is_locked("keeper.lock").unwrap());
    assert!(directory.try_lock("keeper.lock").unwrap().is_none());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| directory.lock("keeper.lock").unwrap());
        drop(lock);
        drop(waiting.join().unwrap());
    });
    assert!(!directory.is_locked("keeper.lock").unwrap());
}

#[test]
fn who_waits_for_a_locks_end_makes_no_file() {
    let (_root, directory) = awkward();
    directory.wait_until_unlocked("keeper.lock").unwrap();
    assert!(entries(&directory).is_empty());
    let lock = directory.try_lock("keeper.lock").unwrap().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            directory.wait_until_unlocked("keeper.lock").unwrap();
            directory.read("ended", 1).unwrap().is_some()
        });
        directory.write_whole("ended", b"").unwrap();
        drop(lock);
        assert!(waiting.join().unwrap(), "not before it was given back");
    });
    assert!(directory.try_lock("keeper.lock").unwrap().is_some());
}

#[test]
fn looking_at_a_lock_never_makes_an_attempt_fail() {
    let (_root, directory) = awkward();
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            for _ in 0..2000 {
                directory.is_locked("keeper.lock").unwrap();
            }
        });
        while !looking.is_finished() {
            drop(directory.try_lock("keeper.lock").unwrap().expect("nobody holds it"));
        }
    });
}

#[test]
fn only_plain_names_are_entries() {
    let (_root, directory) = awkward();
    for name in ["", ".", "..", "a/b", "/etc/passwd", "a\0b"] {
        assert!(matches!(directory.read(name, 1), Err(DirectoryError::Name { .. })), "{name:?}");
    }
}
