"""The MCP server, which is the `pyro` binary's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .errors import InvalidError, NodeError

if TYPE_CHECKING:
    from ._location import Location

__all__ = ["PROFILES", "Server"]

PROFILES = ("vm-run", "workspace-core", "workspace-full")


class Server:
    """Serves MCP tools over this process's stdin and stdout."""

    def __init__(self, location: Location, profile: str) -> None:
        if profile not in PROFILES:
            raise InvalidError(
                f"{profile!r} is not a profile",
                code="invalid_profile",
                hints=[f"the profiles are: {', '.join(PROFILES)}"],
            )
        self._location = location
        self.profile = profile
        """Which tools there are."""

    @property
    def command(self) -> list[str]:
        """What is run."""
        return [self._location.find_program(), "mcp", "serve", "--profile", self.profile]

    def run(self) -> int:
        """Serves until the client goes; the server's exit code."""
        import subprocess

        environment = {
            **os.environ,
            "PYRO_HOME": self._location.state,
            "PYRO_CACHE_DIR": self._location.cache,
        }
        try:
            return subprocess.call(self.command, env=environment)
        except OSError as error:
            raise NodeError(
                f"cannot run {self.command[0]}: {error.strerror or error}",
                code="program_not_found",
            ) from error
