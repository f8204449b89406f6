"""Services, against a node that answers what each story needs."""

from __future__ import annotations

import asyncio
import json
import pickle
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_node import (
    Conversation,
    FakeNode,
    Request,
    a_failed_start,
    a_service,
    a_start,
    a_workspace,
)

from pyro_mcp import (
    AsyncPyro,
    AsyncWorkspace,
    FailedError,
    HealthCheck,
    InvalidError,
    NodeError,
    NotFoundError,
    Probe,
    Pyro,
    ServiceFailedError,
    ServicesFailedError,
    Workspace,
)
from pyro_mcp import _calls as calls
from pyro_mcp._log import LONGEST, LogLines

Call = Callable[[Pyro], Any]


def of_async(pyro: Pyro) -> AsyncPyro:
    return AsyncPyro(home=pyro._transport.location.state, start=False, timeout=10)


@pytest.fixture
def ws(node: FakeNode, pyro: Pyro) -> Workspace:
    node.handler = lambda _, conversation: conversation.answer(a_workspace())
    workspace = Workspace.get("web", pyro=pyro)
    node.requests.clear()
    return workspace


def an_entry(text: str | None, *, stream: str = "stdout", at: int = 0, **more: Any) -> Any:
    entry = {"offset": 0, "at_micros": at * 1_000_000, "stream": stream, **more}
    return {**entry, "text": text} if text is not None else entry


def lines_of(*documents: Any) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in documents)


# --- start ----------------------------------------------------------------------------------------


def test_a_start_says_what_differs_from_what_is_usual(node: FakeNode, pyro: Pyro) -> None:
    node.handler = lambda _, conversation: conversation.answer(a_start())
    assert pyro.start_service("w", "web", command=["serve"])["ready"]
    pyro.start_service(
        "w",
        "web",
        command="serve",
        cwd="/srv",
        readiness={"type": "tcp", "address": "127.0.0.1:8000"},
        ready_timeout_seconds=5,
        ready_interval_ms=100,
        restart="always",
        stop_signal=signal.SIGINT,
        depends_on=["db"],
        replace=True,
    )
    first, second = node.requests
    assert (first.method, first.target) == ("POST", "/v1/workspaces/w/services")
    assert first.json == {"service": {"name": "web", "command": ["serve"]}}
    assert second.json == {
        "service": {
            "name": "web",
            "command": "serve",
            "cwd": "/srv",
            "readiness": {"type": "tcp", "address": "127.0.0.1:8000"},
            "ready_timeout_seconds": 5,
            "ready_interval_ms": 100,
            "restart": "always",
            "stop_signal": "2",
            "depends_on": {"db": "ready"},
        },
        "replace": True,
    }


def test_a_start_publishes_ports_and_tells_where(node: FakeNode, ws: Workspace) -> None:
    port = {"host": "127.0.0.1", "host_port": 8080, "guest_port": 80, "protocol": "tcp"}
    node.handler = lambda _, conversation: conversation.answer(a_start(published_ports=[port]))
    web = ws.services.start("web", "serve", publish=[(8080, 80), 81])
    assert web.info is not None
    assert [(one.host_port, one.guest_port) for one in web.info.published_ports] == [(8080, 80)]
    ws.services.start("web", "serve", publish=80)
    ws.pyro.start_service("w", "web", command="serve", published_ports=[{"guest_port": 80}])
    first, second, third = (request.json["published_ports"] for request in node.requests)
    assert first == [{"guest_port": 80, "host_port": 8080}, {"guest_port": 81}]
    assert second == third == [{"guest_port": 80}]


def test_ports_are_published_listed_and_taken_back(node: FakeNode, ws: Workspace) -> None:
    port = {"host": "127.0.0.1", "host_port": 8080, "guest_port": 80, "protocol": "tcp"}
    place = {"host": "127.0.0.1", "host_port": 8080, "state": "released", "reason": "stopped"}
    rows: list[dict[str, Any]] = [
        {"guest_port": 80, "published": {**place, "connections": 0}},
        {"guest_port": 81, "published": None},
    ]
    more = {"protocol": "tcp", "service": None, "listening_addresses": ["::1"]}

    def answer(request: Request, conversation: Conversation) -> None:
        if request.method == "GET":
            conversation.answer({"ports": [{**row, **more} for row in rows]})
        elif request.target.endswith("/unpublish"):
            conversation.answer({"unpublished_ports": [port]})
        else:
            conversation.answer({"published_ports": [port], "notices": []})

    node.handler = answer
    (published,) = ws.ports.publish((8080, 80), bind="::1")
    assert (published.host, published.host_port, published.guest_port) == ("127.0.0.1", 8080, 80)
    one, two = ws.ports.list()
    assert one.published is not None
    assert (one.published.state, one.published.reason) == ("released", "stopped")
    assert (two.guest_port, two.published, two.listening_addresses) == (81, None, ("::1",))
    assert ws.ports.unpublish(8080) == (published,)
    first, _, last = node.requests
    assert first.json == {"ports": [{"guest_port": 80, "host_port": 8080}], "bind": "::1"}
    assert last.json == {"ports": [8080]}


@pytest.mark.parametrize(
    "call",
    [
        lambda pyro: pyro.start_service("w", "web", command="serve"),
        lambda pyro: pyro.restart_service("w", "web"),
        lambda pyro: pyro.wait_service("w", "web"),
        lambda pyro: asyncio.run(of_async(pyro).start_service("w", "web", command="serve")),
        lambda pyro: asyncio.run(of_async(pyro).wait_service("w", "web")),
    ],
)
def test_a_service_that_does_not_become_ready_is_an_error_with_its_last_lines(
    node: FakeNode, pyro: Pyro, call: Call
) -> None:
    node.handler = lambda _, conversation: conversation.answer(a_failed_start())
    with pytest.raises(ServiceFailedError, match="exit code 3 before") as raised:
        call(pyro)
    error = raised.value
    assert isinstance(error, FailedError)
    assert isinstance(error, RuntimeError)
    assert (error.code, error.hints) == ("service_exited", ("look",))
    assert error.log_tail == ("first", "last")
    assert error.service["exit_code"] == 3
    assert error.info.last_exit is not None
    assert (error.info.stop_reason, error.info.last_exit.exit_code) == (
        "process_exited_before_ready",
        3,
    )
    assert error.__notes__ == ["hint: look", "  | first", "  | last"]
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.code, again.log_tail) == (type(error), error.code, error.log_tail)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda pyro: pyro.start_service("w", "web", command=[]), "invalid_service"),
        (
            lambda pyro: pyro.start_service("w", "web", command="x", readiness="tcp"),
            "invalid_readiness",
        ),
        (lambda pyro: pyro.status_service("w", ""), "service_not_found"),
        (lambda pyro: list(pyro.stream_service_logs("w", None)), "service_not_found"),
    ],
)
def test_bad_input_is_a_value_error(node: FakeNode, pyro: Pyro, call: Call, code: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        call(pyro)
    assert isinstance(raised.value, (InvalidError, NotFoundError))
    assert raised.value.code == code
    assert node.requests == []


# --- wait, stop -----------------------------------------------------------------------------------


def test_a_wait_asks_again_until_the_node_knows(
    node: FakeNode, pyro: Pyro, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyro_mcp._calls.WAIT", 0.05)

    def handle(request: Request, conversation: Conversation) -> None:
        if len(node.requests) % 3:
            # As the node does: the time that it was given is over.
            threading.Event().wait(0.05)
            conversation.answer(a_failed_start("service_not_ready", state="starting"))
        else:
            conversation.answer(a_start())

    node.handler = handle
    assert pyro.wait_service("w", "web")["ready"]
    assert asyncio.run(of_async(pyro).wait_service("w", "web"))["ready"]
    assert [request.target for request in node.requests] == [
        "/v1/workspaces/w/services/web/wait?timeout_seconds=0.05"
    ] * 6


def test_a_wait_that_is_over_raises_and_one_for_the_end_tells_how_it_stands(
    node: FakeNode, pyro: Pyro
) -> None:
    def handle(request: Request, conversation: Conversation) -> None:
        threading.Event().wait(0.01)
        conversation.answer(a_failed_start("service_not_ready", state="starting"))

    node.handler = handle
    with pytest.raises(ServiceFailedError) as raised:
        pyro.wait_service("w", "web", timeout_seconds=0.01)
    assert raised.value.code == "service_not_ready"
    stands = pyro.wait_service("w", "web", ended=True, timeout_seconds=0)
    assert (stands["state"], stands["failure"]) == ("starting", None)
    assert node.requests[-1].target.endswith("timeout_seconds=0.001&ended=true")


def test_all_that_are_active_are_waited_for(node: FakeNode, pyro: Pyro) -> None:
    states = {"a": "starting", "b": "exited", "c": "backoff"}
    services = [a_service(service_name=name, state=state) for name, state in states.items()]

    def handle(request: Request, conversation: Conversation) -> None:
        if request.target.endswith("/services"):
            conversation.answer({"count": 3, "running_count": 3, "services": services})
        else:
            conversation.answer(a_start(service_name=request.target.split("/")[5]))

    node.handler = handle
    waited = pyro.wait_services("w", timeout_seconds=5)
    assert waited["count"] == 2
    assert [one["service_name"] for one in waited["services"]] == ["a", "c"]


def test_the_other_verbs_ask_what_the_node_has(node: FakeNode, pyro: Pyro) -> None:
    node.handler = lambda _, conversation: conversation.answer(a_start())
    pyro.status_service("w", "web")
    pyro.stop_service("w", "web", signal="INT", grace_seconds=0)
    pyro.restart_service("w", "web", no_wait=True)
    pyro.signal_service("w", "web", signal=signal.SIGHUP, whole_tree=True)
    pyro.delete_service("w", "a/b")
    pyro.logs_service("w", "web")
    pyro.logs_service("w", "web", tail_lines=5, stream="stderr")
    pyro.logs_service("w", "web", tail_lines=5, all=True)
    pyro.logs_service("w", "web", tail_lines=None, since=1.5)
    heard = [
        (one.method, one.target.removeprefix("/v1/workspaces/w/services/"), one.json)
        for one in node.requests
    ]
    assert heard == [
        ("GET", "web", None),
        ("POST", "web/stop", {"signal": "INT", "grace_seconds": 0}),
        ("POST", "web/restart", {"no_wait": True}),
        ("POST", "web/signal", {"signal": "1", "whole_tree": True}),
        ("DELETE", "a%2Fb", None),
        ("GET", "web/logs", None),
        ("GET", "web/logs?tail_lines=5&stream=stderr", None),
        ("GET", "web/logs?all=true", None),
        ("GET", "web/logs?all=true&since=1.5", None),
    ]


# --- logs and events ------------------------------------------------------------------------------


def test_lines_are_whole_each_of_its_stream_and_byte_for_byte() -> None:
    lines = LogLines()
    entries: list[dict[str, Any]] = [
        an_entry("one\ntw", at=1),
        an_entry("err", stream="stderr", at=2),
        an_entry("o\r\n\n", at=3),
        an_entry(None, hex="c3", at=4),
        an_entry(None, hex="a4ff0a", at=5),
        an_entry("end", at=6),
    ]
    heard = [
        line for entry in entries for line in lines.feed(calls.log_entry(entry))
    ] + lines.last()
    assert [(line.text, line.stream, line.at) for line in heard] == [
        ("one", "stdout", 1.0),
        ("two", "stdout", 1.0),
        ("", "stdout", 3.0),
        ("ä\ufffd", "stdout", 4.0),
        ("err", "stderr", 2.0),
        ("end", "stdout", 6.0),
    ]
    assert heard[3].raw == b"\xc3\xa4\xff"
    assert str(heard[0]) == "one"
    assert lines.last() == []


def test_a_line_without_an_end_is_kept_in_bounded_memory() -> None:
    lines = LogLines()
    piece = an_entry("x" * 64 * 1024)
    heard = [line for _ in range(100) for line in lines.feed(piece)]
    assert {len(line.raw) for line in heard} == {LONGEST}
    assert sum(len(line.raw) for line in [*heard, *lines.last()]) == 100 * 64 * 1024


def test_a_log_is_followed_until_nobody_reads_it(node: FakeNode, ws: Workspace) -> None:
    gone = threading.Semaphore(0)
    entries = lines_of(an_entry("one\n"), an_entry("two\nthr"))

    def handle(request: Request, conversation: Conversation) -> None:
        assert request.target.endswith("/services/web/logs/stream?tail_lines=5&follow=true")
        conversation.stream.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in (entries[:20], entries[20:]):
            conversation.stream.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        assert conversation.reader.read(1) == b""
        gone.release()

    node.handler = handle
    heard = []
    for line in ws.services["web"].logs(tail_lines=5, follow=True):
        heard.append(line.text)
        if line.text == "two":
            break
    assert heard == ["one", "two"]
    assert gone.acquire(timeout=10)

    async def story() -> None:
        workspace = AsyncWorkspace(of_async(ws.pyro), ws.info)
        async for line in workspace.services["web"].logs(tail_lines=5, follow=True):
            if line.text == "two":
                break

    asyncio.run(story())
    assert gone.acquire(timeout=10)


def test_a_log_that_is_not_followed_ends(node: FakeNode, ws: Workspace) -> None:
    node.handler = lambda _, conversation: conversation.chunks(
        lines_of(an_entry("one\nend"), an_entry(None, hex="ff"))
    )
    assert [line.raw for line in ws.services["web"].logs()] == [b"one", b"end\xff"]
    (piece, other) = ws.pyro.stream_service_logs("w", "web", offset=7)
    assert (piece["hex"], other["text"]) == (None, None)
    assert node.requests[-1].target.endswith("/logs/stream?offset=7")


def test_a_log_whose_node_is_lost_says_so(node: FakeNode, ws: Workspace) -> None:
    def handle(_: Request, conversation: Conversation) -> None:
        conversation.stream.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")

    node.handler = handle
    with pytest.raises(NodeError) as raised:
        list(ws.services["web"].logs(follow=True))
    assert raised.value.code == "node_connection_lost"


def test_events_are_heard_from_a_cursor_on(node: FakeNode, ws: Workspace) -> None:
    events = [
        {"cursor": at, "at": 1.0, "event": "service_changed", "service": a_service()}
        for at in (8, 9)
    ]
    node.handler = lambda _, conversation: conversation.chunks(lines_of(*events))
    heard = list(ws.events(after=7))
    assert [event.cursor for event in heard] == [8, 9]
    assert heard[0].service.service_name == "web"
    assert list(ws.pyro.events_workspace("w", follow=True)) == events
    assert [request.target.rsplit("/", 1)[1] for request in node.requests] == [
        "events?after=7",
        "events?follow=true",
    ]

    async def story() -> list[int]:
        workspace = AsyncWorkspace(of_async(ws.pyro), ws.info)
        return [event.cursor async for event in workspace.events(after=7)]

    assert asyncio.run(story()) == [8, 9]


# --- objects --------------------------------------------------------------------------------------


def test_a_service_as_an_object(node: FakeNode, ws: Workspace) -> None:
    node.handler = lambda _, conversation: conversation.answer(a_start(notices=["started"]))
    web = ws.services.start(
        "web",
        ["python3", "-m", "http.server"],
        ready=Probe.tcp("127.0.0.1:8000"),
        health=HealthCheck(Probe.command(["true"]), interval=1, on_failure="report"),
        wait=False,
    )
    assert node.requests[0].json == {
        "service": {
            "name": "web",
            "command": ["python3", "-m", "http.server"],
            "readiness": {"type": "tcp", "address": "127.0.0.1:8000"},
            "health": {
                "probe": {"type": "command", "command": ["true"]},
                "interval_seconds": 1,
                "on_failure": "report",
            },
        },
        "no_wait": True,
    }
    assert (web.name, web.workspace_id) == ("web", ws.id)
    assert web.info is not None
    assert web.info.running
    assert web.info.listening_ports == (("127.0.0.1", 8000),)
    assert (web.info.last_probe, web.info.notices) == ("connected", ("started",))
    node.handler = lambda _, conversation: conversation.answer(
        a_service(state="stopped", pid=None, stop_reason="sigterm")
    )
    assert not web.stop(grace=1).running
    assert web.info.stop_reason == "sigterm"


def test_naming_a_service_asks_nobody_and_all_are_listed(node: FakeNode, ws: Workspace) -> None:
    assert ws.services["web"].info is None
    assert node.requests == []
    with pytest.raises(TypeError):
        iter(ws.services)  # type: ignore[call-overload]
    node.handler = lambda _, conversation: conversation.answer(
        {"services": [a_service(), a_service(service_name="worker")]}
    )
    assert [one.service_name for one in ws.services.list()] == ["web", "worker"]


@pytest.mark.parametrize(
    ("probe", "payload"),
    [
        (Probe.file(".ready"), {"type": "file", "path": ".ready"}),
        (Probe.tcp("[::1]:1"), {"type": "tcp", "address": "[::1]:1"}),
        (Probe.http("http://a/"), {"type": "http", "url": "http://a/"}),
        (Probe.command("true"), {"type": "command", "command": "true"}),
        (Probe.command(["a", "b"]), {"type": "command", "command": ["a", "b"]}),
        (Probe.log("up"), {"type": "log", "pattern": "up"}),
        (Probe.notify(), {"type": "notify"}),
    ],
)
def test_every_probe_is_what_the_node_takes(probe: Probe, payload: dict[str, Any]) -> None:
    assert probe.payload == payload
    assert hash(probe) == hash(Probe(probe.type, probe.target))


def test_asyncio_has_the_same_objects(node: FakeNode, ws: Workspace) -> None:
    node.handler = lambda _, conversation: conversation.answer(a_start())

    async def story() -> None:
        workspace = AsyncWorkspace(of_async(ws.pyro), ws.info)
        web = await workspace.services.start("web", "serve", ready=Probe.log("up"))
        assert web.info is not None
        assert web.info.ready
        for info in (await web.wait(), await web.restart(), await web.status()):
            assert info.service_name == "web"
        await web.signal("HUP")
        await web.delete()

    asyncio.run(story())
    assert [request.method for request in node.requests] == [
        "POST",
        "GET",
        "POST",
        "GET",
        "POST",
        "DELETE",
    ]


# --- from a file ----------------------------------------------------------------------------------


def an_up(**changes: Any) -> dict[str, Any]:
    return {
        "workspace_id": "0123456789ab",
        "file": "pyro.toml",
        "count": 1,
        "failed_count": 0,
        "failure": None,
        "services": [],
        "timed_out": False,
        "notices": [],
        **changes,
    }


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_file_here_is_sent_with_what_it_names_and_nothing_else(
    node: FakeNode, pyro: Pyro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("PORT", "8000")
    monkeypatch.setenv("UNNAMED", "secret")
    (tmp_path / "compose.yaml").write_text("services: ...")
    (tmp_path / ".env").write_text("STAGE=test")
    (tmp_path / "test.env").write_text("A=1")
    named = [{"path": "test.env", "required": True}, {"path": "gone.env", "required": False}]

    def handler(request: Request, conversation: Conversation) -> None:
        if request.target == "/v1/manifests/needs":
            conversation.answer({"variables": ["PORT", "HOST", "UNSET"], "env_files": named})
        else:
            conversation.answer(an_up())

    node.handler = handler
    file = tmp_path / "compose.yaml"
    if kind == "blocking":
        pyro.up_services("w", file=file, env={"HOST": "here"}, services=["web"])
    else:
        other = of_async(pyro)
        asyncio.run(other.up_services("w", file=file, env={"HOST": "here"}, services=["web"]))
    first, second, asked = node.requests
    assert first.json == {
        "name": "compose.yaml",
        "text": "services: ...",
        "dot_env": "STAGE=test",
        "variables": {"HOST": "here"},
    }
    assert second.json == {**first.json, "variables": {"HOST": "here", "PORT": "8000"}}
    assert asked.target == "/v1/workspaces/w/services/up"
    assert asked.json == {
        "file": {
            "name": "compose.yaml",
            "text": "services: ...",
            "dot_env": "STAGE=test",
            "env_files": {"test.env": "A=1", "gone.env": None},
        },
        "variables": {"HOST": "here", "PORT": "8000"},
        "services": ["web"],
    }


def test_a_file_of_the_workspace_is_read_by_nobody_here(
    node: FakeNode, ws: Workspace, tmp_path: Path
) -> None:
    node.handler = lambda _, conversation: conversation.answer(an_up())
    ws.services.up(path="app/compose.yaml", env={"A": "b"}, remove_orphans=True, timeout=3)
    (asked,) = node.requests
    assert asked.json == {
        "path": "app/compose.yaml",
        "variables": {"A": "b"},
        "remove_orphans": True,
        "timeout_seconds": 3,
    }
    with pytest.raises(NotFoundError) as missing:
        ws.services.up(tmp_path / "pyro.toml")
    assert missing.value.code == "manifest_not_found"
    (tmp_path / "pyro.toml").write_bytes(b"\xff")
    with pytest.raises(InvalidError) as unreadable:
        ws.services.up(tmp_path / "pyro.toml")
    assert unreadable.value.code == "manifest_unreadable"


def test_services_of_a_file_that_fail_are_an_error_with_their_last_lines(
    node: FakeNode, ws: Workspace
) -> None:
    failure = a_failed_start()["failure"]
    web = {
        "service_name": "web",
        "action": "failed",
        "service": None,
        "log_tail": ["first", "last"],
        "failure": failure,
    }
    summary = {**failure, "code": "services_failed", "error": "service web is not as it should be"}
    node.handler = lambda _, conversation: conversation.answer(
        an_up(failed_count=1, failure=summary, services=[web])
    )
    with pytest.raises(ServicesFailedError, match="not as it should be") as raised:
        ws.services.up()
    error = raised.value
    assert (error.code, error.result["failed_count"]) == ("services_failed", 1)
    assert error.__notes__[-2:] == ["  web | first", "  web | last"]
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.code, again.result) == (type(error), error.code, error.result)


def test_down_says_which(node: FakeNode, ws: Workspace) -> None:
    down = {"workspace_id": "0123456789ab", "count": 0, "stopped_count": 0, "services": []}
    node.handler = lambda _, conversation: conversation.answer(down)
    assert ws.services.down()["stopped_count"] == 0
    ws.services.down(["web"], file="pyro.toml")
    assert [request.json for request in node.requests] == [
        {},
        {"services": ["web"], "file": "pyro.toml"},
    ]


def test_a_workspace_may_start_without_its_services(node: FakeNode, ws: Workspace) -> None:
    node.handler = lambda _, conversation: conversation.answer(a_workspace())
    ws.start()
    ws.start(resume=False)
    targets = [request.target for request in node.requests]
    start = f"/v1/workspaces/{ws.id}/start"
    assert targets == [start, f"{start}?no_resume=true"]
