"""Payloads that the SDK makes of the node's: outcomes of commands, and one-shot VMs."""

from __future__ import annotations

from typing import TypedDict

from .payloads import ExecResult, RunResult, StartedService, VmCleanup

__all__ = [
    "DeletedVm",
    "ExecOutcome",
    "ReapedVms",
    "RunOutcome",
    "Vm",
    "VmExecResult",
    "VmNetworkInfo",
    "WaitedServices",
]


class ExecOutcome(ExecResult):
    """A command that ended, with its output."""

    notices: list[str]
    """What the caller should know, for example that the workspace was started for it."""


class RunOutcome(RunResult):
    """The result of a command in a fresh VM, which is gone."""

    notices: list[str]
    """What the caller should know."""


class Vm(TypedDict):
    """A VM that runs one command and is deleted, or is deleted when it was idle for too long."""

    vm_id: str
    environment: str
    environment_version: str | None
    vcpu_count: int
    mem_mib: int
    ttl_seconds: int | None
    created_at: float
    expires_at: float | None
    state: str
    network_enabled: bool
    allow_host_compat: bool
    guest_ip: str | None
    tap_name: str | None
    execution_mode: str
    metadata: dict[str, str]
    backend: str
    accelerated: bool


class VmExecResult(ExecOutcome):
    """The result of a VM's one command."""

    vm_id: str
    cleanup: VmCleanup


class VmNetworkInfo(TypedDict):
    """The network of a VM without one."""

    vm_id: str
    network_enabled: bool
    outbound_connectivity_expected: bool
    reason: str


class DeletedVm(TypedDict):
    """The reply to a delete."""

    vm_id: str
    deleted: bool
    reason: str


class ReapedVms(TypedDict):
    """VMs that were deleted because their time was over."""

    deleted_vm_ids: list[str]
    count: int


class WaitedServices(TypedDict):
    """Services that were waited for, by name."""

    count: int
    services: list[StartedService]
