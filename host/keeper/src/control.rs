//! `keeper.sock`: one verb, and an end of file that means the keeper has ended.

use std::{io, sync::Arc};

use tokio::{
    io::AsyncReadExt,
    net::{UnixListener, UnixStream},
    sync::Notify,
};

use crate::guest::accept;

/// Serves the socket until the process ends; `kill` is notified for each `kill\n`.
pub fn serve(listener: std::os::unix::net::UnixListener, kill: Arc<Notify>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    tokio::spawn(async move {
        loop {
            let client = accept(&listener).await;
            tokio::spawn(follow(client, Arc::clone(&kill)));
        }
    });
    Ok(())
}

/// Obeys one client until it goes. Whatever is not a verb is passed over.
async fn follow(mut client: UnixStream, kill: Arc<Notify>) {
    const VERB: &[u8] = b"kill";
    let mut line = Vec::with_capacity(VERB.len() + 1);
    while let Ok(byte) = client.read_u8().await {
        if byte == b'\n' {
            if line == VERB {
                kill.notify_one();
            }
            line.clear();
        } else if line.len() <= VERB.len() {
            line.push(byte);
        }
    }
}
