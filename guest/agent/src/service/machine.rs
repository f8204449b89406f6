//! What a service does next. Pure: no process, no clock, no file.
//!
//! ```text
//!            start             dependencies           spawned            passed
//!   Idle ----------> Waiting --------------> Spawning --------> Warming --------> Running
//!    ^ ^                ^                       |                 |  |              |
//!    | |                |  time is over         | failed          |  | time is over |
//!    | |             Backoff <------------------|-----------------|--|--------------|
//!    | |                ^        (policy)       |   ended         |  |              |
//!    | '----------------|---------------------- ' <---------------'  |     stop     |
//!    |                  |                                            v              |
//!    '------------------'------------------------------------- Stopping <-----------'
//! ```
//!
//! A *run* is one life of the process tree, numbered. What is said of another run than the present
//! one changes nothing. **Invariants** (the property test below holds them): a run is spawned only
//! when the one before has ended; the state is running only while a run lives; ready is said only
//! after a probe of this run passed, and only while its main process lives; whoever waits for the end
//! of a stop sees one ([`Machine::lulls`]).

use std::time::Duration;

use pyro_wire::RestartPolicy;

/// A service without a probe is ready once it has run for so long: what dies at once never was.
pub const SETTLED: Duration = Duration::from_millis(200);
/// Before the first restart in a row; doubled for each further one ...
pub const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// ... up to this.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// A run that was ready for so long was stable: restarts are counted anew after it.
pub const STABLE: Duration = Duration::from_secs(10);
/// Restarts in a row, where the specification names no limit.
pub const RESTART_LIMIT: u32 = 10;

/// What is read at every event: the monotonic clock decides, the wall clock is only recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moment {
    /// Since the kernel's start.
    pub monotonic: Duration,
    /// Milliseconds since the Unix epoch.
    pub wall_millis: u64,
}

/// What a specification means to the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Whether a probe says when it is ready.
    pub probed: bool,
    /// How long that may take.
    pub ready_timeout: Duration,
    /// Leave it running when it took longer.
    pub keep_on_ready_timeout: bool,
    /// What asks it to end.
    pub stop_signal: i32,
    /// How long it has then.
    pub stop_grace: Duration,
    /// Whether it is started again after it ended.
    pub restart: RestartPolicy,
    /// Restarts in a row until it has failed.
    pub restart_limit: u32,
    /// Whether its health is looked at.
    pub health: bool,
    /// Whether failing health restarts it.
    pub restart_unhealthy: bool,
}

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Exit {
    /// The main process's exit code.
    pub code: Option<i32>,
    /// Or the signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel ended a process of it for want of memory.
    pub oom_killed: bool,
    /// Processes that were left when the main process ended.
    pub left_behind: u32,
    /// The workload's name spaces ended, and it with them.
    pub workload_lost: bool,
}

impl Exit {
    fn is_success(&self) -> bool {
        self.code == Some(0) && !self.oom_killed
    }
}

/// Who wants it stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Somebody asked.
    Asked,
    /// Somebody asked for a new run.
    Restart,
    /// The workspace is being stopped.
    Workspace,
    /// It did not become ready in time.
    ReadyTimeout,
    /// Its health is failing.
    Unhealthy,
}

/// What happens to a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// It is to run.
    Start,
    /// It is to run anew.
    Restart,
    /// All that it depends on is as it should be.
    DependenciesMet,
    /// One of them cannot come to it any more.
    DependencyFailed(String),
    /// The process of this run lives.
    Spawned(u64),
    /// It could not be made.
    SpawnFailed(u64, String),
    /// The readiness probe of this run passed.
    Passed(u64),
    /// The health probe of this run passed.
    Healthy(u64),
    /// The health probe of this run failed so often that it counts.
    Unhealthy(u64),
    /// The main process of this run is gone; the rest of its tree is being ended.
    MainEnded(u64),
    /// The last process of this run is gone.
    Ended(u64, Exit),
    /// It is to stop.
    Stop {
        /// Who wants that.
        why: Why,
        /// Where they differ from the rules.
        signal: Option<i32>,
        /// The same.
        grace: Option<Duration>,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Say when the dependencies are met.
    AwaitDependencies,
    /// Make the process of this run.
    Spawn(u64),
    /// Probe this run until it is ready.
    Probe(u64),
    /// Look after this run's health.
    CheckHealth(u64),
    /// Send a signal to every process of this run.
    Signal(u64, i32),
    /// End every process of this run.
    Kill(u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Idle,
    Waiting,
    /// With the stop that came meanwhile.
    Spawning(Option<Stop>),
    /// Until then it must be ready.
    Warming {
        until: Duration,
    },
    /// Since when it is ready; never, where it was left running without.
    Running {
        ready: Option<Duration>,
    },
    Stopping {
        stop: Stop,
        kill_at: Option<Duration>,
        was_ready: bool,
    },
    Backoff {
        until: Duration,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stop {
    why: Why,
    signal: i32,
    grace: Duration,
    killed: bool,
}

impl Stop {
    /// What becomes of a stop when this one comes while it goes on: the later wish decides what
    /// follows, but what was stopped for good is not started by the workspace's next boot, nor
    /// anything while the workspace is being stopped.
    fn then(self, later: Self) -> Self {
        let why = match (self.why, later.why) {
            (Why::Asked, Why::Workspace) => Why::Asked,
            (Why::Workspace, Why::Restart) => Why::Workspace,
            (_, later) => later,
        };
        let signal = if later.why == Why::Asked { later.signal } else { self.signal };
        Self { why, signal, killed: self.killed, grace: self.grace.min(later.grace) }
    }
}

/// As others see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// On its way to being ready.
    Starting,
    /// Its process lives.
    Running,
    /// It will be started again.
    Backoff,
    /// It ended by itself.
    Exited,
    /// It did not come to run as it should.
    Failed,
    /// It was stopped, or never started.
    Stopped,
}

/// All that is said of a service besides what is measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Where it stands.
    pub state: State,
    /// Whether a probe of this run passed.
    pub ready: bool,
    /// Passing or failing; none where nobody looks, or not yet.
    pub healthy: Option<bool>,
    /// Restarts by policy since it was last started.
    pub restart_count: u32,
    /// Beginning of the newest run.
    pub started_millis: u64,
    /// When that was ready.
    pub ready_millis: u64,
    /// When it ended.
    pub ended_millis: u64,
    /// Why it does not run.
    pub stop_reason: Option<&'static str>,
    /// More about it.
    pub detail: String,
    /// How the last run that ended did so, and when.
    pub last_exit: Option<(Exit, u64)>,
    /// Whether it is to run, also in the next boot.
    pub wanted: bool,
    /// Whether it is being stopped.
    pub stopping: bool,
    /// The newest run.
    pub run: u64,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            state: State::Stopped,
            ready: false,
            healthy: None,
            restart_count: 0,
            started_millis: 0,
            ready_millis: 0,
            ended_millis: 0,
            stop_reason: None,
            detail: String::new(),
            last_exit: None,
            wanted: false,
            stopping: false,
            run: 0,
        }
    }
}

/// One service's machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    rules: Rules,
    phase: Phase,
    shown: Shown,
    /// Restarts in a row.
    tries: u32,
    /// The main process of this run is gone.
    main_ended: bool,
    lulls: u64,
}

impl Machine {
    /// A service that does not run, with what is known of its past.
    pub fn new(rules: Rules, shown: Shown) -> Self {
        Self { rules, phase: Phase::Idle, shown, tries: 0, main_ended: false, lulls: 0 }
    }

    /// Other rules, for the next run. Only for one that is idle.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// As others see it.
    pub fn shown(&self) -> &Shown {
        &self.shown
    }

    /// Whether nothing of it runs or is going to by itself.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// Whether its process is being made.
    pub fn is_spawning(&self) -> bool {
        matches!(self.phase, Phase::Spawning(_))
    }

    /// Whether it waits for its dependencies.
    pub fn is_waiting(&self) -> bool {
        self.phase == Phase::Waiting
    }

    /// Whether it is stopped for not being ready once its time is over.
    pub fn gives_up_next(&self) -> bool {
        let Rules { probed, keep_on_ready_timeout, .. } = self.rules;
        matches!(self.phase, Phase::Warming { .. }) && probed && !keep_on_ready_timeout
    }

    /// How often it came to rest, or was stopped for a new run: who waits for that sees it though a
    /// new run begins at once.
    pub fn lulls(&self) -> u64 {
        self.lulls
    }

    /// Whether the main process of the newest run is gone.
    pub fn has_no_main_process(&self) -> bool {
        self.main_ended
    }

    /// When it wants a [`Event::Tick`].
    pub fn deadline(&self) -> Option<Duration> {
        match self.phase {
            // Only its end can come.
            Phase::Warming { .. } if self.main_ended => None,
            Phase::Warming { until } | Phase::Backoff { until } => Some(until),
            Phase::Stopping { kill_at, .. } => kill_at,
            Phase::Idle | Phase::Waiting | Phase::Spawning(_) | Phase::Running { .. } => None,
        }
    }

    /// Takes in an event; says what is to be done.
    pub fn on(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        let run = self.shown.run;
        match event {
            Event::Start => self.start(),
            Event::Restart => self.restart(now),
            Event::DependenciesMet if self.is_waiting() => self.spawn(),
            Event::DependencyFailed(detail) if self.is_waiting() => {
                self.rest(State::Failed, Some("dependency_failed"));
                self.shown.detail = detail;
                Vec::new()
            }
            Event::Spawned(of) if of == run => self.spawned(now),
            Event::SpawnFailed(of, detail) if of == run => self.spawn_failed(detail, now),
            Event::Passed(of) if of == run => self.passed(now),
            Event::Healthy(of) if of == run && self.is_looked_after() => {
                self.shown.healthy = Some(true);
                Vec::new()
            }
            Event::Unhealthy(of) if of == run && self.is_looked_after() => {
                self.shown.healthy = Some(false);
                if !self.rules.restart_unhealthy {
                    return Vec::new();
                }
                self.stop_with(self.stop_by_rules(Why::Unhealthy), now)
            }
            Event::MainEnded(of) if of == run => self.main_ended(),
            Event::Ended(of, exit) if of == run => self.ended(exit, now),
            Event::Stop { why, signal, grace } => {
                let mut stop = self.stop_by_rules(why);
                stop.signal = signal.unwrap_or(stop.signal);
                stop.grace = grace.unwrap_or(stop.grace);
                self.stop_with(stop, now)
            }
            Event::Tick => self.tick(now),
            _ => Vec::new(),
        }
    }

    fn is_looked_after(&self) -> bool {
        self.rules.health && matches!(self.phase, Phase::Running { .. }) && !self.main_ended
    }

    fn stop_by_rules(&self, why: Why) -> Stop {
        let Rules { stop_signal, stop_grace, .. } = self.rules;
        Stop { why, signal: stop_signal, grace: stop_grace, killed: false }
    }

    fn start(&mut self) -> Vec<Effect> {
        match self.phase {
            Phase::Idle => {
                self.tries = 0;
                self.shown.restart_count = 0;
                self.shown.wanted = true;
                self.await_dependencies()
            }
            Phase::Backoff { .. } => self.await_dependencies(),
            _ => Vec::new(),
        }
    }

    fn restart(&mut self, now: Moment) -> Vec<Effect> {
        match self.phase {
            Phase::Idle | Phase::Backoff { .. } => {
                self.phase = Phase::Idle;
                self.start()
            }
            Phase::Waiting => Vec::new(),
            _ => self.stop_with(self.stop_by_rules(Why::Restart), now),
        }
    }

    fn await_dependencies(&mut self) -> Vec<Effect> {
        self.phase = Phase::Waiting;
        self.shown.state = State::Starting;
        self.shown.stop_reason = None;
        self.shown.detail.clear();
        self.shown.ready = false;
        self.shown.healthy = None;
        vec![Effect::AwaitDependencies]
    }

    fn spawn(&mut self) -> Vec<Effect> {
        self.shown.run += 1;
        self.main_ended = false;
        self.phase = Phase::Spawning(None);
        vec![Effect::Spawn(self.shown.run)]
    }

    fn spawned(&mut self, now: Moment) -> Vec<Effect> {
        let Phase::Spawning(stop) = self.phase else { return Vec::new() };
        self.shown.started_millis = now.wall_millis;
        self.shown.ready_millis = 0;
        self.shown.ended_millis = 0;
        let limit = if self.rules.probed { self.rules.ready_timeout } else { SETTLED };
        self.phase = Phase::Warming { until: now.monotonic.saturating_add(limit) };
        match stop {
            Some(stop) => self.stop_with(stop, now),
            None if self.rules.probed => vec![Effect::Probe(self.shown.run)],
            None => Vec::new(),
        }
    }

    fn spawn_failed(&mut self, detail: String, now: Moment) -> Vec<Effect> {
        let Phase::Spawning(stop) = self.phase else { return Vec::new() };
        if let Some(Stop { why: Why::Asked | Why::Workspace, .. }) = stop {
            let wanted = stop.is_some_and(|stop| stop.why == Why::Workspace);
            self.rest(State::Stopped, wanted.then_some("workspace_stopped"));
            self.shown.wanted = wanted;
            return Vec::new();
        }
        self.shown.detail = detail;
        // What could not be made the first time will not be made the next; what ran before may.
        if self.tries > 0 {
            return self.again_or_fail("start_failed", now);
        }
        self.rest(State::Failed, Some("start_failed"));
        Vec::new()
    }

    fn passed(&mut self, now: Moment) -> Vec<Effect> {
        match self.phase {
            Phase::Warming { .. } | Phase::Running { ready: None } if !self.main_ended => {
                self.is_ready(now)
            }
            _ => Vec::new(),
        }
    }

    fn main_ended(&mut self) -> Vec<Effect> {
        let phases = matches!(
            self.phase,
            Phase::Warming { .. } | Phase::Running { .. } | Phase::Stopping { .. }
        );
        if phases {
            self.main_ended = true;
            self.shown.stopping = true;
            self.shown.ready = false;
            self.shown.healthy = None;
        }
        Vec::new()
    }

    fn is_ready(&mut self, now: Moment) -> Vec<Effect> {
        self.phase = Phase::Running { ready: Some(now.monotonic) };
        self.shown.state = State::Running;
        self.shown.ready = true;
        self.shown.ready_millis = now.wall_millis;
        if self.rules.health { vec![Effect::CheckHealth(self.shown.run)] } else { Vec::new() }
    }

    fn stop_with(&mut self, stop: Stop, now: Moment) -> Vec<Effect> {
        match &mut self.phase {
            Phase::Idle => {
                // What waits to run again in the next boot need not any more.
                if stop.why == Why::Asked {
                    self.shown.wanted = false;
                }
                Vec::new()
            }
            Phase::Waiting | Phase::Backoff { .. } => {
                let workspace = stop.why == Why::Workspace;
                self.rest(State::Stopped, workspace.then_some("workspace_stopped"));
                self.shown.wanted = workspace;
                Vec::new()
            }
            Phase::Spawning(pending) => {
                *pending = Some(pending.map_or(stop, |first| first.then(stop)));
                self.shown.stopping = true;
                Vec::new()
            }
            Phase::Warming { .. } => self.begin_stop(stop, false, now),
            Phase::Running { ready } => {
                let was_stable = ready.is_some();
                if ready.is_some_and(|since| now.monotonic.saturating_sub(since) >= STABLE) {
                    self.tries = 0;
                }
                self.begin_stop(stop, was_stable, now)
            }
            Phase::Stopping { stop: first, kill_at, .. } => {
                let sooner = now.monotonic.saturating_add(stop.grace);
                *kill_at = kill_at.map(|at| at.min(sooner));
                let before = first.signal;
                *first = first.then(stop);
                // Somebody asked for this one.
                if first.signal != before && !first.killed {
                    return vec![Effect::Signal(self.shown.run, first.signal)];
                }
                Vec::new()
            }
        }
    }

    fn begin_stop(&mut self, stop: Stop, was_ready: bool, now: Moment) -> Vec<Effect> {
        let kill_at = Some(now.monotonic.saturating_add(stop.grace));
        self.phase = Phase::Stopping { stop, kill_at, was_ready };
        self.shown.stopping = true;
        self.shown.ready = false;
        self.shown.healthy = None;
        vec![Effect::Signal(self.shown.run, stop.signal)]
    }

    fn ended(&mut self, exit: Exit, now: Moment) -> Vec<Effect> {
        let phase = self.phase;
        if matches!(phase, Phase::Idle | Phase::Waiting | Phase::Backoff { .. }) {
            return Vec::new();
        }
        self.shown.last_exit = Some((exit, now.wall_millis));
        self.shown.ended_millis = now.wall_millis;
        match phase {
            Phase::Stopping { stop, .. } => self.stopped(stop, now),
            Phase::Running { ready: Some(since) }
                if now.monotonic.saturating_sub(since) >= STABLE =>
            {
                self.tries = 0;
                self.ended_after_ready(exit, now)
            }
            // Whatever its policy, the end was not its own; but a service that reboots the workload
            // each time it runs is not to do so for ever.
            _ if exit.workload_lost => self.ended_after_ready(exit, now),
            Phase::Running { .. } => self.ended_after_ready(exit, now),
            _ if !self.rules.probed && exit.is_success() => self.ended_by_itself(exit, now),
            _ if self.rules.restart == RestartPolicy::RestartNo => {
                self.rest(State::Failed, Some("process_exited_before_ready"));
                Vec::new()
            }
            _ => self.again_or_fail("process_exited_before_ready", now),
        }
    }

    fn ended_after_ready(&mut self, exit: Exit, now: Moment) -> Vec<Effect> {
        if !exit.workload_lost {
            return self.ended_by_itself(exit, now);
        }
        let effects = self.again_or_fail("", now);
        if self.shown.stop_reason == Some("") {
            self.shown.stop_reason = None;
        }
        self.shown.detail = "the workload was restarted".into();
        effects
    }

    fn ended_by_itself(&mut self, exit: Exit, now: Moment) -> Vec<Effect> {
        let again = match self.rules.restart {
            RestartPolicy::RestartNo => false,
            RestartPolicy::RestartOnFailure => !exit.is_success(),
            RestartPolicy::RestartAlways | RestartPolicy::RestartUnlessStopped => true,
        };
        if again {
            let effects = self.again_or_fail("", now);
            if self.shown.stop_reason == Some("") {
                self.shown.stop_reason = None;
            }
            return effects;
        }
        self.rest(State::Exited, None);
        Vec::new()
    }

    fn stopped(&mut self, stop: Stop, now: Moment) -> Vec<Effect> {
        self.shown.stopping = false;
        let by_signal = match (stop.killed, stop.signal) {
            (true, _) | (false, 9) => "sigkill",
            (false, 15) => "sigterm",
            (false, 2) => "sigint",
            (false, 3) => "sigquit",
            (false, 1) => "sighup",
            _ => "signal",
        };
        match stop.why {
            Why::Asked => {
                self.rest(State::Stopped, Some(by_signal));
                Vec::new()
            }
            Why::Workspace => {
                self.rest(State::Stopped, Some("workspace_stopped"));
                self.shown.wanted = true;
                Vec::new()
            }
            Why::Restart => {
                self.tries = 0;
                self.shown.restart_count = 0;
                self.lulls += 1;
                self.await_dependencies()
            }
            Why::ReadyTimeout => {
                if self.rules.restart == RestartPolicy::RestartNo {
                    self.rest(State::Failed, Some("readiness_timeout"));
                    return Vec::new();
                }
                self.again_or_fail("readiness_timeout", now)
            }
            Why::Unhealthy => self.again_or_fail("health_check_failed", now),
        }
    }

    /// Once more after a while, unless it was tried too often.
    fn again_or_fail(&mut self, reason: &'static str, now: Moment) -> Vec<Effect> {
        if self.tries >= self.rules.restart_limit {
            self.rest(State::Failed, Some("restart_limit"));
            return Vec::new();
        }
        let doubled = FIRST_BACKOFF.saturating_mul(1 << self.tries.min(16));
        self.tries += 1;
        self.shown.restart_count += 1;
        self.phase =
            Phase::Backoff { until: now.monotonic.saturating_add(doubled.min(LONGEST_BACKOFF)) };
        self.shown.state = State::Backoff;
        self.shown.stop_reason = Some(reason);
        self.shown.ready = false;
        self.shown.healthy = None;
        self.shown.stopping = false;
        Vec::new()
    }

    fn rest(&mut self, state: State, reason: Option<&'static str>) {
        self.phase = Phase::Idle;
        self.lulls += 1;
        self.shown.state = state;
        self.shown.stop_reason = reason;
        self.shown.ready = false;
        self.shown.healthy = None;
        self.shown.stopping = false;
        self.shown.wanted = false;
    }

    fn tick(&mut self, now: Moment) -> Vec<Effect> {
        if self.deadline().is_none_or(|deadline| now.monotonic < deadline) {
            return Vec::new();
        }
        match &mut self.phase {
            Phase::Warming { .. } if !self.rules.probed => self.is_ready(now),
            Phase::Warming { .. } if self.rules.keep_on_ready_timeout => {
                self.phase = Phase::Running { ready: None };
                self.shown.state = State::Running;
                self.shown.detail = "it was not ready in time".into();
                Vec::new()
            }
            Phase::Warming { .. } => self.stop_with(self.stop_by_rules(Why::ReadyTimeout), now),
            Phase::Backoff { .. } => self.await_dependencies(),
            Phase::Stopping { stop, kill_at, .. } => {
                stop.killed = true;
                *kill_at = None;
                vec![Effect::Kill(self.shown.run)]
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const RULES: Rules = Rules {
        probed: true,
        ready_timeout: Duration::from_secs(30),
        keep_on_ready_timeout: false,
        stop_signal: 15,
        stop_grace: Duration::from_secs(5),
        restart: RestartPolicy::RestartNo,
        restart_limit: 3,
        health: false,
        restart_unhealthy: false,
    };

    fn at(seconds: f64) -> Moment {
        let monotonic = Duration::from_secs_f64(seconds);
        Moment { monotonic, wall_millis: monotonic.as_millis() as u64 }
    }

    fn warming(rules: Rules) -> Machine {
        let mut machine = Machine::new(rules, Shown::default());
        assert_eq!(machine.on(Event::Start, at(0.0)), [Effect::AwaitDependencies]);
        assert_eq!(machine.on(Event::DependenciesMet, at(0.0)), [Effect::Spawn(1)]);
        machine.on(Event::Spawned(1), at(0.0));
        machine
    }

    fn exit(code: i32) -> Exit {
        Exit { code: Some(code), ..Exit::default() }
    }

    #[test]
    fn a_probe_that_passes_makes_it_run() {
        let mut machine = warming(RULES);
        assert_eq!(machine.shown().state, State::Starting);
        machine.on(Event::Passed(1), at(0.3));
        let shown = machine.shown();
        assert_eq!((shown.state, shown.ready, shown.ready_millis), (State::Running, true, 300));
    }

    #[test]
    fn a_death_before_ready_is_told_as_that() {
        let mut machine = warming(RULES);
        machine.on(Event::Ended(1, exit(3)), at(0.1));
        let shown = machine.shown();
        assert_eq!(shown.state, State::Failed);
        assert_eq!(shown.stop_reason, Some("process_exited_before_ready"));
        assert_eq!(shown.last_exit.unwrap().0.code, Some(3));
    }

    #[test]
    fn time_over_ends_it_by_term_and_then_by_kill() {
        let mut machine = warming(RULES);
        assert_eq!(machine.on(Event::Tick, at(29.9)), []);
        assert!(machine.gives_up_next());
        assert_eq!(machine.on(Event::Tick, at(30.0)), [Effect::Signal(1, 15)]);
        assert_eq!(machine.on(Event::Tick, at(35.0)), [Effect::Kill(1)]);
        machine.on(Event::Ended(1, Exit { signal: Some(9), ..Exit::default() }), at(35.1));
        assert_eq!(machine.shown().stop_reason, Some("readiness_timeout"));
        assert_eq!(machine.shown().state, State::Failed);
    }

    #[test]
    fn what_is_kept_after_its_time_may_still_become_ready() {
        let mut machine = warming(Rules { keep_on_ready_timeout: true, ..RULES });
        assert_eq!(machine.on(Event::Tick, at(30.0)), []);
        assert_eq!((machine.shown().state, machine.shown().ready), (State::Running, false));
        machine.on(Event::Passed(1), at(40.0));
        assert!(machine.shown().ready);
    }

    #[test]
    fn without_a_probe_it_is_ready_once_it_has_run_for_a_moment() {
        let mut machine = warming(Rules { probed: false, ..RULES });
        assert!(!machine.shown().ready);
        machine.on(Event::Tick, at(SETTLED.as_secs_f64()));
        assert!(machine.shown().ready);
        let mut machine = warming(Rules { probed: false, ..RULES });
        machine.on(Event::Ended(1, exit(0)), at(0.1));
        assert_eq!((machine.shown().state, machine.shown().stop_reason), (State::Exited, None));
    }

    #[test]
    fn a_stop_is_told_by_the_signal_that_did_it() {
        for (after, reason) in [(1.0, "sigterm"), (6.0, "sigkill")] {
            let mut machine = warming(RULES);
            machine.on(Event::Passed(1), at(0.0));
            let stop = stop(Why::Asked, None);
            assert_eq!(machine.on(stop, at(0.0)), [Effect::Signal(1, 15)]);
            machine.on(Event::Tick, at(after));
            machine.on(Event::Ended(1, Exit::default()), at(after));
            assert_eq!(machine.shown().stop_reason, Some(reason));
            assert!(!machine.shown().wanted);
        }
    }

    #[test]
    fn what_has_no_main_process_any_more_is_not_ready() {
        for probed in [true, false] {
            let mut machine = warming(Rules { probed, ..RULES });
            machine.on(Event::MainEnded(1), at(0.18));
            assert_eq!(machine.deadline(), None);
            for late in [Event::Tick, Event::Passed(1)] {
                machine.on(late, at(0.2));
                assert_eq!(
                    (machine.shown().state, machine.shown().ready),
                    (State::Starting, false)
                );
            }
            machine.on(Event::Ended(1, exit(1)), at(0.4));
            assert_eq!(machine.shown().stop_reason, Some("process_exited_before_ready"));
        }
        let mut machine = warming(RULES);
        machine.on(Event::Passed(1), at(0.0));
        machine.on(Event::MainEnded(1), at(1.0));
        assert!(!machine.shown().ready);
    }

    #[test]
    fn a_lost_workload_is_made_up_for_with_patience_and_not_for_ever() {
        let mut machine = warming(RULES);
        let lost = Exit { signal: Some(9), workload_lost: true, ..Exit::default() };
        let mut now = 0.0;
        for (run, wait) in [(1, 0.5), (2, 1.0), (3, 2.0)] {
            machine.on(Event::Ended(run, lost), at(now));
            assert_eq!(machine.shown().state, State::Backoff);
            now += wait;
            assert_eq!(machine.on(Event::Tick, at(now)), [Effect::AwaitDependencies]);
            machine.on(Event::DependenciesMet, at(now));
            machine.on(Event::Spawned(run + 1), at(now));
        }
        machine.on(Event::Ended(4, lost), at(now));
        assert_eq!(machine.shown().stop_reason, Some("restart_limit"));
    }

    fn stop(why: Why, signal: Option<i32>) -> Event {
        Event::Stop { why, signal, grace: None }
    }

    #[test]
    fn a_second_stop_by_another_signal_sends_that_one() {
        let mut machine = warming(RULES);
        assert_eq!(machine.on(stop(Why::Asked, None), at(0.0)), [Effect::Signal(1, 15)]);
        assert_eq!(machine.on(stop(Why::Asked, None), at(0.1)), []);
        assert_eq!(machine.on(stop(Why::Asked, Some(9)), at(0.2)), [Effect::Signal(1, 9)]);
        machine.on(Event::Ended(1, Exit::default()), at(0.3));
        assert_eq!(machine.shown().stop_reason, Some("sigkill"));
    }

    #[test]
    fn who_waits_for_a_stop_sees_its_end_though_another_restarts_it() {
        let mut machine = warming(RULES);
        machine.on(stop(Why::Asked, None), at(0.0));
        let lulls = machine.lulls();
        machine.on(Event::Restart, at(0.1));
        assert_eq!(machine.on(Event::Ended(1, exit(0)), at(0.2)), [Effect::AwaitDependencies]);
        assert!(machine.lulls() > lulls);
    }

    #[test]
    fn what_was_stopped_while_it_was_being_made_stays_stopped_after_the_workspaces_stop() {
        let mut machine = Machine::new(RULES, Shown::default());
        machine.on(Event::Start, at(0.0));
        machine.on(Event::DependenciesMet, at(0.0));
        machine.on(stop(Why::Asked, None), at(0.1));
        machine.on(stop(Why::Workspace, None), at(0.1));
        machine.on(Event::Spawned(1), at(0.2));
        machine.on(Event::Ended(1, exit(0)), at(0.3));
        assert!(!machine.shown().wanted);
        assert!(machine.is_idle());
    }

    #[test]
    fn restarts_wait_longer_each_time_and_end_at_the_limit() {
        let mut machine = warming(Rules { restart: RestartPolicy::RestartAlways, ..RULES });
        let mut now = 0.0;
        for (run, wait) in [(1, 0.5), (2, 1.0), (3, 2.0)] {
            machine.on(Event::Passed(run), at(now));
            machine.on(Event::Ended(run, exit(1)), at(now));
            assert_eq!(machine.shown().state, State::Backoff);
            now += wait;
            assert_eq!(machine.on(Event::Tick, at(now)), [Effect::AwaitDependencies], "{run}");
            assert_eq!(machine.on(Event::DependenciesMet, at(now)), [Effect::Spawn(run + 1)]);
            machine.on(Event::Spawned(run + 1), at(now));
        }
        machine.on(Event::Passed(4), at(now));
        machine.on(Event::Ended(4, exit(1)), at(now));
        assert_eq!(machine.shown().stop_reason, Some("restart_limit"));
        assert_eq!(machine.shown().state, State::Failed);
    }

    #[test]
    fn a_stable_run_is_forgiven_what_was_before() {
        let mut machine = warming(Rules { restart: RestartPolicy::RestartOnFailure, ..RULES });
        let mut now = 0.0;
        for run in 1..20 {
            machine.on(Event::Passed(run), at(now));
            now += STABLE.as_secs_f64();
            machine.on(Event::Ended(run, exit(1)), at(now));
            now += FIRST_BACKOFF.as_secs_f64();
            assert_eq!(machine.on(Event::Tick, at(now)), [Effect::AwaitDependencies], "{run}");
            machine.on(Event::DependenciesMet, at(now));
            machine.on(Event::Spawned(run + 1), at(now));
        }
        assert_eq!(machine.shown().restart_count, 19);
        machine.on(Event::Passed(20), at(now));
        machine.on(Event::Ended(20, exit(0)), at(now));
        assert_eq!(machine.shown().state, State::Exited);
    }

    #[test]
    fn a_stopped_workspace_is_remembered_until_somebody_stops_the_service() {
        let mut machine = warming(RULES);
        machine.on(Event::Stop { why: Why::Workspace, signal: None, grace: None }, at(1.0));
        machine.on(Event::Ended(1, Exit::default()), at(1.0));
        let shown = machine.shown();
        assert_eq!((shown.stop_reason, shown.wanted), (Some("workspace_stopped"), true));
        machine.on(Event::Stop { why: Why::Asked, signal: None, grace: None }, at(2.0));
        assert!(!machine.shown().wanted);
        assert_eq!(machine.shown().stop_reason, Some("workspace_stopped"));
    }

    #[test]
    fn a_restart_ends_one_run_and_begins_the_next() {
        let mut machine = warming(RULES);
        machine.on(Event::Passed(1), at(0.0));
        assert_eq!(machine.on(Event::Restart, at(1.0)), [Effect::Signal(1, 15)]);
        assert_eq!(machine.on(Event::Ended(1, exit(0)), at(1.0)), [Effect::AwaitDependencies]);
        assert_eq!(machine.on(Event::DependenciesMet, at(1.0)), [Effect::Spawn(2)]);
    }

    /// What the world may do next; runs are named relative to the newest one.
    fn events() -> impl Strategy<Value = (u8, u64, f64)> {
        (0u8..17, 0u64..2, 0.0..20.0f64)
    }

    fn rules() -> impl Strategy<Value = Rules> {
        (any::<[bool; 4]>(), 0usize..4).prop_map(|([probed, keep, health, unhealthy], restart)| {
            Rules {
                probed,
                keep_on_ready_timeout: keep,
                health,
                restart_unhealthy: unhealthy,
                restart: [
                    RestartPolicy::RestartNo,
                    RestartPolicy::RestartOnFailure,
                    RestartPolicy::RestartAlways,
                    RestartPolicy::RestartUnlessStopped,
                ][restart],
                ..RULES
            }
        })
    }

    proptest! {
        #[test]
        fn whatever_happens_the_invariants_hold(rules in rules(), steps in vec(events(), 1..200)) {
            let mut machine = Machine::new(rules, Shown::default());
            let (mut being_made, mut alive, mut passed, mut killed) = (None, None, None, None);
            let mut headless = None;
            let mut clock = 0.0;
            for (kind, back, wait) in steps {
                clock += wait;
                let now = at(clock);
                let named = machine.shown().run.saturating_sub(back);
                let (before, lulls, idle) =
                    (machine.shown().clone(), machine.lulls(), machine.is_idle());
                let event = match kind {
                    0 => Event::Start,
                    1 => Event::Restart,
                    2 => Event::DependenciesMet,
                    3 => Event::DependencyFailed("no".into()),
                    // The world says only what is so.
                    4 => match being_made.take() {
                        Some(run) => { alive = Some(run); Event::Spawned(run) }
                        None => Event::Tick,
                    },
                    5 => match being_made.take() {
                        Some(run) => Event::SpawnFailed(run, "no".into()),
                        None => Event::Tick,
                    },
                    6 => {
                        if alive == Some(named) { passed = Some(named); }
                        Event::Passed(named)
                    }
                    7 => Event::Healthy(named),
                    8 => Event::Unhealthy(named),
                    9 | 10 | 13 => match alive.take() {
                        Some(run) => {
                            let workload_lost = kind == 13;
                            Event::Ended(run, Exit { workload_lost, ..exit(i32::from(kind == 9)) })
                        }
                        None => Event::Tick,
                    },
                    14 => match alive {
                        Some(run) => { headless = alive; Event::MainEnded(run) }
                        None => Event::Tick,
                    },
                    15 => Event::Stop { why: Why::Asked, signal: Some(9), grace: None },
                    11 => Event::Stop { why: Why::Asked, signal: None, grace: None },
                    12 => Event::Stop { why: Why::Workspace, signal: None, grace: None },
                    _ => Event::Tick,
                };
                for effect in machine.on(event, now) {
                    match effect {
                        Effect::Signal(run, 9) => {
                            prop_assert_eq!(alive, Some(run));
                            killed = Some(run);
                        }
                        Effect::Spawn(run) => {
                            prop_assert_eq!((being_made, alive), (None, None), "two runs at once");
                            being_made = Some(run);
                        }
                        Effect::Probe(run) | Effect::CheckHealth(run) | Effect::Signal(run, _) => {
                            prop_assert_eq!(alive, Some(run), "{:?} of no living run", effect);
                        }
                        Effect::Kill(run) => {
                            prop_assert_eq!(alive, Some(run));
                            killed = Some(run);
                        }
                        Effect::AwaitDependencies => {
                            prop_assert_eq!((being_made, alive), (None, None));
                            prop_assert!(
                                before.state != State::Running || before.stopping,
                                "a run follows another at once"
                            );
                        }
                    }
                }
                let shown = machine.shown();
                if shown.state == State::Running {
                    prop_assert_eq!(alive, Some(shown.run), "running without a process");
                }
                if shown.ready || (shown.state == State::Running && before.state != State::Running) {
                    prop_assert_ne!(headless, Some(shown.run), "of a dead process");
                }
                if machine.is_idle() && !idle {
                    prop_assert!(machine.lulls() > lulls);
                }
                if shown.ready {
                    prop_assert_eq!(alive, Some(shown.run));
                    prop_assert!(passed == Some(shown.run) || !rules.probed, "ready unproven");
                }
                if machine.is_idle() {
                    prop_assert_eq!((being_made, alive), (None, None), "idle with a process");
                }
                if alive.is_some() || being_made.is_some() {
                    let states = [State::Starting, State::Running];
                    prop_assert!(states.contains(&shown.state), "{:?} with a process", shown.state);
                }
                if shown.stop_reason == Some("sigkill") {
                    prop_assert_eq!(killed, Some(shown.run));
                }
            }
        }
    }
}
