"""Ports of this host that lead to ports of a workspace while they are held, blocking.

A thread with an event loop of its own carries their connections.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

from ._aio_transport import AsyncTransport
from ._forwarding import Forwarding
from ._listening import listen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

    from ._calls import PortLike
    from ._listening import Listening
    from .client import Pyro
    from .errors import PyroError
    from .results import ForwardedPort

__all__ = ["Forward"]


class Forward:
    """Ports of this host that lead to ports of a workspace; a context manager that closes them.

    They are there until `close`, or until this object or this process ends.
    """

    def __init__(self, pyro: Pyro, workspace_id: str, listening: Sequence[Listening]) -> None:
        self._ports = tuple(one.port for one in listening)
        transport = AsyncTransport(pyro._transport.location, pyro._transport.timeout)
        self._forwarding = Forwarding(transport, workspace_id, listening)
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._running = self._loop.create_task(self._forwarding.run())
        # Nothing of it refers to this object, whose end ends it.
        self._thread = threading.Thread(
            target=_run, args=(self._loop, self._running), name="pyro-forward", daemon=True
        )
        self._thread.start()

    @classmethod
    def _open(
        cls, pyro: Pyro, workspace_id: str, ports: Sequence[PortLike], bind: str | None
    ) -> Self:
        # Every port is had before anything is asked for.
        listening = listen(ports, bind)
        try:
            pyro.status_workspace(workspace_id)
            return cls(pyro, workspace_id, listening)
        except BaseException:
            for one in listening:
                one.release()
            raise

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

    def close(self) -> None:
        """Gives the ports back and cuts their connections; to do it again does nothing."""
        # A forked child has neither.
        if self._pid == os.getpid():
            self._end()
            self._thread.join()

    def _end(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._running.cancel)
        except RuntimeError:
            # It has ended.
            pass

    def __del__(self) -> None:
        if getattr(self, "_thread", None) is not None and self._pid == os.getpid():
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


def _run(loop: asyncio.AbstractEventLoop, running: asyncio.Task[None]) -> None:
    try:
        loop.run_until_complete(running)
    except asyncio.CancelledError:
        pass
    finally:
        loop.close()
