//! Knowing that a peer is gone while nobody reads what it sent.

use std::{
    future::Future,
    io,
    os::fd::{AsFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// Ends when the peer of a stream socket is gone for both directions: it was killed or closed (Unix),
/// or reset the connection (TCP). Once this side has ended its own direction the peer's ordinary end
/// looks the same, so whoever does that stops asking.
///
/// Waits on a duplicate of the descriptor, for nothing but the hang-up, which epoll always tells.
pub fn hang_up(socket: &impl AsFd) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let duplicate: OwnedFd = socket.as_fd().try_clone_to_owned()?;
    #[expect(deprecated, reason = "what it warns of, a borrowed descriptor, is not given to it")]
    let watched = AsyncFd::try_with_interest(duplicate, Interest::PRIORITY)?;
    Ok(async move {
        while let Ok(mut guard) = watched.ready(Interest::PRIORITY).await {
            if guard.ready().is_read_closed() {
                return;
            }
            guard.clear_ready();
        }
    })
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream, UnixStream},
    };

    use super::*;

    #[tokio::test]
    async fn a_half_close_is_no_hang_up_and_a_close_is() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let gone = hang_up(&near).unwrap();
        tokio::pin!(gone);
        far.write_all(b"unread").await.unwrap();
        far.shutdown().await.unwrap();
        tokio::select! {
            biased;
            () = &mut gone => panic!("it only ended one direction"),
            () = std::future::ready(()) => {}
        }
        drop(far);
        gone.await;
    }

    #[tokio::test]
    async fn a_reset_is_seen_though_nobody_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (near, _) = listener.accept().await.unwrap();
        let gone = hang_up(&near).unwrap();
        client.set_zero_linger().unwrap();
        drop(client);
        gone.await;
        let mut near = near;
        assert!(near.read(&mut [0; 1]).await.is_err());
    }
}
