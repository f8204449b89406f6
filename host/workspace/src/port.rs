//! Connections to ports of a workspace.

use pyro_link::{PortReader, PortWriter};

use crate::{error::WorkspaceError, exec::InUseGuard, owner::Handle};

/// A connection to a port. The workspace is in use for as long as it lives.
#[derive(Debug)]
pub struct PortConnection {
    /// What the port sends.
    pub reader: PortReader,
    /// What it is sent.
    pub writer: PortWriter,
    /// The workspace is in use for as long as this lives.
    pub in_use: InUseGuard,
}

impl Handle {
    /// Connects to a port within the workspace; starts it if need be and allowed.
    pub async fn connect_port(
        &self,
        host: &str,
        port: u16,
        no_start: bool,
    ) -> Result<PortConnection, WorkspaceError> {
        let in_use = InUseGuard::new(self);
        let (link, _) = self.guest(no_start).await?;
        let (reader, writer) = link
            .connect_port(host.to_owned(), port)
            .await
            .map_err(WorkspaceError::guest("connect to the port"))?;
        Ok(PortConnection { reader, writer, in_use })
    }
}
