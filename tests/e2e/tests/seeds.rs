//! Seeds: what workspaces begin with.

#![allow(clippy::unwrap_used)]

use std::{
    ffi::OsStr,
    fs,
    io::{Read, Write},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt, fs::symlink, net::UnixStream},
    path::{Path, PathBuf},
    process::Command,
};

use pyro_e2e::{Home, wait_until};
use serde_json::{Value, json};

/// All that can be told of a tree: names, kinds, modes, sizes, times, targets and content.
const TELL: &str = "export LC_ALL=C
    find . -mindepth 1 -type d -print0 | sort -z | xargs -0 stat -c '%n|%f|%Y'
    find . -mindepth 1 ! -type d -print0 | sort -z | xargs -0 stat -c '%n|%f|%h|%s|%Y|%N'
    find . -type f -print0 | sort -z | xargs -0 sha256sum";

/// A tree with a file of every kind.
fn tree(home: &Home) -> PathBuf {
    let tree = place(home, "tree");
    let write = |name: &[u8], content: &[u8], mode: u32| {
        let path = tree.join(OsStr::from_bytes(name));
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir_all(tree.join("deep/er")).unwrap();
    fs::create_dir(tree.join("empty directory")).unwrap();
    fs::set_permissions(tree.join("deep/er"), fs::Permissions::from_mode(0o1770)).unwrap();
    write(b"plain.txt", b"hello\n", 0o640);
    write(b"run.sh", b"#!/bin/sh\necho ran\n", 0o755);
    write(b"set-id", b"x", 0o6755);
    write(b"nothing", b"", 0o600);
    write(b"deep/er/not \xff UTF-8 \n", b"named\n", 0o444);
    write(b" blank", &vec![7; 200_000], 0o644);
    for (target, name) in [("/etc/passwd", "absolute"), ("nowhere", "dangling"), ("../../x", "up")]
    {
        symlink(target, tree.join(name)).unwrap();
    }
    fs::hard_link(tree.join("plain.txt"), tree.join("deep/same")).unwrap();
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", 40 << 20).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::open(tree.join("run.sh")).unwrap().set_modified(old).unwrap();
    tree
}

fn told_here(tree: &Path) -> Vec<u8> {
    let told = Command::new("sh").args(["-c", TELL]).current_dir(tree).output().unwrap();
    assert!(told.status.success(), "{told:?}");
    told.stdout
}

/// Makes a workspace of these words: its payload, and what was said on stderr.
#[track_caller]
fn create(home: &Home, words: &[&str]) -> (Value, String) {
    let all = ["create", "-m", "256", "--id-only"].iter().chain(words);
    let seen = home.pyro(all).ok();
    (home.existing(&seen.text()).status(), seen.error_text())
}

/// A directory of its own.
fn place(home: &Home, name: &str) -> PathBuf {
    let place = home.scratch().join(name);
    fs::create_dir(&place).unwrap();
    place
}

fn id(workspace: &Value) -> &str {
    workspace["workspace_id"].as_str().unwrap()
}

/// A git that knows nothing of this host.
#[track_caller]
fn git(repository: &Path, words: &[&str]) {
    let status = Command::new("git")
        .arg("-C")
        .arg(repository)
        .args(["-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main"])
        .args(words)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .status();
    assert!(status.unwrap().success(), "git {words:?}");
}

#[test]
fn a_tree_of_every_kind_is_in_the_workspace_as_it_was() {
    let home = Home::new();
    let tree = tree(&home);
    let path = tree.to_str().unwrap();
    let (first, said) = create(&home, &["--seed-path", path]);
    let seed = &first["workspace_seed"];
    assert_eq!(seed["mode"], "directory");
    assert_eq!(seed["seed_path"], path);
    assert_eq!(seed["destination"], "/workspace");
    assert_eq!(seed["entry_count"], 14, "{seed}");
    assert_eq!(seed["reused"], false);
    assert!(said.contains("14 entries"), "{said}");
    let workspace = home.existing(id(&first));
    let seen = workspace.sh(TELL).ok().stdout;
    let here = told_here(&tree);
    assert_eq!(seen, here, "{}\n{}", seen.escape_ascii(), here.escape_ascii());
    let root = workspace.sh("stat -c '%a %u %g' /workspace; stat -c '%u:%g' plain.txt").ok();
    assert_eq!(root.text(), "755 0 0\n0:0");

    // Writing goes to the workspace alone; the next one begins with what was sent.
    let changed = "echo more >> plain.txt; cat deep/same; rm run.sh; : > deep/er/new; echo y > x";
    assert_eq!(workspace.sh(changed).ok().text(), "hello\nmore");
    let (second, said) = create(&home, &["--seed-path", path]);
    let seed = &second["workspace_seed"];
    assert_eq!(seed["reused"], true);
    assert_eq!(seed["seed_digest"], first["workspace_seed"]["seed_digest"]);
    assert!(said.contains("known from before"), "{said}");
    let other = home.existing(id(&second));
    assert_eq!(other.sh(TELL).ok().stdout, told_here(&tree));
    for workspace in [&workspace, &other] {
        workspace.verb("stop").ok();
    }
    assert_eq!(workspace.sh("cat plain.txt; ls x").ok().text(), "hello\nmore\nx");

    // A changed tree is another seed.
    fs::write(tree.join("plain.txt"), "HELLO\n").unwrap();
    let (third, _) = create(&home, &["--seed-path", path]);
    assert_eq!(third["workspace_seed"]["reused"], false);
    assert_eq!(home.existing(id(&third)).sh("cat deep/same").ok().text(), "HELLO");
}

#[test]
fn ignore_rules_and_secrets_are_told_and_left_out_where_asked() {
    let home = Home::new();
    let tree = place(&home, "tree");
    for (name, content) in
        [(".gitignore", "*.log\n"), ("a.log", "12345"), (".env", "KEY=1"), ("main.c", "x")]
    {
        fs::write(tree.join(name), content).unwrap();
    }
    let path = tree.to_str().unwrap();
    let listed = |workspace: &Value| home.existing(id(workspace)).sh("ls -A").ok().text();
    let (all, said) = create(&home, &["--seed-path", path]);
    assert_eq!(listed(&all), ".env\n.gitignore\na.log\nmain.c");
    assert!(said.contains("--respect-ignore"), "{said}");
    assert!(said.contains("secrets") && said.contains(".env"), "{said}");
    let words = ["create", "-m", "256", "--seed-path", path, "--json"];
    let report = &home.pyro(words).ok().json()["seed_report"];
    assert_eq!(report["ignored_entries"], 1, "{report}");
    assert_eq!(report["sensitive"], json!([".env"]));
    let words = ["--seed-path", path, "--respect-ignore", "--exclude", ".env"];
    let (some, said) = create(&home, &words);
    assert_eq!(listed(&some), ".gitignore\nmain.c");
    assert!(!said.contains("secrets"), "{said}");
}

#[test]
fn archives_are_seeds_whatever_their_compression_and_hostile_ones_are_not() {
    let home = Home::new();
    let tree = tree(&home);
    let archives = place(&home, "archives");
    let mut digests = Vec::new();
    for (name, flags) in [("a.tar", "-S"), ("a.tar.gz", "-z"), ("a.tar.zst", "-S")] {
        let archive = archives.join(name);
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&tree).args(["--sort=name", "-c", flags, "-f"]).arg(&archive).arg(".");
        assert!(tar.status().unwrap().success());
        if name == "a.tar.zst" {
            let packed = fs::read(&archive).unwrap();
            fs::write(&archive, zstd::encode_all(&packed[..], 0).unwrap()).unwrap();
        }
        let (made, _) = create(&home, &["--seed-path", archive.to_str().unwrap()]);
        assert_eq!(made["workspace_seed"]["mode"], "tar_archive");
        digests.push(made["workspace_seed"]["seed_digest"].clone());
        let seen = home.existing(id(&made)).sh(TELL).ok().stdout;
        assert_eq!(seen, told_here(&tree));
        home.pyro(["delete", id(&made)]).ok();
    }
    assert_eq!(digests[0], digests[2]);

    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..9].copy_from_slice(b"../escape");
    header.set_size(1);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, &b"x"[..]).unwrap();
    let hostile = builder.into_inner().unwrap();
    let path = archives.join("hostile.tar");
    fs::write(&path, &hostile).unwrap();
    let refused = home.pyro([OsStr::new("create"), OsStr::new("--seed-path"), path.as_os_str()]);
    refused.fails("archive_unsafe_name");
    let cut = archives.join("cut.tar");
    fs::write(&cut, &fs::read(archives.join("a.tar")).unwrap()[..5000]).unwrap();
    let refused = home.pyro([OsStr::new("create"), OsStr::new("--seed-path"), cut.as_os_str()]);
    refused.fails("archive_truncated");
    for (path, code) in
        [("/nowhere", "archive_open_failed"), ("/etc/passwd", "archive_unknown_format")]
    {
        home.pyro(["create", "--seed-path", path]).fails(code);
    }
    home.holds_only(&[]);

    // Nor does the node take it from somebody else.
    let (status, answer) = post(&home, "/v1/seeds", &hostile);
    assert_eq!((status, &answer["code"]), (400, &json!("archive_unsafe_name")), "{answer}");
    let body = json!({"seed": {"digest": "0".repeat(64), "mode": "directory"}}).to_string();
    let (status, answer) = post(&home, "/v1/workspaces", body.as_bytes());
    assert_eq!((status, &answer["code"]), (404, &json!("seed_not_found")), "{answer}");
    home.holds_only(&[]);
}

/// A call over the node's socket.
fn post(home: &Home, target: &str, body: &[u8]) -> (u16, Value) {
    let mut socket = UnixStream::connect(home.state().join("node.sock")).unwrap();
    let length = body.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: pyro\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(body).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, serde_json::from_str(body).unwrap())
}

#[test]
fn a_repository_gives_what_it_tracks_and_runs_nothing() {
    let home = Home::new();
    let repository = place(&home, "repository");
    let marks = place(&home, "marks");
    let mark = |name: &str| format!("sh -c 'touch {}/{name}; cat'", marks.display());
    git(&repository, &["init", "--quiet"]);
    fs::write(repository.join("tracked"), "committed\n").unwrap();
    fs::write(repository.join("lines"), "a\r\nb\r\n").unwrap();
    fs::write(repository.join("$Id"), "$Id$\n").unwrap();
    fs::write(repository.join(".gitignore"), "ignored\n").unwrap();
    git(&repository, &["add", "."]);
    git(&repository, &["commit", "--quiet", "-m", "first"]);
    git(&repository, &["tag", "v1"]);
    fs::write(repository.join(".gitattributes"), "* filter=evil ident\n*.t text eol=crlf\n")
        .unwrap();
    fs::write(repository.join("x.t"), "one\ntwo\n").unwrap();
    git(&repository, &["add", "."]);
    git(&repository, &["commit", "--quiet", "-m", "second"]);
    git(&repository, &["branch", "side", "v1"]);
    // From here on this repository would run things.
    for driver in ["smudge", "clean"] {
        git(&repository, &["config", &format!("filter.evil.{driver}"), &mark(driver)]);
    }
    git(&repository, &["config", "core.fsmonitor", &mark("fsmonitor")]);
    git(&repository, &["config", "http.extraHeader", "Authorization: hunter2"]);
    git(&repository, &["config", "remote.origin.url", "https://u:hunter2@e.invalid/r"]);
    for hook in ["post-checkout", "pre-commit", "post-merge", "reference-transaction"] {
        let path = repository.join(".git/hooks").join(hook);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{}\n", mark(hook))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(repository.join("tracked"), "changed\n").unwrap();
    fs::write(repository.join("ignored"), "x").unwrap();
    fs::write(repository.join("untracked"), "x").unwrap();

    let path = repository.to_str().unwrap();
    let (made, said) = create(&home, &["--seed-git", path]);
    assert_eq!(made["workspace_seed"]["mode"], "git");
    assert_eq!(made["workspace_seed"]["seed_path"], path);
    assert!(said.contains("not committed"), "{said}");
    let workspace = home.existing(id(&made));
    let seen = workspace.sh("ls -A; cat tracked '$Id'; od -An -c lines x.t | tr -d ' \\n'").ok();
    let listed = "$Id\n.git\n.gitattributes\n.gitignore\nlines\ntracked\nx.t\ncommitted\n$Id$\n";
    assert_eq!(seen.text(), format!("{listed}a\\r\\nb\\r\\none\\ntwo\\n"));
    let hidden = "cat .git/HEAD; grep -r hunter2 . ; ls .git/hooks .git/info/attributes 2>&1";
    let hidden = workspace.sh(hidden).seen().text();
    assert!(hidden.starts_with("ref: refs/heads/main\n"), "{hidden}");
    assert!(!hidden.contains("hunter2") && !hidden.contains("post-checkout"), "{hidden}");
    assert_eq!(fs::read_dir(&marks).unwrap().count(), 0, "something ran");

    let (again, _) = create(&home, &["--seed-git", path]);
    assert_eq!(again["workspace_seed"]["reused"], true);
    for reference in ["v1", "side"] {
        let (old, said) = create(&home, &["--seed-git", &format!("{path}@{reference}")]);
        let listed = home.existing(id(&old)).sh("ls").ok().text();
        assert_eq!(listed, "$Id\nlines\ntracked", "{reference}");
        assert!(!said.contains("not committed"), "{said}");
        home.pyro(["delete", id(&old)]).ok();
    }
    for bad in ["@--upload-pack=x", "@nothing", "@"] {
        let given = format!("{path}{bad}");
        home.pyro(["create", "--seed-git", &given]).fails("invalid_repository");
    }
    home.pyro(["create", "--seed-git", "ext::sh -c touch% x"]).fails("git_failed");
    let left = fs::read_dir(home.state().join("checkouts")).unwrap().count();
    assert_eq!(left, 0, "a checkout was left");
}

#[test]
fn a_seed_stays_while_a_workspace_stands_on_it() {
    let home = Home::new().with_own_images();
    let tree = place(&home, "tree");
    fs::write(tree.join("file"), "kept").unwrap();
    let (made, _) = create(&home, &["--seed-path", tree.to_str().unwrap()]);
    let digest = made["workspace_seed"]["seed_digest"].as_str().unwrap();
    let prune = || {
        let pruned = home.pyro(["env", "prune", "--json"]).ok().json();
        pruned["deleted_seed_dirs"].as_array().unwrap().len()
    };
    assert!(home.pyro(["df", "--json"]).ok().json()["seed_bytes"].as_u64().unwrap() > 0);
    assert_eq!(prune(), 0);
    let workspace = home.existing(id(&made));
    workspace.verb("stop").ok();
    assert_eq!(prune(), 0);
    assert_eq!(workspace.sh("cat file").ok().text(), "kept");
    workspace.verb("delete").ok();
    assert_eq!(prune(), 1);
    // What was pruned is sent again.
    let (again, _) = create(&home, &["--seed-path", tree.to_str().unwrap()]);
    assert_eq!(again["workspace_seed"]["seed_digest"], digest);
    assert_eq!(again["workspace_seed"]["reused"], false);
}

#[test]
fn whoever_dies_in_the_middle_leaves_no_half_of_a_seed() {
    let home = Home::new().with_own_images();
    home.pyro(["list"]).ok();
    let send_half = || {
        let mut socket = UnixStream::connect(home.state().join("node.sock")).unwrap();
        let head = "POST /v1/seeds HTTP/1.1\r\nHost: pyro\r\nContent-Length: 1000000\r\n\r\n";
        socket.write_all(head.as_bytes()).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_path("file").unwrap();
        header.set_size(900_000);
        header.set_mode(0o644);
        header.set_cksum();
        socket.write_all(header.as_bytes()).unwrap();
        socket.write_all(&vec![1; 300_000]).unwrap();
        wait_until(20, "a seed is being made", || !home.half_made().is_empty());
        socket
    };
    drop(send_half());
    wait_until(20, "what the client began is gone", || home.half_made().is_empty());
    let socket = send_half();
    home.kill_node();
    drop(socket);
    assert_eq!(home.half_made().len(), 1);
    home.pyro(["list"]).ok();
    wait_until(20, "what the node began is gone", || home.half_made().is_empty());
    assert_eq!(home.pyro(["env", "prune", "--json"]).ok().json()["deleted_seed_dirs"], json!([]));
}

#[test]
fn two_who_bring_the_same_files_at_once_share_one_seed() {
    let home = Home::new().with_own_images();
    let tree = place(&home, "tree");
    fs::write(tree.join("file"), pyro_e2e::random_bytes(24 << 20)).unwrap();
    home.pyro(["list"]).ok();
    let words = ["--seed-path", tree.to_str().unwrap()];
    let made: Vec<Value> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..3).map(|_| scope.spawn(|| create(&home, &words).0)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let digest = |made: &Value| made["workspace_seed"]["seed_digest"].clone();
    assert!(made.iter().all(|one| digest(one) == digest(&made[0])), "{made:?}");
    for one in &made {
        let sum = home.existing(id(one)).sh("sha256sum < file").ok().text();
        assert!(sum.starts_with(&pyro_e2e::sha256(&fs::read(tree.join("file")).unwrap())), "{sum}");
        home.existing(id(one)).verb("delete").ok();
    }
    // A template of the machine may be on its way, which is another's story.
    wait_until(60, "nothing is half made", || home.half_made().is_empty());
    let pruned = home.pyro(["env", "prune", "--json"]).ok().json();
    assert_eq!(pruned["deleted_seed_dirs"].as_array().unwrap().len(), 1, "{pruned}");
}
