"""A workspace as an object.

Written by `python/tools/generate_blocking.py` from `aio_workspace.py`: do not edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from . import _calls as calls
from .client import Pyro
from .errors import NotFoundError
from .file_results import DiffInfo, PatchInfo, SnapshotInfo, TransferInfo
from .files import Files
from .network import Network
from .ports import Ports
from .results import CommandResult, ExecInfo, ExecOutput, ServiceEvent, WorkspaceInfo
from .service import Services

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from ._file_calls import FilePath
    from ._location import StrPath
    from .forward import Forward
    from .outcomes import PulledChanges
    from .process import Process

__all__ = ["Workspace"]

Command = calls.Command


class Workspace:
    """A workspace of the local node.

    `Workspace.create(...)` makes one; used with `with`, leaving deletes it.
    `Workspace.get(...)` finds one that is there, and never deletes it by itself.
    """

    def __init__(self, pyro: Pyro, info: WorkspaceInfo, *, delete_on_exit: bool = False) -> None:
        self._pyro = pyro
        self._info = info
        self._delete_on_exit = delete_on_exit

    @classmethod
    def create(
        cls,
        environment: str = "debian:12",
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        vcpu_count: int = 1,
        mem_mib: int = 1024,
        disk_mib: int | None = None,
        ttl_seconds: int | None = None,
        on_expiry: Literal["stop", "delete"] | None = None,
        backend: str | None = None,
        network_policy: str = "off",
        network_allow: Sequence[str] = (),
        seed_path: StrPath | None = None,
        seed_git: str | None = None,
        exclude: Sequence[str] = (),
        respect_ignore: bool = False,
        pyro: Pyro | None = None,
    ) -> Self:
        """Makes a workspace and starts it.

        `seed_path` is a directory or an archive of this host that it begins with, `seed_git` a
        repository of which it gets what is tracked.
        """
        client = pyro if pyro is not None else Pyro()
        made = client.create_workspace(
            environment=environment,
            name=name,
            labels=labels,
            vcpu_count=vcpu_count,
            mem_mib=mem_mib,
            disk_mib=disk_mib,
            ttl_seconds=ttl_seconds,
            on_expiry=on_expiry,
            backend=backend,
            network_policy=network_policy,
            network_allow=network_allow,
            seed_path=seed_path,
            seed_git=seed_git,
            exclude=exclude,
            respect_ignore=respect_ignore,
        )
        return cls(client, WorkspaceInfo.of(made), delete_on_exit=True)

    @classmethod
    def get(cls, workspace: str = "@", *, pyro: Pyro | None = None) -> Self:
        """Finds a workspace by its id, a unique prefix of it, its name, or `@`."""
        client = pyro if pyro is not None else Pyro()
        return cls(client, WorkspaceInfo.of(client.status_workspace(workspace)))

    @classmethod
    def list(cls, *, pyro: Pyro | None = None) -> tuple[Self, ...]:
        """All workspaces, the most recently used first."""
        client = pyro if pyro is not None else Pyro()
        found = []
        listed = client.list_workspaces()
        for one in listed["workspaces"]:
            try:
                found.append(cls.get(one["workspace_id"], pyro=client))
            except NotFoundError:
                # Deleted meanwhile.
                pass
        return tuple(found)

    def __repr__(self) -> str:
        name = f" {self._info.name!r}" if self._info.name else ""
        return f"<{type(self).__name__} {self.id}{name} of {self._info.environment}>"

    @property
    def id(self) -> str:
        """Identifies it."""
        return self._info.workspace_id

    @property
    def name(self) -> str | None:
        """Its name, when it was last looked at."""
        return self._info.name

    @property
    def info(self) -> WorkspaceInfo:
        """The workspace as it was when it was last looked at."""
        return self._info

    @property
    def pyro(self) -> Pyro:
        """The client it is reached by."""
        return self._pyro

    @property
    def services(self) -> Services:
        """Its services."""
        return Services(self._pyro, self.id)

    @property
    def ports(self) -> Ports:
        """Its ports."""
        return Ports(self._pyro, self.id)

    @property
    def network(self) -> Network:
        """What it may reach."""
        return Network(self._pyro, self.id)

    @property
    def files(self) -> Files:
        """Its files."""
        return Files(self._pyro, self.id)

    def refresh(self) -> WorkspaceInfo:
        """Looks at it again."""
        return self._seen(self._pyro.status_workspace(self.id))

    def _seen(self, payload: Mapping[str, Any]) -> WorkspaceInfo:
        self._info = WorkspaceInfo.of(payload)
        return self._info

    def run(
        self,
        command: Command,
        *,
        check: bool = False,
        timeout: float | None = None,
        cwd: StrPath | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        input: bytes | str | None = None,  # noqa: A002 (as subprocess.run has it)
    ) -> CommandResult:
        """Runs a command to its end and gathers its output, up to 64 MiB of each stream.

        A text runs by the guest's shell, a list directly. A `timeout` (seconds) ends the command
        with all its processes; the result then says `timed_out` and has the output so far. With
        `check`, a command that does not end with 0 raises `CommandFailedError`.
        """
        document = calls.exec_request(
            command,
            cwd=cwd,
            env=env,
            user=user,
            timeout_seconds=timeout,
            stdin=input is not None,
        )
        session = self._pyro._transport.gather(
            calls.start_exec(self.id, document),
            limit=calls.limit(timeout),
            data=input.encode() if isinstance(input, str) else input,
        )
        record, stdout, stderr = session.result()
        result = CommandResult.of(
            record, raw_stdout=stdout, raw_stderr=stderr, notices=tuple(record["notices"])
        )
        return result.check() if check else result

    def exec(
        self,
        command: Command,
        *,
        timeout: float | None = None,
        cwd: StrPath | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        stdin: bool = False,
        terminal: tuple[int, int] | None = None,
    ) -> Process:
        """Runs a command and gives its streams while it runs."""
        return self._pyro.open_exec(
            self.id,
            command=command,
            timeout_seconds=timeout,
            cwd=cwd,
            env=env,
            user=user,
            stdin=stdin,
            terminal=terminal,
        )

    def start_exec(
        self,
        command: Command,
        *,
        timeout: float | None = None,
        cwd: StrPath | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> ExecInfo:
        """Starts a command that nobody needs to wait for; `attach` and `wait` find it."""
        return ExecInfo.of(
            self._pyro.start_exec(
                self.id, command=command, timeout_seconds=timeout, cwd=cwd, env=env, user=user
            )
        )

    def attach(self, exec_id: str, *, offset: int = 0, stdin: bool = False) -> Process:
        """The streams of a command from this byte of its output on, as often as wanted."""
        return self._pyro.attach_exec(self.id, exec_id, offset=offset, stdin=stdin)

    def wait(self, exec_id: str, *, timeout: float | None = None) -> ExecInfo:
        """A command once it has ended, or as it stands when the time is over."""
        return ExecInfo.of(self._pyro.wait_exec(self.id, exec_id, timeout_seconds=timeout))

    def kill(self, exec_id: str, signal: str | int | None = None) -> ExecInfo:
        """Sends a signal; without one: TERM to all its processes, grace period, KILL."""
        return ExecInfo.of(self._pyro.signal_exec(self.id, exec_id, signal=signal))

    def output(
        self,
        exec_id: str,
        *,
        offset: int = 0,
        length: int | None = None,
        stream: Literal["stdout", "stderr", "combined"] = "combined",
    ) -> ExecOutput:
        """Kept output of a command by range of its combined output."""
        return self._pyro.read_exec_output(
            self.id, exec_id, offset=offset, length=length, stream=stream
        )

    def execs(self) -> tuple[ExecInfo, ...]:
        """Every command that is remembered, the newest last."""
        listed = self._pyro.list_execs(self.id)
        return tuple(ExecInfo.of(one) for one in listed["execs"])

    def events(self, *, after: int = 0, follow: bool = False) -> Iterator[ServiceEvent]:
        """State changes of its services, oldest first; with `follow`, and what comes.

        `after` is the `cursor` of the last one that was heard.
        """
        for event in self._pyro.events_workspace(self.id, after=after, follow=follow):
            yield ServiceEvent.of(event)

    def forward(self, *ports: calls.PortLike, bind: str | None = None) -> Forward:
        """Forwards ports of this host to ports of it, all of them or none, while they are held.

        A port is its number, which is the host's too unless that is taken, or
        `(host_port, guest_port)`, where a host port of 0 means any that is free. `bind` is another
        address of this host than localhost; whoever reaches it reaches the port.
        """
        from .forward import Forward

        return Forward._open(self._pyro, self.id, ports, bind)

    def push(
        self,
        source_path: StrPath,
        dest: FilePath = "/workspace",
        *,
        delete: bool = False,
        exclude: Sequence[str] = (),
    ) -> TransferInfo:
        """Brings a directory or an archive (.tar, .tar.gz, .tgz) of this host into a directory.

        With `delete`, what did not come is removed there; `exclude` leaves out names.
        """
        pushed = self._pyro.push_workspace_sync(
            self.id, source_path, dest=dest, delete=delete, exclude=exclude
        )
        return TransferInfo.of(pushed["workspace_sync"], notices=tuple(pushed["notices"]))

    def export(
        self, path: FilePath, output_path: StrPath, *, changed: bool = False
    ) -> TransferInfo:
        """Takes a file or a directory out to a path of this host, whole or not at all.

        Nothing may be there. With `changed`, only what is different from what it began with.
        """
        exported = self._pyro.export_workspace(
            self.id, path, output_path=output_path, changed=changed
        )
        return TransferInfo.of(exported, notices=tuple(exported["notices"]))

    def pull(
        self,
        to: StrPath,
        *,
        paths: Sequence[str] = (),
        check: bool = False,
        skip_conflicts: bool = False,
        force: bool = False,
    ) -> PulledChanges:
        """Takes home what was changed, onto the directory of this host that it began with.

        Where both sides changed a file it is a conflict, and nothing is changed, unless
        `skip_conflicts` takes the rest or `force` all. With `check`, only says what would be.
        """
        return self._pyro.pull_workspace_sync(
            self.id, to=to, paths=paths, check=check, skip_conflicts=skip_conflicts, force=force
        )

    def diff(
        self,
        *,
        paths: Sequence[str] = (),
        renames: bool = False,
        since: str | None = None,
        until: str | None = None,
    ) -> DiffInfo:
        """What is different in `/workspace` from what it began with, of these paths or of all.

        `since` and `until` are `baseline`, `now` or a snapshot's name.
        """
        result = self._pyro.diff_workspace(
            self.id, paths=paths, renames=renames, since=since, until=until
        )
        return DiffInfo.of(result)

    def apply_patch(
        self, patch: str | bytes, *, base: str | None = None, check: bool = False
    ) -> PatchInfo:
        """Changes files as a patch says, all or nothing; with `check`, only says what would be."""
        return PatchInfo.of(
            self._pyro.apply_workspace_patch(self.id, patch=patch, base=base, check=check)
        )

    def snapshot(self, name: str) -> SnapshotInfo:
        """Keeps the whole disk as it is now under a name, while everything goes on running."""
        created = self._pyro.create_snapshot(self.id, name)
        return SnapshotInfo.of(created["snapshot"])

    def snapshots(self) -> tuple[SnapshotInfo, ...]:
        """Its snapshots: the baseline first, then the newest first."""
        listed = self._pyro.list_snapshots(self.id)
        return tuple(SnapshotInfo.of(one) for one in listed["snapshots"])

    def delete_snapshot(self, name: str) -> None:
        """Deletes a snapshot."""
        self._pyro.delete_snapshot(self.id, name)

    def reset(self, *, snapshot: str = "baseline", resume: bool = True) -> WorkspaceInfo:
        """Gives it the disk of a snapshot, or the one it began with, and starts it.

        Snapshots survive, commands do not. Services that ran run again; without `resume`, they are
        forgotten as the others are.
        """
        return self._seen(
            self._pyro.reset_workspace(self.id, snapshot=snapshot, no_resume=not resume)
        )

    def update(
        self,
        *,
        name: str | None = None,
        clear_name: bool = False,
        labels: Mapping[str, str] | None = None,
        clear_labels: tuple[str, ...] = (),
    ) -> WorkspaceInfo:
        """Changes its name and labels."""
        return self._seen(
            self._pyro.update_workspace(
                self.id,
                name=name,
                clear_name=clear_name,
                labels=labels,
                clear_labels=clear_labels,
            )
        )

    def stop(self, *, grace: float | None = None) -> WorkspaceInfo:
        """Stops it: its commands are ended, its disk is synced, its VM ended."""
        return self._seen(self._pyro.stop_workspace(self.id, grace_seconds=grace))

    def start(self, *, resume: bool = True) -> WorkspaceInfo:
        """Starts it with the disk it had; without `resume`, its services stay stopped."""
        return self._seen(self._pyro.start_workspace(self.id, no_resume=not resume))

    def delete(self) -> None:
        """Deletes it with its disk and records."""
        self._pyro.delete_workspace(self.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._delete_on_exit:
            try:
                self.delete()
            except NotFoundError:
                # Somebody deleted it before.
                pass
