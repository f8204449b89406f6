//! Connections of the host's to ports of the workload.
//!
//! They come as streams of one session, so that a thousand of them take one of the channel's places.
//! One stream, one TCP connection: what one side sends the other gets, each direction ends by itself,
//! and a side that does not read stops the other. Refuses to know who connects and why.

use std::{io, sync::Arc, time::Duration};

use bytes::BytesMut;
use pyro_session::Side;
use pyro_wire::{Call, ConnectPort, Done, FrameKind, call::Verb, reply::Result as Answer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use crate::{
    agent::Agent,
    call::{refuse, reply},
    frames::{FrameReader, FrameWriter, StreamError},
    refusal::Refusal,
    service::{Place, connect},
};

/// How long whoever listens may take to accept.
const ACCEPTING: Duration = Duration::from_secs(10);
/// Read at once, bytes.
const PIECE: usize = 32 << 10;

/// Connections of one session at once: what the host keeps to, and those that are just ending.
const MOST_CONNECTIONS: usize = 1536;
/// How long the host may take to say which port a stream is for.
const FIRST_FRAME: Duration = Duration::from_secs(10);

/// Serves a session of connections until it ends.
pub async fn serve_ports<S>(stream: S, agent: &Arc<Agent>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // This side opens none, and what comes keeps the session.
    let (_, mut incoming) = pyro_session::begin(stream, Side::Guest, MOST_CONNECTIONS);
    while let Some(stream) = incoming.next().await {
        let agent = agent.clone();
        tokio::spawn(async move {
            let (read, write) = tokio::io::split(stream);
            let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
            // An error is a connection that was cut off: there is nobody to tell.
            let _ = serve(&mut reader, &mut writer, &agent).await;
        });
    }
}

async fn serve<R, W>(
    reader: &mut FrameReader<R>,
    writer: &mut FrameWriter<W>,
    agent: &Arc<Agent>,
) -> Result<(), StreamError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Ok(first) = timeout(FIRST_FRAME, reader.next()).await else { return Ok(()) };
    let Some(frame) = first? else { return Ok(()) };
    let call: Call = frame.message().map_err(StreamError::Frame)?;
    match call.verb {
        Some(Verb::ConnectPort(call)) => forward(call, reader, writer, agent).await,
        _ => refuse(writer, &Refusal::UnknownCall).await,
    }
}

/// Connects, and carries bytes until both directions have ended or either side is gone.
async fn forward<R, W>(
    call: ConnectPort,
    reader: &mut FrameReader<R>,
    writer: &mut FrameWriter<W>,
    agent: &Arc<Agent>,
) -> Result<(), StreamError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let connection = match connected(&call, agent).await {
        Ok(connection) => connection,
        Err(refusal) => return refuse(writer, &refusal).await,
    };
    reply(writer, Answer::Done(Done {})).await?;
    let (from_port, to_port) = connection.into_split();
    let both = async { tokio::try_join!(outward(from_port, writer), inward(reader, to_port)) };
    both.await.map(drop)
}

async fn connected(call: &ConnectPort, agent: &Arc<Agent>) -> Result<TcpStream, Refusal> {
    let place = Place::new(agent.clone(), agent.workload(None).await?);
    let connecting = timeout(ACCEPTING, connect(&call.host, call.port, &place)).await;
    let connected = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    connected.map_err(|source| Refusal::NotConnected {
        host: call.host.chars().take(256).collect(),
        port: call.port,
        source,
    })
}

async fn outward<W: AsyncWrite + Unpin>(
    mut port: OwnedReadHalf,
    writer: &mut FrameWriter<W>,
) -> Result<(), StreamError> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE);
        match port.read_buf(&mut buffer).await.map_err(StreamError::Port)? {
            0 => return writer.end().await,
            _ => writer.bytes(FrameKind::Data, &buffer.split().freeze()).await?,
        }
        writer.flush().await?;
    }
}

async fn inward<R: AsyncRead + Unpin>(
    reader: &mut FrameReader<R>,
    mut port: OwnedWriteHalf,
) -> Result<(), StreamError> {
    loop {
        let Some(frame) = reader.next().await? else { return Err(StreamError::Cut) };
        match frame.kind {
            FrameKind::Data => port.write_all(&frame.payload).await.map_err(StreamError::Port)?,
            FrameKind::End => break,
            _ => {}
        }
    }
    port.shutdown().await.map_err(StreamError::Port)?;
    // Until the other direction has ended too, the host's going ends both.
    reader.next().await?;
    Err(StreamError::Cut)
}
