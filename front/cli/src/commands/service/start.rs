//! `pyro workspace service start`.

use std::{collections::BTreeMap, time::Duration};

use pyro_api::{
    Command, DependencyCondition, HealthCheck, OnReadyTimeout, OnUnhealthy, Probe, PublishPort,
    RestartPolicy, ServiceName, ServiceSpec, StartService,
};
use pyro_core::Problem;

use super::card;
use crate::{
    arguments::{HealthArguments, HealthProbeArguments, ProbeArguments, ServiceStartArguments},
    commands::wiring,
    context::Context,
    error::{CommandError, not_available},
    values,
};

pub(in crate::commands) async fn start(
    context: &Context,
    arguments: ServiceStartArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    if !arguments.secret_env.is_empty() {
        return Err(not_available("--secret-env").into());
    }
    let workspace = context.workspace(&arguments.workspace)?;
    let (replace, no_wait, no_start) = (arguments.replace, arguments.no_wait, arguments.no_start);
    let publish = |port: &values::Forward| PublishPort {
        guest_port: port.guest.into(),
        host_port: port.host.map(u32::from),
    };
    let published_ports = arguments.publish.iter().map(publish).collect();
    let request = StartService {
        service: spec(context, arguments)?,
        replace,
        no_wait,
        no_start,
        published_ports,
        secret_env: BTreeMap::new(),
    };
    let node = context.node().await?;
    let starting = node.start_service(&workspace, &request);
    let started = printer.while_waiting("Waiting until it is ready", starting).await?;
    let done = match (started.unchanged, started.service.ready) {
        (true, _) => "runs already",
        (false, true) => "is ready",
        (false, false) if started.service.state == pyro_api::ServiceState::Exited => "has ended",
        (false, false) => "is starting",
    };
    card::print_started(printer, &started, done)
}

fn spec(context: &Context, arguments: ServiceStartArguments) -> Result<ServiceSpec, CommandError> {
    let words = wiring::words("service start", arguments.words, context.after_dashes.as_deref())?;
    let env = wiring::variables(&arguments.env, &arguments.env_file)?;
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    Ok(ServiceSpec {
        name: arguments.service.parse::<ServiceName>().map_err(Problem::from)?,
        command: Command::Arguments(words),
        cwd: arguments.cwd,
        env,
        user: arguments.user,
        readiness: probe(arguments.ready),
        ready_timeout_seconds: seconds(arguments.ready_timeout_seconds),
        ready_interval_ms: arguments.ready_interval_ms,
        on_ready_timeout: match arguments.on_ready_timeout.as_deref() {
            Some("keep") => OnReadyTimeout::Keep,
            _ => OnReadyTimeout::Stop,
        },
        restart: match arguments.restart.as_deref() {
            Some("on-failure") => RestartPolicy::OnFailure,
            Some("always") => RestartPolicy::Always,
            Some("unless-stopped") => RestartPolicy::UnlessStopped,
            _ => RestartPolicy::No,
        },
        restart_limit: arguments.restart_limit,
        stop_signal: arguments.stop_signal,
        stop_grace_seconds: seconds(arguments.stop_grace_seconds),
        health: health(arguments.health)?,
        depends_on: arguments
            .depends_on
            .iter()
            .map(|text| dependency(text))
            .collect::<Result<_, _>>()?,
        log_limit_bytes: arguments.log_limit,
    })
}

fn probe(ready: ProbeArguments) -> Option<Probe> {
    let ProbeArguments { file, tcp, http, command, log, notify } = ready;
    file.map(|path| Probe::File { path })
        .or(tcp.map(|address| Probe::Tcp { address }))
        .or(http.map(|url| Probe::Http { url }))
        .or(command.map(|line| Probe::Command { command: Command::Shell(line) }))
        .or(log.map(|pattern| Probe::Log { pattern }))
        .or(notify.then_some(Probe::Notify {}))
}

fn health(arguments: HealthArguments) -> Result<Option<HealthCheck>, CommandError> {
    let HealthProbeArguments { file, tcp, http, command } = arguments.probe;
    let asked = ProbeArguments { file, tcp, http, command, ..ProbeArguments::default() };
    let Some(probe) = probe(asked) else {
        let times =
            [arguments.health_interval, arguments.health_timeout, arguments.health_start_period];
        let given = times.iter().any(Option::is_some)
            || arguments.health_retries.is_some()
            || arguments.health_action.is_some();
        if given {
            return Err(CommandError::usage(
                "service start",
                "say what is asked: use --health-file, --health-tcp, --health-http or --health-command",
            ));
        }
        return Ok(None);
    };
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    Ok(Some(HealthCheck {
        probe,
        interval_seconds: seconds(arguments.health_interval),
        timeout_seconds: seconds(arguments.health_timeout),
        retries: arguments.health_retries,
        start_period_seconds: seconds(arguments.health_start_period),
        on_failure: match arguments.health_action.as_deref() {
            Some("report") => OnUnhealthy::Report,
            _ => OnUnhealthy::Restart,
        },
    }))
}

/// `NAME`, `NAME:started`, `NAME:ready` or `NAME:completed`.
fn dependency(text: &str) -> Result<(ServiceName, DependencyCondition), Problem> {
    let (name, condition) = text.split_once(':').unwrap_or((text, "ready"));
    let condition = match condition {
        "started" => DependencyCondition::Started,
        "ready" => DependencyCondition::Ready,
        "completed" => DependencyCondition::Completed,
        other => {
            return Err(Problem::invalid(
                "invalid_service",
                format!("{other:?} is not what one service can need of another"),
            )
            .hint("it is started, ready or completed, as in --depends-on db:ready"));
        }
    };
    Ok((name.parse()?, condition))
}
