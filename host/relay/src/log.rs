//! What was let through and what was refused, for whoever asks `network log`.
//!
//! Owns a bounded memory of it. Refuses to know how it is shown or kept. What was refused has a
//! place of its own, so that no flood of what is allowed hides it.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::policy::{Denial, Reason};

/// Who in the guest, by the agent's word: advisory, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Process {
    /// Its number in the workload's PID name space.
    pub pid: u32,
    /// What it is called. Of a stranger's choosing: kept to 64 characters, none of them control.
    pub name: String,
}

impl Process {
    /// With a name that may be shown.
    pub(crate) fn tamed(self) -> Self {
        let name = self.name.chars().filter(|character| !character.is_control()).take(64).collect();
        Self { name, ..self }
    }
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was let through, and worked.
    Allowed,
    /// The policy refused it.
    Denied,
    /// The policy let it through, and it did not work.
    Failed,
    /// It was open, and a change of the policy ended it.
    Closed,
}

/// What it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// A connection.
    Tcp,
    /// A look-up.
    Dns,
}

/// One line of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Grows by one with each line, and with each repetition of a line.
    pub seq: u64,
    /// When, in milliseconds since 1970; of repetitions the last.
    pub at: u64,
    /// When it was so for the first time, in milliseconds since 1970.
    pub first_at: u64,
    /// How often, in a row.
    pub count: u64,
    /// What became of it.
    pub verdict: Verdict,
    /// What it was.
    pub protocol: Protocol,
    /// Who.
    pub process: Option<Process>,
    /// The name that was looked up, or that the address was resolved for, or that was claimed.
    pub name: Option<String>,
    /// The address.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: Option<u16>,
    /// The rule that let it through.
    pub rule: Option<String>,
    /// Why not, for programs.
    pub reason: Option<Reason>,
    /// Why not, for people.
    pub why: Option<String>,
    /// The flag that would allow it, as it is typed.
    pub hint: Option<String>,
}

impl Entry {
    pub(crate) fn new(verdict: Verdict, protocol: Protocol, process: Option<Process>) -> Self {
        Self {
            seq: 0,
            at: 0,
            first_at: 0,
            count: 1,
            verdict,
            protocol,
            process,
            name: None,
            address: None,
            port: None,
            rule: None,
            reason: None,
            why: None,
            hint: None,
        }
    }

    pub(crate) fn denied(mut self, denial: &Denial) -> Self {
        self.reason = Some(denial.reason);
        self.why = Some(denial.why.clone());
        self.hint.clone_from(&denial.hint);
        self
    }

    /// Whether another one says the same, but for the time and the number of the process.
    fn repeats(&self, other: &Self) -> bool {
        let name = |entry: &Self| entry.process.as_ref().map(|process| process.name.clone());
        self.verdict == other.verdict
            && self.protocol == other.protocol
            && self.name == other.name
            && self.address == other.address
            && self.port == other.port
            && self.rule == other.rule
            && self.why == other.why
            && name(self) == name(other)
    }
}

/// Takes the log's lines, as they are written, to where they are kept.
pub trait LogSink: Send + Sync {
    /// A line. Of one that repeats, the first and each whose count is a power of two, so that a
    /// loop in the guest is no flood here. It is called by whoever made the line, so it must not
    /// wait.
    fn record(&self, entry: &Entry);
}

/// The log's newest lines.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

struct Shared {
    rings: Mutex<Rings>,
    newest: watch::Sender<u64>,
    sink: Option<Arc<dyn LogSink>>,
}

struct Rings {
    allowed: VecDeque<Entry>,
    refused: VecDeque<Entry>,
    each: usize,
    seq: u64,
    dropped: u64,
}

/// How far back a repetition is looked for: a program tries its addresses in turn.
const LOOK_BACK: usize = 8;

impl Log {
    /// A log that remembers so many lines of what was allowed, and as many of what was refused.
    pub(crate) fn new(each: usize, sink: Option<Arc<dyn LogSink>>) -> Self {
        let each = each.max(1);
        let rings =
            Rings { allowed: VecDeque::new(), refused: VecDeque::new(), each, seq: 0, dropped: 0 };
        let (newest, _) = watch::channel(0);
        Self(Arc::new(Shared { rings: Mutex::new(rings), newest, sink }))
    }

    /// Writes a line, at a time in milliseconds since 1970.
    pub(crate) fn write(&self, mut entry: Entry, at: u64) {
        let mut rings = self.0.rings.lock().unwrap_or_else(PoisonError::into_inner);
        rings.seq += 1;
        entry.seq = rings.seq;
        entry.at = at;
        entry.first_at = at;
        let is_refused = entry.verdict != Verdict::Allowed;
        let Rings { allowed, refused, each, dropped, .. } = &mut *rings;
        let ring = if is_refused { refused } else { allowed };
        let back = ring.len().saturating_sub(LOOK_BACK);
        let earlier = (back..ring.len()).rev().find(|index| entry.repeats(&ring[*index]));
        if is_refused && let Some(earlier) = earlier.and_then(|index| ring.remove(index)) {
            entry.count = earlier.count.saturating_add(1);
            entry.first_at = earlier.first_at;
        }
        if ring.len() >= *each {
            ring.pop_front();
            *dropped += 1;
        }
        ring.push_back(entry.clone());
        drop(rings);
        if let Some(sink) = &self.0.sink
            && entry.count.is_power_of_two()
        {
            sink.record(&entry);
        }
        self.0.newest.send_replace(entry.seq);
    }

    /// The lines that are remembered, oldest first.
    pub fn recent(&self) -> Vec<Entry> {
        self.after(0).0
    }

    /// How many lines were forgotten because newer ones came.
    pub fn dropped(&self) -> u64 {
        self.0.rings.lock().unwrap_or_else(PoisonError::into_inner).dropped
    }

    /// Follows the log from behind a line on: 0 begins with the oldest that is remembered.
    pub fn follow(&self, after: u64) -> Follow {
        Follow { log: self.clone(), newest: self.0.newest.subscribe(), after }
    }

    /// What is remembered behind a line, and the newest line's number.
    fn after(&self, seq: u64) -> (Vec<Entry>, u64) {
        let rings = self.0.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = |ring: &VecDeque<Entry>| {
            let from = ring.partition_point(|entry| entry.seq <= seq);
            ring.range(from..).cloned().collect::<Vec<_>>()
        };
        let mut entries = newer(&rings.allowed);
        entries.extend(newer(&rings.refused));
        entries.sort_by_key(|entry| entry.seq);
        (entries, rings.seq)
    }
}

/// A reader of the log that waits for more. It holds no lines: one that is slow misses some, and of
/// a line that repeats it sees the newest state.
pub struct Follow {
    log: Log,
    newest: watch::Receiver<u64>,
    after: u64,
}

impl Follow {
    /// The next lines, at least one. `None` never comes while the log is held by this reader.
    pub async fn next(&mut self) -> Option<Vec<Entry>> {
        loop {
            self.newest.borrow_and_update();
            let (entries, newest) = self.log.after(self.after);
            self.after = self.after.max(newest);
            if !entries.is_empty() {
                return Some(entries);
            }
            self.newest.changed().await.ok()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(verdict: Verdict, port: u16, pid: u32) -> Entry {
        let process = Some(Process { pid, name: "curl".to_owned() });
        Entry { port: Some(port), ..Entry::new(verdict, Protocol::Tcp, process) }
    }

    #[test]
    fn repetitions_are_one_line_with_a_count() {
        let log = Log::new(10, None);
        for (pid, port) in [(1, 80), (2, 81), (3, 80), (4, 81), (5, 80)] {
            log.write(entry(Verdict::Denied, port, pid), u64::from(pid));
        }
        let lines: Vec<_> = log
            .recent()
            .iter()
            .map(|line| (line.port, line.count, line.first_at, line.at))
            .collect();
        assert_eq!(lines, [(Some(81), 2, 2, 4), (Some(80), 3, 1, 5)]);
        log.write(entry(Verdict::Allowed, 80, 1), 6);
        log.write(entry(Verdict::Allowed, 80, 1), 7);
        assert_eq!(log.recent().len(), 4);
    }

    #[test]
    fn what_is_allowed_hides_nothing_that_was_refused() {
        let log = Log::new(4, None);
        log.write(entry(Verdict::Denied, 1, 1), 0);
        for port in 0..100 {
            log.write(entry(Verdict::Allowed, port, 1), 1);
        }
        assert_eq!(log.recent().len(), 5);
        assert_eq!(log.recent()[0].verdict, Verdict::Denied);
        assert_eq!(log.dropped(), 96);
    }

    #[test]
    fn a_sink_sees_powers_of_two() {
        struct Counts(Mutex<Vec<u64>>);
        impl LogSink for Counts {
            fn record(&self, entry: &Entry) {
                self.0.lock().unwrap().push(entry.count);
            }
        }
        let counts = Arc::new(Counts(Mutex::default()));
        let log = Log::new(4, Some(counts.clone()));
        for _ in 0..1000 {
            log.write(entry(Verdict::Denied, 1, 1), 0);
        }
        assert_eq!(*counts.0.lock().unwrap(), [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
    }

    #[tokio::test]
    async fn a_follower_gets_what_comes() {
        let log = Log::new(4, None);
        log.write(entry(Verdict::Denied, 1, 1), 0);
        let mut follow = log.follow(0);
        assert_eq!(follow.next().await.unwrap()[0].port, Some(1));
        let next = tokio::spawn(async move { follow.next().await.unwrap() });
        log.write(entry(Verdict::Denied, 2, 1), 0);
        assert_eq!(next.await.unwrap()[0].port, Some(2));
    }

    #[test]
    fn a_process_name_is_tamed() {
        let name = format!("\x1b[31m{}\u{7}", "x".repeat(100));
        assert_eq!(Process { pid: 1, name }.tamed().name.len(), 64);
    }
}
