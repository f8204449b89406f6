//! Connections to TCP ports of the workload.
//!
//! All of a guest's go in one session, so that a thousand of them take one of its places.

use bytes::Bytes;
use pyro_session::{Opener, Side};
use pyro_wire::{
    Call, ConnectPort, FrameError, FrameKind, GENERATION, OpenPorts, call::Verb, reply,
};
use tokio::{
    io::{ReadHalf, WriteHalf},
    sync::Mutex,
    time::timeout,
};

use crate::{
    call::{ANSWER, Link, answered},
    places::Place,
    stream::{FrameReader, FrameWriter, LinkError},
};

/// Streams of the session: more than a workspace may have connections, since ended ones are streams
/// until both sides know.
const MOST_STREAMS: usize = 1536;

/// The session, once there was a connection. It lasts as long as its link.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    session: Mutex<Option<(Opener, Option<Place>)>>,
}

/// What a port sends.
#[derive(Debug)]
pub struct PortReader(FrameReader<ReadHalf<pyro_session::Stream>>);

/// What a port is sent. The connection is cut off where this and its [`PortReader`] are dropped
/// before both directions have ended.
#[derive(Debug)]
pub struct PortWriter(FrameWriter<WriteHalf<pyro_session::Stream>>);

impl Link {
    /// Connects to a port within the workload's network.
    pub async fn connect_port(
        &self,
        host: String,
        port: u16,
    ) -> Result<(PortReader, PortWriter), LinkError> {
        let connecting = async {
            let (read, write) = tokio::io::split(self.port_stream().await?);
            let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
            let verb = Verb::ConnectPort(ConnectPort { host, port: port.into() });
            writer.message(&Call { generation: GENERATION, verb: Some(verb) }).await?;
            writer.flush().await?;
            match answered(&reader.expect().await?)? {
                reply::Result::Done(_) => Ok((PortReader(reader), PortWriter(writer))),
                _ => Err(LinkError::Mismatch("connect_port")),
            }
        };
        timeout(ANSWER, connecting).await.unwrap_or(Err(LinkError::Silent(ANSWER)))
    }

    /// A stream of the session, which is begun where there is none that lives.
    async fn port_stream(&self) -> Result<pyro_session::Stream, LinkError> {
        let mut session = self.ports.session.lock().await;
        if let Some((opener, _)) = &*session
            && let Some(stream) = opener.open().await
        {
            return Ok(stream);
        }
        *session = None;
        let (reply, stream) = self.call(Verb::OpenPorts(OpenPorts {})).await?;
        let reply::Result::Done(_) = reply else { return Err(LinkError::Mismatch("open_ports")) };
        let (whole, place) = stream.into_whole();
        // The guest opens none: what it opens is reset.
        let (opener, _) = pyro_session::begin(whole, Side::Host, MOST_STREAMS);
        let stream = opener.open().await.ok_or(LinkError::Ended)?;
        *session = Some((opener, place));
        Ok(stream)
    }
}

impl PortReader {
    /// The next bytes; `None` at the end of this direction.
    pub async fn next(&mut self) -> Result<Option<Bytes>, LinkError> {
        let frame = self.0.expect().await?;
        match frame.kind {
            FrameKind::Data => Ok(Some(frame.payload)),
            FrameKind::End => Ok(None),
            kind => Err(LinkError::Frame(FrameError::Unexpected(kind))),
        }
    }
}

impl PortWriter {
    /// Sends bytes; waits while the port takes no more.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), LinkError> {
        self.0.bytes(FrameKind::Data, bytes).await
    }

    /// Ends this direction.
    pub async fn end(&mut self) -> Result<(), LinkError> {
        self.0.end().await
    }
}
