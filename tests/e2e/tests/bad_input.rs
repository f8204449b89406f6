//! What was typed wrongly, and hosts that lack something: a stable code, one clear line, a hint, and
//! nothing changed.

#![allow(clippy::unwrap_used, reason = "a story that cannot be told fails by a panic")]

use std::{collections::BTreeSet, fs, iter, os::unix::fs::symlink, path::Path};

use pyro_e2e::{Home, Seen, wait_until};
use serde_json::Value;

/// A call that must be refused: its words, its exit code, its stable code, and a piece of a hint.
type Wrong<'a> = (&'a [&'a str], i32, &'a str, &'a str);

/// Makes every call, for a person and for a program, and looks whether it changed anything.
#[track_caller]
fn refuses(home: &Home, wrong: &[Wrong<'_>]) {
    let before = standing(home);
    for &(words, exit, code, hint) in wrong {
        let seen = home.pyro(words).code(exit);
        one_clear_line(&seen);
        let text = seen.error_text();
        // Wrong usage is told by the usage and the nearest right spelling.
        let hinted = if code == "invalid_usage" { "Usage: |tip: |--help" } else { "hint: " };
        assert!(hinted.split('|').any(|mark| text.contains(mark)), "no hint: {seen}");

        let seen = home.pyro(with_json(words)).code(exit);
        assert!(seen.stderr.is_empty(), "{seen}");
        let told = seen.json();
        assert_eq!((&told["ok"], &told["code"]), (&false.into(), &code.into()), "{seen}");
        assert!(!told["error"].as_str().unwrap().contains('\n'), "{seen}");
        let hints = told["hints"].as_array().unwrap();
        let fits = |told: &Value| told.as_str().unwrap().contains(hint);
        assert!(hints.iter().any(fits), "no hint of {hint:?}: {seen}");
        assert_eq!(standing(home), before, "{seen}");
    }
}

/// The same words with `--json`, where it is not yet the command's.
fn with_json<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let verbs = if matches!(words, ["env" | "port", ..]) { 2 } else { 1 };
    let (verbs, rest) = words.split_at(verbs.min(words.len()));
    verbs.iter().copied().chain(iter::once("--json")).chain(rest.iter().copied()).collect()
}

#[track_caller]
fn one_clear_line(seen: &Seen) {
    let text = seen.error_text();
    assert!(seen.stdout.is_empty(), "{seen}");
    assert!(text.starts_with("error: "), "{seen}");
    assert_eq!(text.matches("error: ").count(), 1, "{seen}");
    assert!(!text.contains("panicked"), "{seen}");
}

/// What stands in the state directory, but for what the node itself keeps open there.
fn standing(home: &Home) -> BTreeSet<String> {
    let names = fs::read_dir(home.state()).into_iter().flatten();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let own = |name: &String| name.starts_with("node.") || name.starts_with("pyro.db");
    let workspaces = home.directories().into_iter().map(|name| format!("workspaces/{name}"));
    names.filter(|name| !own(name)).chain(workspaces).collect()
}

#[test]
fn workspaces_that_are_not_there_are_told_and_never_a_path() {
    let home = Home::new();
    assert!(home.listed().is_empty());
    let long = "x".repeat(200);
    let references = ["../x", "..", "/etc/passwd", "", "nobody", "%2e%2e", "a\u{1b}[31m\nb", &long];
    for reference in references {
        let wrong = |verb: &'static str| [verb, reference];
        for verb in ["status", "stop", "start", "logs", "ps", "delete"] {
            refuses(&home, &[(&wrong(verb), 1, "workspace_not_found", "pyro ls")]);
        }
        let exec = ["exec", reference, "--", "true"];
        refuses(&home, &[(&exec, 125, "workspace_not_found", "pyro ls")]);
    }
    refuses(
        &home,
        &[
            (&["status", "@"], 1, "no_current_workspace", "pyro use"),
            (&["exec", "@", "--", "true"], 125, "no_current_workspace", "pyro use"),
            (&["attach", "../x", "../y"], 125, "workspace_not_found", "pyro ls"),
            (&["kill", "x", "y"], 1, "workspace_not_found", "pyro ls"),
            (&["kill", "x", "y", "--signal", "NOPE"], 1, "invalid_signal", "TERM"),
            (&["use", "nobody"], 1, "workspace_not_found", "pyro ls"),
            (&["status", "prune"], 1, "workspace_not_found", "pyro ls"),
            (&["wait", "x", ""], 125, "workspace_not_found", "pyro ls"),
            (&["attach", "x", ""], 125, "workspace_not_found", "pyro ls"),
            (&["kill", "x", ""], 1, "workspace_not_found", "pyro ls"),
            (&["port", "list", "x"], 1, "workspace_not_found", "pyro ls"),
            (&["port", "publish", "x", "80"], 1, "workspace_not_found", "pyro ls"),
            (&["port", "publish", "x", "80:80"], 1, "invalid_port", "1025 or more"),
            (&["port", "unpublish", "x", "80"], 1, "workspace_not_found", "pyro ls"),
        ],
    );
}

#[test]
fn names_labels_and_limits_keep_to_their_rules() {
    let home = Home::new();
    assert!(home.listed().is_empty());
    let long = "x".repeat(121);
    let (long_value, long_key) = (format!("k={long}"), format!("{}=v", &long[..65]));
    for name in ["", "@", "@x", " x", "a\nb", "a\u{1b}[31mb", ".", "..", "0123456789ab", &long] {
        let words = ["create", "--name", name];
        refuses(&home, &[(&words, 1, "invalid_workspace_name", "--name")]);
    }
    for label in ["../=1", ".k=1", "a b=1", "k=", "k=a\nb", &long_value, &long_key] {
        let words = ["create", "--label", label];
        refuses(&home, &[(&words, 1, "invalid_label", "--label")]);
    }
    for (flag, value) in [
        ("--vcpu-count", "0"),
        ("--vcpu-count", "33"),
        ("--mem-mib", "0"),
        ("--mem-mib", "127"),
        ("--mem-mib", "131073"),
        ("--disk-mib", "0"),
        ("--disk-mib", "1048577"),
        ("--ttl-seconds", "0"),
    ] {
        refuses(&home, &[(&["create", flag, value], 1, "invalid_limit", flag)]);
    }
    refuses(
        &home,
        &[
            (&["create", "--backend", "vmware"], 1, "invalid_backend", "firecracker, qemu"),
            (&["create", "--network-policy", "all"], 1, "invalid_network_policy", "egress"),
            (&["create", "--allow", "*"], 1, "invalid_network_rule", "example.com"),
            (&["create", "--secret", "A=b"], 1, "not_available", "pyro"),
            (&["create", "--seed-path", "/etc/hostname"], 1, "archive_unknown_format", "tar"),
            (&["run", "-m", "127", "debian:12", "--", "true"], 125, "invalid_limit", "--mem-mib"),
            (&["run", "--ttl-seconds", "59", "--", "true"], 125, "invalid_limit", "--ttl-seconds"),
        ],
    );
    home.holds_only(&[]);
}

#[test]
fn environments_that_do_not_exist_are_told_with_those_that_do() {
    let home = Home::new();
    assert!(home.listed().is_empty());
    let known = "debian:12-base";
    let nothing = "/no/such/archive.tar";
    refuses(
        &home,
        &[
            (&["create", "../x"], 1, "invalid_environment_name", "pyro env list"),
            (&["create", "debain:12"], 1, "environment_unknown", known),
            (&["run", "../x", "--", "true"], 125, "invalid_environment_name", "pyro env list"),
            (&["run", "debain:12", "--", "true"], 125, "environment_unknown", known),
            (&["env", "inspect", "../x"], 1, "invalid_environment_name", "pyro env list"),
            (&["env", "inspect", "nope"], 1, "environment_unknown", known),
            (&["env", "build", "nope"], 1, "environment_unknown", known),
            (&["env", "inspect", ""], 1, "invalid_environment_name", "pyro env list"),
            (&["env", "inspect", "prune"], 1, "environment_unknown", known),
            (&["env", "delete", "nope"], 1, "environment_unknown", known),
            (&["env", "import", "../x", nothing], 1, "input_unreadable", "tar"),
            (&["env", "import", "../x", "-"], 1, "invalid_environment_name", "pyro env list"),
            (&["env", "import", "debian:12", "-"], 1, "environment_name_reserved", "another name"),
            (&["env", "import", "mine", nothing], 1, "input_unreadable", "tar"),
        ],
    );
    home.holds_only(&[]);
}

#[test]
fn wrong_usage_ends_with_2_and_the_nearest_right_spelling() {
    let home = Home::new();
    assert!(home.listed().is_empty());
    let usage = "invalid_usage";
    refuses(
        &home,
        &[
            (&["creat"], 2, usage, "create"),
            (&["workspce", "list"], 2, usage, "workspace"),
            (&["create", "--nmae", "x"], 2, usage, "--name"),
            (&["create", "--label", "novalue"], 2, usage, ""),
            (&["create", "--vcpu-count", "many"], 2, usage, ""),
            (&["create", "-m", "2x"], 2, usage, ""),
            (&["create", "--ttl-seconds", "soon"], 2, usage, ""),
            (&["create", "--on-expiry", "explode"], 2, usage, ""),
            (&["list", "--state", "strated"], 2, usage, "started"),
            (&["prune", "--older-than", "never"], 2, usage, ""),
            (&["status"], 2, usage, "Usage"),
            (&["ps", "a", "b"], 2, usage, "Usage"),
            // Of what runs commands, 2 would be the command's own.
            (&["exec"], 125, usage, "Usage"),
            (&["exec", "x"], 125, usage, "Usage: pyro exec"),
            (&["exec", "--bogus", "x", "--", "true"], 125, usage, "Usage"),
            (
                &["exec", "--timeout-secnods", "3", "x", "--", "true"],
                125,
                usage,
                "--timeout-seconds",
            ),
            (&["run", "--bogus", "--", "true"], 125, usage, "Usage"),
            (&["run"], 125, usage, "Usage: pyro run"),
        ],
    );
}

#[test]
fn a_strange_place_is_as_good_as_any() {
    // As long as the names of directories may be, and with what command lines of VMMs split at.
    let home = Home::named(&format!("with space, and comma {}", "x".repeat(178)));
    assert!(home.state().as_os_str().len() > 200);
    let workspace = home.workspace("debian:12");
    let seen = workspace.sh("echo kept > file; cat file").ok();
    assert_eq!(seen.text(), "kept");
    workspace.verb("stop").ok();
    assert_eq!(workspace.state(), "stopped");
    workspace.verb("start").ok();
    assert_eq!(workspace.exec(["cat", "file"]).ok().text(), "kept");
    home.kill_node();
    assert_eq!(workspace.exec(["cat", "file"]).ok().text(), "kept");
    workspace.verb("delete").ok();
    home.holds_only(&[]);
}

#[test]
fn without_images_it_says_what_to_build() {
    let home = Home::new();
    let empty = home.scratch().join("empty-cache");
    fs::create_dir(&empty).unwrap();
    let home = home.with("PYRO_CACHE_DIR", &empty);
    assert!(home.listed().is_empty());
    refuses(&home, &[(&["create"], 1, "environment_not_installed", "pyro env build debian:12")]);
    home.holds_only(&[]);
}

#[test]
fn without_a_kernel_it_says_what_to_build() {
    let home = Home::new();
    // All but the kernel.
    let plain = home.command();
    let shared = plain.get_envs().find(|(name, _)| *name == "PYRO_CACHE_DIR").unwrap();
    let shared = Path::new(shared.1.unwrap());
    let own = home.scratch().join("cache");
    fs::create_dir(&own).unwrap();
    for entry in fs::read_dir(shared).unwrap() {
        let entry = entry.unwrap();
        if matches!(entry.file_name().to_str(), Some("environments" | "names" | "seeds")) {
            symlink(entry.path(), own.join(entry.file_name())).unwrap();
        }
    }
    let home = home.with("PYRO_CACHE_DIR", &own);
    assert!(home.listed().is_empty());
    refuses(&home, &[(&["create"], 1, "kernel_not_installed", "pyro env build debian:12")]);
    home.holds_only(&[]);
}

#[test]
fn without_qemu_it_says_what_to_install() {
    let home =
        Home::new().with("PYRO_BACKEND", "qemu").with("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    // The node looks for it where PATH does not say, too.
    let script = "for place in /usr/local/bin /usr/bin /bin; do \
                  program=$place/qemu-system-x86_64; \
                  if [ -e $program ]; then mount --bind /dev/null $program; fi; done; \
                  exec \"$PYRO\" create --json";
    let told = home.sh_in_own_mounts(script).code(1).json();
    assert_eq!(told["code"], "qemu_missing", "{told}");
    assert!(told["hints"][0].as_str().unwrap().contains("apt-get install"), "{told}");
    home.holds_only(&[]);
}

#[test]
fn a_full_host_disk_is_told_and_leaves_nothing() {
    let home = Home::new();
    let script = "mkdir -p \"$PYRO_HOME\"; mount -t tmpfs -o size=2m,mode=0700 none \"$PYRO_HOME\"; \
        \"$PYRO\" list -q; \
        dd if=/dev/zero of=\"$PYRO_HOME/filler\" bs=4k 2>/dev/null || true; \
        \"$PYRO\" create --json || echo \"exit $?\"; \
        echo ---; \"$PYRO\" list -q; ls -A \"$PYRO_HOME/workspaces\"; \
        echo ---; \"$PYRO\" node stop >/dev/null; \
        \"$PYRO\" list --json || echo \"exit $?\"; \
        echo ---; rm \"$PYRO_HOME/filler\"; \"$PYRO\" list -q; \"$PYRO\" node stop >/dev/null";
    let seen = home.sh_in_own_mounts(script).ok();
    let text = seen.text() + "\n";
    let [create, left, node, after] = text.split("---\n").collect::<Vec<_>>()[..] else {
        panic!("{seen}")
    };
    for told in [create, node] {
        let told = told.strip_suffix("exit 1\n").unwrap_or_else(|| panic!("{seen}"));
        let told: Value = serde_json::from_str(told).unwrap_or_else(|_| panic!("{seen}"));
        assert_eq!(told["code"], "host_disk_full", "{told}");
        assert!(told["hints"][0].as_str().unwrap().contains("free space"), "{told}");
    }
    assert_eq!((left, after.trim()), ("", ""), "{seen}");
}

#[test]
fn a_disk_that_fills_while_an_image_is_written_is_told() {
    let home = Home::new();
    let script = "mkdir cache; mount -t tmpfs -o size=2m,mode=0700 none cache; \
        export PYRO_CACHE_DIR=$PWD/cache; \
        mkdir -p root/bin; cp /bin/sh root/bin/sh; \
        dd if=/dev/urandom of=root/noise bs=1M count=8 2>/dev/null; \
        tar -C root -c . | \"$PYRO\" env import big - --json || echo \"exit $?\"; \
        ls -A cache/environments; \"$PYRO\" node stop >/dev/null";
    let seen = home.sh_in_own_mounts(script).ok();
    let text = seen.text();
    let told = text.strip_suffix("exit 1").unwrap_or_else(|| panic!("{seen}"));
    let told: Value = serde_json::from_str(told).unwrap_or_else(|_| panic!("{seen}"));
    assert_eq!(told["code"], "host_disk_full", "{told}");
    assert!(told["hints"][0].as_str().unwrap().contains("pyro env prune"), "{told}");
}

#[test]
fn state_of_a_newer_version_is_left_alone() {
    let home = Home::new();
    assert!(home.listed().is_empty());
    home.pyro(["node", "stop"]).ok();
    wait_until(10, "the node is gone", || home.nodes().is_empty());
    let database = home.state().join("pyro.db");
    // The first page alone is a database of its own: one without tables.
    for log in ["pyro.db-wal", "pyro.db-shm"] {
        let _ = fs::remove_file(home.state().join(log));
    }
    // "user version", a big-endian number: https://sqlite.org/fileformat.html#the_database_header
    let mut bytes = fs::read(&database).unwrap();
    bytes[60..64].copy_from_slice(&999u32.to_be_bytes());
    fs::write(&database, &bytes).unwrap();

    refuses(
        &home,
        &[
            (&["list"], 1, "state_from_newer_version", "PYRO_HOME"),
            (&["create"], 1, "state_from_newer_version", "PYRO_HOME"),
            (&["exec", "x", "--", "true"], 125, "state_from_newer_version", "PYRO_HOME"),
        ],
    );
    assert!(fs::read(&database).unwrap() == bytes, "the database is as it was");
    wait_until(10, "no node is left", || home.nodes().is_empty());
}

#[test]
fn places_that_cannot_be_used_are_told() {
    let home = Home::new();
    assert!(home.listed().is_empty());
    home.pyro(["node", "stop"]).ok();
    wait_until(10, "the node is gone", || home.nodes().is_empty());
    let file = home.scratch().join("file");
    fs::write(&file, "").unwrap();
    let home = home.with("PYRO_HOME", file.join("state"));
    refuses(&home, &[(&["list"], 1, "state_directory_unusable", "PYRO_HOME")]);
    let state = home.state().to_owned();
    let home = home.with("PYRO_HOME", state).with("PYRO_CACHE_DIR", file.join("cache"));
    refuses(&home, &[(&["create"], 1, "image_cache_unusable", "PYRO_CACHE_DIR")]);
}

#[test]
fn doctor_examines_any_host() {
    let home = Home::new();
    let file = home.scratch().join("file");
    fs::write(&file, "").unwrap();
    let dangling = home.scratch().join("dangling");
    symlink("/no/such/place", &dangling).unwrap();
    let below_file = file.join("below");
    for (name, place) in [
        ("PYRO_CACHE_DIR", below_file.as_path()),
        ("PYRO_CACHE_DIR", Path::new("/proc/cache")),
        ("PYRO_CACHE_DIR", dangling.as_path()),
        ("PYRO_HOME", below_file.as_path()),
        ("PYRO_HOME", Path::new("/proc/state")),
        ("PYRO_HOME", dangling.as_path()),
    ] {
        let call = |words: &[&str]| home.pyro(words).env(name, place).seen();
        let seen = call(&["doctor", "--json"]);
        assert_eq!(seen.exit_code(), Some(1), "{seen}");
        assert!(seen.stderr.is_empty(), "{seen}");
        let report = seen.json();
        assert!(report["backends"].is_array(), "{report}");
    }
    let seen = home.pyro(["doctor"]).env("PYRO_CACHE_DIR", &below_file).code(1);
    let text = seen.text();
    assert!(text.contains(below_file.to_str().unwrap()), "{seen}");
    assert!(text.contains("hint: set PYRO_CACHE_DIR"), "{seen}");
    assert!(!file.with_extension("below").exists() && fs::read(&file).unwrap().is_empty());
}

#[test]
fn doctor_examines_in_an_empty_environment_and_without_any_home() {
    let home = Home::new();
    let program = home.command().get_program().display().to_string();
    // The system's word on who has which home: a list of our own, and then an empty one.
    let with_accounts = |accounts: &str, words: &str| {
        let file = home.scratch().join("passwd");
        fs::write(&file, accounts).unwrap();
        let script = format!(
            "mount --bind '{}' /etc/passwd
             test ! -e /etc/nsswitch.conf || mount --bind /dev/null /etc/nsswitch.conf
             exec env -i '{program}' {words} --json",
            file.display()
        );
        let seen = home.sh_in_own_mounts(&script).code(1);
        assert!(seen.stderr.is_empty(), "{seen}");
        seen.json()
    };
    let own = home.scratch().join("own");
    fs::write(&own, "").unwrap();
    let report = with_accounts(&format!("root:x:0:0::{}:/bin/sh\n", own.display()), "doctor");
    let state = own.join(".local/state/pyro");
    assert_eq!(report["state_directory"]["path"], state.to_str().unwrap(), "{report}");
    assert!(report["backends"].is_array(), "{report}");

    let report = with_accounts("", "doctor");
    assert!(report["state_directory"]["path"].is_null(), "{report}");
    assert!(report["issues"][0].as_str().unwrap().contains("HOME"), "{report}");
    assert!(report["backends"].is_array(), "{report}");

    let told = with_accounts("", "list");
    assert_eq!(told["code"], "no_home", "{told}");
    assert!(told["hints"][0].as_str().unwrap().contains("PYRO_HOME"), "{told}");
}
