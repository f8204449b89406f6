"""Ports of this host that lead to ports of a workspace while they are held, for asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ._forwarding import Forwarding
from ._listening import listen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

    from ._calls import PortLike
    from ._listening import Listening
    from .aio_client import AsyncPyro
    from .errors import PyroError
    from .results import ForwardedPort

__all__ = ["AsyncForward"]


class AsyncForward:
    """Ports of this host that lead to ports of a workspace; a context manager that closes them.

    They are there until `close`, or until the event loop ends.
    """

    def __init__(self, pyro: AsyncPyro, workspace_id: str, listening: Sequence[Listening]) -> None:
        self._ports = tuple(one.port for one in listening)
        self._forwarding = forwarding = Forwarding(pyro._transport, workspace_id, listening)
        self._running = asyncio.create_task(forwarding.run())
        # Also where it was cancelled before it began.
        self._running.add_done_callback(lambda _: forwarding.release())

    @classmethod
    async def _open(
        cls, pyro: AsyncPyro, workspace_id: str, ports: Sequence[PortLike], bind: str | None
    ) -> Self:
        # Every port is had before anything is asked for.
        listening = listen(ports, bind)
        try:
            await pyro.status_workspace(workspace_id)
        except BaseException:
            for one in listening:
                one.release()
            raise
        return cls(pyro, workspace_id, listening)

    def __repr__(self) -> str:
        shown = ", ".join(f"{one.host_port} to {one.guest_port}" for one in self._ports)
        return f"<{type(self).__name__} {shown}>"

    @property
    def ports(self) -> tuple[ForwardedPort, ...]:
        """The ports, in the order in which they were asked for."""
        return self._ports

    @property
    def failure(self) -> PyroError | None:
        """Why the last connection that came was reset, where nothing was reached inside."""
        return self._forwarding.failure

    async def close(self) -> None:
        """Gives the ports back and cuts their connections; to do it again does nothing."""
        self._running.cancel()
        await asyncio.wait([self._running])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.close()
