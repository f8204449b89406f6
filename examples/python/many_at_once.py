"""The same with asyncio: two machines, and commands in both at once."""

import asyncio

from pyro_mcp import AsyncWorkspace


async def check(version: str) -> str:
    """Runs a command in a machine of its own."""
    async with AsyncWorkspace.create("debian:12", mem_mib=512) as ws:
        results = await asyncio.gather(
            ws.run(f"echo {version} > version; cat version", check=True),
            ws.run(["python3", "-c", "print(sum(range(10)))"], check=True),
        )
        return " ".join(result.stdout.strip() for result in results)


async def main() -> None:
    """Waits for all of them."""
    for said in await asyncio.gather(check("first"), check("second")):
        print(said)


asyncio.run(main())

"""Prints, for example:

first 45
second 45
"""
