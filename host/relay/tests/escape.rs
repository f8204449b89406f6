//! The ways out that a guest may try, each with its name, and what becomes of it.
//!
//! The world of every case: `good.example` is allowed on every port and is 1.2.3.4; `web.example` is
//! allowed and shares that address; `evil.example` is not allowed and shares it too; the host's own
//! public address is 198.41.0.4. What passes reaches a server on the loopback, so a case that should
//! not pass would be seen there.
#![allow(clippy::unwrap_used)]

mod support;

use std::{net::IpAddr, sync::Arc, time::Duration};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RecordType},
};
use pyro_relay::{CarryError, Limits, Policy, Reason, Refusal, Relay, Transport, Verdict};
use support::{
    World, ask, at, look_up, process,
    samples::{client_hello, records},
    server,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    time::timeout,
};

const LONG: Duration = Duration::from_secs(20);
const RULES: &[&str] = &["good.example", "web.example", "*.wild.example:443"];

fn world() -> Arc<World> {
    let world = World::new();
    for name in ["good.example", "web.example", "evil.example", "a.wild.example"] {
        world.name(name, &["1.2.3.4"]);
    }
    world
}

async fn reason(relay: &Relay, address: &str, port: u16) -> Reason {
    match relay.connect(at(address, port), process()).await {
        Err(Refusal::Denied(denial)) => denial.reason,
        Err(other) => panic!("{address}:{port}: {other:?}"),
        Ok(_) => panic!("{address}:{port} was reached"),
    }
}

/// Addresses that no policy but one that names them reaches, each a case.
const NEVER: &[(&str, &str)] = &[
    ("loopback", "127.0.0.1"),
    ("loopback, elsewhere in its range", "127.8.9.10"),
    ("loopback, IPv6", "::1"),
    ("loopback, IPv4-mapped", "::ffff:127.0.0.1"),
    ("loopback, IPv4-compatible", "::127.0.0.1"),
    ("loopback, by NAT64", "64:ff9b::7f00:1"),
    ("loopback, by 6to4", "2002:7f00:1::1"),
    ("unspecified", "0.0.0.0"),
    ("unspecified, IPv6", "::"),
    ("this network", "0.1.2.3"),
    ("private, class A", "10.0.0.1"),
    ("private, class B", "172.31.0.1"),
    ("private, class C", "192.168.1.1"),
    ("private, IPv4-mapped", "::ffff:192.168.1.1"),
    ("private, by NAT64", "64:ff9b::c0a8:101"),
    ("private, by a local NAT64", "64:ff9b:1::a00:1"),
    ("private, IPv6", "fd12:3456::1"),
    ("carrier-grade NAT", "100.64.0.1"),
    ("link-local", "169.254.1.1"),
    ("link-local, IPv6", "fe80::1"),
    ("metadata", "169.254.169.254"),
    ("metadata, IPv4-mapped", "::ffff:169.254.169.254"),
    ("metadata, by NAT64", "64:ff9b::a9fe:a9fe"),
    ("metadata, AWS IPv6", "fd00:ec2::254"),
    ("metadata, Alibaba", "100.100.100.200"),
    ("metadata, Azure", "168.63.129.16"),
    ("multicast", "224.0.0.251"),
    ("multicast, IPv6", "ff02::fb"),
    ("broadcast", "255.255.255.255"),
    ("reserved", "240.0.0.1"),
    ("benchmarks", "198.18.0.1"),
    ("documentation", "203.0.113.1"),
    ("Teredo", "2001:0:7f00:1::1"),
    ("the host's own public address", "198.41.0.4"),
    ("the host's own public address, IPv4-mapped", "::ffff:198.41.0.4"),
];

#[tokio::test]
async fn special_addresses_under_egress() {
    let world = world();
    let relay = world.relay_with(Policy::egress(), Limits::default());
    for (case, address) in NEVER {
        assert_eq!(reason(&relay, address, 80).await, Reason::SpecialAddress, "{case}");
    }
    assert_eq!(world.dialed.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn special_addresses_under_rules_that_are_wide() {
    let relay = world().relay(&["0.0.0.0/0", "::/0", "**.example"]);
    for (case, address) in NEVER {
        assert_eq!(reason(&relay, address, 80).await, Reason::SpecialAddress, "{case}");
    }
}

#[tokio::test]
async fn names_that_resolve_to_special_addresses() {
    for policy in [Policy::egress(), Policy::parse("off", &["**.example"]).unwrap()] {
        let world = world();
        let limits = Limits { queries: 10_000, lookups: 10_000, ..Limits::default() };
        let relay = world.relay_with(policy, limits);
        for (index, (case, address)) in NEVER.iter().enumerate() {
            let name = format!("n{index}.trap.example");
            world.name(&name, &[address]);
            assert_eq!(look_up(&relay, &name).await, [] as [IpAddr; 0], "{case}");
            let denied = relay.log().recent().pop().unwrap();
            assert_eq!(denied.reason, Some(Reason::SpecialAddress), "{case}");
            assert_eq!(reason(&relay, address, 443).await, Reason::SpecialAddress, "{case}");
        }
        // Among others, the others are told.
        world.name("mixed.example", &["10.0.0.1", "1.2.3.4", "::1"]);
        assert_eq!(look_up(&relay, "mixed.example").await, ["1.2.3.4".parse::<IpAddr>().unwrap()]);
    }
}

#[tokio::test]
async fn raw_addresses_under_an_allow_list() {
    let relay = world().relay(RULES);
    // Before anybody looked the name up, also its own address.
    for address in ["1.2.3.4", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"] {
        assert_eq!(reason(&relay, address, 443).await, Reason::NotAllowed, "{address}");
    }
    look_up(&relay, "good.example").await;
    assert_eq!(reason(&relay, "1.2.3.5", 443).await, Reason::NotAllowed);
    // Other resolvers, by every port that one has.
    for port in [53, 853, 443] {
        assert_eq!(reason(&relay, "8.8.8.8", port).await, Reason::NotAllowed);
    }
}

#[tokio::test]
async fn ports_that_no_rule_names() {
    let relay = world().relay(RULES);
    look_up(&relay, "a.wild.example").await;
    assert_eq!(reason(&relay, "1.2.3.4", 22).await, Reason::PortNotAllowed);
    let denied = relay.log().recent().pop().unwrap();
    assert_eq!(denied.hint.as_deref(), Some("--allow a.wild.example:22"));
    assert_eq!(denied.process, process());
}

#[tokio::test]
async fn names_that_no_rule_names_do_not_go_out() {
    let world = world();
    let relay = world.relay(RULES);
    let long = format!("{}.wild.example.", "x".repeat(63));
    for name in [
        "evil.example.",
        "good.example.evil.example.",
        "xgood.example.",
        "wild.example.",
        "secret.data.wild.example.",
        "localhost.",
        "a.localhost.",
        "good.",
        "printer.local.",
        "metadata.google.internal.",
        "127.0.0.1.",
        "0x7f000001.",
        "2130706433.",
        ".",
    ] {
        let (code, found) = ask(&relay, name, RecordType::A).await;
        assert_eq!((code, found.len()), (ResponseCode::NXDomain, 0), "{name}");
    }
    assert!(world.asked.lock().unwrap().is_empty());
    // One look-up of the exact name is what a wildcard costs.
    ask(&relay, &long, RecordType::A).await;
    ask(&relay, &long.to_uppercase(), RecordType::AAAA).await;
    assert_eq!(world.asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn records_that_carry_other_things() {
    let world = world();
    let relay = world.relay(RULES);
    for kind in
        [RecordType::TXT, RecordType::HTTPS, RecordType::SVCB, RecordType::NULL, RecordType::MX]
    {
        let (code, found) = ask(&relay, "good.example.", kind).await;
        assert_eq!((code, found.len()), (ResponseCode::NoError, 0), "{kind}");
    }
    for kind in [RecordType::ANY, RecordType::AXFR] {
        assert_eq!(ask(&relay, "good.example.", kind).await.0, ResponseCode::Refused);
    }
    assert!(world.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn messages_that_are_none() {
    let relay = world().relay(RULES);
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii("good.example.").unwrap(), RecordType::A));
    message.queries[0].set_query_class(DNSClass::CH);
    let bytes = message.to_vec().unwrap();
    for length in 0..bytes.len() {
        if let Some(answer) = relay.dns(&bytes[..length], Transport::Tcp, None).await {
            assert_eq!(answer[3] & 15, 1, "FORMERR");
        }
    }
    // A name that points at itself.
    let mut circle = bytes[..12].to_vec();
    circle.extend([0xc0, 12, 0, 1, 0, 1]);
    assert_eq!(relay.dns(&circle, Transport::Udp, None).await.unwrap()[3] & 15, 1);
}

#[tokio::test]
async fn a_flood_of_look_ups() {
    let world = world();
    let limits = Limits { queries: 100, lookups: 2, looking_up: 4, ..Limits::default() };
    let relay = world.relay_with(Policy::egress(), limits);
    let mut failed = 0;
    for number in 0..1000 {
        let name = format!("x{number}.tunnel.example.");
        failed += usize::from(ask(&relay, &name, RecordType::A).await.0 == ResponseCode::ServFail);
    }
    assert_eq!((world.asked.lock().unwrap().len(), failed), (20, 980));
    assert_eq!(relay.figures().queries_flooded, 980);
    world.pass(1);
    ask(&relay, "later.example.", RecordType::A).await;
    assert_eq!(world.asked.lock().unwrap().len(), 21);
}

#[tokio::test]
async fn rebinding_between_two_look_ups() {
    let world = world();
    let relay = world.relay(RULES);
    assert_eq!(look_up(&relay, "good.example").await.len(), 1);
    world.name("good.example", &["127.0.0.1", "10.0.0.1", "198.41.0.4"]);
    world.pass(61);
    assert!(look_up(&relay, "good.example").await.is_empty());
    for address in ["127.0.0.1", "10.0.0.1", "198.41.0.4"] {
        assert_eq!(reason(&relay, address, 80).await, Reason::SpecialAddress);
    }
    // An address that becomes the host's own later is refused when it is connected to.
    world.own(&["1.2.3.4"]);
    world.pass(2);
    assert_eq!(reason(&relay, "1.2.3.4", 80).await, Reason::SpecialAddress);
}

#[tokio::test]
async fn addresses_of_names_expire() {
    let world = world();
    let relay = world.relay(RULES);
    let (_listener, port) = server(22).await;
    look_up(&relay, "good.example").await;
    world.pass(599);
    let open = relay.connect(at("1.2.3.4", port), None).await.unwrap();
    world.pass(3600);
    // While a connection is open, its address stays what it was.
    drop(relay.connect(at("1.2.3.4", port), None).await.unwrap());
    drop(open);
    assert_eq!(reason(&relay, "1.2.3.4", port).await, Reason::NotAllowed);
}

#[tokio::test]
async fn one_workspace_knows_nothing_of_anothers_names() {
    let world = world();
    let (one, other) = (world.relay(RULES), world.relay(RULES));
    look_up(&one, "good.example").await;
    assert_eq!(reason(&other, "1.2.3.4", 443).await, Reason::NotAllowed);
}

#[tokio::test]
async fn a_policy_that_changes_during_a_look_up() {
    let world = world();
    let relay = world.relay(RULES);
    let hold = Arc::new(tokio::sync::Notify::new());
    *world.hold.lock().unwrap() = Some(hold.clone());
    let asking = {
        let relay = relay.clone();
        tokio::spawn(async move { ask(&relay, "good.example.", RecordType::A).await })
    };
    while world.asked.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    relay.set_policy(Policy::parse("off", &["web.example"]).unwrap());
    hold.notify_one();
    assert_eq!(asking.await.unwrap(), (ResponseCode::NXDomain, vec![]));
    assert_eq!(reason(&relay, "1.2.3.4", 443).await, Reason::NotAllowed);
}

/// What a guest sends on a connection that a name let through, and why it does not pass.
#[tokio::test]
async fn first_bytes() {
    let tls = |name: Option<&str>| records(&client_hello(name, &[]), 16_000);
    let get = |head: &str| format!("GET / HTTP/1.1\r\n{head}\r\n\r\n").into_bytes();
    let good = "Host: good.example";
    let two_hellos = [tls(Some("good.example")), tls(Some("evil.example"))].concat();
    let smuggled = format!(
        "POST / HTTP/1.1\r\n{good}\r\nContent-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
         GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    );
    let second = format!(
        "POST / HTTP/1.1\r\n{good}\r\nContent-Length: 2\r\n\r\nhi\
         GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    );
    let chunked = format!(
        "POST / HTTP/1.1\r\n{good}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\
         GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    );
    let cases: Vec<(&str, u16, Vec<u8>, Reason)> = vec![
        (
            "SNI of another name of the address",
            443,
            tls(Some("evil.example")),
            Reason::OtherServerName,
        ),
        (
            "SNI of an allowed name of another address",
            443,
            tls(Some("b.wild.example")),
            Reason::OtherServerName,
        ),
        ("no SNI", 443, tls(None), Reason::NoServerName),
        ("SNI that is an address", 443, tls(Some("1.2.3.4")), Reason::Malformed),
        ("SNI with a zero byte", 443, tls(Some("good.example\0.evil.example")), Reason::Malformed),
        (
            "another SNI on a port of no one's",
            8443,
            tls(Some("evil.example")),
            Reason::OtherServerName,
        ),
        ("TLS with another SNI on port 80", 80, tls(Some("evil.example")), Reason::OtherServerName),
        (
            "another SNI in small records",
            443,
            records(&client_hello(Some("evil.example"), &[]), 10),
            Reason::OtherServerName,
        ),
        ("another SNI after a HelloRetryRequest", 443, two_hellos, Reason::OtherServerName),
        (
            "an empty record before the hello",
            443,
            [&[0x16, 3, 1, 0, 0][..], &tls(Some("evil.example"))].concat(),
            Reason::Malformed,
        ),
        ("SSH on 443", 443, b"SSH-2.0-x\r\n".to_vec(), Reason::OtherProtocol),
        ("HTTP on 443", 443, get(good), Reason::OtherProtocol),
        ("raw bytes on 80", 80, b"\x05\x01\x00".to_vec(), Reason::OtherProtocol),
        ("another Host", 80, get("Host: evil.example"), Reason::OtherHost),
        ("another Host on a port of no one's", 8080, get("Host: evil.example"), Reason::OtherHost),
        (
            "another Host behind an empty line",
            8080,
            [&b"\r\n"[..], &get("Host: evil.example")].concat(),
            Reason::OtherHost,
        ),
        ("no Host", 80, get("X: y"), Reason::Malformed),
        ("two Hosts", 80, get(&format!("{good}\r\nHost: evil.example")), Reason::Malformed),
        ("a Host that is an address", 80, get("Host: 169.254.169.254"), Reason::OtherHost),
        (
            "a folded Host",
            80,
            get("X: y\r\n Host: evil.example\r\nHost: good.example"),
            Reason::Malformed,
        ),
        (
            "another Host in the target",
            80,
            format!("GET http://evil.example/ HTTP/1.1\r\n{good}\r\n\r\n").into_bytes(),
            Reason::Malformed,
        ),
        (
            "CONNECT",
            80,
            format!("CONNECT evil.example:443 HTTP/1.1\r\n{good}\r\n\r\n").into_bytes(),
            Reason::OtherProtocol,
        ),
        (
            "CONNECT on a proxy's port",
            3128,
            format!("CONNECT evil.example:443 HTTP/1.1\r\n{good}\r\n\r\n").into_bytes(),
            Reason::OtherProtocol,
        ),
        (
            "HTTP/2 without TLS",
            80,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            Reason::OtherProtocol,
        ),
        ("HTTP/0.9", 8080, b"GET /\r\n".to_vec(), Reason::OtherProtocol),
        ("a second request for another Host", 80, second.into_bytes(), Reason::OtherHost),
        ("a request behind a chunked one", 80, chunked.into_bytes(), Reason::OtherHost),
        ("a request hidden in another's body", 80, smuggled.into_bytes(), Reason::Malformed),
        (
            "a method that nobody knows",
            8080,
            b"FOO / HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_vec(),
            Reason::OtherHost,
        ),
        (
            "a tab for a space",
            8080,
            b"FOO\t/ HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_vec(),
            Reason::OtherProtocol,
        ),
    ];
    for (case, port, bytes, expected) in cases {
        for chunk in [bytes.len(), 1] {
            assert_eq!(send(port, &bytes, chunk).await, Err(expected), "{case}");
        }
    }
    // And what should pass does, so that the above shows something.
    let websocket = get(&format!("{good}\r\nUpgrade: websocket"));
    for (case, port, bytes) in [
        ("TLS for the name", 443, tls(Some("good.example"))),
        ("TLS for another allowed name of the address", 443, tls(Some("web.example"))),
        ("TLS on another port", 8443, tls(Some("GOOD.example"))),
        ("HTTP for the name", 80, get(good)),
        ("HTTP on another port", 8080, get("Host: web.example:8080")),
        ("a websocket", 80, websocket),
        ("SSH", 2222, b"SSH-2.0-x y\r\n".to_vec()),
    ] {
        assert_eq!(send(port, &bytes, bytes.len()).await, Ok(bytes.len()), "{case}");
    }
}

/// Sends bytes in pieces to 1.2.3.4, and says how many reached the server, or why not.
async fn send(port: u16, bytes: &[u8], chunk: usize) -> Result<usize, Reason> {
    let world = world();
    let relay = world.relay(RULES);
    look_up(&relay, "good.example").await;
    look_up(&relay, "web.example").await;
    let (listener, port) = server(port).await;
    let outgoing = relay.connect(at("1.2.3.4", port), process()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let (mut guest, inner) = duplex(64 * 1024);
    let carried = tokio::spawn(outgoing.carry(inner));
    for piece in bytes.chunks(chunk) {
        if guest.write_all(piece).await.is_err() {
            break;
        }
    }
    let _ = guest.shutdown().await;
    let mut received = Vec::new();
    let read = timeout(LONG, server.read_to_end(&mut received)).await.unwrap();
    drop(server);
    match timeout(LONG, carried).await.unwrap().unwrap() {
        Ok(_) => {
            read.unwrap();
            Ok(received.len())
        }
        Err(CarryError::Denied(denial)) => {
            // A reset, a line in the log, and nothing of the forbidden request at the server.
            assert!(read.is_err());
            assert!(!String::from_utf8_lossy(&received).contains("evil"), "{received:?}");
            let denied = relay.log().recent().pop().unwrap();
            assert_eq!((denied.verdict, denied.reason), (Verdict::Denied, Some(denial.reason)));
            assert!(denied.hint.unwrap().starts_with("--allow "));
            Err(denial.reason)
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_loop_of_denials_is_one_line() {
    let relay = world().relay(RULES);
    for _ in 0..500 {
        reason(&relay, "8.8.8.8", 53).await;
    }
    let lines = relay.log().recent();
    assert_eq!((lines.len(), lines[0].count), (1, 500));
    assert_eq!(relay.figures().denied, 500);
}
