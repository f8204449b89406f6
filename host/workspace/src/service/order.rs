//! A specification in people's words, as the guest is told it. Whatever is wrong with it is said
//! here, before anything is started.

use std::time::Duration;

use pyro_core::{
    Command, DependencyCondition, OnReadyTimeout, OnUnhealthy, Probe, Problem, RestartPolicy,
    ServiceSpec, WORKSPACE_PATH, parse_signal,
};
use pyro_wire::{
    CommandProbe, Dependency, EnvironmentVariable, HttpProbe, Message, NotifyProbe, TcpProbe,
    probe::Kind,
};

/// To become ready, where nothing else is said.
const READY_TIMEOUT: f64 = 30.0;
/// The longest argument: what Linux takes for one.
const MAX_ARGUMENT: usize = 128 * 1024;
/// Of a whole specification, bytes: what a guest keeps with each change of the service.
const MAX_SPEC: usize = 256 * 1024;
/// The longest time that can be asked for, seconds: a year.
const LONGEST: f64 = 366.0 * 86_400.0;
/// The least and the most that is kept of a stream, bytes.
pub(super) const LOG_LIMIT: std::ops::RangeInclusive<u64> = (64 << 10)..=(1 << 30);

fn invalid(message: impl Into<String>) -> Problem {
    Problem::invalid("invalid_service", message)
}

/// How long it may take to become ready.
pub(super) fn ready_timeout(spec: &ServiceSpec) -> Duration {
    Duration::try_from_secs_f64(spec.ready_timeout_seconds.unwrap_or(READY_TIMEOUT))
        .unwrap_or_default()
}

/// The guest's form of it.
pub(super) fn spec(spec: ServiceSpec) -> Result<pyro_wire::ServiceSpec, Problem> {
    if spec.command.is_empty() {
        return Err(invalid("the command is empty")
            .hint("give the command after --, for example: pyro service start W web -- ./serve"));
    }
    let texts = spec.command.arguments();
    let all = texts.iter().chain(spec.env.keys()).chain(spec.env.values());
    for text in all.chain(&spec.cwd).chain(&spec.user) {
        if text.contains('\0') || text.len() > MAX_ARGUMENT {
            return Err(invalid(format!(
                "an argument holds a NUL character or is longer than {MAX_ARGUMENT} bytes"
            )));
        }
    }
    for name in spec.env.keys() {
        if name.is_empty() || name.contains('=') {
            return Err(invalid(format!("{name:?} is not an environment variable's name")));
        }
    }
    if spec.log_limit_bytes.is_some_and(|limit| !LOG_LIMIT.contains(&limit)) {
        return Err(invalid("the limit of a log is 64 KiB to 1 GiB"));
    }
    let health = spec.health.map(health).transpose()?;
    let spec = pyro_wire::ServiceSpec {
        name: spec.name.to_string(),
        command: spec.command.to_string(),
        arguments: arguments(&spec.command),
        environment: spec
            .env
            .into_iter()
            .map(|(name, value)| EnvironmentVariable {
                name: name.into_bytes().into(),
                value: value.into_bytes().into(),
            })
            .collect(),
        working_directory: below_workspace(spec.cwd.as_deref().unwrap_or(WORKSPACE_PATH)).into(),
        user: spec.user.unwrap_or_default(),
        readiness: spec.readiness.map(|readiness| probe(readiness, None)).transpose()?,
        ready_timeout_millis: millis(spec.ready_timeout_seconds, "ready timeout")?,
        ready_interval_millis: match spec.ready_interval_ms {
            Some(0) => return Err(invalid("the ready interval is at least 1 ms")),
            interval => interval.unwrap_or_default(),
        },
        keep_on_ready_timeout: spec.on_ready_timeout == OnReadyTimeout::Keep,
        stop_signal: spec.stop_signal.as_deref().map_or(Ok(0), parse_signal)?,
        stop_grace_millis: match spec.stop_grace_seconds {
            // KILL at once; 0 means the default on the wire.
            Some(0.0) => 1,
            grace => millis(grace, "grace period")?,
        },
        restart: match spec.restart {
            RestartPolicy::No => pyro_wire::RestartPolicy::RestartNo,
            RestartPolicy::OnFailure => pyro_wire::RestartPolicy::RestartOnFailure,
            RestartPolicy::Always => pyro_wire::RestartPolicy::RestartAlways,
            RestartPolicy::UnlessStopped => pyro_wire::RestartPolicy::RestartUnlessStopped,
        }
        .into(),
        restart_limit: match spec.restart_limit {
            Some(0) => return Err(invalid("the restart limit is at least 1")),
            limit => limit.unwrap_or_default(),
        },
        health,
        depends_on: spec
            .depends_on
            .into_iter()
            .map(|(name, condition)| Dependency {
                name: name.to_string(),
                condition: match condition {
                    DependencyCondition::Started => {
                        pyro_wire::DependencyCondition::DependencyStarted
                    }
                    DependencyCondition::Ready => pyro_wire::DependencyCondition::DependencyReady,
                    DependencyCondition::Completed => {
                        pyro_wire::DependencyCondition::DependencyCompleted
                    }
                }
                .into(),
            })
            .collect(),
        log_limit_bytes: spec.log_limit_bytes.unwrap_or_default(),
    };
    if spec.encoded_len() > MAX_SPEC {
        return Err(Problem::invalid(
            "service_too_large",
            format!(
                "the command, environment and probes of a service are {MAX_SPEC} bytes together at \
                 most"
            ),
        )
        .hint("put what is long into a file of the workspace"));
    }
    Ok(spec)
}

fn arguments(command: &Command) -> Vec<bytes::Bytes> {
    command.arguments().into_iter().map(|argument| argument.into_bytes().into()).collect()
}

/// Absolute: a relative path is under `/workspace`.
fn below_workspace(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{WORKSPACE_PATH}/{path}") }
}

fn millis(seconds: Option<f64>, what: &str) -> Result<u64, Problem> {
    match seconds {
        None => Ok(0),
        Some(seconds) if seconds > 0.0 && seconds <= LONGEST => {
            Ok(((seconds * 1000.0) as u64).max(1))
        }
        Some(seconds) => Err(Problem::invalid(
            "invalid_limit",
            format!("{seconds} is not a valid {what}: more than 0 seconds, at most a year"),
        )),
    }
}

fn health(health: pyro_core::HealthCheck) -> Result<pyro_wire::HealthCheck, Problem> {
    if matches!(health.probe, Probe::Log { .. } | Probe::Notify {}) {
        return Err(invalid("health is looked at by file, tcp, http or command"));
    }
    Ok(pyro_wire::HealthCheck {
        probe: Some(probe(health.probe, health.timeout_seconds)?),
        interval_millis: millis(health.interval_seconds, "health interval")?,
        retries: health.retries.unwrap_or_default(),
        start_period_millis: match health.start_period_seconds {
            Some(0.0) => 0,
            period => millis(period, "start period")?,
        },
        restart: health.on_failure == OnUnhealthy::Restart,
    })
}

fn probe(probe: Probe, timeout_seconds: Option<f64>) -> Result<pyro_wire::Probe, Problem> {
    let invalid = |message: String, hint: &str| {
        Err(Problem::invalid("invalid_readiness", message).hint(hint.to_owned()))
    };
    let kind = match probe {
        Probe::File { path } if path.is_empty() || path.contains('\0') => {
            return invalid(format!("{path:?} is not a path"), "for example: --ready-file .ready");
        }
        Probe::File { path } => Kind::File(below_workspace(&path).into_bytes().into()),
        Probe::Tcp { address } => match host_and_port(&address, None) {
            Some((host, port)) => Kind::Tcp(TcpProbe { host, port }),
            None => {
                return invalid(
                    format!("{address:?} is not HOST:PORT"),
                    "for example: --ready-tcp 127.0.0.1:8080, or [::1]:8080",
                );
            }
        },
        Probe::Http { url } => match http(&url) {
            Some(probe) => Kind::Http(probe),
            None => {
                return invalid(
                    format!("{url:?} is not an http URL"),
                    "for example: --ready-http http://127.0.0.1:8080/health",
                );
            }
        },
        Probe::Command { command } if command.is_empty() => {
            return invalid(
                "the probe's command is empty".into(),
                "for example: --ready-command 'pg_isready -q'",
            );
        }
        Probe::Command { command } => {
            Kind::Command(CommandProbe { arguments: arguments(&command) })
        }
        Probe::Log { pattern } => Kind::Log(pattern),
        Probe::Notify {} => Kind::Notify(NotifyProbe {}),
    };
    Ok(pyro_wire::Probe {
        kind: Some(kind),
        timeout_millis: millis(timeout_seconds, "probe timeout")?,
    })
}

/// `HOST:PORT`, `[IPV6]:PORT`; without a port, the usual one.
fn host_and_port(text: &str, usual: Option<u32>) -> Option<(String, u32)> {
    let bracketed = text.strip_prefix('[');
    let (host, port) = match bracketed {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, rest.strip_prefix(':').or(rest.is_empty().then_some("")))
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("")),
        },
    };
    let port = match port? {
        "" => usual?,
        port => u32::from(port.parse::<u16>().ok().filter(|port| *port > 0)?),
    };
    let valid = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    let colons = host.contains(':') && bracketed.is_none();
    (!host.is_empty() && host.len() <= 253 && host.chars().all(valid) && !colons)
        .then(|| (host.to_owned(), port))
}

fn http(url: &str) -> Option<HttpProbe> {
    let scheme = url.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"))?;
    let rest = &url[scheme.len()..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, port) = host_and_port(&rest[..end], Some(80))?;
    let target = rest[end..].split('#').next().unwrap_or_default();
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    let clean = target.len() <= 4096 && target.bytes().all(|byte| byte.is_ascii_graphic());
    clean.then_some(HttpProbe { host, port, target })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_to_be_kept_is_refused() {
        let of = |count: usize| {
            let variable = |at| (format!("V{at}"), "x".repeat(1000));
            let env: std::collections::BTreeMap<_, _> = (0..count).map(variable).collect();
            let text = serde_json::json!({"name": "web", "command": "serve", "env": env});
            serde_json::from_value(text).unwrap()
        };
        assert!(spec(of(100)).is_ok());
        assert_eq!(spec(of(300)).unwrap_err().code, "service_too_large");
    }

    #[test]
    fn addresses_are_read_in_every_form() {
        for (text, host, port) in [
            ("127.0.0.1:80", "127.0.0.1", 80),
            ("[::1]:8080", "::1", 8080),
            ("db:5432", "db", 5432),
        ] {
            assert_eq!(host_and_port(text, None), Some((host.to_owned(), port)), "{text}");
        }
        for bad in ["", ":80", "x", "x:", "x:0", "x:65536", "::1:80", "[x]:80", "a b:80", "[::1]"] {
            assert_eq!(host_and_port(bad, None), None, "{bad}");
        }
    }

    #[test]
    fn urls_are_taken_apart() {
        let parts = |url| http(url).map(|http| (http.host, http.port, http.target));
        let whole =
            |host: &str, port, target: &str| Some((host.to_owned(), port, target.to_owned()));
        assert_eq!(parts("http://localhost:80/a?b#c"), whole("localhost", 80, "/a?b"));
        assert_eq!(parts("HTTP://[::1]:3000"), whole("::1", 3000, "/"));
        assert_eq!(parts("http://x?q"), whole("x", 80, "/?q"));
        for bad in ["https://x", "http://", "x", "http://x/ y", "http://x:99999/", "http://u@x/"] {
            assert_eq!(parts(bad), None, "{bad}");
        }
    }
}
