//! The process: its lock and socket, the connections, and when it ends.
//!
//! Where a node listens, and how one is started on demand: `node.lock` is held for life, `start.lock`
//! is held by whoever starts a node and by a node that ends by idleness, so that between its last
//! look at its connections and its end no client can find a socket that nobody answers.

use std::{
    future::Future,
    io::{self, Write},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use pyro_core::Problem;
use pyro_directory::{Directory, DirectoryError, Lock};
use pyro_workspace::{Phase, Settings, WorkspaceError, Workspaces};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Notify, watch},
};

use crate::routes;

/// How a node is run.
#[derive(Debug)]
pub struct NodeSettings {
    /// Where it works and with what.
    pub workspace: Settings,
    /// Ends after so long without a client, a running VM or a build; none: never.
    pub idle_exit: Option<Duration>,
    /// Told when the node listens.
    pub ready: Ready,
    /// A listening socket from the service manager, instead of `node.sock`.
    pub listener: Option<OwnedFd>,
}

/// How long a node that no longer listens may take to end.
const LEAVING: Duration = Duration::from_secs(10);

/// Who is told that the node listens.
#[derive(Debug, Default)]
pub struct Ready {
    /// Gets `ready\n`, or a problem as one line of JSON.
    pub pipe: Option<std::fs::File>,
    /// `NOTIFY_SOCKET` of the service manager (sd_notify(3)).
    pub notify_socket: Option<std::path::PathBuf>,
}

/// The node cannot run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The state directory cannot be used.
    #[error("cannot use the state directory")]
    State(#[source] DirectoryError),
    /// Another node runs there.
    #[error("a node already runs on this state directory")]
    AlreadyRuns,
    /// What the node before left cannot be read.
    #[error("cannot open the workspaces")]
    Open(#[source] WorkspaceError),
    /// The socket cannot be used.
    #[error("cannot listen")]
    Listen(#[source] io::Error),
}

impl From<NodeError> for Problem {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::AlreadyRuns => {
                Self::conflict("node_already_runs", error.to_string()).hint("pyro node status")
            }
            NodeError::Open(source) => source.into(),
            NodeError::State(_) | NodeError::Listen(_) => state_unusable(&error),
        }
    }
}

/// The state directory does not take what a node keeps there; a full disk is told as that.
fn state_unusable(error: &NodeError) -> Problem {
    if pyro_core::is_disk_full(error) {
        return Problem::from_error("host_disk_full", error)
            .hint("free space where the state directory is");
    }
    Problem::from_error("state_unusable", error)
        .hint("check the state directory's permissions: PYRO_HOME, else XDG_STATE_HOME")
}

/// What every route sees.
#[derive(Clone, Debug)]
pub(crate) struct Node(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    workspaces: Workspaces,
    settings: NodeSettings,
    started_at: f64,
    stop: watch::Sender<bool>,
    busy: AtomicUsize,
    changed: Notify,
}

/// Something goes on that keeps the node from ending by idleness.
#[derive(Debug)]
pub(crate) struct Busy(Node);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.busy.fetch_sub(1, Ordering::SeqCst);
        self.0.0.changed.notify_one();
    }
}

impl Node {
    pub(crate) fn workspaces(&self) -> &Workspaces {
        &self.0.workspaces
    }

    pub(crate) fn settings(&self) -> &NodeSettings {
        &self.0.settings
    }

    pub(crate) fn started_at(&self) -> f64 {
        self.0.started_at
    }

    /// Ends the node soon.
    pub(crate) fn stop(&self) {
        self.0.stop.send_replace(true);
    }

    pub(crate) fn busy(&self) -> Busy {
        self.0.busy.fetch_add(1, Ordering::SeqCst);
        Busy(self.clone())
    }

    /// Serves an upgraded connection in a task of its own.
    pub(crate) fn serve_stream(self, stream: impl Future<Output = ()> + Send + 'static) {
        let busy = self.busy();
        tokio::spawn(async move {
            let _busy = busy;
            stream.await;
        });
    }

    /// Runs what blocks on a thread that may.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let node = self.clone();
        match tokio::task::spawn_blocking(move || work(&node)).await {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Whether there is nothing to watch: no client, no build, no VM, no port, no idle time to
    /// keep.
    fn is_idle(&self) -> bool {
        let watched = |handle: &pyro_workspace::Handle| {
            let snapshot = handle.snapshot();
            snapshot.record.phase != Phase::Stopped
                || snapshot.awaits_connections()
                || snapshot.record.ttl_seconds.is_some()
                    && snapshot.record.on_expiry == pyro_workspace::OnExpiry::Delete
        };
        self.0.busy.load(Ordering::SeqCst) == 0
            && self.workspaces().warm_count() == 0
            && !self.workspaces().all(true).iter().any(watched)
    }
}

/// Runs a node until it is stopped or idle. VMs go on without it.
pub async fn run(mut settings: NodeSettings) -> Result<(), NodeError> {
    pyro_listen::allow_most_descriptors();
    let ready = std::mem::take(&mut settings.ready);
    match start(settings).await {
        Ok(running) => {
            ready.tell(b"ready\n");
            running.serve().await
        }
        Err(error) => {
            let message = error.to_string();
            let causes = Problem::from_error("", &error);
            tracing::error!(problem = %causes, "the node does not start");
            Err(ready.tell_failure(error, &message))
        }
    }
}

impl Ready {
    fn tell(mut self, line: &[u8]) {
        if let Some(mut pipe) = self.pipe.take() {
            // A client that went meanwhile needs no answer.
            let _ = pipe.write_all(line);
        }
        if let Some(path) = self.notify_socket.take()
            && let Err(error) = notify(&path)
        {
            tracing::warn!(%error, "could not tell the service manager");
        }
    }

    fn tell_failure(mut self, error: NodeError, message: &str) -> NodeError {
        let Some(mut pipe) = self.pipe.take() else { return error };
        // The problem goes to the client that waits; the error, without what was told, to the log.
        let (problem, kept) = match error {
            NodeError::Open(source) => {
                let shown = source.to_string();
                (Problem::from(source), NodeError::Listen(io::Error::other(shown)))
            }
            NodeError::AlreadyRuns => {
                (Problem::from(NodeError::AlreadyRuns), NodeError::AlreadyRuns)
            }
            other => (state_unusable(&other), other),
        };
        let line = serde_json::to_string(&problem).unwrap_or_else(|_| message.to_owned());
        let _ = pipe.write_all(format!("{line}\n").as_bytes());
        kept
    }
}

/// `READY=1` to the service manager; a name that begins with @ is abstract.
fn notify(path: &std::path::Path) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::{ffi::OsStrExt, net};
    let socket = net::UnixDatagram::unbound()?;
    let address = match path.as_os_str().as_bytes() {
        [b'@', name @ ..] => net::SocketAddr::from_abstract_name(name)?,
        _ => net::SocketAddr::from_pathname(path)?,
    };
    socket.send_to_addr(b"READY=1\n", &address)?;
    Ok(())
}

/// A node that listens.
struct Running {
    node: Node,
    listener: UnixListener,
    state: Directory,
    owns_socket: bool,
    // Held for life.
    _lock: Lock,
}

async fn start(settings: NodeSettings) -> Result<Running, NodeError> {
    let begun = Instant::now();
    let state = Directory::create(&settings.workspace.state).map_err(NodeError::State)?;
    let lock = hold(&state, settings.idle_exit.is_some()).await?.ok_or(NodeError::AlreadyRuns)?;
    let workspaces = Workspaces::open(settings.workspace.clone()).await.map_err(NodeError::Open)?;
    let mut settings = settings;
    let given = settings.listener.take();
    let owns_socket = given.is_none();
    let listener = if let Some(descriptor) = given {
        std::os::unix::net::UnixListener::from(descriptor)
    } else {
        state.remove("node.sock").map_err(NodeError::State)?;
        state.bind("node.sock", 0o600).map_err(NodeError::State)?
    };
    listener.set_nonblocking(true).map_err(NodeError::Listen)?;
    let listener = UnixListener::from_std(listener).map_err(NodeError::Listen)?;
    let record = serde_json::json!({
        "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    state.write_whole("node.json", record.to_string().as_bytes()).map_err(NodeError::State)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let node = Node(Arc::new(Shared {
        workspaces,
        settings,
        started_at: since.as_secs_f64(),
        stop: watch::Sender::new(false),
        busy: AtomicUsize::new(0),
        changed: Notify::new(),
    }));
    tracing::info!(pid = std::process::id(), elapsed = ?begun.elapsed(), "the node listens");
    Ok(Running { node, listener, state, owns_socket, _lock: lock })
}

/// The lock of the one node. A client that starts a node has found none that listens, so that one
/// which still holds the lock is on its way out: that is waited for.
async fn hold(state: &Directory, on_demand: bool) -> Result<Option<Lock>, NodeError> {
    let lock = state.try_lock("node.lock").map_err(NodeError::State)?;
    if lock.is_some() || !on_demand {
        return Ok(lock);
    }
    let place = state.path().to_owned();
    let (tell, told) = tokio::sync::oneshot::channel();
    // Not one of the runtime's own threads: this process may end while it waits.
    std::thread::spawn(move || {
        let _ = tell.send(Directory::open(place).and_then(|state| state.lock("node.lock")));
    });
    match tokio::time::timeout(LEAVING, told).await {
        Ok(Ok(lock)) => lock.map(Some).map_err(NodeError::State),
        _ => Ok(None),
    }
}

impl Running {
    async fn serve(self) -> Result<(), NodeError> {
        let mut stop = self.node.0.stop.subscribe();
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .map_err(NodeError::Listen)?;
        let mut interrupt =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
                .map_err(NodeError::Listen)?;
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((socket, _)) => self.connect(socket),
                    Err(error) => {
                        // Out of descriptors, most likely; those that end free some.
                        tracing::warn!(%error, "could not accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                () = self.idle() => {
                    if self.end_by_idleness().await {
                        tracing::info!("nothing is left to watch");
                        return Ok(());
                    }
                }
                _ = stop.wait_for(|stop| *stop) => break,
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        // New clients start a new node; the answers under way are still given.
        if self.owns_socket {
            self.state.remove("node.sock").map_err(NodeError::State)?;
        }
        self.answers_given(Duration::from_secs(2)).await;
        self.node.workspaces().end_warm().await;
        tracing::info!("the node was stopped");
        Ok(())
    }

    fn connect(&self, socket: UnixStream) {
        if !same_user(&socket) {
            tracing::warn!("refused a connection of another user");
            return;
        }
        let node = self.node.clone();
        let busy = node.busy();
        let service = TowerToHyperService::new(routes::router(node));
        tokio::spawn(async move {
            let _busy = busy;
            let served = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .with_upgrades()
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }

    /// Waits until there was nothing to watch for the whole idle time.
    async fn idle(&self) {
        let Some(limit) = self.node.0.settings.idle_exit else {
            return std::future::pending().await;
        };
        loop {
            // The end of a connection or build begins the wait anew; what VMs do is looked at when
            // it is over, which is soon enough.
            tokio::select! {
                () = tokio::time::sleep(limit) => {
                    if self.node.is_idle() {
                        return;
                    }
                }
                () = self.node.0.changed.notified() => {}
            }
        }
    }

    /// Ends unless a client came meanwhile; whether it may end.
    async fn end_by_idleness(&self) -> bool {
        if !self.owns_socket {
            // The service manager keeps the socket and starts another on the next connection.
            return self.node.is_idle();
        }
        let Ok(Some(starting)) = self.state.try_lock("start.lock") else { return false };
        if self.state.remove("node.sock").is_err() {
            return false;
        }
        // From here on nobody finds the socket; who found it before is in the backlog.
        loop {
            let accepted = tokio::time::timeout(Duration::ZERO, self.listener.accept()).await;
            match accepted {
                Ok(Ok((socket, _))) => self.connect(socket),
                _ => break,
            }
        }
        self.answers_given(Duration::from_hours(1)).await;
        self.node.workspaces().end_warm().await;
        // The start lock goes with this process's end, after everything else: whoever waits for it
        // then finds neither socket nor node.
        std::mem::forget(starting);
        true
    }

    async fn answers_given(&self, limit: Duration) {
        let given = async {
            while self.node.0.busy.load(Ordering::SeqCst) > 0 {
                self.node.0.changed.notified().await;
            }
        };
        let _ = tokio::time::timeout(limit, given).await;
    }
}

/// The socket's mode says so already; the peer's credentials say it again.
fn same_user(socket: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    socket.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}
