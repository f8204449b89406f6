//! Two trees, what is told of their difference, and the patch that leads from one to the other.

#![allow(clippy::unwrap_used, reason = "a story that goes wrong ends")]

use std::{
    cell::Cell,
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::{self, Read},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
};

use proptest::prelude::*;
use pyro_change::{
    Action, Change, Kind, Layer, Marker, Meta, Options, Side, Status, Tree, apply, changes, parse,
};

/// A directory of this host.
struct Directory {
    root: PathBuf,
    looks: Cell<usize>,
}

impl Directory {
    fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), looks: Cell::new(0) }
    }

    fn at(&self, path: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(path))
    }
}

impl Tree for Directory {
    fn meta(&self, path: &[u8]) -> io::Result<Option<Meta>> {
        self.looks.set(self.looks.get() + 1);
        let Ok(found) = fs::symlink_metadata(self.at(path)) else { return Ok(None) };
        let kind = match found.file_type() {
            kind if kind.is_dir() => Kind::Directory,
            kind if kind.is_symlink() => Kind::Symlink,
            kind if kind.is_file() => Kind::Regular,
            _ => Kind::Other,
        };
        let target = fs::read_link(self.at(path)).ok();
        Ok(Some(Meta {
            kind,
            size: found.len(),
            mode: found.mode() & 0o7777,
            mtime: (found.mtime(), 0),
            uid: found.uid(),
            gid: found.gid(),
            links: found.nlink(),
            inode: found.ino(),
            link_target: target.map(|target| target.into_os_string().into_vec()),
        }))
    }

    fn names(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let entries = fs::read_dir(self.at(path))?;
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_vec()).collect();
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &[u8]) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(fs::File::open(self.at(path))?))
    }
}

/// What an overlay's upper layer would say, had it made the one of the other.
struct Touched<'a> {
    now: &'a Directory,
    was: &'a Directory,
}

impl Layer for Touched<'_> {
    fn has_shared(&self) -> io::Result<bool> {
        Ok(false)
    }

    fn touched(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Marker)>> {
        let mut names = BTreeMap::new();
        for name in self.was.names(path).unwrap_or_default() {
            names.insert(name, Marker::Hidden);
        }
        for name in self.now.names(path).unwrap_or_default() {
            let inner = [path, b"/", &name].concat();
            let inner = inner.strip_prefix(b"/").unwrap_or(&inner);
            let is_directory =
                |side: &Directory| side.at(inner).symlink_metadata().is_ok_and(|it| it.is_dir());
            let marker = match (is_directory(self.now), is_directory(self.was)) {
                (true, true) => Marker::Merged,
                (true, false) => Marker::Apart,
                _ => Marker::File,
            };
            names.insert(name, marker);
        }
        Ok(names.into_iter().collect())
    }
}

fn options() -> Options {
    Options {
        paths: Vec::new(),
        renames: false,
        patches: true,
        most_patch_bytes: 1 << 20,
        most_patches_bytes: 1 << 24,
        digests: false,
        most_entries: 100_000,
    }
}

fn difference(now: &Path, was: &Path, options: &Options) -> Vec<Change> {
    let (now, was) = (Directory::new(now), Directory::new(was));
    let layer = Touched { now: &now, was: &was };
    let mut all = Vec::new();
    let tally = changes(
        Side { merged: &now, layer: Some(&layer) },
        Side { merged: &was, layer: None },
        options,
        &mut |change| {
            all.push(change);
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(tally.entries, all.len() as u64);
    all
}

fn told(changes: &[Change]) -> Vec<String> {
    let path = |change: &Change| String::from_utf8_lossy(&change.path).into_owned();
    changes.iter().map(|change| format!("{:?} {}", change.status, path(change))).collect()
}

fn trees() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let (was, now) = (home.path().join("was"), home.path().join("now"));
    fs::create_dir(&was).unwrap();
    fs::create_dir(&now).unwrap();
    (home, was, now)
}

fn put(root: &Path, path: &str, content: &[u8]) {
    fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
    fs::write(root.join(path), content).unwrap();
}

#[test]
fn every_kind_of_change_is_told() {
    let (_home, was, now) = trees();
    for root in [&was, &now] {
        put(root, "same", b"same\n");
        put(root, "deep/er/same", b"same\n");
        symlink("same", root.join("link")).unwrap();
    }
    put(&was, "changed", b"a\n");
    put(&now, "changed", b"b\n");
    put(&was, "gone/a", b"x\n");
    put(&now, "new/a", b"x\n");
    fs::create_dir(now.join("new/empty")).unwrap();
    put(&was, "binary", b"\0one");
    put(&now, "binary", b"\0two");
    put(&was, "mode", b"m\n");
    put(&now, "mode", b"m\n");
    fs::set_permissions(now.join("mode"), fs::Permissions::from_mode(0o600)).unwrap();
    put(&was, "type", b"file\n");
    put(&now, "type/inner", b"t\n");
    symlink("here", was.join("leads")).unwrap();
    symlink("there", now.join("leads")).unwrap();
    fs::set_permissions(now.join("deep"), fs::Permissions::from_mode(0o700)).unwrap();
    let changes = difference(&now, &was, &options());
    let expected = [
        "Modified binary",
        "Modified changed",
        "Modified deep",
        "Deleted gone/a",
        "Modified leads",
        "Modified mode",
        "Added new/a",
        "Added new/empty",
        "TypeChanged type",
        "Added type/inner",
    ];
    assert_eq!(told(&changes), expected);
    let binary = &changes[0];
    assert!(binary.binary && binary.patch.is_none() && binary.now_digest != binary.was_digest);
    assert!(changes[5].patch.is_none() && !changes[5].patch_left_out);

    let some = Options { paths: vec![b"new".to_vec(), b"gone/a".to_vec()], ..options() };
    assert_eq!(
        told(&difference(&now, &was, &some)),
        ["Deleted gone/a", "Added new/a", "Added new/empty"]
    );
    let renames = Options { renames: true, ..options() };
    let changes = difference(&now, &was, &renames);
    assert_eq!(told(&changes)[5..7], ["Renamed new/a", "Added new/empty"]);
    assert_eq!(changes[5].old_path.as_deref(), Some(&b"gone/a"[..]));
    let few = Options { most_entries: 2, ..options() };
    assert_eq!(told(&difference(&now, &was, &few)).len(), 2);
    let short = Options { most_patch_bytes: 10, ..options() };
    assert!(difference(&now, &was, &short)[1].patch_left_out);
}

/// A layer in which one file of many was touched.
struct One;
impl Layer for One {
    fn has_shared(&self) -> io::Result<bool> {
        Ok(false)
    }

    fn touched(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Marker)>> {
        Ok(match path {
            b"" => vec![(b"many".to_vec(), Marker::Merged)],
            b"many" => vec![(b"7".to_vec(), Marker::File)],
            _ => Vec::new(),
        })
    }
}

/// A layer that was touched by one name.
struct Only(&'static [u8], Marker);
impl Layer for Only {
    fn has_shared(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn touched(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Marker)>> {
        Ok(if path.is_empty() { vec![(self.0.to_vec(), self.1)] } else { Vec::new() })
    }
}

#[test]
fn what_changed_by_another_of_its_names_is_told() {
    let (_home, was, now) = trees();
    for root in [&was, &now] {
        put(root, "a", b"first\n");
        fs::create_dir(root.join("deep")).unwrap();
        fs::hard_link(root.join("a"), root.join("deep/b")).unwrap();
        // Another file of several names, of which none was touched.
        put(root, "deep/c", b"same");
        fs::hard_link(root.join("deep/c"), root.join("d")).unwrap();
    }
    fs::write(now.join("a"), b"second\n").unwrap();
    let compare = |marker, paths: &[&[u8]]| {
        let (now, was) = (Directory::new(&now), Directory::new(&was));
        let layer = Only(b"a", marker);
        let options = Options { paths: paths.iter().map(|it| it.to_vec()).collect(), ..options() };
        let (is, had) =
            (Side { merged: &now, layer: Some(&layer) }, Side { merged: &was, layer: None });
        let mut all = Vec::new();
        changes(is, had, &options, &mut |change| {
            all.push(change);
            Ok(())
        })
        .unwrap();
        all
    };
    let all = compare(Marker::File, &[]);
    assert_eq!(told(&all), ["Modified a", "Modified deep/b"]);
    assert_eq!(
        all[1].patch.as_deref().map(<[u8]>::len),
        all[0].patch.as_deref().map(|it| it.len() + 4 * 5)
    );
    assert_eq!(told(&compare(Marker::File, &[b"deep"])), ["Modified deep/b"]);
    // The name by which it changed is gone since.
    fs::remove_file(now.join("a")).unwrap();
    assert_eq!(told(&compare(Marker::Hidden, &[])), ["Deleted a", "Modified deep/b"]);
}

#[test]
fn what_was_not_touched_is_not_looked_at() {
    let (_home, was, now) = trees();
    for number in 0..500 {
        put(&was, &format!("many/{number}"), b"x");
        put(&now, &format!("many/{number}"), b"x");
    }
    put(&now, "many/7", b"y");
    let (now, was) = (Directory::new(&now), Directory::new(&was));
    let mut all = Vec::new();
    let side = |merged, layer| Side { merged, layer };
    let mut keep = |change| {
        all.push(change);
        Ok(())
    };
    changes(side(&now, Some(&One)), side(&was, None), &options(), &mut keep).unwrap();
    assert_eq!(told(&all), ["Modified many/7"]);
    assert!(now.looks.get() < 10, "{}", now.looks.get());
}

/// A tree without an end.
struct Deep;
impl Tree for Deep {
    fn meta(&self, _: &[u8]) -> io::Result<Option<Meta>> {
        let (kind, link_target) = (Kind::Directory, None);
        let (mtime, links) = ((0, 0), 1);
        Ok(Some(Meta {
            kind,
            size: 0,
            mode: 0o755,
            mtime,
            uid: 0,
            gid: 0,
            links,
            inode: 1,
            link_target,
        }))
    }
    fn names(&self, _: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        Ok(vec![b"d".to_vec()])
    }
    fn open(&self, _: &[u8]) -> io::Result<Box<dyn Read + '_>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

#[test]
fn ten_thousand_levels_are_no_reason_to_fall_over() {
    let side = Side { merged: &Deep, layer: None };
    let tally = changes(side, side, &options(), &mut |_| Ok(())).unwrap();
    assert_eq!(tally.entries, 0);
}

/// A tree as it can be compared: of a patch, git keeps no more than whether a file is executable.
fn seen(root: &Path) -> BTreeMap<Vec<u8>, (u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut rest = vec![root.to_owned()];
    while let Some(directory) = rest.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let found = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            if found.is_dir() {
                rest.push(path);
            } else if found.is_symlink() {
                all.insert(name, (0, fs::read_link(&path).unwrap().into_os_string().into_vec()));
            } else {
                all.insert(name, (1 + (found.mode() & 0o100), fs::read(&path).unwrap()));
            }
        }
    }
    all
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

/// What git does with a patch, done with our own hands.
fn apply_to(root: &Path, patch: &[u8]) {
    let at = |name: &[u8]| root.join(OsStr::from_bytes(name));
    let files = parse(patch, b"/workspace").unwrap().files;
    let results: Vec<_> = files
        .iter()
        .map(|file| {
            let old = match (file.action, fs::read_link(at(&file.old))) {
                (Action::Add, _) => Vec::new(),
                (_, Ok(target)) => target.into_os_string().into_vec(),
                (_, Err(_)) => fs::read(at(&file.old)).unwrap(),
            };
            let mode = at(&file.old).symlink_metadata().map_or(0o644, |found| found.mode());
            (apply(&old, file).unwrap().content, file.mode.unwrap_or(mode))
        })
        .collect();
    for file in files.iter().filter(|file| file.action != Action::Add) {
        fs::remove_file(at(&file.old)).unwrap();
        let mut directory = at(&file.old);
        while directory.pop() && directory != root && fs::remove_dir(&directory).is_ok() {}
    }
    for (file, (content, mode)) in files.iter().zip(results) {
        if file.action == Action::Delete {
            continue;
        }
        let path = at(&file.new);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if mode & 0o170_000 == 0o120_000 {
            symlink(OsStr::from_bytes(&content), path).unwrap();
        } else {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o777)).unwrap();
        }
    }
}

#[derive(Clone, Debug)]
enum Item {
    File(String, bool),
    Link(String),
}

fn tree() -> impl Strategy<Value = BTreeMap<String, Item>> {
    let name = || prop::sample::select(vec!["a", "b c", "d", "\u{e4}\"", "e\t", "f"]);
    let path = prop::collection::vec(name(), 1..4).prop_map(|names| names.join("/"));
    let text =
        prop::collection::vec(prop::sample::select(vec!["x\n", "y\n", "\n", "z", "w\r\n"]), 0..8);
    let item = prop_oneof![
        4 => (text, any::<bool>()).prop_map(|(text, x)| Item::File(text.concat(), x)),
        1 => prop::sample::select(vec!["nowhere", "../out", "/etc/passwd"]).prop_map(|it| Item::Link(it.into())),
    ];
    prop::collection::btree_map(path, item, 0..10)
}

fn make(root: &Path, tree: &BTreeMap<String, Item>) {
    for (path, item) in tree {
        let path = root.join(path);
        // Where a file and a directory want the same name, the first has it.
        if fs::create_dir_all(path.parent().unwrap()).is_err() || path.symlink_metadata().is_ok() {
            continue;
        }
        match item {
            Item::Link(target) => symlink(target, path).unwrap(),
            Item::File(text, executable) => {
                fs::write(&path, text).unwrap();
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_difference_leads_from_one_tree_to_the_other(
        before in tree(),
        edits in tree(),
        keep in prop::collection::vec(any::<bool>(), 10),
        renames in any::<bool>(),
    ) {
        let (home, was, now) = trees();
        make(&was, &before);
        let kept = before.iter().zip(keep.iter().cycle()).filter(|(_, keep)| **keep);
        let mut after: BTreeMap<_, _> = kept.map(|((path, item), _)| (path.clone(), item.clone())).collect();
        after.extend(edits);
        make(&now, &after);
        let changes = difference(&now, &was, &Options { renames, ..options() });
        prop_assert_eq!(changes.is_empty(), seen(&now) == seen(&was));
        prop_assert!(changes.iter().all(|change| !change.patch_left_out));
        prop_assert!(changes.iter().all(|it| renames || it.status != Status::Renamed));
        let patch: Vec<u8> = changes.iter().filter_map(|change| change.patch.clone()).flatten().collect();
        if patch.is_empty() {
            return Ok(());
        }
        let (by_git, by_us) = (home.path().join("git"), home.path().join("us"));
        copy(&was, &by_git);
        copy(&was, &by_us);
        let patch_file = home.path().join("patch");
        fs::write(&patch_file, &patch).unwrap();
        let done = Command::new("git").arg("apply").arg(&patch_file).current_dir(&by_git).output().unwrap();
        let text = String::from_utf8_lossy(&patch).into_owned();
        prop_assert!(done.status.success(), "{}\n{text}", String::from_utf8_lossy(&done.stderr));
        prop_assert_eq!(seen(&by_git), seen(&now), "{}", text);
        apply_to(&by_us, &patch);
        prop_assert_eq!(seen(&by_us), seen(&now), "{}", text);
    }
}
