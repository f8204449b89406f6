//! Whoever dies in the middle of what goes in or out: nothing is lost that was there, and nothing that is
//! half done is to be seen, here or in the workspace.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::Write,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use pyro_e2e::{Home, Workspace, random_bytes, wait_until};

/// Who dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Victim {
    Node,
    Keeper,
    Vmm,
    Client,
}

/// Files that take their time on the way, each with its digest.
const FILES: usize = 24;
const SIZE: usize = 4 << 20;

fn fill(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    for number in 0..FILES {
        fs::write(directory.join(format!("f{number:02}")), random_bytes(SIZE)).unwrap();
    }
}

#[track_caller]
fn kill(home: &Home, workspace: &Workspace<'_>, client: &pyro_e2e::Client, victim: Victim) {
    match victim {
        Victim::Node => home.kill_node(),
        Victim::Keeper => workspace.keeper().kill(),
        Victim::Vmm => workspace.vmm().kill(),
        Victim::Client => client.process().kill(),
    }
    if matches!(victim, Victim::Keeper | Victim::Vmm) {
        wait_until(60, "the death is noticed", || workspace.state() == "stopped");
    }
}

/// The names below a directory that no user gave.
fn odd_names(directory: &Path) -> Vec<PathBuf> {
    let (mut odd, mut rest) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = rest.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().as_encoded_bytes().starts_with(b".pyro-") {
                odd.push(path.clone());
            }
            if path.symlink_metadata().unwrap().is_dir() {
                rest.push(path);
            }
        }
    }
    odd
}

/// It runs, is as it was and has no trace of what was on its way.
#[track_caller]
fn is_sound(workspace: &Workspace<'_>) {
    assert_eq!(workspace.sh("cat kept").ok().text(), "kept");
    let odd =
        workspace.sh("find / -xdev -name '.pyro-*' 2>/dev/null; find /workspace -name '.pyro-*'");
    assert_eq!(odd.seen().text(), "");
}

fn push_is_cut_off(victim: Victim) {
    let home = Home::new();
    let source = home.scratch().join("source");
    fill(&source);
    let workspace = home.workspace("debian:12");
    // One of them is there already, as something else.
    workspace.sh("echo kept > kept; mkdir in; echo old > in/f12; sync").ok();
    let sums: Vec<String> = (0..FILES)
        .map(|it| pyro_e2e::sha256(&fs::read(source.join(format!("f{it:02}"))).unwrap()))
        .collect();
    let words = ["sync", "push", workspace.id(), source.to_str().unwrap(), "--dest", "in"];
    let pushing = home.pyro(words).start();
    let seen = || workspace.sh("ls in").seen().text().lines().count();
    wait_until(60, "some of it is there", || seen() > 2);
    kill(&home, &workspace, &pushing, victim);
    assert_ne!(pushing.end().exit_code(), Some(0), "{victim:?}");
    // Where its guest lives on, it hears of it in time.
    let drafts = "find / -name '.pyro-*' -not -path '/proc/*' 2>/dev/null";
    wait_until(60, "nobody takes any more", || workspace.sh(drafts).seen().text().is_empty());
    is_sound(&workspace);
    // Each is whole, or is what it was, or is not there.
    let listed = workspace.sh("cd in; sha256sum * | sort -k 2").ok().text();
    for line in listed.lines() {
        let (sum, name) = line.split_once("  ").unwrap();
        let number: usize = name.trim_start_matches('f').parse().unwrap();
        let is_old = number == 12 && workspace.sh("cat in/f12").ok().text() == "old";
        assert!(is_old || sums[number] == sum, "{victim:?}: {line}");
    }
    // And again, to the end.
    home.pyro(words).ok();
    assert_eq!(seen(), FILES);
    is_sound(&workspace);
}

fn export_is_cut_off(victim: Victim) {
    let home = Home::new();
    let source = home.scratch().join("source");
    fill(&source);
    let workspace = home.workspace_with(&["debian:12", "--seed-path", source.to_str().unwrap()]);
    workspace.sh("echo kept > kept; sync").ok();
    let place = home.scratch().join("place");
    fs::create_dir(&place).unwrap();
    for format in ["dir", "tar"] {
        let output = place.join("out");
        let words =
            ["export", workspace.id(), "--output", output.to_str().unwrap(), "--format", format];
        let exporting = home.pyro(words).start();
        wait_until(60, "some of it is here", || {
            let drafts = fs::read_dir(&place).unwrap().map(|it| it.unwrap().path());
            drafts.into_iter().any(|draft| size(&draft) > 5 << 20)
        });
        kill(&home, &workspace, &exporting, victim);
        let seen = exporting.end();
        assert_ne!(seen.exit_code(), Some(0), "{victim:?}");
        if victim == Victim::Vmm {
            // The node says why, behind what it had sent.
            assert!(seen.error_text().contains("cannot export the files"), "{seen}");
        }
        assert!(!output.exists(), "{victim:?}");
        if victim != Victim::Client {
            assert_eq!(odd_names(&place), [""; 0].map(PathBuf::from), "{victim:?}");
        }
        is_sound(&workspace);
        home.pyro(words).ok();
        assert!(output.exists());
        // What a dead client left goes with the next one that comes by.
        assert_eq!(odd_names(&place), [""; 0].map(PathBuf::from), "{victim:?}");
        fs::rename(&output, home.scratch().join(format!("whole-{format}"))).unwrap();
    }
    for number in 0..FILES {
        let name = format!("f{number:02}");
        let whole = home.scratch().join("whole-dir").join(&name);
        assert!(fs::read(whole).unwrap() == fs::read(source.join(&name)).unwrap(), "{name}");
    }
}

/// Bytes of a file, or of all in a directory.
fn size(path: &Path) -> u64 {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| size(&entry.path())).sum()
        }
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    }
}

fn pull_is_cut_off(victim: Victim) {
    let home = Home::new();
    let source = home.scratch().join("source");
    fill(&source);
    let workspace = home.workspace("debian:12");
    workspace.sh("echo kept > kept; sync").ok();
    home.pyro(["sync", "push", workspace.id(), source.to_str().unwrap()]).ok();
    workspace.sh("sync").ok();
    let here = home.scratch().join("here");
    fs::create_dir(&here).unwrap();
    let words = ["sync", "pull", workspace.id(), "--to", here.to_str().unwrap()];
    let pulling = home.pyro(words).start();
    wait_until(60, "some of it is here", || size(&here) > 5 << 20);
    kill(&home, &workspace, &pulling, victim);
    assert_ne!(pulling.end().exit_code(), Some(0), "{victim:?}");
    let names = || -> Vec<_> {
        let names = fs::read_dir(&here).unwrap().map(|it| it.unwrap().file_name());
        names.filter(|name| !name.as_encoded_bytes().starts_with(b".pyro-")).collect()
    };
    // Nothing is here under its name before all of it came.
    assert_eq!(names(), [""; 0], "{victim:?}");
    if victim != Victim::Client {
        assert_eq!(odd_names(&here), [""; 0].map(PathBuf::from), "{victim:?}");
    }
    is_sound(&workspace);
    home.pyro(words).ok();
    assert_eq!(names().len(), FILES + 1);
    assert_eq!(odd_names(&here), [""; 0].map(PathBuf::from), "{victim:?}");
}

/// A machine that dies in the middle of one file, and what its disk shows before it starts again.
#[test]
fn a_machine_that_dies_in_a_file_leaves_no_draft_of_it() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    workspace.sh("echo kept > kept; echo old > file; sync").ok();
    // Half of what comes for it, and then nothing more.
    let mut socket = UnixStream::connect(home.state().join("node.sock")).unwrap();
    let head = format!(
        "PUT /v1/workspaces/{}/archive?path=/workspace HTTP/1.1\r\nHost: pyro\r\nContent-Type: application/x-tar\r\nContent-Length: 100000000\r\n\r\n",
        workspace.id()
    );
    socket.write_all(head.as_bytes()).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_path("file").unwrap();
    header.set_size(64 << 20);
    header.set_mode(0o644);
    header.set_cksum();
    socket.write_all(header.as_bytes()).unwrap();
    socket.write_all(&random_bytes(24 << 20)).unwrap();
    wait_until(60, "it is on its way", || {
        // So that it is on the disk, too.
        workspace.sh("sync; find /workspace -name '.pyro-draft-*' -size +8M").seen().text() != ""
    });
    // Whoever looks does not see it, and it is in no difference.
    assert_eq!(home.pyro(["file", "list", workspace.id()]).ok().text().matches(".pyro").count(), 0);
    assert_eq!(home.pyro(["diff", workspace.id(), "--name-only"]).ok().text(), "file\nkept");
    home.pyro(["snapshot", "create", workspace.id(), "amid"]).ok();
    workspace.vmm().kill();
    drop(socket);
    wait_until(60, "it is stopped", || workspace.state() == "stopped");
    let listed = home.pyro(["disk", "list", workspace.id(), "--json"]).ok().json();
    let names: Vec<_> =
        listed["entries"].as_array().unwrap().iter().map(|it| it["path"].clone()).collect();
    assert_eq!(names, ["/workspace/file", "/workspace/kept"]);
    is_sound(&workspace);
    assert_eq!(workspace.sh("cat file").ok().text(), "old");
    // Nor does a snapshot of that moment bring it back.
    home.pyro(["reset", workspace.id(), "--snapshot", "amid"]).ok();
    is_sound(&workspace);
    assert_eq!(workspace.sh("cat file; ls -A").ok().text(), "old\nfile\nkept");
}

/// Each of who may die, as a test with a name.
macro_rules! by_the_death {
    ($story:ident: $($name:ident $victim:ident),+ $(,)?) => { $(
        #[test]
        fn $name() {
            $story(Victim::$victim);
        }
    )+ };
}

by_the_death! { push_is_cut_off:
    a_push_is_cut_off_by_the_death_of_the_node Node,
    a_push_is_cut_off_by_the_death_of_the_keeper Keeper,
    a_push_is_cut_off_by_the_death_of_the_vm Vmm,
    a_push_is_cut_off_by_the_death_of_its_client Client,
}

by_the_death! { export_is_cut_off:
    an_export_is_cut_off_by_the_death_of_the_node Node,
    an_export_is_cut_off_by_the_death_of_the_keeper Keeper,
    an_export_is_cut_off_by_the_death_of_the_vm Vmm,
    an_export_is_cut_off_by_the_death_of_its_client Client,
}

by_the_death! { pull_is_cut_off:
    a_pull_is_cut_off_by_the_death_of_the_node Node,
    a_pull_is_cut_off_by_the_death_of_the_keeper Keeper,
    a_pull_is_cut_off_by_the_death_of_the_vm Vmm,
    a_pull_is_cut_off_by_the_death_of_its_client Client,
}
