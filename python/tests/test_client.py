"""The client against a node that answers what each story needs."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import pickle
import socket
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from fake_node import (
    CONTROL,
    END,
    STDERR,
    STDIN,
    STDOUT,
    Conversation,
    FakeNode,
    Request,
    a_workspace,
    an_exec,
)

from pyro_mcp import (
    AsyncPyro,
    AsyncWorkspace,
    CommandFailedError,
    ConflictError,
    FailedError,
    InvalidError,
    NodeError,
    NotAvailableError,
    NotFoundError,
    Pyro,
    PyroError,
    Workspace,
)

Call = Callable[[Pyro], Any]


def test_a_call_sends_what_it_was_given_and_gives_what_it_got(node: FakeNode, pyro: Pyro) -> None:
    node.handler = lambda _, conversation: conversation.answer(a_workspace(name="web"))
    made = pyro.create_workspace(
        environment="debian:12-build", name="web", labels={"a": "b"}, mem_mib=2048
    )
    assert made["name"] == "web"
    (request,) = node.requests
    assert (request.method, request.target) == ("POST", "/v1/workspaces")
    assert request.json == {
        "environment": "debian:12-build",
        "labels": {"a": "b"},
        "mem_mib": 2048,
        "name": "web",
        "network_policy": "off",
        "vcpu_count": 1,
    }


@pytest.mark.parametrize(
    ("kind", "family", "base"),
    [
        ("invalid", InvalidError, ValueError),
        ("not_found", NotFoundError, ValueError),
        ("conflict", ConflictError, RuntimeError),
        ("not_available", NotAvailableError, RuntimeError),
        ("failed", FailedError, RuntimeError),
    ],
)
def test_the_kind_of_a_problem_decides_its_class(
    node: FakeNode, pyro: Pyro, kind: str, family: type[PyroError], base: type[Exception]
) -> None:
    node.handler = lambda _, conversation: conversation.problem(kind, "some_code", "No.", "Try x")
    calls: list[Call] = [
        lambda pyro: pyro.status_workspace("web"),
        lambda pyro: pyro.run_in_vm(environment="debian:12", command="true"),
        lambda pyro: asyncio.run(of_async(pyro).status_workspace("web")),
    ]
    for call in calls:
        with pytest.raises(PyroError) as raised:
            call(pyro)
        error = raised.value
        assert type(error) is family
        assert isinstance(error, base)
        assert (str(error), error.code, error.hints) == ("No.", "some_code", ("Try x",))
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.code, again.hints) == (
            type(error),
            str(error),
            error.code,
            error.hints,
        )


def void(_: object) -> None:
    """Nothing."""


def of_async(pyro: Pyro) -> AsyncPyro:
    return AsyncPyro(home=pyro._transport.location.state, start=False, timeout=10)


@pytest.mark.parametrize(
    "call",
    [
        lambda pyro: pyro.create_workspace(secrets=[{"name": "A", "value": "b"}]),
        lambda pyro: pyro.exec_workspace("w", command="true", secret_env={"A": "A"}),
        lambda pyro: pyro.read_shell("w", "s"),
        lambda pyro: pyro.start_service("w", "s", command="true", secret_env={"A": "A"}),
        lambda pyro: pyro.close_shell("w", "s"),
        lambda pyro: asyncio.run(of_async(pyro).create_workspace(secrets=[{"name": "A"}])),
        lambda pyro: of_async(pyro).open_shell("w"),
    ],
)
def test_what_is_not_built_yet_says_so(node: FakeNode, pyro: Pyro, call: Call) -> None:
    with pytest.raises(NotAvailableError) as raised:
        call(pyro)
    assert raised.value.code == "not_available"
    assert raised.value.hints
    assert node.requests == []


def test_hasattr_knows_what_is_built(pyro: Pyro) -> None:
    assert hasattr(pyro, "exec_workspace")
    assert hasattr(pyro, "start_service")
    assert not hasattr(pyro, "open_shell")
    assert not hasattr(pyro, "nonsense")


def test_allow_host_compat_is_ignored_with_a_notice(node: FakeNode, pyro: Pyro) -> None:
    node.handler = lambda _, conversation: conversation.answer(a_workspace())
    with pytest.warns(UserWarning, match="ignored"):
        pyro.create_workspace(allow_host_compat=True)
    assert "allow_host_compat" not in node.requests[0].json


@pytest.mark.parametrize("command", [[], None, 7, ["a", 1], [b"a"]])
def test_what_is_no_command_is_bad_input(pyro: Pyro, command: Any) -> None:
    with pytest.raises(ValueError, match="not a command") as raised:
        pyro.exec_workspace("w", command=command)
    assert isinstance(raised.value, InvalidError)
    assert raised.value.code == "invalid_exec"


@pytest.mark.parametrize("ttl", [0, 59, 3601, None, "600"])
def test_the_time_of_a_vm_has_bounds(node: FakeNode, pyro: Pyro, ttl: Any) -> None:
    with pytest.raises(InvalidError) as raised:
        pyro.create_vm(environment="debian:12", ttl_seconds=ttl)
    assert raised.value.code == "invalid_limit"
    assert node.requests == []


def test_a_workspace_is_never_taken_for_a_vm(node: FakeNode, pyro: Pyro) -> None:
    node.handler = lambda _, conversation: conversation.answer(a_workspace())
    calls: list[Call] = [
        lambda pyro: pyro.exec_vm("web", command="true"),
        lambda pyro: pyro.delete_vm("web"),
        lambda pyro: pyro.stop_vm("web"),
    ]
    for call in calls:
        with pytest.raises(NotFoundError) as raised:
            call(pyro)
        assert raised.value.code == "vm_not_found"
    assert {request.method for request in node.requests} == {"GET"}


def test_a_vm_is_deleted_though_its_command_failed(node: FakeNode, pyro: Pyro) -> None:
    def handle(request: Request, conversation: Conversation) -> None:
        if request.target.endswith("/execs"):
            conversation.problem("failed", "command_not_found", "there is no such command")
        else:
            conversation.answer(a_workspace(labels={"pyro.kind": "vm"}))

    node.handler = handle
    with pytest.raises(FailedError):
        pyro.exec_vm("111111111111", command=["nope"])
    assert [request.method for request in node.requests] == ["GET", "POST", "DELETE"]


def test_vms_are_not_listed_as_workspaces(node: FakeNode, pyro: Pyro) -> None:
    listed = [a_workspace(), a_workspace(labels={"pyro.kind": "vm"})]
    node.handler = lambda _, conversation: conversation.answer({"count": 2, "workspaces": listed})
    assert pyro.list_workspaces() == {"count": 1, "workspaces": listed[:1]}


# --- answers that go wrong ------------------------------------------------------------------------


def test_a_question_is_asked_again_when_the_node_went_and_an_order_is_not(
    node: FakeNode, pyro: Pyro
) -> None:
    node.handler = lambda _, conversation: None
    with pytest.raises(NodeError) as raised:
        pyro.node_status()
    assert raised.value.code == "node_connection_lost"
    assert len(node.requests) == 2
    with pytest.raises(NodeError):
        pyro.start_workspace("web")
    assert len(node.requests) == 3


def test_a_node_that_says_nothing_is_not_waited_for_for_ever(node: FakeNode) -> None:
    done = threading.Event()
    node.handler = lambda *_: void(done.wait(30))
    try:
        with pytest.raises(NodeError) as raised:
            Pyro(home=node.state, start=False, timeout=0.2).node_status()
        assert raised.value.code == "node_timeout"
        with pytest.raises(NodeError) as raised:
            asyncio.run(AsyncPyro(home=node.state, start=False, timeout=0.2).node_status())
        assert raised.value.code == "node_timeout"
    finally:
        done.set()


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{x}",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops",
        b"SSH-2.0-OpenSSH\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_told(node: FakeNode, pyro: Pyro, raw: bytes) -> None:
    node.handler = lambda _, conversation: conversation.stream.sendall(raw)
    with pytest.raises(NodeError) as raised:
        pyro.node_status()
    assert raised.value.code == "node_reply_invalid"


def test_no_node_and_none_to_be_started_is_said(tmp_path: Path) -> None:
    for home in (tmp_path / "absent", tmp_path):
        with pytest.raises(ConflictError) as raised:
            Pyro(home=home, start=False).node_status()
        assert raised.value.code == "node_not_running"
        with pytest.raises(ConflictError):
            asyncio.run(AsyncPyro(home=home, start=False).node_status())


def test_a_state_directory_with_a_long_path_works(tmp_path: Path) -> None:
    state = tmp_path / ("long, with a space " * 10)
    state.mkdir()
    directory = os.open(state, os.O_RDONLY)
    node = FakeNode(Path(f"/proc/self/fd/{directory}"))
    try:
        node.handler = lambda _, conversation: conversation.answer({"pid": 7})
        assert Pyro(home=state, start=False).node_status()["pid"] == 7
    finally:
        node.close()
        os.close(directory)


# --- commands -------------------------------------------------------------------------------------


def test_the_output_of_a_command_is_gathered(node: FakeNode, pyro: Pyro) -> None:
    def handle(_: Request, conversation: Conversation) -> None:
        conversation.started()
        conversation.frame(STDOUT, "grün".encode()[:3])
        conversation.frame(STDERR, b"\xff")
        conversation.frame(STDOUT, "grün".encode()[3:])
        conversation.ended(exit_code=3, stdout_bytes=5, stderr_bytes=1)

    node.handler = handle
    root = PurePosixPath("/")
    result = pyro.exec_workspace("web", command=["x"], timeout_seconds=5, cwd=root, env={"A": "b"})
    assert (result["stdout"], result["stderr"], result["exit_code"]) == ("grün", "\ufffd", 3)
    assert result["lossy"] is True
    assert node.requests[0].json == {
        "command": ["x"],
        "cwd": "/",
        "env": {"A": "b"},
        "timeout_seconds": 5,
    }
    assert node.requests[0].headers["upgrade"] == "pyro-stream"


def answering(handle: Callable[[Request, Conversation], None]) -> Any:
    """Answers a look at the workspace; the rest is the story's."""

    def both(request: Request, conversation: Conversation) -> None:
        if request.method == "GET" and request.target == "/v1/workspaces/web":
            conversation.answer(a_workspace(name="web"))
        else:
            handle(request, conversation)

    return both


def test_bytes_survive(node: FakeNode, pyro: Pyro) -> None:
    every = bytes(range(256))

    def handle(_: Request, conversation: Conversation) -> None:
        conversation.started()
        conversation.frame(STDOUT, every)
        conversation.ended()

    node.handler = answering(handle)
    result = Workspace.get("web", pyro=pyro).run("x")
    assert result.raw_stdout == every
    assert result.ok


def test_a_checked_command_that_fails_raises_with_its_result(node: FakeNode, pyro: Pyro) -> None:
    def handle(_: Request, conversation: Conversation) -> None:
        conversation.started()
        conversation.frame(STDERR, b"first\nlast\n")
        conversation.ended(exit_code=4)

    node.handler = answering(handle)
    workspace = Workspace.get("web", pyro=pyro)
    with pytest.raises(CommandFailedError, match="ended with 4: last") as raised:
        workspace.run("x", check=True)
    assert raised.value.code == "command_failed"
    assert pickle.loads(pickle.dumps(raised.value)).result == raised.value.result
    assert workspace.run("x").exit_code == 4


def test_stdin_is_sent_whole_while_output_comes(node: FakeNode, pyro: Pyro) -> None:
    data = os.urandom(3_000_000)

    def handle(request: Request, conversation: Conversation) -> None:
        conversation.started()
        assert request.json["stdin"] is True
        heard = b""
        while (frame := conversation.hear()) is not None and frame[0] == STDIN:
            heard += frame[1]
            # Both sides are full at times: whoever does not read while it writes hangs here.
            conversation.frame(STDOUT, frame[1])
        assert frame == (END, b"")
        conversation.ended(exit_code=0 if heard == data else 1)

    node.handler = answering(handle)
    assert Workspace.get("web", pyro=pyro).run("cat", input=data).raw_stdout == data

    async def story() -> None:
        workspace = await AsyncWorkspace.get("web", pyro=of_async(pyro))
        assert (await workspace.run("cat", input=data)).raw_stdout == data

    asyncio.run(story())


def test_output_comes_as_it_is_printed(node: FakeNode, pyro: Pyro) -> None:
    go_on = threading.Event()

    def handle(_: Request, conversation: Conversation) -> None:
        conversation.started()
        conversation.frame(STDOUT, b"one\r\ntw")
        assert go_on.wait(10)
        go_on.clear()
        conversation.frame(STDERR, b"warning\n")
        conversation.frame(STDOUT, b"o\nthree")
        conversation.ended()

    node.handler = handle
    process = pyro.open_exec("web", command="x")
    assert process.stdout.read_some() == b"one\r\ntw"
    assert process.exit_code is None
    go_on.set()
    assert process.stdout.read() == b"o\nthree"
    assert process.stderr.read() == b"warning\n"
    assert process.wait().ok
    assert process.offset == 22

    lines = []
    for line in pyro.open_exec("web", command="x").stdout.lines():
        go_on.set()
        lines.append(line)
    assert lines == ["one", "two", "three"]

    async def story() -> list[str]:
        lines = []
        async with await of_async(pyro).open_exec("web", command="x") as process:
            async for line in process.stdout.lines():
                go_on.set()
                lines.append(line)
            assert (await process.wait()).ok
        return lines

    go_on.clear()
    assert asyncio.run(story()) == lines


def test_a_reader_that_stops_between_lines_misses_none(node: FakeNode, pyro: Pyro) -> None:
    def handle(_: Request, conversation: Conversation) -> None:
        conversation.started()
        conversation.frame(STDOUT, b"1\n2\n3\n4")
        conversation.ended()

    node.handler = handle
    process = pyro.open_exec("web", command="x")
    for line in process.stdout.lines():
        assert line == "1"
        break
    assert process.stdout.read_some(2) == b"2\n"
    assert list(process.stdout.lines()) == ["3", "4"]


def test_two_threads_read_the_two_streams(node: FakeNode, pyro: Pyro) -> None:
    def handle(_: Request, conversation: Conversation) -> None:
        conversation.started()
        for number in range(500):
            conversation.frame(STDOUT if number % 3 else STDERR, b"%d\n" % number)
        conversation.ended()

    node.handler = handle
    process = pyro.open_exec("web", command="x")
    heard: dict[str, list[str]] = {}

    def read(name: str) -> None:
        heard[name] = list(getattr(process, name).lines())

    threads = [threading.Thread(target=read, args=(name,)) for name in ("stdout", "stderr")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert heard["stdout"] == [str(n) for n in range(500) if n % 3]
    assert heard["stderr"] == [str(n) for n in range(500) if not n % 3]


def test_waiting_ends_when_its_time_is_over_and_the_command_goes_on(
    node: FakeNode, pyro: Pyro
) -> None:
    go_on = threading.Event()

    def handle(_: Request, conversation: Conversation) -> None:
        conversation.started()
        assert go_on.wait(10)
        conversation.ended()

    node.handler = handle
    process = pyro.open_exec("web", command="x")
    with pytest.raises(NodeError) as raised:
        process.wait(timeout=0.05)
    assert raised.value.code == "node_timeout"
    with pytest.raises(NodeError):
        process.stdout.read_some(timeout=0.05)
    go_on.set()
    assert process.wait().ok


def test_a_command_is_left_running_only_when_that_is_said(node: FakeNode, pyro: Pyro) -> None:
    heard: list[Any] = []
    told = threading.Semaphore(0)

    def handle(_: Request, conversation: Conversation) -> None:
        conversation.started()
        heard.append(conversation.hear())
        told.release()

    node.handler = handle
    process = pyro.open_exec("web", command="x")
    process.detach()
    assert told.acquire(timeout=10)
    assert heard.pop() == (CONTROL, b'{"type": "detach"}')
    with pytest.raises(ConflictError):
        process.wait()

    with pyro.open_exec("web", command="x"):
        pass
    assert told.acquire(timeout=10)
    assert heard.pop() is None

    # Nor does one nobody holds any more go on.
    pyro.open_exec("web", command="x")
    assert told.acquire(timeout=10)
    assert heard.pop() is None

    async def story() -> None:
        process = await of_async(pyro).open_exec("web", command="x")
        await process.detach()

    asyncio.run(story())
    assert told.acquire(timeout=10)
    assert heard.pop() == (CONTROL, b'{"type": "detach"}')


def test_a_cancelled_task_ends_its_command(node: FakeNode, pyro: Pyro) -> None:
    runs, gone = threading.Event(), threading.Event()

    def handle(_: Request, conversation: Conversation) -> None:
        conversation.started()
        runs.set()
        assert conversation.hear() is None
        gone.set()

    node.handler = handle

    async def story() -> None:
        task = asyncio.create_task(of_async(pyro).exec_workspace("web", command="x"))
        await asyncio.to_thread(runs.wait, 10)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(story())
    assert gone.wait(10)


def test_a_lost_stream_says_where_to_attach_and_does(node: FakeNode, pyro: Pyro) -> None:
    def handle(request: Request, conversation: Conversation) -> None:
        conversation.started()
        if request.method == "POST":
            conversation.frame(STDOUT, b"first ")
        else:
            assert "offset=6" in request.target
            conversation.frame(STDOUT, b"second")
            conversation.ended()

    node.handler = handle
    process = pyro.open_exec("web", command="x")
    assert process.stdout.read_some() == b"first "
    with pytest.raises(NodeError) as raised:
        process.stdout.read()
    assert raised.value.code == "node_connection_lost"
    assert raised.value.hints == (
        "the command goes on for now; attach to it: pyro attach 111111111111 aaaaaaaaaaaa",
    )
    again = process.attach()
    assert again.stdout.read() == b"second"
    assert again.wait().ok

    async def story() -> None:
        process = await of_async(pyro).open_exec("web", command="x")
        with pytest.raises(NodeError):
            await process.stdout.read()
        assert await (await process.attach()).stdout.read() == b"second"

    asyncio.run(story())


def test_a_problem_on_a_stream_is_raised(node: FakeNode, pyro: Pyro) -> None:
    def handle(_: Request, conversation: Conversation) -> None:
        conversation.started()
        problem = {
            "kind": "failed",
            "code": "exec_lost",
            "message": "exec aaaaaaaaaaaa ended with its VM",
            "causes": ["vm_died"],
            "hints": ["look"],
        }
        conversation.say(type="problem", problem=problem)

    node.handler = handle
    with pytest.raises(FailedError, match="ended with its VM: vm_died") as raised:
        pyro.exec_workspace("web", command="x")
    assert raised.value.code == "exec_lost"
    assert raised.value.causes == ("vm_died",)


def test_a_timeout_that_the_node_does_not_keep_is_kept_here(
    node: FakeNode, pyro: Pyro, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyro_mcp._calls.GRACE", 0.05)
    done = threading.Event()

    def handle(_: Request, conversation: Conversation) -> None:
        conversation.started()
        assert done.wait(30)

    node.handler = handle
    try:
        with pytest.raises(NodeError) as raised:
            pyro.exec_workspace("web", command="x", timeout_seconds=0.05)
        assert raised.value.code == "node_timeout"
        with pytest.raises(NodeError) as raised:
            asyncio.run(of_async(pyro).exec_workspace("web", command="x", timeout_seconds=0.05))
        assert raised.value.code == "node_timeout"
    finally:
        done.set()


def test_waiting_for_a_detached_command_asks_until_it_ended(node: FakeNode, pyro: Pyro) -> None:
    def handle(request: Request, conversation: Conversation) -> None:
        assert "/wait?timeout_seconds=" in request.target
        conversation.answer(an_exec(running=len(node.requests) < 3))

    node.handler = handle
    assert pyro.wait_exec("web", "aaaaaaaaaaaa")["running"] is False
    assert len(node.requests) == 3


def test_kept_output_is_read_by_range(node: FakeNode, pyro: Pyro) -> None:
    node.handler = lambda _, conversation: conversation.raw(
        b"\xff\xfe", 200, "application/octet-stream", "Pyro-Output-From: 5", "Pyro-Output-End: 9"
    )
    output = pyro.read_exec_output("web", "aaaaaaaaaaaa", offset=5, length=4, stream="stdout")
    assert (output.start, output.end, output.data) == (5, 9, b"\xff\xfe")
    assert node.requests[0].target.endswith("/output?offset=5&length=4&stream=stdout")


# --- images ---------------------------------------------------------------------------------------


def test_the_progress_of_a_build_is_heard(node: FakeNode, pyro: Pyro) -> None:
    events = [
        {"type": "progress", "message": "fetching", "fraction": None},
        {"type": "progress", "message": "packing", "fraction": 0.5},
        {"type": "done", "environment": {"name": "debian:12"}, "built": True},
    ]
    raw = b"\n".join(json.dumps(event).encode() for event in events) + b"\n"
    node.handler = lambda _, conversation: conversation.chunks(raw[:30], raw[30:31], raw[31:])
    heard: list[Any] = []
    built = pyro.build_environment("debian:12", progress=lambda *said: heard.append(said))
    assert built["name"] == "debian:12"
    assert heard == [("fetching", None), ("packing", 0.5)]
    heard.clear()
    progress: Any = lambda *said: heard.append(said)  # noqa: E731
    asyncio.run(of_async(pyro).build_environment("debian:12", progress=progress))
    assert len(heard) == 2


def test_a_build_that_fails_raises(node: FakeNode, pyro: Pyro) -> None:
    problem = {"kind": "failed", "code": "build_failed", "message": "no space"}
    line = json.dumps({"type": "problem", "problem": problem}).encode() + b"\n"
    node.handler = lambda _, conversation: conversation.chunks(line)
    with pytest.raises(FailedError, match="no space"):
        pyro.build_environment("debian:12")


def test_an_archive_is_sent_from_a_path_or_a_file(
    node: FakeNode, pyro: Pyro, tmp_path: Path
) -> None:
    data = os.urandom(700_000)
    (tmp_path / "root.tar").write_bytes(data)
    node.handler = lambda request, conversation: conversation.answer(
        {"name": "py", "bytes_read": len(request.body)}
    )
    sources: list[Any] = [
        tmp_path / "root.tar",
        str(tmp_path / "root.tar"),
        io.BytesIO(data),
    ]
    for source in sources:
        assert pyro.import_environment("py", source)["bytes_read"] == len(data)
    assert all(request.body == data for request in node.requests)
    imported = asyncio.run(of_async(pyro).import_environment("py", tmp_path / "root.tar"))
    assert imported["bytes_read"] == len(data)
    with pytest.raises(FailedError) as raised:
        pyro.import_environment("py", tmp_path / "absent.tar")
    assert raised.value.code == "input_unreadable"


def test_an_archive_that_is_refused_early_says_why(node: FakeNode, pyro: Pyro) -> None:
    def handle_raw(listener: socket.socket) -> None:
        stream, _ = listener.accept()
        with stream:
            stream.recv(100)
            Conversation(stream).problem("invalid", "invalid_environment_name", "no name")

    listener = socket.socket(socket.AF_UNIX)
    state = node.state.parent / "other"
    state.mkdir()
    listener.bind(str(state / "node.sock"))
    listener.listen()
    thread = threading.Thread(target=handle_raw, args=(listener,))
    thread.start()
    with pytest.raises((InvalidError, NodeError)) as raised:
        Pyro(home=state, start=False).import_environment("..", io.BytesIO(b"x" * 10_000_000))
    thread.join(10)
    listener.close()
    # What was sent and not read may have thrown the answer away.
    assert raised.value.code in {"invalid_environment_name", "node_connection_lost"}


# --- threads, forks, names ------------------------------------------------------------------------


def test_a_forked_child_uses_the_client_and_leaves_the_parents_streams_alone(
    node: FakeNode, pyro: Pyro
) -> None:
    go_on = threading.Event()

    def handle(request: Request, conversation: Conversation) -> None:
        if request.target.endswith("/execs"):
            conversation.started()
            assert go_on.wait(10)
            conversation.frame(STDOUT, b"for the parent")
            conversation.ended()
        else:
            conversation.answer({"pid": 7})

    node.handler = handle
    process = pyro.open_exec("web", command="x")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = b"nothing"
        try:
            assert pyro.node_status()["pid"] == 7
            try:
                process.wait()
            except ConflictError as error:
                said = error.code.encode()
            process.close()
        finally:
            os.write(writer, said)
            os._exit(0)
    os.close(writer)
    assert os.read(reader, 100) == b"stream_of_another_process"
    os.close(reader)
    os.waitpid(child, 0)
    go_on.set()
    assert process.stdout.read() == b"for the parent"


def test_at_means_what_was_set_for_the_directory_or_the_nearest_above(
    node: FakeNode, pyro: Pyro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.handler = lambda _, conversation: conversation.answer(a_workspace())
    below = tmp_path / 'it\'s "here"' / "ä\n" / "deeper"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    with pytest.raises(InvalidError) as raised:
        pyro.status_workspace("@")
    assert raised.value.code == "no_current_workspace"
    # As the command line writes it: Rust's escape_ascii.
    key = str(tmp_path) + '/it\\\'s \\"here\\"/\\xc3\\xa4\\n'
    (node.state / "selections.json").write_text(json.dumps({key: "chosen"}))
    pyro.status_workspace("@")
    monkeypatch.setenv("PYRO_WORKSPACE", "named")
    pyro.status_workspace("@")
    asked = [request.target for request in node.requests]
    assert asked == ["/v1/workspaces/chosen", "/v1/workspaces/named"]


@pytest.mark.parametrize("name", ["", None, 7])
def test_what_is_no_workspace_is_bad_input(node: FakeNode, pyro: Pyro, name: Any) -> None:
    with pytest.raises(ValueError, match="workspace"):
        pyro.delete_workspace(name)
    assert node.requests == []


def test_leaving_a_workspace_deletes_it_only_where_it_was_made(node: FakeNode, pyro: Pyro) -> None:
    node.handler = lambda _, conversation: conversation.answer(a_workspace())
    with Workspace.get("web", pyro=pyro):
        pass
    assert "DELETE" not in [request.method for request in node.requests]
    with pytest.raises(KeyError), Workspace.create(pyro=pyro):
        raise KeyError
    assert [request.method for request in node.requests][-1] == "DELETE"

    async def story() -> None:
        async with AsyncWorkspace.create(pyro=of_async(pyro)) as made:
            assert made.id == "111111111111"
        kept = await AsyncWorkspace.create(pyro=of_async(pyro))
        assert kept.info.environment == "debian:12"

    asyncio.run(story())
    assert [request.method for request in node.requests][-3:] == ["POST", "DELETE", "POST"]


def test_a_workspace_that_is_gone_already_is_left_without_complaint(
    node: FakeNode, pyro: Pyro
) -> None:
    def handle(request: Request, conversation: Conversation) -> None:
        if request.method == "DELETE":
            conversation.problem("not_found", "workspace_not_found", "gone")
        else:
            conversation.answer(a_workspace())

    node.handler = handle
    with Workspace.create(pyro=pyro):
        pass


def test_a_workspace_that_goes_while_all_are_listed_is_left_out(node: FakeNode, pyro: Pyro) -> None:
    def handle(request: Request, conversation: Conversation) -> None:
        if request.target == "/v1/workspaces":
            listed = [a_workspace(workspace_id=id_ * 12) for id_ in "12"]
            conversation.answer({"count": 2, "workspaces": listed})
        elif "1" in request.target.rsplit("/", 1)[1]:
            conversation.problem("not_found", "workspace_not_found", "gone")
        else:
            conversation.answer(a_workspace(workspace_id="2" * 12))

    node.handler = handle
    assert [one.id for one in Workspace.list(pyro=pyro)] == ["2" * 12]
    listed = asyncio.run(AsyncWorkspace.list(pyro=of_async(pyro)))
    assert [one.id for one in listed] == ["2" * 12]
