"""What the stories of MCP clients share."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import AsyncIterator
from typing import Any

from mcp import Client, StdioServerParameters

PYRO = os.environ["PYRO_E2E_PYRO"]
LIMIT = 24 * 1024
LONG_SECONDS = int(os.environ.get("PYRO_MCP_LONG_SECONDS", "50"))
MUCH_MEBIBYTES = int(os.environ.get("PYRO_MCP_MUCH_MEBIBYTES", "128"))
DEADLINE = 60.0
CORE_TOOLS = int(os.environ["PYRO_MCP_CORE_TOOLS"])
STORIES: dict[str, Any] = {}


def story(function: Any) -> Any:
    STORIES[function.__name__] = function
    return function


def server(*arguments: str, **environment: str) -> StdioServerParameters:
    return StdioServerParameters(
        command=PYRO,
        args=["mcp", "serve", *arguments],
        env={**os.environ, **environment},
    )


def text(result: Any) -> str:
    return str(result.content[0].text)


def size(result: Any) -> int:
    return len(result.model_dump_json(by_alias=True, exclude_none=True).encode())


def cli(*arguments: str) -> str:
    done = subprocess.run([PYRO, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.asynccontextmanager
async def workspace(client: Client, name: str) -> AsyncIterator[str]:
    made = await client.call_tool("workspace_create", {"name": name})
    assert not made.is_error, text(made)
    identity = made.structured_content["workspace_id"]
    try:
        yield identity
    finally:
        gone = await client.call_tool("workspace_delete", {"workspace_id": identity})
        assert not gone.is_error, text(gone)
