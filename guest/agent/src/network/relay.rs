//! One connection, one query: asked of the host on a stream of the trunk, and carried.
//!
//! Refuses to know packets. A stream that ends in the middle resets the program's connection, so that
//! nobody takes a part for the whole.

use std::{net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use pyro_session::{Opener, Stream};
use pyro_wire::{
    Dial, FrameKind, Outgoing, OutgoingProcess, OutgoingReply, RefusedReason, Resolve,
    outgoing::Wish, outgoing_reply::Result as Answer,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    net::{
        TcpStream,
        tcp::{ReadHalf as PortReader, WriteHalf as PortWriter},
    },
    sync::watch,
    time::timeout,
};

use super::packet::Unreachable;
use crate::frames::{FrameReader, FrameWriter, StreamError};

/// How long a packet is held for a node that is not there: one that was killed is started again by
/// the next command.
const TRUNK: Duration = Duration::from_secs(10);
/// How long the host may take to connect, which has limits of its own.
const CONNECTING: Duration = Duration::from_secs(40);
/// How long it may take to answer a query; resolvers ask again after five seconds.
const ANSWERING: Duration = Duration::from_secs(15);
/// Read of a program at once, bytes.
const PIECE: usize = 64 << 10;
/// How long a program that asks for names by TCP may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// A connection that the host has made.
pub struct Dialed {
    reader: FrameReader<ReadHalf<Stream>>,
    writer: FrameWriter<WriteHalf<Stream>>,
}

/// Why there is none: `None` is a reset.
pub type Refusal = Option<Unreachable>;

/// Asks, and gives the reply with the stream. `None` where the trunk is gone.
async fn ask(
    trunk: &mut watch::Receiver<Option<Opener>>,
    wish: Wish,
    process: Option<OutgoingProcess>,
    limit: Duration,
) -> Option<(Answer, Dialed)> {
    let opener = timeout(TRUNK, trunk.wait_for(Option::is_some)).await.ok()?.ok()?.clone()?;
    let asked = async {
        let (read, write) = tokio::io::split(opener.open().await?);
        let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
        writer.message(&Outgoing { wish: Some(wish), process }).await.ok()?;
        writer.flush().await.ok()?;
        let reply: OutgoingReply = reader.next().await.ok()??.message().ok()?;
        Some((reply.result?, Dialed { reader, writer }))
    };
    timeout(limit, asked).await.ok()?
}

/// Asks for a connection.
pub async fn dial(
    trunk: &mut watch::Receiver<Option<Opener>>,
    destination: SocketAddr,
    process: Option<OutgoingProcess>,
) -> Result<Dialed, Refusal> {
    let address = match destination {
        SocketAddr::V4(address) => Bytes::copy_from_slice(&address.ip().octets()),
        SocketAddr::V6(address) => Bytes::copy_from_slice(&address.ip().octets()),
    };
    let dial = Dial { address, port: destination.port().into() };
    match ask(trunk, Wish::Dial(dial), process, CONNECTING).await {
        Some((Answer::Dialed(_), dialed)) => Ok(dialed),
        Some((Answer::Refused(refused), _)) => Err(match refused.reason() {
            RefusedReason::RefusedDenied => Some(Unreachable::Prohibited),
            RefusedReason::RefusedUnreachable | RefusedReason::RefusedTimedOut => {
                Some(Unreachable::Host)
            }
            RefusedReason::RefusedConnection | RefusedReason::RefusedTooMany => None,
        }),
        _ => Err(Some(Unreachable::Host)),
    }
}

/// Asks for a name; `None` where there is no answer.
pub async fn resolve(
    trunk: &mut watch::Receiver<Option<Opener>>,
    query: Vec<u8>,
    datagram: bool,
    process: Option<OutgoingProcess>,
) -> Option<Bytes> {
    let wish = Wish::Resolve(Resolve { query: query.into(), datagram });
    match ask(trunk, wish, process, ANSWERING).await {
        Some((Answer::Resolved(resolved), _)) if !resolved.answer.is_empty() => {
            Some(resolved.answer)
        }
        _ => None,
    }
}

/// Carries a connection until both directions have ended; reset where one was cut off.
pub async fn carry(mut connection: TcpStream, dialed: Dialed) {
    let Dialed { mut reader, mut writer } = dialed;
    let reset = Some(Duration::ZERO);
    let _ = connection.set_nodelay(true);
    // Whatever ends this early ends the connection so.
    let _ = rustix::net::sockopt::set_socket_linger(&connection, reset);
    let (mut from_program, mut to_program) = connection.split();
    let carried = tokio::try_join!(
        outward(&mut from_program, &mut writer),
        inward(&mut reader, &mut to_program)
    );
    if carried.is_ok() {
        let _ = rustix::net::sockopt::set_socket_linger(&connection, None);
    }
}

async fn outward(
    program: &mut PortReader<'_>,
    writer: &mut FrameWriter<WriteHalf<Stream>>,
) -> Result<(), StreamError> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE);
        match program.read_buf(&mut buffer).await.map_err(StreamError::Port)? {
            0 => return writer.end().await,
            _ => writer.bytes(FrameKind::Data, &buffer.split().freeze()).await?,
        }
        writer.flush().await?;
    }
}

async fn inward(
    reader: &mut FrameReader<ReadHalf<Stream>>,
    program: &mut PortWriter<'_>,
) -> Result<(), StreamError> {
    loop {
        let Some(frame) = reader.next().await? else { return Err(StreamError::Cut) };
        match frame.kind {
            FrameKind::Data => {
                program.write_all(&frame.payload).await.map_err(StreamError::Port)?;
            }
            FrameKind::End => return program.shutdown().await.map_err(StreamError::Port),
            _ => {}
        }
    }
}

/// Answers a program that asks for names by TCP (RFC 1035, section 4.2.2), one query after the other.
pub async fn serve_names(
    mut program: TcpStream,
    trunk: &mut watch::Receiver<Option<Opener>>,
    process: Option<&OutgoingProcess>,
) {
    while let Ok(Ok(length)) = timeout(SILENCE, program.read_u16()).await {
        let mut query = vec![0; length.into()];
        let Ok(Ok(_)) = timeout(SILENCE, program.read_exact(&mut query)).await else { return };
        let Some(answer) = resolve(trunk, query, false, process.cloned()).await else { return };
        let Ok(length) = u16::try_from(answer.len()) else { return };
        let whole = [&length.to_be_bytes(), &answer[..]].concat();
        let Ok(Ok(())) = timeout(SILENCE, program.write_all(&whole)).await else { return };
    }
}
