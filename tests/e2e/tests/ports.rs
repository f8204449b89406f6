//! Ports of a workspace on this host.
#![allow(clippy::unwrap_used)]

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv6Addr, Shutdown, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use pyro_e2e::{Client, Home, Verb, Workspace, random_bytes, setting, wait_until, wait_until_some};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Answers each connection with what it was sent, in capitals, once that has ended; until then it is
/// silent. Prints `listens` first, and `gone` whenever a connection was reset.
const CAPITALS: &str = r#"
use strict; use Socket; $| = 1; $SIG{PIPE} = 'IGNORE'; $SIG{CHLD} = 'IGNORE';
socket(my $s, PF_INET, SOCK_STREAM, 0); setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
bind($s, sockaddr_in($ARGV[0], INADDR_LOOPBACK)) or die $!; listen($s, 1024); print "listens\n";
while (1) {
    accept(my $c, $s) or next;
    next if fork();
    my ($all, $n) = ('', 0);
    while ($n = sysread($c, my $piece, 65536)) { $all .= uc $piece }
    if (!defined $n) { print "gone\n"; exit }
    while (length $all) { my $w = syswrite($c, $all) or last; substr($all, 0, $w) = '' }
    exit;
}
"#;

/// Sends back what it gets while it gets it.
const ECHO: &str = r#"
use strict; use Socket; $| = 1; $SIG{PIPE} = 'IGNORE'; $SIG{CHLD} = 'IGNORE';
socket(my $s, PF_INET, SOCK_STREAM, 0); setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
bind($s, sockaddr_in($ARGV[0], INADDR_LOOPBACK)) or die $!; listen($s, 1024); print "listens\n";
while (1) {
    accept(my $c, $s) or next;
    next if fork();
    while (sysread($c, my $piece, 65536)) {
        while (length $piece) { my $w = syswrite($c, $piece) or exit; substr($piece, 0, $w) = '' }
    }
    exit;
}
"#;

/// Lets this program listen on a port of the workspace; returns once it does.
#[track_caller]
fn listens(workspace: &Workspace, program: &str, port: u16) -> Client {
    let port = port.to_string();
    let server = workspace.exec(["perl", "-e", program, &port]).start();
    server.wait_for("listens");
    server
}

/// Forwards this; the client, and the host's ports.
#[track_caller]
fn forwards(workspace: &Workspace, words: &[&str]) -> (Client, Vec<u16>) {
    let forward = workspace.call("forward", [&["--json"], words].concat()).start();
    let ports = wait_until_some(60, "the ports are told", || {
        let told: Value = serde_json::from_slice(&forward.so_far()).ok()?;
        let port = |forward: &Value| forward["host_port"].as_u64().unwrap() as u16;
        Some(told["forwards"].as_array()?.iter().map(port).collect())
    });
    (forward, ports)
}

fn capitals(port: u16, text: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_forward_carries_each_direction_to_its_end() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let _server = listens(&workspace, CAPITALS, 8000);
    let (forward, ports) = forwards(&workspace, &["0:8000"]);
    // It answers after it saw the end of what it was sent.
    assert_eq!(capitals(ports[0], "hello"), "HELLO");
    if let Ok(mut six) = TcpStream::connect((Ipv6Addr::LOCALHOST, ports[0])) {
        six.write_all(b"six").unwrap();
        six.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        six.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "SIX");
    }
    // A hundred at once, all open before the first has ended.
    let open: Vec<_> =
        (0..100).map(|_| TcpStream::connect(("127.0.0.1", ports[0])).unwrap()).collect();
    for (number, mut stream) in open.iter().enumerate() {
        stream.write_all(format!("n{number}").as_bytes()).unwrap();
    }
    for (number, mut stream) in open.iter().enumerate() {
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, format!("N{number}"));
    }
    forward.signal(Signal::INT);
    forward.end().expect_code(0);
    assert!(TcpStream::connect(("127.0.0.1", ports[0])).is_err(), "nobody listens any more");
}

#[test]
fn what_goes_both_ways_at_once_arrives_as_it_was() {
    const BYTES: usize = 8 << 20;
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let _server = listens(&workspace, ECHO, 8000);
    let (_forward, ports) = forwards(&workspace, &["0:8000"]);
    let sent: Vec<u8> = (0..BYTES).map(|at| (at * 31 + at / 251) as u8).collect();
    let mut stream = TcpStream::connect(("127.0.0.1", ports[0])).unwrap();
    let mut writing = stream.try_clone().unwrap();
    let theirs = sent.clone();
    let writer = thread::spawn(move || {
        writing.write_all(&theirs).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    let mut came = Vec::new();
    stream.read_to_end(&mut came).unwrap();
    writer.join().unwrap();
    assert_eq!(came.len(), BYTES);
    assert!(came == sent, "the bytes are others");
}

/// Sends as many MiB as it is told while it reads what comes; after both it says the digests of what it
/// sent and of what it got, on the half that is still open.
const EXCHANGE: &str = r#"
import hashlib, os, socket, sys, threading
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listens", flush=True)
c, _ = listener.accept()
sent, got = hashlib.sha256(), hashlib.sha256()
def read():
    while piece := c.recv(1 << 18): got.update(piece)
reader = threading.Thread(target=read)
reader.start()
for _ in range(int(sys.argv[2])):
    piece = os.urandom(1 << 20)
    sent.update(piece)
    c.sendall(piece)
reader.join()
c.sendall(sent.digest() + got.digest())
c.shutdown(socket.SHUT_WR)
"#;

#[test]
fn a_published_port_carries_as_much_as_one_likes_both_ways_at_once() {
    let told = setting("PYRO_E2E_PORT_MIB").map(|told| told.into_string().unwrap());
    let mebibytes: usize = told.map_or(16, |told| told.parse().unwrap());
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let words = ["python3", "-c", EXCHANGE, "8000", &mebibytes.to_string()];
    let server = workspace.exec(words).start();
    server.wait_for("listens");
    let port = (&home, &workspace).publish("0:8000");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut writing = stream.try_clone().unwrap();
    let writer = thread::spawn(move || {
        let mut sent = Sha256::new();
        for _ in 0..mebibytes {
            let piece = random_bytes(1 << 20);
            sent.update(&piece);
            writing.write_all(&piece).unwrap();
        }
        // It has no more to say, and is answered all the same.
        writing.shutdown(Shutdown::Write).unwrap();
        sent.finalize()
    });
    let mut got = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    for _ in 0..mebibytes {
        stream.read_exact(&mut piece).unwrap();
        got.update(&piece);
    }
    let mut digests = Vec::new();
    stream.read_to_end(&mut digests).unwrap();
    let (sent, got) = (writer.join().unwrap(), got.finalize());
    assert!(digests == [got.as_slice(), sent.as_slice()].concat(), "the bytes are others");
    server.end().expect_code(0);
}

#[test]
fn what_is_refused_inside_is_reset_and_told_once() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let forward = workspace.call("forward", ["0:8000"]).start();
    let told = wait_until_some(60, "the port is told", || {
        let text = String::from_utf8(forward.so_far()).unwrap();
        let address = text.strip_prefix("Forwarding 127.0.0.1:")?;
        address.split_once(' ')?.0.parse::<u16>().ok()
    });
    for _ in 0..3 {
        let mut stream = TcpStream::connect(("127.0.0.1", told)).unwrap();
        let ended = stream.read(&mut [0; 1]);
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    forward.signal(Signal::INT);
    let seen = forward.end().expect_code(0);
    assert_eq!(seen.error_text().matches("error:").count(), 1, "{seen}");
}

#[test]
fn a_taken_port_is_told_before_anything_starts() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    workspace.verb("stop").ok();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    workspace.call("forward", [&format!("{port}:8000")]).fails("port_taken");
    assert_eq!(workspace.state(), "stopped");
}

#[test]
fn a_client_that_vanishes_leaves_no_connection_inside() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let server = listens(&workspace, CAPITALS, 8000);
    let inside = || {
        let script = "grep -ci ':1F40 .* 01 ' /proc/net/tcp || true";
        workspace.sh(script).ok().text().parse::<usize>().unwrap()
    };
    let (forward, ports) = forwards(&workspace, &["0:8000"]);
    let mut stream = TcpStream::connect(("127.0.0.1", ports[0])).unwrap();
    stream.write_all(b"x").unwrap();
    wait_until(60, "it is connected inside", || inside() > 0);
    // The whole forward goes as by kill -9, while the server is silent.
    forward.signal(Signal::KILL);
    wait_until(60, "nothing is connected inside", || inside() == 0);
    assert_eq!(forward.end().signal(), Some(9));
    drop(server);
}

/// Verbs on ports of a workspace.
trait Ports {
    fn port(&self, verb: &str, words: &[&str]) -> Verb;
    /// The rows of `port list`.
    fn ports(&self) -> Vec<Value>;
    /// The port of this host that its port is published on, and how that stands.
    fn published(&self, guest_port: u16) -> (u16, String);
    /// Publishes a port on any of this host.
    fn publish(&self, port: &str) -> u16;
}

impl Ports for (&Home, &Workspace<'_>) {
    #[track_caller]
    fn port(&self, verb: &str, words: &[&str]) -> Verb {
        self.0.pyro([&["port", verb, self.1.id()], words].concat())
    }

    #[track_caller]
    fn ports(&self) -> Vec<Value> {
        self.port("list", &["--json"]).ok().json()["ports"].as_array().unwrap().clone()
    }

    #[track_caller]
    fn published(&self, guest_port: u16) -> (u16, String) {
        let ports = self.ports();
        let found = ports.iter().find(|port| port["guest_port"] == guest_port);
        let found = &found.unwrap_or_else(|| panic!("no {guest_port} in {ports:?}"))["published"];
        let host_port = found["host_port"].as_u64().unwrap() as u16;
        (host_port, found["state"].as_str().unwrap().to_owned())
    }

    #[track_caller]
    fn publish(&self, port: &str) -> u16 {
        let told = self.port("publish", &[port, "--json"]).ok().json();
        told["published_ports"][0]["host_port"].as_u64().unwrap() as u16
    }
}

/// Whether somebody listens on this port of this host.
fn is_bound(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
        || TcpStream::connect((Ipv6Addr::LOCALHOST, port)).is_ok()
}

/// Keeps a program that listens running, through stops of the workspace.
#[track_caller]
fn serves(home: &Home, workspace: &Workspace, flags: &[&str], program: &str, port: u16) -> Verb {
    let ready = format!("127.0.0.1:{port}");
    let port = port.to_string();
    let words = [&["service", "start", workspace.id(), "web", "--ready-tcp", &ready][..], flags];
    home.pyro([&words.concat()[..], &["--", "perl", "-e", program, &port]].concat())
}

#[test]
fn a_published_port_is_there_until_it_is_taken_back() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let own = (&home, &workspace);
    assert_eq!(own.ports(), Vec::<Value>::new());
    let server = listens(&workspace, CAPITALS, 8000);
    let ports = own.ports();
    assert_eq!(ports[0]["guest_port"], 8000, "{ports:?}");
    assert_eq!(ports[0]["listening_addresses"][0], "127.0.0.1");
    assert_eq!(ports[0]["published"], Value::Null);
    let port = own.publish("0:8000");
    // Half-closed, on both families.
    assert_eq!(capitals(port, "hello"), "HELLO");
    if let Ok(mut six) = TcpStream::connect((Ipv6Addr::LOCALHOST, port)) {
        six.write_all(b"six").unwrap();
        six.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        six.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "SIX");
    }
    assert_eq!(own.published(8000), (port, "listening".to_owned()));
    // Again is the same, under its number and without.
    assert_eq!(own.publish("8000"), port);
    assert_eq!(own.publish(&format!("{port}:8000")), port);
    let mut open = TcpStream::connect(("127.0.0.1", port)).unwrap();
    open.write_all(b"x").unwrap();
    wait_until(60, "it is counted", || own.ports()[0]["published"]["connections"] == 1);
    own.port("unpublish", &[&port.to_string()]).ok();
    assert_eq!(open.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(!is_bound(port));
    own.port("unpublish", &["8000"]).fails("port_not_published");
    // Nobody else is in the way of its number.
    drop(TcpListener::bind(("127.0.0.1", port)).unwrap());
    drop(server);
}

#[test]
fn published_ports_outlive_the_node_and_a_stop_of_the_workspace() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let own = (&home, &workspace);
    let listed = serves(&home, &workspace, &["--publish", "0:8000", "--json"], CAPITALS, 8000);
    let listed = listed.ok().json();
    let of_service = listed["published_ports"][0]["host_port"].as_u64().unwrap() as u16;
    let port = own.publish("0:8000");
    let both = [of_service, port];
    assert_eq!(both.map(|port| capitals(port, "one")), ["ONE", "ONE"]);
    // A node that is killed leaves nothing bound; the next has them again.
    home.kill_node();
    assert_eq!(both.map(is_bound), [false, false]);
    assert_eq!(workspace.state(), "started");
    wait_until(60, "the service's port is back", || is_bound(of_service));
    assert_eq!(both.map(|port| capitals(port, "two")), ["TWO", "TWO"]);
    workspace.verb("stop").ok();
    assert_eq!(both.map(is_bound), [false, false]);
    let states: Vec<_> = own.ports().iter().map(|it| it["published"]["state"].clone()).collect();
    assert_eq!(states, ["released", "released"]);
    // Where another has taken it meanwhile, that is told, and the other port is there.
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    workspace.verb("start").ok();
    let row = own.ports().into_iter().find(|it| it["published"]["host_port"] == port).unwrap();
    assert_eq!(row["published"]["state"], "failed", "{row}");
    assert!(row["published"]["reason"].as_str().unwrap().contains("taken"), "{row}");
    wait_until(60, "the service's port is back", || is_bound(of_service));
    drop(taken);
    assert_eq!(own.publish("8000"), port);
    let answered = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let _ = stream.write_all(b"three");
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).is_ok() && answer == "THREE"
    };
    wait_until(60, "the service answers again", answered);
    // Deleted, it has no port either.
    workspace.verb("delete").ok();
    assert_eq!(both.map(is_bound), [false, false]);
}

#[test]
fn a_services_port_comes_and_goes_with_it() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let own = (&home, &workspace);
    let service = |verb: &str| home.pyro(["service", verb, workspace.id(), "web"]);
    let flags = ["--publish", "0:8000", "--json"];
    let started = serves(&home, &workspace, &flags, CAPITALS, 8000).ok().json();
    let port = started["published_ports"][0]["host_port"].as_u64().unwrap() as u16;
    assert_eq!(started["published_ports"][0]["guest_port"], 8000, "{started}");
    assert_eq!(capitals(port, "hello"), "HELLO");
    service("stop").ok();
    assert!(!is_bound(port));
    assert_eq!(own.published(8000), (port, "released".to_owned()));
    service("restart").ok();
    assert_eq!(capitals(port, "again"), "AGAIN");
    // It ends by itself: nobody asks.
    let pid = home.pyro(["service", "status", workspace.id(), "web", "--json"]).ok().json();
    workspace.exec(["kill", "-9", &pid["pid"].to_string()]).ok();
    wait_until(60, "its port is released", || !is_bound(port));
    service("restart").ok();
    assert!(is_bound(port));
    service("delete").ok();
    wait_until(60, "its port is gone", || own.ports().is_empty());
    assert!(!is_bound(port));
}

#[test]
fn a_taken_port_changes_nothing() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let own = (&home, &workspace);
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let number = taken.local_addr().unwrap().port();
    let wanted = format!("{number}:8000");
    // Neither is published, though the first could be.
    own.port("publish", &["0:9000", &wanted]).fails("port_taken");
    assert_eq!(own.ports(), Vec::<Value>::new());
    workspace.verb("stop").ok();
    let flags = ["--publish", &wanted, "--json"];
    let refused = serves(&home, &workspace, &flags, CAPITALS, 8000).code(1).json();
    assert_eq!(refused["code"], "port_taken", "{refused}");
    assert_eq!(workspace.state(), "stopped");
    let list = home.pyro(["service", "list", workspace.id(), "--json"]).ok().json();
    assert_eq!(list["count"], 0, "{list}");
    // A service that is not started leaves the ports as they were.
    drop(taken);
    let port = own.publish("0:8000");
    let flags = ["--publish", &wanted, "--no-start", "--json"];
    let refused = serves(&home, &workspace, &flags, CAPITALS, 8000).code(1).json();
    assert_eq!(refused["code"], "workspace_stopped", "{refused}");
    let all = own.ports();
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(own.published(8000), (port, "released".to_owned()));
}

#[test]
fn of_two_that_publish_one_port_one_has_it() {
    let home = Home::new();
    let workspaces = [home.workspace("debian:12"), home.workspace("debian:12")];
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let number = free.local_addr().unwrap().port();
    drop(free);
    let wanted = format!("{number}:8000");
    let calls = workspaces
        .each_ref()
        .map(|workspace| home.pyro(["port", "publish", workspace.id(), &wanted, "--json"]).start());
    let seen = calls.map(Client::end);
    let won = seen.iter().filter(|seen| seen.exit_code() == Some(0)).count();
    assert_eq!(won, 1, "{} {}", seen[0], seen[1]);
    let lost = seen.iter().find(|seen| seen.exit_code() != Some(0)).unwrap().json();
    assert_eq!(lost["code"], "port_taken", "{lost}");
}

#[test]
fn what_idleness_stopped_is_started_by_a_connection() {
    let home = Home::new();
    let workspace = home.workspace_with(&["debian:12", "--ttl-seconds", "1"]);
    let own = (&home, &workspace);
    let port = own.publish("0:8000");
    wait_until(120, "it is stopped", || {
        let status = workspace.status();
        status["state"] == "stopped" && status["activity"].is_null()
    });
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // Nobody listens inside: it was started to find that out.
    assert_eq!(stream.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let logs = workspace.status();
    assert_eq!(logs["stop_reason"].is_null(), logs["state"] == "started", "{logs}");
    own.port("unpublish", &["8000"]).ok();
}

#[test]
fn where_a_port_listens_is_as_asked() {
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let own = (&home, &workspace);
    let _server = listens(&workspace, CAPITALS, 8000);
    let told = own.port("publish", &["127.0.0.2:0:8000", "--json"]).ok().json();
    assert_eq!(told["notices"].as_array().unwrap().len(), 0, "{told}");
    let port = told["published_ports"][0]["host_port"].as_u64().unwrap() as u16;
    assert!(!is_bound(port), "it is another address");
    TcpStream::connect(("127.0.0.2", port)).unwrap();
    let told = own.port("publish", &["0:8000", "--bind", "0.0.0.0", "--json"]).ok().json();
    assert!(told["notices"][0].as_str().unwrap().contains("whoever reaches 0.0.0.0"), "{told}");
    let port = told["published_ports"][0]["host_port"].as_u64().unwrap() as u16;
    assert_eq!(capitals(port, "all"), "ALL");
    assert_eq!(own.ports().len(), 2);
}

/// Answers each line with itself in capitals, on a thousand connections and more.
const CROWD: &str = r#"
import asyncio, resource
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
async def serve(reader, writer):
    try:
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()
    except OSError: pass
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 8000, backlog=1024)
    print("listens", flush=True)
    await server.serve_forever()
asyncio.run(main())
"#;

#[test]
fn a_thousand_connections_at_once_and_one_that_does_not_read() {
    const MANY: usize = 1000;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let home = Home::new();
    let workspace = home.workspace("debian:12");
    let own = (&home, &workspace);
    let server = workspace.exec(["python3", "-c", CROWD]).start();
    server.wait_for("listens");
    let port = own.publish("0:8000");
    let connect = || TcpStream::connect(("127.0.0.1", port)).unwrap();
    // One sends what it never reads the answers to, until nobody takes any more.
    let mut stalled = connect();
    stalled.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
    let line = [&[b'x'; 1023][..], b"\n"].concat();
    while stalled.write_all(&line).is_ok() {}
    let mut open: Vec<_> = (0..MANY).map(|_| connect()).collect();
    for (number, stream) in open.iter_mut().enumerate() {
        writeln!(stream, "n{number}").unwrap();
    }
    for (number, stream) in open.iter_mut().enumerate() {
        let mut answer = vec![0; format!("N{number}\n").len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, format!("N{number}\n").as_bytes());
    }
    assert_eq!(own.ports()[0]["published"]["connections"], MANY + 1);
    // Commands have their places all the same.
    workspace.exec(["true"]).ok();
    drop(open);
    drop(stalled);
    wait_until(120, "all of them have ended", || own.ports()[0]["published"]["connections"] == 0);
}
