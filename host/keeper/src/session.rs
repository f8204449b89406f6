//! The multiplexer on the guest's port: one yamux session for the VM's whole life.
//!
//! Owns the port. The guest is the server and is not trusted: streams that it opens are reset,
//! what it sends is held to 256 KiB per stream, and a session that it breaks stays broken.

use std::{
    future::poll_fn,
    io,
    os::unix::net::UnixStream,
    task::{Context, Poll},
};

use tokio::{
    io::BufStream,
    sync::{mpsc, oneshot},
};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};
use yamux::{Config, Connection, Mode, Stream};

/// The most streams at once.
pub const STREAMS: usize = 512;

/// Room for a frame and its header, so that each costs one system call.
const BUFFER: usize = 64 << 10;
const FRAME: usize = 32 << 10;

type Port = Compat<BufStream<tokio::net::UnixStream>>;

/// Opens streams to the guest.
#[derive(Clone, Debug)]
pub struct Opener {
    requests: mpsc::Sender<oneshot::Sender<Stream>>,
}

impl Opener {
    /// A new stream; `None` once the session is over. It waits where the guest has not taken the
    /// last 256 streams, as before its agent runs.
    pub async fn open(&self) -> Option<Stream> {
        let (reply, stream) = oneshot::channel();
        self.requests.send(reply).await.ok()?;
        stream.await.ok()
    }
}

/// Begins the session and drives it, in a task of its own, until the port ends.
pub fn begin(port: UnixStream) -> io::Result<Opener> {
    port.set_nonblocking(true)?;
    let port = tokio::net::UnixStream::from_std(port)?;
    let mut config = Config::default();
    config
        .set_max_num_streams(2 * STREAMS)
        // Every stream has the window it starts with and no more: memory has a bound.
        .set_max_connection_receive_window(Some(2 * STREAMS * yamux::DEFAULT_CREDIT as usize))
        .set_split_send_size(FRAME);
    let port = BufStream::with_capacity(BUFFER, BUFFER, port).compat();
    let (sender, requests) = mpsc::channel(16);
    let connection = Connection::new(port, config, Mode::Client);
    let mut session = Session { connection, requests, waiting: None };
    tokio::spawn(async move { poll_fn(|cx| session.poll(cx)).await });
    Ok(Opener { requests: sender })
}

struct Session {
    connection: Connection<Port>,
    requests: mpsc::Receiver<oneshot::Sender<Stream>>,
    waiting: Option<oneshot::Sender<Stream>>,
}

impl Session {
    /// Ready when the session is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.waiting.is_none()
                && let Poll::Ready(Some(request)) = self.requests.poll_recv(cx)
            {
                self.waiting = Some(request);
            }
            if let Some(request) = self.waiting.take_if(|request| !request.is_closed()) {
                match self.connection.poll_new_outbound(cx) {
                    Poll::Ready(Ok(stream)) => {
                        // Nobody waits for it any more: dropping it resets it.
                        drop(request.send(stream));
                        continue;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => self.waiting = Some(request),
                }
            } else if self.waiting.take().is_some() {
                continue;
            }
            match self.connection.poll_next_inbound(cx) {
                // The guest opens no streams; dropping it resets it.
                Poll::Ready(Some(Ok(stream))) => drop(stream),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
