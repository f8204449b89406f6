//! The `services` of a compose file, as far as they make sense in a workspace.
//!
//! A workspace is one machine: what is about images and containers is an error, because the service
//! would not be what the file says; what is about how containers are shown and reach each other is
//! ignored with a notice. <https://github.com/compose-spec/compose-spec/blob/main/05-services.md>

use std::collections::BTreeMap;

use pyro_core::{
    Command, DependencyCondition, HealthCheck, OnUnhealthy, Probe, RestartPolicy, ServiceName,
    ServiceSpec,
};

use crate::{
    manifest::{Declared, Reading, Wrong},
    port,
    pyro_file::{name_of, plain},
    tree::{Entry, Fault, Node, Value},
    value,
};

/// The keys of a service that mean something here.
pub(crate) const SERVICE_KEYS: [&str; 12] = [
    "command",
    "entrypoint",
    "environment",
    "env_file",
    "working_dir",
    "user",
    "depends_on",
    "healthcheck",
    "ports",
    "restart",
    "stop_signal",
    "stop_grace_period",
];
/// Keys of a service that are ignored, and why.
pub(crate) const IGNORED: [(&str, &str); 10] = [
    ("container_name", NO_CONTAINER),
    ("hostname", NO_CONTAINER),
    ("init", NO_CONTAINER),
    ("labels", NO_CONTAINER),
    ("annotations", NO_CONTAINER),
    ("networks", ONE_NETWORK),
    ("links", ONE_NETWORK),
    ("expose", ONE_NETWORK),
    ("logging", "`pyro service logs` has what services print"),
    ("profiles", "every service is started; name those you want: pyro service up W NAME..."),
];
const NO_CONTAINER: &str = "a service is a process of the workspace, not a container";
const ONE_NETWORK: &str =
    "all services share the workspace's network, each other's ports at 127.0.0.1";
/// Keys of a service that are known and would make it something else.
const REFUSED: [&str; 20] = [
    "volumes",
    "volumes_from",
    "tmpfs",
    "secrets",
    "configs",
    "extends",
    "deploy",
    "devices",
    "privileged",
    "cap_add",
    "cap_drop",
    "network_mode",
    "pid",
    "ipc",
    "read_only",
    "shm_size",
    "sysctls",
    "ulimits",
    "extra_hosts",
    "dns",
];
/// The keys of `healthcheck`.
const HEALTHCHECK_KEYS: [&str; 7] =
    ["test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"];
/// What compose has where a healthcheck does not say: interval and timeout, seconds; retries.
const HEALTHCHECK: (f64, f64, u32) = (30.0, 30.0, 3);

/// Variables of `environment` that are given without a value.
pub(crate) fn passed_on(environment: &Node) -> Vec<String> {
    match &environment.value {
        Value::List(items) => items
            .iter()
            .filter_map(|item| value::scalar(item, "").ok())
            .filter(|text| !text.contains(['=', '$']))
            .map(ToOwned::to_owned)
            .collect(),
        Value::Map(entries) => entries
            .iter()
            .filter(|entry| entry.node.value == Value::Null)
            .map(|entry| entry.name.clone())
            .collect(),
        _ => Vec::new(),
    }
}

/// The services of a file.
pub(crate) fn services(tree: &Node, reading: &mut Reading<'_>) -> Result<Vec<Declared>, Wrong> {
    let mut services = None;
    for entry in value::table(tree, "the file")? {
        match entry.name.as_str() {
            "services" => services = Some(value::table(&entry.node, "services")?),
            "name" | "version" => {}
            "networks" => reading.ignored("networks", ONE_NETWORK, None),
            name if name.starts_with("x-") => {}
            name @ ("volumes" | "secrets" | "configs" | "include" | "models") => {
                return Err(not_supported(entry.line, name, "the file").into());
            }
            _ => {
                let known = ["services", "name", "version", "networks"];
                return Err(value::unknown(entry, "the file", &known).into());
            }
        }
    }
    let services = services.filter(|services| !services.is_empty()).ok_or_else(|| {
        Fault::new(1, "it declares no service").hint("a service is a map under services:")
    })?;
    // Those a `depends_on` without `required` may name though they are not there.
    let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    let mut declared = Vec::new();
    for service in services {
        declared.push(service_of(service, &names, reading)?);
    }
    Ok(declared)
}

fn not_supported(line: usize, key: &str, place: &str) -> Fault {
    let fault = Fault::new(line, format!("{key} of {place} is not supported"));
    match key {
        "volumes" | "volumes_from" | "tmpfs" => fault.hint(
            "services see the workspace's files as they are, under /workspace; remove it, or rename \
             it to x-volumes",
        ),
        _ => fault.hint(format!("remove it, or rename it to x-{key}")),
    }
}

fn service_of(entry: &Entry, names: &[&str], reading: &mut Reading<'_>) -> Result<Declared, Wrong> {
    let name = name_of(entry)?;
    let place = format!("service {name}");
    let mut spec = plain(name, Command::Shell(String::new()));
    let (mut entrypoint, mut command) = (Vec::new(), Vec::new());
    let mut from_files = BTreeMap::new();
    let mut ports = Vec::new();
    for entry in value::table(&entry.node, &place)? {
        let Entry { line, name: key, node } = entry;
        let what = &format!("{key} of {place}");
        match key.as_str() {
            "command" => command = words(node, what)?,
            "entrypoint" => entrypoint = words(node, what)?,
            "environment" => spec.env = environment(node, what, reading)?,
            "env_file" => from_files = reading.env_files(node)?,
            "working_dir" => spec.cwd = Some(value::scalar(node, what)?.to_owned()),
            "user" => spec.user = Some(value::scalar(node, what)?.to_owned()),
            "depends_on" => spec.depends_on = depends_on(node, what, names, reading)?,
            "healthcheck" => healthcheck(node, what, &mut spec)?,
            "ports" => ports = port::of_compose_file(node, what)?,
            "restart" => (spec.restart, spec.restart_limit) = restart(node, what)?,
            "stop_signal" => spec.stop_signal = Some(value::scalar(node, what)?.to_owned()),
            "stop_grace_period" => spec.stop_grace_seconds = Some(value::seconds(node, what)?),
            key @ ("image" | "build") => {
                return Err(Fault::new(
                    *line,
                    format!("{key} of {place}: services run in the workspace, not in images"),
                )
                .hint(
                    "install what it needs in the workspace, say what runs in command, and remove \
                     this key or rename it to x-image or x-build",
                )
                .into());
            }
            key if key.starts_with("x-") => {}
            key if REFUSED.contains(&key) => return Err(not_supported(*line, key, &place).into()),
            key => match IGNORED.iter().find(|(known, _)| *known == key) {
                Some((key, why)) => reading.ignored(key, why, Some(spec.name.as_str())),
                None => return Err(value::unknown(entry, &place, &SERVICE_KEYS).into()),
            },
        }
    }
    entrypoint.append(&mut command);
    spec.command = Command::Arguments(entrypoint);
    if spec.command.is_empty() {
        return Err(Fault::new(entry.line, format!("{place} has no command"))
            .hint("there is no image that would have one: say what runs in command")
            .into());
    }
    from_files.append(&mut spec.env);
    spec.env = from_files;
    Ok(Declared { line: entry.line, spec, ports })
}

/// A list, or a text that is taken apart as a shell would; no shell runs it.
fn words(node: &Node, what: &str) -> Result<Vec<String>, Fault> {
    match &node.value {
        Value::Null => Ok(Vec::new()),
        Value::List(items) => value::words(items, what),
        _ => shell_words::split(value::scalar(node, what)?)
            .map_err(|_| Fault::new(node.line, format!("{what} has a quote without end"))),
    }
}

fn environment(
    node: &Node,
    what: &str,
    reading: &mut Reading<'_>,
) -> Result<BTreeMap<String, String>, Fault> {
    let mut env = BTreeMap::new();
    let mut set = |name: &str, value: Option<&str>| {
        let value = value.map(ToOwned::to_owned).or_else(|| reading.variables.get(name));
        env.extend(value.map(|value| (name.to_owned(), value)));
    };
    match &node.value {
        Value::Null => {}
        Value::List(items) => {
            for item in items {
                let text = value::scalar(item, &format!("each of {what}"))?;
                match text.split_once('=') {
                    Some((name, value)) => set(name, Some(value)),
                    None => set(text, None),
                }
            }
        }
        _ => {
            for entry in value::table(node, what)? {
                if entry.node.value == Value::Null {
                    set(&entry.name, None);
                } else {
                    let what = format!("{} in {what}", entry.name);
                    set(&entry.name, Some(value::scalar(&entry.node, &what)?));
                }
            }
        }
    }
    Ok(env)
}

fn depends_on(
    node: &Node,
    what: &str,
    names: &[&str],
    reading: &mut Reading<'_>,
) -> Result<BTreeMap<ServiceName, DependencyCondition>, Fault> {
    let name = |line: usize, name: &str| {
        name.parse().map_err(|error: pyro_core::InvalidName| Fault::new(line, error.to_string()))
    };
    let mut on = BTreeMap::new();
    if let Value::List(items) = &node.value {
        for item in items {
            let one = value::scalar(item, &format!("each of {what}"))?;
            on.insert(name(item.line, one)?, DependencyCondition::Started);
        }
        return Ok(on);
    }
    let words = [
        ("service_started", DependencyCondition::Started),
        ("service_healthy", DependencyCondition::Ready),
        ("service_completed_successfully", DependencyCondition::Completed),
    ];
    for other in value::table(node, what)? {
        let what = format!("{} in {what}", other.name);
        let mut condition = DependencyCondition::Started;
        let mut required = true;
        for entry in value::table(&other.node, &what)? {
            let what = format!("{} of {what}", entry.name);
            match entry.name.as_str() {
                "condition" => condition = value::one_of(&entry.node, &what, &words)?,
                "required" => required = value::truth(&entry.node, &what)?,
                "restart" => reading.ignored(
                    "restart in depends_on",
                    "a service is not restarted because another is",
                    None,
                ),
                _ => {
                    let known = ["condition", "required", "restart"];
                    return Err(value::unknown(entry, &what, &known));
                }
            }
        }
        if required || names.contains(&other.name.as_str()) {
            on.insert(name(other.line, &other.name)?, condition);
        }
    }
    Ok(on)
}

/// `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:COUNT`.
fn restart(node: &Node, what: &str) -> Result<(RestartPolicy, Option<u32>), Fault> {
    // Without quotes, no is false to some.
    let given = value::scalar(node, what)?;
    if let Some(count) = given.strip_prefix("on-failure:") {
        let count = count.parse::<u32>().map_err(|_| {
            Fault::new(node.line, format!("{what}: {count:?} is not a number of restarts"))
        })?;
        return Ok((RestartPolicy::OnFailure, (count > 0).then_some(count)));
    }
    let words = [
        ("no", RestartPolicy::No),
        ("always", RestartPolicy::Always),
        ("on-failure", RestartPolicy::OnFailure),
        ("unless-stopped", RestartPolicy::UnlessStopped),
    ];
    match given {
        "false" => Ok((RestartPolicy::No, None)),
        _ => Ok((value::one_of(node, what, &words)?, None)),
    }
}

/// A healthcheck says when a service is ready, and is looked at after that. As with compose, one that
/// is not well is not restarted for it.
fn healthcheck(node: &Node, what: &str, spec: &mut ServiceSpec) -> Result<(), Fault> {
    let mut command = None;
    let mut disabled = false;
    let (mut interval, mut timeout, mut retries) = (None, None, None);
    let (mut start_period, mut start_interval) = (0.0, None);
    for entry in value::table(node, what)? {
        let what = &format!("{} of {what}", entry.name);
        match entry.name.as_str() {
            "test" => command = test(&entry.node, what)?,
            "interval" => interval = Some(value::seconds(&entry.node, what)?),
            "timeout" => timeout = Some(value::seconds(&entry.node, what)?),
            "retries" => retries = Some(value::count(&entry.node, what)?),
            "start_period" => start_period = value::seconds(&entry.node, what)?,
            "start_interval" => start_interval = Some(value::seconds(&entry.node, what)?),
            "disable" => disabled = value::truth(&entry.node, what)?,
            _ => return Err(value::unknown(entry, what, &HEALTHCHECK_KEYS)),
        }
    }
    let Some(command) = command.filter(|_| !disabled) else { return Ok(()) };
    let between = interval.unwrap_or(HEALTHCHECK.0);
    let each = timeout.unwrap_or(HEALTHCHECK.1);
    let tries = retries.unwrap_or(HEALTHCHECK.2).max(1);
    // By then compose would call it unhealthy.
    spec.ready_timeout_seconds = Some(start_period + f64::from(tries) * (between + each));
    spec.ready_interval_ms =
        start_interval.or(interval).map(|seconds| ((seconds * 1000.0) as u64).max(1));
    spec.readiness = Some(Probe::Command { command: command.clone() });
    spec.health = Some(HealthCheck {
        probe: Probe::Command { command },
        interval_seconds: Some(between),
        timeout_seconds: Some(each),
        retries: Some(tries),
        start_period_seconds: None,
        on_failure: OnUnhealthy::Report,
    });
    Ok(())
}

/// `NONE`, `CMD` with words, `CMD-SHELL` with a line; a text is a line for the shell.
fn test(node: &Node, what: &str) -> Result<Option<Command>, Fault> {
    let Value::List(items) = &node.value else {
        return Ok(Some(Command::Shell(value::scalar(node, what)?.to_owned())));
    };
    let words = value::words(items, what)?;
    match words.split_first() {
        Some((kind, [])) if kind == "NONE" => Ok(None),
        Some((kind, words)) if kind == "CMD" && !words.is_empty() => {
            Ok(Some(Command::Arguments(words.to_vec())))
        }
        Some((kind, [line])) if kind == "CMD-SHELL" => Ok(Some(Command::Shell(line.clone()))),
        _ => Err(Fault::new(node.line, format!("{what} begins with CMD, CMD-SHELL or NONE"))
            .hint("for example: test: [CMD, pg_isready, -q]")),
    }
}
