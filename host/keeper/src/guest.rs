//! `vm.sock` for a VMM that has no vsock: the guest's streams, as Firecracker offers them.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinHandle,
};
use tokio_util::task::TaskTracker;

use crate::{
    request,
    session::{self, Opener, STREAMS},
    splice::splice,
};

/// How long a client may take to say where it wants to go.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// The socket, the session behind it, and the streams between.
pub struct Guest {
    accepting: JoinHandle<()>,
    streams: TaskTracker,
}

impl Guest {
    /// Begins to serve `vm.sock` from the guest's port.
    pub fn serve(
        listener: std::os::unix::net::UnixListener,
        port: std::os::unix::net::UnixStream,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let opener = session::begin(port)?;
        let streams = TaskTracker::new();
        let tracker = streams.clone();
        let accepting = tokio::spawn(async move {
            let places = Arc::new(Semaphore::new(STREAMS));
            while let Ok(place) = Arc::clone(&places).acquire_owned().await {
                let client = accept(&listener).await;
                let opener = opener.clone();
                tracker.spawn(async move {
                    // A client that goes or talks nonsense is its own loss.
                    let _ = serve_client(client, opener).await;
                    drop(place);
                });
            }
        });
        Ok(Self { accepting, streams })
    }

    /// After the VMM's end: lets the streams deliver what they hold, for at most `limit`.
    pub async fn finish(self, limit: Duration) {
        self.accepting.abort();
        self.streams.close();
        let _ = tokio::time::timeout(limit, self.streams.wait()).await;
    }
}

/// The next client. Where the process is out of descriptors, it waits for some to come back.
pub async fn accept(listener: &UnixListener) -> UnixStream {
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        match listener.accept().await {
            Ok((client, _)) => return client,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// The guest reads the port as the stream's first four bytes, little endian. `OK` says that the
/// stream is on its way: a guest whose agent does not run yet answers later, one that refuses the
/// port ends the stream.
async fn serve_client(mut client: UnixStream, opener: Opener) -> io::Result<()> {
    static NEXT: AtomicU32 = AtomicU32::new(1 << 30);
    let request = tokio::time::timeout(REQUEST_TIME, request::read(&mut client));
    let (port, behind) = request.await.map_err(io::Error::from)??;
    let stream = opener.open().await.ok_or(io::ErrorKind::NotConnected)?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    client.write_all(format!("OK {number}\n").as_bytes()).await?;
    let mut to_guest = port.to_le_bytes().to_vec();
    to_guest.extend(behind);
    splice(client, stream, to_guest).await;
    Ok(())
}
