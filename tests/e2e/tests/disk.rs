//! Disks of stopped workspaces: what is read of them is what their guests saw.
#![allow(clippy::unwrap_used, reason = "a story that cannot be told fails by a panic")]

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    process::Command,
};

use pyro_e2e::{Home, Workspace, sha256, wait_until};
use serde_json::Value;

/// Path, kind, size, permissions, whole seconds of the last change, target.
type Known = BTreeMap<String, (String, u64, String, i64, Option<String>)>;

/// What the guest's own kernel says of these directories.
fn seen_by_guest(workspace: &Workspace<'_>, directories: &str) -> Known {
    let form = r"%p\t%y\t%s\t%m\t%T@\t%l\n";
    let said = workspace.sh(&format!("find {directories} -mindepth 1 -printf '{form}'")).ok();
    let said = String::from_utf8(said.stdout).unwrap();
    said.lines()
        .map(|line| {
            let fields: Vec<_> = line.split('\t').collect();
            let [path, kind, size, mode, time, target] = fields[..] else { panic!("{line}") };
            let (kind, size, target) = match kind {
                "f" => ("file", size.parse().unwrap(), None),
                "d" => ("directory", 0, None),
                "l" => ("symlink", size.parse().unwrap(), Some(target.to_owned())),
                _ => ("other", 0, None),
            };
            let time = time.split('.').next().unwrap().parse().unwrap();
            let mode = format!("{mode:0>4}");
            (path.to_owned(), (kind.to_owned(), size, mode, time, target))
        })
        .collect()
}

fn seen_on_disk(home: &Home, workspace: &str, directory: &str) -> Known {
    let list = home.pyro(["disk", "list", workspace, directory, "--recursive", "--json"]);
    let list = list.ok().json();
    assert_eq!(list["truncated"], false);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    list["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let known = (
                text(&entry["artifact_type"]).unwrap(),
                entry["size_bytes"].as_u64().unwrap(),
                text(&entry["mode"]).unwrap(),
                entry["modified_at"].as_f64().unwrap().floor() as i64,
                text(&entry["link_target"]),
            );
            (text(&entry["path"]).unwrap(), known)
        })
        .collect()
}

fn differing(guest: &Known, disk: &Known) -> Vec<String> {
    let paths: std::collections::BTreeSet<_> = guest.keys().chain(disk.keys()).collect();
    let different = paths.into_iter().filter(|path| guest.get(*path) != disk.get(*path));
    different
        .map(|path| {
            format!("{path}: {:?} in the guest, {:?} on disk", guest.get(path), disk.get(path))
        })
        .collect()
}

#[test]
fn a_stopped_workspace_shows_what_its_guest_saw() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    workspace
        .sh("set -e
             mkdir -p src/deep/er; echo one > src/deep/er/one; ln -s ../src/deep src/link; ln -s /etc/hostname abs
             seq 100000 > numbers; truncate -s 3G sparse; echo end >> sparse; mkfifo pipe; chmod 4711 numbers
             ln src/deep/er/one hard; mkdir empty; touch -d '2001-02-03 04:05:06' old
             for n in $(seq 2000); do echo $n > src/deep/file-$n; done
             # Directories of the image: moved, emptied, replaced, changed within; and moved once more.
             mv /usr/share/doc /opt/doc; mv /opt/doc/bash /opt/doc/renamed; mv /opt/doc/coreutils /srv/core
             rm -r /usr/share/common-licenses; mkdir /usr/share/common-licenses
             echo new > /usr/share/common-licenses/NEW
             rm /etc/issue; rm /etc/debian_version; mkdir /etc/debian_version
             echo changed >> /etc/profile; chmod 700 /etc/skel
             mkdir -p /var/lib/docker/layers; echo layer > /var/lib/docker/layers/one; sync")
        .ok();
    let directories = ["/workspace", "/opt", "/srv", "/usr/share", "/var/lib", "/etc"];
    let guest = directories.map(|directory| seen_by_guest(&workspace, directory));
    let sums = workspace
        .sh("sha256sum numbers /etc/profile /srv/core/copyright /opt/doc/renamed/copyright")
        .ok();
    let id = workspace.id();
    home.pyro(["disk", "list", id]).fails("workspace_running");
    home.pyro(["disk", "read", id, "numbers"]).fails("workspace_running");
    workspace.verb("stop").ok();

    for (directory, guest) in directories.iter().zip(&guest) {
        let disk = seen_on_disk(&home, id, directory);
        let different = differing(guest, &disk);
        assert!(guest.len() > 1, "{directory}");
        assert!(different.is_empty(), "{directory}: {:#?}", &different[..different.len().min(20)]);
    }
    for line in sums.text().lines() {
        let (sum, path) = line.split_once("  ").unwrap();
        let read = ["disk", "read", id, path, "--content-only", "--max-bytes", "1048576"];
        assert_eq!(sha256(&home.pyro(read).ok().stdout), sum, "{path}");
    }

    assert_eq!(home.pyro(["disk", "read", id, "src/link/er/one"]).ok().text(), "one");
    // As a guest resolves them, and never this host's.
    let hostname = home.pyro(["disk", "read", id, "abs"]).ok();
    assert!(!hostname.text().is_empty());
    let part =
        home.pyro(["disk", "read", id, "numbers", "--offset", "4", "--max-bytes", "3", "--json"]);
    let part = part.ok().json();
    assert_eq!((part["content"].as_str(), part["truncated"].as_bool()), (Some("3\n4"), Some(true)));
    let end = home.pyro(["disk", "read", id, "sparse", "--offset", "3221225472"]).ok();
    assert_eq!(end.text(), "end");
    home.pyro(["disk", "read", id, "nowhere"]).fails("file_not_found");
    home.pyro(["disk", "read", id, "src"]).fails("file_is_directory");
    home.pyro(["disk", "read", id, "pipe"]).fails("file_not_regular");

    // Out, whole, as ext4, with its holes.
    let output = home.scratch().join("out.ext4");
    let path = output.to_str().unwrap();
    let exported = home.pyro(["disk", "export", id, "--output", path, "--json"]).ok().json();
    assert_eq!(
        (&exported["disk_format"], &exported["output_path"]),
        (&"ext4".into(), &path.into())
    );
    let metadata = fs::metadata(&output).unwrap();
    assert_eq!(exported["bytes_written"], metadata.len());
    assert!(metadata.blocks() * 512 < 256 << 20, "{} blocks", metadata.blocks());
    let checked = Command::new("e2fsck").args(["-f", "-n", path]).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    home.pyro(["disk", "export", id, "--output", path]).fails("output_exists");
    assert_eq!(fs::read_dir(home.scratch()).unwrap().count(), 1);

    // Nothing of it has changed the workspace.
    assert_eq!(workspace.state(), "stopped");
    assert_eq!(workspace.sh("cat src/link/er/one; tail -c4 sparse").ok().text(), "one\nend");
}

#[test]
fn what_a_killed_machine_had_synced_is_read_from_its_journal() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    workspace
        .sh("for n in $(seq 300); do mkdir -p d/$n; echo $n > d/$n/file; done; mv d/7 seven; rm -r d/8
             mv /usr/share/doc /opt/doc; rm /etc/issue; sync")
        .ok();
    let guest = seen_by_guest(&workspace, "/workspace /opt");
    workspace.vmm().kill();
    wait_until(30, "it is known to be stopped", || workspace.state() == "stopped");
    let id = workspace.id();
    let mut disk = seen_on_disk(&home, id, "/workspace");
    disk.extend(seen_on_disk(&home, id, "/opt"));
    let different = differing(&guest, &disk);
    assert!(different.is_empty(), "{:#?}", &different[..different.len().min(20)]);
    assert_eq!(home.pyro(["disk", "read", id, "seven/file"]).ok().text(), "7");
    home.pyro(["disk", "read", id, "/etc/issue"]).fails("file_not_found");

    // There was a journal to read.
    let output = home.scratch().join("out.ext4");
    home.pyro(["disk", "export", id, "--output", output.to_str().unwrap()]).ok();
    let features = Command::new("dumpe2fs").arg("-h").arg(&output).output().unwrap();
    let features = String::from_utf8_lossy(&features.stdout).into_owned();
    assert!(features.contains("needs_recovery"), "{features}");
}

#[test]
fn names_that_are_no_text_are_told_by_their_bytes() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    workspace.sh(r#"echo odd > "$(printf 'odd\377name')""#).ok();
    workspace.verb("stop").ok();
    let list = home.pyro(["disk", "list", workspace.id(), "--json"]).ok().json();
    assert_eq!(list["entries"][0]["path"], "/workspace/odd\u{fffd}name");
    assert_eq!(list["entries"][0]["path_base64"], "L3dvcmtzcGFjZS9vZGT/bmFtZQ==");
    let words = ["disk", "read", workspace.id()].map(OsStr::new);
    let odd = OsStr::from_bytes(b"odd\xffname");
    assert_eq!(home.pyro(words.into_iter().chain([odd])).ok().text(), "odd");
}
