"""Linux machines of their own for coding agents: microVM workspaces from Python.

    from pyro_mcp import Workspace

    with Workspace.create("debian:12") as ws:
        print(ws.run("uname -sr").stdout)

`Pyro` and `AsyncPyro` have every verb with plain data; `Workspace` and `AsyncWorkspace` are the
typed layer above them. See docs/python.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .aio_client import AsyncPyro
    from .aio_files import AsyncFiles
    from .aio_forward import AsyncForward
    from .aio_network import AsyncNetwork
    from .aio_port import AsyncPortConnection
    from .aio_ports import AsyncPorts
    from .aio_process import AsyncProcess
    from .aio_service import AsyncService, AsyncServices
    from .aio_workspace import AsyncWorkspace
    from .client import Pyro
    from .errors import (
        CommandFailedError,
        ConflictError,
        FailedError,
        InvalidError,
        NodeError,
        NotAvailableError,
        NotFoundError,
        PyroError,
        ServiceFailedError,
        ServicesFailedError,
    )
    from .file_results import (
        DiffEntry,
        DiffInfo,
        FileContent,
        FileInfo,
        PatchedFile,
        PatchInfo,
        SearchInfo,
        SearchMatch,
        SnapshotInfo,
        TransferInfo,
    )
    from .files import Files
    from .forward import Forward
    from .network import Network
    from .port import PortConnection
    from .ports import Ports
    from .probes import HealthCheck, Probe
    from .process import Process
    from .results import (
        CommandResult,
        ExecInfo,
        ExecOutput,
        ForwardedPort,
        LogLine,
        NetworkDenied,
        NetworkInfo,
        NetworkLogEntry,
        NetworkProcess,
        PortInfo,
        PortPublication,
        PublishedPort,
        ServiceEvent,
        ServiceInfo,
        WorkspaceInfo,
    )
    from .service import Service, Services
    from .workspace import Workspace

__version__ = "4.0.0a1"

__all__ = [
    "AsyncFiles",
    "AsyncForward",
    "AsyncNetwork",
    "AsyncPortConnection",
    "AsyncPorts",
    "AsyncProcess",
    "AsyncPyro",
    "AsyncService",
    "AsyncServices",
    "AsyncWorkspace",
    "CommandFailedError",
    "CommandResult",
    "ConflictError",
    "DiffEntry",
    "DiffInfo",
    "ExecInfo",
    "ExecOutput",
    "FailedError",
    "FileContent",
    "FileInfo",
    "Files",
    "Forward",
    "ForwardedPort",
    "HealthCheck",
    "InvalidError",
    "LogLine",
    "Network",
    "NetworkDenied",
    "NetworkInfo",
    "NetworkLogEntry",
    "NetworkProcess",
    "NodeError",
    "NotAvailableError",
    "NotFoundError",
    "PatchInfo",
    "PatchedFile",
    "PortConnection",
    "PortInfo",
    "PortPublication",
    "Ports",
    "Probe",
    "Process",
    "PublishedPort",
    "Pyro",
    "PyroError",
    "SearchInfo",
    "SearchMatch",
    "Service",
    "ServiceEvent",
    "ServiceFailedError",
    "ServiceInfo",
    "Services",
    "ServicesFailedError",
    "SnapshotInfo",
    "TransferInfo",
    "Workspace",
    "WorkspaceInfo",
    "__version__",
]

# Where each name is; loaded once it is used, so that importing the package costs next to nothing.
_MODULES = {
    "AsyncFiles": "aio_files",
    "AsyncForward": "aio_forward",
    "AsyncNetwork": "aio_network",
    "AsyncPortConnection": "aio_port",
    "AsyncPorts": "aio_ports",
    "AsyncProcess": "aio_process",
    "AsyncPyro": "aio_client",
    "AsyncService": "aio_service",
    "AsyncServices": "aio_service",
    "AsyncWorkspace": "aio_workspace",
    "CommandResult": "results",
    "DiffEntry": "file_results",
    "DiffInfo": "file_results",
    "ExecInfo": "results",
    "ExecOutput": "results",
    "FileContent": "file_results",
    "FileInfo": "file_results",
    "Files": "files",
    "Forward": "forward",
    "ForwardedPort": "results",
    "HealthCheck": "probes",
    "LogLine": "results",
    "Network": "network",
    "NetworkDenied": "results",
    "NetworkInfo": "results",
    "NetworkLogEntry": "results",
    "NetworkProcess": "results",
    "PatchInfo": "file_results",
    "PatchedFile": "file_results",
    "PortConnection": "port",
    "PortInfo": "results",
    "PortPublication": "results",
    "Ports": "ports",
    "Probe": "probes",
    "Process": "process",
    "PublishedPort": "results",
    "Pyro": "client",
    "SearchInfo": "file_results",
    "SearchMatch": "file_results",
    "Service": "service",
    "ServiceEvent": "results",
    "ServiceInfo": "results",
    "Services": "service",
    "SnapshotInfo": "file_results",
    "TransferInfo": "file_results",
    "Workspace": "workspace",
    "WorkspaceInfo": "results",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_MODULES.get(name, 'errors')}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
