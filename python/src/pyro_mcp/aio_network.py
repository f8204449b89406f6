"""What a workspace may reach, for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .aio_client import AsyncPyro
from .results import NetworkInfo, NetworkLogEntry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

__all__ = ["AsyncNetwork"]


class AsyncNetwork:
    """What a workspace may reach: `ws.network`."""

    def __init__(self, pyro: AsyncPyro, workspace_id: str) -> None:
        self._pyro = pyro
        self._workspace_id = workspace_id

    async def show(self) -> NetworkInfo:
        """What it may reach, and what it does."""
        return NetworkInfo.of(await self._pyro.network_workspace(self._workspace_id))

    async def set(
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
        changed = await self._pyro.set_network_workspace(
            self._workspace_id, network_policy=policy, network_allow=rules, add=add
        )
        return NetworkInfo.of(changed)

    async def log(self, *, after: int = 0, follow: bool = False) -> AsyncIterator[NetworkLogEntry]:
        """What it wanted to reach, oldest first; with `follow`, and what comes.

        `after` is the `seq` of the last one that was heard.
        """
        async for entry in self._pyro.network_log_workspace(
            self._workspace_id, after=after, follow=follow
        ):
            yield NetworkLogEntry.of(entry)
