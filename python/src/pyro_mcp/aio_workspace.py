"""A workspace as an object, for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from . import _calls as calls
from ._aio_creation import creates
from .aio_client import AsyncPyro
from .aio_files import AsyncFiles
from .aio_network import AsyncNetwork
from .aio_ports import AsyncPorts
from .aio_service import AsyncServices
from .errors import NotFoundError
from .file_results import DiffInfo, PatchInfo, SnapshotInfo, TransferInfo
from .results import CommandResult, ExecInfo, ExecOutput, ServiceEvent, WorkspaceInfo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from ._file_calls import FilePath
    from ._location import StrPath
    from .aio_forward import AsyncForward
    from .aio_process import AsyncProcess
    from .outcomes import PulledChanges

__all__ = ["AsyncWorkspace"]

Command = calls.Command


class AsyncWorkspace:
    """A workspace of the local node.

    `AsyncWorkspace.create(...)` makes one; used with `async with`, leaving deletes it.
    `AsyncWorkspace.get(...)` finds one that is there, and never deletes it by itself.
    """

    def __init__(
        self, pyro: AsyncPyro, info: WorkspaceInfo, *, delete_on_exit: bool = False
    ) -> None:
        self._pyro = pyro
        self._info = info
        self._delete_on_exit = delete_on_exit

    @classmethod
    @creates
    async def create(
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
        pyro: AsyncPyro | None = None,
    ) -> Self:
        """Makes a workspace and starts it.

        `seed_path` is a directory or an archive of this host that it begins with, `seed_git` a
        repository of which it gets what is tracked.
        """
        client = pyro if pyro is not None else AsyncPyro()
        made = await client.create_workspace(
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
    async def get(cls, workspace: str = "@", *, pyro: AsyncPyro | None = None) -> Self:
        """Finds a workspace by its id, a unique prefix of it, its name, or `@`."""
        client = pyro if pyro is not None else AsyncPyro()
        return cls(client, WorkspaceInfo.of(await client.status_workspace(workspace)))

    @classmethod
    async def list(cls, *, pyro: AsyncPyro | None = None) -> tuple[Self, ...]:
        """All workspaces, the most recently used first."""
        client = pyro if pyro is not None else AsyncPyro()
        found = []
        listed = await client.list_workspaces()
        for one in listed["workspaces"]:
            try:
                found.append(await cls.get(one["workspace_id"], pyro=client))
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
    def pyro(self) -> AsyncPyro:
        """The client it is reached by."""
        return self._pyro

    @property
    def services(self) -> AsyncServices:
        """Its services."""
        return AsyncServices(self._pyro, self.id)

    @property
    def ports(self) -> AsyncPorts:
        """Its ports."""
        return AsyncPorts(self._pyro, self.id)

    @property
    def network(self) -> AsyncNetwork:
        """What it may reach."""
        return AsyncNetwork(self._pyro, self.id)

    @property
    def files(self) -> AsyncFiles:
        """Its files."""
        return AsyncFiles(self._pyro, self.id)

    async def refresh(self) -> WorkspaceInfo:
        """Looks at it again."""
        return self._seen(await self._pyro.status_workspace(self.id))

    def _seen(self, payload: Mapping[str, Any]) -> WorkspaceInfo:
        self._info = WorkspaceInfo.of(payload)
        return self._info

    async def run(
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
        session = await self._pyro._transport.gather(
            calls.start_exec(self.id, document),
            limit=calls.limit(timeout),
            data=input.encode() if isinstance(input, str) else input,
        )
        record, stdout, stderr = session.result()
        result = CommandResult.of(
            record, raw_stdout=stdout, raw_stderr=stderr, notices=tuple(record["notices"])
        )
        return result.check() if check else result

    async def exec(
        self,
        command: Command,
        *,
        timeout: float | None = None,
        cwd: StrPath | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        stdin: bool = False,
        terminal: tuple[int, int] | None = None,
    ) -> AsyncProcess:
        """Runs a command and gives its streams while it runs."""
        return await self._pyro.open_exec(
            self.id,
            command=command,
            timeout_seconds=timeout,
            cwd=cwd,
            env=env,
            user=user,
            stdin=stdin,
            terminal=terminal,
        )

    async def start_exec(
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
            await self._pyro.start_exec(
                self.id, command=command, timeout_seconds=timeout, cwd=cwd, env=env, user=user
            )
        )

    async def attach(self, exec_id: str, *, offset: int = 0, stdin: bool = False) -> AsyncProcess:
        """The streams of a command from this byte of its output on, as often as wanted."""
        return await self._pyro.attach_exec(self.id, exec_id, offset=offset, stdin=stdin)

    async def wait(self, exec_id: str, *, timeout: float | None = None) -> ExecInfo:
        """A command once it has ended, or as it stands when the time is over."""
        return ExecInfo.of(await self._pyro.wait_exec(self.id, exec_id, timeout_seconds=timeout))

    async def kill(self, exec_id: str, signal: str | int | None = None) -> ExecInfo:
        """Sends a signal; without one: TERM to all its processes, grace period, KILL."""
        return ExecInfo.of(await self._pyro.signal_exec(self.id, exec_id, signal=signal))

    async def output(
        self,
        exec_id: str,
        *,
        offset: int = 0,
        length: int | None = None,
        stream: Literal["stdout", "stderr", "combined"] = "combined",
    ) -> ExecOutput:
        """Kept output of a command by range of its combined output."""
        return await self._pyro.read_exec_output(
            self.id, exec_id, offset=offset, length=length, stream=stream
        )

    async def execs(self) -> tuple[ExecInfo, ...]:
        """Every command that is remembered, the newest last."""
        listed = await self._pyro.list_execs(self.id)
        return tuple(ExecInfo.of(one) for one in listed["execs"])

    async def events(self, *, after: int = 0, follow: bool = False) -> AsyncIterator[ServiceEvent]:
        """State changes of its services, oldest first; with `follow`, and what comes.

        `after` is the `cursor` of the last one that was heard.
        """
        async for event in self._pyro.events_workspace(self.id, after=after, follow=follow):
            yield ServiceEvent.of(event)

    @creates
    async def forward(self, *ports: calls.PortLike, bind: str | None = None) -> AsyncForward:
        """Forwards ports of this host to ports of it, all of them or none, while they are held.

        A port is its number, which is the host's too unless that is taken, or
        `(host_port, guest_port)`, where a host port of 0 means any that is free. `bind` is another
        address of this host than localhost; whoever reaches it reaches the port.
        """
        from .aio_forward import AsyncForward

        return await AsyncForward._open(self._pyro, self.id, ports, bind)

    async def push(
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
        pushed = await self._pyro.push_workspace_sync(
            self.id, source_path, dest=dest, delete=delete, exclude=exclude
        )
        return TransferInfo.of(pushed["workspace_sync"], notices=tuple(pushed["notices"]))

    async def export(
        self, path: FilePath, output_path: StrPath, *, changed: bool = False
    ) -> TransferInfo:
        """Takes a file or a directory out to a path of this host, whole or not at all.

        Nothing may be there. With `changed`, only what is different from what it began with.
        """
        exported = await self._pyro.export_workspace(
            self.id, path, output_path=output_path, changed=changed
        )
        return TransferInfo.of(exported, notices=tuple(exported["notices"]))

    async def pull(
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
        return await self._pyro.pull_workspace_sync(
            self.id, to=to, paths=paths, check=check, skip_conflicts=skip_conflicts, force=force
        )

    async def diff(
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
        result = await self._pyro.diff_workspace(
            self.id, paths=paths, renames=renames, since=since, until=until
        )
        return DiffInfo.of(result)

    async def apply_patch(
        self, patch: str | bytes, *, base: str | None = None, check: bool = False
    ) -> PatchInfo:
        """Changes files as a patch says, all or nothing; with `check`, only says what would be."""
        return PatchInfo.of(
            await self._pyro.apply_workspace_patch(self.id, patch=patch, base=base, check=check)
        )

    async def snapshot(self, name: str) -> SnapshotInfo:
        """Keeps the whole disk as it is now under a name, while everything goes on running."""
        created = await self._pyro.create_snapshot(self.id, name)
        return SnapshotInfo.of(created["snapshot"])

    async def snapshots(self) -> tuple[SnapshotInfo, ...]:
        """Its snapshots: the baseline first, then the newest first."""
        listed = await self._pyro.list_snapshots(self.id)
        return tuple(SnapshotInfo.of(one) for one in listed["snapshots"])

    async def delete_snapshot(self, name: str) -> None:
        """Deletes a snapshot."""
        await self._pyro.delete_snapshot(self.id, name)

    async def reset(self, *, snapshot: str = "baseline", resume: bool = True) -> WorkspaceInfo:
        """Gives it the disk of a snapshot, or the one it began with, and starts it.

        Snapshots survive, commands do not. Services that ran run again; without `resume`, they are
        forgotten as the others are.
        """
        return self._seen(
            await self._pyro.reset_workspace(self.id, snapshot=snapshot, no_resume=not resume)
        )

    async def update(
        self,
        *,
        name: str | None = None,
        clear_name: bool = False,
        labels: Mapping[str, str] | None = None,
        clear_labels: tuple[str, ...] = (),
    ) -> WorkspaceInfo:
        """Changes its name and labels."""
        return self._seen(
            await self._pyro.update_workspace(
                self.id,
                name=name,
                clear_name=clear_name,
                labels=labels,
                clear_labels=clear_labels,
            )
        )

    async def stop(self, *, grace: float | None = None) -> WorkspaceInfo:
        """Stops it: its commands are ended, its disk is synced, its VM ended."""
        return self._seen(await self._pyro.stop_workspace(self.id, grace_seconds=grace))

    async def start(self, *, resume: bool = True) -> WorkspaceInfo:
        """Starts it with the disk it had; without `resume`, its services stay stopped."""
        return self._seen(await self._pyro.start_workspace(self.id, no_resume=not resume))

    async def delete(self) -> None:
        """Deletes it with its disk and records."""
        await self._pyro.delete_workspace(self.id)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._delete_on_exit:
            try:
                await self.delete()
            except NotFoundError:
                # Somebody deleted it before.
                pass
