//! The frames of an upgraded connection (`Upgrade: pyro-stream`): exec, attach, run.
//!
//! `[kind u8][length u32 little endian][payload]`, in both directions. Control frames carry one JSON
//! document. A direction ends with an End frame; a connection that closes without one was lost.

use bytes::{Buf, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{ExecResult, Problem, Terminal};

/// The token of the HTTP `Upgrade` header.
pub const STREAM_PROTOCOL: &str = "pyro-stream";

/// The `Upgrade` of a connection to a port: its bytes and nothing else, each direction ended by itself.
pub const PORT_PROTOCOL: &str = "pyro-port";

/// Bytes before a frame's payload.
pub const HEADER_BYTES: usize = 5;

/// The longest payload of a byte frame.
pub const MAX_FRAME: usize = 64 * 1024;

/// The longest control document.
pub const MAX_CONTROL: usize = 1024 * 1024;

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum StreamKind {
    /// A JSON document: [`ClientControl`] or [`ServerControl`].
    Control = 1,
    /// Bytes for the command's stdin, client to node.
    Stdin = 2,
    /// Bytes of the command's stdout or terminal, node to client.
    Stdout = 3,
    /// Bytes of the command's stderr, node to client.
    Stderr = 4,
    /// This direction ends. From the client: the command's stdin ends.
    End = 15,
}

impl StreamKind {
    /// The kind a first byte names, and the longest payload it may have.
    pub const fn from_byte(byte: u8) -> Option<(Self, usize)> {
        Some(match byte {
            1 => (Self::Control, MAX_CONTROL),
            2 => (Self::Stdin, MAX_FRAME),
            3 => (Self::Stdout, MAX_FRAME),
            4 => (Self::Stderr, MAX_FRAME),
            15 => (Self::End, 0),
            _ => return None,
        })
    }
}

/// One frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamFrame {
    /// What it carries.
    pub kind: StreamKind,
    /// Its payload.
    pub payload: Bytes,
}

impl StreamFrame {
    /// Cuts the next frame off the front of `buffer`; `None` when it is not whole yet.
    pub fn cut(buffer: &mut BytesMut) -> Result<Option<Self>, Problem> {
        if buffer.len() < HEADER_BYTES {
            return Ok(None);
        }
        let length = u32::from_le_bytes([buffer[1], buffer[2], buffer[3], buffer[4]]) as usize;
        let (kind, limit) = StreamKind::from_byte(buffer[0]).ok_or_else(|| {
            Problem::invalid("invalid_stream", format!("unknown stream frame kind {}", buffer[0]))
        })?;
        if length > limit {
            return Err(Problem::invalid(
                "invalid_stream",
                format!("a {kind:?} frame of {length} bytes is over its limit of {limit} bytes"),
            ));
        }
        if buffer.len() < HEADER_BYTES + length {
            buffer.reserve(HEADER_BYTES + length - buffer.len());
            return Ok(None);
        }
        buffer.advance(HEADER_BYTES);
        Ok(Some(Self { kind, payload: buffer.split_to(length).freeze() }))
    }

    /// A control frame around a JSON document.
    pub fn control(document: &impl Serialize) -> Self {
        let payload = serde_json::to_vec(document).expect("control documents are plain data");
        Self { kind: StreamKind::Control, payload: payload.into() }
    }

    /// Header and payload in one piece.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + self.payload.len());
        bytes.extend_from_slice(&stream_header(self.kind, self.payload.len()));
        bytes.extend_from_slice(&self.payload);
        bytes.freeze()
    }
}

/// The header of a frame with a payload of this many bytes.
pub fn stream_header(kind: StreamKind, length: usize) -> [u8; HEADER_BYTES] {
    let length = (length as u32).to_le_bytes();
    [kind as u8, length[0], length[1], length[2], length[3]]
}

/// What a client says on a stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientControl {
    /// The terminal has a new size.
    Resize(Terminal),
    /// Send this signal (its number) to the command's process group.
    Signal {
        /// For example 2 for INT.
        signal: u32,
    },
    /// End the whole process tree: TERM, grace period, KILL.
    Cancel,
    /// Leave without ending the command.
    Detach,
}

/// What the node says on a stream.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerControl {
    /// The command runs (or, on attach, ran). Always the first frame.
    Started {
        /// The exec as it stands; its texts are empty.
        exec: Box<ExecResult>,
        /// What the caller should know, for example that the workspace was started for it.
        notices: Vec<String>,
    },
    /// Output between these combined offsets was dropped.
    Gap {
        /// The first dropped offset.
        from: u64,
        /// The first offset after it that is kept.
        to: u64,
    },
    /// The command ended and all its output was sent. Followed by End.
    Ended {
        /// The finished record; its texts are empty, the client saw the output.
        exec: Box<ExecResult>,
        /// Set on `run`: the VM was deleted.
        cleanup: Option<crate::VmCleanup>,
    },
    /// The stream cannot go on. Followed by End.
    Problem {
        /// Why.
        problem: Problem,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_where_they_end() {
        let frame =
            StreamFrame { kind: StreamKind::Stdout, payload: Bytes::from_static(b"\xff\xfe") };
        let mut buffer = BytesMut::from(&frame.to_bytes()[..4]);
        assert_eq!(StreamFrame::cut(&mut buffer).unwrap(), None);
        buffer.extend_from_slice(&frame.to_bytes()[4..]);
        buffer.extend_from_slice(b"x");
        assert_eq!(StreamFrame::cut(&mut buffer).unwrap(), Some(frame));
        assert_eq!(&buffer[..], b"x");
    }

    #[test]
    fn an_oversized_frame_is_refused_by_its_header() {
        let mut buffer = BytesMut::from(&[3u8, 0xff, 0xff, 0xff, 0x7f][..]);
        assert_eq!(StreamFrame::cut(&mut buffer).unwrap_err().code, "invalid_stream");
    }
}
