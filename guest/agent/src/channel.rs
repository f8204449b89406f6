//! Where the host's streams come from: vsock connections, or yamux over a virtio-serial port.
//!
//! Refuses to know what is said on them.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use pyro_core::{AGENT_PORT, READY_PORT};
use rustix::{
    event::{PollFd, PollFlags, Timespec, epoll, poll},
    fs::{Mode, OFlags},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, BufStream},
    time::timeout,
};
use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};

use crate::{agent::Agent, call, console, descriptor::Descriptor, sys};

/// The virtio-serial port's name, as the host gives it.
const PORT_NAME: &str = "pyro.agent";
/// There where the machine has such a device.
const VSOCK: &str = "/dev/vsock";
/// Streams that the session bears: with one more it breaks, and the machine cannot be reached any
/// more. The host's keeper opens half as many, and so many again may be on their way out.
const MAX_STREAMS: usize = 1024;
/// What each stream begins with, and no more.
const RECEIVE_WINDOW: usize = MAX_STREAMS * yamux::DEFAULT_CREDIT as usize;
/// Room for a small frame and its header, so that both cost one system call.
const BUFFER: usize = 8 << 10;
/// Between two wake-ups of the host until it has sent its first bytes.
const WAKE: Duration = Duration::from_millis(20);
/// How long the host may take to take in that the agent listens.
const TOLD: Duration = Duration::from_secs(10);
const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// How long a stream may take to say which port it wants.
const PORT_WORD: Duration = Duration::from_secs(10);

/// Serves whatever channel this machine has, for ever.
pub async fn serve(agent: Arc<Agent>) {
    if Path::new(VSOCK).exists() {
        match sys::vsock_listen(AGENT_PORT).and_then(Descriptor::new) {
            Ok(listener) => {
                tokio::spawn(serve_vsock(listener, agent.clone()));
                tokio::spawn(tell_the_host());
            }
            Err(error) => console::note(&format!("no vsock: {error}")),
        }
    }
    loop {
        if let Err(error) = serve_port(&agent).await {
            console::note(&format!("the port: {error}"));
        }
    }
}

/// Says that the agent listens, to whoever waits for that: a connection that ends at once.
async fn tell_the_host() {
    if let Ok(connection) = sys::vsock_connect(READY_PORT).and_then(Descriptor::new) {
        let _ = timeout(TOLD, connection.readable()).await;
    }
}

async fn serve_vsock(listener: Descriptor, agent: Arc<Agent>) {
    loop {
        match listener.when_readable(sys::vsock_accept).await {
            Ok((connection, true)) => {
                if let Ok(connection) = Descriptor::new(connection) {
                    tokio::spawn(serve_in_place(connection, agent.clone()));
                }
            }
            // Only the host is served; nothing inside may connect.
            Ok((_, false)) => {}
            Err(error) => {
                console::note(&format!("vsock: {error}"));
                return;
            }
        }
    }
}

/// Waits for the port and for the host on it, then serves one session.
async fn serve_port(agent: &Arc<Agent>) -> io::Result<()> {
    let events = Descriptor::new(sys::kernel_events()?)?;
    let device = loop {
        if let Some(device) = find_port() {
            break device;
        }
        wait_for_event(&events).await?;
    };
    drop(events);
    let port = rustix::fs::open(
        &device,
        OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    connected(&port).await?;
    let port = Descriptor::new(port)?;
    let mut config = yamux::Config::default();
    config.set_max_num_streams(MAX_STREAMS);
    config.set_split_send_size(pyro_wire::MAX_DATA + pyro_wire::HEADER_BYTES);
    config.set_max_connection_receive_window(Some(RECEIVE_WINDOW));
    let port = BufStream::with_capacity(BUFFER, BUFFER, port);
    let mut connection = yamux::Connection::new(port.compat(), config, yamux::Mode::Server);
    let mut begun = false;
    loop {
        let next = tokio::select! {
            next = std::future::poll_fn(|context| connection.poll_next_inbound(context)) => next,
            () = wake_the_host(), if !begun => continue,
        };
        begun = true;
        match next {
            Some(Ok(stream)) => {
                tokio::spawn(serve_session_stream(stream, agent.clone()));
            }
            Some(Err(error)) => return Err(io::Error::other(error)),
            None => return Ok(()),
        }
    }
}

/// Lets a timer of this machine expire.
///
/// QEMU (7.2, `hw/char/virtio-console.c`) does not wake its main loop when a guest opens a port, so
/// bytes that the host sent before lie unread until something else wakes it. In a machine that does
/// nothing but wait for them, that would be never; a timer of the guest's is one of QEMU's too.
async fn wake_the_host() {
    tokio::time::sleep(WAKE).await;
}

async fn serve_session_stream(stream: yamux::Stream, agent: Arc<Agent>) {
    let mut stream = stream.compat();
    let port = timeout(PORT_WORD, stream.read_u32_le()).await;
    if let Ok(Ok(AGENT_PORT)) = port {
        serve_in_place(stream, agent).await;
    }
}

/// Serves a stream where there is a place for its call; says so where there is none.
async fn serve_in_place<S>(stream: S, agent: Arc<Agent>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match agent.calls.clone().try_acquire_owned() {
        Ok(_place) => call::serve_stream(stream, agent).await,
        Err(_) => call::turn_away(stream).await,
    }
}

/// Waits until there is a host on a port's other end.
///
/// By the edges of an epoll of its own: the runtime never takes a hang-up back, so waiting by it for
/// the end of one would be a loop without a pause.
async fn connected(port: &OwnedFd) -> io::Result<()> {
    let edges = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
    epoll::add(&edges, port, epoll::EventData::new_u64(0), flags)?;
    let edges = Descriptor::to_read(edges)?;
    while !is_connected(port)? {
        let one = |fd: BorrowedFd<'_>| {
            let mut events = [epoll::Event { flags, data: epoll::EventData::new_u64(0) }];
            match epoll::wait(fd, &mut events, Some(&NO_TIME))? {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }
        };
        edges.when_readable(one).await?;
    }
    Ok(())
}

/// A port without a host on its other end says so by a hang-up.
fn is_connected(port: &OwnedFd) -> io::Result<bool> {
    let mut wanted = [PollFd::new(port, PollFlags::IN)];
    poll(&mut wanted, Some(&NO_TIME))?;
    Ok(!wanted[0].revents().contains(PollFlags::HUP))
}

async fn wait_for_event(events: &Descriptor) -> io::Result<()> {
    events
        .when_readable(|fd| {
            let mut message = [0; 4096];
            match rustix::io::read(fd.as_fd(), &mut message[..]) {
                // Events were lost, which is as good a reason to look again.
                Ok(_) | Err(rustix::io::Errno::NOBUFS) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
        .await
}

fn find_port() -> Option<PathBuf> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
    ports
        .filter_map(Result::ok)
        .find(|port| {
            fs::read_to_string(port.path().join("name")).is_ok_and(|name| name.trim() == PORT_NAME)
        })
        .map(|port| Path::new("/dev").join(port.file_name()))
        .filter(|device| device.exists())
}
