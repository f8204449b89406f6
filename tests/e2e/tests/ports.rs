//! Ports of a workspace on this host.
#![allow(clippy::unwrap_used)]

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv6Addr, Shutdown, TcpListener, TcpStream},
    thread,
};

use pyro_e2e::{Client, Home, Workspace, wait_until, wait_until_some};
use rustix::process::Signal;
use serde_json::Value;

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
