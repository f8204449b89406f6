"""The Python SDK's side of `pyro-bench --python`, which takes turns with it on one workspace.

    python turns.py WORKSPACE

For each line of stdin, `threads` or `asyncio`, it runs one command by that client and prints the
milliseconds it took.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from pyro_mcp import AsyncWorkspace, Workspace

COMMAND = ["/bin/true"]


def main(workspace: str) -> None:
    blocking = Workspace.get(workspace)
    loop = asyncio.new_event_loop()
    coroutines = loop.run_until_complete(AsyncWorkspace.get(workspace))

    async def one() -> float:
        begun = perf_counter()
        await coroutines.run(COMMAND, check=True)
        return perf_counter() - begun

    for line in sys.stdin:
        if line.strip() == "asyncio":
            seconds = loop.run_until_complete(one())
        else:
            begun = perf_counter()
            blocking.run(COMMAND, check=True)
            seconds = perf_counter() - begun
        print(seconds * 1000, flush=True)
    loop.close()


if __name__ == "__main__":
    main(sys.argv[1])
