//! Services: how long after they are ready pyro knows, and what it takes to start and to stop one.
//!
//! What is late is measured with the guest's own clock: a service says when it became ready, its
//! record says when that was seen. The record counts whole milliseconds; the end of that millisecond
//! is taken, so that a figure is never better than what it measures.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use pyro_client::{
    Node, ServiceLogQuery,
    api::{
        Command, OnReadyTimeout, Probe, RestartPolicy, ServiceSpec, StartService, StartedService,
        StopService, Workspace,
    },
};
use pyro_directory::Directory;
use pyro_link::Link;
use pyro_wire::ListServices;
use tokio::task::JoinSet;

use crate::{
    Result,
    figure::Report,
    process::milliseconds,
    scene::{Scene, put},
};

static LATE_SERVICE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/late_service"));
/// Where it stands in the guest.
const PROGRAM: &str = "/tmp/late-service";
/// What is made by those that are ready by a file. In memory: what a disk takes for a new file is none
/// of pyro's time.
const FILE: &str = "/run/late-service-is-ready";
const PORT: &str = "8300";
/// Services of one workspace.
const MANY: usize = 50;

pub(crate) async fn measure(scene: &Scene, report: &mut Report) -> Result<()> {
    let node = Arc::new(scene.node().await?);
    let workspace: Workspace = node.create_workspace(&scene.creation()).await?;
    let id = workspace.workspace_id.to_string();
    put(scene, &id, LATE_SERVICE, PROGRAM)?;
    let late = Late { scene, node: &node, id: &id };
    late.all(report).await?;
    start_and_stop(scene, &node, &id, report).await?;
    log_tail(scene, &node, &id, report).await?;
    many(scene, &node, &id, report).await?;
    node.delete_workspace(&id).await?;
    Ok(())
}

/// Services that are ready 300 ms after their start.
struct Late<'a> {
    scene: &'a Scene,
    node: &'a Node,
    id: &'a str,
}

impl Late<'_> {
    async fn all(&self, report: &mut Report) -> Result<()> {
        let file = || Probe::File { path: FILE.into() };
        let command = || Probe::Command { command: Command::Shell(format!("test -e {FILE}")) };
        let tcp = || Probe::Tcp { address: format!("127.0.0.1:{PORT}") };
        let http = || Probe::Http { url: format!("http://127.0.0.1:{PORT}/") };
        let log = || Probe::Log { pattern: "^ready at ".into() };

        report.add("floor: a port, asked for as often", "ms", self.floor(&["floor-ask", PORT])?);
        report.add("ready by tcp, after it was", "ms", self.seen(tcp, &["port", PORT]).await?);
        report.add("ready by http, after it was", "ms", self.seen(http, &["port", PORT]).await?);
        report.add("floor: a thread that is woken", "ms", self.floor(&["floor-wake"])?);
        report.add("ready by file, after it was", "ms", self.seen(file, &["file", FILE]).await?);
        report.add("ready by log, after it was", "ms", self.seen(log, &["log"]).await?);
        let notify = || Probe::Notify {};
        report.add("ready by notify, after it was", "ms", self.seen(notify, &["notify"]).await?);
        report.add("floor: a command, run as often", "ms", self.floor(&["floor-run", FILE])?);
        let late = self.seen(command, &["file", FILE]).await?;
        report.add("ready by command, after it was", "ms", late);
        Ok(())
    }

    /// How much later than it was ready the guest's agent knew of it.
    async fn seen(&self, probe: impl Fn() -> Probe, words: &[&str]) -> Result<Vec<f64>> {
        let mut samples = Vec::new();
        for _ in 0..self.rounds() {
            self.clear()?;
            let request = service(&[&[PROGRAM], words].concat(), probe())?;
            let started = started(self.node, self.id, &request).await?;
            let was = self.said().await? / 1000.0;
            let seen = started.service.ready_at.ok_or("it is ready")?;
            samples.push((seen * 1000.0).round() + 1.0 - was);
            self.node.delete_service(self.id, "late").await?;
        }
        Ok(samples)
    }

    /// When it was ready, in microseconds, as it says itself.
    async fn said(&self) -> Result<f64> {
        let query = ServiceLogQuery { all: true, follow: true, ..ServiceLogQuery::default() };
        let mut log = self.node.stream_service_logs(self.id, "late", &query).await?;
        let mut said = String::new();
        while !said.ends_with('\n') {
            let entry = log.next().await?.ok_or("it ended before it was ready")?;
            said += &entry.text.unwrap_or_default();
        }
        let at = said.trim_end().strip_prefix("ready at ").ok_or("it says something else")?;
        Ok(at.parse()?)
    }

    fn floor(&self, words: &[&str]) -> Result<Vec<f64>> {
        let mut samples = Vec::new();
        for _ in 0..self.rounds() {
            self.clear()?;
            let all = [&["exec", self.id, "--", PROGRAM], words].concat();
            samples.push(self.scene.output(&all)?.trim().parse::<f64>()? / 1000.0);
        }
        Ok(samples)
    }

    fn clear(&self) -> Result<()> {
        self.scene.output(&["exec", self.id, "--", "rm", "-f", FILE]).map(drop)
    }

    /// Each takes most of a second.
    fn rounds(&self) -> usize {
        self.scene.rounds.div_ceil(2)
    }
}

async fn start_and_stop(scene: &Scene, node: &Node, id: &str, report: &mut Report) -> Result<()> {
    let [mut starts, mut stops] = [const { Vec::new() }; 2];
    for _ in 0..scene.rounds {
        // Ready at once: the path is always there.
        let request = service(&["sleep", "1000"], Probe::File { path: "/".into() })?;
        let begun = Instant::now();
        started(node, id, &request).await?;
        starts.push(milliseconds(begun));
        let begun = Instant::now();
        let stopped = node.stop_service(id, "late", &StopService::default()).await?;
        stops.push(milliseconds(begun));
        if stopped.stop_reason.as_deref() != Some("sigterm") {
            return Err(format!("it was not stopped by its signal: {stopped:?}").into());
        }
    }
    report.add("service start of what is ready at once", "ms", starts);
    report.add("service stop of sleep 1000", "ms", stops);
    Ok(())
}

/// The last lines of a log whose oldest have been dropped already.
async fn log_tail(scene: &Scene, node: &Node, id: &str, report: &mut Report) -> Result<()> {
    let print = "yes 'a line of a log as many are, neither very long nor short' | head -c 24000000; \
                 echo; echo full; exec sleep 1000";
    let mut request = service(&["sh", "-c", print], Probe::Log { pattern: "^full$".into() })?;
    request.service.ready_timeout_seconds = Some(120.0);
    started(node, id, &request).await?;
    let query = ServiceLogQuery { tail_lines: Some(200), ..ServiceLogQuery::default() };
    let mut tails = Vec::new();
    for _ in 0..scene.rounds {
        let begun = Instant::now();
        let log = node.service_logs(id, "late", &query).await?;
        tails.push(milliseconds(begun));
        if log.stdout.lines().count() != 200 || !log.stdout.ends_with("\nfull\n") {
            return Err("the log does not end with its last 200 lines".into());
        }
    }
    report.add("last 200 lines of a full log", "ms", tails);
    Ok(())
}

/// What the agent holds with many services, all started at once.
async fn many(scene: &Scene, node: &Arc<Node>, id: &str, report: &mut Report) -> Result<()> {
    let mut starting = JoinSet::new();
    for number in 0..MANY {
        let mut request = service(&["sleep", "1000"], Probe::File { path: "/".into() })?;
        request.service.name = format!("many-{number}").parse()?;
        let (node, id) = (node.clone(), id.to_owned());
        starting.spawn(async move { node.start_service(&id, &request).await });
    }
    while let Some(started) = starting.join_next().await {
        if let Some(failure) = started??.failure {
            return Err(format!("one of many is not ready: {failure:?}").into());
        }
    }
    let directory = Directory::open(scene.state().join("workspaces").join(id).join("vm"))?;
    let list = Link::new(Arc::new(directory)).list_services(ListServices::default()).await?;
    let mebibytes = |bytes: u64| vec![bytes as f64 / f64::from(1 << 20)];
    report.add("memory of the agent, 50 services", "MiB", mebibytes(list.agent_memory_bytes));
    let most = mebibytes(list.agent_memory_peak_bytes);
    report.add("the most it held since the boot", "MiB", most);
    Ok(())
}

async fn started(node: &Node, id: &str, request: &StartService) -> Result<StartedService> {
    let started = node.start_service(id, request).await?;
    match &started.failure {
        Some(failure) => Err(format!("the service is not ready: {failure:?}").into()),
        None => Ok(started),
    }
}

fn service(command: &[&str], readiness: Probe) -> Result<StartService> {
    let service = ServiceSpec {
        name: "late".parse()?,
        command: Command::Arguments(command.iter().map(ToString::to_string).collect()),
        cwd: None,
        env: BTreeMap::new(),
        user: None,
        readiness: Some(readiness),
        ready_timeout_seconds: None,
        ready_interval_ms: None,
        on_ready_timeout: OnReadyTimeout::Stop,
        restart: RestartPolicy::No,
        restart_limit: None,
        stop_signal: None,
        stop_grace_seconds: None,
        health: None,
        depends_on: BTreeMap::new(),
        log_limit_bytes: None,
    };
    Ok(StartService {
        service,
        replace: false,
        no_wait: false,
        no_start: false,
        published_ports: Vec::new(),
        secret_env: BTreeMap::new(),
    })
}
