//! Services of a workspace: what is asked of the guest's supervisor, and what is known without it.
//!
//! ```text
//! mod       the verbs
//! order     a specification in people's words -> the guest's
//! told      the guest's record -> ours; whatever it says is bounded and parsed here
//! follower  a task beside the owner: keeps records and events as the guest tells them
//! copies    logs on the host, for when no guest runs
//! up        several at once, as a file declares them
//! ```
//!
//! The guest decides what becomes of a service; nothing here does. Refuses to know HTTP.

mod copies;
mod follower;
mod order;
mod told;
mod up;

use std::time::{Duration, Instant};

use pyro_core::{Problem, ServiceName, ServiceSpec};
use pyro_link::{Link, LinkError, LogReader};
use pyro_store::{Phase, PublishedPort, ServiceEvent, ServiceRecord};
use pyro_wire::{
    ListServices, ReadServiceLog, ServiceReply, SignalService, StartService, StopService,
    WaitOutcome, WaitService, service_log_piece,
};
use tokio::sync::watch;

use crate::{
    error::WorkspaceError,
    exec::InUseGuard,
    owner::{Handle, Request},
    published::PortRequest,
    registry::now_millis,
    vm::Vm,
};

pub(crate) use copies::{copy_logs, remove as remove_log, sweep};
pub(crate) use follower::ServiceFollower;
pub(crate) use told::{all_told, stopped_by};
pub use up::{Action, Up, UpReport, UpService};

/// How long one wait in the guest goes on before it is asked anew: a guest that dies meanwhile is
/// found out.
const AT_ONCE: Duration = Duration::from_mins(1);

/// How long a guest may take to say in brief what its services are.
const IN_BRIEF: Duration = Duration::from_secs(1);

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is as was waited for.
    Met,
    /// Its run ended, or it cannot come to it any more.
    Ended,
    /// The time was over.
    TimedOut,
}

/// A service that was started, or waited for.
#[derive(Clone, PartialEq, Debug)]
pub struct StartedService {
    /// Its record.
    pub record: ServiceRecord,
    /// It ran already, as it should.
    pub unchanged: bool,
    /// How the wait for it ended; none where nobody waited.
    pub outcome: Option<Outcome>,
    /// Where that was not well: its last lines of output.
    pub log_tail: Vec<String>,
    /// Whether the workspace was started for it.
    pub started_workspace: bool,
}

/// Which part of a log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogQuery {
    /// Only the last lines; none: all.
    pub tail_lines: Option<u64>,
    /// The last lines of each stream, rather than of both together.
    pub tail_each: bool,
    /// From this position in both streams together.
    pub offset: u64,
    /// Only what came since, milliseconds since the Unix epoch.
    pub since_millis: u64,
    /// Whether stdout is wanted.
    pub stdout: bool,
    /// Whether stderr is wanted.
    pub stderr: bool,
    /// Go on with what comes.
    pub follow: bool,
}

/// A piece of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    /// Position of its first byte in both streams together.
    pub offset: u64,
    /// When it came, microseconds since the Unix epoch.
    pub at_micros: u64,
    /// Whether it came on stderr.
    pub stderr: bool,
    /// The bytes.
    pub bytes: bytes::Bytes,
}

/// A log as it is read.
#[derive(Debug)]
pub struct ServiceLog {
    /// The service.
    pub record: ServiceRecord,
    source: LogSource,
}

#[derive(Debug)]
enum LogSource {
    Live { reader: Box<LogReader>, _in_use: InUseGuard },
    Kept(tokio::sync::mpsc::Receiver<LogEntry>),
}

impl ServiceLog {
    /// The next entry; `None` at the end. Gaps are seen by the entries' positions.
    pub async fn next(&mut self) -> Result<Option<LogEntry>, WorkspaceError> {
        match &mut self.source {
            LogSource::Kept(entries) => Ok(entries.recv().await),
            LogSource::Live { reader, .. } => loop {
                let piece = reader.next().await.map_err(WorkspaceError::guest("read the log"))?;
                return Ok(match piece {
                    Some(service_log_piece::Piece::Entry(entry)) => Some(LogEntry {
                        offset: entry.offset,
                        at_micros: entry.time_micros,
                        stderr: entry.stderr,
                        bytes: entry.bytes,
                    }),
                    Some(service_log_piece::Piece::Gap(_)) => continue,
                    None => None,
                });
            },
        }
    }
}

/// Ports that are kept for a service while it is started.
struct PortHold<'a> {
    handle: &'a Handle,
    service: ServiceName,
    /// What it had; none where nothing was asked for.
    before: Option<Vec<PublishedPort>>,
    /// Whether the guest was asked to start it.
    is_asked: bool,
}

impl<'a> PortHold<'a> {
    async fn new(
        handle: &'a Handle,
        service: ServiceName,
        ports: &[PortRequest],
    ) -> Result<Self, WorkspaceError> {
        if ports.is_empty() {
            return Ok(Self { handle, service, before: None, is_asked: false });
        }
        let publish = |reply| Request::Publish {
            ports: ports.to_vec(),
            service: Some(service.clone()),
            reply,
        };
        let (_, before) = handle.ask(publish).await?;
        Ok(Self { handle, service, before: Some(before), is_asked: false })
    }

    /// It was not started: its ports are as they were, by the time this returns.
    async fn undo(mut self, error: WorkspaceError) -> WorkspaceError {
        self.is_asked = false;
        if self.before.is_some() {
            let handle = self.handle;
            drop(self);
            // Answered after what dropping it told.
            let _ = handle.ask(|reply| Request::ServicesChanged { reply: Some(reply) }).await;
        }
        error
    }
}

impl Drop for PortHold<'_> {
    fn drop(&mut self) {
        let Some(ports) = self.before.take() else { return };
        if !self.is_asked {
            self.handle.tell(Request::SetPorts { service: self.service.clone(), ports });
        }
        self.handle.tell(Request::LetGo { service: self.service.clone() });
    }
}

fn not_found(handle: &Handle, name: &str) -> WorkspaceError {
    let name: String = name.chars().take(64).collect();
    WorkspaceError::Told(
        Problem::not_found(
            "service_not_found",
            format!("workspace {} has no service {name:?}", handle.id),
        )
        .hint(format!("`pyro service list {}` lists its services", handle.id)),
    )
}

/// The record of a reply.
fn take_in(reply: &ServiceReply) -> Result<ServiceRecord, WorkspaceError> {
    let record = reply.record.as_ref().and_then(told::service);
    record.ok_or(WorkspaceError::Guest {
        operation: "understand the guest",
        source: LinkError::Mismatch("a service"),
    })
}

impl Handle {
    /// The guest, started if need be and allowed; whether it had to be.
    pub(crate) async fn guest(&self, no_start: bool) -> Result<(Link, bool), WorkspaceError> {
        if let Some(live) = &self.snapshot().live {
            return Ok((live.link.clone(), false));
        }
        if no_start {
            return Err(WorkspaceError::Stopped(self.id));
        }
        let snapshot = self.ask(|reply| Request::Start { resume: true, reply }).await?;
        let live = snapshot.live.as_ref().ok_or(WorkspaceError::Stopped(self.id))?;
        Ok((live.link.clone(), true))
    }

    /// Refuses a name the workspace has no service of, without starting it for that.
    fn known_service(&self, name: &str) -> Result<(), WorkspaceError> {
        if self.snapshot().live.is_some() {
            return Ok(());
        }
        self.kept_service(name).map(drop)
    }

    fn kept_service(&self, name: &str) -> Result<ServiceRecord, WorkspaceError> {
        let kept = self.kept_services()?;
        let found = kept.into_iter().find(|service| service.name.as_str() == name);
        found.ok_or_else(|| not_found(self, name))
    }

    fn refused(&self, name: &str, operation: &'static str, error: LinkError) -> WorkspaceError {
        match &error {
            LinkError::Guest { code, .. } if code == "service_not_found" => not_found(self, name),
            LinkError::Guest { code, message, causes } if code == "service_already_running" => {
                let problem = Problem {
                    causes: causes.clone(),
                    ..Problem::conflict(code.clone(), message.clone())
                };
                WorkspaceError::Told(
                    problem.hint("--replace stops it and starts it as it is asked for now"),
                )
            }
            _ => WorkspaceError::guest(operation)(error),
        }
    }

    /// Starts a service; with `wait`, returns when it is ready, or cannot be any more.
    pub async fn start_service(
        &self,
        spec: ServiceSpec,
        replace: bool,
        ports: &[PortRequest],
        wait: bool,
        no_start: bool,
    ) -> Result<StartedService, WorkspaceError> {
        let _in_use = InUseGuard::new(self);
        let name = spec.name.to_string();
        let patience = order::ready_timeout(&spec);
        let held_name = spec.name.clone();
        let spec = order::spec(spec)?;
        // Every port is had before anything is started.
        let mut held = PortHold::new(self, held_name, ports).await?;
        let (link, started_workspace) = match self.guest(no_start).await {
            Ok(guest) => guest,
            Err(error) => return Err(held.undo(error).await),
        };
        // From here on it is the guest's to say, even when the caller goes.
        held.is_asked = true;
        let start = StartService { spec: Some(spec), replace, ..StartService::default() };
        let reply = match link.start_service(start).await {
            Ok(reply) => reply,
            Err(error) => {
                return Err(held.undo(self.refused(&name, "start the service", error)).await);
            }
        };
        let record = take_in(&reply)?;
        self.note(&record).await;
        drop(held);
        let unchanged = reply.unchanged;
        if !wait || (unchanged && record.ready) {
            return Ok(StartedService {
                record,
                unchanged,
                outcome: None,
                log_tail: Vec::new(),
                started_workspace,
            });
        }
        // Where it waits for others its run has not begun: then any end counts.
        let run = record.run + u64::from(record.pid.is_none() && record.state.is_active());
        let waited = self.wait_in_guest(&link, &name, run, false, None, Some(patience)).await?;
        Ok(StartedService { unchanged, started_workspace, ..waited })
    }

    /// Keeps what a call said of a service, and lets its ports follow.
    async fn note(&self, record: &ServiceRecord) {
        if self.snapshot().record.published.iter().all(|port| port.service.is_none()) {
            return;
        }
        if let Err(error) = self.context.store.keep_service(self.id, record) {
            tracing::warn!(workspace = %self.id, %error, "could not keep a service");
        }
        let _ = self.ask(|reply| Request::ServicesChanged { reply: Some(reply) }).await;
    }

    /// Waits in pieces. `limit` bounds the wait; `held_up` bounds the part of it in which others
    /// hold the service up, which the guest does not bound.
    async fn wait_in_guest(
        &self,
        link: &Link,
        name: &str,
        run: u64,
        ended: bool,
        limit: Option<Duration>,
        held_up: Option<Duration>,
    ) -> Result<StartedService, WorkspaceError> {
        let begun = Instant::now();
        loop {
            let left = limit.map_or(AT_ONCE, |limit| limit.saturating_sub(begun.elapsed()));
            let bound = held_up.filter(|held_up| begun.elapsed() < *held_up);
            let left = left.min(AT_ONCE).min(bound.unwrap_or(AT_ONCE));
            let call = WaitService {
                name: name.to_owned(),
                timeout_millis: left.as_millis() as u64,
                ended,
                run,
            };
            let reply = link
                .wait_service(call)
                .await
                .map_err(|error| self.refused(name, "wait for the service", error))?;
            let record = take_in(&reply)?;
            let outcome = match reply.outcome() {
                WaitOutcome::WaitMet => Outcome::Met,
                WaitOutcome::WaitEnded => Outcome::Ended,
                WaitOutcome::WaitTimeout | WaitOutcome::WaitNone => {
                    let over = limit.is_some_and(|limit| begun.elapsed() >= limit);
                    let waits = !record.waiting_for.is_empty();
                    let held = held_up.is_some_and(|limit| begun.elapsed() >= limit);
                    if !(over || waits && held) {
                        continue;
                    }
                    Outcome::TimedOut
                }
            };
            return Ok(StartedService {
                record,
                unchanged: false,
                outcome: Some(outcome),
                log_tail: told::lines(&reply.log_tail),
                started_workspace: false,
            });
        }
    }

    /// Every service, by name. What a stopped workspace last had, where it is stopped.
    pub async fn services(&self) -> Result<Vec<ServiceRecord>, WorkspaceError> {
        self.list_services(false).await
    }

    /// The same without what must be measured: memory, CPU time, ports.
    pub async fn services_in_brief(&self) -> Result<Vec<ServiceRecord>, WorkspaceError> {
        // A guest that is slow to answer holds up no list: the follower keeps its services as it
        // told them last.
        match tokio::time::timeout(IN_BRIEF, self.list_services(true)).await {
            Ok(Ok(services)) => Ok(services),
            _ => self.kept_services(),
        }
    }

    async fn list_services(&self, brief: bool) -> Result<Vec<ServiceRecord>, WorkspaceError> {
        if let Some(live) = &self.snapshot().live {
            let call = ListServices { brief, ..ListServices::default() };
            match live.link.list_services(call).await {
                Ok(list) => return Ok(all_told(&list)),
                // It ended just now: what is known of it is the truth.
                Err(_) if !live.vm.lives() => {}
                Err(error) => {
                    return Err(WorkspaceError::guest("list the services")(error));
                }
            }
        }
        self.kept_services()
    }

    /// Services as last known: while no VM lives, or its guest does not answer.
    fn kept_services(&self) -> Result<Vec<ServiceRecord>, WorkspaceError> {
        let mut kept = self.context.store.services(self.id)?;
        let snapshot = self.snapshot();
        if snapshot.record.phase == Phase::Stopping {
            // As the follower keeps them, while they end one by one.
            for service in kept.iter_mut().filter(|service| service.state.is_active()) {
                service.stopping = true;
                service.ready = false;
            }
        }
        if snapshot.live.as_ref().is_some_and(|live| !live.vm.lives()) {
            // Its VM ended a moment ago; the owner is about to settle them.
            let reason = Vm::ending(&self.context.layout.vm(self.id)).reason;
            for service in &mut kept {
                stopped_by(service, reason, now_millis());
            }
        }
        Ok(kept)
    }

    /// One service.
    pub async fn service(&self, name: &str) -> Result<ServiceRecord, WorkspaceError> {
        if let Some(live) = &self.snapshot().live {
            let call = ListServices { name: name.to_owned(), ..ListServices::default() };
            match live.link.list_services(call).await {
                Ok(list) => {
                    return all_told(&list).pop().ok_or_else(|| not_found(self, name));
                }
                Err(_) if !live.vm.lives() => {}
                Err(error) => return Err(self.refused(name, "look at the service", error)),
            }
        }
        self.kept_service(name)
    }

    /// Stops a service; returns when its last process is gone. One that does not run is returned as
    /// it is.
    pub async fn stop_service(
        &self,
        name: &str,
        signal: Option<u32>,
        grace: Option<Duration>,
    ) -> Result<ServiceRecord, WorkspaceError> {
        let _in_use = InUseGuard::new(self);
        let Some(live) = self.snapshot().live.clone() else { return self.kept_service(name) };
        let call = StopService {
            name: name.to_owned(),
            signal: signal.unwrap_or_default(),
            grace_millis: grace.map(|grace| grace.as_millis() as u64),
            workspace: false,
        };
        let reply = live.link.stop_service(call).await;
        let record =
            take_in(&reply.map_err(|error| self.refused(name, "stop the service", error))?)?;
        self.note(&record).await;
        Ok(record)
    }

    /// Begins a new run of a service; with `wait`, returns when it is ready, or cannot be any more.
    pub async fn restart_service(
        &self,
        name: &str,
        wait: bool,
        no_start: bool,
    ) -> Result<StartedService, WorkspaceError> {
        let _in_use = InUseGuard::new(self);
        self.known_service(name)?;
        let (link, started_workspace) = self.guest(no_start).await?;
        let reply = link
            .restart_service(name.to_owned())
            .await
            .map_err(|error| self.refused(name, "restart the service", error))?;
        let record = take_in(&reply)?;
        self.note(&record).await;
        if !wait {
            return Ok(StartedService {
                record,
                unchanged: false,
                outcome: None,
                log_tail: Vec::new(),
                started_workspace,
            });
        }
        let run = record.run + u64::from(record.pid.is_none() && record.state.is_active());
        let waited = self.wait_in_guest(&link, name, run, false, None, None).await?;
        Ok(StartedService { started_workspace, ..waited })
    }

    /// Waits until a service is ready, or (`ended`) does not run any more.
    pub async fn wait_service(
        &self,
        name: &str,
        ended: bool,
        limit: Option<Duration>,
    ) -> Result<StartedService, WorkspaceError> {
        let _in_use = InUseGuard::new(self);
        let live = self.snapshot().live.clone();
        let Some(live) = live else {
            let record = self.kept_service(name)?;
            let outcome = Some(if ended { Outcome::Met } else { Outcome::Ended });
            return Ok(StartedService {
                record,
                unchanged: false,
                outcome,
                log_tail: Vec::new(),
                started_workspace: false,
            });
        };
        self.wait_in_guest(&live.link, name, 0, ended, limit, None).await
    }

    /// Sends a signal (its number) to a service.
    pub async fn signal_service(
        &self,
        name: &str,
        signal: u32,
        whole_tree: bool,
    ) -> Result<ServiceRecord, WorkspaceError> {
        self.known_service(name)?;
        let live = self.snapshot().live.clone().ok_or(WorkspaceError::Stopped(self.id))?;
        let call = SignalService { name: name.to_owned(), signal, whole_tree };
        let reply = live.link.signal_service(call).await;
        self.activity.touch();
        take_in(&reply.map_err(|error| self.refused(name, "signal the service", error))?)
    }

    /// Stops a service and drops its record and log.
    pub async fn delete_service(&self, name: &str, no_start: bool) -> Result<(), WorkspaceError> {
        let _in_use = InUseGuard::new(self);
        self.known_service(name)?;
        let (link, _) = self.guest(no_start).await?;
        link.delete_service(name.to_owned())
            .await
            .map_err(|error| self.refused(name, "delete the service", error))?;
        if let Ok(name) = name.parse::<ServiceName>() {
            self.context.store.remove_service(self.id, &name)?;
            copies::remove(&self.context.layout.service_log(self.id, &name));
            self.tell(Request::SetPorts { service: name, ports: Vec::new() });
        }
        Ok(())
    }

    /// Reads a service's log, wherever it is.
    pub async fn service_log(
        &self,
        name: &str,
        query: LogQuery,
    ) -> Result<ServiceLog, WorkspaceError> {
        let Some(live) = self.snapshot().live.clone() else {
            let record = self.kept_service(name)?;
            let path = self.context.layout.service_log(self.id, &record.name);
            return Ok(ServiceLog { record, source: LogSource::Kept(copies::read(path, query)) });
        };
        let in_use = InUseGuard::new(self);
        let call = ReadServiceLog {
            name: name.to_owned(),
            // No line at all: only what comes.
            offset: if query.tail_lines == Some(0) { u64::MAX } else { query.offset },
            tail_lines: query.tail_lines.unwrap_or_default(),
            tail_each: query.tail_each,
            since_millis: query.since_millis,
            without_stdout: !query.stdout,
            without_stderr: !query.stderr,
            follow: query.follow,
        };
        let (reply, reader) = live
            .link
            .read_service_log(call)
            .await
            .map_err(|error| self.refused(name, "read the log", error))?;
        let record = take_in(&reply)?;
        Ok(ServiceLog {
            record,
            source: LogSource::Live { reader: Box::new(reader), _in_use: in_use },
        })
    }

    /// State changes of services after a cursor, oldest first, with theirs; at most so many.
    pub fn events_after(
        &self,
        cursor: u64,
        limit: u32,
    ) -> Result<Vec<(u64, ServiceEvent)>, WorkspaceError> {
        Ok(self.context.store.events_after(self.id, cursor, limit)?)
    }

    /// The cursor of its newest event; 0 where it has none.
    pub fn newest_event(&self) -> Result<u64, WorkspaceError> {
        Ok(self.context.store.newest_event(self.id)?)
    }

    /// Changes whenever any workspace has a new event.
    pub fn event_news(&self) -> watch::Receiver<u64> {
        self.context.events.subscribe()
    }
}
