//! A name of the domain name system, as rules, look-ups and claims compare it.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::Serialize;

/// A host's name in its one spelling: lower case, ASCII, without the trailing dot.
///
/// At most 253 bytes of labels of 1 to 63 letters, digits, `-` and `_`; a name in another script is
/// its punycode (`xn--`). A name whose last label is a number is an address to some programs and
/// none to others (`127.1`, `0x7f000001`), so it is no name here.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DomainName(Arc<str>);

/// What is wrong with a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidName {
    /// Nothing, or more than 253 bytes.
    #[error("a name has 1 to 253 characters")]
    Length,
    /// An empty label, or one of more than 63 bytes.
    #[error("each part between the dots has 1 to 63 characters")]
    Label,
    /// Something else than letters, digits, `-` and `_`.
    #[error("a name consists of ASCII letters, digits, '-' and '_' (other scripts as xn--...)")]
    Character,
    /// Its last label is a number.
    #[error("a name does not end in a number")]
    Number,
}

/// The longest name, in bytes, without the trailing dot (RFC 1035, 2.3.4).
const LONGEST: usize = 253;

impl DomainName {
    /// Reads a name as it was written by whomever.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() || text.len() > LONGEST {
            return Err(InvalidName::Length);
        }
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(InvalidName::Character);
        }
        if text.split('.').any(|label| label.is_empty() || label.len() > 63) {
            return Err(InvalidName::Label);
        }
        let name = text.to_ascii_lowercase();
        if is_number(name.rsplit('.').next().unwrap_or_default()) {
            return Err(InvalidName::Number);
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its labels, from the left.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    /// Whether it stands below a domain, any number of labels deeper (never the domain itself).
    pub fn is_below(&self, domain: &Self) -> bool {
        self.0.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'))
    }

    /// Names that mean something else on every machine or network: the host's own, those of its
    /// local network, those of a cloud's platform (RFC 6761, 6762, 8375, 9476, ICANN on
    /// `.internal`).
    ///
    /// They are looked up only where a rule names them exactly.
    pub fn is_local(&self) -> bool {
        let mut labels = self.labels().rev();
        let last = labels.next().unwrap_or_default();
        let is_single = labels.next().is_none();
        let local = ["localhost", "local", "internal", "localdomain", "lan", "home", "corp"];
        is_single || local.contains(&last) || self.0.ends_with(".home.arpa")
    }
}

/// What the parsers of addresses in the C library and in browsers take for one.
fn is_number(label: &str) -> bool {
    let digits = label.bytes().all(|byte| byte.is_ascii_digit());
    let hexadecimal = label
        .strip_prefix("0x")
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    digits || hexadecimal
}

impl FromStr for DomainName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text)
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Borrow<str> for DomainName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for DomainName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        assert_eq!(DomainName::parse("Example.COM.").unwrap().as_str(), "example.com");
        assert_eq!(DomainName::parse("_dmarc.a-b.c").unwrap().as_str(), "_dmarc.a-b.c");
        assert_eq!(DomainName::parse(&"a.".repeat(126)).unwrap().labels().count(), 126);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("{}.com", "a".repeat(64));
        for (text, why) in [
            ("", InvalidName::Length),
            (".", InvalidName::Length),
            ("a..b", InvalidName::Label),
            ("a.b..", InvalidName::Label),
            (".a", InvalidName::Label),
            (long.as_str(), InvalidName::Label),
            (&"a.".repeat(128), InvalidName::Length),
            ("münchen.de", InvalidName::Character),
            ("a b", InvalidName::Character),
            ("a\0b", InvalidName::Character),
            ("a/b", InvalidName::Character),
            ("127.0.0.1", InvalidName::Number),
            ("127.1", InvalidName::Number),
            ("2130706433", InvalidName::Number),
            ("0x7F000001", InvalidName::Number),
            ("evil.0x", InvalidName::Number),
        ] {
            assert_eq!(DomainName::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn below_is_by_whole_labels() {
        let domain = DomainName::parse("example.com").unwrap();
        let is_below = |name: &str| DomainName::parse(name).unwrap().is_below(&domain);
        assert!(is_below("a.example.com") && is_below("a.b.example.com"));
        assert!(!is_below("example.com") && !is_below("badexample.com"));
        assert!(!is_below("example.com.evil.net"));
    }

    #[test]
    fn local_names_are_known() {
        for name in ["localhost", "a.localhost", "db", "printer.local", "metadata.google.internal"]
        {
            assert!(DomainName::parse(name).unwrap().is_local(), "{name}");
        }
        assert!(!DomainName::parse("local.example.com").unwrap().is_local());
    }
}
