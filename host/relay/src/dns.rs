//! Messages of the domain name system (RFC 1035), between a guest's resolver and the relay.
//!
//! Owns what a query is and how each answer is written. Refuses to know names' addresses and
//! policies. Pure, and every message comes from a stranger.
//!
//! Only addresses (A, AAAA) and, for addresses that it gave, names (PTR) are ever told. Every other
//! type of a name that may be looked up has no data: so there is nothing to hide in, and no record
//! (HTTPS, SVCB) brings the keys of an encrypted ClientHello.

use std::net::IpAddr;

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, PTR, opt::EdnsOption},
    },
};

use crate::{domain::DomainName, policy::Denial};

/// How a query came, and so how long its answer may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// A datagram: 512 bytes, or what the query says it takes, up to 1,232.
    Udp,
    /// A stream, without the two bytes of length.
    Tcp,
}

/// The longest query that is read, in bytes.
const LONGEST_QUERY: usize = 4096;
/// The longest answer in a datagram (what passes every network unfragmented), in bytes.
const LONGEST_DATAGRAM: u16 = 1232;
/// Extended DNS errors (RFC 8914): the option and its code for "blocked".
const EXTENDED_ERROR: u16 = 15;
const BLOCKED: [u8; 2] = 15u16.to_be_bytes();

/// What a message asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Nothing that deserves an answer.
    Nothing,
    /// Something whose answer is known.
    Known(Vec<u8>),
    /// A question.
    Question(Question),
}

/// A question of the Internet's class.
#[derive(Debug)]
pub(crate) struct Question {
    query: Query,
    id: u16,
    recursion_desired: bool,
    has_edns: bool,
    limit: usize,
    /// The name; none where it is none of a host.
    pub name: Option<DomainName>,
    /// What is asked of it.
    pub kind: Kind,
}

/// What is asked of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// The name of an address.
    NameOf(IpAddr),
    /// Something that is not told.
    Other,
}

/// What a question is answered with.
#[derive(Debug)]
pub(crate) enum Answer<'a> {
    /// Addresses, of which those of the kind that was asked for are told; how long they may be kept,
    /// in seconds.
    Addresses(&'a [IpAddr], u32),
    /// A name; how long it may be kept, in seconds.
    Name(&'a DomainName, u32),
    /// There is no such name.
    NoName,
    /// It may not be asked. Told as if there were no such name, since some resolvers (musl's) take
    /// "refused" for no answer and wait; the reason stands beside it.
    Denied(&'a Denial),
    /// It could not be found out.
    Failed,
}

/// Reads a message.
pub(crate) fn read(bytes: &[u8], transport: Transport) -> Asked {
    let Some(header) = bytes.first_chunk::<12>() else { return Asked::Nothing };
    let is_response = header[2] & 0x80 != 0;
    if is_response {
        return Asked::Nothing;
    }
    let known = |code: ResponseCode| Asked::Known(bare(header, code));
    if header[2] & 0x78 != 0 {
        return known(ResponseCode::NotImp);
    }
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let is_simple = count(4) == 1 && count(6) == 0 && count(8) == 0 && count(10) <= 2;
    if !is_simple || bytes.len() > LONGEST_QUERY {
        return known(ResponseCode::FormErr);
    }
    let Ok(mut message) = Message::from_vec(bytes) else { return known(ResponseCode::FormErr) };
    let (Some(query), true) = (message.queries.pop(), message.queries.is_empty()) else {
        return known(ResponseCode::FormErr);
    };
    let payload = message.edns.as_ref().map(Edns::max_payload);
    let limit = match transport {
        Transport::Udp => payload.unwrap_or(512).clamp(512, LONGEST_DATAGRAM),
        Transport::Tcp => u16::MAX,
    };
    let question = Question {
        id: message.metadata.id,
        recursion_desired: message.metadata.recursion_desired,
        has_edns: message.edns.is_some(),
        limit: usize::from(limit),
        name: host_name(query.name()),
        kind: Kind::Other,
        query,
    };
    if message.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        return Asked::Known(question.write(ResponseCode::BADVERS, Vec::new(), None));
    }
    let refused = || Asked::Known(question.write(ResponseCode::Refused, Vec::new(), None));
    if question.query.query_class() != DNSClass::IN {
        return refused();
    }
    let kind = match question.query.query_type() {
        RecordType::A => Kind::A,
        RecordType::AAAA => Kind::Aaaa,
        RecordType::PTR => match question.query.name().parse_arpa_name() {
            Ok(network) if network.prefix_len() == network.max_prefix_len() => {
                Kind::NameOf(network.addr())
            }
            _ => Kind::Other,
        },
        RecordType::ANY | RecordType::AXFR | RecordType::IXFR => return refused(),
        _ => Kind::Other,
    };
    Asked::Question(Question { kind, ..question })
}

/// A header and nothing else.
fn bare(query: &[u8; 12], code: ResponseCode) -> Vec<u8> {
    let mut reply = [0; 12];
    reply[..2].copy_from_slice(&query[..2]);
    // A response, with the operation and the wish for recursion of the query.
    reply[2] = 0x80 | (query[2] & 0x79);
    reply[3] = 0x80 | code.low();
    reply.to_vec()
}

/// A host's name, where the labels are those of one. A label may hold any byte, a dot too.
fn host_name(name: &Name) -> Option<DomainName> {
    let mut text = String::new();
    for label in name {
        let is_plain =
            label.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
        if !is_plain {
            return None;
        }
        text.push_str(std::str::from_utf8(label).ok()?);
        text.push('.');
    }
    DomainName::parse(&text).ok()
}

impl Question {
    /// The name as it was asked for, for people.
    pub fn shown(&self) -> String {
        self.name.as_ref().map_or_else(|| self.query.name().to_ascii(), ToString::to_string)
    }

    /// Writes an answer.
    pub fn answer(&self, answer: &Answer<'_>) -> Vec<u8> {
        let record = |ttl, data| Record::from_rdata(self.query.name().clone(), ttl, data);
        match answer {
            Answer::Addresses(addresses, ttl) => {
                let of_kind = addresses.iter().filter_map(|address| match (address, self.kind) {
                    (IpAddr::V4(v4), Kind::A) => Some(RData::A(A(*v4))),
                    (IpAddr::V6(v6), Kind::Aaaa) => Some(RData::AAAA(AAAA(*v6))),
                    _ => None,
                });
                let records = of_kind.map(|data| record(*ttl, data)).collect();
                self.write(ResponseCode::NoError, records, None)
            }
            Answer::Name(name, ttl) => match Name::from_ascii(format!("{name}.")) {
                Ok(name) => {
                    let records = vec![record(*ttl, RData::PTR(PTR(name)))];
                    self.write(ResponseCode::NoError, records, None)
                }
                Err(_) => self.write(ResponseCode::NXDomain, Vec::new(), None),
            },
            Answer::NoName => self.write(ResponseCode::NXDomain, Vec::new(), None),
            Answer::Denied(denial) => self.write(ResponseCode::NXDomain, Vec::new(), Some(denial)),
            Answer::Failed => self.write(ResponseCode::ServFail, Vec::new(), None),
        }
    }

    fn write(&self, code: ResponseCode, answers: Vec<Record>, why: Option<&Denial>) -> Vec<u8> {
        let mut message = Message::new(self.id, MessageType::Response, OpCode::Query);
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.recursion_available = true;
        message.metadata.response_code = code;
        message.add_query(self.query.clone());
        message.insert_answers(answers);
        if self.has_edns {
            let mut edns = Edns::new();
            edns.set_max_payload(LONGEST_DATAGRAM);
            edns.set_rcode_high(code.high());
            if let Some(why) = why {
                let hint = why.hint.as_deref().map(|hint| format!("; {hint}"));
                let text = format!("{}{}", why.why, hint.unwrap_or_default());
                let text: Vec<u8> = text.bytes().take(200).collect();
                let option = EdnsOption::Unknown(EXTENDED_ERROR, [&BLOCKED[..], &text].concat());
                edns.options_mut().insert(option);
            }
            message.set_edns(edns);
        }
        match message.to_vec() {
            Ok(bytes) if bytes.len() <= self.limit => bytes,
            Ok(_) => {
                // Whole or not at all: a resolver asks again by a stream.
                message.metadata.truncation = true;
                message.answers.clear();
                message.edns = None;
                message.to_vec().unwrap_or_default()
            }
            Err(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::Reason;

    fn query(name: &str, kind: RecordType) -> Message {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message
    }

    fn question(message: &Message) -> Question {
        match read(&message.to_vec().unwrap(), Transport::Udp) {
            Asked::Question(question) => question,
            other => panic!("{other:?}"),
        }
    }

    fn code(bytes: &[u8]) -> ResponseCode {
        match read(bytes, Transport::Udp) {
            Asked::Known(reply) => {
                let reply = Message::from_vec(&reply).unwrap();
                assert_eq!(reply.metadata.message_type, MessageType::Response);
                reply.metadata.response_code
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_are_told_by_kind() {
        let addresses: Vec<IpAddr> = vec![[192, 0, 2, 1].into(), "2001:db8::1".parse().unwrap()];
        for (kind, count) in [(RecordType::A, 1), (RecordType::AAAA, 1), (RecordType::HTTPS, 0)] {
            let question = question(&query("WWW.Example.com.", kind));
            assert_eq!(question.name.as_ref().unwrap().as_str(), "www.example.com");
            let reply = question.answer(&Answer::Addresses(&addresses, 60));
            let reply = Message::from_vec(&reply).unwrap();
            assert_eq!(reply.metadata.id, 7);
            assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
            assert_eq!(reply.answers.len(), count);
            // As it was asked, letter by letter (0x20).
            assert_eq!(reply.queries[0].name().to_ascii(), "WWW.Example.com.");
        }
    }

    #[test]
    fn a_long_answer_is_left_for_a_stream() {
        let addresses: Vec<IpAddr> = (0..40).map(|n| [192, 0, 2, n].into()).collect();
        let message = query("www.example.com.", RecordType::A);
        let reply = question(&message).answer(&Answer::Addresses(&addresses, 60));
        assert!(reply.len() <= 512);
        let reply = Message::from_vec(&reply).unwrap();
        assert!(reply.metadata.truncation && reply.answers.is_empty());
        let bytes = message.to_vec().unwrap();
        let Asked::Question(question) = read(&bytes, Transport::Tcp) else { panic!() };
        let reply = question.answer(&Answer::Addresses(&addresses, 60));
        assert_eq!(Message::from_vec(&reply).unwrap().answers.len(), 40);
    }

    #[test]
    fn a_denial_says_why() {
        let mut message = query("www.example.com.", RecordType::A);
        let mut edns = Edns::new();
        edns.set_max_payload(4096);
        message.set_edns(edns);
        let denial = Denial {
            hint: Some("--allow www.example.com".to_owned()),
            ..Denial::new(Reason::NotAllowed, "no rule allows it")
        };
        let reply = question(&message).answer(&Answer::Denied(&denial));
        let text = String::from_utf8_lossy(&reply);
        assert!(text.contains("no rule allows it; --allow www.example.com"), "{text:?}");
        let reply = Message::from_vec(&reply).unwrap();
        assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    }

    #[test]
    fn what_is_not_asked_for_is_not_answered() {
        use ResponseCode::{BADVERS, FormErr, NotImp, Refused};
        let plain = query("a.example.", RecordType::A);
        assert_eq!(code(&query("a.example.", RecordType::ANY).to_vec().unwrap()), Refused);
        assert_eq!(code(&query("a.example.", RecordType::AXFR).to_vec().unwrap()), Refused);
        let mut chaos = query("version.bind.", RecordType::TXT);
        chaos.queries[0].set_query_class(DNSClass::CH);
        assert_eq!(code(&chaos.to_vec().unwrap()), Refused);
        let mut update = plain.clone();
        update.metadata.op_code = OpCode::Update;
        assert_eq!(code(&update.to_vec().unwrap()), NotImp);
        let mut two = plain.clone();
        two.add_query(plain.queries[0].clone());
        assert_eq!(code(&two.to_vec().unwrap()), FormErr);
        let bytes = plain.to_vec().unwrap();
        assert_eq!(code(&bytes[..bytes.len() - 1]), FormErr);
        assert_eq!(code(&[&bytes[..], &[0; 5000]].concat()), FormErr);
        let mut versioned = plain.clone();
        let mut edns = Edns::new();
        edns.set_version(1);
        versioned.set_edns(edns);
        // The code has two names.
        assert_eq!(u16::from(code(&versioned.to_vec().unwrap())), u16::from(BADVERS));
        let mut response = plain;
        response.metadata.message_type = MessageType::Response;
        assert!(matches!(read(&response.to_vec().unwrap(), Transport::Udp), Asked::Nothing));
        assert!(matches!(read(&bytes[..11], Transport::Udp), Asked::Nothing));
        assert!(matches!(read(&[], Transport::Udp), Asked::Nothing));
    }

    #[test]
    fn labels_of_any_bytes_are_no_host() {
        for labels in [&[&b"a.b"[..], b"example"][..], &[b"a\0", b"example"], &[b"\xff"], &[]] {
            let name = Name::from_labels(labels.iter().copied()).unwrap();
            assert_eq!(host_name(&name), None);
        }
    }

    #[test]
    fn reverse_names_are_addresses() {
        let kind = |name| question(&query(name, RecordType::PTR)).kind;
        assert_eq!(kind("1.2.0.192.in-addr.arpa."), Kind::NameOf([192, 0, 2, 1].into()));
        assert_eq!(kind("2.0.192.in-addr.arpa."), Kind::Other);
        assert_eq!(kind("example.com."), Kind::Other);
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes: Vec<u8>) {
            let _ = read(&bytes, Transport::Udp);
        }

        #[test]
        fn a_changed_query_breaks_nothing(at in 0usize..60, byte: u8) {
            let mut bytes = query("www.example.com.", RecordType::A).to_vec().unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Asked::Question(question) = read(&bytes, Transport::Udp) {
                for answer in [Answer::Failed, Answer::NoName, Answer::Addresses(&[], 1)] {
                    prop_assert!(question.answer(&answer).len() <= 512);
                }
            }
        }
    }
}
