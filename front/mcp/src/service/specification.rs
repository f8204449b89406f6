//! What a call's arguments ask a service to be.
//!
//! A default is left out, so that the specification is the same as one from the command line or from
//! Python: a start over a service that runs so changes nothing. What can be wrong with the values is the
//! node's to say.

use std::collections::BTreeMap;

use pyro_api::{
    Command, DependencyCondition, HealthCheck, OnReadyTimeout, OnUnhealthy, Probe, RestartPolicy,
    ServiceName, ServiceSpec, StartService,
};
use pyro_core::Problem;

use crate::{
    arguments::{Arguments, invalid},
    port::ports,
};

const READY_TIMEOUT_SECONDS: u64 = 30;
const READY_INTERVAL_MS: u64 = 500;

/// `service_start` as the node takes it.
pub(super) fn request(arguments: &Arguments) -> Result<StartService, Problem> {
    Ok(StartService {
        service: specification(arguments)?,
        replace: arguments.flag("replace"),
        no_wait: arguments.flag("no_wait"),
        no_start: arguments.flag("no_start"),
        published_ports: ports(arguments, "published_ports")?,
        secret_env: BTreeMap::new(),
    })
}

fn specification(arguments: &Arguments) -> Result<ServiceSpec, Problem> {
    let unless = |name, default: &str| {
        arguments.text(name).filter(|given| *given != default).map(str::to_owned)
    };
    let seconds = |name| arguments.integer(name).map(|seconds| seconds as f64);
    let mut depends_on = BTreeMap::new();
    for text in arguments.list("depends_on") {
        let (name, condition) = dependency(&text)?;
        depends_on.insert(name, condition);
    }
    Ok(ServiceSpec {
        name: arguments.required("service_name").parse::<ServiceName>()?,
        command: Command::Shell(arguments.required("command").to_owned()),
        cwd: unless("cwd", "/workspace"),
        env: arguments.map("env"),
        user: unless("user", "root"),
        readiness: probe(arguments, "ready")?,
        ready_timeout_seconds: arguments
            .integer("ready_timeout_seconds")
            .filter(|seconds| *seconds != READY_TIMEOUT_SECONDS)
            .map(|seconds| seconds as f64),
        ready_interval_ms: arguments
            .integer("ready_interval_ms")
            .filter(|interval| *interval != READY_INTERVAL_MS),
        on_ready_timeout: match arguments.text("on_ready_timeout") {
            Some("keep") => OnReadyTimeout::Keep,
            _ => OnReadyTimeout::Stop,
        },
        restart: match arguments.text("restart") {
            Some("on-failure") => RestartPolicy::OnFailure,
            Some("always") => RestartPolicy::Always,
            Some("unless-stopped") => RestartPolicy::UnlessStopped,
            _ => RestartPolicy::No,
        },
        restart_limit: small(arguments, "restart_limit"),
        stop_signal: arguments.text("stop_signal").map(str::to_owned),
        stop_grace_seconds: seconds("stop_grace_seconds"),
        health: health(arguments)?,
        depends_on,
        log_limit_bytes: arguments.integer("log_limit_bytes"),
    })
}

fn small(arguments: &Arguments, name: &str) -> Option<u32> {
    arguments.integer(name).and_then(|number| u32::try_from(number).ok())
}

/// The one probe of a family, `ready` or `health`; more than one is an error.
fn probe(arguments: &Arguments, family: &str) -> Result<Option<Probe>, Problem> {
    let text = |kind| arguments.text(&format!("{family}_{kind}")).map(str::to_owned);
    let probes = [
        ("file", text("file").map(|path| Probe::File { path })),
        ("tcp", text("tcp").map(|address| Probe::Tcp { address })),
        ("http", text("http").map(|url| Probe::Http { url })),
        ("command", text("command").map(|line| Probe::Command { command: Command::Shell(line) })),
        ("log", text("log").map(|pattern| Probe::Log { pattern })),
        ("notify", arguments.flag(&format!("{family}_notify")).then_some(Probe::Notify {})),
    ];
    let given: Vec<_> =
        probes.into_iter().filter_map(|(kind, probe)| Some((kind, probe?))).collect();
    if given.len() > 1 {
        let names: Vec<_> = given.iter().map(|(kind, _)| format!("{family}_{kind}")).collect();
        let message = format!("{} exclude one another", names.join(" and "));
        return Err(invalid(message).hint("give one of them"));
    }
    Ok(given.into_iter().next().map(|(_, probe)| probe))
}

fn health(arguments: &Arguments) -> Result<Option<HealthCheck>, Problem> {
    let seconds = |name| arguments.integer(name).map(|seconds| seconds as f64);
    let Some(probe) = probe(arguments, "health")? else {
        let about = [
            "health_interval_seconds",
            "health_timeout_seconds",
            "health_retries",
            "health_start_period_seconds",
        ];
        return match about.into_iter().find(|name| arguments.has(name)) {
            Some(name) => Err(invalid(format!("{name} is given and nothing is asked"))
                .hint("give health_tcp, health_http, health_command or health_file")),
            None => Ok(None),
        };
    };
    Ok(Some(HealthCheck {
        probe,
        interval_seconds: seconds("health_interval_seconds"),
        timeout_seconds: seconds("health_timeout_seconds"),
        retries: small(arguments, "health_retries"),
        start_period_seconds: seconds("health_start_period_seconds"),
        on_failure: match arguments.text("health_action") {
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
            let message = format!("{other:?} is not what one service can need of another");
            return Err(invalid(message).hint("NAME:started, NAME:ready or NAME:completed"));
        }
    };
    Ok((name.parse()?, condition))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Profile, catalogue};

    fn asked(given: &Value) -> Result<StartService, Problem> {
        let tool = catalogue::of(Profile::WorkspaceCore).find(|tool| tool.name == "service_start");
        let mut all = json!({"workspace_id": "w", "service_name": "web", "command": "./serve"});
        for (name, value) in given.as_object().unwrap() {
            all[name] = value.clone();
        }
        request(&Arguments::check(tool.unwrap().parameters, all.as_object().cloned())?)
    }

    #[test]
    fn what_is_not_said_is_left_out_so_that_the_same_service_is_known_as_such() {
        let plain = asked(&json!({})).unwrap();
        let spec = json!({"name": "web", "command": "./serve"});
        let spec: ServiceSpec = serde_json::from_value(spec).unwrap();
        assert_eq!(plain.service, spec);
        let said = json!({"cwd": "/workspace", "user": "root", "ready_timeout_seconds": 30,
            "ready_interval_ms": 500, "restart": "no", "secret_env": {}, "published_ports": []});
        assert_eq!(asked(&said).unwrap(), plain);
    }

    #[test]
    fn flat_parameters_make_one_specification() {
        let given = json!({"ready_http": "http://127.0.0.1:80/", "ready_timeout_seconds": 5,
            "restart": "on-failure", "restart_limit": 3, "depends_on": ["db", "seed:completed"],
            "health_tcp": "127.0.0.1:80", "health_retries": 2, "health_action": "report",
            "stop_grace_seconds": 0, "replace": true, "env": {"A": "b"}, "user": "nobody"});
        let asked = asked(&given).unwrap();
        let expected = json!({
            "name": "web", "command": "./serve", "env": {"A": "b"}, "user": "nobody",
            "readiness": {"type": "http", "url": "http://127.0.0.1:80/"},
            "ready_timeout_seconds": 5.0, "restart": "on-failure", "restart_limit": 3,
            "depends_on": {"db": "ready", "seed": "completed"}, "stop_grace_seconds": 0.0,
            "health": {"probe": {"type": "tcp", "address": "127.0.0.1:80"}, "retries": 2,
                "on_failure": "report"},
        });
        assert_eq!(asked.service, serde_json::from_value::<ServiceSpec>(expected).unwrap());
        assert!(asked.replace && !asked.no_wait);
    }

    #[test]
    fn ports_are_published_as_callers_of_old_say_it_too() {
        let given = json!({"published_ports": ["8080:80", {"guest_port": 81}]});
        let port = |guest_port, host_port| pyro_api::PublishPort { guest_port, host_port };
        let expected = [port(80, Some(8080)), port(81, None)];
        assert_eq!(asked(&given).unwrap().published_ports, expected);
    }

    #[test]
    fn mistakes_are_told_before_anything_is_started() {
        for (given, code, told) in [
            (
                json!({"ready_tcp": "127.0.0.1:80", "ready_log": "up"}),
                "invalid_arguments",
                "ready_tcp and ready_log exclude one another",
            ),
            (
                json!({"ready_file": "a", "ready_notify": true}),
                "invalid_arguments",
                "ready_file and ready_notify exclude one another",
            ),
            (
                json!({"health_retries": 2}),
                "invalid_arguments",
                "health_retries is given and nothing is asked",
            ),
            (json!({"depends_on": "db:healthy"}), "invalid_arguments", "\"healthy\" is not what"),
            (json!({"restart": "maybe"}), "invalid_arguments", "restart must be one of no, "),
            (json!({"service_name": "../x"}), "invalid_service_name", ""),
            (json!({"secret_env": {"A": "B"}}), "not_available", "secret_env is not available"),
            (json!({"published_ports": ["x"]}), "invalid_arguments", "\"x\" is no port"),
        ] {
            let problem = asked(&given).unwrap_err();
            assert_eq!(problem.code, code, "{given}");
            assert!(problem.message.starts_with(told), "{given}: {}", problem.message);
        }
    }
}
