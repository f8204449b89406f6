//! Files of a workspace: looked at, changed and searched, without a command in it.

use std::fs;

use pyro_e2e::Home;
use serde_json::{Value, json};

fn names(list: &Value) -> Vec<&str> {
    list["entries"].as_array().into_iter().flatten().filter_map(|it| it["path"].as_str()).collect()
}

#[test]
fn files_are_written_read_and_listed() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let file = |words: &[&str]| {
        let (verb, rest) = words.split_first().unwrap();
        let words = [&["file", verb, workspace.id()], rest].concat();
        home.pyro(words)
    };
    let written = file(&["write", "src/deep/a file.txt", "--text", "one\ntwo\nthree\n", "--json"]);
    let written = written.ok().json();
    assert_eq!(written["path"], "/workspace/src/deep/a file.txt");
    assert_eq!(written["bytes_written"], 14);
    assert_eq!(written["mode"], "0644");
    assert_eq!(workspace.exec(["cat", "src/deep/a file.txt"]).ok().text(), "one\ntwo\nthree");

    let read = file(&["read", "src/deep/a file.txt", "--json"]).ok().json();
    assert_eq!(read["content"], "one\ntwo\nthree\n");
    assert_eq!((&read["size_bytes"], &read["truncated"]), (&json!(14), &json!(false)));
    let part =
        file(&["read", "src/deep/a file.txt", "--max-bytes", "3", "--offset", "4", "--json"]);
    let part = part.ok().json();
    assert_eq!((&part["content"], &part["truncated"]), (&json!("two"), &json!(true)));
    let lines = file(&["read", "src/deep/a file.txt", "--lines", "2:3"]).ok();
    assert_eq!(lines.text(), "two\nthree");

    // Bytes that are no text, from a file of this host, and back.
    let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let host = home.scratch().join("bytes");
    fs::write(&host, &bytes).unwrap();
    let host = host.to_str().unwrap();
    file(&["write", "bin/bytes", "--text-file", host, "--mode", "750"]).ok();
    let words = ["read", "bin/bytes", "--content-only", "--max-bytes", "1000000"];
    assert_eq!(file(&words).ok().stdout, bytes);
    assert_eq!(file(&["stat", "bin/bytes", "--json"]).ok().json()["mode"], "0750");
    file(&["write", "bin/bytes", "--text", "short"]).ok();
    assert_eq!(file(&["stat", "bin/bytes", "--json"]).ok().json()["mode"], "0750");
    file(&["write", "bin/bytes", "--text", "x", "--create-only"]).fails("file_exists");

    workspace
        .sh("ln -s bytes bin/link; ln -s /nowhere bin/lost; mkdir bin/empty; mkfifo bin/pipe")
        .ok();
    let list = file(&["list", "--recursive", "--json"]).ok().json();
    let expected = [
        "/workspace/bin",
        "/workspace/bin/bytes",
        "/workspace/bin/empty",
        "/workspace/bin/link",
        "/workspace/bin/lost",
        "/workspace/bin/pipe",
        "/workspace/src",
        "/workspace/src/deep",
        "/workspace/src/deep/a file.txt",
    ];
    assert_eq!(names(&list), expected);
    let kinds: Vec<_> =
        list["entries"].as_array().unwrap().iter().map(|it| it["artifact_type"].clone()).collect();
    assert_eq!(
        kinds,
        [
            "directory",
            "file",
            "directory",
            "symlink",
            "symlink",
            "other",
            "directory",
            "directory",
            "file"
        ]
    );
    assert_eq!(list["entries"][4]["link_target"], "/nowhere");
    assert_eq!(
        names(&file(&["list", "bin/bytes", "--json"]).ok().json()),
        ["/workspace/bin/bytes"]
    );
    assert_eq!(file(&["read", "bin/link"]).ok().text(), "short");
    file(&["write", "bin/link", "--text", "through"]).ok();
    assert_eq!(file(&["read", "bin/bytes"]).ok().text(), "through");

    for (words, code) in [
        (&["read", "nothing"][..], "file_not_found"),
        (&["read", "bin/lost"], "file_not_found"),
        (&["read", "bin"], "file_not_regular"),
        (&["read", "bin/pipe"], "file_not_regular"),
        (&["read", "/dev/null"], "file_not_regular"),
        (&["read", "bin/bytes", "--max-bytes", "2000000"], "invalid_limit"),
        (&["write", "bin", "--text", "x"], "file_is_directory"),
        (&["write", "bin/bytes/x", "--text", "x"], "file_not_directory"),
        (&["write", "x", "--text", "x", "--mode", "9"], "invalid_mode"),
        (&["list", "nothing"], "file_not_found"),
        (&["stat", "nothing"], "file_not_found"),
    ] {
        file(words).fails(code);
    }
    let long = "x".repeat((1 << 20) + 1);
    file(&["write", "long", "--text-file", "-"]).stdin(long).fails("file_too_large");
}

#[test]
fn files_are_edited_moved_and_removed() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let id = workspace.id();
    workspace.sh("printf 'a = 1\\nb = 1\\n' > settings; chmod 600 settings").ok();
    let edit = |words: &[&str]| home.pyro([&["file", "edit", id, "settings"], words].concat());
    let edited = edit(&["--old", "b = 1", "--new", "b = 2", "--json"]).ok().json();
    assert_eq!(edited["replacements"], 1);
    edit(&["--old", "= ", "--new", "is "]).fails("edit_text_ambiguous");
    edit(&["--old", "c = 1", "--new", ""]).fails("edit_text_not_found");
    let edited = edit(&["--old", " = ", "--new", "=", "--all", "--json"]).ok().json();
    assert_eq!(edited["replacements"], 2);
    assert_eq!(workspace.sh("cat settings; stat -c %a settings").ok().text(), "a=1\nb=2\n600");

    home.pyro(["file", "move", id, "settings", "conf/new"]).ok();
    assert_eq!(workspace.sh("ls -A . conf").ok().text(), ".:\nconf\n\nconf:\nnew");
    workspace.sh("echo other > conf/there").ok();
    home.pyro(["file", "move", id, "conf/new", "conf/there"]).fails("file_exists");
    home.pyro(["file", "move", id, "conf/new", "conf/there", "--replace"]).ok();
    home.pyro(["file", "move", id, "gone", "conf/x"]).fails("file_not_found");
    home.pyro(["file", "remove", id, "conf"]).fails("directory_not_empty");
    workspace.sh("mkdir -p conf/deep/er; ln -s /etc conf/deep/etc; touch conf/deep/er/f").ok();
    home.pyro(["file", "remove", id, "conf", "-r"]).ok();
    assert_eq!(workspace.sh("ls -A; ls /etc/hostname").ok().text(), "/etc/hostname");
    home.pyro(["file", "remove", id, "/workspace"]).fails("invalid_path");
    home.pyro(["file", "remove", id, "conf"]).fails("file_not_found");

    let made = home.pyro(["file", "mkdir", id, "a/b", "--mode", "700", "--json"]).ok().json();
    assert_eq!((&made["mode"], &made["artifact_type"]), (&json!("0700"), &json!("directory")));
    home.pyro(["file", "mkdir", id, "a/b"]).ok();
    workspace.sh("touch a/file").ok();
    home.pyro(["file", "mkdir", id, "a/file"]).fails("file_not_directory");
}

#[test]
fn lines_are_found_as_ripgrep_finds_them() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let id = workspace.id();
    workspace
        .sh("mkdir -p src node_modules .hidden
             echo node_modules > .gitignore; printf '*.log\\n!keep.log\\n' > src/.gitignore
             printf 'fn main() {\\n    todo();\\n}\\n' > src/main.rs
             echo 'TODO here' | tee node_modules/x.js .hidden/y src/a.log src/keep.log > notes.txt
             printf 'todo\\0' > binary")
        .ok();
    let search = |words: &[&str]| {
        let found = home.pyro([&["file", "search", id, "--json"], words].concat()).ok().json();
        let lines = found["matches"].as_array().unwrap().iter().map(|it| {
            let path = it["path"].as_str().unwrap().strip_prefix("/workspace/").unwrap();
            format!("{path}:{}:{}", it["line_number"], it["line"].as_str().unwrap())
        });
        lines.collect::<Vec<_>>()
    };
    assert_eq!(search(&["TODO"]), ["notes.txt:1:TODO here", "src/keep.log:1:TODO here"]);
    assert_eq!(search(&["todo\\(", "src"]), ["src/main.rs:2:    todo();"]);
    assert_eq!(search(&["todo(", "-F", "-g", "*.rs", "-C", "1"]).len(), 3);
    assert_eq!(
        search(&["todo", "-i", "-l", "-g", "!*.txt"]),
        ["src/keep.log:null:", "src/main.rs:null:"]
    );
    assert_eq!(search(&["TODO", "-a"]).len(), 5);
    assert_eq!(search(&["nothing at all"]), [""; 0]);
    assert_eq!(search(&["TODO", "notes.txt"]).len(), 1);
    home.pyro(["file", "search", id, "a("]).fails("invalid_pattern");
    home.pyro(["file", "search", id, "x", "nowhere"]).fails("file_not_found");
    let shown = home.pyro(["file", "search", id, "todo", "src", "-C", "1"]).ok();
    let expected = "/workspace/src/main.rs-1-fn main() {\n/workspace/src/main.rs:2:    todo();\n\
                    /workspace/src/main.rs-3-}";
    assert_eq!(shown.text(), expected);
}

#[test]
fn a_stopped_workspace_is_started_for_its_files() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    workspace.sh("echo kept > file").ok();
    workspace.verb("stop").ok();
    home.pyro(["file", "read", workspace.id(), "file", "--no-start"]).fails("workspace_stopped");
    assert_eq!(workspace.state(), "stopped");
    let read = home.pyro(["file", "read", workspace.id(), "file"]).ok();
    assert_eq!(read.text(), "kept");
    assert!(read.error_text().contains("started it"), "{read}");
}
