//! The line that opens a stream, as Firecracker's vsock device reads it.
//!
//! Source: Firecracker, `docs/vsock.md`, "Host-initiated connections".

use std::io;

use tokio::{io::AsyncReadExt, net::UnixStream};

/// The longest line: `CONNECT 4294967295\n`, and some room.
const LONGEST: usize = 32;
/// Room for the line and what mostly comes with it: a call.
const ROOM: usize = 4 << 10;

/// Reads `CONNECT <port>\n`; returns the port, and what the client sent behind the line.
pub async fn read(client: &mut UnixStream) -> io::Result<(u32, Vec<u8>)> {
    let mut heard = Vec::with_capacity(ROOM);
    loop {
        if let Some(end) = heard.iter().take(LONGEST).position(|&byte| byte == b'\n') {
            let port = parse(&heard[..end]).ok_or(io::ErrorKind::InvalidData)?;
            return Ok((port, heard.split_off(end + 1)));
        }
        let mut room = (&mut *client).take((ROOM - heard.len()) as u64);
        if heard.len() >= LONGEST || room.read_buf(&mut heard).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

fn parse(line: &[u8]) -> Option<u32> {
    let digits = line.strip_prefix(b"CONNECT ")?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn only_the_one_form_is_a_request() {
        assert_eq!(parse(b"CONNECT 1024"), Some(1024));
        assert_eq!(parse(b"CONNECT 4294967295"), Some(u32::MAX));
        for line in ["", "CONNECT", "CONNECT ", "CONNECT +1", "connect 1", "CONNECT 4294967296"] {
            assert_eq!(parse(line.as_bytes()), None, "{line:?}");
        }
    }
}
