//! Environments: importing one, running in it, and never losing one that is in use.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use pyro_e2e::Home;

/// A root file system of a handful of files, taken out of `debian:12`.
fn tiny_root(home: &Home) -> Vec<u8> {
    let files =
        ["bin/sh", "bin/cat", "lib/x86_64-linux-gnu/libc.so.6", "lib64/ld-linux-x86-64.so.2"];
    let command = ["tar", "-C", "/", "-ch"].iter().chain(&files);
    home.run(command).ok().stdout
}

#[test]
fn a_root_file_system_is_imported_and_run_in() {
    let root = tiny_root(&Home::new());
    let home = Home::new().with_own_cache();
    let imported = home.pyro(["env", "import", "tiny", "-", "--json"]).stdin(root).ok().json();
    assert_eq!(imported["name"], "tiny");
    assert_eq!(imported["installed"], true);

    let list = home.pyro(["env", "list", "--json"]).ok().json();
    let names: Vec<_> =
        list["environments"].as_array().unwrap().iter().map(|e| &e["name"]).collect();
    for name in ["debian:12", "debian:12-base", "debian:12-build", "tiny"] {
        assert!(names.iter().any(|known| *known == name), "{name} in {names:?}");
    }
    let inspected = home.pyro(["env", "inspect", "tiny", "--json"]).ok().json();
    assert_eq!(inspected["source_digest"], imported["source_digest"]);

    let seen = home.pyro(["run", "-m", "256", "tiny", "--", "/bin/sh", "-c", "echo in $0"]).ok();
    assert_eq!(seen.text(), "in /bin/sh");
    home.pyro(["run", "-m", "256", "tiny", "--", "git"]).code(127);
}

#[test]
fn prune_never_removes_an_image_in_use() {
    let root = tiny_root(&Home::new());
    let home = Home::new().with_own_cache();
    let import = |root: &[u8]| {
        let imported = home.pyro(["env", "import", "tiny", "-", "--json"]).stdin(root).ok().json();
        PathBuf::from(imported["install_dir"].as_str().unwrap())
    };
    let first = import(&root);
    let workspace = home.workspace("tiny");
    workspace.sh("echo kept > file").ok();
    // Another image takes the name; the workspace stands on the first.
    let second = import(&with_one_more_file(&root));
    assert_ne!(first, second);
    let prune = || {
        home.pyro(["env", "prune"]).ok();
        (first.is_dir(), second.is_dir())
    };
    assert_eq!(prune(), (true, true));
    workspace.verb("stop").ok();
    home.kill_node();
    assert_eq!(prune(), (true, true));
    assert_eq!(workspace.exec(["cat", "file"]).ok().text(), "kept");

    home.pyro(["delete", workspace.id()]).ok();
    assert_eq!(prune(), (false, true));
    home.pyro(["run", "-m", "256", "tiny", "--", "cat", "/more"]).ok();
}

#[test]
fn a_deleted_environment_lives_on_in_the_workspaces_that_stand_on_it() {
    let root = tiny_root(&Home::new());
    let home = Home::new().with_own_cache();
    let imported = home.pyro(["env", "import", "tiny", "-", "--json"]).stdin(root).ok().json();
    let image = PathBuf::from(imported["install_dir"].as_str().unwrap());
    let workspace = home.workspace("tiny");
    let told = home.pyro(["env", "delete", "tiny", "--json"]).ok().json();
    assert_eq!((&told["deleted"], &told["count"]), (&true.into(), &0.into()), "{told}");
    home.pyro(["env", "delete", "tiny"]).fails("environment_unknown");
    home.pyro(["create", "tiny"]).fails("environment_unknown");
    workspace.verb("stop").ok();
    workspace.sh("echo still here").ok();
    assert!(image.is_dir());
    home.pyro(["delete", workspace.id()]).ok();
    let pruned = home.pyro(["env", "prune", "--json"]).ok().json();
    let deleted = pruned["deleted_environment_dirs"].as_array().unwrap();
    assert_eq!(*deleted, [image.to_str().unwrap()], "{pruned}");
    assert_eq!(pruned["count"], 1, "{pruned}");
    assert_eq!(pruned["deleted_initramfs_dirs"].as_array().unwrap().len(), 1, "{pruned}");
    assert!(!image.is_dir());
}

fn with_one_more_file(root: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    archive.append_data(&mut header, "more", &b"more\n"[..]).unwrap();
    // An archive is a run of entries: the old ones follow.
    let mut bytes = archive.into_inner().unwrap();
    bytes.truncate(1024);
    bytes.extend_from_slice(root);
    bytes
}

#[test]
fn what_is_no_archive_is_refused_and_leaves_nothing() {
    let home = Home::new().with_own_cache();
    let junk = vec![b'x'; 100_000];
    let seen = home.pyro(["env", "import", "junk", "-"]).stdin(junk).code(1);
    assert!(seen.error_text().starts_with("error: "), "{seen}");
    home.pyro(["env", "inspect", "junk"]).fails("environment_unknown");
}
