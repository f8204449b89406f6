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
    from .aio_process import AsyncProcess
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
    )
    from .process import Process
    from .results import CommandResult, ExecInfo, ExecOutput, WorkspaceInfo
    from .workspace import Workspace

__version__ = "4.0.0a1"

__all__ = [
    "AsyncProcess",
    "AsyncPyro",
    "AsyncWorkspace",
    "CommandFailedError",
    "CommandResult",
    "ConflictError",
    "ExecInfo",
    "ExecOutput",
    "FailedError",
    "InvalidError",
    "NodeError",
    "NotAvailableError",
    "NotFoundError",
    "Process",
    "Pyro",
    "PyroError",
    "Workspace",
    "WorkspaceInfo",
    "__version__",
]

# Where each name is; loaded once it is used, so that importing the package costs next to nothing.
_MODULES = {
    "AsyncProcess": "aio_process",
    "AsyncPyro": "aio_client",
    "AsyncWorkspace": "aio_workspace",
    "CommandResult": "results",
    "ExecInfo": "results",
    "ExecOutput": "results",
    "Process": "process",
    "Pyro": "client",
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
