"""Forwards and the network policy, against a node that answers what each story needs."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest
from fake_node import Conversation, FakeNode, Request, a_workspace, an_exec

from pyro_mcp import (
    AsyncPyro,
    AsyncWorkspace,
    ConflictError,
    Forward,
    InvalidError,
    NetworkDenied,
    NetworkProcess,
    Pyro,
    Workspace,
)
from pyro_mcp.results import CommandResult

Guest = Callable[[Conversation], None]


def reset(stream: socket.socket) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()


def connected(forward: Forward, at: int = 0, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, forward.ports[at].host_port), timeout=10)


def send_until_nobody_takes_it(client: socket.socket) -> int:
    sent = 0
    writable = select.poll()
    writable.register(client, select.POLLOUT)
    client.setblocking(False)
    while writable.poll(500):
        try:
            sent += client.send(b"x" * 65536)
        except BlockingIOError:
            pass
    client.settimeout(10)
    return sent


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


def behind(node: FakeNode, guest: Guest) -> None:
    """A workspace, and what listens on its ports."""

    def handle(request: Request, conversation: Conversation) -> None:
        if request.target.endswith("/connect") or "/connect?" in request.target:
            assert request.headers["upgrade"] == "pyro-port"
            guest(conversation)
        else:
            conversation.answer(a_workspace())

    node.handler = handle


def shout(conversation: Conversation) -> None:
    """Hears all, then says it louder."""
    conversation.upgrade()
    conversation.stream.sendall(b"> " + conversation.reader.read().upper())


@pytest.fixture
def ws(node: FakeNode, pyro: Pyro) -> Workspace:
    behind(node, shout)
    workspace = Workspace.get("web", pyro=pyro)
    node.requests.clear()
    return workspace


def test_bytes_go_both_ways_and_each_direction_ends_by_itself(
    node: FakeNode, ws: Workspace
) -> None:
    payload = b"abcdefgh" * 500_000
    with ws.forward((0, 80), (0, 81)) as forward:
        assert [one.guest_port for one in forward.ports] == [80, 81]
        for at, host in ((0, "127.0.0.1"), (1, "127.0.0.1"), (0, "localhost")):
            with connected(forward, at, host) as client:
                client.sendall(payload)
                client.shutdown(socket.SHUT_WR)
                assert client.makefile("rb").read() == b"> " + payload.upper()
        assert forward.failure is None
    _, *opened = [request.target.partition("?")[0] for request in node.requests]
    assert [target.rsplit("/", 2)[1] for target in opened] == ["80", "81", "80"]
    with pytest.raises(ConnectionRefusedError):
        connected(forward)
    forward.close()


def test_asyncio_forwards_too(node: FakeNode, ws: Workspace) -> None:
    async def story() -> None:
        location = ws.pyro._transport.location
        workspace = AsyncWorkspace(AsyncPyro(home=location.state, start=False), ws.info)

        async def asked(port: int, text: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(text)
            writer.write_eof()
            try:
                return await reader.read()
            finally:
                writer.close()
                await writer.wait_closed()

        async with workspace.forward(free_port()) as forward:
            (port,) = forward.ports
            texts = [b"%d" % number for number in range(50)]
            answers = await asyncio.gather(*(asked(port.host_port, text) for text in texts))
            assert answers == [b"> " + text for text in texts]
        with pytest.raises(ConnectionRefusedError):
            await asked(port.host_port, b"")
        # Closed before it ever ran.
        await (await workspace.forward((port.host_port, 80))).close()
        held = await workspace.forward((port.host_port, 80))
        reader, writer = await asyncio.open_connection("127.0.0.1", port.host_port)
        writer.write(b"x")
        await held.close()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()

    asyncio.run(story())


def test_nobody_inside_is_seen_as_a_reset_and_told(node: FakeNode, ws: Workspace) -> None:
    behind(
        node, lambda conversation: conversation.problem("conflict", "port_not_connected", "nobody")
    )
    with ws.forward((0, 80)) as forward:
        with connected(forward) as client, pytest.raises(ConnectionResetError):
            client.recv(1)
        assert forward.failure is not None
        assert forward.failure.code == "port_not_connected"
        behind(node, shout)
        with connected(forward) as client:
            client.shutdown(socket.SHUT_WR)
            assert client.recv(10) == b"> "
        assert forward.failure is None


def test_what_is_cut_inside_is_reset_here(node: FakeNode, ws: Workspace) -> None:
    behind(node, lambda conversation: conversation.upgrade())
    with (
        ws.forward((0, 80)) as forward,
        connected(forward) as client,
        pytest.raises(ConnectionResetError),
    ):
        client.recv(1)


def test_what_nobody_takes_inside_waits_here_and_a_reset_is_seen_all_the_same(
    node: FakeNode, ws: Workspace
) -> None:
    seen = threading.Event()

    def deaf(conversation: Conversation) -> None:
        conversation.upgrade()
        hung_up = select.poll()
        hung_up.register(conversation.stream, 0)
        assert hung_up.poll(10_000)
        seen.set()

    behind(node, deaf)
    with ws.forward((0, 80)) as forward:
        client = connected(forward)
        # What the system holds for two sockets, and a piece: not what comes.
        assert send_until_nobody_takes_it(client) < 32 << 20
        reset(client)
        assert seen.wait(10)


def test_what_nobody_takes_here_waits_inside_and_a_cut_is_seen_all_the_same(
    node: FakeNode, ws: Workspace
) -> None:
    cut = threading.Event()

    def loud(conversation: Conversation) -> None:
        conversation.upgrade()
        assert send_until_nobody_takes_it(conversation.stream) < 32 << 20
        cut.set()

    behind(node, loud)
    with ws.forward((0, 80)) as forward, connected(forward) as client:
        assert cut.wait(30)
        hung_up = select.poll()
        hung_up.register(client, 0)
        assert hung_up.poll(10_000)


def test_a_port_is_the_guests_number_or_what_is_asked_for(node: FakeNode, ws: Workspace) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        # Of several none is had, and nobody is asked for anything.
        free = free_port()
        with pytest.raises(ConflictError) as raised:
            ws.forward((free, 80), (taken, 81))
        assert raised.value.code == "port_taken"
        assert str(taken) in raised.value.hints[0]
        assert node.requests == []
        with ws.forward(taken, (free, 80), {"guest_port": 82, "host_port": 0}) as forward:
            preferred, exact, chosen = forward.ports
            assert preferred.host_port not in (0, taken)
            assert (exact.host, exact.host_port, exact.guest_port) == ("127.0.0.1", free, 80)
            assert chosen.host_port != 0
            assert repr(exact.host_port) in repr(forward)
    with ws.forward(taken) as forward:
        assert forward.ports[0].host_port == taken
    with ws.forward((0, 80), bind="0.0.0.0") as forward:
        assert forward.ports[0].host == "0.0.0.0"


@pytest.mark.parametrize(
    ("ports", "bind", "code"),
    [
        ([], None, "invalid_port"),
        ([0], None, "invalid_port"),
        ([(65536, 80)], None, "invalid_port"),
        (["80"], None, "invalid_port"),
        ([True], None, "invalid_port"),
        ([(0, 80)], "here", "invalid_bind"),
    ],
)
def test_what_is_no_port_is_bad_input(
    node: FakeNode, ws: Workspace, ports: Any, bind: str | None, code: str
) -> None:
    with pytest.raises(InvalidError) as raised:
        ws.forward(*ports, bind=bind)
    assert raised.value.code == code
    with pytest.raises(ConflictError) as unusable:
        ws.forward((0, 80), bind="192.0.2.1")
    assert unusable.value.code == "port_unusable"
    assert node.requests == []


def test_a_workspace_that_is_gone_leaves_no_port_behind(node: FakeNode, ws: Workspace) -> None:
    node.handler = lambda _, talk: talk.problem("not_found", "workspace_not_found", "gone")
    free = free_port()
    with pytest.raises(ValueError, match="gone"):
        ws.forward((free, 80))
    behind(node, shout)
    with ws.forward((free, 80)):
        pass


def test_the_last_reference_ends_a_forward(ws: Workspace) -> None:
    forward = ws.forward((0, 80))
    client = connected(forward)
    thread = forward._thread
    del forward
    thread.join(10)
    assert not thread.is_alive()
    with client, pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_forked_child_holds_no_port_and_no_connection(node: FakeNode, ws: Workspace) -> None:
    def greet(conversation: Conversation) -> None:
        conversation.upgrade()
        conversation.stream.sendall(b"hi")
        conversation.reader.read()

    behind(node, greet)
    forward = ws.forward((0, 80))
    with connected(forward) as client:
        assert client.makefile("rb").read(2) == b"hi"
        ended, end = os.pipe()
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(end)
                forward.close()
                os.write(tell, b"x")
                os.read(ended, 1)
            finally:
                os._exit(0)
        assert os.read(told, 1) == b"x"
        forward.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        with ws.forward((forward.ports[0].host_port, 80)):
            pass
        for pipe in (ended, end, told, tell):
            os.close(pipe)
        os.waitpid(child, 0)


# --- the policy -----------------------------------------------------------------------------------


def a_network(**changes: Any) -> dict[str, Any]:
    counters = [
        "open_connections",
        "connections",
        "closed_connections",
        "denied",
        "queries",
        "bytes_sent",
        "bytes_received",
        "buffer_bytes",
        "memory_bound_bytes",
    ]
    status = {
        "workspace_id": "111111111111",
        "network_policy": "off",
        "network_allow": [],
        "network_enabled": False,
        **dict.fromkeys(counters, 0),
    }
    return {**status, **changes}


ENTRY = {
    "seq": 2,
    "at": 2.0,
    "first_at": 1.0,
    "count": 2,
    "verdict": "denied",
    "protocol": "dns",
    "name": "example.com",
    "process": {"pid": 7, "name": "curl"},
    "reason": "not_allowed",
    "why": "no rule allows example.com",
    "hint": "--allow example.com",
}


def test_the_network_is_shown_set_and_listened_to(node: FakeNode, ws: Workspace) -> None:
    import json

    def handle(request: Request, conversation: Conversation) -> None:
        if "/network/log" in request.target:
            conversation.chunks(json.dumps(ENTRY).encode() + b"\n")
        elif request.method == "GET":
            conversation.answer(a_network(denied=3))
        else:
            conversation.answer(a_network(network_allow=["a:1"], closed_connections=1))

    node.handler = handle
    shown = ws.network.show()
    assert (shown.network_policy, shown.network_allow, shown.denied) == ("off", (), 3)
    changed = ws.network.set(allow="a:1", add=True)
    assert (changed.network_allow, changed.closed_connections) == (("a:1",), 1)
    ws.network.set("egress", allow=["a", "b"])
    ws.network.set()
    (entry,) = ws.network.log(after=1, follow=True)
    assert (entry.verdict, entry.name, entry.address) == ("denied", "example.com", None)
    assert entry.process == NetworkProcess(pid=7, name="curl")
    assert [request.json for request in node.requests[1:4]] == [
        {"network_allow": ["a:1"], "add": True},
        {"network_policy": "egress", "network_allow": ["a", "b"], "add": False},
        {"network_allow": [], "add": False},
    ]
    assert "after=1" in node.requests[4].target
    assert "follow=true" in node.requests[4].target

    async def story() -> None:
        location = ws.pyro._transport.location
        workspace = AsyncWorkspace(AsyncPyro(home=location.state, start=False), ws.info)
        assert await workspace.network.show() == shown
        assert [one async for one in workspace.network.log()] == [entry]

    asyncio.run(story())


def test_what_was_refused_is_told_with_the_command_and_what_is_allowed_with_the_workspace(
    node: FakeNode, ws: Workspace
) -> None:
    refused = {"why": "no rule allows example.com", "hint": "--allow example.com"}

    def handle(request: Request, conversation: Conversation) -> None:
        if request.target.endswith("/execs"):
            conversation.started()
            conversation.ended(exit_code=6, network_denied=[refused])
        else:
            conversation.answer(a_workspace(network_allow=["a:1"]))

    node.handler = handle
    result = ws.run("curl example.com")
    assert result.network_denied == (NetworkDenied(**refused),)
    assert ws.refresh().network_allow == ("a:1",)
    # A node that has nothing to say leaves it out.
    quiet = CommandResult.of(
        an_exec(), stdout="", stderr="", raw_stdout=b"", raw_stderr=b"", notices=()
    )
    assert quiet.network_denied == ()
