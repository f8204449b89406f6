//! Trees go in and come out the same; GNU tar and squashfs-tools are the referees.
#![allow(clippy::unwrap_used, clippy::items_after_statements, reason = "a test")]

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use pyro_archive::{
    Limits, Overwrite, PackOptions, SafeName, Tally, UnpackOptions, pack, rewrite, unpack,
};
use tempfile::TempDir;

/// Everything that must survive of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    kind: &'static str,
    mode: u32,
    mtime: (i64, i64),
    content: Vec<u8>,
    /// The first of its names, by order.
    same_as: Option<PathBuf>,
}

fn look(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let (mut tree, mut firsts) = (BTreeMap::new(), BTreeMap::new());
    look_at(root, Path::new(""), &mut tree);
    for (path, entry) in &mut tree {
        let metadata = fs::symlink_metadata(root.join(path)).unwrap();
        if entry.kind == "file" && metadata.nlink() > 1 {
            let first = firsts.entry(metadata.ino()).or_insert_with(|| path.clone());
            entry.same_as = Some(first.clone());
        }
    }
    tree
}

fn look_at(root: &Path, below: &Path, tree: &mut BTreeMap<PathBuf, Entry>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let path = below.join(entry.unwrap().file_name());
        let whole = root.join(&path);
        let metadata = fs::symlink_metadata(&whole).unwrap();
        let (kind, content) = if metadata.is_symlink() {
            ("link", fs::read_link(&whole).unwrap().into_os_string().into_vec())
        } else if metadata.is_dir() {
            ("directory", Vec::new())
        } else if metadata.file_type().is_fifo() {
            ("pipe", Vec::new())
        } else {
            ("file", fs::read(&whole).unwrap())
        };
        if kind == "directory" {
            look_at(root, &path, tree);
        }
        let mode = metadata.mode() & 0o7777;
        let mtime = (metadata.mtime(), metadata.mtime_nsec());
        tree.insert(path, Entry { kind, mode, mtime, content, same_as: None });
    }
}

fn packed(root: &Path, options: PackOptions<'_>) -> (Vec<u8>, Tally) {
    let mut bytes = Vec::new();
    let directory = File::open(root).unwrap();
    let tally = pack(directory.as_fd(), options, &mut bytes).unwrap();
    (bytes, tally)
}

fn unpacked(bytes: &[u8]) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    unpack_into(bytes, place.path(), UnpackOptions::default());
    place
}

fn unpack_into(mut bytes: &[u8], root: &Path, options: UnpackOptions<'_>) -> Tally {
    let directory = File::open(root).unwrap();
    unpack(&mut bytes, directory.as_fd(), options).unwrap()
}

fn rewritten(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    rewrite(&mut bytes, &mut out, &Limits::default()).unwrap();
    out
}

fn piped(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    writer.join().unwrap().unwrap();
    assert!(child.wait().unwrap().success());
    output
}

fn age(path: &Path, at: SystemTime) {
    File::open(path).unwrap().set_modified(at).unwrap();
}

fn write_sparse(path: &Path, size: u64, data: &[(u64, &[u8])]) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for (at, bytes) in data {
        file.write_all_at(bytes, *at).unwrap();
    }
}

/// A tree with a file of every kind.
fn every_kind() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    let long = "n".repeat(200);
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    fs::create_dir_all(root.join(format!("{long}/{long}/{long}"))).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("a/file"), b"content").unwrap();
    fs::write(root.join("a/nothing"), b"").unwrap();
    fs::write(root.join("a/b/block"), vec![7; 512]).unwrap();
    fs::write(root.join("a/b/big"), vec![9; 1_000_003]).unwrap();
    fs::write(root.join(format!("{long}/{long}/{long}/deep")), b"deep").unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff\xfe\n\x01 =name")), b"bytes").unwrap();
    fs::hard_link(root.join("a/file"), root.join("a/b/c/same")).unwrap();
    fs::hard_link(root.join("a/file"), root.join("zzz")).unwrap();
    symlink("/etc/passwd", root.join("absolute")).unwrap();
    symlink("../../..", root.join("a/upwards")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    symlink(&long, root.join("a/to-long")).unwrap();
    symlink(format!("{long}/{long}"), root.join("a/to-longer")).unwrap();
    write_sparse(root.join("sparse").as_path(), 10 << 20, &[(1 << 20, b"middle")]);
    write_sparse(root.join("hole").as_path(), 3 << 20, &[]);
    write_sparse(root.join("odd data").as_path(), 100_003, &[(98_304, &[7; 1699])]);
    write_sparse(root.join("odd blocks").as_path(), 300_001, &[(131_072, &[7; 4096])]);
    write_sparse(root.join("odd hole").as_path(), 100_000, &[]);
    write_sparse(root.join("odd end").as_path(), 100_000, &[(4096, b"middle")]);
    write_sparse(root.join("ends").as_path(), (4 << 20) + 3, &[(0, b"begin"), (4 << 20, b"end")]);
    rustix::fs::mknodat(
        File::open(root).unwrap(),
        "pipe",
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    fs::set_permissions(root.join("a/file"), Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(root.join("empty"), Permissions::from_mode(0o1777)).unwrap();
    age(&root.join("a/nothing"), SystemTime::UNIX_EPOCH - Duration::from_millis(1500));
    age(&root.join("a/b"), SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789));
    place
}

fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn a_tree_of_every_kind_comes_back() {
    let tree = every_kind();
    let before = look(tree.path());
    let (bytes, tally) = packed(tree.path(), PackOptions::default());
    assert_eq!(tally.entries, before.len() as u64);
    assert!(bytes.len() < 2 << 20, "holes are not in the archive");
    for bytes in [&bytes, &rewritten(&bytes)] {
        let back = unpacked(bytes);
        assert_eq!(before, look(back.path()));
        for name in ["sparse", "hole", "ends"] {
            assert!(allocated(&back.path().join(name)) < 64 << 10, "{name} has its holes");
        }
    }
}

#[test]
fn what_is_rewritten_is_rewritten_to_itself() {
    let (bytes, _) = packed(every_kind().path(), PackOptions::default());
    let once = rewritten(&bytes);
    assert!(once == rewritten(&once));
}

#[test]
fn gnu_tar_unpacks_what_we_pack() {
    let tree = every_kind();
    let (bytes, _) = packed(tree.path(), PackOptions::default());
    let place = tempfile::tempdir().unwrap();
    piped(Command::new("tar").arg("-xpf").arg("-").arg("-C").arg(place.path()), &bytes);
    assert_eq!(look(tree.path()), look(place.path()));
    assert!(allocated(&place.path().join("sparse")) < 64 << 10);
}

#[test]
fn we_unpack_what_gnu_tar_packs() {
    let tree = every_kind();
    for format in [
        &["--format=gnu"][..],
        &["--format=gnu", "--sparse"],
        &["--format=pax"],
        &["--format=pax", "--sparse", "--sparse-version=0.0"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--sparse", "--sparse-version=1.0"],
    ] {
        let mut command = Command::new("tar");
        command.args(format).arg("-cf").arg("-").arg("-C").arg(tree.path()).arg(".");
        let bytes = piped(&mut command, b"");
        for bytes in [&bytes, &rewritten(&bytes)] {
            let (mut before, mut after) = (look(tree.path()), look(unpacked(bytes).path()));
            if format[0] == "--format=gnu" {
                for entry in before.values_mut().chain(after.values_mut()) {
                    entry.mtime.1 = 0;
                }
            }
            // Which of its names is the first is another's choice; that they are one file is not.
            assert_eq!(before, after, "{format:?}");
        }
    }
}

#[test]
fn squashfs_tools_read_what_we_pack_and_rewrite() {
    let tree = every_kind();
    let (bytes, _) = packed(tree.path(), PackOptions { root_owned: true, ..Default::default() });
    for bytes in [&bytes, &rewritten(&bytes)] {
        let place = tempfile::tempdir().unwrap();
        let (image, out) = (place.path().join("image"), place.path().join("out"));
        let mut make = Command::new("mksquashfs");
        make.arg("-").arg(&image).args(["-tar", "-quiet", "-no-progress"]);
        piped(&mut make, bytes);
        let mut open = Command::new("unsquashfs");
        open.args(["-no-progress", "-quiet", "-d"]).arg(&out).arg(&image);
        piped(&mut open, b"");
        let (mut before, mut after) = (look(tree.path()), look(&out));
        for entry in before.values_mut().chain(after.values_mut()) {
            // The image keeps whole seconds from 1970 on.
            entry.mtime = (entry.mtime.0.max(0), 0);
        }
        before.get_mut(Path::new("a/nothing")).unwrap().mtime = (0, 0);
        after.get_mut(Path::new("a/nothing")).unwrap().mtime = (0, 0);
        assert_eq!(before, after);
    }
}

#[test]
fn selected_paths_come_with_their_parents_and_under_other_names() {
    let tree = every_kind();
    let name = |name: &str| SafeName::parse(name.as_bytes()).unwrap();
    let options = PackOptions { paths: vec![name("a/b/c"), name("a/file")], ..Default::default() };
    let back = unpacked(&packed(tree.path(), options).0);
    let names: Vec<_> = look(back.path()).into_keys().collect();
    assert_eq!(names, ["a", "a/b", "a/b/c", "a/b/c/same", "a/file"].map(PathBuf::from));

    let options = PackOptions {
        paths: vec![name("a/file")],
        rename: Some((name("a/file"), name("new"))),
        ..Default::default()
    };
    let back = unpacked(&packed(tree.path(), options).0);
    assert_eq!(look(back.path()).into_keys().collect::<Vec<_>>(), [PathBuf::from("new")]);

    let options = PackOptions {
        paths: vec![name("a/upwards")],
        rename: Some((name("a"), name("."))),
        ..Default::default()
    };
    let back = unpacked(&packed(tree.path(), options).0);
    assert_eq!(fs::read_link(back.path().join("upwards")).unwrap(), Path::new("../../.."));
}

#[test]
fn what_is_excluded_is_left_out_with_what_lies_below() {
    let tree = every_kind();
    let mut exclude = |path: &[u8], _| path == b"a/b";
    let options = PackOptions { exclude: Some(&mut exclude), ..Default::default() };
    let back = unpacked(&packed(tree.path(), options).0);
    assert!(back.path().join("a/file").exists());
    assert!(!back.path().join("a/b").exists());
}

#[test]
fn unpacking_over_a_tree_makes_it_the_same() {
    let tree = every_kind();
    let (bytes, _) = packed(tree.path(), PackOptions::default());
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    // Everything is another kind than in the archive.
    fs::create_dir_all(root.join("a/file/with/content")).unwrap();
    fs::create_dir_all(root.join("absolute/full/of")).unwrap();
    fs::create_dir_all(root.join("extra/deep/er")).unwrap();
    fs::write(root.join("extra/deep/file"), b"x").unwrap();
    symlink("/", root.join("extra/link")).unwrap();
    fs::write(root.join("a/b"), b"x").unwrap();
    symlink("/", root.join("empty")).unwrap();
    fs::write(root.join("zzz"), b"x").unwrap();
    let replace =
        || UnpackOptions { overwrite: Overwrite::Replace, delete: true, ..Default::default() };
    let tally = unpack_into(&bytes, root, replace());
    assert!(tally.removed >= 8, "{tally:?}");
    assert_eq!(look(tree.path()), look(root));
    assert_eq!(unpack_into(&bytes, root, replace()).removed, 0);
    assert_eq!(look(tree.path()), look(root));
}

#[test]
fn what_is_protected_is_not_deleted() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("cache")).unwrap();
    fs::write(place.path().join("cache/x"), b"x").unwrap();
    fs::write(place.path().join("old"), b"x").unwrap();
    let mut protect = |path: &[u8], _| path == b"cache";
    let empty = packed(tempfile::tempdir().unwrap().path(), PackOptions::default()).0;
    let options = UnpackOptions { delete: true, protect: Some(&mut protect), ..Default::default() };
    assert_eq!(unpack_into(&empty, place.path(), options).removed, 1);
    assert!(place.path().join("cache/x").exists());
}

#[test]
fn trees_deeper_than_descriptors_and_stacks_are_packed_and_removed() {
    let place = tempfile::tempdir().unwrap();
    let mut path = place.path().to_path_buf();
    for _ in 0..1500 {
        path.push("d");
    }
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("f"), b"bottom").unwrap();
    fs::write(place.path().join("d/d/z"), b"after").unwrap();
    let (bytes, tally) = packed(place.path(), PackOptions::default());
    assert_eq!(tally.entries, 1502);
    let back = unpacked(&bytes);
    assert_eq!(packed(back.path(), PackOptions::default()).0, bytes);
    let empty = packed(tempfile::tempdir().unwrap().path(), PackOptions::default()).0;
    let options = UnpackOptions { delete: true, ..Default::default() };
    assert_eq!(unpack_into(&empty, back.path(), options).removed, 1502);
}

#[test]
fn a_file_that_shrinks_is_filled_and_counted() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("log");
    fs::write(&path, vec![b'x'; 3 << 20]).unwrap();
    struct Shrink<'a>(&'a Path, Vec<u8>);
    impl Write for Shrink<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            File::options().write(true).open(self.0)?.set_len(5)?;
            self.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut sink = Shrink(&path, Vec::new());
    let directory = File::open(place.path()).unwrap();
    let tally = pack(directory.as_fd(), PackOptions::default(), &mut sink).unwrap();
    assert_eq!((tally.changed, tally.bytes), (1, 3 << 20));
    let mut file = File::open(unpacked(&sink.1).path().join("log")).unwrap();
    assert_eq!(file.seek(SeekFrom::End(0)).unwrap(), 3 << 20);
}

#[derive(Debug, Clone)]
enum Plan {
    File(Vec<u8>, u32),
    Sparse(Vec<(u32, Vec<u8>)>, u32),
    Directory(u32),
    Link(Vec<u8>),
    Again(usize),
}

fn plan() -> impl Strategy<Value = Plan> {
    let mode = 0_u32..0o10000;
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    prop_oneof![
        4 => (bytes(3000), mode.clone()).prop_map(|(bytes, mode)| Plan::File(bytes, mode)),
        1 => (prop::collection::vec((0_u32..5_000_000, bytes(300)), 0..4), 0_u32..6_000_000)
            .prop_map(|(data, size)| Plan::Sparse(data, size)),
        3 => mode.prop_map(|mode| Plan::Directory(mode | 0o700)),
        2 => prop::collection::vec(1_u8.., 1..200).prop_map(Plan::Link),
        1 => any::<usize>().prop_map(Plan::Again),
    ]
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((1_u8..).prop_filter("no slash", |byte| *byte != b'/'), 1..120)
        .prop_filter("a name", |name| name != b"." && name != b"..")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_comes_back(plans in prop::collection::vec((any::<usize>(), name(), plan(), any::<u32>()), 0..25)) {
        let place = tempfile::tempdir().unwrap();
        let (mut directories, mut files) = (vec![place.path().to_path_buf()], Vec::new());
        let mut modes = Vec::new();
        for (at, name, plan, time) in plans {
            let path = directories[at % directories.len()].join(std::ffi::OsStr::from_bytes(&name));
            if fs::symlink_metadata(&path).is_ok() {
                continue;
            }
            let mode = match plan {
                Plan::File(bytes, mode) => {
                    fs::write(&path, bytes).unwrap();
                    files.push(path.clone());
                    mode
                }
                Plan::Sparse(data, size) => {
                    let data: Vec<_> = data.iter().map(|(at, bytes)| (u64::from(*at), &bytes[..])).collect();
                    write_sparse(&path, u64::from(size), &data);
                    files.push(path.clone());
                    0o640
                }
                Plan::Directory(mode) => {
                    fs::create_dir(&path).unwrap();
                    directories.push(path.clone());
                    mode
                }
                Plan::Link(target) => {
                    symlink(std::ffi::OsStr::from_bytes(&target), &path).unwrap();
                    continue;
                }
                Plan::Again(of) => {
                    if !files.is_empty() {
                        fs::hard_link(&files[of % files.len()], &path).unwrap();
                    }
                    continue;
                }
            };
            modes.push((path, mode, time));
        }
        for (path, mode, time) in modes.iter().rev() {
            age(path, SystemTime::UNIX_EPOCH + Duration::new(u64::from(*time), time % 999_999_999));
            fs::set_permissions(path, Permissions::from_mode(*mode)).unwrap();
        }
        let before = look(place.path());
        let (bytes, _) = packed(place.path(), PackOptions::default());
        prop_assert_eq!(&before, &look(unpacked(&bytes).path()));
        prop_assert_eq!(&before, &look(unpacked(&rewritten(&bytes)).path()));
        let referee = tempfile::tempdir().unwrap();
        piped(Command::new("tar").arg("-xpf").arg("-").arg("-C").arg(referee.path()), &bytes);
        prop_assert_eq!(&before, &look(referee.path()));
        let theirs = piped(Command::new("tar").args(["--format=pax", "--sparse", "-cf", "-", "-C"]).arg(place.path()).arg("."), b"");
        prop_assert_eq!(&before, &look(unpacked(&theirs).path()));
    }
}
