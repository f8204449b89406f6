//! The hosts that requests are for (RFC 9112), on a connection that carries one after the other.
//!
//! Owns where each request begins and ends, so that none hides behind another. It is stricter than
//! the RFC where servers differ: what two of them could read in two ways is refused. Refuses to know
//! which hosts are right.

use crate::{
    domain::DomainName,
    inspection::{Check, Claim, Violation},
    policy::Reason,
};

/// The longest head of a request, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;
/// The most bytes of empty lines before a request.
pub(crate) const MOST_BLANK: usize = 8;
/// The longest line of a chunk's size, and all trailers together, in bytes.
const LONGEST_CHUNK_LINE: usize = 1024;
const LONGEST_TRAILERS: usize = 8 * 1024;

/// Follows what a client sends.
#[derive(Debug)]
pub(crate) struct Http {
    step: Step,
    /// What the request that is being sent wants to go on with.
    upgrade: Option<Upgrade>,
    requests: u64,
    /// Whether the server spoke before the first request: then no answer can be told from another.
    answered_early: bool,
    answer: Answer,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Head,
    Body(u64),
    Chunk(Chunk),
    /// What was asked for is another protocol: the answer decides.
    Await(Upgrade),
}

/// What an `Upgrade` header asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Upgrade {
    /// Something that stays with this host: websocket, tcp.
    Opaque,
    /// Something that can name other hosts later: HTTP/2, TLS.
    Renaming,
}

/// Where in a chunked body it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Chunk {
    Size { digits: u8, size: u64 },
    Extension { size: u64, length: usize },
    SizeEnd { size: u64 },
    Data(u64),
    DataReturn,
    DataEnd,
    Trailer { start: bool, length: usize },
    TrailerEnd { last: bool, length: usize },
}

/// The server's first answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    /// So much of `HTTP/1.1 ` and the code was read.
    Line {
        length: u8,
        code: u16,
    },
    /// The rest of an answer that announces another one: so much of the empty line was read.
    Interim(u8),
    Final,
}

const ANSWER: Answer = Answer::Line { length: 0, code: 0 };

impl Http {
    pub fn new(answered_early: bool) -> Self {
        Self { step: Step::Head, upgrade: None, requests: 0, answered_early, answer: ANSWER }
    }

    /// Whether nothing passes until the server has answered.
    pub fn awaits_answer(&self) -> bool {
        matches!(self.step, Step::Await(_))
    }

    /// Looks at what is held from `*seen` on, and says how much of it may pass.
    pub fn advance(
        &mut self,
        held: &[u8],
        seen: &mut usize,
        check: Check<'_>,
    ) -> Result<usize, Violation> {
        let mut clear = 0;
        loop {
            let rest = &held[clear..];
            match self.step {
                Step::Await(_) => {
                    *seen = (*seen).max(clear);
                    return Ok(clear);
                }
                Step::Head => {
                    let from = seen.saturating_sub(clear).min(rest.len());
                    let (end, looked) = find_head(rest, from)?;
                    *seen = clear + looked;
                    let Some(end) = end else { return Ok(clear) };
                    self.request(&rest[..end], check)?;
                    clear += end;
                    *seen = clear;
                }
                Step::Body(left) => {
                    let taken = left.min(rest.len() as u64);
                    clear += taken as usize;
                    *seen = clear;
                    if taken < left {
                        self.step = Step::Body(left - taken);
                        return Ok(clear);
                    }
                    self.finish();
                }
                Step::Chunk(chunk) => {
                    if rest.is_empty() {
                        return Ok(clear);
                    }
                    let (taken, next) = chunk.advance(rest)?;
                    clear += taken;
                    *seen = clear;
                    match next {
                        Some(chunk) => self.step = Step::Chunk(chunk),
                        None => self.finish(),
                    }
                }
            }
        }
    }

    /// The server says something. Says whether it agreed to another protocol.
    pub fn answer(&mut self, bytes: &[u8], is_first: bool) -> Result<bool, Violation> {
        if self.requests == 0 && is_first {
            self.answered_early = true;
        }
        if self.requests != 1 || self.answer == Answer::Final {
            // Of later requests none may upgrade.
            return Ok(false);
        }
        let Some(is_upgraded) = self.answer.read(bytes) else { return Ok(false) };
        let asked = match self.step {
            Step::Await(upgrade) => Some(upgrade),
            _ => self.upgrade,
        };
        if !is_upgraded {
            self.upgrade = None;
            if self.awaits_answer() {
                self.step = Step::Head;
            }
            return Ok(false);
        }
        match asked {
            Some(Upgrade::Opaque) if self.awaits_answer() => Ok(true),
            Some(Upgrade::Renaming) => Err(Violation::new(
                Reason::OtherProtocol,
                "it goes on with HTTP/2 or TLS, which may name other hosts",
            )),
            _ => Err(Violation::malformed("the server changes the protocol unasked")),
        }
    }

    /// A request was sent whole.
    fn finish(&mut self) {
        self.step = self.upgrade.take().map_or(Step::Head, Step::Await);
    }

    /// Checks a request by its head.
    fn request(&mut self, head: &[u8], check: Check<'_>) -> Result<(), Violation> {
        let head = Head::read(head)?;
        if let Some(target) = &head.target
            && *target != head.host
        {
            return Err(Violation::malformed("its request is for two hosts"));
        }
        check(Claim::Host, &head.host)?;
        if head.upgrade.is_some() && (self.requests > 0 || self.answered_early) {
            return Err(Violation::malformed(
                "a request that is not its connection's first asks for another protocol",
            ));
        }
        self.requests += 1;
        self.upgrade = head.upgrade;
        match head.body {
            Body::None => self.finish(),
            Body::Length(length) => self.step = Step::Body(length),
            Body::Chunked => self.step = Step::Chunk(Chunk::Size { digits: 0, size: 0 }),
        }
        Ok(())
    }
}

impl Answer {
    /// Reads on; says, at the end of the last code, whether it is 101.
    fn read(&mut self, bytes: &[u8]) -> Option<bool> {
        for &byte in bytes {
            match *self {
                Self::Final => return None,
                Self::Line { length, code } => {
                    let code = match length {
                        9..=11 => code * 10 + u16::from(byte.wrapping_sub(b'0') % 10),
                        _ => code,
                    };
                    let fits = match length {
                        0..=6 => byte == b"HTTP/1."[usize::from(length)],
                        8 => byte == b' ',
                        _ => byte.is_ascii_digit(),
                    };
                    if !fits {
                        *self = Self::Final;
                        return Some(false);
                    }
                    *self = Self::Line { length: length + 1, code };
                    if length == 11 {
                        let is_interim = (100..200).contains(&code) && code != 101;
                        *self = if is_interim { Self::Interim(0) } else { Self::Final };
                        if !is_interim {
                            return Some(code == 101);
                        }
                    }
                }
                Self::Interim(read) => {
                    // CRLF CRLF, and LF LF for servers of that kind.
                    let read = match (byte, read) {
                        (b'\n', 1 | 2) => 2 + read,
                        (b'\n', _) => 1,
                        (b'\r', 1) => 2,
                        _ => 0,
                    };
                    *self = if read >= 3 { ANSWER } else { Self::Interim(read) };
                }
            }
        }
        None
    }
}

impl Chunk {
    /// Reads on; says how much was read and where it is then, none at the body's end.
    fn advance(self, bytes: &[u8]) -> Result<(usize, Option<Self>), Violation> {
        let malformed = || Violation::malformed("its chunked body is malformed");
        let byte = *bytes.first().ok_or_else(malformed)?;
        let is_text = byte == b'\t' || (b' '..0x7f).contains(&byte);
        let next = match self {
            Self::Size { digits, size } => match byte {
                b'\r' if digits > 0 => Self::SizeEnd { size },
                b';' | b' ' | b'\t' if digits > 0 => Self::Extension { size, length: 0 },
                _ if digits < 15 && byte.is_ascii_hexdigit() => {
                    let digit = char::from(byte).to_digit(16).ok_or_else(malformed)?;
                    Self::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
                }
                _ => return Err(malformed()),
            },
            Self::Extension { size, length } => match byte {
                b'\r' => Self::SizeEnd { size },
                _ if is_text && length < LONGEST_CHUNK_LINE => {
                    Self::Extension { size, length: length + 1 }
                }
                _ => return Err(malformed()),
            },
            Self::SizeEnd { size } => match byte {
                b'\n' if size == 0 => Self::Trailer { start: true, length: 0 },
                b'\n' => Self::Data(size),
                _ => return Err(malformed()),
            },
            Self::Data(left) => {
                let taken = left.min(bytes.len() as u64);
                let next = if taken == left { Self::DataReturn } else { Self::Data(left - taken) };
                return Ok((taken as usize, Some(next)));
            }
            Self::DataReturn if byte == b'\r' => Self::DataEnd,
            Self::DataEnd if byte == b'\n' => Self::Size { digits: 0, size: 0 },
            Self::Trailer { start, length } => match byte {
                b'\r' => Self::TrailerEnd { last: start, length },
                // A line that begins with white space goes on with the one before (obs-fold).
                b' ' | b'\t' if start => return Err(malformed()),
                _ if (is_text || byte >= 0x80) && length < LONGEST_TRAILERS => {
                    Self::Trailer { start: false, length: length + 1 }
                }
                _ => return Err(malformed()),
            },
            Self::TrailerEnd { last, length } => match byte {
                b'\n' if last => return Ok((1, None)),
                b'\n' => Self::Trailer { start: true, length },
                _ => return Err(malformed()),
            },
            Self::DataReturn | Self::DataEnd => return Err(malformed()),
        };
        Ok((1, Some(next)))
    }
}

/// The end of a head, behind its empty line, and how far it was looked.
///
/// Bytes that no head has are found as they come, and so is a first line that is no request's.
fn find_head(held: &[u8], from: usize) -> Result<(Option<usize>, usize), Violation> {
    // Empty lines before a request are skipped by servers, so they are part of it here.
    let blank = held.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    if blank > MOST_BLANK {
        return Err(Violation::malformed("too many empty lines come before a request"));
    }
    for index in from..held.len().min(LONGEST_HEAD) {
        let byte = held[index];
        let before = index.checked_sub(1).map(|before| held[before]);
        let is_fine = match byte {
            b'\n' => before == Some(b'\r'),
            _ if before == Some(b'\r') => false,
            b'\t' | b'\r' => true,
            _ => byte >= b' ' && byte != 0x7f,
        };
        if !is_fine {
            return Err(Violation::malformed("its request has bytes that no request has"));
        }
        if byte != b'\n' || index < blank {
            continue;
        }
        let lines = &held[blank..=index];
        if lines.ends_with(b"\r\n\r\n") {
            return Ok((Some(index + 1), index + 1));
        }
        if !lines[..lines.len() - 2].contains(&b'\n') {
            RequestLine::read(&lines[..lines.len() - 2])?;
        }
    }
    if held.len() >= LONGEST_HEAD {
        return Err(Violation::malformed("its request's head is too long"));
    }
    Ok((None, held.len()))
}

/// A request's first line.
struct RequestLine<'a> {
    method: &'a str,
    target: &'a [u8],
    is_1_1: bool,
}

impl<'a> RequestLine<'a> {
    fn read(line: &'a [u8]) -> Result<Self, Violation> {
        let other = |why: &str| Violation::new(Reason::OtherProtocol, why);
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(other("its first line is no request of HTTP/1"));
        };
        let is_1_1 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            b"HTTP/2.0" => {
                return Err(other("it speaks HTTP/2 without TLS, which may name other hosts"));
            }
            _ => return Err(other("its first line is no request of HTTP/1")),
        };
        let is_method = !method.is_empty() && method.iter().all(|byte| is_token(*byte));
        let method = std::str::from_utf8(method).ok().filter(|_| is_method);
        let method = method.ok_or_else(|| other("its first line is no request of HTTP/1"))?;
        if method.eq_ignore_ascii_case("CONNECT") {
            return Err(other("it asks for a tunnel (CONNECT)"));
        }
        if target.is_empty() || target.contains(&b'\t') {
            return Err(other("its first line is no request of HTTP/1"));
        }
        Ok(Self { method, target, is_1_1 })
    }

    /// The host of a target that is a whole URL.
    fn host(&self) -> Result<Option<DomainName>, Violation> {
        if self.target.starts_with(b"/") || (self.target == b"*" && self.method == "OPTIONS") {
            return Ok(None);
        }
        let malformed = || Violation::malformed("its request's target is no path and no http URL");
        let (scheme, rest) = self.target.split_at_checked(7).ok_or_else(malformed)?;
        if !scheme.eq_ignore_ascii_case(b"http://") {
            return Err(malformed());
        }
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\'));
        authority(&rest[..end.unwrap_or(rest.len())]).map(Some)
    }
}

/// What of a request's head counts.
#[derive(PartialEq, Eq, Debug)]
struct Head {
    host: DomainName,
    target: Option<DomainName>,
    body: Body,
    upgrade: Option<Upgrade>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Body {
    None,
    Length(u64),
    Chunked,
}

impl Head {
    /// Reads a head, with its empty line, whose bytes `find_head` has seen.
    fn read(head: &[u8]) -> Result<Self, Violation> {
        let blank = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let mut lines = head[blank..]
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let line = RequestLine::read(lines.next().unwrap_or_default())?;
        let (mut host, mut length, mut chunked, mut upgrade) = (None, None, false, None);
        for field in lines.take_while(|line| !line.is_empty()) {
            let colon = field.iter().position(|byte| *byte == b':').unwrap_or(0);
            let (name, value) = field.split_at(colon);
            if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
                return Err(Violation::malformed("its request has a malformed header"));
            }
            let value = value[1..].trim_ascii();
            let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
            if is("host") {
                if host.is_some() {
                    return Err(Violation::malformed("its request has more than one Host"));
                }
                host = Some(authority(value)?);
            } else if is("content-length") {
                if length.is_some() {
                    return Err(Violation::malformed("its request has more than one length"));
                }
                length = Some(digits(value)?);
            } else if is("transfer-encoding") {
                if chunked || !value.eq_ignore_ascii_case(b"chunked") || !line.is_1_1 {
                    return Err(Violation::malformed("its request has an unusual encoding"));
                }
                chunked = true;
            } else if is("upgrade") {
                let is_renaming = value
                    .split(|byte| *byte == b',')
                    .map(|token| token.trim_ascii().to_ascii_lowercase())
                    .any(|token| {
                        token.starts_with(b"h2")
                            || token.starts_with(b"http/")
                            || token.starts_with(b"tls")
                    });
                let kind = if is_renaming { Upgrade::Renaming } else { Upgrade::Opaque };
                if upgrade != Some(Upgrade::Renaming) {
                    upgrade = Some(kind);
                }
            }
        }
        let body = match (length, chunked) {
            (Some(_), true) => {
                return Err(Violation::malformed("its request has a length and is chunked"));
            }
            (Some(length), false) => Body::Length(length),
            (None, true) => Body::Chunked,
            (None, false) => Body::None,
        };
        let target = line.host()?;
        let host = host.ok_or_else(|| Violation::malformed("its request has no Host"))?;
        Ok(Self { host, target, body, upgrade })
    }
}

/// The name of `NAME[:PORT]`. Which port is said does not matter: it is for the server's links.
fn authority(text: &[u8]) -> Result<DomainName, Violation> {
    let malformed = || Violation::new(Reason::OtherHost, "its request's host is no name");
    let text = std::str::from_utf8(text).map_err(|_| malformed())?;
    let (name, port) = text.split_once(':').unwrap_or((text, ""));
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed());
    }
    DomainName::parse(name).map_err(|_| malformed())
}

fn digits(text: &[u8]) -> Result<u64, Violation> {
    let malformed = || Violation::malformed("its request's length is no number");
    if text.is_empty() || text.len() > 18 || !text.iter().all(u8::is_ascii_digit) {
        return Err(malformed());
    }
    let text = std::str::from_utf8(text).map_err(|_| malformed())?;
    text.parse().map_err(|_| malformed())
}

/// Bytes of a token (RFC 9110, 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inspection::Inspector;

    /// Feeds pieces as a connection does; says what passed and for which hosts.
    fn feed_on(port: u16, pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<String>), Violation> {
        let (mut inspector, mut held) = (Inspector::new(port), Vec::new());
        let (mut passed, mut names) = (Vec::new(), Vec::new());
        for piece in pieces {
            held.extend_from_slice(piece);
            let mut check = |_, name: &DomainName| {
                names.push(name.to_string());
                Ok(())
            };
            let clear = inspector.advance(&held, &mut check)?;
            passed.extend(held.drain(..clear));
        }
        Ok((passed, names))
    }

    fn feed(pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<String>), Violation> {
        feed_on(80, pieces)
    }

    const TWO: &str = "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nHello\
        GET http://b.example/ HTTP/1.1\r\nhost:\tb.example:8080 \r\n\r\n\
        PUT /c HTTP/1.1\r\nHost: c.example\r\nTransfer-Encoding: Chunked\r\n\r\n\
        5;x=\"y\"\r\nHello\r\n00a\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n\
        \r\nOPTIONS * HTTP/1.0\r\nHost: D.example.\r\nX: é\r\n\r\n";

    #[test]
    fn every_request_is_found_at_every_split() {
        let bytes = TWO.as_bytes();
        let names = ["a.example", "b.example", "c.example", "d.example"];
        for port in [80, 8080] {
            for split in 0..=bytes.len() {
                let (passed, found) = feed_on(port, &[&bytes[..split], &bytes[split..]]).unwrap();
                assert_eq!(passed, bytes, "{split}");
                assert_eq!(found, names);
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            let (passed, found) = feed_on(port, &single).unwrap();
            assert!(passed == bytes && found == names);
        }
    }

    #[test]
    fn nothing_of_a_head_passes_before_its_end() {
        let (passed, names) = feed(&[b"GET / HTTP/1.1\r\nHost: a.example\r\n\r"]).unwrap();
        assert!(passed.is_empty() && names.is_empty());
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        use Reason::{Malformed, OtherHost, OtherProtocol};
        let host = "Host: a.example\r\n";
        for (request, reason) in [
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), Malformed),
            (format!("GET / HTTP/1.1\r\n{host}{host}\r\n"), Malformed),
            (format!("GET / HTTP/1.1\r\n{host}Host: b.example\r\n\r\n"), Malformed),
            ("GET / HTTP/1.1\r\nHost : a.example\r\n\r\n".to_owned(), Malformed),
            (format!("GET / HTTP/1.1\r\n{host} folded: x\r\n\r\n"), Malformed),
            (format!("GET / HTTP/1.1\r\nX: y\r\n\tHost: b\r\n{host}\r\n"), Malformed),
            (format!("GET / HTTP/1.1\n{host}\r\n"), Malformed),
            (format!("GET / HTTP/1.1\r\n{host}\nGET"), Malformed),
            (format!("GET / HTTP/1.1\r\nX: \0\r\n{host}\r\n"), Malformed),
            (format!("GET / HTTP/1.1\r\nX: \r\t\r\n{host}\r\n"), Malformed),
            (format!("GET / HTTP/1.1\r\nnocolon\r\n{host}\r\n"), Malformed),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n".to_owned(), OtherHost),
            ("GET / HTTP/1.1\r\nHost: a@b.example\r\n\r\n".to_owned(), OtherHost),
            ("GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n".to_owned(), OtherHost),
            ("GET / HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n".to_owned(), OtherHost),
            ("GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n".to_owned(), OtherHost),
            (format!("GET http://b.example/ HTTP/1.1\r\n{host}\r\n"), Malformed),
            (format!("GET http://a.example@b.example/ HTTP/1.1\r\n{host}\r\n"), OtherHost),
            (format!("GET http://a.example\\b/ HTTP/1.1\r\n{host}\r\n"), Reason::PolicyChanged),
            (format!("GET https://a.example/ HTTP/1.1\r\n{host}\r\n"), Malformed),
            (format!("GET a.example/ HTTP/1.1\r\n{host}\r\n"), Malformed),
            (format!("CONNECT a.example:443 HTTP/1.1\r\n{host}\r\n"), OtherProtocol),
            (format!("connect a.example:443 HTTP/1.1\r\n{host}\r\n"), OtherProtocol),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), OtherProtocol),
            ("GET /\r\n".to_owned(), OtherProtocol),
            (format!("GET / HTTP/1.1 \r\n{host}\r\n"), OtherProtocol),
            (format!("GET  / HTTP/1.1\r\n{host}\r\n"), OtherProtocol),
            (format!("GET\t/ HTTP/1.1\r\n{host}\r\n"), OtherProtocol),
            (format!("GET / http/1.1\r\n{host}\r\n"), OtherProtocol),
            (
                format!("P / HTTP/1.1\r\n{host}Content-Length: 1\r\nContent-Length: 1\r\n\r\n"),
                Malformed,
            ),
            (format!("P / HTTP/1.1\r\n{host}Content-Length: +1\r\n\r\n"), Malformed),
            (format!("P / HTTP/1.1\r\n{host}Content-Length: 1, 1\r\n\r\n"), Malformed),
            (
                format!("P / HTTP/1.1\r\n{host}Content-Length: 99999999999999999999\r\n\r\n"),
                Malformed,
            ),
            (
                format!(
                    "P / HTTP/1.1\r\n{host}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
                ),
                Malformed,
            ),
            (format!("P / HTTP/1.1\r\n{host}Transfer-Encoding: gzip, chunked\r\n\r\n"), Malformed),
            (format!("P / HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n"), Malformed),
            (
                format!("P / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n5\nHello"),
                Malformed,
            ),
            (format!("P / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1\r\naX"), Malformed),
            (format!("P / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n\r\n"), Malformed),
            (
                format!("P / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1234567890123456"),
                Malformed,
            ),
            (format!("GET / HTTP/1.1\r\n{host}X: {}\r\n\r\n", "x".repeat(17000)), Malformed),
            (format!("{}GET / HTTP/1.1\r\n{host}\r\n", "\r\n".repeat(5)), Malformed),
            (format!("\nGET / HTTP/1.1\r\n{host}\r\n"), Malformed),
            (format!("\rGET / HTTP/1.1\r\n{host}\r\n"), Malformed),
        ] {
            for port in [80, 8080] {
                let seen = feed_on(port, &[request.as_bytes()]);
                if reason == Reason::PolicyChanged {
                    // Not refused, but read as the server that is named reads it.
                    assert_eq!(seen.unwrap().1, ["a.example"], "{request:?}");
                } else {
                    assert_eq!(
                        seen.map_err(|violation| violation.reason),
                        Err(reason),
                        "{request:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn ports_80_and_443_are_for_what_they_are_for() {
        for (port, bytes) in [
            (80, &b"SSH-2.0-x y\r\n"[..]),
            (443, b"SSH"),
            (443, b"GET / HTTP/1.1\r\n"),
            (80, b"\0"),
        ] {
            let violation = feed_on(port, &[bytes]).unwrap_err();
            assert_eq!(violation.reason, Reason::OtherProtocol, "{port}");
        }
    }

    #[test]
    fn other_protocols_pass_on_other_ports() {
        let git = b"0032git-upload-pack /x.git\0host=a.example\0";
        for bytes in [
            &b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"[..],
            b"EHLO me\r\n",
            b"USER x\r\n",
            b"CONNECT {\"verbose\":false}\r\n",
            b"get key\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"STOMP\n",
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"RFB 003.008\n",
            b"@RSYNCD: 31.0\n",
            git,
        ] {
            for split in 0..=bytes.len() {
                let (passed, names) = feed_on(2222, &[&bytes[..split], &bytes[split..]]).unwrap();
                assert_eq!(passed, bytes, "{split} of {bytes:?}");
                assert!(names.is_empty());
            }
        }
    }

    /// Found by the fuzzer: in pieces it was one thing, and at once another.
    #[test]
    fn a_line_is_judged_up_to_its_first_binary_byte() {
        let bytes = b"FOO\t\x00\x0b HTTP/k\n";
        for split in 0..=bytes.len() {
            let (passed, _) = feed_on(8080, &[&bytes[..split], &bytes[split..]]).unwrap();
            assert_eq!(passed, bytes, "{split}");
        }
    }

    #[test]
    fn a_held_line_passes_at_the_end_unless_it_is_a_request() {
        let mut check = |_, _: &DomainName| Ok(());
        let mut inspector = Inspector::new(2222);
        assert_eq!(inspector.advance(b"QUIT", &mut check), Ok(0));
        assert_eq!(inspector.end(b"QUIT", &mut check), Ok(4));
        let mut inspector = Inspector::new(2222);
        let request = b"FOO / HTTP/1.1";
        assert_eq!(inspector.advance(request, &mut check), Ok(0));
        assert!(inspector.end(request, &mut check).is_err());
        assert!(Inspector::new(80).end(b"QUIT", &mut check).is_err());
        assert_eq!(Inspector::new(80).end(b"", &mut check), Ok(0));
        assert!(Inspector::new(443).end(&[0x16, 3, 1], &mut check).is_err());
    }

    fn upgrade(protocol: &str, answer: &[&[u8]]) -> Result<(usize, usize), Violation> {
        let mut check = |_, _: &DomainName| Ok(());
        let mut inspector = Inspector::new(80);
        let request = format!(
            "GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: {protocol}\r\n\r\n\x01\x05hello"
        );
        let first = inspector.advance(request.as_bytes(), &mut check)?;
        let rest = &request.as_bytes()[first..];
        assert!(inspector.awaits_answer());
        assert_eq!(inspector.advance(rest, &mut check), Ok(0));
        for piece in answer {
            inspector.answer(piece)?;
        }
        Ok((rest.len(), inspector.advance(rest, &mut check)?))
    }

    #[test]
    fn another_protocol_begins_only_with_the_answer() {
        let answer = b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 101 Switching\r\n\r\n";
        assert_eq!(upgrade("websocket", &[answer]), Ok((7, 7)));
        let single: Vec<&[u8]> = answer.chunks(1).collect();
        assert_eq!(upgrade("websocket", &single), Ok((7, 7)));
        // Refused, what follows is another request, and this is none.
        assert!(upgrade("websocket", &[b"HTTP/1.1 200 OK\r\n\r\n"]).is_err());
        assert!(upgrade("websocket", &[b"SSH-2.0"]).is_err());
        for protocol in ["h2c", "H2C", "websocket, h2c", "TLS/1.2", "HTTP/2.0"] {
            let violation = upgrade(protocol, &[answer]).unwrap_err();
            assert_eq!(violation.reason, Reason::OtherProtocol);
        }
    }

    #[test]
    fn an_upgrade_that_is_declined_harms_nothing() {
        let mut check = |_, _: &DomainName| Ok(());
        let mut inspector = Inspector::new(80);
        let request = b"GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: h2c\r\n\r\n";
        assert_eq!(inspector.advance(request, &mut check), Ok(request.len()));
        inspector.answer(b"HTTP/1.1 200 OK\r\n").unwrap();
        let next = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
        assert_eq!(inspector.advance(next, &mut check), Ok(next.len()));
        assert!(inspector.advance(request, &mut check).is_err());
    }

    #[test]
    fn an_answer_before_the_request_decides_nothing() {
        let mut check = |_, _: &DomainName| Ok(());
        let request = b"GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: x\r\n\r\n";
        for split in [0, 1, 30] {
            let mut inspector = Inspector::new(80);
            inspector.advance(&request[..split], &mut check).unwrap();
            inspector.answer(b"HTTP/1.1 101 \r\n\r\n").unwrap();
            assert!(inspector.advance(request, &mut check).is_err(), "{split}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes: Vec<u8>, cut in 1usize..20, port in prop::sample::select(vec![80u16, 443, 8080])) {
            let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
            let (at_once, in_pieces) = (feed_on(port, &[&bytes]), feed_on(port, &pieces));
            prop_assert_eq!(at_once.is_ok(), in_pieces.is_ok());
        }

        #[test]
        fn a_changed_request_is_the_same_in_pieces(at in 0usize..400, byte: u8, cut in 1usize..50) {
            let mut bytes = TWO.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
            let (at_once, in_pieces) = (feed_on(8080, &[&bytes]), feed_on(8080, &pieces));
            prop_assert_eq!(at_once.as_ref().ok(), in_pieces.as_ref().ok());
        }
    }
}
