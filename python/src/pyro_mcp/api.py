"""The names of the package, for those who import them from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyro_mcp

if TYPE_CHECKING:
    from . import *  # noqa: F403

__all__ = pyro_mcp.__all__


def __getattr__(name: str) -> Any:
    return getattr(pyro_mcp, name)
