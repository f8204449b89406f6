//! Many streams within one: a yamux session, in which either side may open streams.
//!
//! Owns the session's driving and its bounds. Refuses to know what the streams carry. The other side
//! is not trusted: it opens no more than so many streams, each holds 256 KiB of what nobody read, and
//! a session that it breaks stays broken.

use std::{
    future::poll_fn,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, BufStream},
    sync::{mpsc, oneshot},
};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _, TokioAsyncReadCompatExt as _};
use yamux::{Config, Connection, Mode};

/// A stream of a session: shutting its writing half down ends that direction, dropping it resets it.
pub type Stream = Compat<yamux::Stream>;

/// Which side of a session this is; they differ in how they number streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The host's.
    Host,
    /// The guest's.
    Guest,
}

/// Room for a frame and its header, so that both cost one system call.
const BUFFER: usize = 64 << 10;
/// The longest piece of one stream before another's turn, bytes.
const FRAME: usize = 32 << 10;
/// What a session may hold of each stream's bytes until they are read.
pub const WINDOW: usize = yamux::DEFAULT_CREDIT as usize;
/// Opened at once without an answer; the next one waits.
const OPENING: usize = 16;

/// Opens streams. The session ends when every one of these is gone and so is [`Incoming`].
#[derive(Clone, Debug)]
pub struct Opener {
    requests: mpsc::Sender<oneshot::Sender<yamux::Stream>>,
}

impl Opener {
    /// A new stream; `None` once the session is over. Waits where the other side has not taken the
    /// last 256 streams.
    pub async fn open(&self) -> Option<Stream> {
        let (reply, stream) = oneshot::channel();
        self.requests.send(reply).await.ok()?;
        Some(stream.await.ok()?.compat())
    }

    /// Whether both open streams of one session.
    pub fn is(&self, other: &Self) -> bool {
        self.requests.same_channel(&other.requests)
    }

    /// Returns when the session is over.
    pub async fn closed(&self) {
        self.requests.closed().await;
    }
}

/// The streams that the other side opens; reset where this is gone.
#[derive(Debug)]
pub struct Incoming {
    streams: mpsc::UnboundedReceiver<yamux::Stream>,
}

impl Incoming {
    /// The next one; `None` once the session is over.
    pub async fn next(&mut self) -> Option<Stream> {
        Some(self.streams.recv().await?.compat())
    }
}

/// Begins a session of at most so many streams at once over a stream, and drives it in a task of its
/// own until that stream or the session ends.
pub fn begin<S>(stream: S, side: Side, streams: usize) -> (Opener, Incoming)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut config = Config::default();
    config
        .set_max_num_streams(streams)
        // Every stream has the window it begins with and no more: memory has a bound.
        .set_max_connection_receive_window(Some(streams * WINDOW))
        .set_split_send_size(FRAME);
    let mode = match side {
        Side::Host => Mode::Client,
        Side::Guest => Mode::Server,
    };
    let stream = BufStream::with_capacity(BUFFER, BUFFER, stream).compat();
    let (opener, requests) = mpsc::channel(OPENING);
    let (tell, streams) = mpsc::unbounded_channel();
    let connection = Connection::new(stream, config, mode);
    let mut driver = Driver { connection, requests: Some(requests), waiting: None, tell };
    tokio::spawn(async move {
        poll_fn(|context| driver.poll(context)).await;
        // Whoever waits for a stream or for the end hears of it, before the end is told to the other
        // side, who may not listen.
        driver.requests = None;
        let _ = poll_fn(|context| driver.connection.poll_close(context)).await;
    });
    (Opener { requests: opener }, Incoming { streams })
}

struct Driver<S> {
    connection: Connection<Compat<BufStream<S>>>,
    requests: Option<mpsc::Receiver<oneshot::Sender<yamux::Stream>>>,
    waiting: Option<oneshot::Sender<yamux::Stream>>,
    // As many as the session bears at most: yamux ends it where the other side opens more.
    tell: mpsc::UnboundedSender<yamux::Stream>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    /// Ready when the session is over, or nobody wants anything of it any more.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.waiting.is_none()
                && let Some(requests) = &mut self.requests
            {
                match requests.poll_recv(context) {
                    Poll::Ready(Some(request)) => self.waiting = Some(request),
                    Poll::Ready(None) => self.requests = None,
                    Poll::Pending => {}
                }
            }
            if self.requests.is_none() && self.tell.is_closed() {
                return Poll::Ready(());
            }
            if let Some(request) = self.waiting.take_if(|request| !request.is_closed()) {
                match self.connection.poll_new_outbound(context) {
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
            match self.connection.poll_next_inbound(context) {
                Poll::Ready(Some(Ok(stream))) => drop(self.tell.send(stream)),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> ((Opener, Incoming), (Opener, Incoming)) {
        let (host, guest) = tokio::io::duplex(4 << 10);
        (begin(host, Side::Host, 64), begin(guest, Side::Guest, 64))
    }

    #[tokio::test]
    async fn either_side_opens_streams_and_each_direction_ends_by_itself() {
        let (mut host, mut guest) = pair();
        for (from, to) in [(&host.0, &mut guest.1), (&guest.0, &mut host.1)] {
            let mut asking = from.open().await.unwrap();
            asking.write_all(b"question").await.unwrap();
            asking.shutdown().await.unwrap();
            let mut answering = to.next().await.unwrap();
            let mut heard = String::new();
            answering.read_to_string(&mut heard).await.unwrap();
            answering.write_all(b"answer").await.unwrap();
            answering.shutdown().await.unwrap();
            let mut said = String::new();
            asking.read_to_string(&mut said).await.unwrap();
            assert_eq!((heard.as_str(), said.as_str()), ("question", "answer"));
        }
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_stalls_only_its_own_stream() {
        let (host, mut guest) = pair();
        let mut stalled = host.0.open().await.unwrap();
        let piece = vec![7; WINDOW / 4];
        let stall = tokio::spawn(async move {
            for _ in 0..16 {
                stalled.write_all(&piece).await.unwrap();
            }
        });
        let mut unread = guest.1.next().await.unwrap();
        let mut other = host.0.open().await.unwrap();
        other.write_all(b"through").await.unwrap();
        let mut heard = [0; 7];
        guest.1.next().await.unwrap().read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"through");
        assert!(!stall.is_finished());
        let mut all = vec![0; 16 * WINDOW / 4];
        unread.read_exact(&mut all).await.unwrap();
        stall.await.unwrap();
    }

    #[tokio::test]
    async fn its_end_is_told() {
        let (host, guest) = pair();
        let mut stream = host.0.open().await.unwrap();
        stream.write_all(b"x").await.unwrap();
        drop(guest);
        host.0.closed().await;
        assert!(host.0.open().await.is_none());
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
    }

    #[tokio::test]
    async fn what_is_no_session_ends_it() {
        let (host, mut guest) = tokio::io::duplex(4 << 10);
        let (opener, mut incoming) = begin(host, Side::Host, 64);
        guest.write_all(&[0xff; 64]).await.unwrap();
        opener.closed().await;
        assert!(incoming.next().await.is_none());
    }
}
