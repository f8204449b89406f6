//! Trees as people have them, made of what the registries hold: a project with its packages, a virtual
//! environment, a repository with history, names that are no text. Each goes in, is changed, kept, taken
//! back, taken out and taken home, and is what it was or what it became, file by file.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    process::Command,
};

use pyro_e2e::{Home, sha256};

/// What is known of a name: kind and permissions, content, seconds of its time, and the first of its names.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Stands {
    mode: u32,
    content: Vec<u8>,
    mtime: i64,
    same_as: Option<Vec<u8>>,
}

type Tree = BTreeMap<Vec<u8>, Stands>;

/// All that is in a directory, without the times of directories if they do not matter.
fn tree(root: &Path, with_directory_times: bool) -> Tree {
    let (mut all, mut rest) = (Tree::new(), vec![root.to_owned()]);
    let mut paths = Vec::new();
    while let Some(directory) = rest.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                rest.push(path.clone());
            }
            paths.push(path);
        }
    }
    paths.sort();
    let mut first_of: HashMap<u64, Vec<u8>> = HashMap::new();
    for path in paths {
        let metadata = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let (is_file, is_directory) = (metadata.is_file(), metadata.is_dir());
        let content = if is_file {
            sha256(&fs::read(&path).unwrap()).into_bytes()
        } else if metadata.is_symlink() {
            fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else {
            Vec::new()
        };
        let first = first_of.entry(metadata.ino()).or_insert_with(|| name.clone());
        let same_as = (is_file && *first != name).then(|| first.clone());
        let mode = if metadata.is_symlink() { 0o120_777 } else { metadata.mode() };
        let mtime = if is_directory && !with_directory_times { 0 } else { metadata.mtime() };
        all.insert(name, Stands { mode, content, mtime, same_as });
    }
    all
}

#[track_caller]
fn assert_same(one: &Tree, other: &Tree, what: &str) {
    let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    for (name, stands) in one {
        assert_eq!(Some(stands), other.get(name), "{what}: {}", shown(name));
    }
    let more = other.keys().filter(|name| !one.contains_key(*name));
    assert_eq!(more.map(|name| shown(name)).collect::<Vec<_>>(), [""; 0], "{what}");
}

#[track_caller]
fn run(program: &str, words: &[&str], at: &Path) {
    let mut command = Command::new(program);
    command.args(words).current_dir(at).env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    for (key, value) in [("AUTHOR", "me"), ("COMMITTER", "me")] {
        command.env(format!("GIT_{key}_NAME"), value);
        command.env(format!("GIT_{key}_EMAIL"), "me@example.org");
    }
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {words:?}: {said}");
}

/// `what` makes a tree of this host; `changes` are made in the guest, `check` says there that all is well.
struct Journey<'a> {
    name: &'a str,
    changes: &'a str,
    check: &'a str,
}

impl Journey<'_> {
    #[track_caller]
    fn go(&self, home: &Home, seed: &Path) {
        let what = self.name;
        let scratch = home.scratch();
        let out = |name: &str| scratch.join(name);
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let workspace = home.workspace_with(&["debian:12", "--seed-path", &text(seed)]);
        let id = workspace.id();
        let export = |name: &str| {
            home.pyro(["export", id, "--output", &text(&out(name))]).ok();
        };

        // In and out: as it was.
        export("first");
        assert_same(&tree(seed, true), &tree(&out("first"), true), what);
        assert_eq!(home.pyro(["diff", id, "--json"]).ok().json()["changed"], false, "{what}");
        workspace.sh(self.check).ok();

        // Changed, kept, changed on, and taken back to what was kept.
        workspace.sh(self.changes).ok();
        export("changed");
        home.pyro(["snapshot", "create", id, "kept"]).ok();
        let kept = home.pyro(["diff", id, "--json"]).ok().json();
        assert_eq!(kept["changed"], true, "{what}");
        workspace.sh("rm -rf ./* .[!.]*; echo lost > lost").ok();
        home.pyro(["reset", id, "--snapshot", "kept"]).ok();
        export("back");
        assert_same(&tree(&out("changed"), true), &tree(&out("back"), true), what);
        let again = home.pyro(["diff", id, "--json"]).ok().json();
        assert_eq!(again["entries"], kept["entries"], "{what}");
        workspace.sh(self.check).ok();

        // The difference, as git applies it, leads from the one to the other.
        let copy = out("applied");
        run("cp", &["-a", &text(seed), &text(&copy)], &scratch);
        let patch = home.pyro(["diff", id, "--patch"]).ok().stdout;
        fs::write(out("patch"), &patch).unwrap();
        run("git", &["apply", "--whitespace=nowarn", &text(&out("patch"))], &copy);
        let timeless = |path: &Path| {
            let mut all = tree(path, false);
            // No patch tells of times, nor of directories that are empty, of links' counts, of `.git`, and
            // of modes only whether a file can be executed.
            all.retain(|name, it| it.mode & 0o170_000 != 0o040_000 && !name.starts_with(b".git/"));
            for it in all.values_mut() {
                (it.mode, it.mtime, it.same_as) = (it.mode & 0o170_100, 0, None);
            }
            all
        };
        assert_same(&timeless(&out("changed")), &timeless(&copy), what);

        // Taken home, onto another copy: file by file what it became.
        export("last");
        let taken = out("taken");
        run("cp", &["-a", &text(seed), &text(&taken)], &scratch);
        home.pyro(["sync", "pull", id, "--to", &text(&taken)]).ok();
        let linkless = |path: &Path| {
            let mut all = tree(path, false);
            for it in all.values_mut() {
                it.same_as = None;
            }
            all
        };
        assert_same(&linkless(&out("last")), &linkless(&taken), what);

        // And from a stopped machine, from its disk alone.
        home.pyro(["stop", id]).ok();
        assert_eq!(
            home.pyro(["diff", id, "--json", "--no-start"]).ok().json()["entries"],
            kept["entries"]
        );
        home.pyro(["delete", id]).ok();
    }
}

fn project(home: &Home) -> PathBuf {
    let root = home.scratch().join("project");
    fs::create_dir(&root).unwrap();
    root
}

#[test]
fn a_node_project_with_its_packages() {
    let home = Home::new();
    let root = project(&home);
    fs::write(root.join("package.json"), r#"{"name":"p","version":"1.0.0","private":true}"#)
        .unwrap();
    let quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    let packages = ["install", "semver@7.6.3", "acorn@8.12.1", "mkdirp@3.0.1"];
    run("npm", &[&packages[..], &quiet].concat(), &root);
    assert!(root.join("node_modules/.bin/semver").is_symlink());
    let journey = Journey {
        name: "node",
        changes: "sed -i s/1.0.0/1.0.1/ package.json; rm -r node_modules/mkdirp
            mv node_modules/acorn node_modules/oak; ln -sfn ../oak/bin/acorn node_modules/.bin/acorn
            chmod +x node_modules/semver/README.md; mkdir -p src; echo 'export {}' > src/index.js",
        check: "test -x node_modules/.bin/semver",
    };
    journey.go(&home, &root);
}

#[test]
fn a_virtual_environment() {
    let home = Home::new();
    let root = project(&home);
    run("python3", &["-m", "venv", ".venv"], &root);
    let packages = ["-m", "pip", "install", "--quiet", "packaging==24.1", "wheel==0.44.0"];
    run(".venv/bin/python", &packages, &root);
    fs::write(root.join("main.py"), "import packaging\n").unwrap();
    let journey = Journey {
        name: "venv",
        changes: "echo 'import wheel' >> main.py; rm .venv/lib/python3*/site-packages/wheel/*.py
            mv .venv/bin/activate .venv/bin/enter; chmod 600 .venv/pyvenv.cfg
            ln -sfn /usr/bin/python3 .venv/bin/python; printf '\\n' >> .venv/bin/pip",
        check: "test -e .venv/pyvenv.cfg && test -L .venv/bin/python",
    };
    journey.go(&home, &root);
}

#[test]
fn a_repository_with_history() {
    let home = Home::new();
    let root = project(&home);
    let git = |words: &[&str]| run("git", words, &root);
    git(&["init", "-q", "-b", "main"]);
    for number in 0..40 {
        fs::write(root.join(format!("file{}", number % 7)), format!("{number}\n").repeat(20))
            .unwrap();
        git(&["add", "."]);
        git(&["commit", "-qm", &format!("commit {number}")]);
        if number == 20 {
            git(&["tag", "-a", "-m", "halfway", "v1"]);
            git(&["gc", "-q"]);
        }
    }
    git(&["branch", "other", "HEAD~3"]);
    fs::write(root.join("untracked"), "x").unwrap();
    let journey = Journey {
        name: "git",
        changes: "echo more >> file1; git checkout -q -b work; git add -A
            git -c user.name=me -c user.email=me@example.org commit -qm more
            git mv file2 moved; echo open >> file3",
        check: "git fsck --full --strict && git log --oneline v1 && git status --short",
    };
    journey.go(&home, &root);
}

#[test]
fn names_that_are_no_text() {
    let home = Home::new();
    let root = project(&home);
    let name = |bytes: &[u8]| root.join(OsStr::from_bytes(bytes));
    fs::create_dir(name(b"d\xffr")).unwrap();
    for bytes in
        [&b"\xff"[..], b"d\xffr/\xfe\x01", b"a b", b"\xe4", b"tab\there", b"quote\"back\\slash"]
    {
        fs::write(name(bytes), bytes).unwrap();
    }
    std::os::unix::fs::symlink(OsStr::from_bytes(b"\xff"), name(b"link\xff")).unwrap();
    fs::hard_link(name(b"\xff"), name(b"same\xff")).unwrap();
    let journey = Journey {
        name: "names",
        changes: "printf more >> \"$(printf '\\377')\"; rm \"$(printf '\\344')\"; mv 'a b' 'b  c'
            printf x > \"$(printf 'd\\377r/new\\200')\"; printf y > \"$(printf 'line\\nbreak')\"",
        check: "test -e \"$(printf 'd\\377r')\"",
    };
    journey.go(&home, &root);
}
