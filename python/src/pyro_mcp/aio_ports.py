"""The ports of a workspace, for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .aio_client import AsyncPyro
from .results import PortInfo, PublishedPort

if TYPE_CHECKING:
    from ._calls import PortLike

__all__ = ["AsyncPorts"]


class AsyncPorts:
    """The ports of a workspace: `ws.ports`."""

    def __init__(self, pyro: AsyncPyro, workspace_id: str) -> None:
        self._pyro = pyro
        self._workspace_id = workspace_id

    async def publish(self, *ports: PortLike, bind: str | None = None) -> tuple[PublishedPort, ...]:
        """Publishes ports on the host until they are unpublished; all of them or none.

        A port is its number, or `(host_port, guest_port)`, where a host port of 0 means any that is
        free. `bind` is another address of the host than localhost.
        """
        published = await self._pyro.publish_ports(self._workspace_id, ports, bind=bind)
        return tuple(PublishedPort.of(port) for port in published["published_ports"])

    async def list(self) -> tuple[PortInfo, ...]:
        """The ports that somebody listens on, or that are published."""
        listed = await self._pyro.list_ports(self._workspace_id)
        return tuple(PortInfo.of(port) for port in listed["ports"])

    async def unpublish(self, *ports: int) -> tuple[PublishedPort, ...]:
        """Takes published ports back, by the host's number, else by the workspace's."""
        gone = await self._pyro.unpublish_ports(self._workspace_id, ports)
        return tuple(PublishedPort.of(port) for port in gone["unpublished_ports"])
