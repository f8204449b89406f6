//! One workspace's way out: decides, looks up, connects, remembers.
//!
//! Owns the one table that joins names and addresses, and the list of what is open. Every decision is
//! the policy's; this file gathers what it needs to know, and carries it out.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::TcpStream,
    sync::{OnceCell, Semaphore, watch},
    time::timeout,
};

use crate::{
    address::{Class, canonical, classify},
    dns::{self, Answer, Asked, Kind, Question, Transport},
    domain::DomainName,
    inspection::{Claim, Inspector, Violation},
    log::{Entry, Log, Process, Protocol, Verdict},
    names::NameTable,
    outgoing::Outgoing,
    policy::{Denial, Grounds, Policy, Reason},
    resolver::ResolveError,
    rule::Rule,
    settings::{Rate, Settings},
};

/// For how long the host's own addresses are believed.
const HOST_TIME: Duration = Duration::from_secs(1);
/// Names whose answers are kept to be given again.
const MOST_ANSWERS: usize = 1024;
/// The most addresses of one name that are told.
const MOST_ADDRESSES: usize = 16;
/// For how long it is believed that a name does not exist.
const NO_NAME_TIME: Duration = Duration::from_secs(5);

/// Everything that one workspace sends out goes through one of these. Clones are the same relay.
#[derive(Clone)]
pub struct Relay(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    state: Mutex<State>,
    log: Log,
    looking_up: Semaphore,
    connecting: Semaphore,
    pub(crate) counts: Counts,
}

/// What is counted over the relay's life, and the memory of connections now.
#[derive(Default)]
pub(crate) struct Counts {
    pub sent: AtomicU64,
    pub received: AtomicU64,
    pub buffered: AtomicU64,
    connections: AtomicU64,
    denied: AtomicU64,
    queries: AtomicU64,
    floods: AtomicU64,
}

struct State {
    policy: Arc<Policy>,
    names: NameTable,
    answers: HashMap<DomainName, Kept>,
    open: HashMap<u64, Open>,
    next: u64,
    queries: Rate,
    lookups: Rate,
    host: Option<(Duration, Arc<[IpAddr]>)>,
}

/// What the host's resolver said of a name, or will say.
type Resolved = Arc<OnceCell<Result<Arc<[IpAddr]>, ResolveError>>>;

struct Kept {
    resolved: Resolved,
    until: Duration,
}

/// A connection that is open or being opened.
struct Open {
    address: IpAddr,
    port: u16,
    process: Option<Process>,
    /// Whether what it sends is looked at.
    is_inspected: bool,
    /// The name that it said it wants, last.
    claimed: Option<DomainName>,
    /// Tells it to end, and why.
    end: watch::Sender<Option<Denial>>,
}

/// A connection that may be opened.
struct Admitted {
    ticket: Ticket,
    end: watch::Receiver<Option<Denial>>,
    grounds: Grounds,
    /// The name that it is for, as far as is known.
    name: Option<DomainName>,
}

/// Why there is no connection. The guest's program is told what really happened.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The policy refuses it: answer with a reset.
    #[error("{0}")]
    Denied(Denial),
    /// Nothing listens there: a reset.
    #[error("the connection was refused")]
    Refused,
    /// No way leads there: ICMP's "unreachable".
    #[error("the host cannot be reached")]
    Unreachable {
        /// In the kernel's words.
        #[source]
        source: io::Error,
    },
    /// Nobody answered in time.
    #[error("nobody answered in time")]
    TimedOut,
    /// The workspace has as many connections as it may have, or the host as many as it can.
    #[error("too many connections")]
    TooMany,
}

/// What a relay does and has done.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Figures {
    /// Connections that are open or being opened.
    pub open_connections: u64,
    /// Connections that were opened, over the relay's life.
    pub connections: u64,
    /// Bytes that went out.
    pub bytes_sent: u64,
    /// Bytes that came in.
    pub bytes_received: u64,
    /// Connections and look-ups that the policy refused.
    pub denied: u64,
    /// Queries of the domain name system that were answered.
    pub queries: u64,
    /// Of these, those that were answered with a failure because there were too many.
    pub queries_flooded: u64,
    /// Names that are remembered with an address.
    pub names: u64,
    /// Lines of the log that were forgotten.
    pub log_dropped: u64,
    /// Bytes of the connections' buffers, now.
    pub buffer_bytes: u64,
    /// The most memory that all of it can take, in bytes.
    pub memory_bound_bytes: u64,
}

impl Relay {
    /// A relay with nothing open.
    pub fn new(policy: Policy, settings: Settings) -> Self {
        let limits = &settings.limits;
        let now = settings.clock.now();
        let state = State {
            policy: Arc::new(policy),
            names: NameTable::new(limits.names, limits.name_time.max(limits.answer_time)),
            answers: HashMap::new(),
            open: HashMap::new(),
            next: 0,
            queries: Rate::new(limits.queries, 2, now),
            lookups: Rate::new(limits.lookups, 10, now),
            host: None,
        };
        let log = Log::new(limits.lines, settings.sink.clone());
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            log,
            looking_up: Semaphore::new(limits.looking_up),
            connecting: Semaphore::new(limits.connecting),
            counts: Counts::default(),
            settings,
        }))
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.0.state().policy)
    }

    /// Changes the policy, at once: before this returns, what no longer fits is told to end, also
    /// what is still being connected. Returns how many that were.
    pub fn set_policy(&self, policy: Policy) -> usize {
        let policy = Arc::new(policy);
        let now = self.0.settings.clock.now();
        let mut ended = Vec::new();
        {
            let mut state = self.0.state();
            state.policy = Arc::clone(&policy);
            let own = self.0.own_addresses(&mut state, now);
            for open in state.open.values() {
                let names = state.names.names(open.address, now);
                let fits = match &own {
                    Ok(own) => open.fits(&policy, &names, own),
                    Err(denial) => Err(denial.clone()),
                };
                let Err(denial) = fits else { continue };
                let why = format!("the policy was changed: {}", denial.why);
                let denial = Denial { reason: Reason::PolicyChanged, why, hint: denial.hint };
                let entry = Entry {
                    name: open.claimed.as_ref().or(names.first()).map(ToString::to_string),
                    address: Some(open.address),
                    port: Some(open.port),
                    ..Entry::new(Verdict::Closed, Protocol::Tcp, open.process.clone())
                };
                ended.push(entry.denied(&denial));
                open.end.send_replace(Some(denial));
            }
        }
        let count = ended.len();
        for entry in ended {
            self.0.write(entry);
        }
        count
    }

    /// Answers one message of the domain name system, whole and without a stream's length bytes.
    /// `None` where it deserves no answer.
    pub async fn dns(
        &self,
        query: &[u8],
        transport: Transport,
        process: Option<Process>,
    ) -> Option<Vec<u8>> {
        let question = match dns::read(query, transport) {
            Asked::Nothing => return None,
            Asked::Known(answer) => return Some(answer),
            Asked::Question(question) => question,
        };
        self.0.counts.queries.fetch_add(1, Ordering::Relaxed);
        let now = self.0.settings.clock.now();
        if !self.0.state().queries.take(now) {
            self.0.counts.floods.fetch_add(1, Ordering::Relaxed);
            return Some(question.answer(&Answer::Failed));
        }
        Some(self.0.answer(&question, process.map(Process::tamed), now).await)
    }

    /// Connects to where a guest's program wants to, if it may, and says what became of it. The
    /// guest's own first packet is to be answered by that.
    pub async fn connect(
        &self,
        destination: SocketAddr,
        process: Option<Process>,
    ) -> Result<Outgoing, Refusal> {
        let process = process.map(Process::tamed);
        let (address, port) = (canonical(destination.ip()), destination.port());
        let Admitted { ticket, mut end, grounds, name } =
            self.0.admit(address, port, process.clone())?;
        let entry = Entry {
            name: name.as_ref().map(ToString::to_string),
            address: Some(address),
            port: Some(port),
            ..Entry::new(Verdict::Failed, Protocol::Tcp, process)
        };
        let connected = tokio::select! {
            biased;
            Ok(ended) = end.wait_for(Option::is_some) => {
                let denial = ended.clone();
                return Err(denial.map_or(Refusal::TooMany, Refusal::Denied));
            }
            connected = self.0.reach(SocketAddr::new(address, port)) => connected,
        };
        let stream = match connected {
            Ok(stream) => stream,
            Err(refusal) => {
                self.0.write(Entry { why: Some(refusal.to_string()), ..entry });
                return Err(refusal);
            }
        };
        // The kernel knows ways to itself that no list of addresses shows: it then speaks to itself.
        let is_itself = stream.local_addr().is_ok_and(|local| canonical(local.ip()) == address);
        if is_itself && let Err(denial) = self.0.policy_for_itself(address, port) {
            let _ = stream.set_zero_linger();
            self.0.counts.denied.fetch_add(1, Ordering::Relaxed);
            self.0.write(Entry { verdict: Verdict::Denied, ..entry.denied(&denial) });
            return Err(Refusal::Denied(denial));
        }
        // It may have been told to end since.
        if let Some(denial) = end.borrow().clone() {
            let _ = stream.set_zero_linger();
            return Err(Refusal::Denied(denial));
        }
        self.0.counts.connections.fetch_add(1, Ordering::Relaxed);
        let (rule, inspector) = match grounds {
            Grounds::Egress => (None, None),
            Grounds::Literal(rule) => (Some(rule), None),
            Grounds::Name(_, rule) => (Some(rule), Some(Inspector::new(port))),
        };
        let rule = rule.as_ref().map(ToString::to_string);
        self.0.write(Entry { verdict: Verdict::Allowed, rule, ..entry });
        Ok(Outgoing::new(ticket, end, stream, inspector))
    }

    /// What was let through and what was refused.
    pub fn log(&self) -> &Log {
        &self.0.log
    }

    /// What it does and has done.
    pub fn figures(&self) -> Figures {
        let (open, names) = {
            let state = self.0.state();
            (state.open.len() as u64, state.names.len() as u64)
        };
        let counts = &self.0.counts;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            open_connections: open,
            connections: count(&counts.connections),
            bytes_sent: count(&counts.sent),
            bytes_received: count(&counts.received),
            denied: count(&counts.denied),
            queries: count(&counts.queries),
            queries_flooded: count(&counts.floods),
            names,
            log_dropped: self.0.log.dropped(),
            buffer_bytes: count(&counts.buffered),
            memory_bound_bytes: self.0.settings.limits.memory(),
        }
    }
}

impl Open {
    /// Whether it may stay open.
    fn fits(&self, policy: &Policy, names: &[DomainName], own: &[IpAddr]) -> Result<(), Denial> {
        let class = classify(self.address, own);
        let grounds = policy.connect(self.address, self.port, class, names)?;
        let Grounds::Name(name, _) = grounds else { return Ok(()) };
        if !self.is_inspected {
            // It was opened when nobody looked at what it sends, so it may be for any name.
            let why = format!("it was opened before {name} was needed for it");
            return Err(Denial::new(Reason::PolicyChanged, why));
        }
        match &self.claimed {
            Some(claimed) if policy.named(claimed, self.port).is_none() => {
                let hint = Rule::for_name(claimed, Some(self.port));
                let why = format!("no rule allows port {} of {claimed}", self.port);
                Err(Denial::new(Reason::NotAllowed, why).allow(&hint))
            }
            _ => Ok(()),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, entry: Entry) {
        self.log.write(entry, self.settings.clock.wall());
    }

    /// The host's own addresses. Where they cannot be told, nothing is reached: any address may be
    /// one.
    fn own_addresses(&self, state: &mut State, now: Duration) -> Result<Arc<[IpAddr]>, Denial> {
        if let Some((at, own)) = &state.host
            && now.saturating_sub(*at) < HOST_TIME
        {
            return Ok(Arc::clone(own));
        }
        let own = self.settings.host.addresses().map_err(|error| {
            let why = format!("which addresses are the host's own cannot be told: {error}");
            Denial::new(Reason::HostUnknown, why)
        })?;
        let own: Arc<[IpAddr]> = own.into();
        state.host = Some((now, Arc::clone(&own)));
        Ok(own)
    }

    /// Decides on a connection and enters it into the list, in one step.
    fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        port: u16,
        process: Option<Process>,
    ) -> Result<Admitted, Refusal> {
        let now = self.settings.clock.now();
        let mut state = self.state();
        let names = state.names.names(address, now);
        let entry = Entry {
            name: names.first().map(ToString::to_string),
            address: Some(address),
            port: Some(port),
            ..Entry::new(Verdict::Denied, Protocol::Tcp, process.clone())
        };
        let own = self.own_addresses(&mut state, now);
        let decided = own
            .and_then(|own| state.policy.connect(address, port, classify(address, &own), &names));
        let grounds = match decided {
            Ok(grounds) => grounds,
            Err(denial) => {
                drop(state);
                self.counts.denied.fetch_add(1, Ordering::Relaxed);
                self.write(entry.denied(&denial));
                return Err(Refusal::Denied(denial));
            }
        };
        if state.open.len() >= self.settings.limits.connections {
            drop(state);
            let why = format!(
                "the workspace has {} connections, and may have no more",
                self.settings.limits.connections
            );
            self.write(Entry { verdict: Verdict::Failed, why: Some(why), ..entry });
            return Err(Refusal::TooMany);
        }
        let name = match &grounds {
            Grounds::Name(name, _) => Some(name.clone()),
            _ => names.first().cloned(),
        };
        let (sender, end) = watch::channel(None);
        let is_inspected = matches!(grounds, Grounds::Name(..));
        let id = state.next;
        state.next += 1;
        state.names.opened(address);
        let open = Open { address, port, process, is_inspected, claimed: None, end: sender };
        state.open.insert(id, open);
        drop(state);
        let ticket = Ticket { shared: Arc::clone(self), id, address, port };
        Ok(Admitted { ticket, end, grounds, name })
    }

    /// Whether an address that turned out to be the host's own may be reached.
    fn policy_for_itself(&self, address: IpAddr, port: u16) -> Result<(), Denial> {
        let policy = Arc::clone(&self.state().policy);
        let class = classify(address, &[address]);
        policy.connect(address, port, class, &[]).map(|_| ())
    }

    /// Connects.
    async fn reach(&self, destination: SocketAddr) -> Result<TcpStream, Refusal> {
        let Ok(_permit) = self.connecting.try_acquire() else { return Err(Refusal::TooMany) };
        let connected =
            timeout(self.settings.limits.connect_time, self.settings.dial.dial(destination));
        let Ok(connected) = connected.await else { return Err(Refusal::TimedOut) };
        connected.map_err(|source| match source.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Refusal::Refused,
            io::ErrorKind::TimedOut => Refusal::TimedOut,
            io::ErrorKind::OutOfMemory => Refusal::TooMany,
            _ => Refusal::Unreachable { source },
        })
    }

    async fn answer(
        &self,
        question: &Question,
        process: Option<Process>,
        now: Duration,
    ) -> Vec<u8> {
        let seconds = self.settings.limits.answer_time.as_secs() as u32;
        if let Kind::NameOf(address) = question.kind {
            let names = self.state().names.names(canonical(address), now);
            let answer = names.first().map_or(Answer::NoName, |name| Answer::Name(name, seconds));
            return question.answer(&answer);
        }
        let entry = Entry {
            name: Some(question.shown().chars().take(253).collect()),
            ..Entry::new(Verdict::Denied, Protocol::Dns, process)
        };
        let decided = match &question.name {
            None => Err(Denial::new(Reason::InvalidName, "it is no name of a host")),
            Some(name) => {
                let policy = Arc::clone(&self.state().policy);
                policy.resolve(name).map(|rule| (name, rule.map(ToString::to_string)))
            }
        };
        let (name, rule) = match decided {
            Ok(decided) => decided,
            Err(denial) => {
                self.counts.denied.fetch_add(1, Ordering::Relaxed);
                self.write(entry.denied(&denial));
                return question.answer(&Answer::Denied(&denial));
            }
        };
        if question.kind == Kind::Other {
            return question.answer(&Answer::Addresses(&[], seconds));
        }
        let resolved = self.resolved(name, now, &Entry { rule, ..entry.clone() }).await;
        let addresses = match resolved {
            Ok(addresses) => addresses,
            Err(ResolveError::NoSuchName) => return question.answer(&Answer::NoName),
            Err(error) => {
                if error == ResolveError::TooMany {
                    self.counts.floods.fetch_add(1, Ordering::Relaxed);
                }
                return question.answer(&Answer::Failed);
            }
        };
        match self.learn(name, &addresses, question.kind, &entry) {
            Ok(told) => question.answer(&Answer::Addresses(&told, seconds)),
            Err(denial) => question.answer(&Answer::Denied(&denial)),
        }
    }

    /// Asks for a name's addresses, or gives what is known. All who ask for a name at once wait for
    /// one look-up.
    async fn resolved(
        &self,
        name: &DomainName,
        now: Duration,
        entry: &Entry,
    ) -> Result<Arc<[IpAddr]>, ResolveError> {
        let limits = &self.settings.limits;
        let resolved: Resolved = {
            let mut state = self.state();
            if state.answers.get(name).is_none_or(|kept| kept.until <= now) {
                make_room(&mut state.answers, now);
                let until = now + limits.lookup_time + limits.answer_time;
                let kept = Kept { resolved: Arc::default(), until };
                state.answers.insert(name.clone(), kept);
            }
            let kept = state.answers.get(name).map(|kept| Arc::clone(&kept.resolved));
            kept.unwrap_or_default()
        };
        let ask = async {
            let found = self.look_up(name).await;
            let now = self.settings.clock.now();
            let keep = match &found {
                Ok(_) => limits.answer_time,
                Err(ResolveError::NoSuchName) => NO_NAME_TIME,
                Err(_) => Duration::ZERO,
            };
            if let Some(kept) = self.state().answers.get_mut(name)
                && Arc::ptr_eq(&kept.resolved, &resolved)
            {
                kept.until = now + keep;
            }
            self.write(match &found {
                Ok(_) => Entry { verdict: Verdict::Allowed, ..entry.clone() },
                Err(error) => Entry {
                    verdict: Verdict::Failed,
                    why: Some(error.to_string()),
                    ..entry.clone()
                },
            });
            found.map(|addresses| addresses.into_iter().take(MOST_ADDRESSES).collect())
        };
        resolved.get_or_init(|| ask).await.clone()
    }

    async fn look_up(&self, name: &DomainName) -> Result<Vec<IpAddr>, ResolveError> {
        let Ok(_permit) = self.looking_up.try_acquire() else { return Err(ResolveError::TooMany) };
        if !self.state().lookups.take(self.settings.clock.now()) {
            return Err(ResolveError::TooMany);
        }
        let found = self.settings.resolver.resolve(name.clone());
        let found = timeout(self.settings.limits.lookup_time, found).await;
        found.unwrap_or(Err(ResolveError::TimedOut))
    }

    /// Remembers the addresses of a name that may be told, of one kind, and returns them. What is
    /// special and not named literally is left out; where that is all of it, the denial says so.
    fn learn(
        &self,
        name: &DomainName,
        addresses: &[IpAddr],
        kind: Kind,
        entry: &Entry,
    ) -> Result<Vec<IpAddr>, Denial> {
        let now = self.settings.clock.now();
        let mut denials = Vec::new();
        let mut told = Vec::new();
        {
            let mut state = self.state();
            let policy = Arc::clone(&state.policy);
            // It may have been changed while the host's resolver was asked.
            policy.resolve(name)?;
            let own = self.own_addresses(&mut state, now)?;
            for address in addresses.iter().map(|address| canonical(*address)) {
                let is_asked_for = match kind {
                    Kind::A => address.is_ipv4(),
                    Kind::Aaaa => address.is_ipv6(),
                    _ => false,
                };
                if !is_asked_for || told.contains(&address) {
                    continue;
                }
                let class = classify(address, &own);
                if let Class::Special { what, .. } = class
                    && !policy.names_address(address, class)
                {
                    let why = format!(
                        "{name} resolves to {address}, which is {what}: it is reached only where a \
                         rule names it"
                    );
                    let denial = Denial::new(Reason::SpecialAddress, why)
                        .allow(&Rule::for_address(address, None));
                    denials.push((address, denial));
                    continue;
                }
                state.names.learn(name, address, now);
                told.push(address);
            }
        }
        for (address, denial) in &denials {
            self.counts.denied.fetch_add(1, Ordering::Relaxed);
            let entry = Entry { address: Some(*address), ..entry.clone() };
            self.write(entry.denied(denial));
        }
        match denials.pop() {
            Some((_, denial)) if told.is_empty() => Err(denial),
            _ => Ok(told),
        }
    }
}

/// Makes room for one more answer.
fn make_room(answers: &mut HashMap<DomainName, Kept>, now: Duration) {
    if answers.len() < MOST_ANSWERS {
        return;
    }
    answers.retain(|_, kept| kept.until > now);
    if answers.len() < MOST_ANSWERS {
        return;
    }
    let first = answers.iter().min_by_key(|(_, kept)| kept.until);
    if let Some(name) = first.map(|(name, _)| name.clone()) {
        answers.remove(&name);
    }
}

/// A place in the list of what is open; dropped, it is given back.
pub(crate) struct Ticket {
    pub shared: Arc<Shared>,
    id: u64,
    address: IpAddr,
    port: u16,
}

impl Ticket {
    /// Whether the guest may claim a name on this connection, now.
    pub fn check(&self, claim: Claim, name: &DomainName) -> Result<(), Violation> {
        if self.is_free() {
            return Ok(());
        }
        let now = self.shared.settings.clock.now();
        let mut state = self.shared.state();
        let policy = Arc::clone(&state.policy);
        let what = match claim {
            Claim::ServerName => "its ClientHello",
            Claim::Host => "its request",
        };
        let reason = match claim {
            Claim::ServerName => Reason::OtherServerName,
            Claim::Host => Reason::OtherHost,
        };
        let violation =
            |why: String| Violation { name: Some(name.clone()), ..Violation::new(reason, why) };
        if policy.named(name, self.port).is_none() {
            let why = format!("{what} is for {name}, and no rule allows its port {}", self.port);
            return Err(violation(why));
        }
        if !state.names.has(self.address, name, now) {
            let why = format!("{what} is for {name}, which was not resolved to {}", self.address);
            return Err(Violation { name: None, ..violation(why) });
        }
        if let Some(open) = state.open.get_mut(&self.id) {
            open.claimed = Some(name.clone());
        }
        Ok(())
    }

    /// Whether what it sends does not matter, by the policy in force.
    pub fn is_free(&self) -> bool {
        let now = self.shared.settings.clock.now();
        let mut state = self.shared.state();
        let Ok(own) = self.shared.own_addresses(&mut state, now) else { return false };
        let class = classify(self.address, &own);
        let grounds = state.policy.connect(self.address, self.port, class, &[]);
        matches!(grounds, Ok(Grounds::Egress | Grounds::Literal(_)))
    }

    /// Writes down that what it sent was refused.
    pub fn deny(&self, violation: Violation) -> Denial {
        let hint = match &violation.name {
            Some(name) => Rule::for_name(name, Some(self.port)),
            None => Rule::for_address(self.address, Some(self.port)),
        };
        let denial = Denial::new(violation.reason, violation.why).allow(&hint);
        let now = self.shared.settings.clock.now();
        let (process, name) = {
            let state = self.shared.state();
            let process = state.open.get(&self.id).and_then(|open| open.process.clone());
            (process, state.names.names(self.address, now).into_iter().next())
        };
        let entry = Entry {
            name: violation.name.or(name).map(|name| name.to_string()),
            address: Some(self.address),
            port: Some(self.port),
            ..Entry::new(Verdict::Denied, Protocol::Tcp, process)
        };
        self.shared.counts.denied.fetch_add(1, Ordering::Relaxed);
        self.shared.write(entry.denied(&denial));
        denial
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.open.remove(&self.id);
        state.names.closed(self.address);
    }
}
