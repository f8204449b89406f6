//! Connections through a relay, with real servers on the loopback.
#![allow(clippy::unwrap_used)]

mod support;

use std::{sync::atomic::Ordering, time::Duration};

use pyro_relay::{CarryError, Limits, Policy, Reason, Refusal, Verdict};
use support::{World, at, look_up, process, server};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    time::timeout,
};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

fn literal(port: u16) -> Policy {
    Policy::parse("off", &[format!("127.0.0.1:{port}")]).unwrap()
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    let (listener, port) = server(0).await;
    let relay = World::new().relay_with(literal(port), Limits::default());
    let outgoing = relay.connect(at("127.0.0.1", port), process()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let (mut guest, inner) = duplex(1024);
    let carried = tokio::spawn(outgoing.carry(inner));
    guest.write_all(b"request").await.unwrap();
    guest.shutdown().await.unwrap();
    let mut request = Vec::new();
    server.read_to_end(&mut request).await.unwrap();
    assert_eq!(request, b"request");
    server.write_all(b"an answer after the end").await.unwrap();
    drop(server);
    let mut answer = Vec::new();
    guest.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"an answer after the end");
    let carried = carried.await.unwrap().unwrap();
    assert_eq!((carried.sent, carried.received), (7, 23));
    let figures = relay.figures();
    assert_eq!((figures.bytes_sent, figures.bytes_received), (7, 23));
    assert_eq!((figures.open_connections, figures.connections, figures.buffer_bytes), (0, 1, 0));
}

#[tokio::test]
async fn much_data_both_ways_is_exact() {
    const LENGTH: usize = 4 * 1024 * 1024;
    let (listener, port) = server(0).await;
    let relay = World::new().relay_with(literal(port), Limits::default());
    let outgoing = relay.connect(at("127.0.0.1", port), None).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let (guest, inner) = duplex(3000);
    let carried = tokio::spawn(outgoing.carry(inner));
    let bytes =
        |salt: usize| (0..LENGTH).map(|n| (n * 31 + n / 251 + salt) as u8).collect::<Vec<_>>();
    let mut tasks = tokio::task::JoinSet::new();
    let (mut guest_read, mut guest_write) = tokio::io::split(guest);
    let (mut server_read, mut server_write) = server.into_split();
    tasks.spawn(async move {
        guest_write.write_all(&bytes(1)).await.unwrap();
        guest_write.shutdown().await.unwrap();
    });
    tasks.spawn(async move {
        server_write.write_all(&bytes(2)).await.unwrap();
        server_write.shutdown().await.unwrap();
    });
    tasks.spawn(async move {
        let mut read = Vec::new();
        guest_read.read_to_end(&mut read).await.unwrap();
        assert!(read == bytes(2));
    });
    tasks.spawn(async move {
        let mut read = Vec::new();
        server_read.read_to_end(&mut read).await.unwrap();
        assert!(read == bytes(1));
    });
    timeout(LONG, tasks.join_all()).await.unwrap();
    let carried = carried.await.unwrap().unwrap();
    assert_eq!((carried.sent, carried.received), (LENGTH as u64, LENGTH as u64));
}

#[tokio::test]
async fn a_reader_that_is_slow_stops_its_writer_and_nobody_else() {
    let (listener, port) = server(0).await;
    let relay = World::new().relay_with(literal(port), Limits::default());
    let slow = relay.connect(at("127.0.0.1", port), None).await.unwrap();
    let (mut flood, _) = listener.accept().await.unwrap();
    let (_guest, inner) = duplex(1024);
    tokio::spawn(slow.carry(inner));
    // The guest reads nothing: at some time the server can write no more.
    let block = vec![0; 64 * 1024];
    while timeout(Duration::from_millis(300), flood.write_all(&block)).await.is_ok() {}
    assert!(relay.figures().buffer_bytes <= 2 * 32 * 1024);

    let other = relay.connect(at("127.0.0.1", port), None).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let (mut guest, inner) = duplex(1024);
    tokio::spawn(other.carry(inner));
    server.write_all(b"hello").await.unwrap();
    let mut greeting = [0; 5];
    timeout(LONG, guest.read_exact(&mut greeting)).await.unwrap().unwrap();
    assert_eq!(&greeting, b"hello");
}

#[tokio::test]
async fn a_change_of_the_policy_ends_what_no_longer_fits() {
    let (listener, port) = server(0).await;
    let relay = World::new().relay_with(literal(port), Limits::default());
    let outgoing = relay.connect(at("127.0.0.1", port), process()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let (mut guest, inner) = duplex(1024);
    let carried = tokio::spawn(outgoing.carry(inner));
    guest.write_all(b"x").await.unwrap();
    let mut byte = [0];
    server.read_exact(&mut byte).await.unwrap();
    let mut rules = vec![format!("127.0.0.1:{port}"), "example.com".to_owned()];
    assert_eq!(relay.set_policy(Policy::parse("off", &rules).unwrap()), 0);
    rules.remove(0);
    assert_eq!(relay.set_policy(Policy::parse("off", &rules).unwrap()), 1);
    let error = timeout(LONG, carried).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, CarryError::PolicyChanged(_)), "{error:?}");
    let error = server.read(&mut byte).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let closed = relay.log().recent().pop().unwrap();
    assert_eq!((closed.verdict, closed.reason), (Verdict::Closed, Some(Reason::PolicyChanged)));
    assert_eq!(closed.hint, Some(format!("--allow 127.0.0.1:{port}")));
    assert_eq!(relay.figures().open_connections, 0);
}

#[tokio::test]
async fn connections_opened_unseen_end_when_a_name_is_needed() {
    let (listener, _) = server(22).await;
    let world = World::new();
    world.name("git.example", &["1.2.3.4"]);
    let relay = world.relay_with(Policy::egress(), Limits::default());
    look_up(&relay, "git.example").await;
    let outgoing = relay.connect(at("1.2.3.4", 22), None).await.unwrap();
    let _server = listener.accept().await.unwrap();
    let (_guest, inner) = duplex(1024);
    let carried = tokio::spawn(outgoing.carry(inner));
    assert_eq!(relay.set_policy(Policy::parse("off", &["git.example"]).unwrap()), 1);
    assert!(timeout(LONG, carried).await.unwrap().unwrap().is_err());
    // By name from the start, it stays; freed of it, too.
    let outgoing = relay.connect(at("1.2.3.4", 22), None).await.unwrap();
    assert_eq!(relay.set_policy(Policy::parse("off", &["*.example:22"]).unwrap()), 0);
    assert_eq!(relay.set_policy(Policy::egress()), 0);
    assert_eq!(relay.set_policy(Policy::off()), 1);
    drop(outgoing);
}

#[tokio::test]
async fn what_really_happened_is_told() {
    let (listener, port) = server(0).await;
    drop(listener);
    let relay = World::new().relay_with(literal(port), Limits::default());
    let refusal = relay.connect(at("127.0.0.1", port), None).await.err().unwrap();
    assert!(matches!(refusal, Refusal::Refused), "{refusal:?}");
    assert_eq!(relay.log().recent()[0].verdict, Verdict::Failed);
    let denied = relay.connect(at("127.0.0.1", port ^ 1), process()).await.err().unwrap();
    assert!(matches!(denied, Refusal::Denied(_)), "{denied:?}");
    assert_eq!(relay.figures().open_connections, 0);
}

#[tokio::test]
async fn a_workspace_has_so_many_connections_and_no_more() {
    let (_listener, port) = server(0).await;
    let limits = Limits { connections: 3, ..Limits::default() };
    let world = World::new();
    let relay = world.relay_with(literal(port), limits);
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(relay.connect(at("127.0.0.1", port), None).await.unwrap());
    }
    let refusal = relay.connect(at("127.0.0.1", port), None).await.err().unwrap();
    assert!(matches!(refusal, Refusal::TooMany));
    assert_eq!(world.dialed.load(Ordering::SeqCst), 3);
    open.pop();
    assert!(relay.connect(at("127.0.0.1", port), None).await.is_ok());
}

#[tokio::test]
async fn many_connections_at_once() {
    let (listener, port) = server(0).await;
    let relay = World::new().relay_with(literal(port), Limits::default());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    let mut tasks = tokio::task::JoinSet::new();
    let all = std::sync::Arc::new(tokio::sync::Barrier::new(200));
    for number in 0..200u32 {
        let (relay, all) = (relay.clone(), all.clone());
        tasks.spawn(async move {
            let outgoing = relay.connect(at("127.0.0.1", port), None).await.unwrap();
            let (mut guest, inner) = duplex(1024);
            let carried = tokio::spawn(outgoing.carry(inner));
            all.wait().await;
            guest.write_all(&number.to_be_bytes()).await.unwrap();
            guest.shutdown().await.unwrap();
            let mut answer = Vec::new();
            guest.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, number.to_be_bytes());
            carried.await.unwrap().unwrap();
        });
    }
    timeout(LONG, tasks.join_all()).await.unwrap();
    assert_eq!(relay.figures().connections, 200);
    assert_eq!(relay.figures().open_connections, 0);
}

#[tokio::test]
async fn a_server_that_stops_listening_is_still_heard() {
    let (listener, port) = server(0).await;
    let relay = World::new().relay_with(literal(port), Limits::default());
    let outgoing = relay.connect(at("127.0.0.1", port), None).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let (mut guest, inner) = duplex(64);
    let carried = tokio::spawn(outgoing.carry(inner));
    server.write_all(b"413").await.unwrap();
    let mut answer = [0; 3];
    guest.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"413");
    server.set_zero_linger().unwrap();
    drop(server);
    let error = timeout(LONG, carried).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, CarryError::Server(_)), "{error:?}");
}

#[tokio::test]
async fn a_guest_that_vanishes_resets_the_server() {
    let (listener, port) = server(0).await;
    let relay = World::new().relay_with(literal(port), Limits::default());
    let outgoing = relay.connect(at("127.0.0.1", port), None).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let (guest, inner) = duplex(64);
    let carried = tokio::spawn(outgoing.carry(inner));
    drop(guest);
    // The guest's writes have ended; what is told to it now finds nobody.
    let mut byte = [0];
    assert_eq!(server.read(&mut byte).await.unwrap(), 0);
    server.write_all(b"x").await.unwrap();
    let error = timeout(LONG, carried).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, CarryError::Guest(_)), "{error:?}");
}
