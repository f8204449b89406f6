//! Does it answer a GET with a status of 200 to 399?
//!
//! Only the status line is read; redirects are an answer and followed nowhere.

use pyro_wire::HttpProbe;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Place, Seen, tcp};

/// A status line that goes on for longer is none.
const LONGEST_LINE: usize = 1024;
/// Read of the rest, so that the server sees a reader and not a reset.
const REST: usize = 64 << 10;

/// One try.
pub async fn try_once(probe: &HttpProbe, place: &Place) -> Seen {
    let shown = format!("http://{}:{}{}", probe.host, probe.port, probe.target);
    let stream = match tcp::connect(&probe.host, probe.port, place).await {
        Ok(stream) => stream,
        Err(error) => return Seen::not_yet(format!("{shown}: {error}")),
    };
    let peer = stream.peer_addr().ok();
    let seen = match ask(probe, stream).await {
        Ok(Some(status @ 200..=399)) => Seen::yes(format!("{shown}: status {status}")),
        Ok(Some(status)) => Seen::not_yet(format!("{shown}: status {status}")),
        Ok(None) => Seen::not_yet(format!("{shown}: the answer is not HTTP")),
        Err(error) => Seen::not_yet(format!("{shown}: {error}")),
    };
    seen.by(peer)
}

async fn ask(probe: &HttpProbe, mut stream: TcpStream) -> std::io::Result<Option<u16>> {
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}:{}\r\nUser-Agent: pyro-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        probe.target, probe.host, probe.port
    );
    stream.write_all(request.as_bytes()).await?;
    let mut line = Vec::with_capacity(LONGEST_LINE);
    while !line.contains(&b'\n') && line.len() < LONGEST_LINE {
        let mut piece = [0; 256];
        match stream.read(&mut piece).await? {
            0 => break,
            count => line.extend_from_slice(&piece[..count]),
        }
    }
    tokio::spawn(async move {
        let rest = async {
            let mut sink = tokio::io::sink();
            let _ = tokio::io::copy(&mut stream.take(REST as u64), &mut sink).await;
        };
        let _ = tokio::time::timeout(super::TRY, rest).await;
    });
    Ok(status(&line))
}

/// The status of an answer's first line (RFC 9112, section 4).
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (version, rest) = rest.split_first()?;
    let digits = rest.strip_prefix(b" ")?.get(..3)?;
    if !version.is_ascii_digit() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_and_garbage_is_none() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\nX: y\r\n"), Some(204));
        assert_eq!(status(b"HTTP/1.0 302\r\n"), Some(302));
        for garbage in
            [&b""[..], b"\n", b"HTTP/2 200", b"HTTP/1.1 2x0 ", b"HTTP/1.1  200", b"SSH-2.0"]
        {
            assert_eq!(status(garbage), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn hostile_answers_never_panic(answer in proptest::collection::vec(0u8.., 0..100)) {
            let _ = status(&answer);
        }
    }
}
