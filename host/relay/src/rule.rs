//! One entry of an allow-list: `HOST[:PORT]`.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::{IpNet, Ipv4Net};
use pyro_core::Problem;
use serde::{Deserialize, Serialize};

use crate::{
    address::{Class, canonical},
    domain::{DomainName, InvalidName},
};

/// What may be reached: a host, or some hosts, and ports of theirs.
///
/// | Written | Covers |
/// |---|---|
/// | `example.com` | that name, every port |
/// | `example.com:443`, `example.com:8000-8999` | that name, these ports |
/// | `*.example.com` | names exactly one label below; not `example.com` itself |
/// | `**.example.com` | names any number of labels below; not `example.com` itself |
/// | `192.0.2.1`, `192.0.2.0/24:22` | addresses, literally |
/// | `2001:db8::1`, `2001:db8::/32`, `[2001:db8::1]:443`, `[2001:db8::/32]:443` | likewise |
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule {
    host: Host,
    ports: Ports,
}

/// Which hosts a rule means.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Host {
    Name(DomainName),
    /// One label below.
    Child(DomainName),
    /// One label below, and deeper.
    Below(DomainName),
    Literal(IpNet),
}

/// Which ports a rule means.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Ports {
    first: u16,
    last: u16,
}

const EVERY_PORT: Ports = Ports { first: 1, last: u16::MAX };

impl Ports {
    /// This one, or all.
    fn only(port: Option<u16>) -> Self {
        port.map_or(EVERY_PORT, |port| Self { first: port.max(1), last: port.max(1) })
    }
}

/// A rule that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidRule {
    /// It has no host.
    #[error("{rule:?} names no host")]
    Empty {
        /// As it was written.
        rule: String,
    },
    /// Its host is no name.
    #[error("{rule:?} names no host: {source}")]
    Name {
        /// As it was written.
        rule: String,
        /// Why not.
        source: InvalidName,
    },
    /// Its host is no address and no network, though it looks like one.
    #[error("{rule:?} is no address or network: {what}")]
    Network {
        /// As it was written.
        rule: String,
        /// What is wrong with it.
        what: String,
    },
    /// Its port is none.
    #[error("{rule:?} ends in {port:?}, which is no port from 1 to 65535 and no range of them")]
    Port {
        /// As it was written.
        rule: String,
        /// What should be one.
        port: String,
    },
    /// A `*` stands where it means nothing.
    #[error("{rule:?} has a * where it cannot stand")]
    Wildcard {
        /// As it was written.
        rule: String,
    },
    /// It is a URL.
    #[error("{rule:?} is a URL, and a rule is a host and a port")]
    Url {
        /// As it was written.
        rule: String,
    },
}

impl InvalidRule {
    /// What to write instead.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Wildcard { .. } => {
                "*.example.com is every name one label below example.com, **.example.com deeper \
                 ones too; for every public host use the policy egress"
            }
            Self::Url { .. } => "write HOST:PORT, as in example.com:443",
            _ => {
                "a rule is HOST or HOST:PORT: example.com:443, *.example.com, 192.0.2.0/24:22, \
                 [2001:db8::1]:443"
            }
        }
    }
}

impl From<InvalidRule> for Problem {
    fn from(error: InvalidRule) -> Self {
        let hint = error.hint();
        Self::invalid("invalid_network_rule", error.to_string()).hint(hint)
    }
}

impl Rule {
    /// A rule for one address and, where it is given, one port.
    pub fn for_address(address: IpAddr, port: Option<u16>) -> Self {
        Self { host: Host::Literal(canonical(address).into()), ports: Ports::only(port) }
    }

    /// A rule for one name and, where it is given, one port.
    pub fn for_name(name: &DomainName, port: Option<u16>) -> Self {
        Self { host: Host::Name(name.clone()), ports: Ports::only(port) }
    }

    /// Whether it names addresses, and not names.
    pub fn is_literal(&self) -> bool {
        matches!(self.host, Host::Literal(_))
    }

    /// Whether it names exactly this one name.
    pub(crate) fn is_name(&self, name: &DomainName) -> bool {
        matches!(&self.host, Host::Name(own) if own == name)
    }

    /// Whether it covers a port.
    pub fn covers_port(&self, port: u16) -> bool {
        (self.ports.first..=self.ports.last).contains(&port)
    }

    /// Whether it covers a name, whatever the port.
    pub fn covers_name(&self, name: &DomainName) -> bool {
        match &self.host {
            Host::Name(own) => own == name,
            Host::Child(parent) => {
                name.is_below(parent) && name.labels().count() == parent.labels().count() + 1
            }
            Host::Below(ancestor) => name.is_below(ancestor),
            Host::Literal(_) => false,
        }
    }

    /// Whether it names this address literally, whatever the port. A range that is wider than the
    /// special range that an address lies in does not name it: `0.0.0.0/0` opens nothing private.
    pub fn covers_address(&self, address: IpAddr, class: Class) -> bool {
        let Host::Literal(network) = &self.host else { return false };
        network.contains(&canonical(address))
            && match class {
                Class::Public => true,
                Class::Special { range, .. } => range.contains(network),
            }
    }
}

impl FromStr for Rule {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let rule = || shortened(text);
        if text.contains("://") {
            return Err(InvalidRule::Url { rule: rule() });
        }
        let (host, port) = split(text).ok_or_else(|| InvalidRule::Network {
            rule: rule(),
            what: "a [ without its ]".to_owned(),
        })?;
        let ports = match port {
            None => EVERY_PORT,
            Some(port) => ports(port)
                .ok_or_else(|| InvalidRule::Port { rule: rule(), port: shortened(port) })?,
        };
        if host.is_empty() {
            return Err(InvalidRule::Empty { rule: rule() });
        }
        let looks_literal = host.contains([':', '/']) || text.starts_with('[');
        let host = if let Ok(address) = host.parse::<IpAddr>() {
            Host::Literal(canonical(address).into())
        } else if looks_literal {
            let network =
                network(host).map_err(|what| InvalidRule::Network { rule: rule(), what })?;
            Host::Literal(network)
        } else {
            let (wrap, name): (fn(DomainName) -> Host, _) =
                if let Some(name) = host.strip_prefix("**.") {
                    (Host::Below, name)
                } else if let Some(name) = host.strip_prefix("*.") {
                    (Host::Child, name)
                } else {
                    (Host::Name, host)
                };
            if name.contains('*') {
                return Err(InvalidRule::Wildcard { rule: rule() });
            }
            let name = DomainName::parse(name);
            wrap(name.map_err(|source| InvalidRule::Name { rule: rule(), source })?)
        };
        Ok(Self { host, ports })
    }
}

/// Enough of a text for a message.
fn shortened(text: &str) -> String {
    text.chars().take(300).collect()
}

/// Host and port; none where a bracket is missing.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None if rest.is_empty() => Some((host, None)),
            None => None,
        };
    }
    // More than one colon: an IPv6 address without a port.
    Some(match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (text, None),
    })
}

fn ports(text: &str) -> Option<Ports> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u16>().ok()).flatten().filter(|port| *port > 0)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let ports = Ports { first: number(first)?, last: number(last)? };
    (ports.first <= ports.last).then_some(ports)
}

fn network(text: &str) -> Result<IpNet, String> {
    if !text.contains('/') {
        return Err("it is written neither as 192.0.2.1 nor as 2001:db8::1".to_owned());
    }
    let network: IpNet = text
        .parse()
        .map_err(|_| "a network is written as 192.0.2.0/24 or 2001:db8::/32".to_owned())?;
    let network = match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => Ipv4Net::new(v4, v6.prefix_len() - 96).map_or(network, IpNet::V4),
            None => network,
        },
        _ => network,
    };
    if network.trunc() != network {
        return Err(format!("did you mean {}?", network.trunc()));
    }
    Ok(network)
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_port = self.ports != EVERY_PORT;
        match &self.host {
            Host::Name(name) => write!(formatter, "{name}")?,
            Host::Child(name) => write!(formatter, "*.{name}")?,
            Host::Below(name) => write!(formatter, "**.{name}")?,
            Host::Literal(network) => {
                let is_one = network.prefix_len() == network.max_prefix_len();
                let brackets = has_port && matches!(network, IpNet::V6(_));
                let (open, close) = if brackets { ("[", "]") } else { ("", "") };
                if is_one {
                    write!(formatter, "{open}{}{close}", network.addr())?;
                } else {
                    write!(formatter, "{open}{network}{close}")?;
                }
            }
        }
        if !has_port {
            return Ok(());
        }
        if self.ports.first == self.ports.last {
            write!(formatter, ":{}", self.ports.first)
        } else {
            write!(formatter, ":{}-{}", self.ports.first, self.ports.last)
        }
    }
}

impl TryFrom<String> for Rule {
    type Error = InvalidRule;

    fn try_from(text: String) -> Result<Self, InvalidRule> {
        text.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::address::classify;

    fn rule(text: &str) -> Rule {
        text.parse().unwrap()
    }

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    fn covers(text: &str, address: &str) -> bool {
        let address = address.parse().unwrap();
        rule(text).covers_address(address, classify(address, &["9.9.9.9".parse().unwrap()]))
    }

    #[test]
    fn rules_are_written_in_one_way() {
        for (written, shown) in [
            ("Example.com.", "example.com"),
            ("example.com:443", "example.com:443"),
            ("example.com:8000-8999", "example.com:8000-8999"),
            ("*.Example.com", "*.example.com"),
            ("**.example.com:443", "**.example.com:443"),
            ("192.0.2.1:22", "192.0.2.1:22"),
            ("192.0.2.0/24:22", "192.0.2.0/24:22"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
            ("[2001:db8::/32]:1-2", "[2001:db8::/32]:1-2"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(rule(written).to_string(), shown, "{written}");
            assert_eq!(rule(shown), rule(written), "{written}");
        }
    }

    #[test]
    fn what_is_no_rule_says_what_to_write() {
        for text in [
            "",
            ":443",
            "https://example.com",
            "example.com:",
            "example.com:0",
            "example.com:65536",
            "example.com:2-1",
            "example.com:+1",
            "*",
            "**",
            "*.",
            "a.*.com",
            "***.com",
            "exa mple.com",
            "münchen.de",
            "10.1.2.3/8",
            "10.0.0.0/33",
            "[::1",
            "[::1]x",
            "[example.com]",
            "256.1.1.1",
            "127.1",
            "fe80::1%eth0",
            "a/b",
            "user@example.com",
        ] {
            let error = text.parse::<Rule>().unwrap_err();
            assert!(!error.hint().is_empty());
            assert!(!error.to_string().is_empty(), "{text}");
        }
        assert!("10.1.2.3/8".parse::<Rule>().unwrap_err().to_string().contains("10.0.0.0/8"));
    }

    #[test]
    fn wildcards_are_by_labels() {
        assert!(rule("*.example.com").covers_name(&name("a.example.com")));
        assert!(!rule("*.example.com").covers_name(&name("a.b.example.com")));
        assert!(!rule("*.example.com").covers_name(&name("example.com")));
        assert!(rule("**.example.com").covers_name(&name("a.b.example.com")));
        assert!(!rule("**.example.com").covers_name(&name("example.com")));
        assert!(!rule("**.example.com").covers_name(&name("a.badexample.com")));
    }

    #[test]
    fn a_wide_range_opens_nothing_special() {
        assert!(covers("0.0.0.0/0", "1.1.1.1") && covers("::/0", "2606:4700::1"));
        assert!(!covers("0.0.0.0/0", "10.0.0.1") && !covers("0.0.0.0/0", "127.0.0.1"));
        assert!(!covers("8.0.0.0/5", "10.0.0.1"));
        assert!(covers("10.0.0.0/8", "10.0.0.1") && covers("10.2.0.0/16", "10.2.0.1"));
        assert!(!covers("169.254.0.0/16", "169.254.169.254"));
        assert!(covers("169.254.169.254", "169.254.169.254"));
        assert!(!covers("9.9.9.0/24", "9.9.9.9") && covers("9.9.9.9", "9.9.9.9"));
        assert!(!covers("::/0", "::1") && covers("::1", "::1"));
        assert!(!covers("::/0", "127.0.0.1") && covers("127.0.0.1", "::ffff:127.0.0.1"));
        assert!(!covers("64:ff9b::/96", "64:ff9b::10.0.0.1"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_rule_or_an_error(text in ".{0,40}") {
            if let Ok(rule) = text.parse::<Rule>() {
                prop_assert_eq!(rule.to_string().parse::<Rule>().unwrap(), rule);
            }
        }

        #[test]
        fn a_rule_for_an_address_covers_it(bits: u128, port: Option<u16>) {
            let address = IpAddr::V6(Ipv6Addr::from_bits(bits));
            let rule = Rule::for_address(address, port);
            prop_assert!(rule.covers_address(address, classify(address, &[])));
            prop_assert_eq!(rule.to_string().parse::<Rule>().unwrap(), rule);
        }
    }
}
