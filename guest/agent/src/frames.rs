//! Frames over any stream of bytes: one reader and one writer per direction.
//!
//! Refuses to know what the messages mean.

use std::io;

use bytes::{Bytes, BytesMut};
use pyro_wire::{Decoder, Frame, FrameError, FrameKind, MAX_DATA, MAX_MESSAGE, Message};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The stream is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It could not be read.
    #[error("reading from the host's stream")]
    Read(#[source] io::Error),
    /// It could not be written.
    #[error("writing to the host's stream")]
    Write(#[source] io::Error),
    /// What came is no frame, or not the one that belongs here.
    #[error("the host sent something that does not belong here")]
    Frame(#[source] FrameError),
    /// A message that the other side would not take.
    #[error("a message of {0} bytes is too long for the host")]
    Oversized(usize),
    /// The connection that it carries broke.
    #[error("the connection to the port")]
    Port(#[source] io::Error),
    /// It ended in the middle of a frame.
    #[error("the host's stream ended within a frame")]
    Cut,
}

/// Reads frames.
pub struct FrameReader<R> {
    stream: R,
    decoder: Decoder,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from this stream.
    pub fn new(stream: R) -> Self {
        Self { stream, decoder: Decoder::default() }
    }

    /// The next frame, or `None` where the stream ended between two. Nothing is lost when the
    /// future is dropped.
    pub async fn next(&mut self) -> Result<Option<Frame>, StreamError> {
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(StreamError::Frame)? {
                return Ok(Some(frame));
            }
            self.decoder.buffer().reserve(4096);
            let read =
                self.stream.read_buf(self.decoder.buffer()).await.map_err(StreamError::Read)?;
            if read == 0 {
                let whole = self.decoder.is_at_boundary();
                return if whole { Ok(None) } else { Err(StreamError::Cut) };
            }
        }
    }
}

/// Written to the stream when this much has come together.
const BATCH: usize = 64 << 10;

/// Writes frames: they come together until they are many bytes or [`FrameWriter::flush`] is called.
pub struct FrameWriter<W> {
    stream: W,
    batch: BytesMut,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Writes to this stream.
    pub fn new(stream: W) -> Self {
        Self { stream, batch: BytesMut::new() }
    }

    async fn hand_over(&mut self) -> Result<(), StreamError> {
        self.stream.write_all_buf(&mut self.batch).await.map_err(StreamError::Write)
    }

    /// Sends a message. One that is too long is an error, and nothing of it is sent.
    pub async fn message(&mut self, message: &impl Message) -> Result<(), StreamError> {
        let length = message.encoded_len();
        if length > MAX_MESSAGE {
            return Err(StreamError::Oversized(length));
        }
        self.batch.extend_from_slice(&pyro_wire::message_frame(message));
        if self.batch.len() >= BATCH { self.hand_over().await } else { Ok(()) }
    }

    /// Sends bytes, in as many frames as they need.
    pub async fn bytes(&mut self, kind: FrameKind, bytes: &Bytes) -> Result<(), StreamError> {
        for piece in bytes.chunks(MAX_DATA) {
            self.batch.extend_from_slice(&pyro_wire::header(kind, piece.len()));
            self.batch.extend_from_slice(piece);
            if self.batch.len() >= BATCH {
                self.hand_over().await?;
            }
        }
        Ok(())
    }

    /// Ends this direction.
    pub async fn end(&mut self) -> Result<(), StreamError> {
        self.batch.extend_from_slice(&pyro_wire::header(FrameKind::End, 0));
        self.flush().await
    }

    /// Hands over what was written.
    pub async fn flush(&mut self) -> Result<(), StreamError> {
        self.hand_over().await?;
        self.stream.flush().await.map_err(StreamError::Write)
    }
}
