"""What the typed layer answers: frozen dataclasses with the fields of the payloads."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .errors import CommandFailedError, NodeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from ._wire import Head

__all__ = [
    "CommandResult",
    "ExecInfo",
    "ExecOutput",
    "ForwardedPort",
    "LogLine",
    "NetworkDenied",
    "NetworkInfo",
    "NetworkLogEntry",
    "NetworkProcess",
    "PortInfo",
    "PortPublication",
    "PublishedPort",
    "ServiceEvent",
    "ServiceExit",
    "ServiceInfo",
    "WorkspaceInfo",
]


class _Payload:
    """Made of a payload: its fields, and no others."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @classmethod
    def of(cls, payload: Mapping[str, Any], **more: Any) -> Self:
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: payload[name] for name in names if name in payload} | more)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkDenied(_Payload):
    """Something that the network policy refused."""

    why: str
    """Why, for people."""
    hint: str
    """The flag that would allow it, of `pyro create` and `pyro workspace network set`."""


@dataclass(frozen=True)
class ExecInfo(_Payload):
    """A command in a workspace: how it stands, or how it ended."""

    exec_id: str
    """Identifies it within its workspace."""
    workspace_id: str
    """Where it ran."""
    sequence: int
    """1 for the first command since creation."""
    command: str
    """The text, or the arguments joined with shell quoting."""
    cwd: str
    """Where it was started."""
    running: bool
    """Whether it still runs."""
    detached: bool
    """Whether nobody needs to stay attached."""
    exit_code: int | None
    """`None` while it runs, or when nobody saw its end; 128+N when signal N ended it."""
    signal: int | None
    """The signal that ended it."""
    timed_out: bool
    """Whether its timeout ended it."""
    cancelled: bool
    """Whether a caller ended it."""
    oom_killed: bool
    """Whether the kernel ended a process of it for want of memory."""
    lost: str | None
    """Why there is no exit code though it does not run."""
    started_at: float
    """Unix seconds."""
    ended_at: float | None
    """Unix seconds."""
    duration_ms: int
    """Start to end, or to now."""
    stdout_bytes: int
    """Bytes it wrote to stdout."""
    stderr_bytes: int
    """Bytes it wrote to stderr."""
    truncated: bool
    """Whether output was dropped."""
    left_behind: int
    """Processes it left behind, which were ended with it."""
    memory_peak_bytes: int
    """Its largest memory."""
    cpu_seconds: float
    """CPU time it used."""
    network_denied: tuple[NetworkDenied, ...] = dataclasses.field(default=(), kw_only=True)
    """What the network policy refused while it ran, where it ended badly; at most three."""

    @property
    def ok(self) -> bool:
        """Whether it ended with 0."""
        return self.exit_code == 0

    @classmethod
    def of(cls, payload: Mapping[str, Any], **more: Any) -> Self:
        refused = payload.get("network_denied") or ()
        denied = tuple(NetworkDenied.of(one) for one in refused)
        return super().of(payload, network_denied=denied, **more)


@dataclass(frozen=True)
class CommandResult(ExecInfo):
    """A command that ended, with what it printed."""

    stdout: str
    """Its standard output; bytes that are not UTF-8 are replaced."""
    stderr: str
    """Its standard error; bytes that are not UTF-8 are replaced."""
    raw_stdout: bytes = dataclasses.field(repr=False)
    """Its standard output, byte for byte."""
    raw_stderr: bytes = dataclasses.field(repr=False)
    """Its standard error, byte for byte."""
    notices: tuple[str, ...] = ()
    """What the caller should know, for example that the workspace was started for it."""

    def check(self) -> Self:
        """Itself, where it ended with 0; otherwise raises `CommandFailedError`."""
        if self.exit_code != 0:
            raise CommandFailedError(self)
        return self


@dataclass(frozen=True)
class ExecOutput:
    """Kept output of a command, by range of its combined output."""

    start: int
    """The position of the first byte."""
    end: int
    """The position after the last byte."""
    data: bytes
    """The bytes of the streams that were asked for."""

    @classmethod
    def of(cls, head: Head, data: bytes, *, offset: int) -> Self:
        """What an answer holds that was asked for from this position on."""
        try:
            start = int(head.headers.get("pyro-output-from", offset))
            end = int(head.headers.get("pyro-output-end", start + len(data)))
        except ValueError as error:
            raise NodeError(
                f"the positions are no numbers: {error}", code="node_reply_invalid"
            ) from error
        return cls(start=start, end=end, data=data)


@dataclass(frozen=True)
class WorkspaceInfo(_Payload):
    """A workspace as it stands."""

    workspace_id: str
    """Identifies it."""
    name: str | None
    """Discovery name."""
    labels: dict[str, str]
    """Discovery labels."""
    environment: str
    """Its environment's name."""
    environment_version: str | None
    """Its environment's version."""
    vcpu_count: int
    """Virtual CPUs."""
    mem_mib: int
    """Memory, MiB."""
    disk_mib: int
    """Apparent size of its disk, MiB."""
    ttl_seconds: int | None
    """Idle time after which it expires."""
    on_expiry: str
    """`stop` or `delete`."""
    created_at: float
    """Unix seconds."""
    last_activity_at: float
    """Unix seconds."""
    expires_at: float | None
    """Unix seconds."""
    state: str
    """`started` or `stopped`."""
    activity: str | None
    """What is being done to it."""
    stop_reason: str | None
    """Why it is stopped."""
    stop_detail: str | None
    """More about the stop."""
    network_policy: str
    """`off`, `egress` or `egress+published-ports`."""
    network_allow: tuple[str, ...]
    """What it may reach besides."""
    command_count: int
    """Commands since creation."""
    service_count: int
    """Services it has."""
    running_service_count: int
    """Services that run."""
    backend: str
    """`firecracker` or `qemu`."""
    accelerated: bool
    """Whether hardware virtualisation runs it."""
    disk_bytes: int
    """Bytes its disks occupy on the host."""
    workload_restarts: int
    """How often it was rebooted from inside."""

    @classmethod
    def of(cls, payload: Mapping[str, Any], **more: Any) -> Self:
        allow = tuple(payload.get("network_allow") or ())
        return super().of(payload, network_allow=allow, **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkInfo(_Payload):
    """What a workspace may reach, and what it does."""

    workspace_id: str
    """Which workspace."""
    network_policy: str
    """`off`, `egress` or `egress+published-ports`."""
    network_allow: tuple[str, ...]
    """What it may reach besides."""
    network_enabled: bool
    """Whether its policy, or a rule, lets it reach something."""
    open_connections: int
    """Connections that are open or being opened."""
    connections: int
    """Connections that were opened since the node began."""
    closed_connections: int
    """Of a change: connections that it ended, because they no longer fit."""
    denied: int
    """Connections and look-ups that were refused since the node began."""
    queries: int
    """Look-ups of names since the node began."""
    bytes_sent: int
    """Bytes that went out since the node began."""
    bytes_received: int
    """Bytes that came in since the node began."""
    buffer_bytes: int
    """Bytes of memory that its connections take on the host now."""
    memory_bound_bytes: int
    """The most memory on the host that they can take."""

    @classmethod
    def of(cls, payload: Mapping[str, Any], **more: Any) -> Self:
        allow = tuple(payload["network_allow"])
        return super(NetworkInfo, cls).of(payload, network_allow=allow, **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkProcess(_Payload):
    """A process of a workspace, as its guest says it."""

    pid: int
    """Its id within the workspace."""
    name: str
    """What it is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkLogEntry(_Payload):
    """Something that a workspace wanted to reach. Repetitions in a row are one entry."""

    seq: int
    """Grows by one with each entry and each repetition: where to go on from."""
    at: float
    """When; of repetitions the last. Unix seconds."""
    first_at: float
    """When it was so for the first time. Unix seconds."""
    count: int
    """How often, in a row."""
    verdict: str
    """`allowed`, `denied`, `failed` (allowed, and it did not work) or `closed` (by a change)."""
    protocol: str
    """`tcp` (a connection) or `dns` (a look-up)."""
    name: str | None = None
    """The name that was looked up, that the address belongs to, or that was claimed."""
    address: str | None = None
    """The address."""
    port: int | None = None
    """The port."""
    process: NetworkProcess | None = None
    """Who wanted it."""
    rule: str | None = None
    """The rule that let it through."""
    reason: str | None = None
    """Why not, for programs."""
    why: str | None = None
    """Why not, for people."""
    hint: str | None = None
    """The flag that would allow it."""

    @classmethod
    def of(cls, payload: Mapping[str, Any], **more: Any) -> Self:
        who = payload.get("process")
        process = NetworkProcess.of(who) if who is not None else None
        return super(NetworkLogEntry, cls).of(payload, process=process, **more)


@dataclass(frozen=True)
class ServiceExit(_Payload):
    """How a run of a service ended."""

    exit_code: int | None
    """`None` when a signal ended it."""
    signal: int | None
    """The signal that ended it."""
    oom_killed: bool
    """Whether the kernel ended a process of it for want of memory."""
    ended_at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPort(_Payload):
    """A port of the host that leads to a port of a workspace."""

    host: str
    """The host's address; 127.0.0.1 stands for localhost, ::1 too."""
    host_port: int
    """The port of the host."""
    guest_port: int
    """The port of the workspace."""
    protocol: str
    """`tcp`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardedPort(_Payload):
    """A port of this host that leads to a port of a workspace while it is forwarded."""

    host: str
    """The host's address; 127.0.0.1 stands for localhost, ::1 too."""
    host_port: int
    """The port of the host."""
    guest_port: int
    """The port of the workspace."""
    protocol: str
    """`tcp`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortPublication(_Payload):
    """Where a port is published, and how that stands."""

    host: str
    """The host's address; 127.0.0.1 stands for localhost, ::1 too."""
    host_port: int
    """The port of the host."""
    state: str
    """`listening`, `released` or `failed`."""
    reason: str | None
    """Why it is not listened on."""
    connections: int
    """Connections that go through it now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortInfo(_Payload):
    """A port of a workspace."""

    guest_port: int
    """Its number."""
    protocol: str
    """`tcp`."""
    service: str | None
    """The service that listens on it, or that it is published with."""
    listening_addresses: tuple[str, ...]
    """The guest's addresses on which somebody listens."""
    published: PortPublication | None
    """Where it is published."""

    @classmethod
    def of(cls, payload: Mapping[str, Any], **more: Any) -> Self:
        place = payload["published"]
        nested = {
            "listening_addresses": tuple(payload["listening_addresses"]),
            "published": PortPublication.of(place) if place is not None else None,
        }
        return super(PortInfo, cls).of(payload, **nested, **more)


@dataclass(frozen=True)
class ServiceInfo(_Payload):
    """A service as it stands."""

    service_name: str
    """Its name within its workspace."""
    workspace_id: str
    """Where it is."""
    state: str
    """`starting`, `running`, `backoff`, `exited`, `failed` or `stopped`."""
    ready: bool
    """Whether it was proven that it is ready."""
    health: str | None
    """`passing` or `failing`; `None` where nobody looks, or not yet."""
    command: str
    """The text, or the arguments joined with shell quoting."""
    cwd: str
    """Where it is started."""
    readiness: dict[str, Any] | None
    """How it is found out that it is ready."""
    restart_policy: str
    """`no`, `on-failure`, `always` or `unless-stopped`."""
    restart_count: int
    """Restarts by policy since it was last started."""
    depends_on: dict[str, str]
    """What it needs of others."""
    waiting_for: tuple[str, ...]
    """Those that hold it up."""
    started_at: float | None
    """Beginning of its newest run, Unix seconds."""
    ready_at: float | None
    """When that was ready, Unix seconds."""
    ended_at: float | None
    """When it ended, Unix seconds."""
    exit_code: int | None
    """Of its newest run, once that ended; 128+N when signal N ended it."""
    last_exit: ServiceExit | None
    """How the last run that ended did so."""
    stop_reason: str | None
    """Why it does not run."""
    detail: str | None
    """More about it."""
    stopping: bool
    """Whether it is being stopped."""
    pid: int | None
    """Its main process, as its workspace sees it."""
    last_probe: str | None
    """What the last probe saw."""
    status_text: str | None
    """What it last said of itself (sd_notify)."""
    listening_ports: tuple[tuple[str, int], ...]
    """Addresses and ports its processes listen on."""
    published_ports: tuple[PublishedPort, ...]
    """Where its ports are published on the host."""
    memory_bytes: int
    """Memory of all its processes."""
    cpu_seconds: float
    """CPU time of this run."""
    stdout_bytes: int
    """Bytes it wrote to stdout."""
    stderr_bytes: int
    """Bytes it wrote to stderr."""
    source: str | None = None
    """The file it was last started from by `up`."""
    notices: tuple[str, ...] = ()
    """What the caller should know, for example that the workspace was started for it."""

    @property
    def running(self) -> bool:
        """Whether a process of it lives."""
        return self.pid is not None

    @classmethod
    def of(cls, payload: Mapping[str, Any], **more: Any) -> Self:
        exited, probed, written = payload["last_exit"], payload["last_probe"], payload["log_bytes"]
        nested = {
            "waiting_for": tuple(payload["waiting_for"]),
            "published_ports": tuple(PublishedPort.of(port) for port in payload["published_ports"]),
            "last_exit": ServiceExit.of(exited) if exited is not None else None,
            "last_probe": probed["result"] if probed is not None else None,
            "listening_ports": tuple(
                (one["address"], one["port"]) for one in payload["listening_ports"]
            ),
            "stdout_bytes": written["stdout"],
            "stderr_bytes": written["stderr"],
            "notices": tuple(payload.get("notices", ())),
        }
        return super().of(payload, **nested, **more)


@dataclass(frozen=True)
class ServiceEvent:
    """A state change of a service."""

    cursor: int
    """Where to go on from."""
    at: float
    """When it happened, Unix seconds."""
    event: str
    """`service_changed` or `service_deleted`."""
    service: ServiceInfo
    """The service after it."""

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> Self:
        return cls(
            cursor=payload["cursor"],
            at=payload["at"],
            event=payload["event"],
            service=ServiceInfo.of(payload["service"]),
        )


@dataclass(frozen=True)
class LogLine:
    """A line of a service's log; as a text, what was printed."""

    text: str
    """Without its end; bytes that are not UTF-8 are replaced."""
    raw: bytes = dataclasses.field(repr=False)
    """The same, byte for byte."""
    stream: str
    """`stdout` or `stderr`."""
    at: float
    """When its beginning came, Unix seconds."""

    def __str__(self) -> str:
        return self.text
