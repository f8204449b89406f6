//! What a `pyro.toml` says: `[services.NAME]` tables whose keys are those of `service start`.

use std::collections::BTreeMap;

use pyro_core::{
    Command, DependencyCondition, HealthCheck, OnReadyTimeout, OnUnhealthy, Probe, RestartPolicy,
    ServiceName, ServiceSpec,
};

use crate::{
    manifest::{Declared, Reading, Wrong},
    port,
    tree::{Entry, Fault, Node, Value},
    value,
};

/// The keys of a service.
pub(crate) const SERVICE_KEYS: [&str; 23] = [
    "command",
    "cwd",
    "env",
    "env_file",
    "user",
    "readiness",
    "ready_file",
    "ready_tcp",
    "ready_http",
    "ready_command",
    "ready_log",
    "ready_notify",
    "ready_timeout_seconds",
    "ready_interval_ms",
    "on_ready_timeout",
    "health",
    "restart",
    "restart_limit",
    "depends_on",
    "published_ports",
    "stop_signal",
    "stop_grace_seconds",
    "log_limit_bytes",
];
/// The keys of `health`.
pub(crate) const HEALTH_KEYS: [&str; 10] = [
    "probe",
    "file",
    "tcp",
    "http",
    "command",
    "interval_seconds",
    "timeout_seconds",
    "retries",
    "start_period_seconds",
    "on_failure",
];
/// The types of probes, each with the key that says what it asks.
pub(crate) const PROBES: [(&str, &str); 6] = [
    ("file", "path"),
    ("tcp", "address"),
    ("http", "url"),
    ("command", "command"),
    ("log", "pattern"),
    ("notify", ""),
];

/// Whether what stands there is taken as it is: a shell has variables of its own, and a regular
/// expression its `$`; a key that is not known is refused for that.
pub(crate) fn is_literal(path: &[&str]) -> bool {
    match path {
        ["services", _, key, ..] if !SERVICE_KEYS.contains(key) => true,
        ["services", _, rest @ ..] => matches!(
            rest,
            ["command" | "ready_command" | "ready_log", ..]
                | ["readiness" | "health", "command" | "pattern", ..]
                | ["health", "probe", "command" | "pattern", ..]
        ),
        _ => false,
    }
}

/// The services of a file.
pub(crate) fn services(tree: &Node, reading: &mut Reading<'_>) -> Result<Vec<Declared>, Wrong> {
    let mut declared = Vec::new();
    for entry in tree.entries() {
        if entry.name != "services" {
            return Err(value::unknown(entry, "the file", &["services"]).into());
        }
        for service in value::table(&entry.node, "services")? {
            declared.push(service_of(service, reading)?);
        }
    }
    if declared.is_empty() {
        return Err(Fault::new(1, "it declares no service")
            .hint("a service is a table: [services.web], with command = \"...\"")
            .into());
    }
    Ok(declared)
}

/// The name of a service.
pub(crate) fn name_of(entry: &Entry) -> Result<ServiceName, Fault> {
    entry
        .name
        .parse()
        .map_err(|error: pyro_core::InvalidName| Fault::new(entry.line, error.to_string()))
}

/// A specification of which nothing but name and command is said.
pub(crate) fn plain(name: ServiceName, command: Command) -> ServiceSpec {
    ServiceSpec {
        name,
        command,
        cwd: None,
        env: BTreeMap::new(),
        user: None,
        readiness: None,
        ready_timeout_seconds: None,
        ready_interval_ms: None,
        on_ready_timeout: OnReadyTimeout::default(),
        restart: RestartPolicy::default(),
        restart_limit: None,
        stop_signal: None,
        stop_grace_seconds: None,
        health: None,
        depends_on: BTreeMap::new(),
        log_limit_bytes: None,
    }
}

fn service_of(entry: &Entry, reading: &mut Reading<'_>) -> Result<Declared, Wrong> {
    let name = name_of(entry)?;
    let place = format!("service {name}");
    let mut spec = plain(name, Command::Shell(String::new()));
    let mut from_files = BTreeMap::new();
    let mut ports = Vec::new();
    for Entry { line, name: key, node } in value::table(&entry.node, &place)? {
        let what = &format!("{key} of {place}");
        let mut ready = |probe: Probe| match spec.readiness.replace(probe) {
            None => Ok(()),
            Some(_) => Err(Fault::new(*line, format!("{place} has more than one probe"))
                .hint("at most one of readiness and the ready_ keys says when it is ready")),
        };
        match key.as_str() {
            "command" => spec.command = command(node, what)?,
            "cwd" => spec.cwd = Some(value::text(node, what)?),
            "env" => {
                for variable in value::table(node, what)? {
                    let text =
                        value::scalar(&variable.node, &format!("{} in {what}", variable.name));
                    spec.env.insert(variable.name.clone(), text?.to_owned());
                }
            }
            "env_file" => from_files = reading.env_files(node)?,
            "user" => spec.user = Some(value::scalar(node, what)?.to_owned()),
            "readiness" => ready(probe(node, what)?)?,
            "ready_file" => ready(Probe::File { path: value::text(node, what)? })?,
            "ready_tcp" => ready(Probe::Tcp { address: value::text(node, what)? })?,
            "ready_http" => ready(Probe::Http { url: value::text(node, what)? })?,
            "ready_command" => ready(Probe::Command { command: command(node, what)? })?,
            "ready_log" => ready(log(node, what)?)?,
            "ready_notify" => {
                if value::truth(node, what)? {
                    ready(Probe::Notify {})?;
                }
            }
            "ready_timeout_seconds" => {
                spec.ready_timeout_seconds = Some(value::seconds(node, what)?);
            }
            "ready_interval_ms" => spec.ready_interval_ms = Some(value::whole(node, what)?),
            "on_ready_timeout" => {
                let words = [("stop", OnReadyTimeout::Stop), ("keep", OnReadyTimeout::Keep)];
                spec.on_ready_timeout = value::one_of(node, what, &words)?;
            }
            "health" => spec.health = Some(health(node, what)?),
            "restart" => {
                let words = [
                    ("no", RestartPolicy::No),
                    ("on-failure", RestartPolicy::OnFailure),
                    ("always", RestartPolicy::Always),
                    ("unless-stopped", RestartPolicy::UnlessStopped),
                ];
                spec.restart = value::one_of(node, what, &words)?;
            }
            "restart_limit" => spec.restart_limit = Some(value::count(node, what)?),
            "depends_on" => spec.depends_on = depends_on(node, what)?,
            "stop_signal" => spec.stop_signal = Some(value::scalar(node, what)?.to_owned()),
            "stop_grace_seconds" => spec.stop_grace_seconds = Some(value::seconds(node, what)?),
            "log_limit_bytes" => spec.log_limit_bytes = Some(value::whole(node, what)?),
            "published_ports" => ports = port::of_pyro_file(node, what)?,
            "secret_env" => {
                return Err(Fault::new(*line, format!("{what}: not available yet")).into());
            }
            _ => {
                let entry = Entry { line: *line, name: key.clone(), node: node.clone() };
                return Err(value::unknown(&entry, &place, &SERVICE_KEYS).into());
            }
        }
    }
    if spec.command.is_empty() {
        return Err(Fault::new(entry.line, format!("{place} has no command"))
            .hint("command = \"...\" is a shell line, command = [\"...\", \"...\"] runs directly")
            .into());
    }
    // What is said here wins over what files say.
    from_files.append(&mut spec.env);
    spec.env = from_files;
    Ok(Declared { line: entry.line, spec, ports })
}

/// A text for the shell, or a list that runs directly.
fn command(node: &Node, what: &str) -> Result<Command, Fault> {
    match &node.value {
        Value::List(items) => Ok(Command::Arguments(value::words(items, what)?)),
        _ => Ok(Command::Shell(value::text(node, what)?)),
    }
}

fn log(node: &Node, what: &str) -> Result<Probe, Fault> {
    let pattern = value::text(node, what)?;
    // As the guest reads it.
    match regex_lite::RegexBuilder::new(&pattern).size_limit(1 << 20).build() {
        Ok(_) => Ok(Probe::Log { pattern }),
        Err(error) => {
            Err(Fault::new(node.line, format!("{what} is not a regular expression: {error}")))
        }
    }
}

/// A probe as payloads have it: `{ type = "tcp", address = "127.0.0.1:80" }`.
fn probe(node: &Node, what: &str) -> Result<Probe, Fault> {
    let entries = value::table(node, what)?;
    let kinds: Vec<_> = PROBES.iter().map(|(kind, _)| (*kind, *kind)).collect();
    let Some(kind) = node.get("type") else {
        let kinds: Vec<_> = kinds.iter().map(|(kind, _)| *kind).collect();
        return Err(Fault::new(node.line, format!("{what} has no type"))
            .hint(format!("its type is one of {}", kinds.join(", "))));
    };
    let kind = value::one_of(kind, &format!("the type of {what}"), &kinds)?;
    let asks = PROBES.iter().find(|(known, _)| *known == kind).map_or("", |(_, asks)| asks);
    let known: Vec<_> = ["type", asks].into_iter().filter(|key| !key.is_empty()).collect();
    if let Some(entry) = entries.iter().find(|entry| !known.contains(&entry.name.as_str())) {
        return Err(value::unknown(entry, &format!("{what}, of type {kind},"), &known));
    }
    let asked = || {
        node.get(asks)
            .ok_or_else(|| Fault::new(node.line, format!("{what}, of type {kind}, needs {asks}")))
    };
    let asks = format!("{asks} of {what}");
    let text = || value::text(asked()?, &asks);
    Ok(match kind {
        "file" => Probe::File { path: text()? },
        "tcp" => Probe::Tcp { address: text()? },
        "http" => Probe::Http { url: text()? },
        "command" => Probe::Command { command: command(asked()?, &asks)? },
        "log" => log(asked()?, &asks)?,
        _ => Probe::Notify {},
    })
}

fn health(node: &Node, what: &str) -> Result<HealthCheck, Fault> {
    let mut asked = None;
    let mut check = HealthCheck {
        probe: Probe::Notify {},
        interval_seconds: None,
        timeout_seconds: None,
        retries: None,
        start_period_seconds: None,
        on_failure: OnUnhealthy::default(),
    };
    for entry in value::table(node, what)? {
        let Entry { line, name: key, node } = entry;
        let what = &format!("{key} of {what}");
        let mut ask = |probe: Probe| match asked.replace(probe) {
            None => Ok(()),
            Some(_) => Err(Fault::new(*line, format!("{what} is a second probe"))),
        };
        match key.as_str() {
            "probe" => ask(probe(node, what)?)?,
            "file" => ask(Probe::File { path: value::text(node, what)? })?,
            "tcp" => ask(Probe::Tcp { address: value::text(node, what)? })?,
            "http" => ask(Probe::Http { url: value::text(node, what)? })?,
            "command" => ask(Probe::Command { command: command(node, what)? })?,
            "interval_seconds" => check.interval_seconds = Some(value::seconds(node, what)?),
            "timeout_seconds" => check.timeout_seconds = Some(value::seconds(node, what)?),
            "retries" => check.retries = Some(value::count(node, what)?),
            "start_period_seconds" => {
                check.start_period_seconds = Some(value::seconds(node, what)?);
            }
            "on_failure" => {
                let words = [("restart", OnUnhealthy::Restart), ("report", OnUnhealthy::Report)];
                check.on_failure = value::one_of(node, what, &words)?;
            }
            _ => return Err(value::unknown(entry, what, &HEALTH_KEYS)),
        }
    }
    match asked {
        Some(Probe::Log { .. } | Probe::Notify {}) => {
            Err(Fault::new(node.line, "health is looked at by file, tcp, http or command"))
        }
        Some(probe) => Ok(HealthCheck { probe, ..check }),
        None => Err(Fault::new(node.line, format!("{what} does not say what is asked"))
            .hint("for example: health = { http = \"http://127.0.0.1:8000/health\" }")),
    }
}

/// Names, or names with what is needed of each.
fn depends_on(
    node: &Node,
    what: &str,
) -> Result<BTreeMap<ServiceName, DependencyCondition>, Fault> {
    let name = |line: usize, name: &str| {
        name.parse().map_err(|error: pyro_core::InvalidName| Fault::new(line, error.to_string()))
    };
    let mut on = BTreeMap::new();
    match &node.value {
        Value::List(items) => {
            for item in items {
                let one = value::scalar(item, &format!("each of {what}"))?;
                on.insert(name(item.line, one)?, DependencyCondition::Ready);
            }
        }
        Value::Map(entries) => {
            let words = [
                ("started", DependencyCondition::Started),
                ("ready", DependencyCondition::Ready),
                ("completed", DependencyCondition::Completed),
            ];
            for entry in entries {
                let what = format!("{} in {what}", entry.name);
                let condition = value::one_of(&entry.node, &what, &words)?;
                on.insert(name(entry.line, &entry.name)?, condition);
            }
        }
        _ => {
            return Err(Fault::new(
                node.line,
                format!("{what} is a list of names, or a table, not {}", node.kind()),
            )
            .hint("for example: depends_on = [\"db\"], or { db = \"ready\", migrate = \"completed\" }"));
        }
    }
    Ok(on)
}
