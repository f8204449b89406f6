//! What a workspace may reach: pure decisions about names and addresses.
//!
//! Owns what each policy means. Refuses to know where the facts come from: which class an address is
//! of, and which names it has, are parameters.

use std::{fmt, net::IpAddr};

use pyro_core::Problem;
use serde::{Deserialize, Serialize};

use crate::{
    address::Class,
    domain::DomainName,
    rule::{InvalidRule, Rule},
};

/// The most rules that one policy has.
pub const MOST_RULES: usize = 1024;

/// What a workspace may reach.
///
/// `off` is neither egress nor rules; `egress` is every public address; rules alone are an
/// allow-list. Egress with rules is both: everything public, and what the rules name literally
/// (a database on a private network).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Policy {
    egress: bool,
    rules: Vec<Rule>,
}

/// A policy that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidPolicy {
    /// There is none of this name.
    #[error("there is no network policy {name:?}")]
    Unknown {
        /// As it was given.
        name: String,
    },
    /// More rules than are looked through for each connection.
    #[error("{count} rules are more than the {MOST_RULES} that a policy has")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// One of its rules cannot be read.
    #[error(transparent)]
    Rule(#[from] InvalidRule),
}

impl From<InvalidPolicy> for Problem {
    fn from(error: InvalidPolicy) -> Self {
        match error {
            InvalidPolicy::Rule(error) => error.into(),
            InvalidPolicy::Unknown { .. } => {
                Self::invalid("invalid_network_policy", error.to_string())
                    .hint("the policies are off, egress and egress+published-ports")
            }
            InvalidPolicy::TooMany { .. } => {
                Self::invalid("invalid_network_policy", error.to_string()).hint(
                    "a wildcard (*.example.com) or a network (192.0.2.0/24) covers many hosts",
                )
            }
        }
    }
}

/// Why something was refused: stable, programs may compare it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The network is off.
    NetworkOff,
    /// No rule covers the name or the address.
    NotAllowed,
    /// A rule covers the host, and none this port of it.
    PortNotAllowed,
    /// The address is of a range that only a literal rule opens.
    SpecialAddress,
    /// The name means something on the host or its local network only.
    LocalName,
    /// The name is none.
    InvalidName,
    /// TLS that does not say for which name.
    NoServerName,
    /// TLS for a name that is not the address's.
    OtherServerName,
    /// A request for a host that is not the address's.
    OtherHost,
    /// Not what the port is for: no TLS on 443, no HTTP on 80.
    OtherProtocol,
    /// A message that could be understood in more than one way.
    Malformed,
    /// The policy was changed.
    PolicyChanged,
    /// Which addresses are the host's own could not be told.
    HostUnknown,
}

/// A refusal by policy, as it is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Denial {
    /// Which kind.
    pub reason: Reason,
    /// One clear sentence.
    pub why: String,
    /// The flag that would allow it, as it is typed, where one would.
    pub hint: Option<String>,
}

impl Denial {
    pub(crate) fn new(reason: Reason, why: impl Into<String>) -> Self {
        Self { reason, why: why.into(), hint: None }
    }

    pub(crate) fn allow(mut self, rule: &Rule) -> Self {
        self.hint = Some(format!("--allow {rule}"));
        self
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.why)
    }
}

/// Why a connection is let through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Grounds {
    /// Its address is public, and everything public is allowed.
    Egress,
    /// A rule names its address literally.
    Literal(Rule),
    /// A rule names a name that its address was resolved for: what it sends first is looked at.
    Name(DomainName, Rule),
}

impl Policy {
    /// Nothing is reached.
    pub fn off() -> Self {
        Self::default()
    }

    /// Everything public is reached.
    pub fn egress() -> Self {
        Self { egress: true, rules: Vec::new() }
    }

    /// What the rules name is reached, and nothing else.
    pub fn allow(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self { egress: false, rules: rules.into_iter().collect() }
    }

    /// A policy by its name in the contract (`off`, `egress`, `egress+published-ports`), with rules.
    /// `off` with rules is an allow-list; what `+published-ports` means is not about egress.
    pub fn parse<T: AsRef<str>>(name: &str, allow: &[T]) -> Result<Self, InvalidPolicy> {
        let egress = match name {
            "off" => false,
            "egress" | "egress+published-ports" => true,
            _ => {
                let name = name.chars().take(100).collect();
                return Err(InvalidPolicy::Unknown { name });
            }
        };
        if allow.len() > MOST_RULES {
            return Err(InvalidPolicy::TooMany { count: allow.len() });
        }
        let mut rules: Vec<Rule> = Vec::new();
        for text in allow {
            let rule = text.as_ref().parse()?;
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        Ok(Self { egress, rules })
    }

    /// Whether nothing is reached.
    pub fn is_off(&self) -> bool {
        !self.egress && self.rules.is_empty()
    }

    /// Whether everything public is reached.
    pub fn is_egress(&self) -> bool {
        self.egress
    }

    /// Its rules, in the order in which they were given.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule that names an address and a port literally.
    pub(crate) fn literal(&self, address: IpAddr, port: u16, class: Class) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.covers_address(address, class) && rule.covers_port(port))
    }

    /// Whether some rule names an address literally, whatever the port: then a name may resolve to
    /// it.
    pub(crate) fn names_address(&self, address: IpAddr, class: Class) -> bool {
        self.rules.iter().any(|rule| rule.covers_address(address, class))
    }

    /// The rule that covers a name and a port.
    pub(crate) fn named(&self, name: &DomainName, port: u16) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.covers_name(name) && rule.covers_port(port))
    }

    /// Whether a name may be looked up; by which rule, where a rule is needed.
    pub(crate) fn resolve(&self, name: &DomainName) -> Result<Option<&Rule>, Denial> {
        let covering = self.rules.iter().find(|rule| rule.covers_name(name));
        if name.is_local() {
            let exact = self.rules.iter().find(|rule| rule.is_name(name));
            return exact.map(Some).ok_or_else(|| {
                Denial::new(
                    Reason::LocalName,
                    format!("{name} is a name of the host or of its local network"),
                )
                .allow(&Rule::for_name(name, None))
            });
        }
        if self.egress || covering.is_some() {
            return Ok(covering);
        }
        let hint = Rule::for_name(name, None);
        Err(if self.is_off() {
            Denial::new(Reason::NetworkOff, "the workspace's network is off").allow(&hint)
        } else {
            Denial::new(Reason::NotAllowed, format!("no rule allows {name}")).allow(&hint)
        })
    }

    /// Whether a connection to an address is let through, given what it is and which names it was
    /// resolved for.
    pub(crate) fn connect(
        &self,
        address: IpAddr,
        port: u16,
        class: Class,
        names: &[DomainName],
    ) -> Result<Grounds, Denial> {
        if let Some(rule) = self.literal(address, port, class) {
            return Ok(Grounds::Literal(rule.clone()));
        }
        let by_address = Rule::for_address(address, Some(port));
        if self.is_off() {
            let hint = names.first().map_or(by_address, |name| Rule::for_name(name, Some(port)));
            return Err(
                Denial::new(Reason::NetworkOff, "the workspace's network is off").allow(&hint)
            );
        }
        if let Class::Special { what, .. } = class {
            let why = format!("{address} is {what}: it is reached only where a rule names it");
            return Err(Denial::new(Reason::SpecialAddress, why).allow(&by_address));
        }
        if self.egress {
            return Ok(Grounds::Egress);
        }
        let named = |name: &DomainName| self.named(name, port).map(|rule| (name.clone(), rule));
        if let Some((name, rule)) = names.iter().find_map(named) {
            return Ok(Grounds::Name(name, rule.clone()));
        }
        // The name that a rule covers with other ports, before those that none covers.
        let covered = |name: &&DomainName| self.rules.iter().any(|rule| rule.covers_name(name));
        if let Some(name) = names.iter().find(covered) {
            let why = format!("no rule allows port {port} of {name}");
            let hint = Rule::for_name(name, Some(port));
            return Err(Denial::new(Reason::PortNotAllowed, why).allow(&hint));
        }
        if self.names_address(address, class) {
            let why = format!("no rule allows port {port} of {address}");
            return Err(Denial::new(Reason::PortNotAllowed, why).allow(&by_address));
        }
        Err(match names.first() {
            Some(name) => Denial::new(Reason::NotAllowed, format!("no rule allows {name}"))
                .allow(&Rule::for_name(name, Some(port))),
            None => Denial::new(
                Reason::NotAllowed,
                format!("no rule allows {address}, and no allowed name was resolved to it"),
            )
            .allow(&by_address),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::classify;

    fn policy(rules: &[&str]) -> Policy {
        Policy::parse("off", rules).unwrap()
    }

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    fn connect(
        policy: &Policy,
        address: &str,
        port: u16,
        names: &[&str],
    ) -> Result<Grounds, Denial> {
        let address = address.parse().unwrap();
        let names: Vec<_> = names.iter().map(|text| name(text)).collect();
        policy.connect(address, port, classify(address, &[]), &names)
    }

    #[test]
    fn off_reaches_nothing() {
        let denial = connect(&Policy::off(), "1.1.1.1", 443, &[]).unwrap_err();
        assert_eq!(denial.reason, Reason::NetworkOff);
        assert_eq!(denial.hint.as_deref(), Some("--allow 1.1.1.1:443"));
        assert!(Policy::off().resolve(&name("example.com")).is_err());
    }

    #[test]
    fn egress_reaches_what_is_public() {
        let policy = Policy::egress();
        assert_eq!(connect(&policy, "1.1.1.1", 25, &[]), Ok(Grounds::Egress));
        let denial = connect(&policy, "10.0.0.1", 80, &["public.example"]).unwrap_err();
        assert_eq!(denial.reason, Reason::SpecialAddress);
        assert_eq!(denial.hint.as_deref(), Some("--allow 10.0.0.1:80"));
        assert!(policy.resolve(&name("example.com")).is_ok());
        assert!(policy.resolve(&name("metadata.google.internal")).is_err());
        let both = Policy::parse("egress", &["10.0.0.0/8:5432"]).unwrap();
        assert!(matches!(connect(&both, "10.0.0.1", 5432, &[]), Ok(Grounds::Literal(_))));
        assert!(connect(&both, "10.0.0.1", 80, &[]).is_err());
    }

    #[test]
    fn an_allow_list_reaches_what_it_names() {
        let policy = policy(&["example.com:443", "*.cdn.net", "9.9.9.9:53"]);
        assert!(matches!(
            connect(&policy, "1.1.1.1", 443, &["example.com"]),
            Ok(Grounds::Name(..))
        ));
        let denial = connect(&policy, "1.1.1.1", 22, &["other.org", "example.com"]).unwrap_err();
        assert_eq!(denial.reason, Reason::PortNotAllowed);
        assert_eq!(denial.hint.as_deref(), Some("--allow example.com:22"));
        let denial = connect(&policy, "1.1.1.1", 443, &["other.org"]).unwrap_err();
        assert_eq!(denial.hint.as_deref(), Some("--allow other.org:443"));
        let denial = connect(&policy, "1.1.1.1", 443, &[]).unwrap_err();
        assert_eq!(denial.hint.as_deref(), Some("--allow 1.1.1.1:443"));
        assert!(matches!(connect(&policy, "9.9.9.9", 53, &[]), Ok(Grounds::Literal(_))));
        assert_eq!(
            connect(&policy, "9.9.9.9", 80, &[]).unwrap_err().reason,
            Reason::PortNotAllowed
        );
        assert!(policy.resolve(&name("a.cdn.net")).is_ok());
        assert!(policy.resolve(&name("cdn.net")).is_err());
    }

    #[test]
    fn local_names_need_an_exact_rule() {
        let policy = policy(&["**.internal", "db.internal", "**.example.com"]);
        assert!(policy.resolve(&name("db.internal")).is_ok());
        assert!(policy.resolve(&name("metadata.google.internal")).is_err());
        assert!(policy.resolve(&name("localhost")).is_err());
    }

    #[test]
    fn policies_are_parsed_with_their_rules() {
        assert!(Policy::parse::<&str>("off", &[]).unwrap().is_off());
        assert!(Policy::parse::<&str>("egress+published-ports", &[]).unwrap().is_egress());
        assert_eq!(policy(&["a.b", "A.b."]).rules().len(), 1);
        assert!(matches!(Policy::parse::<&str>("on", &[]), Err(InvalidPolicy::Unknown { .. })));
        let many = vec!["a.b"; MOST_RULES + 1];
        assert!(matches!(Policy::parse("off", &many), Err(InvalidPolicy::TooMany { .. })));
        assert!(Problem::from(Policy::parse("off", &["*"]).unwrap_err()).hints.len() == 1);
    }
}
