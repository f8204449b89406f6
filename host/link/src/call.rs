//! The calls: one per stream, each with its time limit.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pyro_core::READY_PORT;
use pyro_directory::Directory;
use pyro_wire::{
    Call, ExecRecord, ForgetExec, Frame, GENERATION, GuestEvent, Hello, HelloReply, ListExecs,
    Personalize, Personalized, Reply, SetClock, SetHostname, SetNetwork, ShutDown, SignalExec,
    Watch, call::Verb, guest_event, reply,
};
use tokio::net::UnixListener;

use crate::{
    places::Places,
    port::Ports,
    stream::{LinkError, Stream},
};

/// How long a guest may take to answer a call that does no work to speak of. Generous, because an
/// emulated guest under load is slow; a guest that is silent for longer is as good as dead.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);

/// How long it may take to start a command: the agent waits for its process for as long as that gets
/// on, two minutes at most, since other commands may leave it little of the processor.
const BEGIN: Duration = Duration::from_secs(150);

/// Reaches one guest's agent.
#[derive(Clone, Debug)]
pub struct Link {
    directory: Arc<Directory>,
    places: Arc<Places>,
    pub(crate) ports: Arc<Ports>,
}

/// Whether a call may stay for as long as a caller of ours wants. What the node itself follows is not
/// meant: it is little, and never refused.
fn stays(verb: &Verb) -> bool {
    match verb {
        Verb::WaitService(_) | Verb::AttachExec(_) | Verb::OpenTrunk(_) => true,
        Verb::ReadServiceLog(call) => call.follow,
        Verb::StartExec(call) => call.attach,
        _ => false,
    }
}

/// What a reply says.
pub(crate) fn answered(frame: &Frame) -> Result<reply::Result, LinkError> {
    let reply: Reply = frame.message().map_err(LinkError::Frame)?;
    match reply.result {
        Some(reply::Result::Problem(problem)) => Err(LinkError::Guest {
            code: problem.code,
            message: problem.message,
            causes: problem.causes,
        }),
        Some(result) => Ok(result),
        None => Err(LinkError::Mismatch("the call")),
    }
}

impl Link {
    /// A link through the keeper's directory. Nothing is opened yet.
    pub fn new(directory: Arc<Directory>) -> Self {
        Self { directory, places: Arc::default(), ports: Arc::default() }
    }

    /// Opens a stream, sends the call, and reads the one reply.
    pub(crate) async fn call(&self, verb: Verb) -> Result<(reply::Result, Stream), LinkError> {
        let limit = if matches!(verb, Verb::StartExec(_)) { BEGIN } else { ANSWER };
        self.call_within(verb, limit).await
    }

    pub(crate) async fn call_within(
        &self,
        verb: Verb,
        limit: Duration,
    ) -> Result<(reply::Result, Stream), LinkError> {
        let conversation = async {
            let place = if stays(&verb) {
                self.places.staying().await?
            } else {
                self.places.passing().await
            };
            let call = Call { generation: GENERATION, verb: Some(verb) };
            let turn = self.places.turn().await;
            let mut stream = Stream::open(&self.directory, place, &call).await?;
            drop(turn);
            answered(&stream.reader.expect().await?).map(|result| (result, stream))
        };
        tokio::time::timeout(limit, conversation).await.unwrap_or(Err(LinkError::Silent(limit)))
    }

    pub(crate) async fn done(
        &self,
        verb: Verb,
        name: &'static str,
        limit: Duration,
    ) -> Result<(), LinkError> {
        match self.call_within(verb, limit).await?.0 {
            reply::Result::Done(_) => Ok(()),
            _ => Err(LinkError::Mismatch(name)),
        }
    }

    /// Asks the agent who it is; waits until it answers, for as long as `limit`.
    ///
    /// On QEMU the call waits in the channel until the agent reads it. Firecracker refuses streams
    /// until the agent listens, which the agent tells. It may have told before we listened to that,
    /// so refused calls are retried all the same: soon at first, then after a tenth of the time that
    /// has passed, so that asking slows no boot that is slow.
    pub async fn hello(&self, limit: Duration) -> Result<HelloReply, LinkError> {
        let asked = Instant::now();
        let mut ready = None;
        let attempts = async {
            loop {
                match self.call_within(Verb::Hello(Hello {}), limit).await {
                    Ok((reply::Result::Hello(hello), _)) => return Ok(hello),
                    Ok(_) => return Err(LinkError::Mismatch("hello")),
                    Err(LinkError::Connect(_) | LinkError::Refused | LinkError::Lost(_)) => {
                        let ready = ready.get_or_insert_with(|| Ready::listen(&self.directory));
                        let pause = (asked.elapsed() / 10).max(Duration::from_millis(5));
                        let _ = tokio::time::timeout(pause, ready.told()).await;
                    }
                    Err(other) => return Err(other),
                }
            }
        };
        tokio::time::timeout(limit, attempts).await.unwrap_or(Err(LinkError::Silent(limit)))
    }

    /// The second phase of the boot.
    pub async fn personalize(&self, personal: Personalize) -> Result<Personalized, LinkError> {
        let limit = Duration::from_mins(2);
        match self.call_within(Verb::Personalize(personal), limit).await?.0 {
            reply::Result::Personalized(done) => Ok(done),
            _ => Err(LinkError::Mismatch("personalize")),
        }
    }

    /// Every exec record the agent holds.
    pub async fn list_execs(&self) -> Result<Vec<ExecRecord>, LinkError> {
        match self.call(Verb::ListExecs(ListExecs {})).await?.0 {
            reply::Result::ExecList(list) => Ok(list.records),
            _ => Err(LinkError::Mismatch("list_execs")),
        }
    }

    /// Sends a signal to an exec, or cancels it.
    pub async fn signal_exec(&self, signal: SignalExec) -> Result<(), LinkError> {
        self.done(Verb::SignalExec(signal), "signal_exec", ANSWER).await
    }

    /// Drops a finished exec's record and output from the agent disk.
    pub async fn forget_exec(&self, exec_id: String) -> Result<(), LinkError> {
        self.done(Verb::ForgetExec(ForgetExec { exec_id }), "forget_exec", ANSWER).await
    }

    /// Sets or slews the guest's clock. `wall_clock_nanos`: since the Unix epoch.
    pub async fn set_clock(&self, wall_clock_nanos: u64) -> Result<(), LinkError> {
        self.done(Verb::SetClock(SetClock { wall_clock_nanos }), "set_clock", ANSWER).await
    }

    /// Gives the machine another host name.
    pub async fn set_hostname(&self, hostname: String) -> Result<(), LinkError> {
        self.done(Verb::SetHostname(SetHostname { hostname }), "set_hostname", ANSWER).await
    }

    /// Says whether the workload has an interface beside its loopback.
    pub async fn set_network(&self, enabled: bool) -> Result<(), LinkError> {
        self.done(Verb::SetNetwork(SetNetwork { enabled }), "set_network", ANSWER).await
    }

    /// Ends the workload, syncs, unmounts and powers off; returns when all is on disk.
    pub async fn shut_down(&self, grace: Duration) -> Result<(), LinkError> {
        let call = ShutDown { grace_millis: grace.as_millis() as u64 };
        let limit = grace + Duration::from_mins(1);
        self.done(Verb::ShutDown(call), "shut_down", limit).await
    }

    /// Follows what happens in the guest.
    pub async fn watch(&self) -> Result<(Vec<ExecRecord>, Watching), LinkError> {
        let (reply, stream) = self.call(Verb::Watch(Watch {})).await?;
        match reply {
            reply::Result::ExecList(list) => Ok((list.records, Watching { stream })),
            _ => Err(LinkError::Mismatch("watch")),
        }
    }
}

/// Where a guest tells that its agent listens. The socket's name goes with it.
struct Ready<'a> {
    directory: &'a Directory,
    name: String,
    listener: Option<UnixListener>,
}

impl<'a> Ready<'a> {
    fn listen(directory: &'a Directory) -> Self {
        let name = format!("vm.sock_{READY_PORT}");
        let listener = directory.bind(&name, 0o600).ok().and_then(|listener| {
            listener.set_nonblocking(true).ok()?;
            UnixListener::from_std(listener).ok()
        });
        Self { directory, name, listener }
    }

    async fn told(&self) {
        match &self.listener {
            Some(listener) if listener.accept().await.is_ok() => {}
            _ => std::future::pending().await,
        }
    }
}

impl Drop for Ready<'_> {
    fn drop(&mut self) {
        let _ = self.directory.remove(&self.name);
    }
}

/// What happens in a guest, as it happens.
#[derive(Debug)]
pub struct Watching {
    stream: Stream,
}

impl Watching {
    /// The next event; an error when the guest or its keeper is gone.
    pub async fn next(&mut self) -> Result<guest_event::Event, LinkError> {
        loop {
            let frame = self.stream.reader.expect().await?;
            let event: GuestEvent = frame.message().map_err(LinkError::Frame)?;
            // An event this build does not know comes from a newer agent; it is skipped.
            if let Some(event) = event.event {
                return Ok(event);
            }
        }
    }
}
