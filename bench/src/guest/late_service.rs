//! A service that is ready 300 ms after its start and says when that was: the last line it prints is
//! `ready at MICROSECONDS`, of the guest's wall clock just before the act that makes it ready.
//!
//! `late_service port PORT`, `file PATH`, `log`, `notify`: such a service.
//!
//! `late_service floor-ask PORT`, `floor-run PATH`, `floor-wake`: the same without pyro, as a floor.
//! A thread of the same program asks (by a connection, or by a command) at the intervals that pyro
//! asks at, or is woken by a byte; prints how much later it knew, in microseconds.

use std::{
    env, fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram, UnixStream},
    },
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const LATE: Duration = Duration::from_millis(300);

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["port", port] => serve(port),
        ["file", path] => {
            thread::sleep(LATE);
            let at = wall_clock();
            fs::File::create(path).expect("the file can be made");
            say_and_stay(at);
        }
        ["log"] => {
            thread::sleep(LATE);
            say_and_stay(wall_clock());
        }
        ["notify"] => notify(),
        ["floor-ask", port] => {
            let address = format!("127.0.0.1:{port}");
            let asked = address.clone();
            let ask = move || TcpStream::connect(&asked).is_ok();
            floor(20, ask, || TcpListener::bind(address).expect("the port is free"));
        }
        ["floor-run", path] => {
            let asked = path.to_owned();
            let ask = move || {
                let status = Command::new("/bin/sh").args(["-lc", "test -e \"$0\"", &asked]).status();
                status.expect("a shell can be run").success()
            };
            floor(4, ask, || fs::File::create(path).expect("the file can be made"));
        }
        ["floor-wake"] => wake(),
        _ => panic!("what shall it be? {words:?}"),
    }
}

fn wall_clock() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_micros()
}

fn say(at: u128) {
    println!("ready at {at}");
}

fn say_and_stay(at: u128) -> ! {
    say(at);
    loop {
        thread::park();
    }
}

/// Answers every connection with HTTP.
fn serve(port: &str) {
    thread::sleep(LATE);
    let at = wall_clock();
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("the port is free");
    say(at);
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut request = [0; 1024];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    }
}

/// sd_notify(3).
fn notify() {
    let name = env::var("NOTIFY_SOCKET").expect("somebody wants to be notified");
    let name = name.strip_prefix('@').expect("the name is abstract");
    let address = SocketAddr::from_abstract_name(name).expect("it is a name");
    let socket = UnixDatagram::unbound().expect("a socket can be made");
    thread::sleep(LATE);
    let at = wall_clock();
    socket.send_to_addr(b"READY=1", &address).expect("it can be told");
    say_and_stay(at);
}

/// Asks after a share of the time that has passed, and at least every 10 ms.
fn floor<T>(share: u32, ask: impl Fn() -> bool + Send + 'static, act: impl FnOnce() -> T) {
    let begun = Instant::now();
    let asking = thread::spawn(move || {
        while !ask() {
            thread::sleep((begun.elapsed() / share).max(Duration::from_millis(10)));
        }
        Instant::now()
    });
    thread::sleep(LATE);
    let at = Instant::now();
    let _kept = act();
    let known = asking.join().expect("asking does not panic");
    println!("{}", known.duration_since(at).as_micros());
}

fn wake() {
    let (mut told, mut tell) = UnixStream::pair().expect("a pair can be made");
    let (knows, known) = mpsc::channel();
    thread::spawn(move || {
        told.read_exact(&mut [0]).expect("a byte comes");
        knows.send(Instant::now()).expect("somebody listens");
    });
    thread::sleep(LATE);
    let at = Instant::now();
    tell.write_all(b"x").expect("a byte goes");
    println!("{}", known.recv().expect("it is told").duration_since(at).as_micros());
}
