//! A request's body, for who takes it piece by piece.

use std::io;

use axum::body::BodyDataStream;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;

/// Pieces of a body that wait for their reader.
const WAITING: usize = 8;

/// What reads the body, and what must be awaited beside it.
pub(crate) fn upload(body: BodyDataStream) -> (BodyReader, impl Future<Output = ()>) {
    let (pieces, feed) = pieces(body);
    (BodyReader { pieces, piece: Bytes::new(), bytes: 0 }, feed)
}

/// The body's pieces, and what must be awaited beside them. Who takes no more before the body ends still
/// leaves the client its whole say: one that sends does not hear.
pub(crate) fn pieces(
    mut body: BodyDataStream,
) -> (mpsc::Receiver<io::Result<Bytes>>, impl Future<Output = ()>) {
    let (send, pieces) = mpsc::channel::<io::Result<Bytes>>(WAITING);
    let feed = async move {
        while let Some(piece) = body.next().await {
            let broken = piece.is_err();
            if send.send(piece.map_err(io::Error::other)).await.is_err() || broken {
                break;
            }
        }
        drop(send);
        while let Some(Ok(_)) = body.next().await {}
    };
    (pieces, feed)
}

/// A request's body, read from a blocking thread.
pub(crate) struct BodyReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
    bytes: u64,
}

impl BodyReader {
    /// Bytes that were read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes
    }
}

impl io::Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let length = self.piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        self.bytes += length as u64;
        Ok(length)
    }
}
