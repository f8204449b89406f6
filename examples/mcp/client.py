"""Use pyro from a program of yours with the official Python SDK of MCP (`pip install mcp`).

    python client.py [PYRO]

Makes a workspace, runs two commands in it that share a file, and deletes it.
"""

import asyncio
import os
import sys

from mcp import Client, StdioServerParameters


async def main(pyro: str) -> None:
    server = StdioServerParameters(command=pyro, args=["mcp", "serve"], env=dict(os.environ))
    async with Client(server) as client:
        tools = (await client.list_tools()).tools
        print("tools:", ", ".join(tool.name for tool in tools))

        made = await client.call_tool("workspace_create", {})
        if made.is_error:
            # Message, code and hints: what a model would read.
            sys.exit(made.content[0].text)
        workspace = {"workspace_id": made.structured_content["workspace_id"]}
        try:
            await client.call_tool("workspace_exec", {**workspace, "command": "echo 6*7 > task"})
            ran = await client.call_tool(
                "workspace_exec", {**workspace, "command": "echo $(( $(cat task) ))"}
            )
            print("stdout:", ran.structured_content["stdout"].strip())
        finally:
            await client.call_tool("workspace_delete", workspace)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "pyro"))
