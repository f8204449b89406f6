//! One connection, carried both ways.
//!
//! Each direction has one buffer, which grows to its bound and never beyond: a reader that is slow
//! stops its writer, and nobody else. Each direction ends by itself. What ends with an error ends with
//! a reset, so that nobody takes a part for the whole.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
};

use crate::{
    inspection::{Inspector, Violation},
    policy::{Denial, Reason},
    relay::Ticket,
};

/// A connection to a server, not yet joined to the guest's.
pub struct Outgoing {
    ticket: Ticket,
    end: watch::Receiver<Option<Denial>>,
    stream: TcpStream,
    inspector: Option<Inspector>,
}

/// What a connection carried, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Carried {
    /// From the guest to the server.
    pub sent: u64,
    /// From the server to the guest.
    pub received: u64,
}

/// Why a connection ended before both directions had ended. The server's side was reset; reset the
/// guest's.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// What the guest sent was not what was allowed.
    #[error("{0}")]
    Denied(Denial),
    /// The policy was changed.
    #[error("{0}")]
    PolicyChanged(Denial),
    /// The guest's side failed.
    #[error("the guest's side of the connection failed")]
    Guest(#[source] io::Error),
    /// The server's side failed.
    #[error("the server's side of the connection failed")]
    Server(#[source] io::Error),
}

impl Outgoing {
    pub(crate) fn new(
        ticket: Ticket,
        end: watch::Receiver<Option<Denial>>,
        stream: TcpStream,
        inspector: Option<Inspector>,
    ) -> Self {
        Self { ticket, end, stream, inspector }
    }

    /// Carries bytes both ways until both directions have ended.
    pub async fn carry<G: AsyncRead + AsyncWrite + Unpin>(
        self,
        mut guest: G,
    ) -> Result<Carried, CarryError> {
        let Self { ticket, mut end, mut stream, inspector } = self;
        let counts = &ticket.shared.counts;
        let limit = ticket.shared.settings.limits.buffer();
        let mut up = Pipe::new(limit, &counts.sent, &counts.buffered);
        let mut down = Pipe::new(limit, &counts.received, &counts.buffered);
        let mut watching = Watching { inspector, is_answered: false, ticket: &ticket };
        let result = {
            let mut ended = pin!(end.wait_for(Option::is_some));
            poll_fn(|context| {
                if let Poll::Ready(ended) = ended.as_mut().poll(context) {
                    let denial = ended.ok().and_then(|ended| ended.clone());
                    let denial = denial.unwrap_or_else(|| {
                        Denial::new(Reason::PolicyChanged, "the workspace's network is gone")
                    });
                    return Poll::Ready(Err(CarryError::PolicyChanged(denial)));
                }
                step(context, &mut guest, &mut stream, &mut up, &mut down, &mut watching)
            })
            .await
        };
        if result.is_err() {
            let _ = stream.set_zero_linger();
        }
        result
    }
}

/// One step of both directions.
fn step<G: AsyncRead + AsyncWrite + Unpin>(
    context: &mut Context<'_>,
    guest: &mut G,
    stream: &mut TcpStream,
    up: &mut Pipe<'_>,
    down: &mut Pipe<'_>,
    watching: &mut Watching<'_>,
) -> Poll<Result<Carried, CarryError>> {
    // The server first: what it says may decide what of the guest's passes.
    let received = match down.step(context, stream, guest, &mut |held, look| {
        if let Look::Fresh(count) = look {
            watching.received(&held[held.len() - count..])?;
        }
        Ok(held.len())
    }) {
        Poll::Pending => false,
        Poll::Ready(Ok(())) => true,
        Poll::Ready(Err(Failure::Reading(error))) => return ended(CarryError::Server(error)),
        Poll::Ready(Err(Failure::Writing(error))) => return ended(CarryError::Guest(error)),
        Poll::Ready(Err(Failure::Refused(violation))) => return watching.refuse(violation),
    };
    let sent = match up.step(context, guest, stream, &mut |held, look| watching.sent(held, look)) {
        Poll::Pending => false,
        Poll::Ready(Ok(())) => true,
        Poll::Ready(Err(Failure::Reading(error))) => return ended(CarryError::Guest(error)),
        // What the server said before it stopped listening is still worth telling.
        Poll::Ready(Err(Failure::Writing(error))) => {
            up.failure = Some(error);
            true
        }
        Poll::Ready(Err(Failure::Refused(violation))) => return watching.refuse(violation),
    };
    if !(received && sent) {
        return Poll::Pending;
    }
    Poll::Ready(match up.failure.take() {
        Some(error) => Err(CarryError::Server(error)),
        None => Ok(Carried { sent: up.total, received: down.total }),
    })
}

fn ended(error: CarryError) -> Poll<Result<Carried, CarryError>> {
    Poll::Ready(Err(error))
}

/// What looks at a connection's bytes, where somebody does.
struct Watching<'a> {
    inspector: Option<Inspector>,
    /// Whether the server said something since the guest's bytes were looked at.
    is_answered: bool,
    ticket: &'a Ticket,
}

impl Watching<'_> {
    /// How much of what is held may pass to the server.
    fn sent(&mut self, held: &[u8], look: Look) -> Result<usize, Violation> {
        if look == Look::Again && !std::mem::take(&mut self.is_answered) && self.inspector.is_some()
        {
            return Ok(0);
        }
        self.with(held, |inspector, ticket| {
            let mut check = |claim, name: &_| ticket.check(claim, name);
            match look {
                Look::End => inspector.end(held, &mut check),
                Look::Fresh(_) | Look::Again => inspector.advance(held, &mut check),
            }
        })
    }

    fn received(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        self.is_answered = true;
        self.with(bytes, |inspector, _| inspector.answer(bytes).map(|()| 0)).map(|_| ())
    }

    fn with(
        &mut self,
        held: &[u8],
        look: impl FnOnce(&mut Inspector, &Ticket) -> Result<usize, Violation>,
    ) -> Result<usize, Violation> {
        let Some(inspector) = &mut self.inspector else { return Ok(held.len()) };
        let looked = look(inspector, self.ticket);
        // A policy that was changed since may not care any more.
        if inspector.is_opaque() || (looked.is_err() && self.ticket.is_free()) {
            self.inspector = None;
            return Ok(held.len());
        }
        looked
    }

    fn refuse(&self, violation: Violation) -> Poll<Result<Carried, CarryError>> {
        ended(CarryError::Denied(self.ticket.deny(violation)))
    }
}

/// Why somebody looks at what a pipe holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Look {
    /// So many bytes at its end are new.
    Fresh(usize),
    /// Something else may have changed.
    Again,
    /// No more will come.
    End,
}

/// Why a direction cannot go on.
enum Failure {
    Reading(io::Error),
    Writing(io::Error),
    Refused(Violation),
}

/// Says how many of the bytes that are held may pass.
type Watch<'a> = &'a mut dyn FnMut(&[u8], Look) -> Result<usize, Violation>;

/// The first size of a buffer, in bytes: most connections need no more.
const FIRST_BUFFER: usize = 4 * 1024;

/// One direction, with its buffer: `start..clear` may be written, `clear..end` is held.
struct Pipe<'a> {
    buffer: Vec<u8>,
    start: usize,
    clear: usize,
    end: usize,
    limit: usize,
    /// Whether the last read filled the buffer.
    is_crowded: bool,
    is_ended: bool,
    is_shut: bool,
    is_unflushed: bool,
    failure: Option<io::Error>,
    total: u64,
    carried: &'a AtomicU64,
    buffered: &'a AtomicU64,
}

impl<'a> Pipe<'a> {
    fn new(limit: usize, carried: &'a AtomicU64, buffered: &'a AtomicU64) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            clear: 0,
            end: 0,
            limit,
            is_crowded: false,
            is_ended: false,
            is_shut: false,
            is_unflushed: false,
            failure: None,
            total: 0,
            carried,
            buffered,
        }
    }

    /// Carries what can be carried now. Ready when the reader has ended and the writer was told.
    fn step<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        watch: Watch<'_>,
    ) -> Poll<Result<(), Failure>> {
        if self.is_shut || self.failure.is_some() {
            return Poll::Ready(Ok(()));
        }
        let mut look = if self.is_ended { Look::End } else { Look::Again };
        loop {
            if self.clear < self.end || look == Look::End {
                let held = &self.buffer[self.clear..self.end];
                self.clear += watch(held, look).map_err(Failure::Refused)?;
            }
            self.write(context, writer).map_err(Failure::Writing)?;
            if self.is_ended {
                if self.start < self.end {
                    return Poll::Pending;
                }
                let mut writer = Pin::new(writer);
                ready!(writer.as_mut().poll_flush(context)).map_err(Failure::Writing)?;
                ready!(writer.poll_shutdown(context)).map_err(Failure::Writing)?;
                self.is_shut = true;
                return Poll::Ready(Ok(()));
            }
            if !self.has_room() {
                return Poll::Pending;
            }
            let mut room = ReadBuf::new(&mut self.buffer[self.end..]);
            match Pin::new(&mut *reader).poll_read(context, &mut room) {
                Poll::Ready(Ok(())) => {
                    let count = room.filled().len();
                    self.is_crowded = room.remaining() == 0;
                    self.end += count;
                    self.is_ended = count == 0;
                    look = if count == 0 { Look::End } else { Look::Fresh(count) };
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Reading(error))),
                Poll::Pending => {
                    if self.is_unflushed && self.start == self.clear {
                        ready!(Pin::new(writer).poll_flush(context)).map_err(Failure::Writing)?;
                        self.is_unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Writes what may be written, as far as the writer takes it.
    fn write<W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        writer: &mut W,
    ) -> io::Result<()> {
        while self.start < self.clear {
            let bytes = &self.buffer[self.start..self.clear];
            match Pin::new(&mut *writer).poll_write(context, bytes) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.start += count;
                    self.total += count as u64;
                    self.carried.fetch_add(count as u64, Ordering::Relaxed);
                    self.is_unflushed = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        if self.start == self.end {
            (self.start, self.clear, self.end) = (0, 0, 0);
        }
        Ok(())
    }

    /// Whether something can be read; makes room where it may.
    fn has_room(&mut self) -> bool {
        let is_full = self.end == self.buffer.len();
        if is_full && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.clear -= self.start;
            self.end -= self.start;
            self.start = 0;
        } else if (is_full || (self.end == 0 && self.is_crowded)) && self.buffer.len() < self.limit
        {
            let size = (2 * self.buffer.len()).clamp(FIRST_BUFFER.min(self.limit), self.limit);
            self.buffered.fetch_add((size - self.buffer.len()) as u64, Ordering::Relaxed);
            self.buffer.resize(size, 0);
        }
        self.end < self.buffer.len()
    }
}

impl Drop for Pipe<'_> {
    fn drop(&mut self) {
        self.buffered.fetch_sub(self.buffer.len() as u64, Ordering::Relaxed);
    }
}
