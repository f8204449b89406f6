//! Requests into typed values; whatever is wrong with them is said here, before anything changes.

use std::{net::IpAddr, time::Duration};

use pyro_api::{
    CreateWorkspace, ExecRequest, PublishPort, SetNetwork, StartService, UpdateWorkspace,
};
use pyro_core::{
    LabelKey, LabelValue, Mebibytes, Problem, VcpuCount, WORKSPACE_PATH, WorkspaceName,
};
use pyro_image::Digest;
use pyro_workspace::{
    Change, Creation, ExecSpec, ExecTerminal, Network, NetworkRecord, OnExpiry, PortRequest,
    SeedChoice, SeedMode, WorkspaceKind,
};

/// The environment where none is named.
const DEFAULT_ENVIRONMENT: &str = "debian:12";

/// The idle time of a one-shot VM, seconds: default and bounds.
const VM_TTL: (u64, std::ops::RangeInclusive<u64>) = (600, 60..=3600);

/// The longest path of a seed that is kept, bytes.
const MOST_SEED_PATH: usize = 8192;

/// The longest command with its environment, bytes: what Linux takes for one argument.
const MAX_ARGUMENT: usize = 128 * 1024;

pub(crate) fn creation(request: CreateWorkspace, kind: WorkspaceKind) -> Result<Creation, Problem> {
    let environment = request.environment.as_deref().unwrap_or(DEFAULT_ENVIRONMENT).parse()?;
    let network = network(request.network_policy.as_deref(), &request.network_allow)?;
    let on_expiry = match request.on_expiry.as_deref() {
        None | Some("stop") => OnExpiry::Stop,
        Some("delete") => OnExpiry::Delete,
        Some(other) => {
            return Err(Problem::invalid(
                "invalid_on_expiry",
                format!("{other:?} is not what can happen on expiry"),
            )
            .hint("it is stop or delete"));
        }
    };
    let backend = request.backend.map(|name| match name.as_str() {
        "firecracker" | "qemu" => Ok(name),
        _ => Err(Problem::invalid("invalid_backend", format!("{name:?} is not a backend"))
            .hint("the backends are: firecracker, qemu")),
    });
    let (ttl_seconds, on_expiry) = match kind {
        WorkspaceKind::Workspace => {
            if request.ttl_seconds == Some(0) {
                return Err(Problem::invalid(
                    "invalid_limit",
                    "0 is not a valid ttl: give at least 1 second, or none",
                )
                .hint("for example: --ttl-seconds 30m; without it there is no idle time"));
            }
            (request.ttl_seconds, on_expiry)
        }
        WorkspaceKind::Vm => {
            let ttl = request.ttl_seconds.unwrap_or(VM_TTL.0);
            if !VM_TTL.1.contains(&ttl) {
                return Err(Problem::invalid(
                    "invalid_limit",
                    format!("{ttl} is not a valid ttl: 60 to 3600 seconds"),
                )
                .hint("for example: --ttl-seconds 600"));
            }
            (Some(ttl), OnExpiry::Delete)
        }
    };
    let mut labels = std::collections::BTreeMap::new();
    for (key, value) in request.labels {
        labels.insert(key.parse::<LabelKey>()?, value.parse::<LabelValue>()?);
    }
    Ok(Creation {
        kind,
        environment,
        vcpus: VcpuCount::try_from(request.vcpu_count.unwrap_or(1))?,
        memory: Mebibytes::memory(request.mem_mib.unwrap_or(1024))?,
        disk: Mebibytes::disk(request.disk_mib.unwrap_or(20_480))?,
        ttl_seconds,
        on_expiry,
        name: request.name.as_deref().map(WorkspaceName::given).transpose()?,
        labels,
        backend: backend.transpose()?,
        network,
        seed: request.seed.map(seed).transpose()?,
    })
}

fn seed(choice: pyro_api::SeedChoice) -> Result<SeedChoice, Problem> {
    let mode = match choice.mode.as_str() {
        "directory" => SeedMode::Directory,
        "tar_archive" => SeedMode::TarArchive,
        "git" => SeedMode::Git,
        other => {
            let text = format!("{other:?} is nothing that seeds are made from");
            return Err(Problem::invalid("invalid_seed", text)
                .hint("they are made from: directory, tar_archive, git"));
        }
    };
    if choice.seed_path.as_ref().is_some_and(|path| path.len() > MOST_SEED_PATH) {
        let text = format!("a seed_path has at most {MOST_SEED_PATH} bytes");
        return Err(Problem::invalid("invalid_seed", text));
    }
    let digest = digest("invalid_seed", &choice.digest)?;
    Ok(SeedChoice { digest, mode, path: choice.seed_path, reused: choice.reused })
}

/// A SHA-256 in hexadecimal.
pub(crate) fn digest(code: &str, text: &str) -> Result<Digest, Problem> {
    text.parse().map_err(|error| Problem::invalid(code, format!("{error}")))
}

/// A network policy, `off` where none is named, with the rules of its allow-list.
pub(crate) fn network(policy: Option<&str>, allow: &[String]) -> Result<Network, Problem> {
    Ok(Network::parse(policy.unwrap_or("off"), allow)?)
}

/// A change of one: what there is, where rules are only added.
pub(crate) fn set_network(request: SetNetwork, now: &NetworkRecord) -> Result<Network, Problem> {
    if !request.add {
        return network(request.network_policy.as_deref(), &request.network_allow);
    }
    let policy = request.network_policy.as_deref().unwrap_or_else(|| now.policy.as_str());
    let allow = [now.allow.clone(), request.network_allow].concat();
    network(Some(policy), &allow)
}

pub(crate) fn change(request: UpdateWorkspace) -> Result<Change, Problem> {
    if request.clear_name && request.name.is_some() {
        return Err(Problem::invalid("invalid_update", "a name cannot be set and cleared at once"));
    }
    let mut change = Change::default();
    if request.clear_name {
        change.name = Some(None);
    }
    if let Some(name) = request.name {
        change.name = Some(Some(WorkspaceName::given(&name)?));
    }
    for (key, value) in request.labels {
        change.labels.insert(key.parse()?, value.parse()?);
    }
    for key in request.clear_labels {
        change.clear_labels.push(key.parse()?);
    }
    if change == Change::default() {
        return Err(Problem::invalid("invalid_update", "the update changes nothing")
            .hint("give --name, --clear-name, --label or --clear-label"));
    }
    Ok(change)
}

pub(crate) fn exec(request: ExecRequest) -> Result<ExecSpec, Problem> {
    let invalid = |message: String| Problem::invalid("invalid_exec", message);
    if request.command.is_empty() {
        return Err(invalid("the command is empty".into())
            .hint("give the command after --, for example: pyro exec W -- ls -l"));
    }
    let texts = request.command.arguments();
    let all = texts.iter().chain(request.env.keys()).chain(request.env.values());
    for text in all.chain(&request.cwd).chain(&request.user) {
        if text.contains('\0') {
            return Err(invalid("a NUL character cannot be passed to a command".into()));
        }
        if text.len() > MAX_ARGUMENT {
            return Err(invalid(format!("an argument is longer than {MAX_ARGUMENT} bytes"))
                .hint("pass long input by stdin (-i)"));
        }
    }
    for name in request.env.keys() {
        if name.is_empty() || name.contains('=') {
            return Err(invalid(format!("{name:?} is not an environment variable's name")));
        }
    }
    let cwd = match request.cwd {
        None => WORKSPACE_PATH.to_owned(),
        Some(cwd) if cwd.is_empty() => {
            return Err(invalid("the working directory is empty".into()));
        }
        Some(cwd) if cwd.starts_with('/') => cwd,
        Some(cwd) => format!("{WORKSPACE_PATH}/{cwd}"),
    };
    let timeout = match request.timeout_seconds {
        None | Some(0.0) => None,
        Some(seconds) => Some(seconds_limit(seconds)?),
    };
    if let Some(terminal) = request.terminal
        && (terminal.columns == 0 || terminal.rows == 0)
    {
        return Err(invalid("a terminal has at least one column and one row".into()));
    }
    Ok(ExecSpec {
        command: request.command,
        cwd,
        env: request.env.into_iter().collect(),
        user: request.user.unwrap_or_default(),
        timeout,
        terminal: request
            .terminal
            .map(|terminal| ExecTerminal { columns: terminal.columns, rows: terminal.rows }),
        stdin: request.stdin,
        detached: request.detach,
        no_start: request.no_start,
    })
}

/// A time limit in seconds: more than nothing, at most a year.
pub(crate) fn seconds_limit(seconds: f64) -> Result<Duration, Problem> {
    if seconds > 0.0 && seconds <= 366.0 * 86400.0 {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(Problem::invalid(
            "invalid_limit",
            format!("{seconds} is not a valid number of seconds"),
        ))
    }
}

/// Which of both streams are meant: stdout, stderr.
pub(crate) fn streams(name: Option<&str>) -> Result<(bool, bool), Problem> {
    match name {
        None | Some("combined") => Ok((true, true)),
        Some("stdout") => Ok((true, false)),
        Some("stderr") => Ok((false, true)),
        Some(other) => {
            Err(Problem::invalid("invalid_stream", format!("{other:?} is not a stream"))
                .hint("the streams are: stdout, stderr, combined"))
        }
    }
}

/// A grace period; 0: KILL at once.
pub(crate) fn grace(seconds: Option<f64>) -> Result<Option<Duration>, Problem> {
    match seconds {
        None => Ok(None),
        Some(0.0) => Ok(Some(Duration::ZERO)),
        Some(seconds) => seconds_limit(seconds).map(Some),
    }
}

/// Ports that one request may name.
const MOST_PORTS: usize = 128;

/// Ports to publish, on an address of this host or (none) on `localhost`.
pub(crate) fn ports(
    ports: &[PublishPort],
    bind: Option<IpAddr>,
) -> Result<Vec<PortRequest>, Problem> {
    if ports.len() > MOST_PORTS {
        return Err(invalid_port(format!("more than {MOST_PORTS} ports at once")));
    }
    let one = |port: &PublishPort| {
        let host_port = match port.host_port {
            None | Some(0) => port.host_port.map(|_| 0),
            Some(number) => {
                let number = port_number(number)?;
                if number < LOWEST_HOST_PORT {
                    let message = format!("{number} is not a port of the host to publish on");
                    return Err(invalid_port(message));
                }
                Some(number)
            }
        };
        Ok(PortRequest { bind, host_port, guest_port: port_number(port.guest_port)? })
    };
    ports.iter().map(one).collect()
}

/// The lowest port of the host that can be asked for.
const LOWEST_HOST_PORT: u16 = 1025;

pub(crate) fn port_number(number: u32) -> Result<u16, Problem> {
    let port = u16::try_from(number).ok().filter(|port| *port > 0);
    port.ok_or_else(|| invalid_port(format!("{number} is not a port")))
}

fn invalid_port(message: String) -> Problem {
    Problem::invalid("invalid_port", message)
        .hint("a port is a number from 1 to 65535; on the host it is 1025 or more, or 0 for any")
}

/// An address of this host; none: `localhost`.
pub(crate) fn bind(text: Option<&str>) -> Result<Option<IpAddr>, Problem> {
    let Some(text) = text.filter(|text| !text.eq_ignore_ascii_case("localhost")) else {
        return Ok(None);
    };
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map(Some).map_err(|_| {
        let shown: String = text.chars().take(64).collect();
        Problem::invalid("invalid_bind", format!("{shown:?} is not an address"))
            .hint("it is an IPv4 or IPv6 address of this host, such as 192.0.2.1, 0.0.0.0 or ::1")
    })
}

/// Refuses what the contract names and nobody has built yet.
pub(crate) fn available(request: &StartService) -> Result<(), Problem> {
    if !request.secret_env.is_empty() {
        return Err(not_available("secrets"));
    }
    Ok(())
}

pub(crate) fn not_available(what: &str) -> Problem {
    Problem::new(
        pyro_core::Kind::NotAvailable,
        "not_available",
        format!("{what}: not available in this version of pyro"),
    )
    .hint("what there is: pyro --help")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_creations_are_told_by_code() {
        let with = |edit: fn(&mut CreateWorkspace)| {
            let mut request = CreateWorkspace::default();
            edit(&mut request);
            creation(request, WorkspaceKind::Workspace).unwrap_err().code
        };
        assert_eq!(with(|r| r.environment = Some("../x".into())), "invalid_environment_name");
        assert_eq!(with(|r| r.vcpu_count = Some(0)), "invalid_limit");
        assert_eq!(with(|r| r.vcpu_count = Some(33)), "invalid_limit");
        assert_eq!(with(|r| r.mem_mib = Some(127)), "invalid_limit");
        assert_eq!(with(|r| r.disk_mib = Some(1)), "invalid_limit");
        assert_eq!(with(|r| r.ttl_seconds = Some(0)), "invalid_limit");
        assert_eq!(with(|r| r.name = Some("a\nb".into())), "invalid_workspace_name");
        assert_eq!(with(|r| drop(r.labels.insert("/".into(), "x".into()))), "invalid_label");
        assert_eq!(with(|r| r.network_allow.push("*".into())), "invalid_network_rule");
        assert_eq!(with(|r| r.network_policy = Some("x".into())), "invalid_network_policy");
        assert_eq!(with(|r| r.backend = Some("xen".into())), "invalid_backend");
        assert_eq!(with(|r| r.on_expiry = Some("explode".into())), "invalid_on_expiry");
    }

    #[test]
    fn ports_and_addresses_are_checked_before_anything_is_done() {
        let port = |guest_port, host_port| ports(&[PublishPort { guest_port, host_port }], None);
        for (guest_port, host_port) in
            [(0, None), (65_536, None), (80, Some(80)), (80, Some(1024)), (80, Some(65_536))]
        {
            let problem = port(guest_port, host_port).unwrap_err();
            assert_eq!(problem.code, "invalid_port", "{guest_port} {host_port:?}");
        }
        for (host_port, wanted) in [(None, None), (Some(0), Some(0)), (Some(1025), Some(1025))] {
            let expected = PortRequest { bind: None, host_port: wanted, guest_port: 80 };
            assert_eq!(port(80, host_port), Ok(vec![expected]));
        }
        assert_eq!(bind(None), Ok(None));
        assert_eq!(bind(Some("localhost")), Ok(None));
        assert_eq!(bind(Some("[::1]")), Ok(Some(std::net::Ipv6Addr::LOCALHOST.into())));
        for bad in ["", "x", "1.2.3", "0.0.0.0:80", "[::1"] {
            assert_eq!(bind(Some(bad)).unwrap_err().code, "invalid_bind", "{bad}");
        }
    }
}
