//! Calls: one per stream, from the first frame to the last.
//!
//! Owns the conversation of every verb. Refuses to know where streams come from. A stream that
//! breaks ends its call and nothing else: execs go on.

use std::{sync::Arc, time::Duration};

use pyro_wire::{
    Call, Done, ExecAttached, ExecControl, ExecEvent, ExecList, ExecStarted, Frame, FrameKind, Gap,
    OutputRange, Problem, Reply, StartExec, call::Verb, exec_control::Control, exec_event,
    reply::Result as Answer,
};
use rustix::process::Signal;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf},
    sync::broadcast::error::RecvError,
    time::timeout,
};

use crate::{
    agent::Agent,
    clock, console,
    exec::{self, Exec, Input, Order},
    files, forward,
    frames::{FrameReader, FrameWriter, StreamError},
    freeze, personal, power,
    refusal::Refusal,
    service,
    spool::{Cursor, Piece, Stream},
};

/// How long the host may take to say what it wants.
const FIRST_FRAME: Duration = Duration::from_secs(10);
/// How long the machine waits for the host to have read the last answer.
const LAST_ANSWER: Duration = Duration::from_millis(200);

type Reader<S> = FrameReader<ReadHalf<S>>;
type Writer<S> = FrameWriter<WriteHalf<S>>;

/// Serves one stream to its end.
pub async fn serve_stream<S>(stream: S, agent: Arc<Agent>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (read, write) = tokio::io::split(stream);
    let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
    let first = timeout(FIRST_FRAME, reader.next()).await;
    let Ok(Ok(Some(frame))) = first else {
        if let Ok(Err(error @ StreamError::Frame(_))) = first {
            let refusal = Refusal::Malformed(error.to_string());
            let _ = refuse(&mut writer, &refusal).await;
        }
        return;
    };
    if let Some(session) = asks_for_a_session(&frame) {
        if reply(&mut writer, Answer::Done(Done {})).await.is_ok() {
            let stream = reader.into_inner().unsplit(writer.into_inner());
            match session {
                Session::Trunk => agent.network.serve_trunk(stream).await,
                Session::Ports => forward::serve_ports(stream, &agent).await,
            }
        }
        return;
    }
    // An error here is a stream that broke: there is nobody to tell.
    let _ = answer(&frame, &mut reader, &mut writer, &agent).await;
}

/// What takes a whole stream, so that it is told from other calls before they are answered.
enum Session {
    Trunk,
    Ports,
}

fn asks_for_a_session(frame: &Frame) -> Option<Session> {
    let call: Call = frame.message().ok()?;
    match call.verb.filter(|_| call.generation == pyro_wire::GENERATION)? {
        Verb::OpenTrunk(_) => Some(Session::Trunk),
        Verb::OpenPorts(_) => Some(Session::Ports),
        _ => None,
    }
}

/// Tells a stream that there is no place for its call.
pub(crate) async fn turn_away<S>(stream: S)
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (_read, write) = tokio::io::split(stream);
    let told = async { refuse(&mut FrameWriter::new(write), &Refusal::TooManyCalls).await };
    let _ = timeout(FIRST_FRAME, told).await;
}

pub(crate) async fn reply<W>(writer: &mut FrameWriter<W>, answer: Answer) -> Result<(), StreamError>
where
    W: AsyncWrite + Unpin,
{
    writer.message(&Reply { result: Some(answer) }).await?;
    writer.flush().await
}

pub(crate) async fn refuse<W>(
    writer: &mut FrameWriter<W>,
    refusal: &Refusal,
) -> Result<(), StreamError>
where
    W: AsyncWrite + Unpin,
{
    let problem: Problem = refusal.to_problem();
    reply(writer, Answer::Problem(problem)).await?;
    writer.end().await
}

async fn answer<S>(
    frame: &Frame,
    reader: &mut Reader<S>,
    writer: &mut Writer<S>,
    agent: &Arc<Agent>,
) -> Result<(), StreamError>
where
    S: AsyncRead + AsyncWrite + Send,
{
    let call: Call = match frame.message() {
        Ok(call) => call,
        Err(error) => return refuse(writer, &Refusal::Malformed(error.to_string())).await,
    };
    if call.generation != pyro_wire::GENERATION {
        return refuse(writer, &Refusal::Generation(call.generation)).await;
    }
    let Some(verb) = call.verb else {
        return refuse(writer, &Refusal::UnknownCall).await;
    };
    let done = match verb {
        Verb::Hello(_) => Ok(Answer::Hello(agent.hello())),
        Verb::Personalize(call) => {
            // To its end, even when the host has gone: half a boot helps nobody.
            let agent = agent.clone();
            let task = tokio::spawn(async move { personal::personalize(&agent, call).await });
            task.await.unwrap_or(Err(Refusal::Interrupted)).map(Answer::Personalized)
        }
        Verb::StartExec(call) => return start(call, reader, writer, agent).await,
        Verb::AttachExec(call) => match agent.execs.find(&call.exec_id) {
            Ok(exec) => {
                let attachment = exec.attach();
                let attached = ExecAttached { record: Some(exec.record()) };
                reply(writer, Answer::ExecAttached(attached)).await?;
                follow(&exec, call.offset, call.stdin, reader, writer).await?;
                drop(attachment);
                return Ok(());
            }
            Err(refusal) => Err(refusal),
        },
        Verb::ListExecs(_) => Ok(Answer::ExecList(list(agent))),
        Verb::SignalExec(call) => signal(&call, agent).await,
        Verb::ReadOutput(call) => match agent.execs.find(&call.exec_id) {
            Ok(exec) => return read(&exec, call.offset, call.length, writer).await,
            Err(refusal) => Err(refusal),
        },
        Verb::ForgetExec(call) => agent.execs.forget(&call.exec_id).map(|()| Answer::Done(Done {})),
        Verb::SetClock(call) => clock::correct(Duration::from_nanos(call.wall_clock_nanos))
            .map(|()| Answer::Done(Done {}))
            .map_err(Refusal::Clock),
        Verb::SetHostname(call) => {
            personal::rename(agent, call.hostname).await.map(|()| Answer::Done(Done {}))
        }
        Verb::SetNetwork(call) => {
            agent.network.set(call.enabled, agent).await.map(|()| Answer::Done(Done {}))
        }
        Verb::ShutDown(call) => return shut_down(call.grace_millis, reader, writer, agent).await,
        Verb::Watch(_) => return watch(reader, writer, agent).await,
        Verb::Echo(_) => return echo(reader, writer).await,
        Verb::ReadServiceLog(call) => {
            return service::read_log(&call, reader, writer, agent).await;
        }
        Verb::ReadServiceEvents(call) => {
            return service::read_events(call.sequence, reader, writer, agent).await;
        }
        Verb::FreezeDisk(call) => return freeze::serve(&call, reader, writer, agent).await,
        verb if files::is_file_call(&verb) => {
            return files::serve(verb, reader, writer, agent).await;
        }
        verb => tokio::select! {
            biased;
            answered = service::answer(verb, agent) => answered,
            // Nobody waits any more: what was begun goes on, the call does not.
            () = gone(reader) => return Ok(()),
        },
    };
    match done {
        Ok(answer) => {
            reply(writer, answer).await?;
            writer.end().await
        }
        Err(refusal) => refuse(writer, &refusal).await,
    }
}

/// Returns when the host has closed the stream.
async fn gone<R: AsyncRead + Unpin>(reader: &mut FrameReader<R>) {
    while let Ok(Some(_)) = reader.next().await {}
}

fn list(agent: &Agent) -> ExecList {
    ExecList { records: agent.execs.list().iter().map(|exec| exec.record()).collect() }
}

pub(crate) fn signal_of(number: u32) -> Result<Signal, Refusal> {
    i32::try_from(number)
        .ok()
        .and_then(Signal::from_named_raw)
        .ok_or(Refusal::InvalidSignal(number))
}

async fn signal(call: &pyro_wire::SignalExec, agent: &Agent) -> Result<Answer, Refusal> {
    let exec = agent.execs.find(&call.exec_id)?;
    let order = if call.cancel {
        Order::Cancel { grace: None }
    } else {
        Order::Signal { signal: signal_of(call.signal)?, whole_tree: call.whole_tree }
    };
    if !exec.is_running() {
        return Err(Refusal::ExecEnded(call.exec_id.clone()));
    }
    exec.order(order).await;
    Ok(Answer::Done(Done {}))
}

async fn start<S>(
    call: StartExec,
    reader: &mut Reader<S>,
    writer: &mut Writer<S>,
    agent: &Arc<Agent>,
) -> Result<(), StreamError>
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (attach, stdin) = (call.attach, call.stdin || call.terminal.is_some());
    let exec = match exec::start(agent.clone(), call).await {
        Ok(exec) => exec,
        Err(refusal) => return refuse(writer, &refusal).await,
    };
    let started = Answer::ExecStarted(ExecStarted { pid: exec.record().pid });
    // Handed over with what there is of it already, or at once where there is nothing.
    writer.message(&Reply { result: Some(started) }).await?;
    if !attach {
        return writer.end().await;
    }
    let attachment = exec.attach();
    let followed = follow(&exec, 0, stdin, reader, writer).await;
    drop(attachment);
    followed
}

/// Sends an exec's output and end, and takes what the host has for it meanwhile.
async fn follow<S>(
    exec: &Arc<Exec>,
    offset: u64,
    stdin: bool,
    reader: &mut Reader<S>,
    writer: &mut Writer<S>,
) -> Result<(), StreamError>
where
    S: AsyncRead + AsyncWrite + Send,
{
    tokio::select! {
        biased;
        sent = send_output(exec, offset, writer) => sent,
        gone = take_orders(exec, stdin, reader) => gone,
    }
}

async fn send_piece<W: AsyncWrite + Unpin>(
    writer: &mut FrameWriter<W>,
    piece: Piece,
) -> Result<(), StreamError> {
    match piece {
        Piece::Output(Stream::Out, bytes) => writer.bytes(FrameKind::Stdout, &bytes).await,
        Piece::Output(Stream::Error, bytes) => writer.bytes(FrameKind::Stderr, &bytes).await,
        Piece::Gap(from, to) => {
            let gap = exec_event::Event::Gap(Gap { from, to });
            writer.message(&ExecEvent { event: Some(gap) }).await
        }
        Piece::End => Ok(()),
    }
}

async fn send_output<W: AsyncWrite + Unpin>(
    exec: &Arc<Exec>,
    offset: u64,
    writer: &mut FrameWriter<W>,
) -> Result<(), StreamError> {
    let mut progress = exec.spool.progress();
    let mut cursor = Cursor::at(offset);
    loop {
        let ended = progress.borrow_and_update().ended;
        match exec.spool.next(&mut cursor).await {
            Piece::End if ended => break,
            Piece::End => {
                writer.flush().await?;
                if progress.changed().await.is_err() {
                    break;
                }
            }
            piece => send_piece(writer, piece).await?,
        }
    }
    let ended = exec_event::Event::Ended(exec.record());
    writer.message(&ExecEvent { event: Some(ended) }).await?;
    writer.end().await
}

/// Ends when the host has gone.
async fn take_orders<R: AsyncRead + Unpin>(
    exec: &Arc<Exec>,
    stdin: bool,
    reader: &mut FrameReader<R>,
) -> Result<(), StreamError> {
    while let Some(frame) = reader.next().await? {
        match frame.kind {
            FrameKind::Stdin if stdin => exec.feed(Input::Bytes(frame.payload)).await,
            FrameKind::End if stdin => exec.feed(Input::End).await,
            FrameKind::Message => {
                let control: ExecControl = frame.message().map_err(StreamError::Frame)?;
                let order = match control.control {
                    Some(Control::Resize(size)) => Order::Resize(size),
                    Some(Control::Signal(number)) => match signal_of(number) {
                        Ok(signal) => Order::Signal { signal, whole_tree: false },
                        Err(_) => continue,
                    },
                    Some(Control::Cancel(_)) => Order::Cancel { grace: None },
                    None => continue,
                };
                exec.order(order).await;
            }
            // Input nobody asked for, or a kind that means nothing here.
            _ => {}
        }
    }
    Ok(())
}

async fn read<W: AsyncWrite + Unpin>(
    exec: &Arc<Exec>,
    offset: u64,
    length: u64,
    writer: &mut FrameWriter<W>,
) -> Result<(), StreamError> {
    let counts = exec.spool.counts();
    let (gap_from, gap_to) = counts.dropped;
    let from = if (gap_from..gap_to).contains(&offset) { gap_to } else { offset.min(counts.end) };
    let range = OutputRange { from, end: counts.end, record: Some(exec.record()) };
    reply(writer, Answer::OutputRange(range)).await?;
    let end = offset.saturating_add(length).min(counts.end);
    let mut cursor = Cursor::at(offset);
    while cursor.offset() < end {
        match exec.spool.next(&mut cursor).await {
            Piece::Output(stream, bytes) => {
                let over = cursor.offset().saturating_sub(end) as usize;
                let bytes = bytes.slice(..bytes.len().saturating_sub(over));
                send_piece(writer, Piece::Output(stream, bytes)).await?;
            }
            Piece::Gap(from, to) => send_piece(writer, Piece::Gap(from, to.min(end))).await?,
            Piece::End => break,
        }
    }
    writer.end().await
}

async fn watch<S>(
    reader: &mut Reader<S>,
    writer: &mut Writer<S>,
    agent: &Arc<Agent>,
) -> Result<(), StreamError>
where
    S: AsyncRead + AsyncWrite + Send,
{
    // First the subscription, then the snapshot: what happens between is told twice, never lost.
    let mut events = agent.events();
    reply(writer, Answer::ExecList(list(agent))).await?;
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => {
                    writer.message(&event).await?;
                    writer.flush().await?;
                }
                // Too far behind: the host asks anew and gets a snapshot.
                Err(RecvError::Lagged(_) | RecvError::Closed) => return writer.end().await,
            },
            frame = reader.next() => if frame?.is_none_or(|frame| frame.kind == FrameKind::End) {
                return writer.end().await;
            },
        }
    }
}

async fn echo<S>(reader: &mut Reader<S>, writer: &mut Writer<S>) -> Result<(), StreamError>
where
    S: AsyncRead + AsyncWrite + Send,
{
    reply(writer, Answer::Done(Done {})).await?;
    while let Some(frame) = reader.next().await? {
        match frame.kind {
            FrameKind::Data => {
                writer.bytes(FrameKind::Data, &frame.payload).await?;
                writer.flush().await?;
            }
            FrameKind::End => break,
            _ => {}
        }
    }
    writer.end().await
}

async fn shut_down<S>(
    grace_millis: u64,
    reader: &mut Reader<S>,
    writer: &mut Writer<S>,
    agent: &Arc<Agent>,
) -> Result<(), StreamError>
where
    S: AsyncRead + AsyncWrite + Send,
{
    let to_its_end = agent.clone();
    let task = tokio::spawn(async move {
        power::shut_down(&to_its_end, Duration::from_millis(grace_millis)).await;
    });
    if task.await.is_err() {
        console::note("shutting down in order failed");
    }
    let told = async {
        reply(writer, Answer::Done(Done {})).await?;
        writer.end().await?;
        // The host closes the stream once it has the answer.
        while reader.next().await?.is_some() {}
        Ok::<(), StreamError>(())
    };
    let _ = timeout(LAST_ANSWER, told).await;
    power::end_machine();
    Ok(())
}

#[cfg(test)]
mod tests {
    use pyro_wire::{Hello, message_frame};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Sends bytes as the host would and gives the first reply; `None` where there is none.
    async fn ask(bytes: &[u8]) -> Option<Answer> {
        let (mut host, guest) = tokio::io::duplex(1 << 16);
        let served = tokio::spawn(serve_stream(guest, Agent::new(Duration::from_millis(5))));
        host.write_all(bytes).await.unwrap();
        host.shutdown().await.unwrap();
        let mut answered = Vec::new();
        host.read_to_end(&mut answered).await.unwrap();
        served.await.unwrap();
        let mut reader = FrameReader::new(&answered[..]);
        let frame = reader.next().await.unwrap()?;
        frame.message::<Reply>().unwrap().result
    }

    fn call(generation: u32, verb: Verb) -> Vec<u8> {
        message_frame(&Call { generation, verb: Some(verb) }).to_vec()
    }

    fn code(answer: Option<Answer>) -> String {
        match answer {
            Some(Answer::Problem(problem)) => problem.code,
            other => panic!("a problem was expected, not {other:?}"),
        }
    }

    #[tokio::test]
    async fn hello_is_answered_before_there_is_a_workspace() {
        let hello = ask(&call(pyro_wire::GENERATION, Verb::Hello(Hello {}))).await;
        let Some(Answer::Hello(hello)) = hello else { panic!("{hello:?}") };
        assert!(!hello.personal);
        assert_eq!(hello.agent_started_micros, 5000);
    }

    #[tokio::test]
    async fn another_generation_is_refused_by_name() {
        assert_eq!(code(ask(&call(7, Verb::Hello(Hello {}))).await), "unsupported_generation");
    }

    #[tokio::test]
    async fn nothing_runs_before_there_is_a_workspace() {
        let start = StartExec { exec_id: "0123456789ab".into(), ..StartExec::default() };
        let bytes = call(pyro_wire::GENERATION, Verb::StartExec(start));
        assert_eq!(code(ask(&bytes).await), "not_personal");
        let start = StartExec { exec_id: "../x".into(), ..StartExec::default() };
        let bytes = call(pyro_wire::GENERATION, Verb::StartExec(start));
        assert_eq!(code(ask(&bytes).await), "invalid_exec_id");
    }

    #[tokio::test]
    async fn what_is_no_call_is_refused_and_a_cut_one_is_let_go() {
        assert_eq!(code(ask(&[9, 0, 0, 0, 0]).await), "malformed_call");
        assert_eq!(code(ask(&[1, 2, 0, 0, 0, 0xff, 0xff]).await), "malformed_call");
        assert_eq!(code(ask(&message_frame(&Call::default())).await), "unsupported_generation");
        assert_eq!(ask(&[1, 200, 0, 0, 0]).await, None);
        assert_eq!(ask(&[]).await, None);
    }
}
