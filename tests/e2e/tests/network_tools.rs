//! What people install with, where the network is narrow: the real curl, git, apt, pip and npm, each
//! with a server of its own kind on a far machine. They work under `egress`, they work under rules that
//! name what they need and nothing else, and end with a word on what is missing otherwise.
//!
//! pip and npm are this machine's own, sent inside (`scripts/pack-guest-tools.sh`), since no environment
//! that tests build has them. `PYRO_E2E_TOOLS` names a directory in which they are packed already.
#![allow(clippy::unwrap_used)]

use std::{fs, path::PathBuf, process::Command};

use pyro_e2e::{Client, Home, Seen, Verb, Workspace, setting};
use serde_json::Value;

const REGISTRIES: &str = include_str!("network_tools/registries.py");
const PACK: &str = include_str!("../../../scripts/pack-guest-tools.sh");

const HOSTS: &str = "\
127.0.0.1 localhost
1.2.3.4 www.example pypi.example files.example npm.example git.example apt.example
";

/// A home beside a machine that serves packages.
#[track_caller]
fn home() -> Home {
    let home = Home::new();
    let packages = packages(&home);
    fs::create_dir(&packages).unwrap();
    let servers = format!(
        "cat > /mnt/registries.py <<'SERVER'\n{REGISTRIES}\nSERVER\n\
         nsenter -t $far -n python3 /mnt/registries.py '{}' &",
        packages.display()
    );
    home.beside_a_far_machine(HOSTS, &servers, &["far serves"])
}

/// Where the far machine keeps what it serves.
fn packages(home: &Home) -> PathBuf {
    home.scratch().join("packages")
}

/// The workspace of a story, which trusts the far machine's certificate.
#[track_caller]
fn workspace<'home>(home: &'home Home, words: &[&str]) -> Workspace<'home> {
    let workspace = home.workspace_with(&[&["debian:12"], words].concat());
    let certificate = fs::read(packages(home).join("ca.pem")).unwrap();
    workspace.exec_with(&["-i"], ["sh", "-c", "cat > /ca.pem"]).stdin(certificate).ok();
    workspace
}

/// One of this machine's tools, as an archive of a guest's root.
#[track_caller]
fn tool(home: &Home, name: &str) -> Vec<u8> {
    let pack = || {
        let directory = home.scratch().join("tools");
        let status = Command::new("bash").args(["-c", PACK, "pack"]).arg(&directory).status();
        assert!(status.unwrap().success(), "this machine's tools could not be packed");
        directory
    };
    let packed = setting("PYRO_E2E_TOOLS").map_or_else(pack, PathBuf::from);
    fs::read(packed.join(format!("{name}.tar"))).unwrap()
}

/// Puts one of this machine's tools inside.
#[track_caller]
fn bring(home: &Home, workspace: &Workspace, name: &str) {
    let archive = tool(home, name);
    workspace.exec_with(&["-i"], ["tar", "-C", "/", "-xf", "-"]).stdin(archive).ok();
}

/// Says anew what it reaches.
#[track_caller]
fn network(home: &Home, workspace: &Workspace, words: &[&str]) -> Value {
    let all = [&["workspace", "network", "set", "--json", workspace.id()], words].concat();
    home.pyro(all).ok().json()
}

/// Fails unless the tool ended by itself, said that it knows no such host, and pyro said which rule it
/// would take.
#[track_caller]
fn refused(seen: &Seen, code: i32, name: &str, words: &str) {
    let said = seen.error_text() + &seen.text();
    assert_eq!(seen.exit_code(), Some(code), "{seen}");
    assert!(said.contains(words), "{words}: {seen}");
    assert!(!said.contains("timed out"), "{seen}");
    let note = "note: the network policy refused something: ";
    assert!(said.contains(&format!("{note}no rule allows {name}")), "{seen}");
    assert!(said.contains(&format!("--allow {name}")), "{seen}");
}

/// Fails unless the tool ended by itself and said that there is no way to that host.
#[track_caller]
fn unreachable(seen: &Seen, code: i32, words: &str) {
    let said = seen.error_text() + &seen.text();
    assert_eq!(seen.exit_code(), Some(code), "{seen}");
    assert!(said.contains(words), "{words}: {seen}");
    assert!(!said.contains("timed out"), "{seen}");
}

#[test]
fn curl_and_git_reach_what_they_may_and_say_what_they_may_not() {
    let home = home();
    let workspace = workspace(&home, &["--network", "egress"]);
    let curl = |url: &str| workspace.exec(["curl", "-sS", "--cacert", "/ca.pem", url]);
    let clone = |url: &str| -> Verb {
        let script = format!(
            "rm -rf /tmp/tiny; git -c http.sslCAInfo=/ca.pem clone -q {url} /tmp/tiny && cat /tmp/tiny/README"
        );
        workspace.sh(&script)
    };
    let repository = "https://git.example/tiny.git";
    assert_eq!(curl("http://www.example/").ok().text(), "found");
    assert_eq!(curl("https://www.example/").ok().text(), "found");
    assert_eq!(clone(repository).ok().text(), "tiny of git");
    assert_eq!(clone("http://git.example/tiny.git").ok().text(), "tiny of git");

    network(&home, &workspace, &["off", "--allow", "git.example:443"]);
    assert_eq!(clone(repository).ok().text(), "tiny of git");
    refused(&curl("https://www.example/").seen(), 6, "www.example", "Could not resolve host");
    // Another name at an address that is allowed for this one's sake.
    let smuggled = ["curl", "-sS", "--cacert", "/ca.pem", "https://www.example/"];
    let smuggled = [&smuggled[..], &["--connect-to", "::git.example:443"]].concat();
    let seen = workspace.exec(smuggled).code(35).error_text();
    assert!(seen.contains("www.example"), "{seen}");

    network(&home, &workspace, &["off", "--allow", "www.example:443"]);
    assert_eq!(curl("https://www.example/").ok().text(), "found");
    let seen = curl("http://www.example/").code(7).error_text();
    assert!(seen.contains("--allow www.example:80"), "{seen}");
    refused(&clone(repository).seen(), 128, "git.example", "Could not resolve host: git.example");

    network(&home, &workspace, &["off"]);
    unreachable(&curl("https://www.example/").seen(), 6, "Could not resolve host");
    unreachable(&clone(repository).seen(), 128, "Could not resolve host: git.example");
}

#[test]
fn apt_installs_where_it_may_and_says_where_it_may_not() {
    let home = home();
    let workspace = workspace(&home, &["--network", "egress"]);
    let script = "
        echo 'deb [trusted=yes] http://apt.example/ ./' > /tmp/sources.list
        echo 'Dir::Etc::SourceList \"/tmp/sources.list\";
              Dir::Etc::SourceParts \"-\";
              APT::Update::Error-Mode \"any\";' > /etc/apt/apt.conf.d/90tiny";
    workspace.sh(script).ok();
    let install =
        || workspace.sh("apt-get -qq update && apt-get -qq install tiny >/dev/null && tiny");
    let forget =
        || workspace.sh("dpkg --purge tiny && rm -rf /var/lib/apt/lists/* && apt-get clean").ok();
    assert_eq!(install().ok().text(), "tiny of apt");
    forget();

    network(&home, &workspace, &["off", "--allow", "apt.example:80"]);
    assert_eq!(install().ok().text(), "tiny of apt");
    forget();

    network(&home, &workspace, &["off", "--allow", "www.example"]);
    refused(&install().seen(), 100, "apt.example", "Could not resolve 'apt.example'");

    network(&home, &workspace, &["off"]);
    unreachable(&install().seen(), 100, "resolving 'apt.example'");
}

#[test]
fn pip_installs_where_it_may_and_says_where_it_may_not() {
    let home = home();
    let workspace = workspace(&home, &["--network", "egress"]);
    bring(&home, &workspace, "pip");
    let install = || {
        workspace.sh("
            rm -rf /tmp/site
            PYTHONPATH=/opt/pip python3 -m pip install --quiet --disable-pip-version-check \\
                --no-cache-dir --cert /ca.pem --index-url https://pypi.example/simple/ \\
                --target /tmp/site tiny &&
            PYTHONPATH=/tmp/site python3 -m tiny")
    };
    assert_eq!(install().ok().text(), "tiny of pip");

    network(
        &home,
        &workspace,
        &["off", "--allow", "pypi.example:443", "--allow", "files.example:443"],
    );
    assert_eq!(install().ok().text(), "tiny of pip");

    // The index is there, but not the files.
    network(&home, &workspace, &["off", "--allow", "pypi.example:443"]);
    refused(&install().seen(), 1, "files.example", "Name or service not known");

    network(&home, &workspace, &["off"]);
    unreachable(&install().seen(), 1, "Temporary failure in name resolution");
}

#[test]
fn npm_installs_where_it_may_and_says_where_it_may_not() {
    let home = home();
    let workspace = workspace(&home, &["-m", "512", "--network", "egress"]);
    bring(&home, &workspace, "npm");
    let install = |flags: &str| {
        workspace.sh(&format!("
            rm -rf /tmp/project ~/.npm && mkdir /tmp/project && cd /tmp/project &&
            NODE_EXTRA_CA_CERTS=/ca.pem /opt/node/npm install --no-audit --no-fund \\
                --no-update-notifier --registry https://npm.example/ {flags} tiny >&2 &&
            /opt/node/lib/ld-linux-x86-64.so.2 --library-path /opt/node/lib /opt/node/node -e 'require(\"tiny\")'"))
    };
    assert_eq!(install("").ok().text(), "tiny of npm");

    network(&home, &workspace, &["off", "--allow", "npm.example:443"]);
    assert_eq!(install("").ok().text(), "tiny of npm");

    // Whatever keeps npm from connecting it takes for a passing trouble, here as on any machine: by
    // itself it would try again after 10 seconds and after 60 more.
    let once = "--fetch-retries 0";
    network(&home, &workspace, &["off", "--allow", "www.example"]);
    refused(&install(once).seen(), 1, "npm.example", "ENOTFOUND");

    network(&home, &workspace, &["off"]);
    unreachable(&install(once).seen(), 1, "EAI_AGAIN");
}

/// Opens connections of three kinds, and after a line on stdin looks what became of them: all have
/// ended, nothing more can be said by them, and no new one comes about.
const HOLDS: &str = r#"
import socket, ssl, sys
context = ssl.create_default_context(cafile="/ca.pem")
def http():
    s = socket.create_connection(("www.example", 80))
    s.sendall(b"GET / HTTP/1.1\r\nHost: www.example\r\n\r\n")
    assert b"200 OK" in s.recv(4096)
    return s
def tls():
    return context.wrap_socket(socket.create_connection(("www.example", 443)), server_hostname="www.example")
def plain():
    s = socket.create_connection(("www.example", 9000))
    s.sendall(b"before\n")
    return s
kinds = [http, tls, plain]
held = [kind() for kind in kinds]
print("open", flush=True)
sys.stdin.readline()
for kind in kinds:
    try: kind(); print("CONNECTED", kind.__name__)
    except OSError as error: print("refused", kind.__name__, error)
try: socket.create_connection(("1.2.3.4", 9000)); print("CONNECTED by address")
except OSError as error: print("refused by address", error)
for s in held:
    try:
        s.sendall(b"after\n")
        while s.recv(4096): pass
        print("ENDED as if by the far machine")
    except OSError as error: print("reset", error)
"#;

#[test]
fn a_policy_is_in_force_when_its_change_returns() {
    let home = home();
    let workspace = workspace(&home, &["--network", "egress"]);
    let hold = || -> Client {
        let client = workspace.exec_with(&["-i"], ["python3", "-c", HOLDS]).start();
        client.wait_for("open");
        client
    };
    let mut told = Vec::new();
    let allowed = ["off", "--allow", "www.example"];
    // From everything to little, from little to something else, and from that to nothing.
    let changes: [(&[&str], &[&str]); 3] = [
        (&["egress"], &["off", "--allow", "git.example"]),
        (&allowed, &["off", "--allow", "git.example"]),
        (&allowed, &["off"]),
    ];
    for (before, after) in changes {
        network(&home, &workspace, before);
        let mut client = hold();
        let changed = network(&home, &workspace, after);
        assert_eq!(changed["closed_connections"], 3, "{changed}");
        client.feed(b"go on\n");
        told.push(client.end().expect_code(0).text());
    }
    for told in &told {
        let count = |word: &str| told.lines().filter(|line| line.starts_with(word)).count();
        assert_eq!((count("refused"), count("reset")), (4, 3), "{told}");
    }
    let said = home.network_says();
    assert_eq!(said.matches("heard before").count(), 3, "{said}");
    assert!(!said.contains("heard after"), "{said}");
}
