//! An exec's stream: its output from an offset, its end, and what is sent to it.

use bytes::Bytes;
use pyro_wire::{
    AttachExec, Cancel, ExecAttached, ExecControl, ExecEvent, ExecRecord, ExecStarted, FrameKind,
    OutputRange, ReadOutput, StartExec, Terminal, call::Verb, exec_control::Control, exec_event,
    reply,
};

use crate::{
    call::Link,
    stream::{FrameReader, FrameWriter, LinkError, Stream},
};

/// What comes out of an exec.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Bytes of stdout or the terminal.
    Stdout(Bytes),
    /// Bytes of stderr.
    Stderr(Bytes),
    /// Output between these combined offsets was dropped.
    Gap {
        /// The first dropped offset.
        from: u64,
        /// The first kept offset after it.
        to: u64,
    },
    /// The command ended; nothing follows.
    Ended(Box<ExecRecord>),
}

/// An attached exec. Dropping it detaches; only [`ExecSender::cancel`] ends the command.
#[derive(Debug)]
pub struct ExecStream {
    /// What comes out.
    pub output: OutputReader,
    /// What goes in.
    pub sender: ExecSender,
}

/// The output side of a stream.
#[derive(Debug)]
pub struct OutputReader {
    reader: FrameReader,
    /// Kept where nobody else has it: no transport can half-close, so the stream ends with it.
    _writer: Option<FrameWriter>,
}

/// The input side of a stream.
#[derive(Debug)]
pub struct ExecSender {
    writer: FrameWriter,
}

impl Link {
    /// Starts a command. With `attach` set, the stream follows it from the start.
    pub async fn start_exec(
        &self,
        exec: StartExec,
    ) -> Result<(ExecStarted, ExecStream), LinkError> {
        let (reply, stream) = self.call(Verb::StartExec(exec)).await?;
        match reply {
            reply::Result::ExecStarted(started) => Ok((
                started,
                ExecStream {
                    output: OutputReader { reader: stream.reader, _writer: None },
                    sender: ExecSender { writer: stream.writer },
                },
            )),
            _ => Err(LinkError::Mismatch("start_exec")),
        }
    }

    /// Follows a command from a combined offset.
    pub async fn attach_exec(
        &self,
        attach: AttachExec,
    ) -> Result<(ExecRecord, ExecStream), LinkError> {
        let (reply, stream) = self.call(Verb::AttachExec(attach)).await?;
        match reply {
            reply::Result::ExecAttached(ExecAttached { record: Some(record) }) => Ok((
                record,
                ExecStream {
                    output: OutputReader { reader: stream.reader, _writer: None },
                    sender: ExecSender { writer: stream.writer },
                },
            )),
            _ => Err(LinkError::Mismatch("attach_exec")),
        }
    }

    /// Reads kept output by range.
    pub async fn read_output(
        &self,
        range: ReadOutput,
    ) -> Result<(OutputRange, OutputReader), LinkError> {
        let (reply, stream) = self.call(Verb::ReadOutput(range)).await?;
        match reply {
            reply::Result::OutputRange(range) => {
                let Stream { reader, writer } = stream;
                Ok((range, OutputReader { reader, _writer: Some(writer) }))
            }
            _ => Err(LinkError::Mismatch("read_output")),
        }
    }
}

impl OutputReader {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Output>, LinkError> {
        loop {
            let frame = self.reader.expect().await?;
            return Ok(Some(match frame.kind {
                FrameKind::Stdout => Output::Stdout(frame.payload),
                FrameKind::Stderr => Output::Stderr(frame.payload),
                FrameKind::End => return Ok(None),
                FrameKind::Message => {
                    let event: ExecEvent = frame.message().map_err(LinkError::Frame)?;
                    match event.event {
                        Some(exec_event::Event::Gap(gap)) => {
                            Output::Gap { from: gap.from, to: gap.to }
                        }
                        Some(exec_event::Event::Ended(record)) => Output::Ended(Box::new(record)),
                        None => continue,
                    }
                }
                FrameKind::Stdin | FrameKind::Data => {
                    return Err(LinkError::Frame(pyro_wire::FrameError::Unexpected(frame.kind)));
                }
            }));
        }
    }
}

impl ExecSender {
    /// Bytes for the command's stdin; waits while the guest takes no more.
    pub async fn stdin(&mut self, bytes: Bytes) -> Result<(), LinkError> {
        self.writer.bytes(FrameKind::Stdin, bytes).await
    }

    /// The command's stdin ends.
    pub async fn end_stdin(&mut self) -> Result<(), LinkError> {
        self.writer.end().await
    }

    async fn control(&mut self, control: Control) -> Result<(), LinkError> {
        self.writer.message(&ExecControl { control: Some(control) }).await
    }

    /// The terminal has a new size.
    pub async fn resize(&mut self, columns: u16, rows: u16) -> Result<(), LinkError> {
        self.control(Control::Resize(Terminal { columns: columns.into(), rows: rows.into() })).await
    }

    /// Sends a signal (its number) to the command's process group.
    pub async fn signal(&mut self, signal: u32) -> Result<(), LinkError> {
        self.control(Control::Signal(signal)).await
    }

    /// Ends the whole process tree: TERM, grace period, KILL.
    pub async fn cancel(&mut self) -> Result<(), LinkError> {
        self.control(Control::Cancel(Cancel {})).await
    }
}
