"""The verbs as requests: what `Pyro` and `AsyncPyro` have in common.

Pure: checks what only this side can know, and leaves every other judgement to the node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from ._wire import Call, segment, with_query
from .errors import (
    InvalidError,
    NodeError,
    NotAvailableError,
    NotFoundError,
    ServiceFailedError,
    ServicesFailedError,
    not_available,
)

if TYPE_CHECKING:
    from ._location import StrPath
    from .outcomes import ExecOutcome, RunOutcome, Vm, VmExecResult, VmNetworkInfo
    from .payloads import (
        NetworkLogEntry,
        ServiceLogEntry,
        StartedService,
        UpResult,
        VmCleanup,
        Workspace,
        WorkspaceEvent,
        WorkspaceList,
    )

Command = str | Sequence[str]

# A one-shot VM that was created by hand is a workspace with this label, which is deleted when it
# was idle for too long.
VM_LABEL = "pyro.kind"
VM_VALUE = "vm"
VM_TTL = (60, 3600)
# How long one request that waits for an exec or a service may take, seconds.
WAIT = 60.0
# How long after its timeout a command may take to end with all its processes, seconds.
GRACE = 60.0
# How much longer than usual the node may be silent where a service's own specification says how
# long it takes to become ready and to stop, seconds.
PATIENCE = 3600.0
# What the node takes where nothing is said. It is not sent, so that a service which the command
# line started without saying it is the same service here.
READY_TIMEOUT = 30
READY_INTERVAL = 500
TAIL_LINES = 200

# What the contract has and this version has not: `pyro.NAME` says so.
PLANNED = frozenset(
    {
        "open_shell",
        "read_shell",
        "write_shell",
        "signal_shell",
        "close_shell",
    }
)


def ignore_host_compat(allow_host_compat: bool) -> None:
    """Says that the parameter does nothing, where it was set."""
    if allow_host_compat:
        import warnings

        warnings.warn(
            "allow_host_compat is ignored: nothing runs outside a virtual machine",
            UserWarning,
            stacklevel=3,
        )


def refuse(**parameters: object) -> None:
    """Refuses parameters that are of the contract and not built yet, where they are set."""
    for name, value in parameters.items():
        if value:
            raise not_available(name)


class PlannedError(NotAvailableError, AttributeError):
    """A verb of the contract that is not built yet: `hasattr` is false for it."""

    def __init__(self, name: str) -> None:
        why = not_available(name)
        super().__init__(why.message, code=why.code, hints=why.hints)
        self.name = name


# --- the node and its images ---------------------------------------------------------------------


def node_status() -> Call:
    return Call("GET", "/v1/node")


def stop_node() -> Call:
    return Call("POST", "/v1/node/stop")


def disk_usage() -> Call:
    return Call("GET", "/v1/df")


def list_environments() -> Call:
    return Call("GET", "/v1/environments")


def _environment(name: str, rest: str = "") -> str:
    if not isinstance(name, str) or not name:
        raise InvalidError(f"{name!r} is not an environment", code="invalid_environment_name")
    return f"/v1/environments/{segment(name)}{rest}"


def inspect_environment(name: str) -> Call:
    return Call("GET", _environment(name))


def delete_environment(name: str) -> Call:
    return Call("DELETE", _environment(name))


def prune_environments() -> Call:
    return Call("POST", "/v1/environments/prune")


def build_environment(name: str, force: bool) -> Call:
    return Call("POST", with_query(_environment(name, "/build"), force=force or None))


def import_environment(name: str) -> Call:
    return Call("POST", _environment(name, "/import"), content_type="application/x-tar")


# --- workspaces ----------------------------------------------------------------------------------


def _rules(allow: str | Iterable[str]) -> list[str]:
    """The rules of an allow-list; a text is one."""
    return [allow] if isinstance(allow, str) else list(allow)


def creation(**values: Any) -> dict[str, Any]:
    """What makes a workspace; what is `None` is left to the node."""
    labels = values.pop("labels", None)
    if values.pop("network", False):
        values["network_policy"] = "egress"
    allow = values.pop("network_allow", None)
    document = {name: value for name, value in values.items() if value is not None}
    if labels:
        document["labels"] = dict(labels)
    if allow:
        document["network_allow"] = _rules(allow)
    return document


def create_workspace(document: dict[str, Any]) -> Call:
    return Call("POST", "/v1/workspaces", document)


def list_workspaces() -> Call:
    return Call("GET", "/v1/workspaces")


def prune_workspaces(older_than_seconds: int, dry_run: bool) -> Call:
    document = {"older_than_seconds": older_than_seconds, "dry_run": dry_run}
    return Call("POST", "/v1/workspaces/prune", document)


def in_workspace(workspace: str, rest: str = "") -> str:
    return f"/v1/workspaces/{segment(workspace)}{rest}"


def status_workspace(workspace: str) -> Call:
    return Call("GET", in_workspace(workspace))


def update_workspace(
    workspace: str,
    name: str | None,
    clear_name: bool,
    labels: Mapping[str, str] | None,
    clear_labels: Sequence[str] | None,
) -> Call:
    document: dict[str, Any] = {"clear_name": clear_name}
    if name is not None:
        document["name"] = name
    if labels:
        document["labels"] = dict(labels)
    if clear_labels:
        document["clear_labels"] = list(clear_labels)
    return Call("PATCH", in_workspace(workspace), document)


def delete_workspace(workspace: str) -> Call:
    return Call("DELETE", in_workspace(workspace))


def start_workspace(workspace: str, no_resume: bool = False) -> Call:
    return Call("POST", with_query(in_workspace(workspace, "/start"), no_resume=no_resume or None))


def stop_workspace(workspace: str, grace_seconds: float | None) -> Call:
    return Call("POST", with_query(in_workspace(workspace, "/stop"), grace_seconds=grace_seconds))


def logs_workspace(workspace: str) -> Call:
    return Call("GET", in_workspace(workspace, "/logs"))


# --- commands ------------------------------------------------------------------------------------


def _argv(command: Command, code: str) -> str | list[str]:
    if isinstance(command, str):
        return command
    try:
        argv = list(command)
    except TypeError:
        argv = []
    if not argv or not all(isinstance(word, str) for word in argv):
        raise InvalidError(
            f"{command!r} is not a command: give a text for the shell, or a list of texts",
            code=code,
        )
    return argv


def exec_request(
    command: Command,
    *,
    cwd: StrPath | None = None,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    timeout_seconds: float | None = None,
    stdin: bool = False,
    detach: bool = False,
    terminal: tuple[int, int] | None = None,
    no_start: bool = False,
) -> dict[str, Any]:
    """What runs a command. A list runs directly, a text by the guest's shell."""
    document: dict[str, Any] = {"command": _argv(command, "invalid_exec")}
    if cwd is not None:
        document["cwd"] = str(cwd)
    if env:
        document["env"] = dict(env)
    if user is not None:
        document["user"] = user
    if timeout_seconds:
        document["timeout_seconds"] = timeout_seconds
    if terminal is not None:
        columns, rows = terminal
        document["terminal"] = {"columns": columns, "rows": rows}
    for name, value in (("stdin", stdin), ("detach", detach), ("no_start", no_start)):
        if value:
            document[name] = True
    return document


def start_exec(workspace: str, document: dict[str, Any]) -> Call:
    upgrade = not document.get("detach", False)
    return Call("POST", in_workspace(workspace, "/execs"), document, upgrade=upgrade)


def list_execs(workspace: str) -> Call:
    return Call("GET", in_workspace(workspace, "/execs"))


def _in_exec(workspace: str, exec_id: str, rest: str = "") -> str:
    if not isinstance(exec_id, str) or not exec_id:
        raise NotFoundError(f"there is no exec {exec_id!r}", code="exec_not_found")
    return in_workspace(workspace, f"/execs/{segment(exec_id)}{rest}")


def status_exec(workspace: str, exec_id: str) -> Call:
    return Call("GET", _in_exec(workspace, exec_id))


def wait_exec(workspace: str, exec_id: str, timeout_seconds: float) -> Call:
    target = with_query(_in_exec(workspace, exec_id, "/wait"), timeout_seconds=timeout_seconds)
    return Call("GET", target)


def _signal(signal: str | int | None) -> str | None:
    # A member of `signal.Signals` is a number.
    return signal if signal is None or isinstance(signal, str) else str(int(signal))


def signal_exec(workspace: str, exec_id: str, signal: str | int | None) -> Call:
    document = {"signal": _signal(signal)}
    return Call("POST", _in_exec(workspace, exec_id, "/signal"), document)


def attach_exec(workspace: str, exec_id: str, offset: int, stdin: bool) -> Call:
    target = with_query(_in_exec(workspace, exec_id, "/attach"), offset=offset, stdin=stdin or None)
    return Call("GET", target, upgrade=True)


def connect_port(workspace: str, port: int, host: str, no_start: bool) -> Call:
    path = f"/v1/workspaces/{segment(workspace)}/ports/{port}/connect"
    target = with_query(path, host=host, no_start=no_start or None)
    return Call("POST", target, upgrade=True, protocol="pyro-port")


def exec_output(
    workspace: str, exec_id: str, offset: int, length: int | None, stream: str | None
) -> Call:
    target = _in_exec(workspace, exec_id, "/output")
    return Call("GET", with_query(target, offset=offset, length=length, stream=stream))


def run_in_vm(vm: dict[str, Any], exec_document: dict[str, Any]) -> Call:
    return Call("POST", "/v1/run", {"vm": vm, "exec": exec_document}, upgrade=True)


# --- ports ---------------------------------------------------------------------------------------

# A port of a workspace, or with one of the host before it, or as the routes take it.
PortLike = int | tuple[int, int] | Mapping[str, int]


def _port(port: PortLike) -> dict[str, int]:
    if isinstance(port, Mapping):
        return dict(port)
    if isinstance(port, tuple):
        host_port, guest_port = port
        return {"guest_port": guest_port, "host_port": host_port}
    return {"guest_port": port}


def list_ports(workspace: str) -> Call:
    return Call("GET", in_workspace(workspace, "/ports"))


def publish_ports(workspace: str, ports: Sequence[PortLike], bind: str | None) -> Call:
    document = _said({"ports": [_port(port) for port in ports]}, bind=(bind, None))
    return Call("POST", in_workspace(workspace, "/ports"), document)


def unpublish_ports(workspace: str, ports: Sequence[int]) -> Call:
    return Call("POST", in_workspace(workspace, "/ports/unpublish"), {"ports": list(ports)})


# --- services ------------------------------------------------------------------------------------


def _said(document: dict[str, Any], **usual: tuple[Any, Any]) -> dict[str, Any]:
    """Adds what is neither `None` nor what the node takes anyway."""
    for name, (value, default) in usual.items():
        if value is not None and value != default:
            document[name] = value
    return document


def _probe(readiness: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(readiness, Mapping):
        raise InvalidError(
            f"{readiness!r} is not a probe",
            code="invalid_readiness",
            hints=["for example: {'type': 'tcp', 'address': '127.0.0.1:8000'}"],
        )
    return dict(readiness)


def service_request(
    service_name: str,
    command: Command,
    *,
    cwd: StrPath = "/workspace",
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    readiness: Mapping[str, Any] | None = None,
    ready_timeout_seconds: float | None = None,
    ready_interval_ms: int | None = None,
    on_ready_timeout: str = "stop",
    restart: str = "no",
    restart_limit: int | None = None,
    stop_signal: str | int | None = None,
    stop_grace_seconds: float | None = None,
    health: Mapping[str, Any] | None = None,
    depends_on: Mapping[str, str] | Sequence[str] | None = None,
    log_limit_bytes: int | None = None,
    published_ports: Sequence[PortLike] | None = None,
    replace: bool = False,
    no_wait: bool = False,
    no_start: bool = False,
) -> dict[str, Any]:
    """What starts a service."""
    needs: dict[str, str] | None = None
    if isinstance(depends_on, Mapping):
        needs = dict(depends_on)
    elif depends_on:
        needs = dict.fromkeys([depends_on] if isinstance(depends_on, str) else depends_on, "ready")
    service = _said(
        {"name": service_name, "command": _argv(command, "invalid_service")},
        cwd=(str(cwd), "/workspace"),
        env=(dict(env or {}), {}),
        user=(user, None),
        readiness=(_probe(readiness) if readiness is not None else None, None),
        ready_timeout_seconds=(ready_timeout_seconds, READY_TIMEOUT),
        ready_interval_ms=(ready_interval_ms, READY_INTERVAL),
        on_ready_timeout=(on_ready_timeout, "stop"),
        restart=(restart, "no"),
        restart_limit=(restart_limit, None),
        stop_signal=(_signal(stop_signal), None),
        stop_grace_seconds=(stop_grace_seconds, None),
        health=(dict(health) if health is not None else None, None),
        depends_on=(needs, {}),
        log_limit_bytes=(log_limit_bytes, None),
    )
    return _said(
        {"service": service},
        published_ports=([_port(port) for port in published_ports or ()], []),
        replace=(replace, False),
        no_wait=(no_wait, False),
        no_start=(no_start, False),
    )


def list_services(workspace: str) -> Call:
    return Call("GET", in_workspace(workspace, "/services"))


def start_service(workspace: str, document: dict[str, Any]) -> Call:
    return Call("POST", in_workspace(workspace, "/services"), document)


def manifest_needs(name: str, text: str, dot_env: str | None, variables: Mapping[str, str]) -> Call:
    document = _said(
        {"name": name, "text": text}, dot_env=(dot_env, None), variables=(dict(variables), {})
    )
    return Call("POST", "/v1/manifests/needs", document)


def up_services(
    workspace: str,
    *,
    file: Mapping[str, Any] | None,
    path: str | None,
    variables: Mapping[str, str],
    services: Sequence[str],
    remove_orphans: bool,
    no_wait: bool,
    timeout_seconds: float | None,
    no_start: bool,
) -> Call:
    document = _said(
        {},
        file=(dict(file) if file is not None else None, None),
        path=(path, None),
        variables=(dict(variables), {}),
        services=([services] if isinstance(services, str) else list(services), []),
        remove_orphans=(remove_orphans, False),
        no_wait=(no_wait, False),
        timeout_seconds=(timeout_seconds, None),
        no_start=(no_start, False),
    )
    return Call("POST", in_workspace(workspace, "/services/up"), document)


def down_services(workspace: str, services: Sequence[str], file: str | None) -> Call:
    document = _said(
        {},
        services=([services] if isinstance(services, str) else list(services), []),
        file=(file, None),
    )
    return Call("POST", in_workspace(workspace, "/services/down"), document)


def all_up(result: UpResult) -> UpResult:
    """What came of an up, where all of it is as it should be."""
    if result["failure"] is not None:
        raise ServicesFailedError(result)
    return result


def _in_service(workspace: str, service: str, rest: str = "") -> str:
    if not isinstance(service, str) or not service:
        raise NotFoundError(f"there is no service {service!r}", code="service_not_found")
    return in_workspace(workspace, f"/services/{segment(service)}{rest}")


def status_service(workspace: str, service: str) -> Call:
    return Call("GET", _in_service(workspace, service))


def stop_service(
    workspace: str, service: str, signal: str | int | None, grace_seconds: float | None
) -> Call:
    document = _said({}, signal=(_signal(signal), None), grace_seconds=(grace_seconds, None))
    return Call("POST", _in_service(workspace, service, "/stop"), document)


def restart_service(workspace: str, service: str, no_wait: bool, no_start: bool) -> Call:
    document = _said({}, no_wait=(no_wait, False), no_start=(no_start, False))
    return Call("POST", _in_service(workspace, service, "/restart"), document)


def wait_service(workspace: str, service: str, ended: bool, timeout_seconds: float) -> Call:
    target = _in_service(workspace, service, "/wait")
    query = with_query(target, timeout_seconds=timeout_seconds, ended=ended or None)
    return Call("GET", query)


def signal_service(workspace: str, service: str, signal: str | int, whole_tree: bool) -> Call:
    document = _said({"signal": _signal(signal)}, whole_tree=(whole_tree, False))
    return Call("POST", _in_service(workspace, service, "/signal"), document)


def delete_service(workspace: str, service: str) -> Call:
    return Call("DELETE", _in_service(workspace, service))


def _log_query(
    tail_lines: int | None, everything: bool, since: float | None, stream: str
) -> dict[str, Any]:
    everything = everything or tail_lines is None
    return {
        # Of what came since a time, the node gives all unless it is told a number.
        "tail_lines": None if everything or tail_lines == TAIL_LINES else tail_lines,
        "all": everything or None,
        "since": since,
        "stream": stream if stream != "combined" else None,
    }


def logs_service(
    workspace: str,
    service: str,
    *,
    tail_lines: int | None,
    everything: bool,
    since: float | None,
    stream: str,
) -> Call:
    query = _log_query(tail_lines, everything, since, stream)
    return Call("GET", with_query(_in_service(workspace, service, "/logs"), **query))


def stream_service_logs(
    workspace: str,
    service: str,
    *,
    tail_lines: int | None,
    everything: bool,
    since: float | None,
    stream: str,
    offset: int,
    follow: bool,
) -> Call:
    query = _log_query(tail_lines, everything, since, stream)
    target = _in_service(workspace, service, "/logs/stream")
    return Call("GET", with_query(target, **query, offset=offset or None, follow=follow or None))


def log_entry(entry: dict[str, Any]) -> ServiceLogEntry:
    """A piece of a log; the node leaves out whichever of text and hexadecimal it is not."""
    return cast("ServiceLogEntry", {"text": None, "hex": None, **entry})


def network_workspace(workspace: str) -> Call:
    return Call("GET", in_workspace(workspace, "/network"))


def set_network_workspace(
    workspace: str, network_policy: str | None, network_allow: Sequence[str], add: bool
) -> Call:
    document: dict[str, Any] = {"network_allow": _rules(network_allow), "add": add}
    if network_policy is not None:
        document["network_policy"] = network_policy
    return Call("PUT", in_workspace(workspace, "/network"), document)


def network_log_workspace(workspace: str, after: int, follow: bool) -> Call:
    target = in_workspace(workspace, "/network/log")
    return Call("GET", with_query(target, after=after or None, follow=follow or None))


def network_entry(document: dict[str, Any]) -> NetworkLogEntry:
    """Something that a workspace wanted to reach."""
    return cast("NetworkLogEntry", document)


def events_workspace(workspace: str, after: int, follow: bool) -> Call:
    target = in_workspace(workspace, "/events")
    return Call("GET", with_query(target, after=after or None, follow=follow or None))


def event(document: dict[str, Any]) -> WorkspaceEvent:
    """A state change."""
    return cast("WorkspaceEvent", document)


def ready(started: StartedService) -> StartedService:
    """What came of a start; raises where that is not what was asked for."""
    if started["failure"] is not None:
        raise ServiceFailedError(started)
    return started


def waited(found: StartedService, ended: bool) -> StartedService:
    """What came of a wait: whether a service that should end still runs is no failure."""
    return {**found, "failure": None, "log_tail": []} if ended else ready(found)


def is_active(service: Mapping[str, Any]) -> bool:
    """Whether something of it runs, or is about to by itself."""
    return service["state"] in {"starting", "running", "backoff"}


# --- one-shot VMs --------------------------------------------------------------------------------


def vm_creation(**values: Any) -> dict[str, Any]:
    """What makes a VM that is deleted once it was idle for its time."""
    ttl = values["ttl_seconds"]
    if not isinstance(ttl, int) or not VM_TTL[0] <= ttl <= VM_TTL[1]:
        raise InvalidError(
            f"{ttl} is not a valid ttl: {VM_TTL[0]} to {VM_TTL[1]} seconds",
            code="invalid_limit",
        )
    return creation(**values, on_expiry="delete", labels={VM_LABEL: VM_VALUE})


def check_vm(workspace: Workspace) -> Workspace:
    """The workspace, where it is a VM that was created by hand."""
    if workspace["labels"].get(VM_LABEL) != VM_VALUE:
        raise NotFoundError(
            f"{workspace['workspace_id']} is a workspace, and not a VM",
            code="vm_not_found",
            hints=["use the verbs for workspaces: exec_workspace, delete_workspace, ..."],
        )
    return workspace


def vm_payload(workspace: Workspace) -> Vm:
    """A VM as the contract has it."""
    return {
        "vm_id": workspace["workspace_id"],
        "environment": workspace["environment"],
        "environment_version": workspace["environment_version"],
        "vcpu_count": workspace["vcpu_count"],
        "mem_mib": workspace["mem_mib"],
        "ttl_seconds": workspace["ttl_seconds"],
        "created_at": workspace["created_at"],
        "expires_at": workspace["expires_at"],
        "state": workspace["state"],
        "network_enabled": workspace["network_enabled"],
        "allow_host_compat": workspace["allow_host_compat"],
        "guest_ip": workspace["guest_ip"],
        "tap_name": workspace["tap_name"],
        "execution_mode": workspace["execution_mode"],
        "metadata": workspace["metadata"],
        "backend": workspace["backend"],
        "accelerated": workspace["accelerated"],
    }


def vm_network_info(workspace: Workspace) -> VmNetworkInfo:
    """The network of a VM."""
    enabled = workspace["network_enabled"]
    policy = workspace["network_policy"]
    return {
        "vm_id": workspace["workspace_id"],
        "network_enabled": enabled,
        "outbound_connectivity_expected": enabled,
        "reason": f"its policy is {policy}" if enabled else "the VM has no network",
    }


def vm_exec_payload(vm: str, record: ExecOutcome) -> VmExecResult:
    """The result of a VM's one command; the VM is gone."""
    cleanup: VmCleanup = {"vm_id": vm, "deleted": True, "reason": "post_exec_cleanup"}
    return {**record, "vm_id": vm, "cleanup": cleanup}


def run_payload(record: ExecOutcome, cleanup: VmCleanup | None) -> RunOutcome:
    """The result of a command in a fresh VM, which is gone."""
    if cleanup is None:
        raise NodeError("the node did not say what became of the VM", code="node_reply_invalid")
    return {**record, "vm_id": cleanup["vm_id"], "cleanup": cleanup}


def without_vms(listed: WorkspaceList) -> WorkspaceList:
    """The workspaces that are not VMs made by hand."""
    left = [one for one in listed["workspaces"] if one["labels"].get(VM_LABEL) != VM_VALUE]
    return {**listed, "workspaces": left, "count": len(left)}


def limit(timeout_seconds: float | None) -> float | None:
    """When the end of a command with this timeout is believed in no more, seconds."""
    return timeout_seconds + GRACE if timeout_seconds else None
