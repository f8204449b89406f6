"""The client: every verb as a method that takes and gives plain data.

Written by `python/tools/generate_blocking.py` from `aio_client.py`: do not edit.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NoReturn, cast

from . import _calls as calls
from . import _file_calls as files
from . import payloads
from ._location import StrPath, locate, resolve
from ._manifest import Given
from ._transfer import BUILD_SILENCE, build_event, opened, pieces
from ._transport import Transport
from .errors import FailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .outcomes import (
        DeletedVm,
        ExecOutcome,
        ExportedDisk,
        ExportedFiles,
        PulledChanges,
        PushedFiles,
        ReapedVms,
        RunOutcome,
        Vm,
        VmExecResult,
        VmNetworkInfo,
        WaitedServices,
    )
    from .port import PortConnection
    from .process import Process
    from .results import ExecOutput
    from .server import Server

__all__ = ["Pyro"]

Command = calls.Command
FilePath = files.FilePath


class Pyro:
    """Workspaces of the local node, which is found, or started by the first call that needs it.

    Methods have the names, defaults and payloads of docs/python.md; a workspace is named by its id,
    a unique prefix of it (4 characters or more), its name, or `@`. One object may be used by any
    number of threads, and by forked children.

    Args:
        home: The state directory; default `PYRO_HOME`, else `$XDG_STATE_HOME/pyro`.
        cache_dir: The image cache; default `PYRO_CACHE_DIR`, else `$XDG_CACHE_HOME/pyro`.
        program: The `pyro` binary that a node is started with; default `PYRO_PROGRAM`, else the
            one that came with this package, else the one in `PATH`.
        start: Whether a node may be started; default yes, unless `PYRO_NODE_START=never`.
        backend: `firecracker` or `qemu`; default `PYRO_BACKEND`, else what the host's probe picks.
        timeout: The longest silence of the node that is waited for, seconds, commands aside, which
            have timeouts of their own; `None`: for ever.

    """

    def __init__(
        self,
        *,
        home: StrPath | None = None,
        cache_dir: StrPath | None = None,
        program: StrPath | None = None,
        start: bool | None = None,
        backend: str | None = None,
        timeout: float | None = 300.0,
    ) -> None:
        location = locate(home=home, cache_dir=cache_dir, program=program, may_start=start)
        self._transport = Transport(location, timeout)
        self._backend = backend if backend is not None else os.environ.get("PYRO_BACKEND") or None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(home={self._transport.location.state!r})"

    def __getattr__(self, name: str) -> NoReturn:
        if name in calls.PLANNED:
            raise calls.PlannedError(name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _name(self, workspace: str) -> str:
        return resolve(workspace, self._transport.location)

    # --- environments ---------------------------------------------------------------------------

    def list_environments(self) -> list[payloads.Environment]:
        """Every environment: those of the catalogue, then the imported ones."""
        catalog: payloads.EnvironmentCatalog = self._transport.json(calls.list_environments())
        return catalog["environments"]

    def inspect_environment(self, environment: str) -> payloads.Environment:
        """One environment."""
        found: payloads.Environment = self._transport.json(calls.inspect_environment(environment))
        return found

    def pull_environment(self, environment: str) -> payloads.Environment:
        """The name of 3.x for `build_environment`: registries come later."""
        return self.build_environment(environment)

    def build_environment(
        self,
        environment: str,
        *,
        force: bool = False,
        progress: Callable[[str, float | None], None] | None = None,
    ) -> payloads.Environment:
        """Builds an environment of the catalogue from Debian's packages, unless it is up to date.

        `progress` hears what is being done, and how much of it is done (0 to 1) where that is
        known.
        """
        call = calls.build_environment(environment, force)
        for event in self._transport.lines(call, BUILD_SILENCE):
            done = build_event(event, progress)
            if done is not None:
                return done
        raise FailedError("the build ended without a word", code="node_reply_invalid")

    def import_environment(
        self, environment: str, source: StrPath | BinaryIO
    ) -> payloads.ImportedEnvironment:
        """Makes an environment of a tar archive: a path, or a file open for reading bytes."""
        call = calls.import_environment(environment)
        timeout = BUILD_SILENCE
        with opened(source) as file:
            imported: payloads.ImportedEnvironment = self._transport.upload(
                call, pieces(file), timeout
            )
        return imported

    def delete_environment(self, environment: str) -> payloads.DeletedEnvironment:
        """Takes an environment's name away, and its image unless a workspace stands on it."""
        deleted: payloads.DeletedEnvironment = self._transport.json(
            calls.delete_environment(environment)
        )
        return deleted

    def prune_environments(self) -> payloads.PrunedEnvironments:
        """Deletes images that nothing needs."""
        pruned: payloads.PrunedEnvironments = self._transport.json(calls.prune_environments())
        return pruned

    # --- one-shot VMs ---------------------------------------------------------------------------

    def run_in_vm(
        self,
        *,
        environment: str,
        command: Command,
        vcpu_count: int = 1,
        mem_mib: int = 1024,
        timeout_seconds: float | None = 30,
        ttl_seconds: int = 600,
        network: bool = False,
        allow_host_compat: bool = False,
        cwd: StrPath | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> RunOutcome:
        """Runs a command in a fresh VM that is deleted afterwards."""
        calls.ignore_host_compat(allow_host_compat)
        vm = calls.creation(
            environment=environment,
            vcpu_count=vcpu_count,
            mem_mib=mem_mib,
            ttl_seconds=ttl_seconds,
            network=network,
            backend=self._backend,
        )
        exec_document = calls.exec_request(
            command, cwd=cwd, env=env, user=user, timeout_seconds=timeout_seconds
        )
        session = self._transport.gather(
            calls.run_in_vm(vm, exec_document), limit=calls.limit(timeout_seconds)
        )
        record = session.result()[0]
        return calls.run_payload(record, session.cleanup)

    def create_vm(
        self,
        *,
        environment: str,
        vcpu_count: int = 1,
        mem_mib: int = 1024,
        ttl_seconds: int = 600,
        network: bool = False,
        allow_host_compat: bool = False,
    ) -> Vm:
        """Makes a VM for one command and starts it. The node deletes it after its idle time."""
        calls.ignore_host_compat(allow_host_compat)
        document = calls.vm_creation(
            environment=environment,
            vcpu_count=vcpu_count,
            mem_mib=mem_mib,
            ttl_seconds=ttl_seconds,
            network=network,
            backend=self._backend,
        )
        return calls.vm_payload(self._transport.json(calls.create_workspace(document)))

    def _vm(self, vm_id: str) -> payloads.Workspace:
        return calls.check_vm(self._transport.json(calls.status_workspace(self._name(vm_id))))

    def _vm_id(self, vm_id: str) -> str:
        vm = self._vm(vm_id)
        return vm["workspace_id"]

    def start_vm(self, vm_id: str) -> Vm:
        """Starts a VM; one that runs is answered as it is."""
        found = self._vm_id(vm_id)
        return calls.vm_payload(self._transport.json(calls.start_workspace(found)))

    def stop_vm(self, vm_id: str) -> Vm:
        """Stops a VM."""
        found = self._vm_id(vm_id)
        return calls.vm_payload(self._transport.json(calls.stop_workspace(found, None)))

    def status_vm(self, vm_id: str) -> Vm:
        """One VM."""
        return calls.vm_payload(self._vm(vm_id))

    def exec_vm(
        self, vm_id: str, *, command: Command, timeout_seconds: float | None = 30
    ) -> VmExecResult:
        """Runs a VM's one command. The VM is deleted afterwards, however it went."""
        vm = self._vm_id(vm_id)
        try:
            document = calls.exec_request(command, timeout_seconds=timeout_seconds)
            session = self._transport.gather(
                calls.start_exec(vm, document), limit=calls.limit(timeout_seconds)
            )
        finally:
            self._transport.json(calls.delete_workspace(vm))
        return calls.vm_exec_payload(vm, session.result()[0])

    def delete_vm(self, vm_id: str) -> DeletedVm:
        """Deletes a VM."""
        vm = self._vm_id(vm_id)
        self._transport.json(calls.delete_workspace(vm))
        return {"vm_id": vm, "deleted": True, "reason": "explicit_delete"}

    def network_info_vm(self, vm_id: str) -> VmNetworkInfo:
        """The network of a VM."""
        return calls.vm_network_info(self._vm(vm_id))

    def reap_expired(self) -> ReapedVms:
        """Nothing to do: the node itself deletes VMs whose time is over."""
        self._transport.json(calls.node_status())
        return {"deleted_vm_ids": [], "count": 0}

    # --- workspaces -----------------------------------------------------------------------------

    def create_workspace(
        self,
        *,
        environment: str = "debian:12",
        vcpu_count: int = 1,
        mem_mib: int = 1024,
        ttl_seconds: int | None = None,
        network_policy: str = "off",
        allow_host_compat: bool = False,
        seed_path: StrPath | None = None,
        secrets: Sequence[Mapping[str, str]] | None = None,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        disk_mib: int | None = None,
        on_expiry: Literal["stop", "delete"] | None = None,
        backend: str | None = None,
        network_allow: Sequence[str] = (),
        seed_git: str | None = None,
        exclude: Sequence[str] = (),
        respect_ignore: bool = False,
    ) -> payloads.Workspace:
        """Makes a workspace and starts it; answers once its guest is ready.

        It begins with a directory or an archive (.tar, .tar.gz, .tar.zst) of this host, or with
        what a git repository tracks: `REPO` or `REPO@REF`. `exclude` and `respect_ignore` say what
        of a directory is left out. Seeds are packed and sent by the `pyro` program.
        """
        calls.ignore_host_compat(allow_host_compat)
        calls.refuse(secrets=secrets)
        document = calls.creation(
            environment=environment,
            vcpu_count=vcpu_count,
            mem_mib=mem_mib,
            ttl_seconds=ttl_seconds,
            network_policy=network_policy,
            network_allow=network_allow,
            name=name,
            labels=labels,
            disk_mib=disk_mib,
            on_expiry=on_expiry,
            backend=backend if backend is not None else self._backend,
        )
        made: payloads.Workspace
        if seed_path is None and seed_git is None:
            made = self._transport.json(calls.create_workspace(document))
        else:
            from ._program import seeded

            words = seeded(
                {**document, "environment": environment},
                seed_path=seed_path,
                seed_git=seed_git,
                exclude=exclude,
                respect_ignore=respect_ignore,
            )
            made = cast("payloads.Workspace", self._transport.program(words))
        return made

    def list_workspaces(self) -> payloads.WorkspaceList:
        """All workspaces, the most recently used first; VMs made by `create_vm` are left out."""
        return calls.without_vms(self._transport.json(calls.list_workspaces()))

    def update_workspace(
        self,
        workspace_id: str,
        *,
        name: str | None = None,
        clear_name: bool = False,
        labels: Mapping[str, str] | None = None,
        clear_labels: Sequence[str] | None = None,
    ) -> payloads.Workspace:
        """Changes a workspace's name and labels."""
        call = calls.update_workspace(
            self._name(workspace_id), name, clear_name, labels, clear_labels
        )
        updated: payloads.Workspace = self._transport.json(call)
        return updated

    def status_workspace(self, workspace_id: str) -> payloads.Workspace:
        """One workspace."""
        found: payloads.Workspace = self._transport.json(
            calls.status_workspace(self._name(workspace_id))
        )
        return found

    def stop_workspace(
        self, workspace_id: str, *, grace_seconds: float | None = None
    ) -> payloads.Workspace:
        """Stops a workspace: its commands are ended, its disk is synced, its VM ended."""
        stopped: payloads.Workspace = self._transport.json(
            calls.stop_workspace(self._name(workspace_id), grace_seconds), more=grace_seconds or 0
        )
        return stopped

    def start_workspace(self, workspace_id: str, *, no_resume: bool = False) -> payloads.Workspace:
        """Starts a workspace with the disk it had; one that runs is answered as it is.

        Services that ran when it was stopped run again, unless `no_resume`.
        """
        started: payloads.Workspace = self._transport.json(
            calls.start_workspace(self._name(workspace_id), no_resume)
        )
        return started

    def delete_workspace(self, workspace_id: str) -> payloads.DeletedWorkspace:
        """Deletes a workspace with its disk and records."""
        deleted: payloads.DeletedWorkspace = self._transport.json(
            calls.delete_workspace(self._name(workspace_id))
        )
        return deleted

    def prune_workspaces(
        self, *, older_than_seconds: int, dry_run: bool = False
    ) -> payloads.PrunedWorkspaces:
        """Deletes stopped workspaces that were not used for so long."""
        pruned: payloads.PrunedWorkspaces = self._transport.json(
            calls.prune_workspaces(older_than_seconds, dry_run)
        )
        return pruned

    def logs_workspace(self, workspace_id: str) -> payloads.WorkspaceLogs:
        """Every finished command of a workspace with its output; of long output, head and tail."""
        logs: payloads.WorkspaceLogs = self._transport.json(
            calls.logs_workspace(self._name(workspace_id))
        )
        return logs

    # --- commands -------------------------------------------------------------------------------

    def exec_workspace(
        self,
        workspace_id: str,
        *,
        command: Command,
        timeout_seconds: float | None = 30,
        secret_env: Mapping[str, str] | None = None,
        cwd: StrPath | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        input: bytes | str | None = None,  # noqa: A002 (as subprocess.run has it)
        no_start: bool = False,
    ) -> ExecOutcome:
        """Runs a command to its end and gathers its output, up to 64 MiB of each stream.

        `timeout_seconds` ends the command with all its processes; 0 or `None`: no timeout.
        """
        calls.refuse(secret_env=secret_env)
        document = calls.exec_request(
            command,
            cwd=cwd,
            env=env,
            user=user,
            timeout_seconds=timeout_seconds,
            stdin=input is not None,
            no_start=no_start,
        )
        session = self._transport.gather(
            calls.start_exec(self._name(workspace_id), document),
            limit=calls.limit(timeout_seconds),
            data=input.encode() if isinstance(input, str) else input,
        )
        return session.result()[0]

    def open_exec(
        self,
        workspace_id: str,
        *,
        command: Command,
        timeout_seconds: float | None = None,
        cwd: StrPath | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        stdin: bool = False,
        terminal: tuple[int, int] | None = None,
        no_start: bool = False,
    ) -> Process:
        """Runs a command and gives its streams. `terminal` is its size: columns and rows."""
        document = calls.exec_request(
            command,
            cwd=cwd,
            env=env,
            user=user,
            timeout_seconds=timeout_seconds,
            stdin=stdin,
            terminal=terminal,
            no_start=no_start,
        )
        call = calls.start_exec(self._name(workspace_id), document)
        from .process import Process

        return Process._open(self._transport, call, stdin=stdin)

    def start_exec(
        self,
        workspace_id: str,
        *,
        command: Command,
        timeout_seconds: float | None = None,
        cwd: StrPath | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        no_start: bool = False,
    ) -> payloads.ExecResult:
        """Starts a command that nobody needs to wait for: `wait_exec`, `attach_exec` find it."""
        document = calls.exec_request(
            command,
            cwd=cwd,
            env=env,
            user=user,
            timeout_seconds=timeout_seconds,
            detach=True,
            no_start=no_start,
        )
        started: payloads.ExecResult = self._transport.json(
            calls.start_exec(self._name(workspace_id), document)
        )
        return started

    def list_execs(self, workspace_id: str) -> payloads.ExecList:
        """Every command of a workspace that is remembered, the newest last."""
        execs: payloads.ExecList = self._transport.json(calls.list_execs(self._name(workspace_id)))
        return execs

    def status_exec(self, workspace_id: str, exec_id: str) -> payloads.Exec:
        """One command."""
        found: payloads.Exec = self._transport.json(
            calls.status_exec(self._name(workspace_id), exec_id)
        )
        return found

    def wait_exec(
        self, workspace_id: str, exec_id: str, *, timeout_seconds: float | None = None
    ) -> payloads.Exec:
        """A command once it has ended, or as it stands when the time is over."""
        from time import monotonic

        workspace = self._name(workspace_id)
        deadline = None if timeout_seconds is None else monotonic() + timeout_seconds
        while True:
            left = calls.WAIT if deadline is None else min(deadline - monotonic(), calls.WAIT)
            if left <= 0:
                return self.status_exec(workspace, exec_id)
            found: payloads.Exec = self._transport.json(
                calls.wait_exec(workspace, exec_id, left), more=left
            )
            if not found["running"]:
                return found

    def signal_exec(
        self, workspace_id: str, exec_id: str, *, signal: str | int | None = None
    ) -> payloads.Exec:
        """Sends a signal; without one: TERM to all its processes, grace period, KILL."""
        found: payloads.Exec = self._transport.json(
            calls.signal_exec(self._name(workspace_id), exec_id, signal)
        )
        return found

    def attach_exec(
        self, workspace_id: str, exec_id: str, *, offset: int = 0, stdin: bool = False
    ) -> Process:
        """The streams of a command from this byte of its output on, as often as wanted."""
        call = calls.attach_exec(self._name(workspace_id), exec_id, offset, stdin)
        from .process import Process

        return Process._open(self._transport, call, offset=offset, stdin=stdin)

    def connect_port(
        self, workspace_id: str, port: int, *, host: str = "localhost", no_start: bool = False
    ) -> PortConnection:
        """Connects to a TCP port within a workspace, whatever its network policy."""
        call = calls.connect_port(self._name(workspace_id), port, host, no_start)
        from .port import PortConnection

        return PortConnection._open(self._transport, call)

    def publish_ports(
        self, workspace_id: str, ports: Sequence[calls.PortLike], *, bind: str | None = None
    ) -> payloads.PublishedPorts:
        """Publishes ports of a workspace on the host until they are unpublished; all or none.

        A port is its number, `(host_port, guest_port)`, or `{"guest_port": ..., "host_port": ...}`;
        a host port of 0 is any that is free. `bind` is another address of the host than localhost.
        """
        published: payloads.PublishedPorts = self._transport.json(
            calls.publish_ports(self._name(workspace_id), ports, bind)
        )
        return published

    def list_ports(self, workspace_id: str) -> payloads.PortList:
        """The ports of a workspace that somebody listens on, or that are published."""
        listed: payloads.PortList = self._transport.json(calls.list_ports(self._name(workspace_id)))
        return listed

    def unpublish_ports(self, workspace_id: str, ports: Sequence[int]) -> payloads.UnpublishedPorts:
        """Takes published ports back, all or none: by the host's numbers, else the workspace's."""
        gone: payloads.UnpublishedPorts = self._transport.json(
            calls.unpublish_ports(self._name(workspace_id), ports)
        )
        return gone

    def read_exec_output(
        self,
        workspace_id: str,
        exec_id: str,
        *,
        offset: int = 0,
        length: int | None = None,
        stream: Literal["stdout", "stderr", "combined"] = "combined",
    ) -> ExecOutput:
        """Kept output of a command by range of its combined output."""
        call = calls.exec_output(self._name(workspace_id), exec_id, offset, length, stream)
        from .results import ExecOutput

        return ExecOutput.of(*self._transport.call(call), offset=offset)

    # --- files ----------------------------------------------------------------------------------

    def list_workspace_files(
        self,
        workspace_id: str,
        *,
        path: FilePath = "/workspace",
        recursive: bool = False,
        max_entries: int | None = None,
        no_start: bool = False,
    ) -> payloads.FileList:
        """What is in a directory, depth first and by name; a path that is none lists itself.

        A path is absolute or relative to `/workspace`; one that is no UTF-8 is given as bytes, and
        told with replacement characters and as `path_base64`.
        """
        name = self._name(workspace_id)
        call = files.list_files(name, path, recursive, max_entries, no_start)
        return files.file_list(self._transport.json(call))

    def stat_workspace_file(
        self, workspace_id: str, path: FilePath, *, follow: bool = False, no_start: bool = False
    ) -> payloads.FileStatus:
        """What a path stands for; with `follow`, what a symlink leads to."""
        call = files.status_file(self._name(workspace_id), path, follow, no_start)
        return files.file_status(self._transport.json(call))

    def read_workspace_file(
        self,
        workspace_id: str,
        path: FilePath,
        *,
        max_bytes: int = 65536,
        offset: int = 0,
        first_line: int | None = None,
        line_count: int | None = None,
        no_start: bool = False,
    ) -> payloads.FileContent:
        """A file's content, or a part of it: up to 1 MiB a call, of a file of any size.

        From `offset` on, or `line_count` lines from `first_line` on (1 for the first). What is not
        UTF-8 has replacement characters in `content`, and its bytes in `content_base64`.
        """
        call = files.read_file(
            self._name(workspace_id),
            path,
            max_bytes=max_bytes,
            offset=offset,
            first_line=first_line,
            line_count=line_count,
            no_start=no_start,
        )
        return files.file_content(self._transport.json(call))

    def write_workspace_file(
        self,
        workspace_id: str,
        path: FilePath,
        *,
        text: str | None = None,
        content: bytes | None = None,
        mode: int | str | None = None,
        create_only: bool = False,
        no_start: bool = False,
    ) -> payloads.WrittenFile:
        """Writes a file of at most 1 MiB, whole or not at all; its directories are made.

        Exactly one of `text` and `content`. `mode` is its permissions (`0o755` or `"755"`); without
        it they stay as they were, of a new file 0644.
        """
        call = files.write_file(
            self._name(workspace_id),
            path,
            text=text,
            content=content,
            mode=mode,
            create_only=create_only,
            no_start=no_start,
        )
        written: payloads.WrittenFile = files.noticed(self._transport.json(call))
        return written

    def edit_workspace_file(
        self,
        workspace_id: str,
        path: FilePath,
        *,
        old: str,
        new: str,
        replace_all: bool = False,
        no_start: bool = False,
    ) -> payloads.EditedFile:
        """Replaces a text that is in a file exactly once, or wherever it is (`replace_all`)."""
        name = self._name(workspace_id)
        call = files.edit_file(name, path, old, new, replace_all, no_start)
        edited: payloads.EditedFile = files.noticed(self._transport.json(call))
        return edited

    def move_workspace_file(
        self,
        workspace_id: str,
        path: FilePath,
        to: FilePath,
        *,
        replace: bool = False,
        no_start: bool = False,
    ) -> payloads.FileStatus:
        """Renames a file or a directory; what is there is only replaced with `replace`."""
        call = files.move_file(self._name(workspace_id), path, to, replace, no_start)
        return files.file_status(self._transport.json(call))

    def remove_workspace_file(
        self, workspace_id: str, path: FilePath, *, recursive: bool = False, no_start: bool = False
    ) -> payloads.RemovedFile:
        """Removes a file, or a directory: an empty one, or with all in it (`recursive`)."""
        call = files.remove_file(self._name(workspace_id), path, recursive, no_start)
        removed: payloads.RemovedFile = files.noticed(self._transport.json(call))
        return removed

    def make_workspace_directory(
        self,
        workspace_id: str,
        path: FilePath,
        *,
        mode: int | str | None = None,
        no_start: bool = False,
    ) -> payloads.FileStatus:
        """Makes a directory with those it lies in; one that is there is left as it is."""
        call = files.make_directory(self._name(workspace_id), path, mode, no_start)
        return files.file_status(self._transport.json(call))

    def search_workspace_files(
        self,
        workspace_id: str,
        pattern: str,
        *,
        path: str = "/workspace",
        literal: bool = False,
        ignore_case: bool = False,
        globs: Sequence[str] = (),
        context: int = 0,
        max_matches: int | None = None,
        all: bool = False,  # noqa: A002 (as the command line has it)
        names_only: bool = False,
        no_start: bool = False,
    ) -> payloads.SearchResult:
        """Lines that match a regular expression, or hold a text (`literal`).

        What `.gitignore` names, and what is hidden, is only looked into with `all`.
        """
        call = files.search_files(
            self._name(workspace_id),
            pattern,
            path=path,
            literal=literal,
            ignore_case=ignore_case,
            globs=globs,
            context=context,
            max_matches=max_matches,
            everything=all,
            names_only=names_only,
            no_start=no_start,
        )
        return files.search_result(self._transport.json(call))

    def push_workspace_sync(
        self,
        workspace_id: str,
        source_path: StrPath,
        *,
        dest: FilePath = "/workspace",
        delete: bool = False,
        exclude: Sequence[str] = (),
        respect_ignore: bool = False,
        no_start: bool = False,
    ) -> PushedFiles:
        """Brings a directory or an archive (.tar, .tar.gz, .tar.zst) of this host into a directory.

        Modes, times, symlinks and hard links come along; all is root's. With `delete`, what did not
        come is removed there. `exclude` leaves out what it names of a directory: a pattern with a
        slash within it is of the whole path, any other of a name wherever it is. `respect_ignore`
        leaves out what .gitignore and .pyroignore name; that, and .tar.zst, is done by the `pyro`
        program.
        """
        if respect_ignore or os.fspath(source_path).endswith((".tar.zst", ".tzst")):
            from ._program import pushed

            words = pushed(
                self._name(workspace_id),
                source_path,
                os.fsdecode(dest),
                delete=delete,
                exclude=exclude,
                respect_ignore=respect_ignore,
                no_start=no_start,
            )
            done = self._transport.program(words)
            return cast("PushedFiles", {"notices": [], **done})
        from ._pack import source

        given = source(source_path, exclude)
        call = files.push_archive(self._name(workspace_id), dest, delete, no_start)
        sent: payloads.UnpackedFiles = self._transport.upload(
            call, given.tar, self._transport.timeout
        )
        return files.pushed(sent, given.mode, source_path)

    def export_workspace(
        self,
        workspace_id: str,
        path: FilePath,
        *,
        output_path: StrPath,
        changed: bool = False,
        paths: Sequence[str] = (),
        no_start: bool = False,
    ) -> ExportedFiles:
        """Takes a file or a directory out to a path of this host at which nothing is yet.

        Whole or not at all. With `changed`, only what is different from what `/workspace` began
        with; with `paths`, only these names within it. Symlinks come as they are; sockets, pipes
        and devices, and bits that give another's rights, do not.
        """
        from ._unpack import Export

        with Export(output_path) as export:
            found = self.status_workspace(workspace_id)
            call = files.export_archive(found["workspace_id"], path, changed, paths, no_start)
            head = self._transport.download(call, export.feed)
            artifact = head.headers.get("x-pyro-artifact-type", "directory")
            unpacked = export.finish(artifact)
        return files.exported(found, path, export.output, artifact, unpacked)

    def pull_workspace_sync(
        self,
        workspace_id: str,
        *,
        to: StrPath,
        paths: Sequence[str] = (),
        check: bool = False,
        skip_conflicts: bool = False,
        force: bool = False,
        no_start: bool = False,
    ) -> PulledChanges:
        """Takes home what was changed in `/workspace`, onto the directory that it began with.

        Only where a file there is still what the workspace began with, or what was taken of it
        last; anything else is a conflict, and then nothing is changed: `skip_conflicts` takes the
        rest, `force` all. With `check`, only says what would be. The `pyro` program does it.
        """
        from ._program import pulled

        words = pulled(
            self._name(workspace_id),
            to,
            paths,
            check=check,
            skip_conflicts=skip_conflicts,
            force=force,
            no_start=no_start,
        )
        return cast("PulledChanges", self._transport.program(words))

    # --- disks of stopped workspaces --------------------------------------------------------------

    def list_workspace_disk(
        self,
        workspace_id: str,
        *,
        path: FilePath = "/workspace",
        recursive: bool = False,
        max_entries: int | None = None,
    ) -> payloads.DiskList:
        """What is in a directory of a stopped workspace, which stays stopped."""
        call = files.list_disk(self._name(workspace_id), path, recursive, max_entries)
        return files.disk_list(self._transport.json(call))

    def read_workspace_disk(
        self,
        workspace_id: str,
        path: FilePath,
        *,
        max_bytes: int = 65536,
        offset: int | None = None,
    ) -> payloads.DiskContent:
        """A part of a file of a stopped workspace, which stays stopped."""
        call = files.read_disk(self._name(workspace_id), path, max_bytes, offset)
        return files.disk_content(self._transport.json(call))

    def export_workspace_disk(self, workspace_id: str, *, output_path: StrPath) -> ExportedDisk:
        """Writes the disk of a stopped workspace, as ext4, to a file that is not there yet.

        Whole or not at all, with holes where it is empty.
        """
        from ._disk import DiskFile

        with DiskFile(output_path) as disk:
            found = self.status_workspace(workspace_id)
            head = self._transport.download(files.export_disk(found["workspace_id"]), disk.feed)
            disk.finish(int(head.headers["content-length"]))
        return {
            "workspace_id": found["workspace_id"],
            "output_path": disk.output,
            "disk_format": "ext4",
            "bytes_written": disk.size,
        }

    # --- changes --------------------------------------------------------------------------------

    def apply_workspace_patch(
        self,
        workspace_id: str,
        *,
        patch: str | bytes,
        base: str | None = None,
        check: bool = False,
        no_start: bool = False,
    ) -> payloads.PatchResult:
        """Changes files as a patch of at most 1 MiB says, all or nothing.

        Its names are relative to `base`, else to `/workspace`. With `check`, only says what would
        be.
        """
        call = files.apply_patch(self._name(workspace_id), patch, base, check, no_start)
        return files.patch_result(self._transport.json(call))

    def diff_workspace(
        self,
        workspace_id: str,
        *,
        paths: Sequence[str] = (),
        renames: bool = False,
        summary_only: bool = False,
        digests: bool = False,
        max_patch_bytes: int | None = None,
        max_total_bytes: int | None = None,
        since: str | None = None,
        until: str | None = None,
        no_start: bool = False,
    ) -> payloads.DiffResult:
        """What is different in `/workspace` from what it began with, of these paths or of all.

        `since` and `until` are `baseline`, `now` or a snapshot's name, for what became of one until
        another. `renames` tells files under another name as such, `summary_only` leaves out the
        patches, and `digests` adds SHA-256 of every file.
        """
        call = files.diff_workspace(
            self._name(workspace_id),
            paths=paths,
            renames=renames,
            summary_only=summary_only,
            digests=digests,
            max_patch_bytes=max_patch_bytes,
            max_total_bytes=max_total_bytes,
            since=since,
            until=until,
            no_start=no_start,
        )
        return files.diff_result(self._transport.json(call))

    def diff_workspace_patch(
        self,
        workspace_id: str,
        *,
        paths: Sequence[str] = (),
        renames: bool = False,
        max_patch_bytes: int | None = None,
        max_total_bytes: int | None = None,
        since: str | None = None,
        until: str | None = None,
        no_start: bool = False,
    ) -> bytes:
        """The patch that makes `/workspace` what it is, byte for byte: what `git apply` takes."""
        call = files.diff_workspace(
            self._name(workspace_id),
            paths=paths,
            renames=renames,
            summary_only=False,
            digests=False,
            max_patch_bytes=max_patch_bytes,
            max_total_bytes=max_total_bytes,
            since=since,
            until=until,
            no_start=no_start,
            raw=True,
        )
        return (self._transport.call(call))[1]

    # --- snapshots ------------------------------------------------------------------------------

    def create_snapshot(self, workspace_id: str, snapshot_name: str) -> payloads.CreatedSnapshot:
        """Keeps the whole disk as it is now under a name, while everything goes on running."""
        call = files.create_snapshot(self._name(workspace_id), snapshot_name)
        created: payloads.CreatedSnapshot = self._transport.json(call)
        return created

    def list_snapshots(self, workspace_id: str) -> payloads.SnapshotList:
        """The snapshots of a workspace: the baseline first, then the newest first."""
        listed: payloads.SnapshotList = self._transport.json(
            files.list_snapshots(self._name(workspace_id))
        )
        return listed

    def delete_snapshot(self, workspace_id: str, snapshot_name: str) -> payloads.DeletedSnapshot:
        """Deletes a snapshot."""
        call = files.delete_snapshot(self._name(workspace_id), snapshot_name)
        deleted: payloads.DeletedSnapshot = self._transport.json(call)
        return deleted

    def reset_workspace(
        self, workspace_id: str, *, snapshot: str = "baseline", no_resume: bool = False
    ) -> payloads.ResetResult:
        """Gives a workspace the disk of a snapshot, or the one it began with, and starts it.

        Snapshots survive; commands are forgotten, and services that do not run. Those that ran run
        again, unless `no_resume`.
        """
        call = files.reset_workspace(self._name(workspace_id), snapshot, no_resume)
        reset: payloads.ResetResult = self._transport.json(call)
        return reset

    # --- services -------------------------------------------------------------------------------

    def start_service(
        self,
        workspace_id: str,
        service_name: str,
        *,
        command: Command,
        cwd: StrPath = "/workspace",
        readiness: Mapping[str, Any] | None = None,
        ready_timeout_seconds: float | None = 30,
        ready_interval_ms: int | None = 500,
        secret_env: Mapping[str, str] | None = None,
        published_ports: Sequence[calls.PortLike] | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        on_ready_timeout: Literal["stop", "keep"] = "stop",
        restart: Literal["no", "on-failure", "always", "unless-stopped"] = "no",
        restart_limit: int | None = None,
        stop_signal: str | int | None = None,
        stop_grace_seconds: float | None = None,
        health: Mapping[str, Any] | None = None,
        depends_on: Mapping[str, str] | Sequence[str] | None = None,
        log_limit_bytes: int | None = None,
        replace: bool = False,
        no_wait: bool = False,
        no_start: bool = False,
    ) -> payloads.StartedService:
        """Starts a service and waits until it is ready, or not at all (`no_wait`).

        Raises `ServiceFailedError` with its last lines where it ends before it is ready, or is not
        ready in time. `readiness` is one of `{"type": "file", "path": ...}`, `tcp` with `address`,
        `http` with `url`, `command` with `command`, `log` with `pattern`, and `notify`.
        `published_ports` are published on the host for as long as it runs: `{"guest_port": ...}`,
        and `host_port` where that is to be a certain one.
        """
        calls.refuse(secret_env=secret_env)
        document = calls.service_request(
            service_name,
            command,
            cwd=cwd,
            env=env,
            user=user,
            readiness=readiness,
            ready_timeout_seconds=ready_timeout_seconds,
            ready_interval_ms=ready_interval_ms,
            on_ready_timeout=on_ready_timeout,
            restart=restart,
            restart_limit=restart_limit,
            stop_signal=stop_signal,
            stop_grace_seconds=stop_grace_seconds,
            health=health,
            depends_on=depends_on,
            log_limit_bytes=log_limit_bytes,
            published_ports=published_ports,
            replace=replace,
            no_wait=no_wait,
            no_start=no_start,
        )
        call = calls.start_service(self._name(workspace_id), document)
        more = calls.PATIENCE + (ready_timeout_seconds or 0)
        return calls.ready(self._transport.json(call, more=more))

    def list_services(self, workspace_id: str) -> payloads.ServiceList:
        """The services of a workspace, by name."""
        services: payloads.ServiceList = self._transport.json(
            calls.list_services(self._name(workspace_id))
        )
        return services

    def status_service(self, workspace_id: str, service_name: str) -> payloads.Service:
        """One service."""
        found: payloads.Service = self._transport.json(
            calls.status_service(self._name(workspace_id), service_name)
        )
        return found

    def stop_service(
        self,
        workspace_id: str,
        service_name: str,
        *,
        signal: str | int | None = None,
        grace_seconds: float | None = None,
    ) -> payloads.Service:
        """Stops a service, and answers when its last process is gone.

        Signal and grace period are its own unless they are given. One that does not run is
        answered as it is.
        """
        call = calls.stop_service(self._name(workspace_id), service_name, signal, grace_seconds)
        more = calls.PATIENCE if grace_seconds is None else grace_seconds
        stopped: payloads.Service = self._transport.json(call, more=more)
        return stopped

    def restart_service(
        self, workspace_id: str, service_name: str, *, no_wait: bool = False, no_start: bool = False
    ) -> payloads.StartedService:
        """Begins a new run of a service and waits until that is ready, as `start_service` does."""
        call = calls.restart_service(self._name(workspace_id), service_name, no_wait, no_start)
        return calls.ready(self._transport.json(call, more=calls.PATIENCE))

    def wait_service(
        self,
        workspace_id: str,
        service_name: str,
        *,
        ended: bool = False,
        timeout_seconds: float | None = None,
    ) -> payloads.StartedService:
        """Waits until a service is ready; raises `ServiceFailedError` where it is not in time.

        With `ended`, waits until it does not run any more, and answers it as it stands when the
        time is over.
        """
        from time import monotonic

        workspace = self._name(workspace_id)
        deadline = None if timeout_seconds is None else monotonic() + timeout_seconds
        while True:
            asked = monotonic()
            left = calls.WAIT
            if deadline is not None:
                left = min(max(deadline - asked, 0.001), left)
            call = calls.wait_service(workspace, service_name, ended, left)
            found: payloads.StartedService = self._transport.json(call, more=left)
            now = monotonic()
            # An answer within the time that was asked for is the node's last word.
            over = now - asked < left or (deadline is not None and now >= deadline)
            if found["failure"] is None or over:
                return calls.waited(found, ended)

    def wait_services(
        self, workspace_id: str, *, ended: bool = False, timeout_seconds: float | None = None
    ) -> WaitedServices:
        """Waits for every service that is active, as `wait_service` does for one."""
        from time import monotonic

        deadline = None if timeout_seconds is None else monotonic() + timeout_seconds
        listed = self.list_services(workspace_id)
        services = []
        for one in listed["services"]:
            if calls.is_active(one):
                left = None if deadline is None else max(deadline - monotonic(), 0)
                services.append(
                    self.wait_service(
                        workspace_id, one["service_name"], ended=ended, timeout_seconds=left
                    )
                )
        return {"count": len(services), "services": services}

    def up_services(
        self,
        workspace_id: str,
        *,
        file: StrPath | None = None,
        path: str | None = None,
        services: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        remove_orphans: bool = False,
        no_wait: bool = False,
        timeout_seconds: float | None = None,
        no_start: bool = False,
    ) -> payloads.UpResult:
        """Makes the services of a workspace what a file declares, and waits until they are ready.

        `file` is a `pyro.toml` or compose file here: what it names is taken from `env`, else from
        the environment here, and its `.env` and `env_file`s are read beside it. Otherwise the file
        is in the workspace: at `path`, or the first of the usual names in `/workspace`; it sees
        `env` alone. Services that run as they should are left alone, those that changed are
        restarted. Raises `ServicesFailedError` where one does not become ready.
        """
        name = self._name(workspace_id)
        variables = dict(env or {})
        document = None
        if file is not None:
            given = Given(file, variables)
            needs = self._manifest_needs(given)
            if given.look_up(needs["variables"]):
                # Paths may have some.
                needs = self._manifest_needs(given)
            document = given.document([dict(named) for named in needs["env_files"]])
            variables = given.variables
        call = calls.up_services(
            name,
            file=document,
            path=path,
            variables=variables,
            services=services,
            remove_orphans=remove_orphans,
            no_wait=no_wait,
            timeout_seconds=timeout_seconds,
            no_start=no_start,
        )
        more = calls.PATIENCE if timeout_seconds is None else timeout_seconds
        return calls.all_up(self._transport.json(call, more=more))

    def _manifest_needs(self, given: Given) -> payloads.ManifestNeeds:
        call = calls.manifest_needs(given.name, given.text, given.dot_env, given.variables)
        needs: payloads.ManifestNeeds = self._transport.json(call)
        return needs

    def down_services(
        self, workspace_id: str, *, services: Sequence[str] = (), file: str | None = None
    ) -> payloads.DownResult:
        """Stops the services that came from files, those that others need last.

        Only those of these names, and only those that came from a file of this name (or at this
        path in the workspace), where they are given.
        """
        call = calls.down_services(self._name(workspace_id), services, file)
        stopped: payloads.DownResult = self._transport.json(call, more=calls.PATIENCE)
        return stopped

    def signal_service(
        self,
        workspace_id: str,
        service_name: str,
        *,
        signal: str | int,
        whole_tree: bool = False,
    ) -> payloads.Service:
        """Sends a signal to a service's process group, or to every process of it."""
        call = calls.signal_service(self._name(workspace_id), service_name, signal, whole_tree)
        found: payloads.Service = self._transport.json(call)
        return found

    def delete_service(self, workspace_id: str, service_name: str) -> payloads.DeletedService:
        """Stops a service and drops its record and log."""
        call = calls.delete_service(self._name(workspace_id), service_name)
        deleted: payloads.DeletedService = self._transport.json(call, more=calls.PATIENCE)
        return deleted

    def logs_service(
        self,
        workspace_id: str,
        service_name: str,
        *,
        tail_lines: int | None = 200,
        all: bool = False,  # noqa: A002 (the name of 3.x)
        since: float | None = None,
        stream: Literal["stdout", "stderr", "combined"] = "combined",
    ) -> payloads.ServiceLogs:
        """A service with the last lines of each stream of its output, or all that is kept.

        `since` (Unix seconds) leaves out what came before.
        """
        call = calls.logs_service(
            self._name(workspace_id),
            service_name,
            tail_lines=tail_lines,
            everything=all,
            since=since,
            stream=stream,
        )
        logs: payloads.ServiceLogs = self._transport.json(call)
        return logs

    def stream_service_logs(
        self,
        workspace_id: str,
        service_name: str,
        *,
        tail_lines: int | None = 200,
        all: bool = False,  # noqa: A002 (as `logs_service` has it)
        since: float | None = None,
        stream: Literal["stdout", "stderr", "combined"] = "combined",
        offset: int = 0,
        follow: bool = False,
    ) -> Iterator[payloads.ServiceLogEntry]:
        """A service's output in the order in which it came, piece by piece, with times.

        With `follow`, goes on with what comes until the workspace stops. `offset` is the position
        in both streams together to begin at: after a piece, its own plus its bytes.
        """
        call = calls.stream_service_logs(
            self._name(workspace_id),
            service_name,
            tail_lines=tail_lines,
            everything=all,
            since=since,
            stream=stream,
            offset=offset,
            follow=follow,
        )
        for entry in self._transport.lines(call, None if follow else self._transport.timeout):
            yield calls.log_entry(entry)

    def events_workspace(
        self, workspace_id: str, *, after: int = 0, follow: bool = False
    ) -> Iterator[payloads.WorkspaceEvent]:
        """State changes of a workspace's services, oldest first; with `follow`, and what comes.

        `after` is the `cursor` of the last one that was heard.
        """
        call = calls.events_workspace(self._name(workspace_id), after, follow)
        for event in self._transport.lines(call, None if follow else self._transport.timeout):
            yield calls.event(event)

    # --- the network ----------------------------------------------------------------------------

    def network_workspace(self, workspace_id: str) -> payloads.NetworkStatus:
        """What a workspace may reach, and what it does."""
        call = calls.network_workspace(self._name(workspace_id))
        status: payloads.NetworkStatus = self._transport.json(call)
        return status

    def set_network_workspace(
        self,
        workspace_id: str,
        *,
        network_policy: str | None = None,
        network_allow: Sequence[str] = (),
        add: bool = False,
    ) -> payloads.NetworkStatus:
        """Changes what a workspace may reach, at once: what is open and no longer fits is ended.

        With `add`, the rules that there are stay, and the policy where none is given.
        """
        name = self._name(workspace_id)
        call = calls.set_network_workspace(name, network_policy, network_allow, add)
        status: payloads.NetworkStatus = self._transport.json(call)
        return status

    def network_log_workspace(
        self, workspace_id: str, *, after: int = 0, follow: bool = False
    ) -> Iterator[payloads.NetworkLogEntry]:
        """What a workspace wanted to reach, oldest first; with `follow`, and what comes.

        `after` is the `seq` of the last one that was heard.
        """
        call = calls.network_log_workspace(self._name(workspace_id), after, follow)
        for entry in self._transport.lines(call, None if follow else self._transport.timeout):
            yield calls.network_entry(entry)

    # --- the node -------------------------------------------------------------------------------

    def node_status(self) -> payloads.NodeStatus:
        """The node as it stands."""
        status: payloads.NodeStatus = self._transport.json(calls.node_status())
        return status

    def stop_node(self) -> payloads.NodeStopped:
        """Ends the node; workspaces go on running without it."""
        stopped: payloads.NodeStopped = self._transport.json(calls.stop_node())
        return stopped

    def disk_usage(self) -> payloads.DiskUsage:
        """What the host's disk is used for."""
        usage: payloads.DiskUsage = self._transport.json(calls.disk_usage())
        return usage

    def create_server(self, *, profile: str = "workspace-full") -> Server:
        """An object whose `run()` serves this profile of MCP tools over stdio."""
        from .server import Server

        return Server(self._transport.location, profile)
