//! What a workspace reaches and what it does not, in a network of the story's own: the node stands at
//! 1.2.3.1, and beside it is a machine that serves at a public address, at private ones and at that of
//! metadata services. Both say when they served a request.
#![allow(clippy::unwrap_used)]

use pyro_e2e::{Home, Workspace, wait_until};

/// Serves HTTP on these ports of every address, and says so. `/held` begins an answer that never ends.
const SERVER: &str = r#"
use strict; use Socket; $| = 1; $SIG{PIPE} = "IGNORE"; $SIG{CHLD} = "IGNORE";
my ($tag, @ports) = @ARGV; my @listeners;
for my $port (@ports) {
    socket(my $s, PF_INET6, SOCK_STREAM, 0); setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
    bind($s, pack_sockaddr_in6($port, Socket::IN6ADDR_ANY)) or die $!; listen($s, 1024) or die $!;
    push @listeners, [$port, $s];
}
for my $one (@listeners) {
    next if fork();
    my ($port, $s) = @$one;
    while (1) {
        accept(my $c, $s) or next;
        next if fork();
        my $head = "";
        while ($head !~ /\r\n\r\n/) { sysread($c, $head, 4096, length $head) or exit }
        print "served $tag $port\n";
        my $held = $head =~ m{^GET /held};
        my $body = "$tag $port\n";
        my $length = $held ? 1000000 : length $body;
        syswrite($c, "HTTP/1.1 200 OK\r\nContent-Length: $length\r\nConnection: close\r\n\r\n$body");
        if ($held) { while (sysread($c, my $rest, 4096)) {} }
        exit;
    }
}
print "$tag serves\n";
sleep 1000000;
"#;

const HOSTS: &str = "\
127.0.0.1 localhost loop.example loop.wild.example
1.2.3.4 public.example other.example
2a00:1::4 public.example
1.2.3.1 host.example
10.0.0.9 private.example db.wild.example
169.254.169.254 metadata.google.internal metadata.wild.example
1.2.3.4 www.wild.example a.b.wild.example
";

/// A home whose node sees that network and no other.
#[track_caller]
fn home() -> Home {
    let servers = format!(
        "cat > /mnt/server.pl <<'SERVER'\n{SERVER}\nSERVER\n\
         nsenter -t $far -n perl /mnt/server.pl far 80 53 443 8080 &\n\
         perl /mnt/server.pl host 80 53 443 8080 &"
    );
    Home::new().beside_a_far_machine(HOSTS, &servers, &["far serves", "host serves"])
}

/// How often a machine has served a request.
fn served(home: &Home, tag: &str) -> usize {
    home.network_says().lines().filter(|line| line.starts_with(&format!("served {tag}"))).count()
}

fn curl(workspace: &Workspace, url: &str) -> pyro_e2e::Verb {
    workspace.exec(["curl", "-sS", "-g", "--max-time", "60", url])
}

#[track_caller]
fn network(home: &Home, workspace: &Workspace, words: &[&str]) -> serde_json::Value {
    let all = [&["workspace", "network", "set", "--json", workspace.id()], words].concat();
    home.pyro(all).ok().json()
}

#[test]
fn egress_reaches_what_is_public_and_nothing_else() {
    let home = home();
    let workspace = home.workspace_with(&["debian:12", "--network", "egress"]);
    for url in ["http://1.2.3.4/", "http://public.example/", "http://[2a00:1::4]:8080/"] {
        assert!(curl(&workspace, url).ok().text().starts_with("far "), "{url}");
    }
    for url in [
        "http://1.2.3.1/",
        "http://[2a00:1::1]/",
        "http://10.0.0.9/",
        "http://169.254.169.254/",
        "http://[fd00::9]/",
    ] {
        curl(&workspace, url).code(7);
    }
    for url in
        ["http://private.example/", "http://loop.example/", "http://metadata.google.internal/"]
    {
        curl(&workspace, url).code(6);
    }
    assert_eq!((served(&home, "far"), served(&home, "host")), (3, 0));
    let told = curl(&workspace, "http://10.0.0.9/").code(7).error_text();
    assert!(told.contains("--allow 10.0.0.9:80"), "{told}");
    let log = home.pyro(["workspace", "network", "log", workspace.id()]).ok().text();
    assert!(log.lines().any(|line| line.contains("denied") && line.contains("by curl")), "{log}");
    let status = workspace.status();
    assert_eq!(status["network_policy"], "egress");
    assert_eq!(status["network_enabled"], true);
}

#[test]
fn an_allow_list_reaches_what_it_names_and_changes_at_once() {
    let home = home();
    let allow = ["debian:12", "--allow", "public.example:80"];
    let workspace = home.workspace_with(&allow);
    curl(&workspace, "http://public.example/").ok();
    curl(&workspace, "http://public.example:8080/").code(7);
    curl(&workspace, "http://other.example/").code(6);
    curl(&workspace, "http://1.2.3.4:8080/").code(7);
    assert_eq!(served(&home, "far"), 1);
    let held = workspace
        .exec(["curl", "-sS", "-N", "--max-time", "300", "http://public.example/held"])
        .start();
    held.wait_for("far 80");
    let changed = network(&home, &workspace, &["--allow", "other.example"]);
    assert_eq!(changed["closed_connections"], 1, "{changed}");
    // A transfer that was cut, or a connection that was reset.
    let code = held.end().exit_code().unwrap_or_default();
    assert!(matches!(code, 18 | 56), "{code}");
    curl(&workspace, "http://public.example/").code(6);
    curl(&workspace, "http://other.example/").ok();
    network(&home, &workspace, &["--add", "--allow", "public.example"]);
    curl(&workspace, "http://public.example/").ok();
    network(&home, &workspace, &["off"]);
    wait_until(30, "the interface is gone", || {
        !workspace.sh("cat /proc/net/dev").ok().text().contains("pyro0")
    });
    curl(&workspace, "http://public.example/").code(6);
}

#[test]
fn without_a_network_there_is_loopback_and_nothing_else() {
    let home = home();
    let workspace = home.workspace("debian:12");
    let interfaces = workspace.sh("tail -n +3 /proc/net/dev | cut -d: -f1").ok().text();
    assert_eq!(interfaces.trim(), "lo");
    assert_eq!(workspace.status()["network_policy"], "off");
    curl(&workspace, "http://1.2.3.4/").code(7);
    curl(&workspace, "http://public.example/").code(6);
    assert_eq!(served(&home, "far"), 0);
}

#[test]
fn a_policy_outlives_stops_and_nodes_and_a_restarted_workload() {
    let home = home();
    let workspace = home.workspace_with(&["debian:12", "--allow", "1.2.3.4:80"]);
    curl(&workspace, "http://1.2.3.4/").ok();
    home.kill_node();
    curl(&workspace, "http://1.2.3.4/").ok();
    curl(&workspace, "http://1.2.3.4:8080/").code(7);
    workspace.verb("stop").ok();
    curl(&workspace, "http://1.2.3.4/").ok();
    curl(&workspace, "http://1.2.3.4:8080/").code(7);
    workspace.sh("python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x1234567)'").seen();
    wait_until(60, "the workload is there again", || workspace.status()["workload_restarts"] == 1);
    curl(&workspace, "http://1.2.3.4/").ok();
    curl(&workspace, "http://1.2.3.4:8080/").code(7);
    workspace.exec(["python3", "-c", TAKE_AWAY]).ok();
    wait_until(60, "the interface is there again", || {
        workspace.sh("cat /proc/net/dev").ok().text().contains("pyro0")
    });
    curl(&workspace, "http://1.2.3.4/").ok();
    assert_eq!(workspace.status()["network_allow"], serde_json::json!(["1.2.3.4:80"]));
}

/// Deletes the interface from within (rtnetlink(7), `RTM_DELLINK`).
const TAKE_AWAY: &str = r#"
import socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
body = struct.pack("BxHiII", 0, 0, socket.if_nametoindex("pyro0"), 0, 0)
s.send(struct.pack("IHHII", 16 + len(body), 17, 5, 1, 0) + body)
assert s.recv(100)[16:20] == bytes(4)
"#;

/// Tries to get out, and says of each try whether somebody answered.
const ESCAPES: &str = r#"
import socket, struct, os, time
def tcp(host, port, send=b"GET / HTTP/1.1\r\nHost: public.example\r\n\r\n", family=None, source=None):
    found = socket.getaddrinfo(host, port, family or 0, socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    s = socket.socket(family, kind, protocol); s.settimeout(3)
    if source: s.setsockopt(socket.SOL_IP, 15, 1); s.bind((source, 0))
    s.connect(address); s.sendall(send)
    got = s.recv(4096)
    if not got: raise OSError("cut")
    return got
def udp(host, port, send=b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x05other\x07example\0\0\x01\0\x01"):
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(3)
    s.connect((host, port)); s.send(send); return s.recv(4096)
def header(source, to, protocol, body, flags=0, offset=0):
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 7, flags | offset, 64, protocol, 0,
        socket.inet_aton(source), socket.inet_aton(to)) + body
SYN = struct.pack("!HHIIBBHHH", 5555, 80, 1, 0, 0x50, 2, 65535, 0, 0)
def raw(packet):
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    back = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)); back.settimeout(1)
    s.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
    until = time.monotonic() + 1
    while time.monotonic() < until:
        got, where = back.recvfrom(70000)
        if where[2] != 4 and got[9] == 6 and got[33] & 0x12 == 0x12: return got
    raise OSError("silence")
def frame(packet):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0x0800); s.settimeout(1)
    s.bind(("pyro0", 0x0800)); s.send(packet); return s.recv(4096) if False else silent()
def silent(): raise OSError("silence")
def request(text): return lambda: tcp("1.2.3.4", 80, text)
cases = [
    ("an address before any look-up", lambda: tcp("1.2.3.4", 80)),
    ("the host", lambda: tcp("1.2.3.1", 80)),
    ("the host's IPv6", lambda: tcp("2a00:1::1", 80)),
    ("loopback", lambda: tcp("127.0.0.1", 80)),
    ("IPv6 loopback", lambda: tcp("::1", 80)),
    ("the gateway", lambda: tcp("198.18.0.1", 80)),
    ("the gateway's ssh", lambda: tcp("198.18.0.1", 22)),
    ("beside the gateway", lambda: tcp("198.18.0.9", 80)),
    ("the IPv6 gateway", lambda: tcp("fd70:7972:6f00::1", 80)),
    ("10/8", lambda: tcp("10.0.0.9", 80)),
    ("192.168/16", lambda: tcp("192.168.0.9", 80)),
    ("172.16/12", lambda: tcp("172.16.0.9", 80)),
    ("100.64/10", lambda: tcp("100.64.0.9", 80)),
    ("metadata", lambda: tcp("169.254.169.254", 80)),
    ("this network", lambda: tcp("0.0.0.0", 80)),
    ("0/8", lambda: tcp("0.1.2.3", 80)),
    ("multicast", lambda: tcp("224.0.0.1", 80)),
    ("reserved", lambda: tcp("240.0.0.1", 80)),
    ("broadcast", lambda: tcp("255.255.255.255", 80)),
    ("mapped host", lambda: tcp("::ffff:1.2.3.1", 80)),
    ("mapped loopback", lambda: tcp("::ffff:127.0.0.1", 80)),
    ("mapped private", lambda: tcp("::ffff:10.0.0.9", 80)),
    ("compatible host", lambda: tcp("::1.2.3.1", 80)),
    ("NAT64", lambda: tcp("64:ff9b::102:301", 80)),
    ("6to4", lambda: tcp("2002:102:301::1", 80)),
    ("unique local", lambda: tcp("fd00::9", 80)),
    ("link-local", lambda: tcp("fe80::1%pyro0", 80)),
    ("IPv6 multicast", lambda: tcp("ff02::1%pyro0", 80)),
    ("public IPv6 before any look-up", lambda: tcp("2a00:1::4", 80)),
    ("a name that is not allowed", lambda: tcp("other.example", 80)),
    ("the host's name", lambda: tcp("host.example", 80)),
    ("an allowed name of loopback", lambda: tcp("loop.wild.example", 80)),
    ("an allowed name of a private address", lambda: tcp("db.wild.example", 80)),
    ("an allowed name of metadata", lambda: tcp("metadata.wild.example", 80)),
    ("two labels under a wildcard", lambda: tcp("a.b.wild.example", 80)),
    ("a metadata name", lambda: tcp("metadata.google.internal", 80)),
    ("another resolver", lambda: udp("1.2.3.4", 53)),
    ("another resolver by TCP", lambda: tcp("1.2.3.4", 53)),
    ("another resolver by IPv6", lambda: udp("2a00:1::4", 53)),
    ("the gateway's other ports by UDP", lambda: udp("198.18.0.1", 54)),
    ("QUIC", lambda: udp("1.2.3.4", 443)),
    ("a foreign source", lambda: tcp("1.2.3.4", 80, source="10.9.9.9")),
    ("a raw packet with a foreign source", lambda: raw(header("10.9.9.9", "1.2.3.4", 6, SYN))),
    ("a raw packet as the gateway", lambda: raw(header("198.18.0.1", "1.2.3.4", 6, SYN))),
    ("a first fragment", lambda: raw(header("198.18.0.2", "1.2.3.4", 6, SYN, flags=0x2000))),
    ("a later fragment", lambda: raw(header("198.18.0.2", "1.2.3.4", 6, SYN, offset=3))),
    ("SCTP", lambda: raw(header("198.18.0.2", "1.2.3.4", 132, SYN))),
    ("GRE", lambda: raw(header("198.18.0.2", "1.2.3.4", 47, SYN))),
    ("a tunnel in IP", lambda: raw(header("198.18.0.2", "1.2.3.4", 4, header("198.18.0.2", "1.2.3.4", 6, SYN)))),
    ("a packet of the interface's own", lambda: frame(header("10.9.9.9", "1.2.3.4", 6, SYN))),
    ("half a packet", lambda: frame(header("198.18.0.2", "1.2.3.4", 6, SYN)[:30])),
    ("the agent's listener", lambda: [tcp("198.18.0.2", int(line.split()[1].split(":")[1], 16)) for line in open("/proc/net/tcp").readlines()[1:] if line.split()[3] == "0A"] or silent()),
]
after = [
    ("another port of an allowed name", lambda: tcp("1.2.3.4", 8080)),
    ("another Host", request(b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n")),
    ("no Host", request(b"GET / HTTP/1.1\r\n\r\n")),
    ("two Hosts", request(b"GET / HTTP/1.1\r\nHost: public.example\r\nHost: other.example\r\n\r\n")),
    ("CONNECT", request(b"CONNECT other.example:80 HTTP/1.1\r\nHost: public.example\r\n\r\n")),
    ("another absolute target", request(b"GET http://other.example/ HTTP/1.1\r\nHost: public.example\r\n\r\n")),
    ("HTTP/2", request(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 9)),
    ("no HTTP on 80", request(b"SSH-2.0-x\r\n\r\n\r\n")),
    ("a folded Host", request(b"GET / HTTP/1.1\r\nHost:\r\n other.example\r\n\r\n")),
]
def attempt(name, case):
    try: print("REACHED" if case() else "empty", name, flush=True)
    except OSError as error: print("stopped", name, error, flush=True)
for name, case in cases: attempt(name, case)
socket.gethostbyname("public.example")
for name, case in after: attempt(name, case)
print("tried", len(cases) + len(after), flush=True)
"#;

/// Sends more than anybody answers.
const FLOODS: &str = r#"
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setblocking(False)
for number in range(5000):
    try: s.sendto(b"x" * 1000, ("1.2.3.4", number % 60000 + 1))
    except OSError: pass
query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x05other\x07example\0\0\x01\0\x01"
for number in range(1500):
    try: s.sendto(query, ("198.18.0.1", 53))
    except OSError: pass
held = []
for number in range(1500):
    c = socket.socket(); c.setblocking(False); held.append(c)
    try: c.connect(("10.0.0.9", number + 1))
    except OSError: pass
for c in held: c.close()
"#;

#[test]
fn whatever_it_tries_it_stays_inside() {
    let home = home();
    let allow = ["--allow", "public.example:80", "--allow", "*.wild.example"];
    let workspace = home.workspace_with(&[&["debian:12"], &allow[..]].concat());
    let tried = workspace.exec(["python3", "-c", ESCAPES]).ok().text();
    let stopped = tried.lines().filter(|line| line.starts_with("stopped")).count();
    assert!(!tried.contains("REACHED"), "{tried}");
    assert!(stopped >= 60, "{stopped} of:\n{tried}");
    assert_eq!((served(&home, "far"), served(&home, "host")), (0, 0), "{tried}");
    workspace.exec(["python3", "-c", FLOODS]).ok();
    // And what is allowed goes on working after the floods.
    curl(&workspace, "http://public.example/").ok();
    curl(&workspace, "http://www.wild.example:8080/").ok();
    assert_eq!((served(&home, "far"), served(&home, "host")), (2, 0));
}

#[test]
fn a_thousand_connections_at_once_and_one_that_does_not_read() {
    let home = home();
    let workspace = home.workspace_with(&["debian:12", "--network", "egress"]);
    let script = r#"
import socket
stalled = [socket.create_connection(("1.2.3.4", 80)) for _ in range(1000)]
for s in stalled: s.sendall(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
print(sum(s.recv(4096).startswith(b"HTTP") for s in stalled))
"#;
    let answered = workspace.exec(["python3", "-c", script]).ok().text();
    assert_eq!(answered.trim(), "1000");
    wait_until(60, "all of them have ended", || {
        let shown = home.pyro(["workspace", "network", "show", "--json", workspace.id()]);
        shown.ok().json()["open_connections"] == 0
    });
    curl(&workspace, "http://1.2.3.4/").ok();
}
