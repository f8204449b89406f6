//! The trunk: one stream that carries all that the workload sends out, as a session of many.
//!
//! The node opens it and the guest opens the streams in it, since a guest cannot open streams to the
//! host by itself on every backend. Refuses to know what may be reached: it hands over what the guest
//! wants, and carries bytes.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use pyro_session::{Incoming, Opener, Side};
use pyro_wire::{
    Decoder, Dialed, FrameError, FrameKind, HEADER_BYTES, MAX_DATA, OpenTrunk, Outgoing,
    OutgoingReply, Refused, RefusedReason, Resolved, call::Verb, header, outgoing, outgoing_reply,
    reply,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    time::timeout,
};
use tokio_util::io::poll_read_buf;

use crate::{
    call::Link,
    places::Place,
    stream::{FrameWriter, LinkError},
};

/// Streams of a trunk at once: what a workload may have open, and what is on its way out besides.
/// Each holds at most [`pyro_session::WINDOW`] bytes of what nobody took.
const MOST_STREAMS: usize = 1536;
/// The most memory that a trunk's streams can take on this side, bytes.
pub const TRUNK_MEMORY: u64 = (MOST_STREAMS * (pyro_session::WINDOW + LONGEST_WISH)) as u64;
/// How long the guest may take to say what a stream that it opened is for.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);
/// The longest first message: a query is 64 KiB at most.
const LONGEST_WISH: usize = 66 * 1024;
/// The longest piece of a connection in one frame, bytes.
const PIECE: usize = 32 << 10;

/// What the workload sends out, stream by stream. Its session ends when this is dropped.
#[derive(Debug)]
pub struct Trunk {
    incoming: Incoming,
    // The session ends once nobody can open streams any more.
    _opener: Opener,
    _place: Option<Place>,
}

/// A stream that the guest opened.
#[derive(Debug)]
pub struct GuestStream(pyro_session::Stream);

/// What the guest wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wish {
    /// A TCP connection.
    Dial(SocketAddr),
    /// The answer to a message of the domain name system.
    Resolve {
        /// The message.
        query: Bytes,
        /// Whether it came by UDP.
        datagram: bool,
    },
}

impl Link {
    /// Opens the trunk. An older one of this guest ends.
    pub async fn trunk(&self) -> Result<Trunk, LinkError> {
        let (reply, stream) = self.call(Verb::OpenTrunk(OpenTrunk {})).await?;
        let reply::Result::Done(_) = reply else { return Err(LinkError::Mismatch("open_trunk")) };
        let (whole, place) = stream.into_whole();
        let (opener, incoming) = pyro_session::begin(whole, Side::Host, MOST_STREAMS);
        Ok(Trunk { incoming, _opener: opener, _place: place })
    }
}

impl Trunk {
    /// The next stream that the guest opens; `None` once the trunk is gone.
    pub async fn next(&mut self) -> Option<GuestStream> {
        self.incoming.next().await.map(GuestStream)
    }
}

/// A stream whose guest waits for an answer.
#[derive(Debug)]
pub struct Asked {
    stream: pyro_session::Stream,
    decoder: Decoder,
}

impl GuestStream {
    /// What it is for, and who wants it (process id and name), by the guest's word.
    pub async fn wish(self) -> Result<(Wish, Option<(u32, String)>, Asked), LinkError> {
        let Self(mut stream) = self;
        let mut decoder = Decoder::default();
        let first = async {
            loop {
                // Its length is a claim: nothing is kept for one that is too long.
                if let Some(length) = claimed(decoder.buffer())
                    && length > LONGEST_WISH
                {
                    return Err(LinkError::Oversized(length));
                }
                if let Some(frame) = decoder.next_frame().map_err(LinkError::Frame)? {
                    return Ok(frame);
                }
                let read = stream.read_buf(decoder.buffer()).await.map_err(LinkError::Lost)?;
                if read == 0 {
                    return Err(LinkError::Ended);
                }
            }
        };
        let frame = timeout(FIRST_MESSAGE, first).await;
        let frame = frame.unwrap_or(Err(LinkError::Silent(FIRST_MESSAGE)))?;
        let outgoing: Outgoing = frame.message().map_err(LinkError::Frame)?;
        let wish = match outgoing.wish {
            Some(outgoing::Wish::Dial(dial)) => {
                let port = u16::try_from(dial.port).map_err(|_| LinkError::Mismatch("a dial"))?;
                let address = address(&dial.address).ok_or(LinkError::Mismatch("a dial"))?;
                Wish::Dial(SocketAddr::new(address, port))
            }
            Some(outgoing::Wish::Resolve(resolve)) => {
                Wish::Resolve { query: resolve.query, datagram: resolve.datagram }
            }
            None => return Err(LinkError::Mismatch("a stream of the trunk")),
        };
        let process = outgoing.process.map(|process| (process.pid, process.name));
        Ok((wish, process, Asked { stream, decoder }))
    }
}

/// The length that the next frame says it has, once that is there.
fn claimed(heard: &BytesMut) -> Option<usize> {
    let bytes = heard.get(1..HEADER_BYTES)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(bytes.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(Into::into)
}

impl Asked {
    async fn answer(&mut self, result: outgoing_reply::Result) -> Result<(), LinkError> {
        let mut writer = FrameWriter::new(&mut self.stream);
        writer.message(&OutgoingReply { result: Some(result) }).await?;
        writer.flush().await
    }

    /// Answers a query; an empty one is none.
    pub async fn resolved(mut self, answer: Vec<u8>) -> Result<(), LinkError> {
        let resolved = Resolved { answer: answer.into() };
        self.answer(outgoing_reply::Result::Resolved(resolved)).await?;
        self.part().await
    }

    /// Says that there is no connection, and why.
    pub async fn refused(mut self, reason: RefusedReason) -> Result<(), LinkError> {
        let refused = Refused { reason: reason.into() };
        self.answer(outgoing_reply::Result::Refused(refused)).await?;
        self.part().await
    }

    /// Says that the connection is there, and gives its bytes.
    pub async fn dialed(mut self) -> Result<Carrier, LinkError> {
        self.answer(outgoing_reply::Result::Dialed(Dialed {})).await?;
        let Self { stream, decoder } = self;
        Ok(Carrier {
            stream,
            decoder,
            unread: Bytes::new(),
            has_ended: false,
            unsent: BytesMut::new(),
            is_shut: false,
        })
    }

    /// Ends this side and waits until the guest has taken the answer and ended its own.
    async fn part(mut self) -> Result<(), LinkError> {
        FrameWriter::new(&mut self.stream).shut_down().await?;
        let mut nothing = [0; 64];
        let read = timeout(FIRST_MESSAGE, self.stream.read(&mut nothing)).await;
        read.unwrap_or(Ok(0)).map(drop).map_err(LinkError::Lost)
    }
}

/// A connection's bytes as the guest's side has them. Shutting it down ends its direction; dropped
/// before both directions have ended, it is cut off, and the guest's program sees a reset.
#[derive(Debug)]
pub struct Carrier {
    stream: pyro_session::Stream,
    decoder: Decoder,
    unread: Bytes,
    has_ended: bool,
    unsent: BytesMut,
    is_shut: bool,
}

impl Carrier {
    /// Hands over what is to be sent, as far as it is taken.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.unsent))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Carrier {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let malformed = |error: FrameError| io::Error::new(io::ErrorKind::InvalidData, error);
        loop {
            if !this.unread.is_empty() {
                let count = this.unread.len().min(buffer.remaining());
                buffer.put_slice(&this.unread[..count]);
                this.unread.advance(count);
                return Poll::Ready(Ok(()));
            }
            if this.has_ended {
                return Poll::Ready(Ok(()));
            }
            if claimed(this.decoder.buffer()).is_some_and(|length| length > MAX_DATA) {
                return Poll::Ready(Err(malformed(FrameError::Unexpected(FrameKind::Message))));
            }
            if let Some(frame) = this.decoder.next_frame().map_err(malformed)? {
                match frame.kind {
                    FrameKind::Data => this.unread = frame.payload,
                    FrameKind::End => this.has_ended = true,
                    kind => {
                        return Poll::Ready(Err(malformed(FrameError::Unexpected(kind))));
                    }
                }
                continue;
            }
            let heard = this.decoder.buffer();
            heard.reserve(16 * 1024);
            let stream = Pin::new(&mut this.stream);
            if ready!(poll_read_buf(stream, context, heard))? == 0 {
                // The guest's program, or its machine, is gone in the middle.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // One frame at a time is held here, and no more.
        ready!(self.poll_send(context))?;
        let piece = &bytes[..bytes.len().min(PIECE)];
        if !piece.is_empty() {
            self.unsent.extend_from_slice(&header(FrameKind::Data, piece.len()));
            self.unsent.extend_from_slice(piece);
            if let Poll::Ready(Err(error)) = self.poll_send(context) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            self.is_shut = true;
            self.unsent.extend_from_slice(&header(FrameKind::End, 0));
        }
        self.poll_flush(context)
    }
}

#[cfg(test)]
mod tests {
    use pyro_wire::{Dial, Message};
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::stream::FrameReader;

    async fn pair() -> (pyro_session::Stream, GuestStream) {
        let (host, guest) = tokio::io::duplex(4 << 10);
        let (idle, mut incoming) = pyro_session::begin(host, Side::Host, 8);
        let (opener, unused) = pyro_session::begin(guest, Side::Guest, 8);
        let mut stream = opener.open().await.unwrap();
        let dial = Dial { address: vec![192, 0, 2, 1].into(), port: 80 };
        let wish = Outgoing { wish: Some(outgoing::Wish::Dial(dial)), process: None };
        stream.write_all(&pyro_wire::message_frame(&wish)).await.unwrap();
        stream.flush().await.unwrap();
        let theirs = incoming.next().await.unwrap();
        // Both sessions go on for as long as the test's runtime.
        tokio::spawn(async move { drop((incoming.next().await, opener, unused, idle)) });
        (stream, GuestStream(theirs))
    }

    #[tokio::test]
    async fn a_connection_is_carried_and_each_direction_ends_by_itself() {
        let (mut guest, host) = pair().await;
        let (wish, process, asked) = host.wish().await.unwrap();
        assert_eq!(wish, Wish::Dial("192.0.2.1:80".parse().unwrap()));
        assert_eq!(process, None);
        let mut carrier = asked.dialed().await.unwrap();
        carrier.write_all(b"hello").await.unwrap();
        carrier.shutdown().await.unwrap();
        let mut reader = FrameReader::new(&mut guest);
        let reply = OutgoingReply::decode(reader.expect().await.unwrap().payload).unwrap();
        assert!(matches!(reply.result, Some(outgoing_reply::Result::Dialed(_))));
        assert_eq!(reader.expect().await.unwrap().payload, "hello");
        assert_eq!(reader.expect().await.unwrap().kind, FrameKind::End);
        let mut writer = FrameWriter::new(&mut guest);
        writer.bytes(FrameKind::Data, Bytes::from(vec![7; 100_000])).await.unwrap();
        writer.end().await.unwrap();
        writer.flush().await.unwrap();
        let mut all = Vec::new();
        carrier.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, vec![7; 100_000]);
    }

    #[tokio::test]
    async fn a_claim_reserves_nothing() {
        let (mut guest, host) = pair().await;
        let (_, _, asked) = host.wish().await.unwrap();
        let mut carrier = asked.dialed().await.unwrap();
        guest.write_all(&header(FrameKind::Message, 1 << 20)).await.unwrap();
        guest.flush().await.unwrap();
        let error = carrier.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(carrier.decoder.buffer().capacity() < 1 << 20);
    }

    #[tokio::test]
    async fn a_cut_is_no_end() {
        let (guest, host) = pair().await;
        let (_, _, asked) = host.wish().await.unwrap();
        let mut carrier = asked.dialed().await.unwrap();
        drop(guest);
        let mut all = Vec::new();
        let error = carrier.read_to_end(&mut all).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
