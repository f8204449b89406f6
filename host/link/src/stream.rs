//! One stream to the agent: frames in, frames out.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use pyro_directory::Directory;
use pyro_wire::{
    Decoder, Frame, FrameError, FrameKind, HEADER_BYTES, MAX_MESSAGE, Message, header,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    time::Instant,
};

use crate::places::Place;

/// Talking to a guest failed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The keeper's (or VMM's) socket does not take connections: the VM is gone or not there yet.
    #[error("cannot reach the guest")]
    Connect(#[source] pyro_directory::DirectoryError),
    /// The VMM refused the stream: nothing listens in the guest.
    #[error("the guest does not listen")]
    Refused,
    /// The stream broke.
    #[error("lost the stream to the guest")]
    Lost(#[source] io::Error),
    /// The stream ended where more belonged.
    #[error("the guest ended the stream early")]
    Ended,
    /// The guest sent something that is not the protocol.
    #[error("the guest sent a malformed frame")]
    Frame(#[source] FrameError),
    /// What was to be sent is more than a guest takes.
    #[error("{0} bytes are too many for one message to the guest")]
    Oversized(usize),
    /// The guest answered something else than what was asked.
    #[error("the guest answered {0} with something else")]
    Mismatch(&'static str),
    /// So many streams to this guest follow or wait for something that there is no place for one more.
    #[error("{0} streams to the guest follow or wait for something already")]
    Crowded(usize),
    /// The guest did not answer in time.
    #[error("the guest did not answer within {0:?}")]
    Silent(Duration),
    /// The guest refused, and says why.
    #[error("{message}")]
    Guest {
        /// Stable, in snake_case.
        code: String,
        /// One line.
        message: String,
        /// The chain of causes.
        causes: Vec<String>,
    },
}

impl LinkError {
    /// Whether the guest itself answered (and so is alive).
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Guest { .. })
    }

    /// Whether nothing was begun: the guest refused, or was never asked.
    pub fn is_refusal(&self) -> bool {
        self.is_answer() || matches!(self, Self::Crowded(_) | Self::Oversized(_))
    }
}

/// One stream to the agent.
#[derive(Debug)]
pub struct Stream {
    pub(crate) reader: FrameReader,
    pub(crate) writer: FrameWriter,
}

/// A stream that is refused sooner has nobody who listens; later, a guest that was too slow to take it:
/// Firecracker waits for two seconds.
const GIVEN_UP: Duration = Duration::from_millis(1500);

/// The reading half.
#[derive(Debug)]
pub(crate) struct FrameReader<R = OwnedReadHalf> {
    half: R,
    decoder: Decoder,
    // Given back with this half: nobody keeps the other one for long without it. None in a
    // session, which holds one for all its streams.
    place: Option<Place>,
}

/// The writing half.
#[derive(Debug)]
pub(crate) struct FrameWriter<W = OwnedWriteHalf> {
    half: W,
}

impl Stream {
    /// Opens a stream to the agent's port through `vm.sock` in the keeper's directory, with the first
    /// message: it goes along, so that the guest is woken once. What is refused was not delivered, so
    /// that a guest which was only too slow is asked again, for as long as the caller waits.
    pub(crate) async fn open(
        directory: &Directory,
        place: Place,
        first: &impl Message,
    ) -> Result<Self, LinkError> {
        let frame = frame_of(first)?;
        let connect = format!("CONNECT {}\n", pyro_core::AGENT_PORT);
        let bytes = [connect.as_bytes(), &frame].concat();
        loop {
            let asked = Instant::now();
            match connect_with(directory, &bytes).await {
                Err(LinkError::Refused) if asked.elapsed() >= GIVEN_UP => {}
                Err(error) => return Err(error),
                Ok((half, write, decoder)) => {
                    let reader = FrameReader { half, decoder, place: Some(place) };
                    return Ok(Self { reader, writer: FrameWriter { half: write } });
                }
            }
        }
    }
}

impl Stream {
    /// The stream as one, from where its frames were read to, and its place.
    pub(crate) fn into_whole(self) -> (impl AsyncRead + AsyncWrite + Unpin + Send, Option<Place>) {
        let FrameReader { half, mut decoder, place } = self.reader;
        let early = decoder.buffer().split().freeze();
        let read = AsyncReadExt::chain(io::Cursor::new(early), half);
        (tokio::io::join(read, self.writer.half), place)
    }
}

/// Sends the first bytes, and waits until the VMM says that the guest has taken the stream.
async fn connect_with(
    directory: &Directory,
    bytes: &[u8],
) -> Result<(OwnedReadHalf, OwnedWriteHalf, Decoder), LinkError> {
    let socket = directory.connect_async("vm.sock").await.map_err(LinkError::Connect)?;
    let (mut read, mut write) = socket.into_split();
    write.write_all(bytes).await.map_err(lost_before_ok)?;
    let mut decoder = Decoder::default();
    read_ok(&mut read, decoder.buffer()).await?;
    Ok((read, write, decoder))
}

/// Takes `OK <n>\n`, a line of at most 32 bytes; frames may follow at once.
async fn read_ok(read: &mut OwnedReadHalf, heard: &mut BytesMut) -> Result<(), LinkError> {
    const LONGEST: usize = 32;
    loop {
        if let Some(end) = heard.iter().take(LONGEST).position(|&byte| byte == b'\n') {
            let line = heard.split_to(end + 1);
            return if line.starts_with(b"OK ") { Ok(()) } else { Err(LinkError::Refused) };
        }
        if heard.len() >= LONGEST || read.read_buf(heard).await.map_err(lost_before_ok)? == 0 {
            return Err(LinkError::Refused);
        }
    }
}

/// A VMM refuses a stream by closing the socket, also with what we sent unread.
fn lost_before_ok(error: io::Error) -> LinkError {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => LinkError::Refused,
        _ => LinkError::Lost(error),
    }
}

fn frame_of(message: &impl Message) -> Result<Bytes, LinkError> {
    let length = message.encoded_len();
    if length > MAX_MESSAGE {
        return Err(LinkError::Oversized(length));
    }
    Ok(pyro_wire::message_frame(message))
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads the frames of a stream that holds no place.
    pub(crate) fn new(half: R) -> Self {
        Self { half, decoder: Decoder::default(), place: None }
    }

    /// The next frame; `None` when the stream ended between two frames.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, LinkError> {
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(LinkError::Frame)? {
                return Ok(Some(frame));
            }
            let buffer = self.decoder.buffer();
            if buffer.capacity() - buffer.len() < 8 * 1024 {
                buffer.reserve(64 * 1024);
            }
            if self.half.read_buf(buffer).await.map_err(LinkError::Lost)? == 0 {
                return if self.decoder.is_at_boundary() {
                    Ok(None)
                } else {
                    Err(LinkError::Ended)
                };
            }
        }
    }

    /// The next frame, where the stream must not end.
    pub(crate) async fn expect(&mut self) -> Result<Frame, LinkError> {
        self.next().await?.ok_or(LinkError::Ended)
    }
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Writes frames to a stream.
    pub(crate) fn new(half: W) -> Self {
        Self { half }
    }

    pub(crate) async fn message(&mut self, message: &impl Message) -> Result<(), LinkError> {
        self.half.write_all(&frame_of(message)?).await.map_err(LinkError::Lost)
    }

    /// Sends bytes in frames of a size the transports like.
    pub(crate) async fn bytes(
        &mut self,
        kind: FrameKind,
        mut bytes: Bytes,
    ) -> Result<(), LinkError> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(32 * 1024));
            let mut frame = Vec::with_capacity(HEADER_BYTES + piece.len());
            frame.extend_from_slice(&header(kind, piece.len()));
            frame.extend_from_slice(&piece);
            self.half.write_all(&frame).await.map_err(LinkError::Lost)?;
        }
        Ok(())
    }

    pub(crate) async fn end(&mut self) -> Result<(), LinkError> {
        self.half.write_all(&header(FrameKind::End, 0)).await.map_err(LinkError::Lost)
    }

    /// Hands over what was written.
    pub(crate) async fn flush(&mut self) -> Result<(), LinkError> {
        self.half.flush().await.map_err(LinkError::Lost)
    }

    /// Ends the stream's direction itself.
    pub(crate) async fn shut_down(&mut self) -> Result<(), LinkError> {
        self.half.shutdown().await.map_err(LinkError::Lost)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        net::{UnixListener, UnixStream},
        time::sleep,
    };

    use super::*;
    use crate::places::Places;

    /// Waits for this long with its answer, so often as there are such; then closes, or says OK.
    async fn vmm(listener: UnixListener, refusals: &[Duration]) -> UnixStream {
        for wait in refusals {
            let (refused, _) = listener.accept().await.unwrap();
            sleep(*wait).await;
            drop(refused);
        }
        let (mut taken, _) = listener.accept().await.unwrap();
        taken.write_all(b"OK 1\n").await.unwrap();
        taken
    }

    async fn opened(refusals: &[Duration]) -> Result<Stream, LinkError> {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::create(home.path().join("vm")).unwrap();
        let listener = directory.bind("vm.sock", 0o600).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = UnixListener::from_std(listener).unwrap();
        let call = pyro_wire::Call::default();
        let place = Places::default().passing().await;
        tokio::select! {
            opened = Stream::open(&directory, place, &call) => opened,
            _taken = async {
                let taken = vmm(listener, refusals).await;
                std::future::pending::<()>().await;
                taken
            } => unreachable!(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_was_too_slow_is_asked_again() {
        let slow = Duration::from_secs(2);
        assert!(opened(&[]).await.is_ok());
        assert!(opened(&[slow, slow]).await.is_ok());
        let nobody = opened(&[slow, Duration::ZERO]).await;
        assert!(matches!(nobody, Err(LinkError::Refused)), "{nobody:?}");
    }
}
