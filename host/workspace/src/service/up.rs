//! Several services at once, as a file declares them: what is started, in which order, and what is
//! told of each.
//!
//! The guest compares, waits for dependencies and decides what becomes of each; here is only who is
//! told when. Refuses to know files: it is given specifications, and the name of where they stand.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use futures::{
    StreamExt,
    future::{AbortHandle, abortable},
    stream::FuturesUnordered,
};
use pyro_core::{DependencyCondition, Problem, ServiceName, ServiceSpec};
use pyro_link::{Link, LinkError};
use pyro_store::{PublishedPort, ServiceRecord};
use pyro_wire::{StartService, StopService};

use super::{Outcome, PortHold, StartedService, order, take_in};
use crate::{
    error::WorkspaceError,
    exec::InUseGuard,
    owner::{Handle, Request},
    published::PortRequest,
};

/// What a file declares, and what is to be done about it.
#[derive(Clone, PartialEq, Debug)]
pub struct Up {
    /// Every service of the file, each after those it depends on.
    pub services: Vec<ServiceSpec>,
    /// Ports they publish for as long as they run, of those that have any; others have none.
    pub ports: BTreeMap<ServiceName, Vec<PortRequest>>,
    /// Only these, and those they depend on; none: all.
    pub only: Vec<String>,
    /// What the file is called: services that came from it before are told by it.
    pub source: String,
    /// Whether to wait until they are ready.
    pub wait: bool,
    /// For how long; none: as long as each of them may take.
    pub limit: Option<Duration>,
    /// Whether to stop those that came from the file and are not in it any more.
    pub remove_orphans: bool,
    /// Whether to fail rather than start the workspace.
    pub no_start: bool,
}

/// What was done about a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// It did not run.
    Started,
    /// It ran with another specification, and was stopped first.
    Restarted,
    /// It ran as it should, or has done its work.
    Unchanged,
    /// It runs, came from the file, and is not in it any more.
    Orphaned,
    /// It was stopped.
    Stopped,
    /// It could not be started.
    Refused,
}

/// One service.
#[derive(Clone, PartialEq, Debug)]
pub struct UpService {
    /// Which.
    pub name: ServiceName,
    /// What was done.
    pub action: Action,
    /// What came of it; a problem where there is no service to show.
    pub result: Result<StartedService, Problem>,
    /// Whether it is there to do something once, and others wait for that.
    pub is_job: bool,
}

/// What came of all of it.
#[derive(Clone, PartialEq, Debug)]
pub struct UpReport {
    /// In the order of the file, then orphans.
    pub services: Vec<UpService>,
    /// Whether the time to wait was over before all were ready.
    pub timed_out: bool,
    /// Whether the workspace was started for it.
    pub started_workspace: bool,
}

/// A service that was begun.
struct Begun {
    record: ServiceRecord,
    action: Action,
}

/// What is to be begun.
struct Declared {
    spec: pyro_wire::ServiceSpec,
    name: ServiceName,
    depends_on: BTreeMap<ServiceName, DependencyCondition>,
    ports: Vec<PortRequest>,
    is_job: bool,
}

/// Those that others need to have completed: they do something once.
fn jobs(services: &[ServiceSpec]) -> BTreeSet<&ServiceName> {
    let needs = services.iter().flat_map(|service| &service.depends_on);
    needs
        .filter(|(_, condition)| **condition == DependencyCondition::Completed)
        .map(|(name, _)| name)
        .collect()
}

/// These services and all they depend on.
fn with_dependencies(
    services: &[ServiceSpec],
    only: &[String],
) -> Result<BTreeSet<ServiceName>, Problem> {
    let mut wanted = BTreeSet::new();
    for name in only {
        let known = services.iter().find(|service| service.name.as_str() == name);
        let known = known.ok_or_else(|| {
            let all: Vec<_> = services.iter().map(|service| service.name.as_str()).collect();
            let name: String = name.chars().take(64).collect();
            Problem::not_found("service_not_found", format!("the file has no service {name:?}"))
                .hint(format!("its services are: {}", all.join(", ")))
        })?;
        wanted.insert(known.name.clone());
    }
    // Each stands after those it depends on.
    for service in services.iter().rev() {
        if only.is_empty() || wanted.contains(&service.name) {
            wanted.insert(service.name.clone());
            wanted.extend(service.depends_on.keys().cloned());
        }
    }
    Ok(wanted)
}

/// All that would wait for this one, through others too, but for its mere start.
fn dependents(
    declared: &BTreeMap<ServiceName, Declared>,
    name: &ServiceName,
) -> BTreeSet<ServiceName> {
    let mut found = BTreeSet::new();
    let mut next = vec![name.clone()];
    while let Some(name) = next.pop() {
        for (other, service) in declared {
            let waits = service.depends_on.get(&name);
            let waits = waits.is_some_and(|needs| *needs != DependencyCondition::Started);
            if waits && found.insert(other.clone()) {
                next.push(other.clone());
            }
        }
    }
    found
}

impl Handle {
    /// Makes the workspace's services what a file declares: those that run as they should are left
    /// alone. Nothing is changed where anything in it is wrong.
    pub async fn up(&self, mut up: Up) -> Result<UpReport, WorkspaceError> {
        let _in_use = InUseGuard::new(self);
        let begun = Instant::now();
        let in_file: BTreeSet<_> = up.services.iter().map(|service| service.name.clone()).collect();
        let wanted = with_dependencies(&up.services, &up.only)?;
        let jobs: BTreeSet<_> = jobs(&up.services).into_iter().cloned().collect();
        let mut sequence = Vec::new();
        let mut declared = BTreeMap::new();
        for service in up.services {
            let name = service.name.clone();
            let depends_on = service.depends_on.clone();
            let spec = order::spec(service).map_err(|problem| of_service(&name, problem))?;
            if wanted.contains(&name) {
                sequence.push(name.clone());
                let is_job = jobs.contains(&name);
                let ports = up.ports.remove(&name).unwrap_or_default();
                let service = Declared { spec, name: name.clone(), depends_on, ports, is_job };
                declared.insert(name, service);
            }
        }
        let (link, started_workspace) = self.guest(up.no_start).await?;
        let orphans = self.orphans(&link, &up.source, &in_file, up.remove_orphans).await?;
        self.release_ports_for_others(&declared);
        let mut results = self.begin_all(&link, &declared, &sequence, &up.source).await;
        let mut timed_out = false;
        if up.wait {
            let left = up.limit.map(|limit| limit.saturating_sub(begun.elapsed()));
            timed_out = self.await_all(&link, &declared, &mut results, left).await?;
        }
        let mut services: Vec<_> =
            sequence.iter().filter_map(|name| results.remove(name)).collect();
        services.extend(orphans);
        Ok(UpReport { services, timed_out, started_workspace })
    }

    /// Releases ports that services of the file had and others of it are to have now.
    fn release_ports_for_others(&self, declared: &BTreeMap<ServiceName, Declared>) {
        let published = self.snapshot().record.published.clone();
        for (name, service) in declared {
            let had = published.iter().filter(|port| port.service.as_ref() == Some(name));
            let is_given_up = |port: &&PublishedPort| {
                let is_wanted = |request: &PortRequest| request.host_port == Some(port.host_port);
                let others = declared.values().filter(|other| other.name != *name);
                !service.ports.iter().any(|request| request.is(port, Some(name)))
                    && others.flat_map(|other| &other.ports).any(is_wanted)
            };
            let (gone, kept): (Vec<_>, Vec<_>) = had.partition(is_given_up);
            if !gone.is_empty() {
                let ports = kept.into_iter().cloned().collect();
                self.tell(Request::SetPorts { service: name.clone(), ports });
            }
        }
    }

    /// Services that came from this source, run, and are not in it any more; stopped, if that is
    /// wanted, those that others of them need last.
    async fn orphans(
        &self,
        link: &Link,
        source: &str,
        in_file: &BTreeSet<ServiceName>,
        stop: bool,
    ) -> Result<Vec<UpService>, WorkspaceError> {
        let mut orphans = self.list_services(true).await?;
        orphans.retain(|service| {
            service.source == source
                && service.state.is_active()
                && !in_file.contains(&service.name)
        });
        let action = if stop { Action::Stopped } else { Action::Orphaned };
        if stop {
            orphans = self.stop_in_order(link, orphans).await?;
        }
        Ok(orphans
            .into_iter()
            .map(|record| UpService {
                name: record.name.clone(),
                action,
                result: Ok(unwaited(record, action)),
                is_job: false,
            })
            .collect())
    }

    /// Begins each once those it depends on are begun, as many at once as can be.
    async fn begin_all(
        &self,
        link: &Link,
        declared: &BTreeMap<ServiceName, Declared>,
        sequence: &[ServiceName],
        source: &str,
    ) -> BTreeMap<ServiceName, UpService> {
        let mut results: BTreeMap<ServiceName, UpService> = BTreeMap::new();
        let mut left: Vec<_> = sequence.to_vec();
        let mut going = FuturesUnordered::new();
        loop {
            // Those whose dependencies are begun, or cannot be.
            let mut waiting = Vec::new();
            let mut refused = false;
            for name in left {
                let service = &declared[&name];
                let lost = service
                    .depends_on
                    .keys()
                    .find(|on| results.get(*on).is_some_and(|result| result.result.is_err()));
                if let Some(on) = lost {
                    let problem = Problem::failed(
                        "service_held_up",
                        format!("service {name} was not started: {on} could not be"),
                    );
                    results.insert(name.clone(), failed(name, service.is_job, problem));
                    refused = true;
                } else if service.depends_on.keys().all(|on| results.contains_key(on)) {
                    going.push(async move {
                        let begun = self.begin(link, service, source).await;
                        (name, begun)
                    });
                } else {
                    waiting.push(name);
                }
            }
            left = waiting;
            if refused {
                continue;
            }
            let Some((name, begun)) = going.next().await else { break };
            let is_job = declared[&name].is_job;
            let result = match begun {
                Ok(Begun { record, action }) => UpService {
                    name: name.clone(),
                    action,
                    result: Ok(unwaited(record, action)),
                    is_job,
                },
                Err(error) => failed(name.clone(), is_job, error.into()),
            };
            results.insert(name, result);
        }
        results
    }

    async fn begin(
        &self,
        link: &Link,
        service: &Declared,
        source: &str,
    ) -> Result<Begun, WorkspaceError> {
        let name = service.spec.name.clone();
        // Every port of it is had before it is started.
        let mut held = PortHold::new(self, service.name.clone(), &service.ports).await?;
        held.is_asked = true;
        let mut call = StartService {
            spec: Some(service.spec.clone()),
            replace: false,
            source: source.to_owned(),
            keep_completed: service.is_job,
        };
        let (reply, action) = match link.start_service(call.clone()).await {
            Ok(reply) if reply.unchanged => (reply, Action::Unchanged),
            Ok(reply) => (reply, Action::Started),
            Err(LinkError::Guest { code, .. }) if code == "service_already_running" => {
                call.replace = true;
                let replaced = link.start_service(call).await;
                let refused = |error| self.refused(&name, "start the service", error);
                match replaced.map_err(refused) {
                    Ok(reply) => (reply, Action::Restarted),
                    Err(error) => return Err(held.undo(error).await),
                }
            }
            Err(error) => {
                return Err(held.undo(self.refused(&name, "start the service", error)).await);
            }
        };
        let record = take_in(&reply)?;
        let of_service = |port: &PublishedPort| port.service.as_ref() == Some(&service.name);
        if service.ports.is_empty() && self.snapshot().record.published.iter().any(of_service) {
            self.tell(Request::SetPorts { service: service.name.clone(), ports: Vec::new() });
        }
        self.note(&record).await;
        drop(held);
        Ok(Begun { record, action })
    }

    /// Waits until each is ready, or cannot be any more; whether the time was over before.
    async fn await_all(
        &self,
        link: &Link,
        declared: &BTreeMap<ServiceName, Declared>,
        results: &mut BTreeMap<ServiceName, UpService>,
        limit: Option<Duration>,
    ) -> Result<bool, WorkspaceError> {
        let mut timed_out = false;
        let mut handles: BTreeMap<ServiceName, AbortHandle> = BTreeMap::new();
        let mut waits = FuturesUnordered::new();
        for (name, result) in &*results {
            let Ok(started) = &result.result else { continue };
            let record = &started.record;
            let is_well = record.ready && !result.is_job;
            if result.action == Action::Unchanged && (is_well || !record.state.is_active()) {
                continue;
            }
            let run = record.run + u64::from(record.pid.is_none() && record.state.is_active());
            let wait = self.wait_for(link, name, run, result.is_job, limit);
            let (wait, handle) = abortable(wait);
            handles.insert(name.clone(), handle);
            waits.push(async move { (name.clone(), wait.await) });
        }
        let mut waited = Vec::new();
        while let Some((name, outcome)) = waits.next().await {
            handles.remove(&name);
            let started = match outcome {
                Ok(started) => started?,
                // What it waits for does not come by itself.
                Err(_aborted) => {
                    let record = self.service(name.as_str()).await?;
                    let outcome = if record.ready { Outcome::Met } else { Outcome::TimedOut };
                    StartedService { outcome: Some(outcome), ..unwaited(record, Action::Started) }
                }
            };
            timed_out |= limit.is_some() && started.outcome == Some(Outcome::TimedOut);
            if started.outcome != Some(Outcome::Met) && started.record.state.is_active() {
                for other in dependents(declared, &name) {
                    if let Some(handle) = handles.get(&other) {
                        handle.abort();
                    }
                }
            }
            waited.push((name, started));
        }
        drop(waits);
        for (name, started) in waited {
            if let Some(result) = results.get_mut(&name) {
                let unchanged = result.action == Action::Unchanged;
                result.result = Ok(StartedService { unchanged, ..started });
            }
        }
        Ok(timed_out)
    }

    /// Of a job, its end is waited for, and that it was a good one.
    async fn wait_for(
        &self,
        link: &Link,
        name: &ServiceName,
        run: u64,
        is_job: bool,
        limit: Option<Duration>,
    ) -> Result<StartedService, WorkspaceError> {
        let name = name.as_str();
        let waited = self.wait_in_guest(link, name, run, is_job, limit, None).await?;
        let code = waited.record.last_exit.as_ref().and_then(|exit| exit.exit_code);
        if !is_job || waited.outcome != Some(Outcome::Met) || code == Some(0) {
            return Ok(waited);
        }
        // What it does not run for any more is told with its last lines.
        self.wait_in_guest(link, name, 0, false, Some(Duration::ZERO), None).await
    }

    /// Stops the services that came from files: from one, or from any; only those of these names
    /// where there are any. Those that others of them need are stopped last. Tells which ran.
    pub async fn down(
        &self,
        source: Option<&str>,
        only: &[String],
    ) -> Result<Vec<(ServiceRecord, bool)>, WorkspaceError> {
        let _in_use = InUseGuard::new(self);
        let mut services = self.list_services(true).await?;
        services.retain(|service| match source {
            Some(source) => service.source == source,
            None => !service.source.is_empty(),
        });
        if !only.is_empty() {
            let known = |name: &String| services.iter().any(|it| it.name.as_str() == name);
            if let Some(name) = only.iter().find(|name| !known(name)) {
                let name: String = name.chars().take(64).collect();
                let all: Vec<_> = services.iter().map(|it| it.name.as_str()).collect();
                let problem = Problem::not_found(
                    "service_not_found",
                    format!("no service {name:?} came from a file"),
                );
                return Err(match all.as_slice() {
                    [] => problem,
                    all => problem.hint(format!("these did: {}", all.join(", "))),
                }
                .into());
            }
            services.retain(|service| only.iter().any(|name| name == service.name.as_str()));
        }
        let Some(live) = self.snapshot().live.clone() else {
            return Ok(services.into_iter().map(|service| (service, false)).collect());
        };
        let (running, idle): (Vec<_>, Vec<_>) =
            services.into_iter().partition(|service| service.state.is_active());
        let stopped = self.stop_in_order(&live.link, running).await?;
        let mut all: Vec<_> = stopped.into_iter().map(|service| (service, true)).collect();
        all.extend(idle.into_iter().map(|service| (service, false)));
        all.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        Ok(all)
    }

    /// Stops each once those of them that need it are stopped, as many at once as can be.
    async fn stop_in_order(
        &self,
        link: &Link,
        services: Vec<ServiceRecord>,
    ) -> Result<Vec<ServiceRecord>, WorkspaceError> {
        let mut stopped: Vec<ServiceRecord> = Vec::new();
        let mut left = services;
        let mut going = FuturesUnordered::new();
        let mut under_way: Vec<ServiceRecord> = Vec::new();
        loop {
            let needed = |name: &ServiceName| {
                let needs = |other: &ServiceRecord| other.depends_on.contains_key(name);
                left.iter().any(needs) || under_way.iter().any(needs)
            };
            let (now, later): (Vec<_>, Vec<_>) =
                left.iter().cloned().partition(|service| !needed(&service.name));
            // What a guest says may be a circle.
            let (now, later) =
                if now.is_empty() && going.is_empty() { (later, now) } else { (now, later) };
            left = later;
            for service in now {
                let call = StopService { name: service.name.to_string(), ..StopService::default() };
                let name = service.name.clone();
                under_way.push(service);
                going.push(async move { (name, link.stop_service(call).await) });
            }
            let Some((name, reply)) = going.next().await else { break };
            under_way.retain(|service| service.name != name);
            let reply =
                reply.map_err(|error| self.refused(name.as_str(), "stop the service", error));
            stopped.push(take_in(&reply?)?);
        }
        Ok(stopped)
    }

    /// A regular file of the workload, of at most so many bytes; none where it is not there. Starts
    /// the workspace if need be and allowed; whether it had to be.
    pub async fn read_file(
        &self,
        path: &str,
        max_bytes: u64,
        no_start: bool,
    ) -> Result<(Option<Vec<u8>>, bool), WorkspaceError> {
        let _in_use = InUseGuard::new(self);
        let (link, started) = self.guest(no_start).await?;
        match link.read_file(path.as_bytes().to_vec(), max_bytes).await {
            Ok(content) => Ok((Some(content), started)),
            Err(LinkError::Guest { code, .. }) if code == "file_not_found" => Ok((None, started)),
            Err(LinkError::Guest { code, .. }) if code == "unknown_call" => {
                let problem = Problem::conflict(
                    "workspace_outdated",
                    format!("workspace {} was started by an older pyro", self.id),
                );
                Err(problem.hint(format!("pyro stop {0} && pyro start {0}", self.id)).into())
            }
            Err(error) => Err(WorkspaceError::guest("read the file")(error)),
        }
    }
}

/// A problem with a service of several.
fn of_service(name: &ServiceName, problem: Problem) -> Problem {
    let message = format!("service {name}: {}", problem.message);
    Problem { message, ..problem }
}

fn failed(name: ServiceName, is_job: bool, problem: Problem) -> UpService {
    UpService { name, action: Action::Refused, result: Err(problem), is_job }
}

fn unwaited(record: ServiceRecord, action: Action) -> StartedService {
    StartedService {
        record,
        unchanged: action == Action::Unchanged,
        outcome: None,
        log_tail: Vec::new(),
        started_workspace: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(text: &str) -> Vec<ServiceSpec> {
        serde_json::from_str(text).unwrap()
    }

    fn names(names: &BTreeSet<ServiceName>) -> Vec<&str> {
        names.iter().map(ServiceName::as_str).collect()
    }

    const FILE: &str = r#"[
        {"name": "db", "command": "db"},
        {"name": "migrate", "command": "m", "depends_on": {"db": "ready"}},
        {"name": "web", "command": "w", "depends_on": {"migrate": "completed", "log": "started"}},
        {"name": "log", "command": "l"}
    ]"#;

    #[test]
    fn what_is_asked_for_comes_with_what_it_needs() {
        let mut file = services(FILE);
        file.swap(2, 3);
        let wanted = |only: &[&str]| {
            let only: Vec<_> = only.iter().map(|name| (*name).to_owned()).collect();
            with_dependencies(&file, &only)
        };
        assert_eq!(names(&wanted(&["migrate"]).unwrap()), ["db", "migrate"]);
        assert_eq!(names(&wanted(&["web"]).unwrap()), ["db", "log", "migrate", "web"]);
        assert_eq!(wanted(&[]).unwrap().len(), 4);
        let refused = wanted(&["nosuch"]).unwrap_err();
        assert_eq!(refused.code, "service_not_found");
        assert_eq!(
            jobs(&file).into_iter().map(ServiceName::as_str).collect::<Vec<_>>(),
            ["migrate"]
        );
    }

    #[test]
    fn who_waits_for_what_does_not_come_is_known() {
        let declared: BTreeMap<_, _> = services(FILE)
            .into_iter()
            .map(|service| {
                let depends_on = service.depends_on.clone();
                let spec = pyro_wire::ServiceSpec::default();
                let name = service.name.clone();
                let ports = Vec::new();
                (service.name, Declared { spec, name, depends_on, ports, is_job: false })
            })
            .collect();
        let of = |name: &str| dependents(&declared, &name.parse().unwrap());
        assert_eq!(names(&of("db")), ["migrate", "web"]);
        assert_eq!(names(&of("log")), [] as [&str; 0]);
    }
}
