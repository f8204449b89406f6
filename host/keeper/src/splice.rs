//! One client's socket and one stream to the guest, copied both ways until either side ends.
//!
//! Neither transport can half-close, so whoever ends first ends both; what it sent before is
//! delivered. A side that does not read stops the other: nothing is held but one piece each way,
//! and an idle pair holds nothing.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{AsyncWrite as _, AsyncWriteExt as _, StreamExt as _};
use tokio::{io::AsyncWrite as _, net::UnixStream};
use yamux::{Packet, Stream};

/// The largest piece read from a client at once, in bytes.
const PIECE: usize = 64 << 10;
/// How long the guest may take to accept the last words of a client that has gone.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// Copies both ways, beginning with `to_guest`, until either side ends.
pub async fn splice(client: UnixStream, stream: Stream, to_guest: Vec<u8>) {
    let mut splice = Splice {
        client,
        stream,
        to_guest,
        sent: 0,
        client_ended: false,
        to_client: None,
        passed: 0,
    };
    poll_fn(|cx| splice.poll(cx)).await;
    if splice.client_ended {
        let _ = tokio::time::timeout(LAST_WORDS, splice.last_words()).await;
    }
}

struct Splice {
    client: UnixStream,
    stream: Stream,
    /// What the client sent; the first `sent` bytes are with the guest.
    to_guest: Vec<u8>,
    sent: usize,
    client_ended: bool,
    /// What the guest sent; the first `passed` bytes are with the client.
    to_client: Option<Packet>,
    passed: usize,
}

impl Splice {
    /// Ready when either side has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_to_guest(cx).is_ready() || self.poll_to_client(cx).is_ready() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Ready when the client has ended. That the guest takes no more is not an end: what it sent
    /// before is still to be delivered.
    fn poll_to_guest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if ready!(self.poll_send(cx)).is_err() {
                return Poll::Pending;
            }
            match self.client.poll_read_ready(cx) {
                Poll::Ready(_) => {}
                Poll::Pending => {
                    self.to_guest = Vec::new();
                    return Poll::Pending;
                }
            }
            self.to_guest.reserve(PIECE);
            match self.client.try_read_buf(&mut self.to_guest) {
                Ok(length) if length > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => {
                    self.client_ended = true;
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Ready when all that the client sent so far is with the guest.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.to_guest.len() {
            let piece = &self.to_guest[self.sent..];
            self.sent += ready!(Pin::new(&mut self.stream).poll_write(cx, piece))?;
        }
        self.to_guest.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Ready when the guest has ended and the client has all that it sent, or has gone.
    fn poll_to_client(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(packet) = &self.to_client {
                let bytes = packet.as_ref();
                while self.passed < bytes.len() {
                    let piece = &bytes[self.passed..];
                    let written = ready!(Pin::new(&mut self.client).poll_write(cx, piece));
                    let Ok(length) = written else {
                        self.client_ended = true;
                        return Poll::Ready(());
                    };
                    self.passed += length;
                }
            }
            self.to_client = None;
            self.passed = 0;
            match ready!(self.stream.poll_next_unpin(cx)) {
                Some(Ok(packet)) => self.to_client = Some(packet),
                Some(Err(_)) | None => return Poll::Ready(()),
            }
        }
    }

    /// Delivers what the client sent before it went, and the end of it.
    async fn last_words(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_send(cx)).await?;
        self.stream.close().await
    }
}
