"""What a workspace may reach.

Written by `python/tools/generate_blocking.py` from `aio_network.py`: do not edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .client import Pyro
from .results import NetworkInfo, NetworkLogEntry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Network"]


class Network:
    """What a workspace may reach: `ws.network`."""

    def __init__(self, pyro: Pyro, workspace_id: str) -> None:
        self._pyro = pyro
        self._workspace_id = workspace_id

    def show(self) -> NetworkInfo:
        """What it may reach, and what it does."""
        return NetworkInfo.of(self._pyro.network_workspace(self._workspace_id))

    def set(
        self,
        policy: str | None = None,
        *,
        allow: str | Sequence[str] | None = None,
        add: bool = False,
    ) -> NetworkInfo:
        """Changes what it may reach, at once: what is open and no longer fits is ended.

        With `add`, the rules that there are stay, and the policy where none is given; otherwise
        both are replaced, the policy by `off` where none is given.
        """
        rules = [allow] if isinstance(allow, str) else allow or ()
        changed = self._pyro.set_network_workspace(
            self._workspace_id, network_policy=policy, network_allow=rules, add=add
        )
        return NetworkInfo.of(changed)

    def log(self, *, after: int = 0, follow: bool = False) -> Iterator[NetworkLogEntry]:
        """What it wanted to reach, oldest first; with `follow`, and what comes.

        `after` is the `seq` of the last one that was heard.
        """
        for entry in self._pyro.network_log_workspace(
            self._workspace_id, after=after, follow=follow
        ):
            yield NetworkLogEntry.of(entry)
