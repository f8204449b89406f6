//! The upgraded connection of `exec`, `attach` and `run` as typed halves.

use std::io;

use bytes::{Bytes, BytesMut};
use pyro_api::{
    ClientControl, ExecResult, HEADER_BYTES, MAX_FRAME, STREAM_PROTOCOL, ServerControl,
    StreamFrame, StreamKind, Terminal, VmCleanup, stream_header,
};
use pyro_core::{ExecId, WorkspaceId};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{ClientError, connection::Call};

/// How much is read from the socket at once, at least.
const READ_AHEAD: usize = 2 * (HEADER_BYTES + MAX_FRAME);

/// A command that runs, and the connection to it.
///
/// Dropping the stream of an exec or run ends its command; dropping an attached one does not.
#[derive(Debug)]
pub struct ExecStream {
    /// What is said to the command.
    pub sender: ExecSender,
    /// What the command says.
    pub receiver: ExecReceiver,
}

/// What came from the command.
#[derive(Clone, PartialEq, Debug)]
pub enum ExecEvent {
    /// It runs (or ran, when attached to later); always first.
    Started {
        /// As it stands.
        exec: Box<ExecResult>,
        /// What the caller should know.
        notices: Vec<String>,
    },
    /// Bytes of its stdout or terminal.
    Stdout(Bytes),
    /// Bytes of its stderr.
    Stderr(Bytes),
    /// Output between these offsets was dropped.
    Gap {
        /// The first dropped offset.
        from: u64,
        /// The first offset after it that is kept.
        to: u64,
    },
    /// It ended and all its output was received; always last.
    Ended {
        /// The finished record; its texts are empty.
        exec: Box<ExecResult>,
        /// Set on a run: its VM was deleted.
        cleanup: Option<VmCleanup>,
    },
}

impl ExecStream {
    /// Sends a call that asks for the upgrade, and takes the connection over.
    pub(crate) async fn open(call: Call, stream: UnixStream) -> Result<Self, ClientError> {
        let (socket, buffer) = call.take_over(STREAM_PROTOCOL, stream).await?;
        let (reader, writer) = socket.into_split();
        let buffer = BytesMut::from(buffer);
        Ok(Self {
            sender: ExecSender { writer },
            receiver: ExecReceiver { reader, buffer, exec: None, ended: false },
        })
    }
}

/// Says things to a command. Every method waits while the node does not read.
#[derive(Debug)]
pub struct ExecSender {
    writer: OwnedWriteHalf,
}

impl ExecSender {
    /// Bytes for its stdin.
    pub async fn stdin(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        for piece in bytes.chunks(MAX_FRAME) {
            let header = stream_header(StreamKind::Stdin, piece.len());
            self.writer.write_all(&header).await.map_err(lost)?;
            self.writer.write_all(piece).await.map_err(lost)?;
        }
        Ok(())
    }

    /// Ends its stdin.
    pub async fn end(&mut self) -> Result<(), ClientError> {
        self.writer.write_all(&stream_header(StreamKind::End, 0)).await.map_err(lost)
    }

    /// Its terminal has a new size.
    pub async fn resize(&mut self, terminal: Terminal) -> Result<(), ClientError> {
        self.control(&ClientControl::Resize(terminal)).await
    }

    /// Sends a signal, by its number, to its process group.
    pub async fn signal(&mut self, signal: u32) -> Result<(), ClientError> {
        self.control(&ClientControl::Signal { signal }).await
    }

    /// Ends its whole process tree: TERM, grace period, KILL.
    pub async fn cancel(&mut self) -> Result<(), ClientError> {
        self.control(&ClientControl::Cancel).await
    }

    /// Leaves it running: the stream may then be dropped.
    pub async fn detach(&mut self) -> Result<(), ClientError> {
        self.control(&ClientControl::Detach).await
    }

    async fn control(&mut self, document: &ClientControl) -> Result<(), ClientError> {
        let frame = StreamFrame::control(document).to_bytes();
        self.writer.write_all(&frame).await.map_err(lost)
    }
}

fn lost(source: io::Error) -> ClientError {
    ClientError::StreamLost { exec: None, source: Some(source) }
}

/// Hears what a command says.
#[derive(Debug)]
pub struct ExecReceiver {
    reader: OwnedReadHalf,
    buffer: BytesMut,
    exec: Option<(WorkspaceId, ExecId)>,
    ended: bool,
}

impl ExecReceiver {
    /// The next event; `None` after [`ExecEvent::Ended`]. Safe to drop while it waits.
    pub async fn next(&mut self) -> Result<Option<ExecEvent>, ClientError> {
        loop {
            if self.ended {
                return Ok(None);
            }
            let cut = StreamFrame::cut(&mut self.buffer)
                .map_err(|problem| ClientError::Refused { problem })?;
            if let Some(frame) = cut {
                return match frame.kind {
                    StreamKind::Stdout => Ok(Some(ExecEvent::Stdout(frame.payload))),
                    StreamKind::Stderr => Ok(Some(ExecEvent::Stderr(frame.payload))),
                    StreamKind::Control => match self.control(&frame.payload)? {
                        Some(event) => Ok(Some(event)),
                        None => continue,
                    },
                    // An end before Ended: the node gave the stream up.
                    StreamKind::End | StreamKind::Stdin => Err(self.lost(None)),
                };
            }
            self.buffer.reserve(READ_AHEAD);
            match self.reader.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(self.lost(None)),
                Ok(_) => {}
                Err(source) => return Err(self.lost(Some(source))),
            }
        }
    }

    fn control(&mut self, payload: &[u8]) -> Result<Option<ExecEvent>, ClientError> {
        let control: ServerControl = match serde_json::from_slice(payload) {
            Ok(control) => control,
            // A newer node may say more than this client knows.
            Err(error) if is_unknown(payload) => {
                tracing::debug!(%error, "the node said something unknown");
                return Ok(None);
            }
            Err(error) => {
                let call = "the stream of an exec".to_owned();
                return Err(ClientError::Reply { call, detail: error.to_string() });
            }
        };
        Ok(Some(match control {
            ServerControl::Started { exec, notices } => {
                self.exec = Some((exec.exec.workspace_id, exec.exec.exec_id));
                ExecEvent::Started { exec, notices }
            }
            ServerControl::Gap { from, to } => ExecEvent::Gap { from, to },
            ServerControl::Ended { exec, cleanup } => {
                self.ended = true;
                ExecEvent::Ended { exec, cleanup }
            }
            ServerControl::Problem { problem } => return Err(ClientError::Refused { problem }),
        }))
    }

    fn lost(&self, source: Option<io::Error>) -> ClientError {
        ClientError::StreamLost { exec: self.exec, source }
    }
}

/// Whether a control document is of a type this client does not know.
fn is_unknown(payload: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Tag {
        r#type: String,
    }
    let known = ["started", "gap", "ended", "problem"];
    serde_json::from_slice::<Tag>(payload).is_ok_and(|tag| !known.contains(&tag.r#type.as_str()))
}
