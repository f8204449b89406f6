"""The services of a workspace as objects, for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from . import _calls as calls
from ._log import LogLines
from .aio_client import AsyncPyro
from .probes import HealthCheck, Probe
from .results import LogLine, ServiceInfo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from ._location import StrPath
    from .payloads import DownResult, UpResult

__all__ = ["AsyncService", "AsyncServices"]

Command = calls.Command


class AsyncService:
    """A service of a workspace: `ws.services["web"]`, or what `ws.services.start` gives."""

    def __init__(
        self, pyro: AsyncPyro, workspace_id: str, name: str, info: ServiceInfo | None = None
    ) -> None:
        self._pyro = pyro
        self._workspace_id = workspace_id
        self._name = name
        self._info = info

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name!r} of {self._workspace_id}>"

    @property
    def name(self) -> str:
        """Its name within its workspace."""
        return self._name

    @property
    def workspace_id(self) -> str:
        """Where it is."""
        return self._workspace_id

    @property
    def info(self) -> ServiceInfo | None:
        """The service as it was when it was last looked at; `None` before that."""
        return self._info

    def _seen(self, payload: Mapping[str, Any]) -> ServiceInfo:
        self._info = ServiceInfo.of(payload)
        return self._info

    async def status(self) -> ServiceInfo:
        """Looks at it."""
        return self._seen(await self._pyro.status_service(self._workspace_id, self._name))

    async def wait(self, *, ended: bool = False, timeout: float | None = None) -> ServiceInfo:
        """Waits until it is ready; raises `ServiceFailedError` where it is not in time.

        With `ended`, waits until it does not run any more, and answers it as it stands when the
        time is over.
        """
        return self._seen(
            await self._pyro.wait_service(
                self._workspace_id, self._name, ended=ended, timeout_seconds=timeout
            )
        )

    async def stop(
        self, *, signal: str | int | None = None, grace: float | None = None
    ) -> ServiceInfo:
        """Stops it: its signal, its grace period, KILL; answers when its last process is gone."""
        return self._seen(
            await self._pyro.stop_service(
                self._workspace_id, self._name, signal=signal, grace_seconds=grace
            )
        )

    async def restart(self, *, wait: bool = True) -> ServiceInfo:
        """Begins a new run and waits until that is ready."""
        return self._seen(
            await self._pyro.restart_service(self._workspace_id, self._name, no_wait=not wait)
        )

    async def signal(self, signal: str | int, *, whole_tree: bool = False) -> ServiceInfo:
        """Sends a signal to its process group, or to every process of it."""
        return self._seen(
            await self._pyro.signal_service(
                self._workspace_id, self._name, signal=signal, whole_tree=whole_tree
            )
        )

    async def delete(self) -> None:
        """Stops it and drops its record and log."""
        await self._pyro.delete_service(self._workspace_id, self._name)

    async def logs(
        self,
        *,
        tail_lines: int | None = 200,
        all: bool = False,  # noqa: A002 (as `Pyro.logs_service` has it)
        since: float | None = None,
        stream: Literal["stdout", "stderr", "combined"] = "combined",
        follow: bool = False,
    ) -> AsyncIterator[LogLine]:
        """Its output line by line: the last lines, or what came since a time (Unix seconds).

        With `follow`, goes on with what comes until the workspace stops. Lines of over 1 MiB come
        in pieces.
        """
        lines = LogLines()
        async for entry in self._pyro.stream_service_logs(
            self._workspace_id,
            self._name,
            tail_lines=tail_lines,
            all=all,
            since=since,
            stream=stream,
            follow=follow,
        ):
            for line in lines.feed(entry):
                yield line
        for line in lines.last():
            yield line


class AsyncServices:
    """The services of a workspace: `ws.services`."""

    def __init__(self, pyro: AsyncPyro, workspace_id: str) -> None:
        self._pyro = pyro
        self._workspace_id = workspace_id

    def __getitem__(self, name: str) -> AsyncService:
        """The service of this name, without asking whether there is one."""
        return AsyncService(self._pyro, self._workspace_id, name)

    # Python would take an object that only has `__getitem__` for a sequence.
    __iter__ = None

    async def start(
        self,
        name: str,
        command: Command,
        *,
        ready: Probe | Mapping[str, Any] | None = None,
        ready_timeout: float | None = None,
        ready_interval_ms: int | None = None,
        on_ready_timeout: Literal["stop", "keep"] = "stop",
        cwd: StrPath = "/workspace",
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        restart: Literal["no", "on-failure", "always", "unless-stopped"] = "no",
        restart_limit: int | None = None,
        stop_signal: str | int | None = None,
        stop_grace: float | None = None,
        health: HealthCheck | Mapping[str, Any] | None = None,
        depends_on: Mapping[str, str] | Sequence[str] | None = None,
        log_limit_bytes: int | None = None,
        publish: int | Sequence[calls.PortLike] = (),
        replace: bool = False,
        wait: bool = True,
    ) -> AsyncService:
        """Starts a service and waits until it is ready.

        A text runs by the guest's shell, a list directly. Raises `ServiceFailedError` with its last
        lines where it ends before it is ready, or is not ready within `ready_timeout` (30 s).
        Ports in `publish` are published on the host for as long as it runs: a number, or a list
        of numbers and of `(host_port, guest_port)`.
        """
        started = await self._pyro.start_service(
            self._workspace_id,
            name,
            command=command,
            cwd=cwd,
            readiness=ready.payload if isinstance(ready, Probe) else ready,
            ready_timeout_seconds=ready_timeout,
            ready_interval_ms=ready_interval_ms,
            env=env,
            user=user,
            on_ready_timeout=on_ready_timeout,
            restart=restart,
            restart_limit=restart_limit,
            stop_signal=stop_signal,
            stop_grace_seconds=stop_grace,
            health=health.payload if isinstance(health, HealthCheck) else health,
            depends_on=depends_on,
            log_limit_bytes=log_limit_bytes,
            published_ports=[publish] if isinstance(publish, int) else publish,
            replace=replace,
            no_wait=not wait,
        )
        return AsyncService(self._pyro, self._workspace_id, name, ServiceInfo.of(started))

    async def list(self) -> tuple[ServiceInfo, ...]:
        """All of them, by name."""
        listed = await self._pyro.list_services(self._workspace_id)
        return tuple(ServiceInfo.of(one) for one in listed["services"])

    async def wait(
        self, *, ended: bool = False, timeout: float | None = None
    ) -> tuple[ServiceInfo, ...]:
        """Waits until every active one is ready, or (`ended`) does not run any more."""
        waited = await self._pyro.wait_services(
            self._workspace_id, ended=ended, timeout_seconds=timeout
        )
        return tuple(ServiceInfo.of(one) for one in waited["services"])

    async def up(
        self,
        file: StrPath | None = None,
        *,
        path: str | None = None,
        services: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        remove_orphans: bool = False,
        wait: bool = True,
        timeout: float | None = None,
    ) -> UpResult:
        """Makes them what a file declares, and waits until they are ready.

        The file is here, or (`path`, or neither) in the workspace. Raises `ServicesFailedError`
        where one does not become ready.
        """
        return await self._pyro.up_services(
            self._workspace_id,
            file=file,
            path=path,
            services=services,
            env=env,
            remove_orphans=remove_orphans,
            no_wait=not wait,
            timeout_seconds=timeout,
        )

    async def down(self, services: Sequence[str] = (), *, file: str | None = None) -> DownResult:
        """Stops those that came from files, the ones that others need last."""
        return await self._pyro.down_services(self._workspace_id, services=services, file=file)
