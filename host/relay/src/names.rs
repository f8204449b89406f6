//! Which names an address was resolved for: the relay's own memory, and the only bridge from a name
//! in a rule to an address in a connection.
//!
//! Pure: the time is a parameter, in any unit that only grows.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    time::Duration,
};

use crate::domain::DomainName;

/// Addresses with the names that they were resolved for.
#[derive(Debug)]
pub(crate) struct NameTable {
    known: HashMap<IpAddr, Known>,
    /// Pairs of an address and a name.
    pairs: usize,
    most: usize,
    keep: Duration,
}

#[derive(Debug, Default)]
struct Known {
    /// Each with the time until which it counts.
    names: Vec<(DomainName, Duration)>,
    /// Connections to the address: while there is one, nothing expires.
    open: usize,
}

impl NameTable {
    /// A table of so many pairs at most, each kept for so long after it was seen last.
    pub fn new(most: usize, keep: Duration) -> Self {
        Self { known: HashMap::new(), pairs: 0, most: most.max(1), keep }
    }

    /// A name was resolved to an address, now.
    pub fn learn(&mut self, name: &DomainName, address: IpAddr, now: Duration) {
        let until = now.saturating_add(self.keep);
        let known = self.known.entry(address).or_default();
        if let Some((_, kept)) = known.names.iter_mut().find(|(known, _)| known == name) {
            *kept = until;
            return;
        }
        if self.pairs >= self.most {
            self.make_room(now);
        }
        self.known.entry(address).or_default().names.push((name.clone(), until));
        self.pairs += 1;
    }

    /// The names that an address has now; the one that was seen last first.
    pub fn names(&self, address: IpAddr, now: Duration) -> Vec<DomainName> {
        let Some(known) = self.known.get(&address) else { return Vec::new() };
        let mut names: Vec<_> =
            known.names.iter().filter(|(_, until)| known.open > 0 || *until > now).collect();
        names.sort_by_key(|(_, until)| std::cmp::Reverse(*until));
        names.into_iter().map(|(name, _)| name.clone()).collect()
    }

    /// Whether an address has this name now.
    pub fn has(&self, address: IpAddr, name: &DomainName, now: Duration) -> bool {
        self.known.get(&address).is_some_and(|known| {
            known.names.iter().any(|(own, until)| own == name && (known.open > 0 || *until > now))
        })
    }

    /// A connection to an address begins.
    pub fn opened(&mut self, address: IpAddr) {
        self.known.entry(address).or_default().open += 1;
    }

    /// A connection to an address ended.
    pub fn closed(&mut self, address: IpAddr) {
        if let Entry::Occupied(mut entry) = self.known.entry(address) {
            let known = entry.get_mut();
            known.open = known.open.saturating_sub(1);
            if known.open == 0 && known.names.is_empty() {
                entry.remove();
            }
        }
    }

    /// How many pairs it holds.
    pub fn len(&self) -> usize {
        self.pairs
    }

    /// Drops what expired; where that is nothing, what expires first, in use or not.
    fn make_room(&mut self, now: Duration) {
        let mut dropped = 0;
        self.known.retain(|_, known| {
            let before = known.names.len();
            known.names.retain(|(_, until)| known.open > 0 || *until > now);
            dropped += before - known.names.len();
            known.open > 0 || !known.names.is_empty()
        });
        self.pairs -= dropped;
        if dropped > 0 {
            return;
        }
        let oldest = self
            .known
            .iter()
            .flat_map(|(address, known)| {
                known.names.iter().map(|(name, until)| (known.open > 0, *until, *address, name))
            })
            .min_by_key(|(is_open, until, _, _)| (*is_open, *until))
            .map(|(_, _, address, name)| (address, name.clone()));
        let Some((address, name)) = oldest else { return };
        if let Some(known) = self.known.get_mut(&address) {
            known.names.retain(|(own, _)| *own != name);
            self.pairs -= 1;
            if known.open == 0 && known.names.is_empty() {
                self.known.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEEP: Duration = Duration::from_mins(10);

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    fn address(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_name_expires_unless_a_connection_is_open() {
        let mut table = NameTable::new(10, KEEP);
        table.learn(&name("a.b"), address(1), at(0));
        assert_eq!(table.names(address(1), at(599)), [name("a.b")]);
        assert!(table.names(address(1), at(600)).is_empty());
        table.opened(address(1));
        assert!(table.has(address(1), &name("a.b"), at(6000)));
        table.closed(address(1));
        assert!(!table.has(address(1), &name("a.b"), at(6000)));
        table.learn(&name("a.b"), address(1), at(6000));
        assert!(table.has(address(1), &name("a.b"), at(6599)));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn the_name_that_was_seen_last_comes_first() {
        let mut table = NameTable::new(10, KEEP);
        table.learn(&name("a.b"), address(1), at(0));
        table.learn(&name("c.d"), address(1), at(1));
        assert_eq!(table.names(address(1), at(2)), [name("c.d"), name("a.b")]);
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_counts_right(
            steps in proptest::collection::vec((0u8..8, 0u8..6, 0u8..4, 0u64..2000), 0..200)
        ) {
            let mut table = NameTable::new(8, KEEP);
            let mut now = 0;
            let mut open = [0usize; 8];
            for (number, label, what, passed) in steps {
                now += passed;
                match what {
                    0 => { table.opened(address(number)); open[number as usize] += 1; }
                    1 if open[number as usize] > 0 => {
                        table.closed(address(number));
                        open[number as usize] -= 1;
                    }
                    _ => {
                        let name = name(&format!("n{label}.x"));
                        table.learn(&name, address(number), at(now));
                        prop_assert!(table.has(address(number), &name, at(now)));
                    }
                }
                let counted: usize = table.known.values().map(|known| known.names.len()).sum();
                prop_assert_eq!(counted, table.len());
                prop_assert!(table.len() <= 8);
                prop_assert!(table.known.len() <= 16);
            }
        }
    }
}
