//! One call about files: what it does blocks, so it has a thread of its own, which speaks to the host
//! through two short queues. A host that has gone is seen by the thread at its next word; one that
//! reads slowly holds the thread up, and nobody else.

use std::{
    io::{self, Read},
    os::fd::OwnedFd,
    sync::Arc,
};

use bytes::Bytes;
use pyro_wire::{
    Done, FileOutcome, Frame, FrameKind, call::Verb, file_outcome, reply::Result as Answer,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, mpsc},
};

use super::{archive, arrange, changes, list, patch, read, root::Root, search, write};
use crate::{
    agent::Agent,
    call::{refuse, reply},
    frames::{FrameReader, FrameWriter, StreamError},
    refusal::Refusal,
    service::Place,
};

/// Calls about files at once. A file system of the workload's own may keep a thread for ever.
const MOST: usize = 64;
static PLACES: Semaphore = Semaphore::const_new(MOST);
/// What waits in a queue, in pieces.
const QUEUE: usize = 8;
/// Searching takes more than most; what is not touched costs nothing.
const STACK: usize = 1 << 20;

/// What a thread says.
#[derive(Debug)]
enum Piece {
    Reply(Box<Answer>),
    Tell(Box<file_outcome::Result>),
    Data(Bytes),
    End(Result<Ending, Refusal>),
}

/// How a call ends that went well.
#[derive(Debug)]
pub(super) enum Ending {
    /// With its one answer.
    Answer(Box<Answer>),
    /// With what came of that which followed the answer.
    Outcome(Box<file_outcome::Result>),
    /// With nothing more.
    Silence,
}

impl Ending {
    pub(super) fn answer(answer: Answer) -> Self {
        Self::Answer(Box::new(answer))
    }

    pub(super) fn outcome(outcome: file_outcome::Result) -> Self {
        Self::Outcome(Box::new(outcome))
    }
}

/// The host, to a thread.
pub(super) struct Output(mpsc::Sender<Piece>);

impl Output {
    fn say(&self, piece: Piece) -> Result<(), Refusal> {
        // Nobody is told: the host has gone.
        self.0.blocking_send(piece).map_err(|_| Refusal::Interrupted)
    }

    /// The one answer of a call that goes on.
    pub(super) fn reply(&self, answer: Answer) -> Result<(), Refusal> {
        self.say(Piece::Reply(Box::new(answer)))
    }

    /// The same, where there is nothing to answer yet.
    pub(super) fn go_on(&self) -> Result<(), Refusal> {
        self.reply(Answer::Done(Done {}))
    }

    /// Something of what the call asked for.
    pub(super) fn tell(&self, piece: file_outcome::Result) -> Result<(), Refusal> {
        self.say(Piece::Tell(Box::new(piece)))
    }

    pub(super) fn data(&self, data: Bytes) -> Result<(), Refusal> {
        self.say(Piece::Data(data))
    }
}

/// What the host sends, to a thread: an end of file where the host ended it, an error where it has
/// gone.
pub(super) struct Input {
    pieces: mpsc::Receiver<Option<Bytes>>,
    piece: Bytes,
    ended: bool,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => self.piece = piece,
                Some(None) => self.ended = true,
                None => return Err(io::ErrorKind::ConnectionReset.into()),
            }
        }
        let length = self.piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

/// Whether it is a call that [`serve`] serves.
pub fn is_file_call(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::ReadFile(_)
            | Verb::StatFile(_)
            | Verb::ListFiles(_)
            | Verb::WriteFile(_)
            | Verb::EditFile(_)
            | Verb::MoveFile(_)
            | Verb::RemoveFile(_)
            | Verb::MakeDirectory(_)
            | Verb::SearchFiles(_)
            | Verb::ApplyPatch(_)
            | Verb::ListChanges(_)
            | Verb::UnpackFiles(_)
            | Verb::PackFiles(_)
    )
}

/// Does it, in the thread.
fn carry_out(
    verb: Verb,
    root: OwnedFd,
    output: &Output,
    input: &mut Input,
) -> Result<Ending, Refusal> {
    let root = Root::new(root);
    match verb {
        Verb::ReadFile(call) => read::read(&root, &call, output),
        Verb::StatFile(call) => list::stat(&root, &call),
        Verb::ListFiles(call) => list::list(&root, &call, output),
        Verb::WriteFile(call) => write::write(&root, &call, output, input),
        Verb::EditFile(call) => write::edit(&root, &call),
        Verb::MoveFile(call) => arrange::rename(&root, &call),
        Verb::RemoveFile(call) => arrange::remove(&root, &call),
        Verb::MakeDirectory(call) => arrange::make_directory(&root, &call),
        Verb::SearchFiles(call) => search::search(&root, &call, output),
        Verb::ApplyPatch(call) => patch::patch(&root, &call, output, input),
        Verb::ListChanges(call) => changes::list(&call, output),
        Verb::UnpackFiles(call) => archive::unpack(&root, &call, output, input),
        Verb::PackFiles(call) => archive::pack(&root, &call, output),
        _ => Err(Refusal::UnknownCall),
    }
}

/// Answers a call, to its end.
pub async fn serve<R, W>(
    verb: Verb,
    reader: &mut FrameReader<R>,
    writer: &mut FrameWriter<W>,
    agent: &Arc<Agent>,
) -> Result<(), StreamError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (say, pieces) = mpsc::channel(QUEUE);
    let (feed, fed) = mpsc::channel(QUEUE);
    let begun = async {
        let place = Place::new(agent.clone(), agent.workload(None).await?);
        let root = place.root().map_err(|_| Refusal::NoWorkload)?;
        let permit = PLACES.try_acquire().map_err(|_| Refusal::TooManyCalls)?;
        let work = move || {
            let (output, mut input) =
                (Output(say), Input { pieces: fed, piece: Bytes::new(), ended: false });
            let end = carry_out(verb, root, &output, &mut input);
            drop(permit);
            let _ = output.say(Piece::End(end));
        };
        let thread = std::thread::Builder::new().name("files".into()).stack_size(STACK);
        thread.spawn(work).map_err(Refusal::Descriptors)
    };
    match begun.await {
        Ok(_) => converse(pieces, feed, reader, writer).await,
        Err(refusal) => refuse(writer, &refusal).await,
    }
}

/// Carries words both ways until the thread has said the last one, or the host has gone.
async fn converse<R, W>(
    mut pieces: mpsc::Receiver<Piece>,
    feed: mpsc::Sender<Option<Bytes>>,
    reader: &mut FrameReader<R>,
    writer: &mut FrameWriter<W>,
) -> Result<(), StreamError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut replied = false;
    // What came from the host and has no place in the queue yet.
    let mut waiting: Option<Option<Bytes>> = None;
    let mut takes = true;
    loop {
        let piece = tokio::select! {
            biased;
            piece = pieces.recv() => piece,
            place = feed.reserve(), if takes && waiting.is_some() => {
                match (place, waiting.take()) {
                    (Ok(place), Some(piece)) => place.send(piece),
                    // It wants no more, and will say why.
                    _ => takes = false,
                }
                continue;
            }
            frame = reader.next(), if waiting.is_none() => {
                match frame? {
                    Some(Frame { kind: FrameKind::Data, payload }) if takes => {
                        waiting = Some(Some(payload));
                    }
                    Some(Frame { kind: FrameKind::End, .. }) if takes => waiting = Some(None),
                    Some(_) => {}
                    None => return Ok(()),
                }
                continue;
            }
        };
        match piece.unwrap_or(Piece::End(Err(Refusal::Interrupted))) {
            Piece::Reply(answer) => {
                replied = true;
                reply(writer, *answer).await?;
            }
            Piece::Tell(piece) => {
                writer.message(&FileOutcome { result: Some(*piece) }).await?;
            }
            Piece::Data(data) => writer.bytes(FrameKind::Data, &data).await?,
            Piece::End(Ok(Ending::Answer(answer))) => {
                reply(writer, *answer).await?;
                return writer.end().await;
            }
            Piece::End(Ok(Ending::Outcome(outcome))) => {
                writer.message(&FileOutcome { result: Some(*outcome) }).await?;
                return writer.end().await;
            }
            Piece::End(Ok(Ending::Silence)) => return writer.end().await,
            Piece::End(Err(refusal)) if replied => {
                let problem = file_outcome::Result::Problem(refusal.to_problem());
                writer.message(&FileOutcome { result: Some(problem) }).await?;
                return writer.end().await;
            }
            Piece::End(Err(refusal)) => return refuse(writer, &refusal).await,
        }
        if pieces.is_empty() {
            writer.flush().await?;
        }
    }
}
