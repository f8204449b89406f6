"""Payloads that the SDK makes of the node's: outcomes of commands, and one-shot VMs."""

from __future__ import annotations

from typing import Literal, TypedDict

from .payloads import ExecResult, RunResult, StartedService, VmCleanup

__all__ = [
    "DeletedVm",
    "ExecOutcome",
    "ExportedFiles",
    "PushedFiles",
    "ReapedVms",
    "RunOutcome",
    "Vm",
    "VmExecResult",
    "VmNetworkInfo",
    "WaitedServices",
    "WorkspaceSync",
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


class WorkspaceSync(TypedDict):
    """What was brought where."""

    mode: str
    """`directory` or `tar_archive`."""
    source_path: str
    destination: str
    entry_count: int
    bytes_written: int
    removed_count: int


class PulledChange(TypedDict):
    """What became of a path of this host."""

    path: str
    """Relative to the directory."""
    result: Literal["written", "removed", "unchanged", "conflict", "skipped"]


class PulledChanges(TypedDict):
    """What was taken home, or would be."""

    workspace: str
    to: str
    checked: bool
    """Nothing was changed."""
    conflicts: int
    entries: list[PulledChange]


class PushedFiles(TypedDict):
    """Files that were brought into a workspace."""

    workspace_id: str
    execution_mode: str
    workspace_sync: WorkspaceSync
    notices: list[str]


class ExportedDisk(TypedDict):
    """A workspace disk that was written to a file of this host."""

    workspace_id: str
    output_path: str
    disk_format: str
    """`ext4`: the disk as its guest has it, without a partition table."""
    bytes_written: int
    """The disk's size; where it is empty, the file takes no room."""


class ExportedFiles(TypedDict):
    """Files that were taken out of a workspace."""

    workspace_id: str
    workspace_path: str
    output_path: str
    artifact_type: str
    """`file`, `directory` or `symlink`."""
    entry_count: int
    bytes_written: int
    execution_mode: str
    notices: list[str]
