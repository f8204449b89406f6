//! Calls about services: short ones, the wait, the log and the events.

use std::time::Duration;

use pyro_wire::{
    DeleteService, FrameKind, ListServices, Message, ReadServiceEvents, ReadServiceLog,
    RestartService, ServiceEvent, ServiceList, ServiceLogPiece, ServiceReply, SignalService,
    StartService, StopService, WaitService, call::Verb, reply, service_log_piece,
};

use crate::{
    call::Link,
    stream::{LinkError, Stream},
};

/// What making a process may take, beyond what any answer may: its directory or program may be on
/// a file system that the workload itself serves.
const MAKING: Duration = Duration::from_mins(1);
/// How long a service's own grace period may be believed to be.
const STOPPING: Duration = Duration::from_hours(24);

impl Link {
    async fn service(
        &self,
        verb: Verb,
        name: &'static str,
        limit: Duration,
    ) -> Result<ServiceReply, LinkError> {
        match self.call_within(verb, limit).await?.0 {
            reply::Result::Service(reply) => Ok(reply),
            _ => Err(LinkError::Mismatch(name)),
        }
    }

    async fn services(
        &self,
        verb: Verb,
        name: &'static str,
        limit: Duration,
    ) -> Result<ServiceList, LinkError> {
        match self.call_within(verb, limit).await?.0 {
            reply::Result::ServiceList(list) => Ok(list),
            _ => Err(LinkError::Mismatch(name)),
        }
    }

    /// Starts a service; returns when its process lives or waits for others.
    pub async fn start_service(&self, call: StartService) -> Result<ServiceReply, LinkError> {
        // One that is replaced is stopped first.
        self.service(Verb::StartService(call), "start_service", MAKING + STOPPING).await
    }

    /// Every service, or the one of this name.
    pub async fn list_services(&self, call: ListServices) -> Result<ServiceList, LinkError> {
        self.services(Verb::ListServices(call), "list_services", crate::call::ANSWER).await
    }

    /// Stops a service; returns when its last process is gone.
    pub async fn stop_service(&self, call: StopService) -> Result<ServiceReply, LinkError> {
        self.service(Verb::StopService(call), "stop_service", STOPPING).await
    }

    /// Stops every service because the workspace is stopped; they run again at its next start.
    pub async fn stop_services(&self, grace: Duration) -> Result<ServiceList, LinkError> {
        let call = StopService {
            workspace: true,
            grace_millis: Some(grace.as_millis() as u64),
            ..StopService::default()
        };
        let limit = grace * 2 + Duration::from_secs(20);
        self.services(Verb::StopService(call), "stop_service", limit).await
    }

    /// Begins a new run; returns when it has begun.
    pub async fn restart_service(&self, name: String) -> Result<ServiceReply, LinkError> {
        let call = RestartService { name };
        self.service(Verb::RestartService(call), "restart_service", MAKING + STOPPING).await
    }

    /// Waits as the call says, which bounds it.
    pub async fn wait_service(&self, call: WaitService) -> Result<ServiceReply, LinkError> {
        let limit = Duration::from_millis(call.timeout_millis) + crate::call::ANSWER;
        self.service(Verb::WaitService(call), "wait_service", limit).await
    }

    /// Sends a signal to a service.
    pub async fn signal_service(&self, call: SignalService) -> Result<ServiceReply, LinkError> {
        self.service(Verb::SignalService(call), "signal_service", crate::call::ANSWER).await
    }

    /// Stops a service and drops its record and log.
    pub async fn delete_service(&self, name: String) -> Result<(), LinkError> {
        self.done(Verb::DeleteService(DeleteService { name }), "delete_service", STOPPING).await
    }

    /// Reads a service's log; with `follow`, for as long as the reader is kept.
    pub async fn read_service_log(
        &self,
        call: ReadServiceLog,
    ) -> Result<(ServiceReply, LogReader), LinkError> {
        let (reply, stream) = self.call(Verb::ReadServiceLog(call)).await?;
        match reply {
            reply::Result::Service(reply) => Ok((reply, LogReader { stream })),
            _ => Err(LinkError::Mismatch("read_service_log")),
        }
    }

    /// Follows the state changes after this number; the services as they stand come first.
    pub async fn service_events(
        &self,
        after: u64,
    ) -> Result<(ServiceList, ServiceEvents), LinkError> {
        let call = ReadServiceEvents { sequence: after };
        let (reply, stream) = self.call(Verb::ReadServiceEvents(call)).await?;
        match reply {
            reply::Result::ServiceList(list) => Ok((list, ServiceEvents { stream })),
            _ => Err(LinkError::Mismatch("read_service_events")),
        }
    }
}

/// The messages of a stream up to its end; those this build does not know are skipped.
async fn next<T, M: Message + Default>(
    stream: &mut Stream,
    known: impl Fn(M) -> Option<T>,
) -> Result<Option<T>, LinkError> {
    loop {
        let frame = stream.reader.expect().await?;
        match frame.kind {
            FrameKind::End => return Ok(None),
            FrameKind::Message => {
                let message: M = frame.message().map_err(LinkError::Frame)?;
                if let Some(message) = known(message) {
                    return Ok(Some(message));
                }
            }
            kind => return Err(LinkError::Frame(pyro_wire::FrameError::Unexpected(kind))),
        }
    }
}

/// A log as it is read.
#[derive(Debug)]
pub struct LogReader {
    stream: Stream,
}

impl LogReader {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<service_log_piece::Piece>, LinkError> {
        next(&mut self.stream, |piece: ServiceLogPiece| piece.piece).await
    }
}

/// State changes as they happen.
#[derive(Debug)]
pub struct ServiceEvents {
    stream: Stream,
}

impl ServiceEvents {
    /// The next one; `None` when the guest has no more to say.
    pub async fn next(&mut self) -> Result<Option<ServiceEvent>, LinkError> {
        next(&mut self.stream, Some).await
    }
}
