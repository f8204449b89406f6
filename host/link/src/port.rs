//! Connections to TCP ports of the workload.

use bytes::Bytes;
use pyro_wire::{ConnectPort, FrameError, FrameKind, call::Verb, reply};

use crate::{
    call::Link,
    stream::{FrameReader, FrameWriter, LinkError},
};

/// What a port sends.
#[derive(Debug)]
pub struct PortReader(FrameReader);

/// What a port is sent. The connection is cut off where this is dropped before both have ended.
#[derive(Debug)]
pub struct PortWriter(FrameWriter);

impl Link {
    /// Connects to a port within the workload's network.
    pub async fn connect_port(
        &self,
        host: String,
        port: u16,
    ) -> Result<(PortReader, PortWriter), LinkError> {
        let call = ConnectPort { host, port: port.into() };
        let (reply, stream) = self.call(Verb::ConnectPort(call)).await?;
        match reply {
            reply::Result::Done(_) => Ok((PortReader(stream.reader), PortWriter(stream.writer))),
            _ => Err(LinkError::Mismatch("connect_port")),
        }
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
