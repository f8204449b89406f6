//! Connections to ports of a workspace.

use std::{future::Future, net::IpAddr, sync::Arc};

use bytes::{Bytes, BytesMut};
use pyro_core::Problem;
use pyro_link::{PortReader, PortWriter};
use pyro_store::PublishedPort;
use pyro_wire::{ListServices, ServiceList};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{
    activity::Activity,
    error::WorkspaceError,
    exec::InUseGuard,
    owner::{Handle, Request},
    published::{PortRequest, PortRow, rows},
    service::all_told,
};

/// Connections to the ports of one workspace at once.
pub(crate) const MOST_CONNECTIONS: usize = 1024;
/// Ports that a guest is believed to listen on.
const MOST_LISTENING: usize = 1024;
/// Read of a client at once, bytes.
const PIECE: usize = 32 << 10;

/// A connection to a port. Its bytes are uses of the workspace; while it is silent it is none.
#[derive(Debug)]
pub struct PortConnection {
    reader: PortReader,
    writer: PortWriter,
    activity: Arc<Activity>,
    _place: OwnedSemaphorePermit,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carried {
    /// Both directions, each by itself.
    Ended,
    /// One direction broke, or a side is gone.
    Cut,
}

impl Handle {
    /// Connects to a port within the workspace; starts it if need be and allowed.
    pub async fn connect_port(
        &self,
        host: &str,
        port: u16,
        no_start: bool,
    ) -> Result<PortConnection, WorkspaceError> {
        let _in_use = InUseGuard::new(self);
        let place = place(&self.connections).ok_or_else(|| crowded(self))?;
        let (link, _) = self.guest(no_start).await?;
        let (reader, writer) = link
            .connect_port(host.to_owned(), port)
            .await
            .map_err(WorkspaceError::guest("connect to the port"))?;
        Ok(PortConnection { reader, writer, activity: self.activity.clone(), _place: place })
    }
}

impl Handle {
    /// Publishes ports on this host, all of them or none; what is published already stays as it is.
    /// The ports that were asked for.
    pub async fn publish_ports(
        &self,
        ports: Vec<PortRequest>,
    ) -> Result<Vec<PublishedPort>, WorkspaceError> {
        self.activity.touch();
        let (asked, _) = self.ask(|reply| Request::Publish { ports, service: None, reply }).await?;
        Ok(asked)
    }

    /// Takes published ports back, by the host's number, else by the guest's; all of them or none.
    pub async fn unpublish_ports(
        &self,
        ports: Vec<u16>,
    ) -> Result<Vec<PublishedPort>, WorkspaceError> {
        self.activity.touch();
        self.ask(|reply| Request::Unpublish { ports, reply }).await
    }

    /// The ports that are listened on within the workspace or published on this host.
    pub async fn ports(&self) -> Result<Vec<PortRow>, WorkspaceError> {
        let snapshot = self.snapshot();
        let mut list = ServiceList::default();
        if let Some(live) = &snapshot.live {
            let call = ListServices { all_ports: true, ..ListServices::default() };
            match live.link.list_services(call).await {
                Ok(told) => list = told,
                // It ended just now: nobody listens there any more.
                Err(_) if !live.vm.lives() => {}
                Err(error) => return Err(WorkspaceError::guest("list the ports")(error)),
            }
        }
        let services: Vec<_> = all_told(&list)
            .into_iter()
            .map(|service| (service.name.to_string(), service.listening))
            .collect();
        Ok(rows(&listening(&list.listening), &services, &snapshot.ports))
    }
}

/// What a guest says of where it listens, as far as that can be.
pub(crate) fn listening(told: &[pyro_wire::ListeningPort]) -> Vec<(String, u16)> {
    let one = |listening: &pyro_wire::ListeningPort| {
        let port = u16::try_from(listening.port).ok().filter(|port| *port > 0)?;
        let address: IpAddr = listening.address.parse().ok()?;
        Some((address.to_string(), port))
    };
    told.iter().take(MOST_LISTENING).filter_map(one).collect()
}

fn place(connections: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    connections.clone().try_acquire_owned().ok()
}

fn crowded(handle: &Handle) -> WorkspaceError {
    let message =
        format!("{MOST_CONNECTIONS} connections to ports of workspace {} are open", handle.id);
    Problem::conflict("too_many_connections", message)
        .hint("end some of them; a pool of connections in the client often has a limit to set")
        .into()
}

impl PortConnection {
    /// Carries bytes between a client and the port until both directions have ended, or either side is
    /// gone. `first` was read of the client already; `gone` ends when the client is gone for both
    /// directions. A side that does not read stops the other, and nobody else.
    pub async fn carry(
        self,
        first: Bytes,
        mut from_client: impl AsyncRead + Unpin,
        mut to_client: impl AsyncWrite + Unpin,
        gone: impl Future<Output = ()>,
    ) -> Carried {
        let Self { mut reader, mut writer, activity, _place } = self;
        let outward = async {
            let mut buffer = BytesMut::from(&first[..]);
            loop {
                if !buffer.is_empty() {
                    writer.send(buffer.split().freeze()).await.ok()?;
                    activity.touch();
                }
                buffer.reserve(PIECE);
                if from_client.read_buf(&mut buffer).await.ok()? == 0 {
                    return writer.end().await.ok();
                }
            }
        };
        let inward = async {
            while let Some(bytes) = reader.next().await.ok()? {
                activity.touch();
                to_client.write_all(&bytes).await.ok()?;
            }
            to_client.shutdown().await.ok()
        };
        let (mut sent, mut received) = (false, false);
        tokio::pin!(outward, inward, gone);
        while !(sent && received) {
            let went_on = tokio::select! {
                biased;
                ended = &mut outward, if !sent => { sent = true; ended }
                ended = &mut inward, if !received => { received = true; ended }
                // Once the client was told the end, its own ordinary end is a hang-up too.
                () = &mut gone, if !received => None,
            };
            if went_on.is_none() {
                return Carried::Cut;
            }
        }
        Carried::Ended
    }
}
