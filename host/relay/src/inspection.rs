//! What a guest sends first, where only a name let its connection through.
//!
//! An address may belong to many names, and a rule names one: what TLS and HTTP say of the name they
//! want must be what was allowed. Owns which bytes may pass when. Pure: it is fed what is held and
//! says how much of it is cleared, or what is wrong with it. Refuses to know policies and sockets.
//!
//! ```text
//!            0x16                        every hello's name fits
//!  First ───────────> TLS ───────────────────────────────────────> opaque
//!    │   a request                        101 to the first request
//!    ├──────────────> HTTP (each request's host) ─────────────────> opaque
//!    │   anything else, but not on 80 and 443
//!    └────────────────────────────────────────────────────────────> opaque
//! ```

use crate::{
    domain::DomainName,
    hello::Tls,
    http::{Http, MOST_BLANK, is_token},
    policy::Reason,
};

/// The most bytes that are held before something is said about them. A ClientHello in many records
/// is the longest.
pub const MOST_HELD: usize = 24 * 1024;

/// The longest first line of what may be HTTP, in bytes.
const LONGEST_LINE: usize = 8 * 1024;

/// Where a name was said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// In a ClientHello.
    ServerName,
    /// In a request.
    Host,
}

/// Says whether a name may be claimed.
pub type Check<'a> = &'a mut dyn FnMut(Claim, &DomainName) -> Result<(), Violation>;

/// Why what was sent does not pass.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which kind.
    pub reason: Reason,
    /// In a sentence.
    pub why: String,
    /// The name that it was about.
    pub name: Option<DomainName>,
}

impl Violation {
    pub(crate) fn new(reason: Reason, why: impl Into<String>) -> Self {
        Self { reason, why: why.into(), name: None }
    }

    pub(crate) fn malformed(why: &str) -> Self {
        Self::new(Reason::Malformed, why)
    }

    pub(crate) fn no_server_name() -> Self {
        Self::new(Reason::NoServerName, "its ClientHello does not say for which name (no SNI)")
    }
}

/// Watches one connection.
#[derive(Debug)]
pub struct Inspector {
    port: u16,
    stage: Stage,
    /// How much of what is held was looked at.
    seen: usize,
    /// Whether the server has spoken.
    answered: bool,
}

#[derive(Debug)]
enum Stage {
    First,
    Tls(Tls),
    Http(Http),
    Opaque,
}

/// What the first bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum First {
    Tls,
    Http,
    Other,
}

impl Inspector {
    /// For a connection to a port.
    pub fn new(port: u16) -> Self {
        Self { port, stage: Stage::First, seen: 0, answered: false }
    }

    /// Whether nothing more is looked at: whatever comes, passes.
    pub fn is_opaque(&self) -> bool {
        matches!(self.stage, Stage::Opaque)
    }

    /// Looks at what is held, which begins with the first byte that was not cleared yet, and says
    /// how many of its bytes may pass. Those must be gone when it is called again.
    pub fn advance(&mut self, held: &[u8], check: Check<'_>) -> Result<usize, Violation> {
        if matches!(self.stage, Stage::First) {
            let Some(first) = sniff(held, self.port, false) else { return Ok(0) };
            self.decide(first)?;
        }
        let mut seen = self.seen;
        let cleared = match &mut self.stage {
            Stage::First | Stage::Opaque => held.len(),
            Stage::Tls(tls) => tls.advance(held, &mut seen, check)?,
            Stage::Http(http) => http.advance(held, &mut seen, check)?,
        };
        self.seen = seen.saturating_sub(cleared);
        if matches!(&self.stage, Stage::Tls(tls) if tls.is_opaque()) {
            self.stage = Stage::Opaque;
        }
        if held.len() - cleared > MOST_HELD && !self.awaits_answer() {
            return Err(Violation::malformed("too much comes before it says for which name"));
        }
        Ok(cleared)
    }

    /// Whether nothing passes, nor is looked at, until the server has answered.
    pub fn awaits_answer(&self) -> bool {
        matches!(&self.stage, Stage::Http(http) if http.awaits_answer())
    }

    /// The guest sends no more: what is still held passes, or it never will.
    pub fn end(&mut self, held: &[u8], check: Check<'_>) -> Result<usize, Violation> {
        if matches!(self.stage, Stage::First) {
            if held.is_empty() {
                return Ok(0);
            }
            self.decide(sniff(held, self.port, true).unwrap_or(First::Other))?;
        }
        let cleared = self.advance(held, check)?;
        if cleared == held.len() {
            return Ok(cleared);
        }
        match &self.stage {
            Stage::Http(_) if self.awaits_answer() => Ok(cleared),
            Stage::Tls(tls) if !tls.is_within_hello() => Ok(held.len()),
            _ => Err(Violation::malformed("it ends before it says for which name")),
        }
    }

    /// The server says something: it may agree to another protocol.
    pub fn answer(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let is_first = !self.answered;
        self.answered = true;
        match &mut self.stage {
            Stage::Http(http) => {
                if http.answer(bytes, is_first)? {
                    self.stage = Stage::Opaque;
                }
            }
            Stage::First | Stage::Tls(_) | Stage::Opaque => {}
        }
        Ok(())
    }

    fn decide(&mut self, first: First) -> Result<(), Violation> {
        self.stage = match (first, self.port) {
            (First::Tls, _) => Stage::Tls(Tls::new()),
            (_, 443) => {
                return Err(Violation::new(
                    Reason::OtherProtocol,
                    "port 443 is for TLS, and it sends something else",
                ));
            }
            (First::Http, _) => Stage::Http(Http::new(self.answered)),
            (First::Other, 80) => {
                return Err(Violation::new(
                    Reason::OtherProtocol,
                    "port 80 is for HTTP, and it sends something else",
                ));
            }
            (First::Other, _) => Stage::Opaque,
        };
        self.seen = 0;
        Ok(())
    }
}

/// What some first bytes are; none where more is needed to tell.
///
/// HTTP is what any server would take for it, not only what is right: a line with a word first and
/// `HTTP/` behind white space somewhere. Protocols that begin with a line of text (SSH, SMTP, FTP)
/// wait for its end, and others are told from their first byte that no such line has.
fn sniff(held: &[u8], port: u16, is_end: bool) -> Option<First> {
    let first = *held.first()?;
    if first == 0x16 {
        return Some(First::Tls);
    }
    if port == 443 {
        return Some(First::Other);
    }
    // Servers skip empty lines before a request (RFC 9112, 2.2).
    let blank = held.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    if blank > MOST_BLANK {
        return Some(First::Http);
    }
    let text = &held[blank..];
    let word = text.iter().take_while(|byte| is_token(**byte)).count();
    let line = text.iter().position(|byte| *byte == b'\n');
    let is_whole = is_end || line.is_some() || held.len() >= LONGEST_LINE;
    let Some(next) = text.get(word) else {
        // Nothing but a word so far.
        return is_whole.then_some(First::Other);
    };
    if word == 0 || !is_space(*next) {
        return Some(First::Other);
    }
    let method = &text[..word];
    if let Some(target) = text.get(word + 1)
        && METHODS.contains(&method)
        && matches!(target, b'/' | b'*' | b'h' | b'H')
    {
        return Some(First::Http);
    }
    let end = line.unwrap_or(text.len());
    let line = &text[..end];
    // What stands behind a byte that no line has does not count: it is decided as soon as that comes.
    let binary = line.iter().position(|byte| (*byte < b' ' || *byte == 0x7f) && !is_space(*byte));
    let is_request = line[..binary.unwrap_or(line.len())]
        .windows(6)
        .any(|window| is_space(window[0]) && window[1..].eq_ignore_ascii_case(b"HTTP/"));
    if is_request {
        return Some(First::Http);
    }
    if binary.is_some() {
        return Some(First::Other);
    }
    // A first line without an end is what a server might still take for a request.
    is_whole.then_some(if held.len() >= LONGEST_LINE { First::Http } else { First::Other })
}

const METHODS: [&[u8]; 9] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"PATCH", b"PROPFIND"];

/// What lenient servers take for white space in a request line (RFC 9112, 3).
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | b'\r')
}
