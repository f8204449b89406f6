//! What the host may ask of services.
//!
//! Refuses to know how it is done: each call finds, orders, waits and answers.

use std::{sync::Arc, time::Duration};

use pyro_wire::{
    Done, Gap, ListeningPort, ReadServiceLog, ServiceList, ServiceLogPiece, ServiceRecord,
    ServiceReply, ServiceState, StopService, WaitOutcome, WaitService, call::Verb,
    reply::Result as Answer, service_log_piece,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    excerpt::{self, excerpt},
    journal::Position,
    listening::Tables,
    log::{Piece, Reader, Wanted},
    measure::agent_memory,
    probe::Place,
    services::until,
    supervisor::{Service, View, Wish},
};
use crate::{
    agent::Agent,
    call::{refuse, reply, signal_of},
    frames::{FrameReader, FrameWriter, StreamError},
    refusal::Refusal,
};

/// Lines of output that go with a failure.
const TAIL_LINES: usize = 20;
/// And bytes of them, at most.
const TAIL_BYTES: usize = 16 << 10;

/// Answers a call that is done with one reply.
pub async fn answer(verb: Verb, agent: &Arc<Agent>) -> Result<Answer, Refusal> {
    let services = &agent.services;
    match verb {
        Verb::StartService(call) => {
            // To its end, even when the host has gone.
            let to_its_end = agent.clone();
            let task =
                tokio::spawn(async move { to_its_end.services.start(&to_its_end, call).await });
            let (service, unchanged) = task.await.unwrap_or(Err(Refusal::Interrupted))?;
            let record = Some(excerpt(&measured(agent, &service).await));
            Ok(Answer::Service(ServiceReply { record, unchanged, ..ServiceReply::default() }))
        }
        Verb::ListServices(call) => {
            let found = match call.name.as_str() {
                "" => services.list(),
                name => vec![services.find(name)?],
            };
            let mut list = list(agent, found, call.name.is_empty(), call.brief).await;
            if call.all_ports {
                list.listening = listening(agent).await;
            }
            Ok(Answer::ServiceList(list))
        }
        Verb::StopService(call) => {
            let to_its_end = agent.clone();
            let task = tokio::spawn(async move { stop(call, &to_its_end).await });
            task.await.unwrap_or(Err(Refusal::Interrupted))
        }
        Verb::RestartService(call) => {
            let to_its_end = agent.clone();
            let task = tokio::spawn(async move { to_its_end.services.restart(&call.name).await });
            let service = task.await.unwrap_or(Err(Refusal::Interrupted))?;
            Ok(told(agent, &service).await)
        }
        Verb::WaitService(call) => wait(&call, agent).await,
        Verb::SignalService(call) => {
            let signal = signal_of(call.signal)?;
            let service = services.find(&call.name)?;
            if service.view().record.pid == 0 {
                return Err(Refusal::ServiceNotRunning(call.name));
            }
            let number = signal.as_raw();
            service.wish(Wish::Signal { number, whole_tree: call.whole_tree }).await;
            Ok(told(agent, &service).await)
        }
        Verb::DeleteService(call) => {
            let to_its_end = agent.clone();
            let task =
                tokio::spawn(
                    async move { to_its_end.services.delete(&to_its_end, &call.name).await },
                );
            task.await.unwrap_or(Err(Refusal::Interrupted)).map(|()| Answer::Done(Done {}))
        }
        _ => Err(Refusal::UnknownCall),
    }
}

/// A service's record, with what it uses now.
async fn measured(agent: &Arc<Agent>, service: &Arc<Service>) -> ServiceRecord {
    let measuring = &agent.services.measuring;
    let mut records = measuring.records(agent, vec![service.clone()], false).await;
    records.pop().unwrap_or_else(|| service.record(None))
}

async fn told(agent: &Arc<Agent>, service: &Arc<Service>) -> Answer {
    let record = Some(excerpt(&measured(agent, service).await));
    Answer::Service(ServiceReply { record, ..ServiceReply::default() })
}

/// These services; `all`: there are no others.
async fn list(
    agent: &Arc<Agent>,
    services: Vec<Arc<Service>>,
    all: bool,
    brief: bool,
) -> ServiceList {
    // First the number, then the records: what changes between is told twice, never missed.
    let sequence = *agent.services.journal.newest().borrow();
    if brief {
        let records = services.iter().map(|service| service.view().record.clone());
        return excerpt::list(records, sequence);
    }
    let records = agent.services.measuring.records(agent, services, all).await;
    let mut list = excerpt::list(records.into_iter(), sequence);
    (list.agent_memory_bytes, list.agent_memory_peak_bytes) = agent_memory();
    list
}

/// Where anybody listens in the workload's network; nowhere where there is no workload.
async fn listening(agent: &Arc<Agent>) -> Vec<ListeningPort> {
    let Ok(workload) = agent.workload(None).await else { return Vec::new() };
    let place = Place::new(agent.clone(), workload);
    let read = move || Tables::default().all(place.process_id());
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

async fn stop(call: StopService, agent: &Arc<Agent>) -> Result<Answer, Refusal> {
    let signal = match call.signal {
        0 => None,
        number => Some(signal_of(number)?.as_raw()),
    };
    let grace = call.grace_millis.map(Duration::from_millis);
    if call.workspace {
        agent.services.stop_with_workspace(grace).await;
        return Ok(Answer::ServiceList(list(agent, agent.services.list(), true, false).await));
    }
    let service = agent.services.stop(&call.name, signal, grace).await?;
    Ok(told(agent, &service).await)
}

/// How a wait for this has ended; none while it has not.
fn outcome(call: &WaitService, view: &View) -> Option<WaitOutcome> {
    let record = &view.record;
    if call.ended {
        return view.idle.then_some(WaitOutcome::WaitMet);
    }
    if record.ready {
        return Some(WaitOutcome::WaitMet);
    }
    let backs_off = record.state() == ServiceState::ServiceBackoff;
    let of_this_run = call.run != 0 && (record.run > call.run || backs_off);
    // What was left running when its time was over may never come to it.
    let given_up = call.run != 0 && record.state() == ServiceState::ServiceRunning;
    if view.idle {
        // A command without a probe that did its work and went.
        let done = record.state() == ServiceState::ServiceExited && call.run != 0;
        return Some(if done { WaitOutcome::WaitMet } else { WaitOutcome::WaitEnded });
    }
    (of_this_run || given_up).then_some(WaitOutcome::WaitEnded)
}

async fn wait(call: &WaitService, agent: &Arc<Agent>) -> Result<Answer, Refusal> {
    let service = agent.services.find(&call.name)?;
    let limit = Duration::from_millis(call.timeout_millis);
    let ended = until(&service, |view| outcome(call, view).is_some());
    let waited = tokio::time::timeout(limit, ended).await;
    let outcome = match waited {
        Ok(view) => outcome(call, &view).unwrap_or(WaitOutcome::WaitEnded),
        Err(_) => WaitOutcome::WaitTimeout,
    };
    let log_tail = match outcome {
        WaitOutcome::WaitMet => Vec::new(),
        _ => tail(&service).await,
    };
    Ok(Answer::Service(ServiceReply {
        record: Some(excerpt(&measured(agent, &service).await)),
        unchanged: false,
        outcome: outcome.into(),
        log_tail,
    }))
}

/// The last lines of both streams.
async fn tail(service: &Service) -> Vec<bytes::Bytes> {
    let streams = [true, true];
    let from = service.log.tail(streams, TAIL_LINES, false).await;
    let wanted = Wanted { streams, from, since_micros: 0 };
    let mut reader = Reader::new(service.log.clone(), wanted).up_to_now();
    let mut text = Vec::new();
    while let Some(piece) = reader.next().await {
        if let Piece::Entry(entry) = piece {
            text.extend_from_slice(&entry.bytes);
            // A line without end: its end is what counts.
            let over = text.len().saturating_sub(TAIL_BYTES);
            text.drain(..over);
        }
    }
    let lines: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let lines = lines
        .into_iter()
        .map(|line| bytes::Bytes::copy_from_slice(line.strip_suffix(b"\n").unwrap_or(line)));
    lines.collect()
}

/// Sends a service's log, and with `follow` what comes, until the host has gone.
pub async fn read_log<R, W>(
    call: &ReadServiceLog,
    reader: &mut FrameReader<R>,
    writer: &mut FrameWriter<W>,
    agent: &Arc<Agent>,
) -> Result<(), StreamError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let service = match agent.services.find(&call.name) {
        Ok(service) => service,
        Err(refusal) => return refuse(writer, &refusal).await,
    };
    reply(writer, told(agent, &service).await).await?;
    let streams = [!call.without_stdout, !call.without_stderr];
    // Beyond the end: only what comes.
    let offset = call.offset.min(service.log.end());
    let mut from = [offset; 2];
    if call.tail_lines > 0 {
        let lines = usize::try_from(call.tail_lines).unwrap_or(usize::MAX);
        let tail = service.log.tail(streams, lines, call.tail_each).await;
        from = tail.map(|at| at.max(offset));
    }
    let since_micros = call.since_millis.saturating_mul(1000);
    let mut log = Reader::new(service.log.clone(), Wanted { streams, from, since_micros });
    if !call.follow {
        log = log.up_to_now();
    }
    let mut progress = service.log.progress();
    loop {
        progress.borrow_and_update();
        while let Some(piece) = log.next().await {
            let piece = match piece {
                Piece::Entry(entry) => service_log_piece::Piece::Entry(entry),
                Piece::Gap(from, to) => service_log_piece::Piece::Gap(Gap { from, to }),
            };
            writer.message(&ServiceLogPiece { piece: Some(piece) }).await?;
        }
        if !call.follow || service.log.is_removed() {
            return writer.end().await;
        }
        writer.flush().await?;
        tokio::select! {
            changed = progress.changed() => if changed.is_err() {
                return writer.end().await;
            },
            // Whatever the host says now, it is that it has had enough.
            _ = reader.next() => return writer.end().await,
        }
    }
}

/// Sends the events after a number, and those that come, until the host has gone.
pub async fn read_events<R, W>(
    after: u64,
    reader: &mut FrameReader<R>,
    writer: &mut FrameWriter<W>,
    agent: &Arc<Agent>,
) -> Result<(), StreamError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut newest = agent.services.journal.newest();
    let now = list(agent, agent.services.list(), true, true).await;
    reply(writer, Answer::ServiceList(now)).await?;
    let mut position = Position::after(after);
    loop {
        newest.borrow_and_update();
        loop {
            let journal = agent.clone();
            let read = move || {
                let events = journal.services.journal.next(&mut position);
                (events, position)
            };
            let Ok((events, then)) = tokio::task::spawn_blocking(read).await else {
                return writer.end().await;
            };
            position = then;
            if events.is_empty() {
                break;
            }
            for event in &events {
                writer.message(event).await?;
            }
        }
        writer.flush().await?;
        tokio::select! {
            changed = newest.changed() => if changed.is_err() {
                return writer.end().await;
            },
            _ = reader.next() => return writer.end().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use pyro_wire::ServiceRecord;
    use pyro_wire::ServiceState::{ServiceBackoff, ServiceExited, ServiceRunning, ServiceStarting};
    use pyro_wire::WaitOutcome::{WaitEnded, WaitMet};

    use super::*;

    #[test]
    fn a_wait_ends_when_nothing_better_can_come() {
        let view = |state, ready, idle, run| View {
            record: ServiceRecord {
                state: i32::from(state),
                ready,
                run,
                ..ServiceRecord::default()
            },
            spawning: false,
            idle,
            lulls: 0,
            refusal: None,
        };
        let started = WaitService { run: 2, ..WaitService::default() };
        let any = WaitService::default();
        for (call, view, expected) in [
            (&started, view(ServiceStarting, false, false, 2), None),
            (&started, view(ServiceRunning, true, false, 2), Some(WaitMet)),
            (&started, view(ServiceRunning, false, false, 2), Some(WaitEnded)),
            (&started, view(ServiceBackoff, false, false, 2), Some(WaitEnded)),
            (&started, view(ServiceStarting, false, false, 3), Some(WaitEnded)),
            (&started, view(ServiceExited, false, true, 2), Some(WaitMet)),
            (&any, view(ServiceBackoff, false, false, 2), None),
            (&any, view(ServiceExited, false, true, 2), Some(WaitEnded)),
        ] {
            assert_eq!(outcome(call, &view), expected, "{view:?}");
        }
    }
}
