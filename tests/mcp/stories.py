"""What MCP clients see of `pyro mcp serve`, told with the official Python SDK and, where bytes count,
with JSON lines of our own. Every story runs on real VMs.

    python stories.py [NAME...]      PYRO_E2E_PYRO names the binary

Prints one line per story, with figures that are worth knowing and asserted nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

import file_stories  # noqa: F401 - its stories are told with these
from kit import CORE_TOOLS, DEADLINE, LIMIT, LONG_SECONDS, MUCH_MEBIBYTES, PYRO, STORIES
from kit import cli, server, size, story, text, workspace


class Raw:
    """A client that says exactly what it is told to, line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.heard: list[dict[str, Any]] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls, *arguments: str, **environment: str) -> AsyncIterator[Raw]:
        process = await asyncio.create_subprocess_exec(
            PYRO, "mcp", "serve", *arguments,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=16 * 1024 * 1024,
            env={**os.environ, **environment},
        )
        client = cls(process)
        try:
            yield client
        finally:
            if process.returncode is None:
                assert process.stdin is not None
                process.stdin.close()
                await asyncio.wait_for(process.wait(), DEADLINE)

    async def say(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        await self.process.stdin.drain()

    async def hear(self, wanted: Any) -> dict[str, Any]:
        """The first message that `wanted` accepts."""
        assert self.process.stdout is not None
        while True:
            line = await asyncio.wait_for(self.process.stdout.readline(), DEADLINE)
            assert line, "the server went"
            message = json.loads(line)
            self.heard.append(message)
            if wanted(message):
                return message

    async def ask(self, identity: int, method: str, **params: Any) -> dict[str, Any]:
        await self.say({"id": identity, "method": method, "params": params})
        return await self.hear(lambda message: message.get("id") == identity)

    async def greet(self, version: str = "2025-11-25") -> dict[str, Any]:
        answer = await self.ask(
            0, "initialize", protocolVersion=version, capabilities={},
            clientInfo={"name": "stories", "version": "1"},
        )
        await self.say({"method": "notifications/initialized"})
        return answer["result"]


async def processes(client: Client, where: str, what: str) -> int:
    """How many processes of the guest have this in their command line."""
    command = f"grep -alz -- '{what}' /proc/[0-9]*/cmdline 2>/dev/null | grep -vc self"
    # The shell and the grep that look have it too: they are told apart by the pattern's brackets.
    command = command.replace(what, f"[{what[0]}]{what[1:]}")
    found = await client.call_tool("workspace_exec", {"workspace_id": where, "command": command})
    return int(found.structured_content["stdout"].strip() or "0")


async def until(condition: Any) -> None:
    """Waits for what must come true."""
    deadline = time.monotonic() + DEADLINE
    while not await condition():
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.2)


@story
async def tools_are_listed_without_home_node_or_qemu() -> str:
    with tempfile.TemporaryDirectory() as home:
        begun = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            PYRO, "mcp", "serve", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            limit=16 * 1024 * 1024, env={"HOME": home, "PATH": "/nonexistent"},
        )
        raw = Raw(process)
        await raw.greet()
        tools = await raw.ask(1, "tools/list")
        took = time.monotonic() - begun
        assert len(tools["result"]["tools"]) == CORE_TOOLS
        assert os.listdir(home) == [], "listing tools must not make anything"
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.wait(), DEADLINE)
    return f"{took * 1000:.0f} ms from start to list"


@story
async def a_host_that_is_not_fit_is_told_by_tools_and_not_at_the_start() -> str:
    async with Raw.started(PYRO_HOME="/dev/null/nowhere") as raw:
        await raw.greet()
        assert (await raw.ask(1, "tools/list"))["result"]["tools"]
        assert (await raw.ask(2, "resources/list"))["result"]["resources"] == []
        answer = await raw.ask(3, "tools/call", name="workspace_list", arguments={})
        assert answer["result"]["isError"]
        assert answer["result"]["structuredContent"]["code"] == "state_directory_unusable"
        assert "state_directory_unusable" in answer["result"]["content"][0]["text"]
    return ""


@story
async def every_revision_is_spoken() -> str:
    for version in ["2025-06-18", "2025-11-25"]:
        async with Raw.started() as raw:
            assert (await raw.greet(version))["protocolVersion"] == version
            assert (await raw.ask(1, "tools/list"))["result"]["tools"]
    async with Raw.started() as raw:
        assert (await raw.greet("2024-11-05"))["protocolVersion"] == "2025-11-25"
    for mode in ["legacy", "auto", "2026-07-28"]:
        async with Client(server(), mode=mode) as client:
            listed = await client.list_tools()
            assert len(listed.tools) == CORE_TOOLS
            assert "workspace_create" in (client.instructions or "") or mode == "2026-07-28"
            result = await client.call_tool("workspace_list", {})
            assert not result.is_error, text(result)
    return ""


@story
async def text_and_structure_are_each_complete() -> str:
    async with Client(server()) as client:
        result = await client.call_tool(
            "vm_run", {"command": "echo out; echo err >&2; exit 3", "allow_host_compat": True}
        )
        assert not result.is_error
        document = result.structured_content
        assert (document["stdout"], document["stderr"]) == ("out\n", "err\n")
        assert (document["exit_code"], document["running"]) == (3, False)
        assert document["cleanup"]["deleted"] and document["environment"] == "debian:12"
        assert "command" not in document and "echo out" not in text(result)
        for told in ["exit code 3", "out\n", "err\n", "allow_host_compat is ignored"]:
            assert told in text(result), told
    return ""


@story
async def errors_tell_message_code_and_hints() -> str:
    async with Client(server()) as client:
        for tool, arguments, code in [
            ("workspace_status", {"workspace_id": "nosuch"}, "workspace_not_found"),
            ("workspace_exec", {"workspace_id": "x", "comand": "ls"}, "invalid_arguments"),
            ("vm_run", {"command": "ls", "secret_env": {"A": "B"}}, "not_available"),
            ("vm_run", {"command": "ls", "environment": "none:1"}, "environment_unknown"),
            ("workspace_create", {"vcpu_count": 99}, "invalid_arguments"),
            ("workspace_create", {"seed_path": "/etc"}, "host_path_not_allowed"),
        ]:
            result = await client.call_tool(tool, arguments)
            assert result.is_error, tool
            document = result.structured_content
            assert document["code"] == code, document
            for told in [document["error"], code, *document["hints"]]:
                assert told in text(result), (told, text(result))
    return ""


@story
async def a_workspace_remembers() -> str:
    async with Client(server("--profile", "workspace-full")) as client:
        async with workspace(client, "mcp-remembers") as identity:
            async def run(command: str, **more: Any) -> Any:
                arguments = {"workspace_id": "mcp-remembers", "command": command, **more}
                return (await client.call_tool("workspace_exec", arguments)).structured_content

            assert (await run("echo kept > note; pwd"))["stdout"] == "/workspace\n"
            told = await run("echo $KEY; id -un; pwd", env={"KEY": "v"}, user="nobody", cwd="/tmp")
            assert told["stdout"] == "v\nnobody\n/tmp\n", told
            stopped = await client.call_tool("workspace_stop", {"workspace_id": identity})
            assert stopped.structured_content["state"] == "stopped"
            again = await client.call_tool(
                "workspace_exec", {"workspace_id": identity, "command": "cat note"}
            )
            assert again.structured_content["stdout"] == "kept\n"
            assert "note: " in text(again), "that it was started is told"
            renamed = await client.call_tool(
                "workspace_update",
                {"workspace_id": identity, "labels": {"a": "b"}, "name": "mcp-renamed"},
            )
            assert renamed.structured_content["labels"] == {"a": "b"}
            listed = await client.call_tool("workspace_list", {})
            assert "mcp-renamed" in text(listed)
            logs = await client.call_tool("workspace_logs", {"workspace_id": identity})
            assert logs.structured_content["count"] == 3 and "kept" in text(logs)
            resources = await client.list_resources()
            assert f"pyro://workspaces/{identity}" in [str(one.uri) for one in resources.resources]
            execs = await client.call_tool("exec_list", {"workspace_id": identity})
            newest = execs.structured_content["execs"][0]["exec_id"]
            uri = f"pyro://workspaces/{identity}/execs/{newest}/output"
            read = await client.read_resource(uri)
            assert read.contents[0].text == "kept\n"
    return ""


@story
async def a_vm_made_by_hand_is_gone_after_its_one_command() -> str:
    async with Client(server("--profile", "workspace-full")) as client:
        made = (await client.call_tool("vm_create", {})).structured_content
        assert made["state"] == "started" and made["ttl_seconds"] == 600, made
        where = {"vm_id": made["vm_id"]}
        seen = (await client.call_tool("vm_status", where)).structured_content
        assert seen["vm_id"] == made["vm_id"] and seen["network_enabled"] is False
        network = (await client.call_tool("vm_network_info", where)).structured_content
        assert network["network_enabled"] is False and network["reason"]
        ran = await client.call_tool("vm_exec", {**where, "command": "echo once"})
        assert ran.structured_content["stdout"] == "once\n"
        assert ran.structured_content["cleanup"]["deleted"]
        gone = await client.call_tool("vm_status", where)
        assert gone.structured_content["code"] == "workspace_not_found"
        async with workspace(client, "mcp-no-vm") as identity:
            refused = await client.call_tool("vm_delete", {"vm_id": identity})
            assert refused.structured_content["code"] == "vm_not_found"
    return ""


@story
async def a_long_command_comes_out_whole() -> str:
    """A build of minutes, in the time slices that clients allow."""
    async with Client(server()) as client, workspace(client, "mcp-long") as identity:
        command = f"for i in $(seq {LONG_SECONDS}); do echo line $i; sleep 1; done; exit 7"
        begun = time.monotonic()
        longest = 0.0
        arguments: dict[str, Any] = {
            "workspace_id": identity, "command": command, "timeout_seconds": 0,
        }
        result = await client.call_tool("workspace_exec", arguments)
        said = ""
        calls = 1
        while True:
            longest = max(longest, time.monotonic() - begun)
            document = result.structured_content
            said += document["stdout"]
            if not document["running"]:
                break
            assert document["exec_id"] in text(result) and "exec_wait" in text(result)
            begun = time.monotonic()
            calls += 1
            result = await client.call_tool("exec_wait", {
                "workspace_id": identity, "exec_id": document["exec_id"],
                "offset": document["next_offset"],
            })
        assert document["exit_code"] == 7
        assert said == "".join(f"line {i}\n" for i in range(1, LONG_SECONDS + 1))
        assert longest < 45, longest
    return f"{calls} calls, the longest {longest:.1f} s"


@story
async def much_output_costs_little() -> str:
    async with Client(server()) as client, workspace(client, "mcp-much") as identity:
        command = f"echo first; yes 0123456789abcde | head -c {MUCH_MEBIBYTES}M; echo last"
        begun = time.monotonic()
        result = await client.call_tool(
            "workspace_exec", {"workspace_id": identity, "command": command, "timeout_seconds": 0}
        )
        assert size(result) <= LIMIT, size(result)
        while (document := result.structured_content)["running"]:
            result = await client.call_tool(
                "exec_wait", {"workspace_id": identity, "exec_id": document["exec_id"]}
            )
            assert size(result) <= LIMIT, size(result)
        took = time.monotonic() - begun
        assert document["stdout"].startswith("first\n"), document["stdout"][:100]
        assert document["stdout"].endswith("last\n"), document["stdout"][-100:]
        total = (MUCH_MEBIBYTES << 20) + len("first\nlast\n")
        shown = [line for line in document["stdout"].splitlines() if not line.startswith("[...")]
        shown_bytes = sum(len(line) + 1 for line in shown)
        assert document["omitted_bytes"] == total - shown_bytes, document["omitted_bytes"]
        assert str(document["omitted_bytes"]) in text(result)
        # Reading on: the head of what follows is what was left out first.
        more = await client.call_tool("exec_wait", {
            "workspace_id": identity, "exec_id": document["exec_id"],
            "offset": document["omitted_from"], "max_bytes": 50_000,
        })
        assert more.structured_content["stdout"].startswith("0123456789abcde\n")
        assert len(more.structured_content["stdout"]) > 40_000
        # What overwrote itself is left as it was last, and colours are gone.
        progress = await client.call_tool("workspace_exec", {
            "workspace_id": identity,
            "command": r"""for i in $(seq 1 5000); do printf '\r\033[32m%d%%' $i; done; echo""",
        })
        assert progress.structured_content["stdout"] == "5000%\n"
    return f"{MUCH_MEBIBYTES} MiB in {took:.1f} s, {size(result)} bytes for the model"


@story
async def a_cancelled_call_leaves_no_process() -> str:
    async with Client(server()) as client, workspace(client, "mcp-cancel") as identity:
        async with Raw.started() as raw:
            await raw.greet()
            await raw.say({"id": 5, "method": "tools/call", "params": {
                "name": "workspace_exec",
                "arguments": {
                    "workspace_id": identity, "timeout_seconds": 0,
                    "command": "sleep 4242 & sh -c 'trap : TERM; while :; do sleep 4242; done'",
                },
            }})
            await until(lambda: some(client, identity, "sleep 4242", lambda count: count >= 2))
            await raw.say({"method": "notifications/cancelled", "params": {"requestId": 5}})
            await until(lambda: some(client, identity, "sleep 4242", lambda count: count == 0))
            # And the connection goes on.
            answer = await raw.ask(6, "tools/call", name="workspace_list", arguments={})
            assert not answer["result"].get("isError")
            assert not any(message.get("id") == 5 for message in raw.heard)
    return ""


async def some(client: Client, where: str, what: str, enough: Any) -> bool:
    return bool(enough(await processes(client, where, what)))


@story
async def a_client_killed_during_a_call_leaves_the_node_healthy() -> str:
    async with Client(server()) as client, workspace(client, "mcp-killed") as identity:
        for kill in ["server", "client"]:
            raw_context = Raw.started()
            raw = await raw_context.__aenter__()
            await raw.greet()
            await raw.say({"id": 5, "method": "tools/call", "params": {
                "name": "workspace_exec",
                "arguments": {"workspace_id": identity, "command": "sleep 4343", "timeout_seconds": 0},
            }})
            await until(lambda: some(client, identity, "sleep 4343", lambda count: count == 1))
            if kill == "server":
                raw.process.send_signal(signal.SIGKILL)
            else:
                # What a client's death looks like from here: its ends of the pipes are gone.
                raw.process._transport.close()  # type: ignore[attr-defined]
            await until(lambda: some(client, identity, "sleep 4343", lambda count: count == 0))
        status = json.loads(cli("node", "status", "--json"))
        assert status["started_count"] >= 1
    return ""


@story
async def calls_run_in_parallel() -> str:
    async with Client(server()) as client:
        async def one() -> float:
            begun = time.monotonic()
            result = await client.call_tool("vm_run", {"command": "sleep 1; echo done"})
            assert result.structured_content["stdout"] == "done\n", text(result)
            return time.monotonic() - begun

        alone = await one()
        begun = time.monotonic()
        await asyncio.gather(one(), one(), one())
        together = time.monotonic() - begun
        async with workspace(client, "mcp-parallel") as identity:
            begun = time.monotonic()
            await asyncio.gather(*[
                client.call_tool("workspace_exec", {"workspace_id": identity, "command": "sleep 1"})
                for _ in range(8)
            ])
            eight = time.monotonic() - begun
    return (f"vm_run of sleep 1: one {alone:.1f} s, three {together:.1f} s; "
            f"eight workspace_exec of sleep 1 {eight:.1f} s")


@story
async def progress_is_told() -> str:
    heard: list[str] = []

    async def progress(_done: float, _total: float | None, message: str | None) -> None:
        heard.append(message or "")

    async with Client(server()) as client:
        result = await client.call_tool(
            "vm_run", {"command": "echo working; sleep 8"}, progress_callback=progress
        )
        assert not result.is_error, text(result)
    assert any("working" in message for message in heard), heard
    return f"{len(heard)} times"


@story
async def calls_are_logged_for_those_who_ask() -> str:
    async with Raw.started() as raw:
        assert "logging" in (await raw.greet())["capabilities"]
        unasked = await raw.ask(1, "tools/call", name="workspace_list", arguments={})
        assert not unasked["result"].get("isError")
        assert not [one for one in raw.heard if one.get("method") == "notifications/message"]

        async def told(number: int, level: str, **call: Any) -> list[dict[str, Any]]:
            assert (await raw.ask(number, "logging/setLevel", level=level))["result"] == {}
            before = len(raw.heard)
            await raw.ask(number + 1, "tools/call", **call)
            heard = [one for one in raw.heard[before:] if one.get("method") == "notifications/message"]
            return [dict(one["params"]) for one in heard]

        lists: dict[str, Any] = {"name": "workspace_list", "arguments": {}}
        wrong: dict[str, Any] = {"name": "workspace_status", "arguments": {"workspace_id": "nosuch"}}
        (one,) = await told(2, "info", **lists)
        assert (one["level"], one["data"]["tool"]) == ("info", "workspace_list"), one
        assert "workspaces" in one["data"]["message"], one
        assert await told(4, "warning", **lists) == []
        (one,) = await told(6, "warning", **wrong)
        assert one["level"] == "warning" and "nosuch" in one["data"]["message"], one
    return ""


@story
async def detached_commands_run_on_and_are_ended() -> str:
    async with Client(server()) as client, workspace(client, "mcp-detach") as identity:
        begun = await client.call_tool("workspace_exec", {
            "workspace_id": identity, "command": "echo up; sleep 4444", "detach": True,
        })
        document = begun.structured_content
        assert document["running"]
        where = {"workspace_id": identity, "exec_id": document["exec_id"]}

        async def is_up() -> bool:
            seen = await client.call_tool("exec_wait", {**where, "wait_seconds": 1})
            return bool(seen.structured_content["stdout"] == "up\n")

        await until(is_up)
        ended = await client.call_tool("exec_signal", {
            "workspace_id": identity, "exec_id": document["exec_id"],
        })
        assert not ended.structured_content["running"], text(ended)
        read = await client.call_tool("exec_wait", {
            "workspace_id": identity, "exec_id": document["exec_id"],
        })
        assert read.structured_content["stdout"] == "up\n"
        behind = await client.call_tool(
            "workspace_exec", {"workspace_id": identity, "command": "sleep 4444 & echo started"}
        )
        assert "service_start" in text(behind), "whoever leaves a server behind is told how not to"
    return ""


@story
async def a_long_call_becomes_a_task_for_clients_that_know_tasks() -> str:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "stories", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {
            "extensions": {"io.modelcontextprotocol/tasks": {}},
        },
    }
    async with Raw.started() as raw, Client(server()) as client:
        quick = await raw.ask(1, "tools/call", name="workspace_list", arguments={}, _meta=meta)
        assert quick["result"]["resultType"] == "complete"
        async with workspace(client, "mcp-task") as identity:
            async def begin(number: int, command: str) -> dict[str, Any]:
                answer = await raw.ask(
                    number, "tools/call", name="workspace_exec", _meta=meta,
                    arguments={"workspace_id": identity, "command": command, "timeout_seconds": 0},
                )
                assert answer["result"]["resultType"] == "task", answer
                return dict(answer["result"])

            async def state(number: int, task: str) -> dict[str, Any]:
                return dict((await raw.ask(number, "tasks/get", taskId=task, _meta=meta))["result"])

            task = await begin(2, "sleep 7; echo finished")
            number = 10
            while (now := await state(number, task["taskId"]))["status"] == "working":
                number += 1
                await asyncio.sleep(0.5)
            assert now["status"] == "completed", now
            assert now["result"]["structuredContent"]["stdout"] == "finished\n"
            task = await begin(100, "sleep 4545")
            await raw.ask(101, "tasks/cancel", taskId=task["taskId"], _meta=meta)
            await until(lambda: some(client, identity, "sleep 4545", lambda count: count == 0))
            assert (await state(102, task["taskId"]))["status"] == "cancelled"
    return ""


WEB = "exec python3 -u -m http.server 8000 --bind 127.0.0.1 --directory /srv"
WEB_URL = "http://127.0.0.1:8000/"


@story
async def a_service_is_proven_ready_watched_and_stopped() -> str:
    heard: list[str] = []

    async def progress(_done: float, _total: float | None, message: str | None) -> None:
        heard.append(message or "")

    async with Client(server()) as client, workspace(client, "mcp-service") as identity:
        where = {"workspace_id": identity, "service_name": "web"}
        begun = time.monotonic()
        # Three seconds and more, so that there is something to tell meanwhile.
        asked = {**where, "command": f"sleep 4; {WEB}", "ready_http": WEB_URL}
        started = await client.call_tool("service_start", asked, progress_callback=progress)
        took = time.monotonic() - begun
        assert not started.is_error, text(started)
        document = started.structured_content
        assert document["state"] == "running" and document["ready"], document
        assert document["listening_ports"][0]["port"] == 8000 and not document["unchanged"]
        for told in ["web is ready", "listens on: 127.0.0.1:8000", "running and ready"]:
            assert told in text(started), (told, text(started))
        assert any("web is starting" in message for message in heard), heard
        asked_again = await client.call_tool("service_start", asked)
        assert asked_again.structured_content["unchanged"] and "as it is" in text(asked_again)
        other = await client.call_tool("service_start", {**asked, "command": "sleep 1"})
        assert other.structured_content["code"] == "service_already_running"
        assert "replace" in text(other), text(other)

        fetched = await client.call_tool("workspace_exec", {
            "workspace_id": identity, "command": f"curl -sS --fail {WEB_URL} -o /dev/null && echo got",
        })
        assert fetched.structured_content["stdout"] == "got\n", text(fetched)
        # A line of its log for each request.
        logs = await client.call_tool("service_logs", where)
        said = logs.structured_content
        assert "GET / HTTP/1.1" in said["stderr"] and "GET / HTTP/1.1" in text(logs), text(logs)
        assert said["omitted_bytes"] == 0 and said["tail_lines"] == 200 and not said["truncated"], said
        position = said["next_offset"]
        assert f"offset={position}" in text(logs), text(logs)
        later = await client.call_tool("service_logs", {**where, "offset": position})
        assert later.structured_content["stderr"] == "", text(later)
        uri = f"pyro://workspaces/{identity}/services/web"
        assert "GET / HTTP/1.1" in (await client.read_resource(f"{uri}/log")).contents[0].text
        assert json.loads((await client.read_resource(uri)).contents[0].text)["ready"]

        shown = await client.call_tool("service_status", where)
        assert shown.structured_content["pid"] and "MiB of memory" in text(shown)
        every = await client.call_tool("service_status", {"workspace_id": identity})
        assert every.structured_content["running_count"] == 1 and "web  running" in text(every)
        status = await client.call_tool("workspace_status", {"workspace_id": identity})
        assert status.structured_content["running_service_count"] == 1
        assert "1 services, 1 running" in text(status), text(status)

        stopped = await client.call_tool("service_stop", where)
        document = stopped.structured_content
        assert (document["state"], document["stop_reason"]) == ("stopped", "sigterm"), document
        assert "sigterm" in text(stopped)
        again = await client.call_tool("service_stop", where)
        assert not again.is_error and again.structured_content["state"] == "stopped"
        kept = await client.call_tool("service_logs", {**where, "tail_lines": 1})
        assert "HTTP" in kept.structured_content["stderr"], text(kept)
        assert size(started) <= LIMIT and size(kept) <= LIMIT
    return f"ready {took:.1f} s after the call, 4 of them its own"


@story
async def a_service_that_fails_is_told_at_once_with_its_last_words() -> str:
    async with Client(server()) as client, workspace(client, "mcp-fails") as identity:
        where = {"workspace_id": identity, "service_name": "broken"}
        begun = time.monotonic()
        failed = await client.call_tool("service_start", {
            **where, "command": "echo first; echo 'cannot bind' >&2; exit 3",
            "ready_tcp": "127.0.0.1:9", "ready_timeout_seconds": 600,
        })
        took = time.monotonic() - begun
        assert failed.is_error
        document = failed.structured_content
        assert document["code"] == "service_exited" and document["exit_code"] == 3, document
        assert document["log_tail"] == ["first", "cannot bind"], document["log_tail"]
        assert document["stop_reason"] == "process_exited_before_ready"
        for told in ["service_exited", "cannot bind", "exit code 3", "service_logs(", *document["hints"]]:
            assert told in text(failed), (told, text(failed))
        # A last word of a megabyte is cut.
        talkative = await client.call_tool("service_start", {
            **where, "command": "yes 'much \"to\" say' | head -c 1000000; exit 4",
            "ready_file": "/nowhere",
        })
        assert talkative.structured_content["exit_code"] == 4 and size(talkative) <= LIMIT
        assert talkative.structured_content["log_tail"][-1].startswith("much"), text(talkative)
        # The wrong port: what does listen is told, and it is stopped.
        elsewhere = await client.call_tool("service_start", {
            **where, "service_name": "elsewhere", "command": WEB,
            "ready_tcp": "127.0.0.1:8001", "ready_timeout_seconds": 15,
        })
        document = elsewhere.structured_content
        assert document["code"] == "service_not_ready" and document["state"] == "failed", document
        assert "8000" in text(elsewhere) and document["stop_reason"] == "readiness_timeout"
        for arguments, code in [
            ({**where, "command": "x", "ready_tcp": "127.0.0.1:1", "ready_file": "a"}, "invalid_arguments"),
            ({**where, "command": "x", "ready_log": "("}, "invalid_service"),
            ({**where, "command": "x", "depends_on": ["nobody"]}, "dependency_not_found"),
            ({**where, "command": "x", "secret_env": {"A": "B"}}, "not_available"),
        ]:
            refused = await client.call_tool("service_start", arguments)
            assert refused.is_error and refused.structured_content["code"] == code, text(refused)
            assert code in text(refused)
        unknown = await client.call_tool("service_logs", {**where, "service_name": "nobody"})
        assert unknown.structured_content["code"] == "service_not_found"
        assert "service_status" in text(unknown), text(unknown)
    return f"exit code and last lines after {took:.2f} s"


@story
async def a_slow_service_is_waited_for_in_slices_and_outlives_its_callers() -> str:
    async with Client(server()) as client, workspace(client, "mcp-slow") as identity:
        where = {"workspace_id": identity, "service_name": "slow"}
        asked = {
            **where, "command": "echo warming up; sleep 4747",
            "ready_file": "ready", "ready_timeout_seconds": 600,
        }
        # A call that is cancelled leaves the service as it is.
        async with Raw.started() as raw:
            await raw.greet()
            await raw.say({
                "id": 5, "method": "tools/call",
                "params": {"name": "service_start", "arguments": asked},
            })
            await until(lambda: some(client, identity, "sleep 4747", lambda count: count == 1))
            await raw.say({"method": "notifications/cancelled", "params": {"requestId": 5}})
            answer = await raw.ask(6, "tools/call", name="service_status", arguments=where)
            assert answer["result"]["structuredContent"]["state"] == "starting", answer
            assert not any(message.get("id") == 5 for message in raw.heard)
        # One that waits answers in time, and says how to go on.
        begun = time.monotonic()
        waited = await client.call_tool("service_start", asked)
        took = time.monotonic() - begun
        assert not waited.is_error and took < 45, (took, text(waited))
        document = waited.structured_content
        assert document["state"] == "starting" and not document["ready"], document
        assert document["next"].startswith("service_wait(") and document["next"] in text(waited)
        short = await client.call_tool("service_wait", {**where, "wait_seconds": 0})
        assert short.structured_content["state"] == "starting" and "service_wait(" in text(short)
        every = await client.call_tool(
            "service_wait", {"workspace_id": identity, "wait_seconds": 0}
        )
        assert not every.is_error and "0 of 1" in text(every) and "service_wait(" in text(every)

        async def make_ready() -> None:
            made = await client.call_tool(
                "workspace_exec", {"workspace_id": identity, "command": "touch ready"}
            )
            assert made.structured_content["exit_code"] == 0

        ready, _ = await asyncio.gather(client.call_tool("service_wait", where), make_ready())
        assert ready.structured_content["ready"] and "slow is ready" in text(ready), text(ready)
        every = await client.call_tool("service_wait", {"workspace_id": identity})
        assert "1 of 1" in text(every), text(every)
        ended, _ = await asyncio.gather(
            client.call_tool("service_wait", {**where, "ended": True}),
            client.call_tool("service_stop", where),
        )
        assert ended.structured_content["state"] == "stopped", text(ended)
    return f"the call that waited in vain took {took:.1f} s"


@story
async def a_services_log_costs_little_and_can_be_read_on() -> str:
    async with Client(server()) as client, workspace(client, "mcp-logs") as identity:
        where = {"workspace_id": identity, "service_name": "loud"}
        count = 300_000
        started = await client.call_tool("service_start", {
            **where, "command": f"seq {count}; echo warned >&2; echo done; exec sleep 4848",
            "ready_log": "^done$", "ready_timeout_seconds": 300,
        })
        assert not started.is_error, text(started)
        last = await client.call_tool("service_logs", {**where, "tail_lines": 3})
        assert last.structured_content["stdout"] == f"{count - 1}\n{count}\ndone\n", text(last)
        assert last.structured_content["stderr"] == "warned\n" and not last.content[1:]
        begun = time.monotonic()
        whole = await client.call_tool("service_logs", {**where, "all": True})
        took = time.monotonic() - begun
        document = whole.structured_content
        assert size(whole) <= LIMIT, size(whole)
        assert document["stdout"].startswith("1\n2\n") and document["stdout"].endswith("done\n")
        assert document["omitted_bytes"] > 1_000_000 and document["truncated"], document
        assert str(document["omitted_bytes"]) in text(whole)
        assert whole.content[1].uri == f"pyro://workspaces/{identity}/services/loud/log"
        # Reading on: what was left out first comes first.
        shown = [line for line in document["stdout"].splitlines() if not line.startswith("[...")]
        head = next(i for i, line in enumerate(shown, 1) if line != str(i)) - 1
        more = await client.call_tool(
            "service_logs", {**where, "offset": document["omitted_from"], "max_bytes": 50_000}
        )
        assert more.structured_content["stdout"].startswith(f"{head + 1}\n"), text(more)[:200]
        only = await client.call_tool("service_logs", {**where, "all": True, "stream": "stderr"})
        assert only.structured_content["stdout"] == "" and "warned" in text(only)
        read = (await client.read_resource(whole.content[1].uri)).contents[0].text
        assert len(read) <= LIMIT and "done" in read
    return f"{document['log_bytes']['stdout']} bytes in {took:.1f} s, {size(whole)} for the model"


@story
async def many_services_are_listed_in_pages_and_their_events_by_cursor() -> str:
    full = server("--profile", "workspace-full")
    async with Client(full) as client, workspace(client, "mcp-many") as identity:
        where = {"workspace_id": identity}
        names = [f"job-{number:02}" for number in range(30)]
        results = await asyncio.gather(*[
            client.call_tool("service_start", {
                **where, "service_name": name, "command": "exec sleep 4949", "no_wait": True,
                "ready_command": "true # " + "a long line " * 20,
            })
            for name in names
        ])
        assert not any(result.is_error for result in results), text(results[0])
        waited = await client.call_tool("service_wait", where)
        assert "30 of 30" in text(waited) and size(waited) <= LIMIT, text(waited)
        found: list[str] = []
        while len(found) < len(names):
            page = await client.call_tool("service_list", {**where, "offset": len(found)})
            assert size(page) <= LIMIT, size(page)
            assert page.structured_content["running_count"] == 30
            services = page.structured_content["services"]
            assert services, text(page)
            found += [service["service_name"] for service in services]
        assert found == names

        one = {**where, "service_name": names[0]}
        restarted = await client.call_tool("service_restart", one)
        assert restarted.structured_content["ready"], text(restarted)
        signalled = await client.call_tool("service_signal", {**one, "signal": "STOP"})
        assert not signalled.is_error, text(signalled)
        await client.call_tool("service_signal", {**one, "signal": "KILL"})
        ended = await client.call_tool("service_wait", {**one, "ended": True})
        assert ended.structured_content["exit_code"] == 137, text(ended)
        deleted = await client.call_tool("service_delete", one)
        assert deleted.structured_content["deleted"], text(deleted)

        # All that happened, a page at a time: none is missed, none repeated.
        cursors: list[int] = []
        states: list[tuple[str, str, str]] = []
        after, pages = 0, 0
        while True:
            page = await client.call_tool("workspace_events", {**where, "after": after})
            document = page.structured_content
            assert size(page) <= LIMIT, size(page)
            pages += 1
            for event in document["events"]:
                cursors.append(event["cursor"])
                service = event["service"]
                states.append((service["service_name"], event["event"], service["state"]))
            after = document["next_after"]
            assert f"after={after}" in text(page)
            if not document["more"]:
                break
            assert document["events"], text(page)
        assert cursors == sorted(set(cursors)) and pages > 1
        for name in names:
            assert (name, "service_changed", "running") in states, name
        assert states[-1][:2] == (names[0], "service_deleted"), states[-1]
        # And what comes next is waited for.
        stop = {**where, "service_name": names[1]}
        coming, _ = await asyncio.gather(
            client.call_tool("workspace_events", {**where, "after": after, "wait_seconds": 40}),
            client.call_tool("service_stop", stop),
        )
        assert coming.structured_content["events"][0]["service"]["service_name"] == names[1]
    return f"{len(cursors)} events in {pages} pages"


@story
async def ports_are_published_for_a_service_and_by_themselves() -> str:
    def asked(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            client.sendall(b"hello\n")
            return client.makefile("rb").read()

    full = server("--profile", "workspace-full")
    async with Client(full) as client, workspace(client, "mcp-ports") as identity:
        where = {"workspace_id": identity}
        started = await client.call_tool("service_start", {
            **where, "service_name": "web", "ready_log": "^up$", "published_ports": ["0:8000"],
            "command": "perl -MSocket -e '$| = 1; socket(my $s, PF_INET, SOCK_STREAM, 0);"
            " bind($s, sockaddr_in(8000, INADDR_LOOPBACK)) or die; listen($s, 16);"
            ' print "up\\n"; while (accept(my $c, $s)) { print $c uc <$c>; close $c }\'',
        })
        assert not started.is_error, text(started)
        port = started.structured_content["published_ports"][0]["host_port"]
        assert f"127.0.0.1:{port} on the host reaches port 8000" in text(started), text(started)
        assert await asyncio.to_thread(asked, port) == b"HELLO\n"
        published = await client.call_tool("port_publish", {**where, "ports": ["0:8000"]})
        own = published.structured_content["published_ports"][0]["host_port"]
        assert await asyncio.to_thread(asked, own) == b"HELLO\n"
        listed = await client.call_tool("port_list", where)
        rows = listed.structured_content["ports"]
        assert {row["published"]["host_port"] for row in rows} == {port, own}, text(listed)
        assert all(row["service"] == "web" for row in rows) and "listening" in text(listed)
        taken = await client.call_tool("port_publish", {**where, "ports": [f"{own}:9000"]})
        assert taken.is_error and "port_taken" in text(taken), text(taken)
        gone = await client.call_tool("port_unpublish", {**where, "ports": [own]})
        assert gone.structured_content["unpublished_ports"][0]["host_port"] == own, text(gone)
        again = await client.call_tool("port_unpublish", {**where, "ports": [own]})
        assert again.is_error and "port_not_published" in text(again), text(again)
    return f"{len(rows)} ports"


@story
async def services_come_up_from_a_file_in_the_workspace() -> str:
    full = server("--profile", "workspace-full")
    async with Client(full) as client, workspace(client, "mcp-file") as identity:
        where = {"workspace_id": identity}

        async def write(declared: str) -> None:
            wrote = await client.call_tool("workspace_exec", {
                **where, "command": f"cat > pyro.toml <<'END'\n{declared}\nEND",
            })
            assert wrote.structured_content["exit_code"] == 0, text(wrote)

        missing = await client.call_tool("service_up", where)
        assert missing.structured_content["code"] == "manifest_not_found", text(missing)
        assert "workspace_exec" in text(missing), "a model is told what it can do"
        db = '[services.db]\ncommand = "echo up; exec sleep 5050"\nready_log = "^up$"\n'
        web = f'[services.web]\ncommand = "{WEB}"\nready_http = "{WEB_URL}"\ndepends_on = ["db"]\n'
        await write(db + "comand = 1")
        wrong = await client.call_tool("service_up", where)
        assert wrong.structured_content["code"] == "invalid_manifest", text(wrong)
        await write(db + web)
        up = await client.call_tool("service_up", where)
        document = up.structured_content
        assert not up.is_error and document["failed_count"] == 0, text(up)
        assert [(one["service_name"], one["action"]) for one in document["services"]] == [
            ("db", "started"), ("web", "started"),
        ]
        assert "web  started, is running and ready" in text(up), text(up)
        again = await client.call_tool("service_up", where)
        assert {one["action"] for one in again.structured_content["services"]} == {"unchanged"}
        await write(db + '[services.web]\ncommand = "echo no such port; exit 5"\nready_file = "/nowhere"\n')
        broken = await client.call_tool("service_up", where)
        assert broken.is_error and broken.structured_content["code"] == "services_failed"
        for told in ["service_exited", "no such port", "services_failed"]:
            assert told in text(broken), (told, text(broken))
        # What ran runs again with its workspace, unless that is not wanted.
        await client.call_tool("workspace_stop", where)
        unresumed = await client.call_tool("workspace_start", {**where, "resume": False})
        assert unresumed.structured_content["running_service_count"] == 0, text(unresumed)
        await client.call_tool("service_up", {**where, "services": ["db"]})
        await client.call_tool("workspace_stop", where)
        resumed = await client.call_tool("workspace_start", where)
        assert not resumed.is_error
        ready = await client.call_tool("service_wait", {**where, "service_name": "db"})
        assert ready.structured_content["ready"], text(ready)
        down = await client.call_tool("service_down", where)
        assert down.structured_content["stopped_count"] == 1, text(down)
    return ""


@contextlib.asynccontextmanager
async def over_http(*arguments: str) -> AsyncIterator[tuple[str, str]]:
    """A server's address and token."""
    process = await asyncio.create_subprocess_exec(
        PYRO, "mcp", "serve", "--http", "127.0.0.1:0", *arguments, stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        lines = [(await process.stderr.readline()).decode() for _ in range(3)]
        yield lines[0].split()[-1], lines[1].split()[-1]
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), DEADLINE)


@story
async def http_serves_those_who_know_the_token() -> str:
    async with over_http() as (url, token):
        bearer = {"Authorization": f"Bearer {token}"}
        for mode in ["legacy", "auto", "2026-07-28"]:
            async with httpx2.AsyncClient(headers=bearer, timeout=60) as http:
                async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
                    assert len((await client.list_tools()).tools) == CORE_TOOLS
                    result = await client.call_tool("vm_run", {"command": "echo over http"})
                    assert result.structured_content["stdout"] == "over http\n", text(result)
        kept = pathlib.Path(os.environ["PYRO_HOME"], "mcp-token")
        assert kept.read_text().strip() == token and kept.stat().st_mode & 0o777 == 0o600
    return ""


@story
async def http_refuses_strangers_and_web_pages() -> str:
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "stories", "version": "1"}}}
    accept = {"Accept": "application/json, text/event-stream"}
    async with over_http() as (url, token), httpx2.AsyncClient(timeout=60) as http:
        bearer = {"Authorization": f"Bearer {token}"}
        for headers, status in [
            ({}, 401),
            ({"Authorization": "Bearer " + "0" * 64}, 401),
            ({"Authorization": f"Basic {token}"}, 401),
            (bearer, 200),
            ({**bearer, "Host": "evil.example"}, 403),
            ({**bearer, "Origin": "http://evil.example"}, 403),
            ({**bearer, "Origin": "http://localhost:3000"}, 200),
        ]:
            answer = await http.post(url, json=hello, headers={**accept, **headers})
            assert answer.status_code == status, (headers, answer.status_code)
    refused = subprocess.run(
        [PYRO, "mcp", "serve", "--http", "0.0.0.0:0"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1 and "loopback" in refused.stderr
    return ""


@story
async def http_calls_end_with_their_client() -> str:
    """The stateless revision has no notification for it: the closed response is the cancellation."""
    async with over_http() as (url, token), Client(server()) as other:
        async with workspace(other, "mcp-http-cancel") as identity:
            meta = {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "stories", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            }
            call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
                "name": "workspace_exec", "_meta": meta,
                "arguments": {"workspace_id": identity, "command": "sleep 4646", "timeout_seconds": 0},
            }}
            headers = {
                "Accept": "application/json, text/event-stream", "Authorization": f"Bearer {token}",
                "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call",
                "Mcp-Name": "workspace_exec",
            }
            async with httpx2.AsyncClient(timeout=60) as http:
                posting = asyncio.create_task(http.post(url, json=call, headers=headers))
                await until(lambda: some(other, identity, "sleep 4646", lambda count: count == 1))
                posting.cancel()
                await asyncio.gather(posting, return_exceptions=True)
            await until(lambda: some(other, identity, "sleep 4646", lambda count: count == 0))
    return ""


async def main(names: list[str]) -> int:
    failed = 0
    for name, tell in STORIES.items():
        if names and not any(part in name for part in names):
            continue
        begun = time.monotonic()
        try:
            figures = await asyncio.wait_for(tell(), 600)
        except Exception:  # noqa: BLE001 - a story that fails must not hide the others
            failed += 1
            traceback.print_exc()
            print(f"FAIL {name}", flush=True)
            continue
        took = f"{time.monotonic() - begun:.1f} s"
        print(f"ok   {name} ({took}{'; ' + figures if figures else ''})", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
