//! All services by name: what may be started, what waits for what, what a boot brings back.
//!
//! Refuses to know what a single service does next (`machine`) and how (`supervisor`).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pyro_wire::{
    DependencyCondition, Message, ServiceEvent, ServiceRecord, ServiceSpec, ServiceState,
    StartService, probe::Kind,
};
use tokio::sync::{OwnedMutexGuard, watch};

use super::{
    excerpt::excerpt,
    journal::Journal,
    log::{Budget, Log},
    machine::Why,
    measure::Measuring,
    probe, record,
    scribe::Scribe,
    supervisor::{Service, View, Wish, log_limit, look_after, runs_at_boot},
};
use crate::{agent::Agent, clock, console, refusal::Refusal};

/// Services of a workspace.
const MAX_SERVICES: usize = 256;
/// Others that one may depend on.
const MAX_DEPENDENCIES: usize = 64;
/// Of a specification, bytes: it is kept with each change of its service.
const MAX_SPEC: usize = 256 << 10;
/// Of the name of what a service is started from, bytes.
const LONGEST_SOURCE: usize = 256;
/// How long the last process may take to be gone once KILL was sent.
const DYING: Duration = Duration::from_secs(5);

/// Whether a service's dependencies are as it needs them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// They are.
    Met,
    /// These are not yet.
    Waiting(Vec<String>),
    /// One cannot come to it any more; in words.
    Failed(String),
}

/// All services.
#[derive(Debug, Default)]
pub struct Services {
    /// Every state change.
    pub journal: Journal,
    /// Writes what must not be forgotten.
    pub scribe: Scribe,
    /// Measures what they use.
    pub measuring: Measuring,
    all: Mutex<BTreeMap<String, Arc<Service>>>,
    directory: Mutex<Option<PathBuf>>,
    logs: Arc<Budget>,
    /// One at a time makes the files of a new service.
    making: tokio::sync::Mutex<()>,
    changes: watch::Sender<u64>,
    closing: AtomicBool,
}

impl Services {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Service>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory(&self) -> Result<PathBuf, Refusal> {
        let directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        directory.clone().ok_or(Refusal::NotPersonal)
    }

    /// Takes in what earlier boots left on the agent disk and, with `resume`, runs again what ran.
    /// Returns when those are on their way, so that none of them is seen as stopped afterwards.
    pub async fn load(&self, agent: &Arc<Agent>, agent_disk: &Path, resume: bool) {
        let directory = agent_disk.join("services");
        if let Err(error) =
            self.journal.open(&agent_disk.join("service-events"), clock::now().as_micros() as u64)
        {
            console::note(&format!("journal of services: {error}"));
        }
        let found = directory.clone();
        let records = tokio::task::spawn_blocking(move || record::load(&found)).await;
        let records = records.unwrap_or_default();
        *self.directory.lock().unwrap_or_else(PoisonError::into_inner) = Some(directory);
        let mut resumed = Vec::new();
        for found in records {
            let runs = resume && runs_at_boot(&found);
            match self.add(agent, found).await {
                Ok(service) if runs => resumed.push(service),
                Ok(_) => {}
                Err(refusal) => console::note(&format!("a service was not loaded: {refusal}")),
            }
        }
        // All at once: those that depend on others wait for them.
        let granted = resumed.iter().map(|service| {
            let spec = service.view().record.spec.clone().unwrap_or_default();
            service.wish(Wish::Start { spec: Box::new(spec), source: None })
        });
        futures::future::join_all(granted).await;
    }

    async fn add(&self, agent: &Arc<Agent>, found: ServiceRecord) -> Result<Arc<Service>, Refusal> {
        let services = self.directory()?;
        let spec = found.spec.clone().unwrap_or_default();
        let (log, limit) = (record::log_directory(&services, &spec.name), log_limit(&spec));
        let logs = self.logs.clone();
        let opened = tokio::task::spawn_blocking(move || Log::open(log, limit, &logs)).await;
        let log = opened.map_err(|_| Refusal::Interrupted)?.map_err(Refusal::ServiceFiles)?;
        let directory = record::directory(&services, &spec.name);
        let service = look_after(agent, directory, log, found);
        self.all().insert(spec.name, service.clone());
        Ok(service)
    }

    /// Finds a service.
    pub fn find(&self, name: &str) -> Result<Arc<Service>, Refusal> {
        let found = self.all().get(name).cloned();
        found.ok_or_else(|| Refusal::ServiceNotFound(name.chars().take(64).collect()))
    }

    /// Every service, by name.
    pub fn list(&self) -> Vec<Arc<Service>> {
        self.all().values().cloned().collect()
    }

    /// Whether the workspace is being stopped: nothing is started any more.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn refuse_when_closing(&self) -> Result<(), Refusal> {
        if self.is_closing() { Err(Refusal::ShuttingDown) } else { Ok(()) }
    }

    /// A service, and the turn to start, restart or delete it. While one waits for that turn, others
    /// may have deleted it, or put another one into its place.
    async fn in_turn(&self, name: &str) -> Result<(Arc<Service>, OwnedMutexGuard<()>), Refusal> {
        loop {
            let service = self.find(name)?;
            let turn = service.turn.clone().lock_owned().await;
            if self.find(name).is_ok_and(|found| Arc::ptr_eq(&found, &service)) {
                return Ok((service, turn));
            }
        }
    }

    /// Something has changed that a dependency may wait for.
    pub fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Starts a service, or finds it running as it should; says whether nothing had to be done.
    /// Returns when its process lives, or waits for dependencies.
    pub async fn start(
        &self,
        agent: &Arc<Agent>,
        order: StartService,
    ) -> Result<(Arc<Service>, bool), Refusal> {
        let StartService { spec, replace, source, keep_completed } = order;
        let spec = spec.unwrap_or_default();
        if source.len() > LONGEST_SOURCE {
            return Err(Refusal::InvalidService("the name of its source is too long".into()));
        }
        self.refuse_when_closing()?;
        check(&spec)?;
        self.check_dependencies(&spec)?;
        let mut fresh = false;
        let (service, _turn) = loop {
            if let Ok(found) = self.in_turn(&spec.name).await {
                break found;
            }
            let _making = self.making.lock().await;
            if self.find(&spec.name).is_ok() {
                continue;
            }
            if self.all().len() >= MAX_SERVICES {
                return Err(Refusal::TooManyServices(MAX_SERVICES));
            }
            let spec = Some(spec.clone());
            self.add(agent, ServiceRecord { spec, ..ServiceRecord::default() }).await?;
            fresh = true;
        };
        // Both may be otherwise than before the wait for the turn.
        self.refuse_when_closing()?;
        self.check_dependencies(&spec)?;
        let view = service.view();
        let same = view.record.spec.as_ref() == Some(&spec);
        if keep_completed && view.idle && same && has_completed(&view.record) {
            service.wish(Wish::Adopt(source)).await;
            return Ok((service.clone(), true));
        }
        let wish = |spec| Wish::Start { spec: Box::new(spec), source: Some(source.clone()) };
        if !view.idle {
            if same && !view.record.stopping {
                service.wish(wish(spec)).await;
                return Ok((service.clone(), true));
            }
            if !replace && !view.record.stopping {
                return Err(Refusal::ServiceAlreadyRunning(spec.name));
            }
            self.stop_one(&service, Why::Asked, None, None).await;
        }
        service.wish(wish(spec)).await;
        self.settle(&service.name).await;
        let view = until(&service, |view| !view.spawning).await;
        if let Some(problem) = &view.refusal {
            // What never had a process was not started: nothing of it stays behind.
            if fresh {
                self.forget(agent, &service).await;
            }
            return Err(Refusal::Told(problem.clone()));
        }
        Ok((service.clone(), false))
    }

    async fn stop_one(
        &self,
        service: &Service,
        why: Why,
        signal: Option<i32>,
        grace: Option<Duration>,
    ) -> Arc<View> {
        let taken_in = service.wish(Wish::Stop { why, signal, grace }).await;
        if taken_in.idle {
            return taken_in;
        }
        // Another may start it anew before this one looks again: it was stopped all the same.
        until(service, |view| view.idle || view.lulls > taken_in.lulls).await
    }

    /// Stops a service; returns when its last process is gone.
    pub async fn stop(
        &self,
        name: &str,
        signal: Option<i32>,
        grace: Option<Duration>,
    ) -> Result<Arc<Service>, Refusal> {
        let service = self.find(name)?;
        self.stop_one(&service, Why::Asked, signal, grace).await;
        self.settle(name).await;
        Ok(service)
    }

    /// Returns when a service's record is on the disk: what was asked for outlives the machine's
    /// sudden end.
    async fn settle(&self, name: &str) {
        let Ok(services) = self.directory() else { return };
        let directory = record::directory(&services, name);
        let synced = tokio::task::spawn_blocking(move || record::sync(&directory)).await;
        if let Ok(Err(error)) = synced {
            console::note(&format!("record of service {name}: {error}"));
        }
    }

    /// Stops every service because the workspace is, those that others depend on after these. They
    /// are to run again at the next boot; until then none is started.
    pub async fn stop_with_workspace(&self, grace: Option<Duration>) {
        self.closing.store(true, Ordering::Relaxed);
        let stopping = self.list().into_iter().map(|service| async move {
            // Who depends on it has gone before it; a cycle there is not.
            let needed_by = self.needed_by(&service.name);
            let gone = async {
                for other in needed_by {
                    until(&other, |view| view.idle).await;
                }
            };
            let patience = grace.unwrap_or(Duration::from_secs(5));
            let _ = tokio::time::timeout(patience, gone).await;
            let limit = patience + DYING;
            let stopped = self.stop_one(&service, Why::Workspace, None, grace);
            let _ = tokio::time::timeout(limit, stopped).await;
        });
        futures::future::join_all(stopping).await;
    }

    fn needed_by(&self, name: &str) -> Vec<Arc<Service>> {
        let needs = |service: &Arc<Service>| {
            let view = service.view();
            let spec = view.record.spec.as_ref();
            spec.is_some_and(|spec| spec.depends_on.iter().any(|on| on.name == name))
        };
        self.list().into_iter().filter(needs).collect()
    }

    /// Begins a new run of a service, ending the present one where there is one.
    pub async fn restart(&self, name: &str) -> Result<Arc<Service>, Refusal> {
        self.refuse_when_closing()?;
        let (service, _turn) = self.in_turn(name).await?;
        self.refuse_when_closing()?;
        let run = service.view().record.run;
        service.wish(Wish::Restart).await;
        let view = until(&service, |view| {
            let waits = !view.record.waiting_for.is_empty();
            view.idle || waits || (view.record.run > run && !view.spawning)
        })
        .await;
        self.settle(name).await;
        match &view.refusal {
            Some(problem) => Err(Refusal::Told(problem.clone())),
            None => Ok(service.clone()),
        }
    }

    /// Stops a service and drops all that is known of it.
    pub async fn delete(&self, agent: &Arc<Agent>, name: &str) -> Result<(), Refusal> {
        let (service, _turn) = self.in_turn(name).await?;
        let needed = self.needed_by(name);
        if let Some(other) = needed.iter().find(|other| !other.view().idle) {
            return Err(Refusal::ServiceNeeded { name: name.to_owned(), by: other.name.clone() });
        }
        self.stop_one(&service, Why::Asked, None, None).await;
        self.forget(agent, &service).await;
        Ok(())
    }

    async fn forget(&self, agent: &Arc<Agent>, service: &Arc<Service>) {
        service.wish(Wish::Forget).await;
        if let Ok(services) = self.directory() {
            let (log, name) = (service.log.clone(), service.name.clone());
            let removed = move || {
                log.remove();
                record::remove(&services, &name)
            };
            if let Ok(Err(error)) = tokio::task::spawn_blocking(removed).await {
                console::note(&format!("files of service {}: {error}", service.name));
            }
        }
        // Only now may another of this name be made.
        self.all().remove(&service.name);
        let event = ServiceEvent {
            time_millis: clock::now().as_millis() as u64,
            record: Some(excerpt(&service.view().record)),
            deleted: true,
            ..ServiceEvent::default()
        };
        let agent = agent.clone();
        self.scribe.write(move || agent.services.journal.add(event)).await;
        self.changed();
    }

    fn check_dependencies(&self, spec: &ServiceSpec) -> Result<(), Refusal> {
        for on in &spec.depends_on {
            if on.name != spec.name && self.find(&on.name).is_err() {
                return Err(Refusal::DependencyNotFound {
                    name: spec.name.clone(),
                    on: on.name.clone(),
                });
            }
        }
        let mut graph: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for service in self.list() {
            let view = service.view();
            let on = view.record.spec.iter().flat_map(|spec| &spec.depends_on);
            graph.insert(service.name.clone(), on.map(|on| on.name.clone()).collect());
        }
        let on = spec.depends_on.iter().map(|on| on.name.clone()).collect();
        graph.insert(spec.name.clone(), on);
        match cycle(&graph, &spec.name) {
            Some(cycle) => Err(Refusal::DependencyCycle(cycle.join(" -> "))),
            None => Ok(()),
        }
    }

    /// Tells how the dependencies stand until they are met or cannot be.
    pub async fn await_dependencies(&self, spec: &ServiceSpec, tell: impl Fn(Standing)) {
        let mut changes = self.changes.subscribe();
        let mut told = None;
        loop {
            let standing = self.standing(spec);
            let last = !matches!(standing, Standing::Waiting(_));
            if told.as_ref() != Some(&standing) {
                tell(standing.clone());
                told = Some(standing);
            }
            if last || changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn standing(&self, spec: &ServiceSpec) -> Standing {
        let mut waiting = Vec::new();
        for on in &spec.depends_on {
            let Ok(service) = self.find(&on.name) else {
                return Standing::Failed(format!("{} is not there any more", on.name));
            };
            match stands(&service.view(), on.condition()) {
                None => waiting.push(on.name.clone()),
                Some(Ok(())) => {}
                Some(Err(why)) => return Standing::Failed(format!("{} {why}", on.name)),
            }
        }
        if waiting.is_empty() { Standing::Met } else { Standing::Waiting(waiting) }
    }
}

/// Whether it has done its work: it ended by itself, with 0.
fn has_completed(record: &ServiceRecord) -> bool {
    let code = record.last_exit.as_ref().and_then(|exit| exit.exit_code);
    record.state() == ServiceState::ServiceExited && code == Some(0)
}

/// Whether a service is as another needs it; none: not yet.
fn stands(view: &View, condition: DependencyCondition) -> Option<Result<(), String>> {
    let record = &view.record;
    let (lives, ready) = (record.pid != 0 && !record.stopping, record.ready);
    let code = record.last_exit.as_ref().and_then(|exit| exit.exit_code);
    match (condition, record.state()) {
        (DependencyCondition::DependencyStarted, _) if lives => Some(Ok(())),
        (DependencyCondition::DependencyReady, _) if ready => Some(Ok(())),
        (
            DependencyCondition::DependencyCompleted | DependencyCondition::DependencyStarted,
            ServiceState::ServiceExited,
        ) => match code {
            Some(0) => Some(Ok(())),
            Some(code) => Some(Err(format!("ended with {code}"))),
            None => Some(Err("was ended by a signal".into())),
        },
        (DependencyCondition::DependencyReady, ServiceState::ServiceExited) => {
            Some(Err("has ended".into()))
        }
        (_, ServiceState::ServiceFailed) => Some(Err(format!("failed ({})", record.stop_reason))),
        _ => None,
    }
}

/// A way from this name back to itself.
fn cycle(graph: &BTreeMap<String, Vec<String>>, from: &str) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut ways = vec![vec![from.to_owned()]];
    while let Some(way) = ways.pop() {
        for next in way.last().and_then(|last| graph.get(last)).into_iter().flatten() {
            let mut longer = way.clone();
            longer.push(next.clone());
            if next == from {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                ways.push(longer);
            }
        }
    }
    None
}

/// Waits until a service is so.
pub async fn until(service: &Service, so: impl Fn(&View) -> bool) -> Arc<View> {
    let mut views = service.views();
    match views.wait_for(|view| so(view)).await {
        Ok(view) => view.clone(),
        Err(_) => service.view(),
    }
}

/// Whether a specification makes sense by itself.
fn check(spec: &ServiceSpec) -> Result<(), Refusal> {
    let invalid = |what: &str| Err(Refusal::InvalidService(what.to_owned()));
    if !record::is_name(&spec.name) {
        return invalid(
            "a service's name is 1 to 64 of A-Z a-z 0-9 . _ - and a letter or digit first",
        );
    }
    if spec.encoded_len() > MAX_SPEC {
        return Err(Refusal::ServiceTooLarge(MAX_SPEC));
    }
    if spec.depends_on.len() > MAX_DEPENDENCIES {
        return invalid(&format!("a service depends on {MAX_DEPENDENCIES} others at most"));
    }
    if spec.arguments.is_empty() {
        return invalid("a service needs a command");
    }
    let health = spec.health.as_ref().and_then(|health| health.probe.as_ref());
    for probe in spec.readiness.iter().chain(health) {
        match &probe.kind {
            Some(Kind::Log(pattern)) => {
                if let Err(error) = probe::compile(pattern) {
                    return invalid(&format!("{pattern:?} is not a regular expression: {error}"));
                }
            }
            Some(Kind::File(path)) if !path.starts_with(b"/") => {
                return invalid("the file of a probe is an absolute path");
            }
            Some(Kind::Command(command)) if command.arguments.is_empty() => {
                return invalid("the command of a probe is empty");
            }
            None => return invalid("a probe of a kind that this guest does not know"),
            _ => {}
        }
    }
    if health.is_some_and(|probe| matches!(probe.kind, Some(Kind::Log(_) | Kind::Notify(_)))) {
        return invalid("health is looked at by file, tcp, http or command");
    }
    if spec.stop_signal > 64 {
        return invalid("the stop signal is no signal");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str) -> ServiceSpec {
        let arguments = vec!["serve".into()];
        ServiceSpec { name: name.into(), arguments, ..ServiceSpec::default() }
    }

    /// An agent without a workload, with these services on its disk.
    async fn agent(disk: &Path, records: &[ServiceRecord]) -> Arc<Agent> {
        for found in records {
            let name = &found.spec.as_ref().unwrap().name;
            record::write(&record::directory(&disk.join("services"), name), found).unwrap();
        }
        let agent = Agent::new(Duration::ZERO);
        agent.services.load(&agent, disk, true).await;
        agent
    }

    fn found(spec: ServiceSpec, wanted: bool) -> ServiceRecord {
        ServiceRecord {
            spec: Some(spec),
            wanted,
            state: ServiceState::ServiceStopped.into(),
            ..ServiceRecord::default()
        }
    }

    /// As one that depends on another that never runs: it waits for that.
    fn dependent(name: &str, on: &str) -> ServiceSpec {
        let on = pyro_wire::Dependency { name: on.into(), condition: 0 };
        ServiceSpec { depends_on: vec![on], ..spec(name) }
    }

    fn order(spec: ServiceSpec) -> StartService {
        StartService { spec: Some(spec), ..StartService::default() }
    }

    #[tokio::test]
    async fn what_has_done_its_work_is_left_and_belongs_to_who_asked_last() {
        let disk = tempfile::tempdir().unwrap();
        let done = ServiceRecord {
            state: ServiceState::ServiceExited.into(),
            last_exit: Some(pyro_wire::ServiceExit {
                exit_code: Some(0),
                ..pyro_wire::ServiceExit::default()
            }),
            ..found(spec("job"), false)
        };
        let agent = agent(disk.path(), &[done]).await;
        let order =
            StartService { source: "pyro.toml".into(), keep_completed: true, ..order(spec("job")) };
        let (service, unchanged) = agent.services.start(&agent, order).await.unwrap();
        assert!(unchanged);
        let record = &service.view().record;
        assert_eq!((record.run, record.source.as_str()), (0, "pyro.toml"));
        assert_eq!(record.state(), ServiceState::ServiceExited);
    }

    #[tokio::test]
    async fn what_is_run_again_is_never_seen_stopped_after_the_boot() {
        let disk = tempfile::tempdir().unwrap();
        let records = [found(spec("db"), false), found(dependent("web", "db"), true)];
        let agent = agent(disk.path(), &records).await;
        let state = agent.services.find("web").unwrap().view().record.state();
        assert_eq!(state, ServiceState::ServiceStarting);
    }

    #[tokio::test]
    async fn a_start_that_waited_while_its_service_was_deleted_makes_it_anew() {
        let disk = tempfile::tempdir().unwrap();
        let records = [found(spec("db"), false), found(dependent("web", "db"), false)];
        let agent = agent(disk.path(), &records).await;
        let old = agent.services.find("web").unwrap();
        let turn = old.turn.clone().lock_owned().await;
        let starting = agent.services.start(&agent, order(dependent("web", "db")));
        tokio::pin!(starting);
        assert!(futures::poll!(&mut starting).is_pending());
        agent.services.forget(&agent, &old).await;
        drop(turn);
        let (started, _) = starting.await.unwrap();
        assert!(!Arc::ptr_eq(&old, &started));
        assert!(Arc::ptr_eq(&agent.services.find("web").unwrap(), &started));
        assert!(disk.path().join("services/web/record").exists());
    }

    #[tokio::test]
    async fn nothing_is_started_once_the_workspace_is_being_stopped() {
        let disk = tempfile::tempdir().unwrap();
        let records = [found(spec("db"), false), found(dependent("web", "db"), false)];
        let agent = agent(disk.path(), &records).await;
        let service = agent.services.find("web").unwrap();
        let turn = service.turn.clone().lock_owned().await;
        let starting = agent.services.start(&agent, order(dependent("web", "db")));
        tokio::pin!(starting);
        assert!(futures::poll!(&mut starting).is_pending());
        agent.services.stop_with_workspace(Some(Duration::ZERO)).await;
        drop(turn);
        assert_eq!(starting.await.unwrap_err().code(), "shutting_down");
        // Nor by what was wished just before.
        let spec = Box::new(dependent("web", "db"));
        service.wish(Wish::Start { spec, source: None }).await;
        assert!(service.view().idle);
    }

    #[tokio::test]
    async fn a_stop_returns_though_the_service_is_started_anew_at_once() {
        let disk = tempfile::tempdir().unwrap();
        let records = [found(spec("db"), false), found(dependent("web", "db"), true)];
        let agent = agent(disk.path(), &records).await;
        let service = agent.services.find("web").unwrap();
        let stopping = agent.services.stop("web", None, None);
        let again = async {
            service.wish(Wish::Restart).await;
        };
        futures::join!(async { stopping.await.unwrap() }, again);
    }

    #[test]
    fn a_specification_that_could_not_be_kept_is_refused() {
        let of = |bytes: usize| ServiceSpec {
            name: "web".into(),
            arguments: vec![vec![b'x'; bytes].into()],
            ..ServiceSpec::default()
        };
        assert!(check(&of(100 << 10)).is_ok());
        assert_eq!(check(&of(MAX_SPEC)).unwrap_err().code(), "service_too_large");
    }

    #[test]
    fn a_cycle_is_found_and_told_by_its_way() {
        let graph = |edges: &[(&str, &[&str])]| {
            edges
                .iter()
                .map(|(from, to)| ((*from).to_owned(), to.iter().map(|&t| t.to_owned()).collect()))
                .collect::<BTreeMap<String, Vec<String>>>()
        };
        let loops = graph(&[("a", &["b"]), ("b", &["c", "d"]), ("c", &[]), ("d", &["a"])]);
        assert_eq!(cycle(&loops, "a").unwrap(), ["a", "b", "d", "a"]);
        assert_eq!(cycle(&graph(&[("a", &["a"])]), "a").unwrap(), ["a", "a"]);
        let tree = graph(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])]);
        assert_eq!(cycle(&tree, "a"), None);
    }
}
