//! Files into a workspace that runs, and out of one.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use pyro_e2e::{Home, Terminal};

/// A tree with a file of every kind.
fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("src/deep")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("src/a file"), "text\n").unwrap();
    fs::write(root.join("src/deep/none"), "").unwrap();
    fs::write(root.join("run"), "#!/bin/sh\necho ran\n").unwrap();
    fs::set_permissions(root.join("run"), fs::Permissions::from_mode(0o751)).unwrap();
    fs::hard_link(root.join("run"), root.join("src/also")).unwrap();
    symlink("/nowhere", root.join("absolute")).unwrap();
    symlink("../../..", root.join("src/up")).unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    fs::write(root.join("bytes"), bytes).unwrap();
    let odd = unsafe_name();
    fs::write(root.join(odd), "odd").unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
}

fn unsafe_name() -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(b"n\xffame".to_vec())
}

/// Everything that is to be the same: kinds, modes, times, links, content.
fn seen(root: &Path) -> String {
    let script = "find . -mindepth 1 -printf '%P %y %m %T@ %n %l\\n' | sort; \
                  find . -type f -exec sha256sum {} + | sort";
    let seen = Command::new("sh").args(["-c", script]).current_dir(root).output().unwrap();
    assert!(seen.status.success());
    String::from_utf8_lossy(&seen.stdout).into_owned()
}

#[test]
fn a_tree_goes_in_and_comes_out_as_it_was() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let id = workspace.id();
    let here = home.scratch();
    let tree = here.join("tree");
    make_tree(&tree);
    let source = tree.to_str().unwrap();
    let pushed = home.pyro(["sync", "push", id, source, "--dest", "/opt/it", "--json"]).ok().json();
    assert_eq!(pushed["workspace_sync"]["mode"], "directory");
    assert_eq!(pushed["workspace_sync"]["destination"], "/opt/it");
    assert_eq!(workspace.exec(["/opt/it/run"]).ok().text(), "ran");
    assert_eq!(
        workspace.sh("stat -c '%a %u %h' /opt/it/run; readlink /opt/it/absolute").ok().text(),
        "751 0 2\n/nowhere"
    );

    let out = here.join("out");
    let output = out.to_str().unwrap();
    let exported = home.pyro(["export", id, "/opt/it", "--output", output, "--json"]).ok().json();
    assert_eq!(exported["artifact_type"], "directory");
    assert_eq!(exported["workspace_path"], "/opt/it");
    assert_eq!(seen(&out), seen(&tree));
    assert!(fs::metadata(out.join("sparse")).unwrap().blocks() < 1000, "holes stay holes");
    home.pyro(["export", id, "/opt/it", "--output", output]).fails("output_exists");
    workspace.sh("rm /opt/it/bytes").ok();
    home.pyro(["export", id, "/opt/it", "--output", output, "--force"]).ok();
    assert!(!out.join("bytes").exists());

    // As an archive, and from one.
    let tar = here.join("it.tar.zst");
    let output = tar.to_str().unwrap();
    home.pyro(["export", id, "/opt/it", "--output", output, "--format", "tar.zst"]).ok();
    home.pyro(["sync", "push", id, output, "--dest", "/opt/again"]).ok();
    let same = workspace.sh("cd /opt && diff -r --no-dereference it again && echo same").ok();
    assert_eq!(same.text(), "same");

    // What is not in the source goes, where that is asked for.
    let small = here.join("small");
    fs::create_dir(&small).unwrap();
    fs::write(small.join("run"), "new").unwrap();
    fs::write(small.join("left.log"), "log").unwrap();
    let words = [
        "sync",
        "push",
        id,
        small.to_str().unwrap(),
        "--dest",
        "/opt/it",
        "--delete",
        "--exclude",
        "*.log",
    ];
    home.pyro(words).ok();
    assert_eq!(workspace.sh("ls -A /opt/it; cat /opt/it/run").ok().text(), "run\nnew");
    assert_eq!(names(&here), ["it.tar.zst", "out", "small", "tree"], "nothing is left beside");
    home.pyro(["sync", "push", id, "/nowhere/at/all"]).fails("archive_open_failed");
    home.pyro(["sync", "push", id, "/etc/hostname"]).fails("archive_unknown_format");
    home.pyro(["export", id, "nothing", "--output", "x"])
        .from_directory(&here)
        .fails("file_not_found");
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|it| it.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn files_are_copied_both_ways() {
    let home = Home::new();
    let workspace = home.workspace_with(&["--name", "web"]);
    let here = home.scratch();
    fs::write(here.join("file"), "here\n").unwrap();
    let copy = |words: &[&str]| home.pyro([&["cp"], words].concat()).from_directory(&here);
    copy(&["file", "web:"]).ok();
    copy(&["file", "web:new/name"]).ok();
    copy(&["file", "web:/etc"]).ok();
    assert_eq!(workspace.sh("cat file new/name /etc/file").ok().text(), "here\nhere\nhere");
    workspace.sh("echo there > new/name; ln -s /etc/passwd new/link").ok();
    copy(&["web:new/name", "back"]).ok();
    copy(&["web:new/name", "."]).ok();
    copy(&["web:new", "whole"]).ok();
    assert_eq!(fs::read_to_string(here.join("back")).unwrap(), "there\n");
    assert_eq!(fs::read_to_string(here.join("name")).unwrap(), "there\n");
    assert_eq!(fs::read_link(here.join("whole/link")).unwrap(), Path::new("/etc/passwd"));
    copy(&["web:new/name", "back"]).fails("output_exists");
    copy(&["web:new/link", "link"]).ok();
    assert!(here.join("link").is_symlink());
    copy(&["file", "other"]).code(2);
}

#[test]
fn what_was_changed_is_taken_home() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let id = workspace.id();
    let here = home.scratch().join("here");
    fs::create_dir(&here).unwrap();
    let to = here.to_str().unwrap();
    workspace.sh("mkdir -p src; echo new > src/a; printf '#!/bin/sh\\n' > run; chmod 755 run; ln -s a src/link").ok();
    let pull = |words: &[&str]| home.pyro([&["sync", "pull", id, "--to", to], words].concat());
    let checked = pull(&["--check"]).ok();
    assert!(
        checked.text().contains("written   run  ! a new file that can be executed"),
        "{checked}"
    );
    assert_eq!(names(&here), [""; 0]);
    pull(&["src"]).ok();
    assert_eq!(names(&here), ["src"]);
    pull(&[]).ok();
    assert_eq!(fs::read_to_string(here.join("src/a")).unwrap(), "new\n");
    assert_eq!(fs::metadata(here.join("run")).unwrap().mode() & 0o777, 0o755);
    // Again: all of it is here already.
    assert_eq!(pull(&[]).ok().text(), "");
    // This host's file is its own once it was changed here.
    fs::write(here.join("src/a"), "mine\n").unwrap();
    workspace.sh("echo newer > src/a; echo more > more").ok();
    pull(&[]).fails("pull_conflict");
    assert!(!here.join("more").exists(), "nothing is taken where there is a conflict");
    pull(&["--check"]).code(1);
    pull(&["--skip-conflicts"]).ok();
    assert_eq!(fs::read_to_string(here.join("src/a")).unwrap(), "mine\n");
    assert_eq!(fs::read_to_string(here.join("more")).unwrap(), "more\n");
    // What is something else now gives way, and what is gone goes.
    workspace.sh("rm run more; mkdir run more; echo in > run/in; rm -r src; echo file > src").ok();
    // What was taken is known: nothing of it was changed here.
    pull(&["run", "more"]).ok();
    assert_eq!(fs::read_to_string(here.join("run/in")).unwrap(), "in\n");
    assert!(here.join("more").is_dir());
    // No link of this host leads what is taken elsewhere.
    let outside = home.scratch().join("outside");
    fs::create_dir(&outside).unwrap();
    workspace.sh("mkdir sub; echo x > sub/x").ok();
    symlink(&outside, here.join("sub")).unwrap();
    pull(&["sub"]).fails("pull_conflict");
    assert_eq!(names(&outside), [""; 0]);
    assert_eq!(names(&here), ["more", "run", "src", "sub"], "nothing is left beside");
}

#[test]
fn a_pull_knows_what_was_taken_before() {
    let home = Home::new();
    let here = home.scratch().join("here");
    fs::create_dir_all(here.join("deep")).unwrap();
    for name in ["kept", "edited", "gone", "deep/old"] {
        fs::write(here.join(name), format!("{name}\n")).unwrap();
    }
    let to = here.to_str().unwrap();
    let workspace = home.workspace_with(&["debian:12", "--seed-path", to]);
    let pull =
        |words: &[&str]| home.pyro([&["sync", "pull", workspace.id(), "--to", to], words].concat());
    let has = |name: &str, text: &str| {
        assert_eq!(fs::read_to_string(here.join(name)).unwrap(), format!("{text}\n"), "{name}");
    };

    workspace.sh("echo 1 > new; echo 1 > edited; rm gone; mv deep/old deep/moved").ok();
    pull(&[]).ok();
    has("new", "1");
    has("edited", "1");
    has("deep/moved", "deep/old");
    assert!(!here.join("gone").exists() && !here.join("deep/old").exists());
    // On and on, as work goes on, without a word about conflicts.
    for turn in ["2", "3"] {
        workspace.sh(&format!("echo {turn} > new; echo {turn} > edited; echo {turn} > gone")).ok();
        pull(&[]).ok();
        has("new", turn);
        has("edited", turn);
        has("gone", turn);
    }
    // What the workspace takes back is taken back here.
    workspace.sh("rm new; echo edited > edited; echo gone > gone; mv deep/moved deep/old").ok();
    pull(&[]).ok();
    has("edited", "edited");
    has("gone", "gone");
    has("deep/old", "deep/old");
    assert!(!here.join("new").exists() && !here.join("deep/moved").exists());
    assert_eq!(pull(&[]).ok().text(), "");

    // What was changed on both sides since is a conflict; where only here, it stays.
    workspace.sh("echo theirs > edited; echo theirs > kept").ok();
    pull(&[]).ok();
    fs::write(here.join("edited"), "mine\n").unwrap();
    assert_eq!(pull(&[]).ok().text(), "");
    has("edited", "mine");
    workspace.sh("echo both > edited").ok();
    pull(&[]).fails("pull_conflict");
    pull(&["kept"]).ok();
    pull(&["--force"]).ok();
    has("edited", "both");

    // Another directory is another story, and a deleted workspace is forgotten.
    let other = home.scratch().join("other");
    fs::create_dir(&other).unwrap();
    let away = ["sync", "pull", workspace.id(), "--to", other.to_str().unwrap()];
    home.pyro(away).fails("pull_conflict");
    assert_eq!(names(&home.state().join("pulls")).len(), 1);
    home.pyro(["delete", workspace.id()]).ok();
    let workspace = home.workspace_with(&["debian:12", "--seed-path", to]);
    home.pyro(["sync", "pull", workspace.id(), "--to", to]).ok();
    let kept = names(&home.state().join("pulls"));
    assert!(kept.iter().all(|name| name.starts_with(workspace.id())), "{kept:?}");
}

#[test]
fn a_person_chooses_what_is_taken_home() {
    let home = Home::new();
    let here = home.scratch().join("here");
    fs::create_dir(&here).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(here.join(name), "first\n").unwrap();
    }
    let to = here.to_str().unwrap();
    let workspace = home.workspace_with(&["debian:12", "--seed-path", to]);
    workspace.sh("for n in a b c d e f; do echo second > $n; done").ok();
    fs::write(here.join("c"), "mine\n").unwrap();
    let words = ["sync", "pull", workspace.id(), "--to", to, "--interactive"];
    let refused = home.pyro(words).seen();
    assert!(refused.error_text().contains("there is no terminal"), "{refused}");

    let mut terminal = Terminal::open(&home, &words, 100, 40);
    let mut answer = |question: &str, key: &str| {
        terminal.wait_for(question);
        terminal.keys(&format!("{key}\r"));
    };
    answer("Take a? [y/n/d/a/q/?]", "?");
    answer("show the difference", "d");
    answer("+second", "y");
    answer("Take b?", "n");
    answer("Write over what was changed here: c?", "n");
    answer("Take new d?", "y");
    answer("Take new e?", "q");
    assert_eq!(terminal.end(), Some(0));
    let has = |name: &str, text: &str| {
        assert_eq!(fs::read_to_string(here.join(name)).unwrap(), format!("{text}\n"), "{name}");
    };
    has("a", "second");
    has("b", "first");
    has("c", "mine");
    assert_eq!(names(&here), ["a", "b", "c", "d"]);

    // The rest, but for what is a conflict.
    let mut terminal = Terminal::open(&home, &words, 100, 40);
    terminal.wait_for("Take b?");
    terminal.keys("a\r");
    assert_eq!(terminal.end(), Some(0));
    has("b", "second");
    has("c", "mine");
    assert_eq!(names(&here), ["a", "b", "c", "d", "e", "f"]);
}

#[test]
fn what_this_host_has_no_room_for_is_not_taken_out() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    workspace.sh("head -c 40M /dev/urandom > much; truncate -s 1G hole; seq 5 > little").ok();
    let script = format!(
        "mkdir -p room; mount -t tmpfs -o size=32m room room
         for format in dir tar tar.zst; do
             code=0
             \"$PYRO\" export {id} --output room/out --format $format 2> said || code=$?
             cat said; test $code = 1
             grep -q -e 'room' -e 'more than' said
             test \"$(ls -A room)\" = ''
         done
         \"$PYRO\" export {id} little --output room/little
         \"$PYRO\" export {id} hole --output room/hole
         test $(wc -l < room/little) = 5
         test $(stat -c %s room/hole) = 1073741824",
        id = workspace.id()
    );
    home.sh_in_own_mounts(&script).ok();
}
