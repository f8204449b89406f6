//! Upgraded connections: an exec's frames between a client and a guest.
//!
//! Bytes are never gathered here: a client that reads slowly slows the reading of the guest's
//! stream, and the guest keeps what was not read in its own bounded spool.

use std::{future::Future, io, os::fd::AsFd, path::PathBuf, pin::Pin};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use pyro_api::{
    ClientControl, HEADER_BYTES, STREAM_PROTOCOL, ServerControl, StreamFrame, StreamKind,
    VmCleanup, stream_header,
};
use pyro_core::{ExecId, Problem};
use pyro_workspace::{
    ExecRecord, ExecSender, ExecStream, Handle, Output, OutputPiece, OutputReader, read_kept,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{
    present,
    response::{Failure, problem},
};

/// How long a client's reading side is waited for once all was sent.
const LINGER: std::time::Duration = std::time::Duration::from_secs(5);

/// The upgrade a request asks for.
pub(crate) fn upgrade(request: &mut Request) -> Result<OnUpgrade, Failure> {
    upgrade_to(STREAM_PROTOCOL, request)
}

/// The upgrade to a protocol.
pub(crate) fn upgrade_to(
    protocol: &'static str,
    request: &mut Request,
) -> Result<OnUpgrade, Failure> {
    let asked = request
        .headers()
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(protocol.as_bytes()));
    request.extensions_mut().remove::<OnUpgrade>().filter(|_| asked).ok_or_else(|| {
        Failure(
            Problem::invalid("upgrade_required", "this route answers on an upgraded connection")
                .hint(format!("send Connection: Upgrade and Upgrade: {protocol}")),
        )
    })
}

/// The answer that switches protocols.
pub(crate) fn switching() -> Response {
    switching_to(STREAM_PROTOCOL)
}

/// The answer that switches to a protocol.
pub(crate) fn switching_to(protocol: &'static str) -> Response {
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(protocol));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    *response.body_mut() = Body::empty();
    response
}

/// The socket of an upgraded connection, and what was read from it already.
pub(crate) async fn taken_over(upgrade: OnUpgrade) -> Result<(UnixStream, Bytes), Problem> {
    let failed = |why: String| Problem::failed("upgrade_failed", why);
    let upgraded = upgrade.await.map_err(|error| failed(error.to_string()))?;
    let parts = Upgraded::downcast::<TokioIo<UnixStream>>(upgraded)
        .map_err(|_| failed("the connection is not a Unix socket".into()))?;
    Ok((parts.io.into_inner(), parts.read_buf))
}

/// A client's side of an upgraded connection.
pub(crate) struct Client {
    reader: ClientReader,
    writer: ClientWriter,
    hang_up: HangUp,
}

struct ClientReader {
    half: OwnedReadHalf,
    buffer: BytesMut,
}

pub(crate) struct ClientWriter {
    half: OwnedWriteHalf,
}

type HangUp = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Client {
    /// Completes the upgrade.
    pub(crate) async fn accept(upgrade: OnUpgrade) -> Result<Self, Problem> {
        let (socket, read_buf) = taken_over(upgrade).await?;
        let failed = |why: String| Problem::failed("upgrade_failed", why);
        let hang_up = hang_up(&socket).map_err(|error| failed(error.to_string()))?;
        let (read, write) = socket.into_split();
        Ok(Self {
            reader: ClientReader { half: read, buffer: BytesMut::from(&read_buf[..]) },
            writer: ClientWriter { half: write },
            hang_up,
        })
    }
}

/// Becomes ready when the peer is gone, even while nobody reads what it sent before.
///
/// Waits on a duplicate of the descriptor, so that clearing its readiness takes nothing from the
/// reader: the registration is edge-triggered, and the last edge is the hang-up.
fn hang_up(socket: &UnixStream) -> io::Result<HangUp> {
    let duplicate = std::os::unix::net::UnixStream::from(socket.as_fd().try_clone_to_owned()?);
    let watched = UnixStream::from_std(duplicate)?;
    Ok(Box::pin(async move {
        while let Ok(ready) = watched.ready(Interest::READABLE).await {
            if ready.is_read_closed() {
                return;
            }
            let nothing = || Err::<(), _>(io::Error::from(io::ErrorKind::WouldBlock));
            let _ = watched.try_io(Interest::READABLE, nothing);
        }
    }))
}

impl ClientReader {
    /// The next frame; `None` when the client is gone.
    async fn next(&mut self) -> Result<Option<StreamFrame>, Problem> {
        loop {
            if let Some(frame) = StreamFrame::cut(&mut self.buffer)? {
                return Ok(Some(frame));
            }
            match self.half.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
    }
}

impl ClientWriter {
    async fn bytes(&mut self, kind: StreamKind, bytes: &Bytes) -> io::Result<()> {
        if bytes.len() <= 4096 {
            let frame = StreamFrame { kind, payload: bytes.clone() };
            return self.half.write_all(&frame.to_bytes()).await;
        }
        let header: [u8; HEADER_BYTES] = stream_header(kind, bytes.len());
        let mut whole = bytes::Buf::chain(&header[..], bytes.clone());
        self.half.write_all_buf(&mut whole).await
    }

    pub(crate) async fn control(&mut self, control: &ServerControl) -> io::Result<()> {
        self.half.write_all(&StreamFrame::control(control).to_bytes()).await
    }

    async fn end(&mut self) -> io::Result<()> {
        let end = StreamFrame { kind: StreamKind::End, payload: Bytes::new() };
        self.half.write_all(&end.to_bytes()).await?;
        self.half.shutdown().await
    }
}

/// What a stream is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// The client's own one-shot exec: it ends when the client goes without saying Detach.
    Exec,
    /// A look at an exec that lives by itself.
    Attach,
}

/// How a client's side of the conversation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Left {
    Detached,
    Vanished,
}

/// How a conversation ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The exec ended, and the client has all of it but the last words.
    Ended(Box<ExecRecord>),
    /// The client left; what was to be done about the exec was done.
    ClientLeft,
    /// The guest's side broke, and the client was told.
    Broken,
}

/// Carries an exec's frames until it ends or the client goes. The last words are the caller's.
pub(crate) async fn converse(
    client: Client,
    stream: ExecStream,
    handle: &Handle,
    exec: ExecId,
    purpose: Purpose,
) -> (Outcome, ClientWriter) {
    let Client { mut reader, mut writer, hang_up } = client;
    let ExecStream { mut output, mut sender } = stream;
    let outcome = {
        let incoming = to_guest(&mut reader, &mut sender, hang_up, handle, exec);
        let outgoing = to_client(&mut output, &mut writer);
        tokio::pin!(incoming, outgoing);
        tokio::select! {
            sent = &mut outgoing => sent,
            left = &mut incoming => match left {
                Ok(left) => Sent::ClientGone(left),
                Err(problem) => Sent::Refused(problem),
            },
        }
    };
    let outcome = match outcome {
        Sent::Ended(ended) => match handle.finish_exec(ended).await {
            Ok(record) => Outcome::Ended(Box::new(record)),
            Err(error) => {
                tell_problem(&mut writer, problem(error)).await;
                Outcome::Broken
            }
        },
        Sent::ClientGone(left) => {
            match (purpose, left) {
                (_, Left::Detached) => {
                    if let Err(error) = handle.leave_exec(exec).await {
                        tracing::warn!(%exec, %error, "could not note that an exec was left running");
                    }
                }
                (Purpose::Exec, Left::Vanished) => cancel_exec(handle, exec).await,
                (Purpose::Attach, Left::Vanished) => {}
            }
            Outcome::ClientLeft
        }
        Sent::Refused(refused) => {
            if purpose == Purpose::Exec {
                cancel_exec(handle, exec).await;
            }
            tell_problem(&mut writer, refused).await;
            Outcome::Broken
        }
        Sent::GuestLost => {
            // The owner hears of a dead VM from its keeper and settles the record then.
            let settled = handle.wait_exec(exec, Some(LINGER)).await;
            let told =
                settled.ok().and_then(|record| present::lost(&record)).unwrap_or_else(|| {
                    Problem::failed("guest_stream_lost", "the stream to the guest broke")
                        .hint(format!("pyro attach {} {exec}", handle.id()))
                });
            tell_problem(&mut writer, told).await;
            Outcome::Broken
        }
    };
    (outcome, writer)
}

#[derive(Debug)]
enum Sent {
    Ended(Box<pyro_workspace::GuestExecRecord>),
    ClientGone(Left),
    Refused(Problem),
    GuestLost,
}

async fn cancel_exec(handle: &Handle, exec: ExecId) {
    if let Err(error) = handle.signal_exec(exec, None).await {
        tracing::debug!(%exec, %error, "could not cancel an exec whose client went");
    }
}

/// Guest to client, until the exec ended or one side broke.
async fn to_client(output: &mut OutputReader, writer: &mut ClientWriter) -> Sent {
    loop {
        let sent = match output.next().await {
            Ok(Some(Output::Stdout(bytes))) => writer.bytes(StreamKind::Stdout, &bytes).await,
            Ok(Some(Output::Stderr(bytes))) => writer.bytes(StreamKind::Stderr, &bytes).await,
            Ok(Some(Output::Gap { from, to })) => {
                writer.control(&ServerControl::Gap { from, to }).await
            }
            Ok(Some(Output::Ended(record))) => return Sent::Ended(record),
            Ok(None) | Err(_) => return Sent::GuestLost,
        };
        if sent.is_err() {
            return Sent::ClientGone(Left::Vanished);
        }
    }
}

/// Client to guest, until the client leaves. Stdin waits while the guest takes no more; a client
/// that goes meanwhile is noticed, and what it said last is still read.
async fn to_guest(
    reader: &mut ClientReader,
    sender: &mut ExecSender,
    mut hang_up: HangUp,
    handle: &Handle,
    exec: ExecId,
) -> Result<Left, Problem> {
    let mut gone = false;
    loop {
        let Some(frame) = reader.next().await? else { return Ok(Left::Vanished) };
        match frame.kind {
            StreamKind::Stdin | StreamKind::End if gone => {}
            StreamKind::Stdin => tokio::select! {
                // A guest that takes no stdin any more is told of by the output side.
                _ = sender.stdin(frame.payload) => {}
                () = &mut hang_up => gone = true,
            },
            StreamKind::End => {
                let _ = sender.end_stdin().await;
            }
            StreamKind::Control => {
                let control = serde_json::from_slice(&frame.payload).map_err(|error| {
                    Problem::invalid("invalid_stream", "malformed control frame").cause(error)
                })?;
                match control {
                    ClientControl::Detach => return Ok(Left::Detached),
                    _ if gone => {}
                    ClientControl::Resize(size) => {
                        let _ = sender.resize(size.columns, size.rows).await;
                    }
                    // By streams of their own: they must not queue behind unread stdin.
                    ClientControl::Signal { signal } => {
                        let _ = handle.signal_exec(exec, Some(signal)).await;
                    }
                    ClientControl::Cancel => cancel_exec(handle, exec).await,
                }
            }
            StreamKind::Stdout | StreamKind::Stderr => {
                return Err(Problem::invalid(
                    "invalid_stream",
                    "a client sends no stdout or stderr frames",
                ));
            }
        }
    }
}

/// Tells a client why its stream ends.
pub(crate) async fn tell_problem(writer: &mut ClientWriter, problem: Problem) {
    let _ = writer.control(&ServerControl::Problem { problem }).await;
    let _ = writer.end().await;
}

/// Tells a client that the exec ended, and all that is to say of it.
pub(crate) async fn tell_ended(
    writer: &mut ClientWriter,
    record: &ExecRecord,
    handle: &Handle,
    cleanup: Option<VmCleanup>,
) {
    if let Some(lost) = present::lost(record) {
        return tell_problem(writer, lost).await;
    }
    let exec = Box::new(present::exec_result(record, &handle.snapshot().record));
    let _ = writer.control(&ServerControl::Ended { exec, cleanup }).await;
    let _ = writer.end().await;
}

/// Tells a client that the exec runs.
pub(crate) async fn tell_started(
    client: &mut Client,
    record: &ExecRecord,
    handle: &Handle,
    notices: Vec<String>,
) -> io::Result<()> {
    let exec = Box::new(present::exec_result(record, &handle.snapshot().record));
    client.writer.control(&ServerControl::Started { exec, notices }).await
}

/// Sends the kept output of a finished exec from a combined offset, and its end.
pub(crate) async fn replay(
    client: Client,
    record: &ExecRecord,
    copy: Option<PathBuf>,
    offset: u64,
    handle: &Handle,
) {
    let Client { mut writer, .. } = client;
    let (send, mut pieces) = tokio::sync::mpsc::channel(16);
    // Without a copy the sender is dropped here, and nothing is received.
    let read = copy.map(|path| {
        tokio::task::spawn_blocking(move || {
            let Ok(kept) = read_kept(&path, offset, None) else { return };
            for piece in kept.map_while(Result::ok) {
                if send.blocking_send(piece).is_err() {
                    return;
                }
            }
        })
    });
    while let Some(piece) = pieces.recv().await {
        let sent = match piece {
            OutputPiece::Stdout(bytes) => writer.bytes(StreamKind::Stdout, &bytes).await,
            OutputPiece::Stderr(bytes) => writer.bytes(StreamKind::Stderr, &bytes).await,
            OutputPiece::Gap { from, to } => writer.control(&ServerControl::Gap { from, to }).await,
        };
        if sent.is_err() {
            return;
        }
    }
    if let Some(read) = read {
        let _ = read.await;
    }
    tell_ended(&mut writer, record, handle, None).await;
}
