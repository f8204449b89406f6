"""The ports of a workspace.

Written by `python/tools/generate_blocking.py` from `aio_ports.py`: do not edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .client import Pyro
from .results import PortInfo, PublishedPort

if TYPE_CHECKING:
    from ._calls import PortLike

__all__ = ["Ports"]


class Ports:
    """The ports of a workspace: `ws.ports`."""

    def __init__(self, pyro: Pyro, workspace_id: str) -> None:
        self._pyro = pyro
        self._workspace_id = workspace_id

    def publish(self, *ports: PortLike, bind: str | None = None) -> tuple[PublishedPort, ...]:
        """Publishes ports on the host until they are unpublished; all of them or none.

        A port is its number, or `(host_port, guest_port)`, where a host port of 0 means any that is
        free. `bind` is another address of the host than localhost.
        """
        published = self._pyro.publish_ports(self._workspace_id, ports, bind=bind)
        return tuple(PublishedPort.of(port) for port in published["published_ports"])

    def list(self) -> tuple[PortInfo, ...]:
        """The ports that somebody listens on, or that are published."""
        listed = self._pyro.list_ports(self._workspace_id)
        return tuple(PortInfo.of(port) for port in listed["ports"])

    def unpublish(self, *ports: int) -> tuple[PublishedPort, ...]:
        """Takes published ports back, by the host's number, else by the workspace's."""
        gone = self._pyro.unpublish_ports(self._workspace_id, ports)
        return tuple(PublishedPort.of(port) for port in gone["unpublished_ports"])
