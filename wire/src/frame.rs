//! Frames: `[kind u8][length u32 little endian][payload]`.

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;

/// Bytes before a frame's payload.
pub const HEADER_BYTES: usize = 5;

/// The longest payload of a byte frame. Firecracker's vsock hands over best in pieces of 32 to
/// 64 KiB.
pub const MAX_DATA: usize = 64 * 1024;

/// The longest payload of a message frame.
pub const MAX_MESSAGE: usize = 1024 * 1024;

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FrameKind {
    /// A protobuf message; which one follows from the place in the conversation.
    Message = 1,
    /// Bytes for a command's stdin.
    Stdin = 2,
    /// Bytes from a command's stdout (or its terminal).
    Stdout = 3,
    /// Bytes from a command's stderr.
    Stderr = 4,
    /// Bytes without a further meaning (echo, later files).
    Data = 5,
    /// This direction ends here. No payload.
    End = 15,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Message,
            2 => Self::Stdin,
            3 => Self::Stdout,
            4 => Self::Stderr,
            5 => Self::Data,
            15 => Self::End,
            _ => return None,
        })
    }

    /// The longest payload a frame of this kind may have.
    pub const fn limit(self) -> usize {
        match self {
            Self::Message => MAX_MESSAGE,
            Self::End => 0,
            Self::Stdin | Self::Stdout | Self::Stderr | Self::Data => MAX_DATA,
        }
    }
}

/// One frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What it carries.
    pub kind: FrameKind,
    /// Its payload.
    pub payload: Bytes,
}

impl Frame {
    /// Reads the payload as a message.
    pub fn message<M: Message + Default>(&self) -> Result<M, FrameError> {
        if self.kind != FrameKind::Message {
            return Err(FrameError::Unexpected(self.kind));
        }
        M::decode(self.payload.clone()).map_err(FrameError::Message)
    }
}

/// What the other side sent is not a frame, or not the one that belongs here.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The first byte names no kind of frame.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// Its length is over the limit of its kind.
    #[error("a {kind:?} frame of {length} bytes is over its limit of {} bytes", kind.limit())]
    Length {
        /// The frame's kind.
        kind: FrameKind,
        /// The length it claims.
        length: u32,
    },
    /// A frame of this kind does not belong here.
    #[error("a {0:?} frame does not belong here")]
    Unexpected(FrameKind),
    /// The payload is not the message that belongs here.
    #[error("malformed message")]
    Message(#[source] prost::DecodeError),
}

/// The header of a frame with a payload of this many bytes.
pub fn header(kind: FrameKind, length: usize) -> [u8; HEADER_BYTES] {
    debug_assert!(length <= kind.limit(), "{kind:?} frame of {length} bytes");
    let length = (length as u32).to_le_bytes();
    [kind as u8, length[0], length[1], length[2], length[3]]
}

/// A whole message frame.
pub fn message_frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + length);
    frame.extend_from_slice(&header(FrameKind::Message, length));
    message.encode(&mut frame).expect("a BytesMut grows as needed");
    frame.freeze()
}

/// Cuts a stream of bytes into frames.
///
/// Feed it with [`Decoder::buffer`], then call [`Decoder::next_frame`] until it gives `None`. It
/// never holds more than one frame of the largest kind plus what was fed at once.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Where to append what was read.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether the stream stands between two frames.
    pub fn is_at_boundary(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next whole frame, if it is there.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.buffer.len() < HEADER_BYTES {
            return Ok(None);
        }
        let kind = FrameKind::from_byte(self.buffer[0]).ok_or(FrameError::Kind(self.buffer[0]))?;
        let length =
            u32::from_le_bytes([self.buffer[1], self.buffer[2], self.buffer[3], self.buffer[4]]);
        if length as usize > kind.limit() {
            return Err(FrameError::Length { kind, length });
        }
        let whole = HEADER_BYTES + length as usize;
        if self.buffer.len() < whole {
            // Bounded by the kind's limit, which was checked above.
            self.buffer.reserve(whole - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        let payload = self.buffer.split_to(length as usize).freeze();
        Ok(Some(Frame { kind, payload }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds() -> impl Strategy<Value = FrameKind> {
        prop::sample::select(vec![
            FrameKind::Message,
            FrameKind::Stdin,
            FrameKind::Stdout,
            FrameKind::Stderr,
            FrameKind::Data,
        ])
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            frames in prop::collection::vec((kinds(), prop::collection::vec(any::<u8>(), 0..200)), 0..20),
            cut in 1usize..64,
        ) {
            let mut stream = Vec::new();
            for (kind, payload) in &frames {
                stream.extend_from_slice(&header(*kind, payload.len()));
                stream.extend_from_slice(payload);
            }
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for piece in stream.chunks(cut) {
                decoder.buffer().extend_from_slice(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push((frame.kind, frame.payload.to_vec()));
                }
            }
            prop_assert!(decoder.is_at_boundary());
            prop_assert_eq!(seen, frames);
        }

        #[test]
        fn hostile_bytes_never_panic_and_never_reserve_more_than_a_message(
            bytes in prop::collection::vec(any::<u8>(), 0..512),
        ) {
            let mut decoder = Decoder::default();
            decoder.buffer().extend_from_slice(&bytes);
            while let Ok(Some(frame)) = decoder.next_frame() {
                let _ = frame.message::<crate::Call>();
            }
            prop_assert!(decoder.buffer().capacity() <= 2 * (MAX_MESSAGE + HEADER_BYTES + 512));
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_payload_comes() {
        let mut decoder = Decoder::default();
        decoder.buffer().extend_from_slice(&[FrameKind::Stdout as u8, 0xff, 0xff, 0xff, 0xff]);
        assert!(matches!(decoder.next_frame(), Err(FrameError::Length { .. })));
    }
}
