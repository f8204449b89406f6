//! The task of one service: carries out what its machine says, and tells the machine what happened.
//!
//! Owns the service's record and its present run. Refuses to know the others: whether they are as
//! this one needs them is asked of [`super::Services`].

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use pyro_wire::{
    EnvironmentVariable, Probe, ProbeResult, Problem, RestartPolicy, ServiceEvent, ServiceExit,
    ServiceHealth, ServiceRecord, ServiceSpec, ServiceState, StartExec, probe::Kind,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, sleep_until},
};

use super::{
    excerpt::excerpt,
    listening::{self, Looks, Tables},
    log::Log,
    machine::{Effect, Event, Exit, Machine, Moment, RESTART_LIMIT, Rules, Shown, State, Why},
    measure::Measured,
    probe::{self, LineWatch, Notify, Place, Seen},
    process::{Run, Streams},
    record,
    services::Standing,
};
use crate::{agent::Agent, clock, refusal::Refusal};

/// To become ready, where nothing else is said.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// TERM to KILL, where nothing else is said.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// The longest time between two tries, where nothing else is said.
const READY_INTERVAL: Duration = Duration::from_millis(500);
/// Between two looks at its health, where nothing else is said.
const HEALTH_INTERVAL: Duration = Duration::from_secs(10);
/// Between two things a service says of itself.
const BETWEEN_NOTICES: Duration = Duration::from_millis(10);
/// Between two looks at whose socket answers a probe that has not passed.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// Failures in a row that count, where nothing else is said.
const HEALTH_RETRIES: u32 = 3;

/// What somebody wants of a service.
#[derive(Debug)]
pub enum Wish {
    /// It shall run, as this says.
    Start {
        /// What it shall be; of one that is not idle, not looked at.
        spec: Box<ServiceSpec>,
        /// What it is started from; none: as before.
        source: Option<String>,
    },
    /// It stays as it is, but belongs to this source.
    Adopt(String),
    /// It shall run anew.
    Restart,
    /// It shall stop.
    Stop {
        /// Who wants that.
        why: Why,
        /// Other than its own.
        signal: Option<i32>,
        /// The same.
        grace: Option<Duration>,
    },
    /// A signal for it.
    Signal {
        /// Its number.
        number: i32,
        /// For every process of it, or for the main one's group.
        whole_tree: bool,
    },
    /// It is to be forgotten; only said of one that is idle.
    Forget,
}

/// What the supervisor's task takes in, one by one.
#[derive(Debug)]
enum Input {
    Wish(Wish, oneshot::Sender<Arc<View>>),
    Spawned(u64, Result<Spawned, Refusal>),
    Seen(u64, Seen),
    Status(u64, String),
    Health(u64, Seen),
    MainEnded(u64),
    Ended(u64, Exit),
    /// Of the wait with this number.
    Standing(u64, Standing),
}

/// A process that was made.
#[derive(Debug)]
struct Spawned {
    run: Arc<Run>,
    streams: Streams,
    notify: Option<Notify>,
}

/// What others see of a service at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// Its record, without what must be measured.
    pub record: ServiceRecord,
    /// Whether its process is just being made, or it is not known yet whether it must wait.
    pub spawning: bool,
    /// Whether nothing of it runs or is going to.
    pub idle: bool,
    /// How often it came to rest so far; see [`Machine::lulls`].
    pub lulls: u64,
    /// Why its process could not be made, as the caller is told.
    pub refusal: Option<Problem>,
}

/// One service.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// What it prints.
    pub log: Arc<Log>,
    /// Whoever starts, replaces or deletes it does so alone.
    pub turn: Arc<tokio::sync::Mutex<()>>,
    view: watch::Sender<Arc<View>>,
    run: Mutex<Option<Arc<Run>>>,
    inputs: mpsc::UnboundedSender<Input>,
}

impl Service {
    /// As it stands.
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// To wait for what it becomes.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    fn run(&self) -> MutexGuard<'_, Option<Arc<Run>>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What its present run uses; none where there is no run. Blocks.
    pub fn measure(&self, agent: &Arc<Agent>, tables: &mut Tables) -> Option<Measured> {
        let run = self.run().clone()?;
        let measured = Measured {
            run: run.number,
            memory_bytes: run.cgroup.memory_bytes(),
            cpu_micros: run.cgroup.usage().cpu_micros,
            listening: tables.ports(&run.cgroup.processes()),
        };
        let_go(agent, run);
        Some(measured)
    }

    /// Its record, with what was measured of its present run.
    pub fn record(&self, measured: Option<&Measured>) -> ServiceRecord {
        let mut record = self.view().record.clone();
        (record.stdout_bytes, record.stderr_bytes) = self.log.counted();
        let lives = self.run().is_some();
        if let Some(measured) = measured.filter(|of| lives && of.run == record.run) {
            record.memory_bytes = measured.memory_bytes;
            record.cpu_micros = measured.cpu_micros;
            // Of one that is being stopped for not being ready: where it listened until then.
            if !record.stopping || record.listening.is_empty() {
                record.listening.clone_from(&measured.listening);
            }
        }
        record
    }

    /// Whether the present run holds any of these sockets. Blocks.
    fn holds(&self, agent: &Arc<Agent>, sockets: &BTreeSet<u64>, looks: &mut Looks) -> bool {
        let Some(run) = self.run().clone() else { return false };
        let held = listening::held(&run.cgroup.processes(), sockets.clone(), looks);
        let_go(agent, run);
        !held.is_empty()
    }

    /// Tells a wish; returns how the service stood when it had taken it in.
    pub async fn wish(&self, wish: Wish) -> Arc<View> {
        let (done, seen) = oneshot::channel();
        if self.inputs.send(Input::Wish(wish, done)).is_ok()
            && let Ok(view) = seen.await
        {
            return view;
        }
        self.view()
    }
}

/// The rules a specification means.
pub fn rules(spec: &ServiceSpec) -> Rules {
    let or = |millis: u64, usual: Duration| match millis {
        0 => usual,
        millis => Duration::from_millis(millis),
    };
    Rules {
        probed: spec.readiness.as_ref().is_some_and(|probe| probe.kind.is_some()),
        ready_timeout: or(spec.ready_timeout_millis, READY_TIMEOUT),
        keep_on_ready_timeout: spec.keep_on_ready_timeout,
        stop_signal: match spec.stop_signal {
            0 => 15,
            number => number as i32,
        },
        stop_grace: or(spec.stop_grace_millis, STOP_GRACE),
        restart: spec.restart(),
        restart_limit: match spec.restart_limit {
            0 => RESTART_LIMIT,
            limit => limit,
        },
        health: spec.health.as_ref().is_some_and(|health| health.probe.is_some()),
        restart_unhealthy: spec.health.as_ref().is_some_and(|health| health.restart),
    }
}

/// What an earlier boot left of a service, as it is now: nothing of it runs.
fn past(record: &ServiceRecord) -> Shown {
    let state = match record.state() {
        ServiceState::ServiceExited => State::Exited,
        ServiceState::ServiceFailed => State::Failed,
        _ => State::Stopped,
    };
    let crashed = matches!(
        record.state(),
        ServiceState::ServiceStarting | ServiceState::ServiceRunning | ServiceState::ServiceBackoff
    );
    let last_exit = record.last_exit.as_ref().map(|exit| {
        let of = Exit {
            code: exit.exit_code,
            signal: exit.signal,
            oom_killed: exit.oom_killed,
            left_behind: exit.left_behind,
            workload_lost: false,
        };
        (of, exit.ended_millis)
    });
    Shown {
        state,
        started_millis: record.started_millis,
        ready_millis: record.ready_millis,
        ended_millis: record.ended_millis,
        stop_reason: if crashed { Some("workspace_crashed") } else { known(&record.stop_reason) },
        detail: record.detail.clone(),
        last_exit,
        restart_count: record.restart_count,
        wanted: record.wanted,
        run: record.run,
        ..Shown::default()
    }
}

/// A reason of our own from its text.
fn known(reason: &str) -> Option<&'static str> {
    [
        "process_exited_before_ready",
        "readiness_timeout",
        "sigterm",
        "sigkill",
        "sigint",
        "sigquit",
        "sighup",
        "signal",
        "workspace_stopped",
        "workspace_crashed",
        "health_check_failed",
        "restart_limit",
        "dependency_failed",
        "start_failed",
    ]
    .into_iter()
    .find(|known| *known == reason)
}

/// The task.
struct Supervisor {
    agent: Arc<Agent>,
    service: Arc<Service>,
    directory: PathBuf,
    inputs: mpsc::UnboundedSender<Input>,
    machine: Machine,
    spec: ServiceSpec,
    record: ServiceRecord,
    refusal: Option<Problem>,
    /// Probing, and what else goes on only during this run.
    beside: JoinSet<()>,
    awaiting: Option<AbortHandle>,
    /// Counts the waits for dependencies: what an earlier one says late is not this one's.
    waits: u64,
    health_failures: u32,
    /// When it was last looked at whose socket answers the probe, and what was seen.
    looked: Option<Instant>,
    answered: String,
}

/// Begins to look after a service with this record.
pub fn look_after(
    agent: &Arc<Agent>,
    directory: PathBuf,
    log: Log,
    record: ServiceRecord,
) -> Arc<Service> {
    let (inputs, inbox) = mpsc::unbounded_channel();
    let spec = record.spec.clone().unwrap_or_default();
    let machine = Machine::new(rules(&spec), past(&record));
    let view =
        View { record: record.clone(), spawning: false, idle: true, lulls: 0, refusal: None };
    let service = Arc::new(Service {
        name: spec.name.clone(),
        log: Arc::new(log),
        turn: Arc::default(),
        view: watch::Sender::new(Arc::new(view)),
        run: Mutex::default(),
        inputs: inputs.clone(),
    });
    let mut supervisor = Supervisor {
        agent: agent.clone(),
        service: service.clone(),
        directory,
        inputs,
        machine,
        spec,
        record,
        refusal: None,
        beside: JoinSet::new(),
        awaiting: None,
        waits: 0,
        health_failures: 0,
        looked: None,
        answered: String::new(),
    };
    supervisor.fill_in();
    supervisor.show();
    tokio::spawn(supervisor.run(inbox));
    service
}

fn now() -> Moment {
    Moment { monotonic: clock::since_boot(), wall_millis: clock::now().as_millis() as u64 }
}

impl Supervisor {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Input>) {
        loop {
            let deadline = self.machine.deadline();
            let tick = async {
                match deadline {
                    Some(at) => {
                        sleep_until(Instant::now() + at.saturating_sub(clock::since_boot())).await;
                    }
                    None => std::future::pending().await,
                }
            };
            let input = tokio::select! {
                biased;
                input = inbox.recv() => input,
                () = tick => {
                    if self.machine.gives_up_next() {
                        self.look_where_it_listens().await;
                    }
                    self.feed(Event::Tick).await;
                    continue;
                }
            };
            match input {
                Some(Input::Wish(Wish::Forget, done)) => {
                    let _ = done.send(self.service.view());
                    return;
                }
                Some(input) => self.take_in(input).await,
                None => return,
            }
        }
    }

    async fn take_in(&mut self, input: Input) {
        match input {
            Input::Wish(wish, done) => {
                self.grant(wish).await;
                let _ = done.send(self.service.view());
            }
            Input::Spawned(number, Ok(spawned)) => {
                *self.service.run() = Some(spawned.run.clone());
                self.feed(Event::Spawned(number)).await;
                self.follow(spawned);
                if self.machine.shown().stopping {
                    self.beside = JoinSet::new();
                }
            }
            Input::Spawned(number, Err(refusal)) => {
                self.refusal = Some(refusal.to_problem());
                self.feed(Event::SpawnFailed(number, refusal.to_string())).await;
            }
            Input::Seen(number, seen) => {
                if number != self.machine.shown().run || self.machine.shown().stopping {
                    return;
                }
                if seen.passed {
                    self.record.last_probe = Some(result(&seen));
                    self.feed(Event::Passed(number)).await;
                }
                // Not before: it takes longer than the probe.
                let seen = self.say_who_answered(seen).await;
                self.record.last_probe = Some(result(&seen));
                self.show();
            }
            Input::Status(number, status) => {
                if number == self.machine.shown().run {
                    self.record.status_text = status;
                    self.show();
                }
            }
            Input::Health(number, seen) => self.take_in_health(number, &seen).await,
            Input::MainEnded(number) => {
                if number == self.machine.shown().run {
                    self.beside = JoinSet::new();
                }
                self.feed(Event::MainEnded(number)).await;
            }
            Input::Ended(number, exit) => {
                self.beside = JoinSet::new();
                let run = self.service.run().take();
                self.feed(Event::Ended(number, exit)).await;
                if let Some(run) = run {
                    let_go(&self.agent, run);
                }
            }
            Input::Standing(wait, _) if wait != self.waits => {}
            Input::Standing(_, standing) => match standing {
                Standing::Met => {
                    self.record.waiting_for.clear();
                    self.feed(Event::DependenciesMet).await;
                }
                Standing::Failed(why) => {
                    self.record.waiting_for.clear();
                    self.feed(Event::DependencyFailed(why)).await;
                }
                Standing::Waiting(names) => {
                    if self.machine.is_waiting() && self.record.waiting_for != names {
                        self.record.waiting_for = names;
                        self.publish().await;
                    }
                }
            },
        }
    }

    async fn grant(&mut self, wish: Wish) {
        // Its stop with the workspace may have been granted already: nothing runs after that.
        if matches!(wish, Wish::Start { .. } | Wish::Restart) && self.agent.services.is_closing() {
            self.refusal = Some(Refusal::ShuttingDown.to_problem());
            return self.show();
        }
        match wish {
            Wish::Start { spec, source } => {
                let source = source.unwrap_or_else(|| self.record.source.clone());
                if self.machine.is_idle() {
                    self.machine.set_rules(rules(&spec));
                    self.service.log.set_limit(log_limit(&spec));
                    self.record.spec = Some((*spec).clone());
                    self.spec = *spec;
                    self.record.source = source;
                } else if !source.is_empty() && self.record.source != source {
                    self.record.source = source;
                    self.publish().await;
                }
                self.refusal = None;
                self.feed(Event::Start).await;
            }
            Wish::Restart => {
                self.refusal = None;
                self.feed(Event::Restart).await;
            }
            Wish::Stop { why, signal, grace } => {
                self.feed(Event::Stop { why, signal, grace }).await;
            }
            Wish::Adopt(source) => {
                if self.record.source != source {
                    self.record.source = source;
                    self.publish().await;
                }
            }
            Wish::Signal { number, whole_tree } => {
                if let Some(run) = self.service.run().as_ref() {
                    run.signal(number, whole_tree);
                }
            }
            Wish::Forget => {}
        }
    }

    /// Tells the machine, does what it says, and tells the world what is new.
    async fn feed(&mut self, event: Event) {
        let before = self.machine.shown().clone();
        // What is known a moment before the whole end is seen by whoever looks, and not kept.
        let passing = matches!(event, Event::MainEnded(_));
        let effects = self.machine.on(event, now());
        if effects.iter().any(|effect| matches!(effect, Effect::Signal(..))) {
            // What is seen of it from here on is its end, and says nothing of why it was not ready.
            self.beside = JoinSet::new();
        }
        // What others see is true before anything follows from it.
        if passing || *self.machine.shown() == before {
            self.show();
        } else {
            self.publish().await;
        }
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::AwaitDependencies => {
                if let Some(before) = self.awaiting.take() {
                    before.abort();
                }
                self.waits += 1;
                let wait = self.waits;
                let (inputs, agent, spec) =
                    (self.inputs.clone(), self.agent.clone(), self.spec.clone());
                let tell = move |standing| {
                    let _ = inputs.send(Input::Standing(wait, standing));
                };
                let awaiting = async move { agent.services.await_dependencies(&spec, tell).await };
                self.awaiting = Some(tokio::spawn(awaiting).abort_handle());
            }
            Effect::Spawn(number) => self.spawn(number),
            Effect::Probe(number) => self.probe(number),
            Effect::CheckHealth(number) => self.check_health(number),
            Effect::Signal(_, number) => {
                if let Some(run) = self.service.run().as_ref() {
                    run.end(number);
                }
            }
            Effect::Kill(_) => {
                if let Some(run) = self.service.run().as_ref() {
                    run.kill();
                }
            }
        }
    }

    fn spawn(&mut self, number: u64) {
        self.record.last_probe = None;
        self.record.listening.clear();
        self.record.status_text.clear();
        self.health_failures = 0;
        self.looked = None;
        self.beside = JoinSet::new();
        let (inputs, agent, spec) = (self.inputs.clone(), self.agent.clone(), self.spec.clone());
        tokio::spawn(async move {
            let spawned = spawn(&agent, number, &spec).await;
            let _ = inputs.send(Input::Spawned(number, spawned));
        });
    }

    /// Sees a run through.
    fn follow(&mut self, Spawned { run, streams, notify }: Spawned) {
        let number = run.number;
        if let Some(notify) = notify {
            self.beside.spawn(listen(notify, number, self.inputs.clone()));
        }
        let pattern = match self.spec.readiness.as_ref().and_then(|probe| probe.kind.as_ref()) {
            Some(Kind::Log(pattern)) => Some(pattern.clone()),
            _ => None,
        };
        let (tell, told) = mpsc::channel(1);
        let lines = pattern.and_then(|pattern| LineWatch::new(&pattern, tell).ok());
        if lines.is_some() {
            self.beside.spawn(pass_on(told, number, self.inputs.clone()));
        }
        let (inputs, agent, log) =
            (self.inputs.clone(), self.agent.clone(), self.service.log.clone());
        tokio::spawn(async move {
            let ended = inputs.clone();
            let main_ended = move || drop(ended.send(Input::MainEnded(number)));
            let exit = run.to_its_end(&agent, streams, &log, lines, main_ended).await;
            drop(run);
            let _ = inputs.send(Input::Ended(number, exit));
        });
    }

    fn place(&self) -> Option<Place> {
        let run = self.service.run();
        let run = run.as_ref()?;
        Some(Place::new(self.agent.clone(), run.spawner.clone()))
    }

    fn probe(&mut self, number: u64) {
        let Some(probe) = self.spec.readiness.clone() else { return };
        let Some(place) = self.place() else { return };
        let longest = match self.spec.ready_interval_millis {
            0 => READY_INTERVAL,
            millis => Duration::from_millis(millis),
        };
        if matches!(probe.kind, Some(Kind::Log(_) | Kind::Notify(_)) | None) {
            return;
        }
        let (tell, told) = mpsc::channel(1);
        self.beside.spawn(probe::until_ready(probe, self.spec.clone(), place, longest, tell));
        self.beside.spawn(pass_on(told, number, self.inputs.clone()));
    }

    fn check_health(&mut self, number: u64) {
        let Some(health) = self.spec.health.clone() else { return };
        let (Some(probe), Some(place)) = (health.probe, self.place()) else { return };
        let interval = match health.interval_millis {
            0 => HEALTH_INTERVAL,
            millis => Duration::from_millis(millis),
        };
        let (inputs, spec) = (self.inputs.clone(), self.spec.clone());
        self.beside.spawn(watch_health(probe, spec, place, interval, number, inputs));
    }

    async fn take_in_health(&mut self, number: u64, seen: &Seen) {
        let shown = self.machine.shown();
        if number != shown.run || !shown.ready {
            return;
        }
        let health = self.spec.health.clone().unwrap_or_default();
        self.record.last_probe = Some(result(seen));
        if seen.passed {
            self.health_failures = 0;
            return self.feed(Event::Healthy(number)).await;
        }
        let ready_for = clock::now().as_millis() as u64;
        let ready_for = ready_for.saturating_sub(shown.ready_millis);
        if ready_for < health.start_period_millis {
            return self.show();
        }
        self.health_failures += 1;
        let retries = if health.retries == 0 { HEALTH_RETRIES } else { health.retries };
        if self.health_failures >= retries {
            self.feed(Event::Unhealthy(number)).await;
        } else {
            self.show();
        }
    }

    /// Keeps where it listens, before it is stopped for not being ready.
    async fn look_where_it_listens(&mut self) {
        let (agent, service) = (self.agent.clone(), self.service.clone());
        let measure = move || service.measure(&agent, &mut Tables::default());
        let measured = tokio::task::spawn_blocking(measure).await;
        self.record.listening =
            measured.ok().flatten().map(|measured| measured.listening).unwrap_or_default();
    }

    /// Adds to what a probe saw whose socket answered it, where it is not this run's own. It is only
    /// said: a port may well be served for a service by another.
    async fn say_who_answered(&mut self, seen: Seen) -> Seen {
        let Some((peer, place)) = seen.peer.zip(self.place()) else { return seen };
        if !seen.passed && self.looked.is_some_and(|at| at.elapsed() < BETWEEN_LOOKS) {
            let note = self.answered.clone();
            return seen.adding(&note);
        }
        self.looked = Some(Instant::now());
        let (agent, service) = (self.agent.clone(), self.service.clone());
        let look = move || who_answers(&agent, &service, &place, peer);
        self.answered = tokio::task::spawn_blocking(look).await.unwrap_or_default();
        seen.adding(&self.answered)
    }

    /// Brings the record up to what the machine says.
    fn fill_in(&mut self) {
        let shown = self.machine.shown();
        let record = &mut self.record;
        record.set_state(match shown.state {
            State::Starting => ServiceState::ServiceStarting,
            State::Running => ServiceState::ServiceRunning,
            State::Backoff => ServiceState::ServiceBackoff,
            State::Exited => ServiceState::ServiceExited,
            State::Failed => ServiceState::ServiceFailed,
            State::Stopped => ServiceState::ServiceStopped,
        });
        record.ready = shown.ready;
        record.set_health(match shown.healthy {
            None => ServiceHealth::HealthNone,
            Some(true) => ServiceHealth::HealthPassing,
            Some(false) => ServiceHealth::HealthFailing,
        });
        record.restart_count = shown.restart_count;
        record.started_millis = shown.started_millis;
        record.ready_millis = shown.ready_millis;
        record.ended_millis = shown.ended_millis;
        record.stop_reason = shown.stop_reason.unwrap_or_default().to_owned();
        record.detail.clone_from(&shown.detail);
        record.last_exit = shown.last_exit.map(|(exit, ended_millis)| ServiceExit {
            exit_code: exit.code,
            signal: exit.signal,
            oom_killed: exit.oom_killed,
            ended_millis,
            left_behind: exit.left_behind,
        });
        record.wanted = shown.wanted;
        record.stopping = shown.stopping;
        record.run = shown.run;
        let lives = !self.machine.has_no_main_process();
        record.pid = self.service.run().as_ref().filter(|_| lives).map_or(0, |run| run.inner_pid);
        if !self.machine.is_waiting() {
            record.waiting_for.clear();
        }
    }

    /// Lets others see it as it stands.
    fn show(&mut self) {
        self.fill_in();
        self.service.view.send_replace(Arc::new(View {
            record: self.record.clone(),
            spawning: self.machine.is_spawning()
                || (self.machine.is_waiting() && self.record.waiting_for.is_empty()),
            idle: self.machine.is_idle(),
            lulls: self.machine.lulls(),
            refusal: self.refusal.clone(),
        }));
    }

    /// The same for a change that counts: it is kept, and told to whoever follows.
    async fn publish(&mut self) {
        self.record.revision += 1;
        self.fill_in();
        (self.record.stdout_bytes, self.record.stderr_bytes) = self.service.log.counted();
        let (agent, directory) = (self.agent.clone(), self.directory.clone());
        let record = self.record.clone();
        let event = ServiceEvent {
            time_millis: clock::now().as_millis() as u64,
            record: Some(excerpt(&record)),
            ..ServiceEvent::default()
        };
        let keep = move || {
            if let Err(error) = record::write(&directory, &record) {
                crate::console::note(&format!("a service's record: {error}"));
            }
            agent.services.journal.add(event);
        };
        self.agent.services.scribe.write(keep).await;
        self.show();
        self.agent.services.changed();
    }
}

/// Lets go of a run. The cgroup of one that ended goes with the last who does, when the machine is
/// quiet.
fn let_go(agent: &Arc<Agent>, run: Arc<Run>) {
    let Some(run) = Arc::into_inner(run) else { return };
    let later = agent.clone();
    agent.clerk.put_off(move || {
        later.cgroups.tidy(Some(run.cgroup));
        later.children.sweep();
        later.restock();
    });
}

/// Who holds the sockets that may have answered a probe, unless the service itself holds one; nothing
/// where that is not known. Blocks.
fn who_answers(agent: &Arc<Agent>, own: &Service, place: &Place, peer: SocketAddr) -> String {
    let sockets = Tables::default().answering(place.process_id(), peer);
    let mut looks = Looks::default();
    if sockets.is_empty() || own.holds(agent, &sockets, &mut looks) {
        return String::new();
    }
    let mut holds =
        |other: &Arc<Service>| other.name != own.name && other.holds(agent, &sockets, &mut looks);
    match agent.services.list().iter().find(|other| holds(other)) {
        Some(other) => format!("; it is service {} that listens there", other.name),
        // It may be one of those that were not looked at.
        None if looks.are_over() => String::new(),
        None => "; it is a process outside this service that listens there".into(),
    }
}

/// The bound of a service's log, as its specification means it.
pub fn log_limit(spec: &ServiceSpec) -> u64 {
    match spec.log_limit_bytes {
        0 => super::log::DEFAULT_LIMIT,
        limit => limit,
    }
}

fn result(seen: &Seen) -> ProbeResult {
    ProbeResult {
        at_millis: clock::now().as_millis() as u64,
        passed: seen.passed,
        result: seen.result.clone(),
    }
}

async fn pass_on(
    mut told: mpsc::Receiver<Seen>,
    number: u64,
    inputs: mpsc::UnboundedSender<Input>,
) {
    while let Some(seen) = told.recv().await {
        if inputs.send(Input::Seen(number, seen)).is_err() {
            return;
        }
    }
}

async fn watch_health(
    probe: Probe,
    spec: ServiceSpec,
    place: Place,
    interval: Duration,
    number: u64,
    inputs: mpsc::UnboundedSender<Input>,
) {
    loop {
        let seen = probe::try_once(&probe, &spec, &place).await;
        if inputs.send(Input::Health(number, seen)).is_err() {
            return;
        }
        sleep(interval).await;
    }
}

/// Makes the process of a run, and the socket by which it may say how it is.
async fn spawn(agent: &Arc<Agent>, number: u64, spec: &ServiceSpec) -> Result<Spawned, Refusal> {
    let mut request = StartExec {
        arguments: spec.arguments.clone(),
        environment: spec.environment.clone(),
        working_directory: spec.working_directory.clone(),
        user: spec.user.clone(),
        ..StartExec::default()
    };
    let notifies = matches!(
        spec.readiness.as_ref().and_then(|probe| probe.kind.as_ref()),
        Some(Kind::Notify(_))
    );
    let notify = if notifies {
        let spawner = agent.workload(None).await?;
        let place = Place::new(agent.clone(), spawner);
        let notify = Notify::open(&place).map_err(Refusal::Descriptors)?;
        request.environment.push(EnvironmentVariable {
            name: Bytes::from_static(b"NOTIFY_SOCKET"),
            value: Bytes::from(notify.address.clone()),
        });
        Some(notify)
    } else {
        None
    };
    let (run, streams) = Run::start(agent, number, &request).await?;
    Ok(Spawned { run, streams, notify })
}

/// Passes on what a run says of itself.
async fn listen(notify: Notify, number: u64, inputs: mpsc::UnboundedSender<Input>) {
    while let Ok(notified) = notify.next().await {
        if let Some(status) = notified.status {
            let _ = inputs.send(Input::Status(number, status));
        }
        if notified.ready {
            let _ = inputs.send(Input::Seen(number, Seen::yes("it said READY=1")));
        }
        // Who says much waits: the kernel queues a few datagrams and holds the sender up.
        sleep(BETWEEN_NOTICES).await;
    }
}

/// Whether a policy runs a service at a boot though nobody asked for it since it ended.
pub fn runs_at_boot(record: &ServiceRecord) -> bool {
    let policy = record.spec.as_ref().map(ServiceSpec::restart);
    record.wanted || policy == Some(RestartPolicy::RestartAlways)
}
