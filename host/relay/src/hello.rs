//! The names in TLS's first messages (RFC 8446, 4.1.2; RFC 6066, 3).
//!
//! Owns the reading of a client's plaintext records: the ClientHello, and the second one that a
//! HelloRetryRequest asks for. Refuses to know which names are right, and anything that is encrypted.
//!
//! An encrypted ClientHello (ECH) has its inner name out of sight: what is read is the outer one,
//! that of the server that opens it.

use crate::{
    domain::DomainName,
    inspection::{Check, Claim, Violation},
};

/// The longest ClientHello that is put together, in bytes. With post-quantum key shares they have
/// about 2,000.
const LONGEST_HELLO: usize = 16 * 1024 - 4;
/// The most records that one is cut into.
const MOST_RECORDS: usize = 64;
/// The longest plaintext record (RFC 8446, 5.1).
const LONGEST_RECORD: usize = 16 * 1024;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const CLIENT_HELLO: u8 = 1;

/// Follows what a TLS client sends until it is encrypted.
#[derive(Debug)]
pub(crate) struct Tls {
    step: Step,
    /// The handshake message that is put together.
    hello: Vec<u8>,
    /// Records that it came in.
    records: usize,
    /// Whether a hello was let through.
    is_known: bool,
    /// Whether that one announced data before the handshake's end (0-RTT): then encrypted records
    /// may come before a second hello.
    early_data: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Header,
    /// Into the hello, so many bytes of the record more.
    Hello(usize),
    /// Past, so many bytes of the record more.
    Skip(usize),
    /// Nothing more is looked at.
    Opaque,
}

impl Tls {
    pub fn new() -> Self {
        Self {
            step: Step::Header,
            hello: Vec::new(),
            records: 0,
            is_known: false,
            early_data: false,
        }
    }

    /// Whether nothing more is looked at.
    pub fn is_opaque(&self) -> bool {
        matches!(self.step, Step::Opaque)
    }

    /// Whether a hello has begun that is not complete.
    pub fn is_within_hello(&self) -> bool {
        !self.is_known || !self.hello.is_empty()
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
            let rest = &held[*seen..];
            match self.step {
                Step::Opaque => {
                    *seen = held.len();
                    return Ok(held.len());
                }
                Step::Header => {
                    // A header, and of a later handshake record as much as tells a hello apart.
                    let Some(header) = rest.first_chunk::<5>() else { return Ok(clear) };
                    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
                    match self.record(header[0], header[1], length, &rest[5..])? {
                        Some(step) => self.step = step,
                        None => return Ok(clear),
                    }
                    if !self.is_opaque() {
                        *seen += 5;
                    }
                }
                Step::Skip(left) => {
                    let taken = left.min(rest.len());
                    *seen += taken;
                    clear = *seen;
                    if taken < left {
                        self.step = Step::Skip(left - taken);
                        return Ok(clear);
                    }
                    self.step = Step::Header;
                }
                Step::Hello(left) => {
                    let taken = left.min(rest.len());
                    self.hello.extend_from_slice(&rest[..taken]);
                    *seen += taken;
                    let is_complete = self.check(left == taken, check)?;
                    if is_complete {
                        clear = *seen;
                    }
                    if taken < left {
                        self.step = Step::Hello(left - taken);
                        return Ok(clear);
                    }
                    self.step = Step::Header;
                }
            }
        }
    }

    /// What to do with a record; none where too little of it has come to tell.
    fn record(
        &mut self,
        kind: u8,
        major: u8,
        length: usize,
        body: &[u8],
    ) -> Result<Option<Step>, Violation> {
        if !self.is_within_hello() {
            let is_hello = match kind {
                HANDSHAKE => {
                    if length == 0 {
                        return Err(Violation::malformed("its TLS has an empty handshake record"));
                    }
                    let needed = length.min(4);
                    if body.len() < needed {
                        return Ok(None);
                    }
                    // Under a cipher the same bytes are random: that they look like the head of a
                    // hello, by chance, happens once in 200,000 connections.
                    let size = body[..needed].get(1..4).map_or(0, size);
                    body.first() == Some(&CLIENT_HELLO) && size <= LONGEST_HELLO
                }
                CHANGE_CIPHER_SPEC | ALERT => return Ok(Some(Step::Skip(length))),
                APPLICATION_DATA if self.early_data => return Ok(Some(Step::Skip(length))),
                _ => false,
            };
            if !is_hello {
                return Ok(Some(Step::Opaque));
            }
            self.records = 0;
        }
        if kind != HANDSHAKE || major != 3 || length == 0 || length > LONGEST_RECORD {
            return Err(Violation::malformed("its TLS begins with no ClientHello"));
        }
        self.records += 1;
        if self.records > MOST_RECORDS {
            return Err(Violation::malformed("its ClientHello is cut into too many records"));
        }
        Ok(Some(Step::Hello(length)))
    }

    /// Checks the hello where it is complete, and says whether it is.
    fn check(&mut self, ends_record: bool, check: Check<'_>) -> Result<bool, Violation> {
        if self.hello.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(Violation::malformed("its TLS begins with no ClientHello"));
        }
        let Some(length) = self.hello.get(1..4).map(size) else { return Ok(false) };
        if length > LONGEST_HELLO {
            return Err(Violation::malformed("its ClientHello is too long"));
        }
        let Some(body) = self.hello.get(4..4 + length) else { return Ok(false) };
        if !ends_record || self.hello.len() > 4 + length {
            return Err(Violation::malformed("something follows its ClientHello at once"));
        }
        let hello =
            read(body).ok_or_else(|| Violation::malformed("its ClientHello is malformed"))?;
        match hello.server_name {
            ServerName::None => return Err(Violation::no_server_name()),
            ServerName::Invalid => {
                return Err(Violation::malformed("its ClientHello's server name is none"));
            }
            ServerName::Name(name) => check(Claim::ServerName, &name)?,
        }
        self.early_data = hello.early_data;
        self.is_known = true;
        self.hello = Vec::new();
        Ok(true)
    }
}

fn size(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |size, byte| size << 8 | usize::from(*byte))
}

/// What of a ClientHello counts.
#[derive(PartialEq, Eq, Debug)]
struct Hello {
    server_name: ServerName,
    early_data: bool,
}

#[derive(PartialEq, Eq, Debug)]
enum ServerName {
    None,
    Invalid,
    Name(DomainName),
}

const SERVER_NAME: u16 = 0;
const EARLY_DATA: u16 = 42;

/// Reads a ClientHello without its header; none where it is malformed.
fn read(body: &[u8]) -> Option<Hello> {
    let mut hello = Hello { server_name: ServerName::None, early_data: false };
    let mut rest = body;
    take(&mut rest, 2 + 32)?;
    let session = vector(&mut rest, 1)?;
    let ciphers = vector(&mut rest, 2)?;
    let compressions = vector(&mut rest, 1)?;
    if session.len() > 32 || ciphers.is_empty() || ciphers.len() % 2 != 0 || compressions.is_empty()
    {
        return None;
    }
    if rest.is_empty() {
        return Some(hello);
    }
    let mut extensions = vector(&mut rest, 2)?;
    if !rest.is_empty() {
        return None;
    }
    while !extensions.is_empty() {
        let kind = size(take(&mut extensions, 2)?);
        let content = vector(&mut extensions, 2)?;
        if kind == usize::from(SERVER_NAME) {
            if hello.server_name != ServerName::None {
                return None;
            }
            hello.server_name = server_name(content)?;
        }
        hello.early_data |= kind == usize::from(EARLY_DATA);
    }
    Some(hello)
}

/// The one entry of a list of server names.
fn server_name(mut content: &[u8]) -> Option<ServerName> {
    let mut list = vector(&mut content, 2)?;
    let kind = take(&mut list, 1)?;
    let name = vector(&mut list, 2)?;
    if !content.is_empty() || !list.is_empty() || kind != [0] {
        return None;
    }
    let name = std::str::from_utf8(name).ok().and_then(|name| DomainName::parse(name).ok());
    Some(name.map_or(ServerName::Invalid, ServerName::Name))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

/// Bytes behind their length, which has so many bytes itself.
fn vector<'a>(rest: &mut &'a [u8], length_bytes: usize) -> Option<&'a [u8]> {
    let length = size(take(rest, length_bytes)?);
    take(rest, length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        policy::Reason::{Malformed, NoServerName},
        samples::{client_hello, records},
    };

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    /// Feeds pieces as a connection does, and says what passed and which names were claimed.
    fn feed(pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<String>, bool), Violation> {
        let (mut tls, mut held, mut seen) = (Tls::new(), Vec::new(), 0);
        let (mut passed, mut names) = (Vec::new(), Vec::new());
        for piece in pieces {
            held.extend_from_slice(piece);
            let mut check = |_, name: &DomainName| {
                names.push(name.to_string());
                Ok(())
            };
            let clear = tls.advance(&held, &mut seen, &mut check)?;
            passed.extend(held.drain(..clear));
            seen -= clear;
        }
        Ok((passed, names, tls.is_opaque()))
    }

    fn one(bytes: &[u8]) -> Result<(Vec<u8>, Vec<String>, bool), Violation> {
        feed(&[bytes])
    }

    #[test]
    fn the_name_is_found_at_every_split() {
        let mut bytes = records(&client_hello(Some("www.example.com"), &[]), 70);
        bytes.extend([0x17, 3, 3, 0, 2, 9, 9, 0x17, 3, 3]);
        for split in 0..=bytes.len() {
            let (passed, names, is_opaque) = feed(&[&bytes[..split], &bytes[split..]]).unwrap();
            assert_eq!(passed, bytes, "{split}");
            assert_eq!(names, ["www.example.com"]);
            assert!(is_opaque);
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(feed(&single).unwrap().0, bytes);
    }

    #[test]
    fn nothing_passes_before_the_name() {
        let bytes = records(&client_hello(Some("www.example.com"), &[]), 50);
        let (passed, names, _) = one(&bytes[..bytes.len() - 1]).unwrap();
        assert!(passed.is_empty() && names.is_empty());
    }

    #[test]
    fn a_second_hello_is_read_too() {
        let first = records(&client_hello(Some("a.example"), &[]), 16000);
        let second = records(&client_hello(Some("b.example"), &[]), 40);
        let change = [0x14, 3, 3, 0, 1, 1];
        for between in [&[][..], &change[..]] {
            let bytes = [&first[..], between, &second[..]].concat();
            for split in 0..=bytes.len() {
                let (_, names, _) = feed(&[&bytes[..split], &bytes[split..]]).unwrap();
                assert_eq!(names, ["a.example", "b.example"]);
            }
        }
        // Early data that the server refuses comes in between.
        let early = records(&client_hello(Some("a.example"), &[(42, &[])]), 16000);
        let bytes = [&early[..], &[0x17, 3, 3, 0, 1, 7][..], &second[..]].concat();
        assert_eq!(one(&bytes).unwrap().1, ["a.example", "b.example"]);
    }

    #[test]
    fn what_is_encrypted_later_passes() {
        let hello = records(&client_hello(Some("a.example"), &[]), 16000);
        let exchange = [0x16, 3, 3, 0, 5, 16, 0, 0, 1, 9];
        let bytes = [&hello[..], &exchange[..], &[1, 2, 3][..]].concat();
        let (passed, _, is_opaque) = one(&bytes).unwrap();
        assert!(is_opaque && passed == bytes);
    }

    #[test]
    fn grease_and_encrypted_hellos_have_an_outer_name() {
        let extensions: &[(u16, &[u8])] = &[(0x0a0a, &[]), (0xfe0d, &[0; 200]), (0x1a1a, &[0])];
        let bytes = records(&client_hello(Some("outer.example"), extensions), 16000);
        assert_eq!(one(&bytes).unwrap().1, ["outer.example"]);
    }

    #[test]
    fn a_hello_without_a_right_name_is_refused() {
        let reason = |bytes: &[u8]| one(bytes).unwrap_err().reason;
        assert_eq!(reason(&records(&client_hello(None, &[]), 16000)), NoServerName);
        assert_eq!(reason(&records(&client_hello(Some("1.2.3.4"), &[]), 16000)), Malformed);
        assert_eq!(reason(&records(&client_hello(Some(""), &[]), 16000)), Malformed);
        assert_eq!(reason(&records(&client_hello(Some("a\0b"), &[]), 16000)), Malformed);
        // Two of them.
        let list = [0, 6, 0, 0, 3, b'a', b'.', b'b'];
        let twice = client_hello(Some("a.example"), &[(0, &list)]);
        assert_eq!(reason(&records(&twice, 16000)), Malformed);
        let two = [0, 12, 0, 0, 3, b'a', b'.', b'b', 0, 0, 3, b'c', b'.', b'd'];
        assert_eq!(reason(&records(&client_hello(None, &[(0, &two)]), 16000)), Malformed);
        // Too many records, and records that are none.
        let hello = client_hello(Some("a.example"), &[(7, &[0; 100])]);
        assert_eq!(reason(&records(&hello, 1)), Malformed);
        assert_eq!(reason(&[0x16, 2, 0, 0, 5, 1, 0, 0, 1, 0]), Malformed);
        assert_eq!(reason(&[0x16, 3, 1, 0, 0]), Malformed);
        assert_eq!(reason(&[0x16, 3, 1, 0, 4, 2, 0, 0, 0]), Malformed);
        assert_eq!(reason(&[0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]), Malformed);
        // Something behind it in its record.
        let mut padded = hello.clone();
        padded.push(1);
        assert_eq!(reason(&records(&padded, 16000)), Malformed);
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes: Vec<u8>, cut in 1usize..20) {
            let whole = [&[0x16, 3, 1][..], &bytes].concat();
            let pieces: Vec<&[u8]> = whole.chunks(cut).collect();
            let (at_once, in_pieces) = (one(&whole), feed(&pieces));
            prop_assert_eq!(at_once.map(|(_, names, _)| names), in_pieces.map(|(_, names, _)| names));
        }

        #[test]
        fn a_changed_hello_breaks_nothing(at in 0usize..300, byte: u8) {
            let mut hello = client_hello(Some("www.example.com"), &[(7, &[1; 60])]);
            let at = at % hello.len();
            hello[at] = byte;
            let _ = one(&records(&hello, 100));
        }
    }

    #[test]
    fn names_are_read_in_one_spelling() {
        let bytes = records(&client_hello(Some("WWW.Example.com."), &[]), 16000);
        assert_eq!(one(&bytes).unwrap().1, [name("www.example.com").to_string()]);
    }
}
