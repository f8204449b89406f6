"""Stories on real virtual machines: `PYRO_E2E_PYRO` names the binary under test."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from pyro_mcp import (
    AsyncPyro,
    AsyncWorkspace,
    CommandFailedError,
    ConflictError,
    InvalidError,
    NodeError,
    NotFoundError,
    Probe,
    Process,
    Pyro,
    ServiceFailedError,
    ServicesFailedError,
    Workspace,
)

pytestmark = pytest.mark.vm


def make(real: Pyro, **more: object) -> Workspace:
    return Workspace.create(mem_mib=256, pyro=real, **more)  # type: ignore[arg-type]


def beside(real: Pyro) -> AsyncPyro:
    location = real._transport.location
    return AsyncPyro(home=location.state, program=location.program)


def test_a_command_in_a_vm_of_its_own(real: Pyro) -> None:
    result = real.run_in_vm(
        environment="debian:12", command="uname -r; echo oops >&2; exit 3", mem_mib=256
    )
    assert result["stdout"].strip() != os.uname().release
    assert (result["stderr"], result["exit_code"]) == ("oops\n", 3)
    assert result["cleanup"] == {
        "vm_id": result["vm_id"],
        "deleted": True,
        "reason": "post_exec_cleanup",
    }
    with pytest.raises(NotFoundError):
        real.status_workspace(result["vm_id"])


def test_the_life_of_a_vm_that_was_created_by_hand(real: Pyro) -> None:
    vm = real.create_vm(environment="debian:12", mem_mib=256)
    assert (vm["state"], vm["ttl_seconds"], vm["network_enabled"]) == ("started", 600, False)
    vm_id = vm["vm_id"]
    assert vm_id not in [one["workspace_id"] for one in real.list_workspaces()["workspaces"]]
    assert real.network_info_vm(vm_id)["network_enabled"] is False
    assert real.stop_vm(vm_id)["state"] == "stopped"
    assert real.start_vm(vm_id)["state"] == "started"
    result = real.exec_vm(vm_id, command=["echo", "once"])
    assert (result["vm_id"], result["stdout"]) == (vm_id, "once\n")
    assert result["cleanup"]["deleted"]
    with pytest.raises(NotFoundError):
        real.status_vm(vm_id)
    assert real.reap_expired() == {"deleted_vm_ids": [], "count": 0}


def test_the_life_of_a_workspace(real: Pyro) -> None:
    made = real.create_workspace(name="life", labels={"team": "web"}, mem_mib=256)
    assert made["state"] == "started"
    assert made["environment"] == "debian:12"
    with pytest.raises(ConflictError) as taken:
        real.create_workspace(name="life", mem_mib=256)
    assert taken.value.code == "workspace_name_taken"
    result = real.exec_workspace("life", command="echo kept > note; pwd", env={"A": "b"})
    assert (result["stdout"], result["sequence"]) == ("/workspace\n", 1)
    assert real.stop_workspace("life")["state"] == "stopped"
    with pytest.raises(ConflictError) as stopped:
        real.exec_workspace("life", command="true", no_start=True)
    assert stopped.value.code == "workspace_stopped"
    # It starts again when it is used, and says so.
    again = real.exec_workspace("life", command=["cat", "note"])
    assert again["stdout"] == "kept\n"
    assert again["notices"]
    updated = real.update_workspace("life", clear_name=True, clear_labels=["team"])
    assert (updated["name"], updated["labels"]) == (None, {})
    workspace = made["workspace_id"]
    assert [one["stdout"] for one in real.logs_workspace(workspace)["entries"]] == [
        "/workspace\n",
        "kept\n",
    ]
    assert real.list_execs(workspace[:6])["count"] == 2
    assert workspace in [one["workspace_id"] for one in real.disk_usage()["workspaces"]]
    assert real.prune_workspaces(older_than_seconds=0, dry_run=True)["count"] == 0
    assert real.delete_workspace(workspace)["reason"] == "explicit_delete"
    with pytest.raises(NotFoundError) as gone:
        real.status_workspace(workspace)
    assert gone.value.code == "workspace_not_found"


def test_bad_input_is_a_value_error(real: Pyro) -> None:
    for wrong in ({"environment": "../x"}, {"vcpu_count": 0}, {"mem_mib": 1}, {"name": "a\nb"}):
        with pytest.raises(ValueError, match=r".") as raised:
            real.create_workspace(**wrong)
        assert isinstance(raised.value, InvalidError)
        assert raised.value.hints
    with pytest.raises(NotFoundError):
        real.exec_workspace("../../etc", command="true")


@pytest.fixture(scope="module")
def ws(real: Pyro) -> Workspace:
    return make(real, name="stories")


def test_bytes_pass_unharmed(ws: Workspace) -> None:
    data = bytes(range(256)) * 4000
    result = ws.run("tee copy; printf '\\377\\376' >&2", input=data, check=True)
    assert result.raw_stdout == data
    assert (result.raw_stderr, result.stderr) == (b"\xff\xfe", "\ufffd\ufffd")


def test_a_timeout_ends_the_whole_tree_and_keeps_the_output(ws: Workspace) -> None:
    result = ws.run("echo before; (sleep 1000 & sleep 1000)", timeout=1)
    assert result.timed_out
    assert result.stdout == "before\n"
    with pytest.raises(CommandFailedError) as raised:
        ws.run("sleep 1000", timeout=0.5, check=True)
    assert raised.value.code == "command_timed_out"
    assert ws.run("pgrep sleep").stdout == ""


def test_a_command_that_is_not_there_is_told(ws: Workspace) -> None:
    with pytest.raises(ValueError, match="command not found") as raised:
        ws.run(["no-such-command"])
    assert isinstance(raised.value, InvalidError)
    assert raised.value.code == "command_not_found"


def test_streams_and_stdin(ws: Workspace) -> None:
    with ws.exec(
        "while read -r line; do echo got $line; done; echo end >&2", stdin=True
    ) as process:
        assert process.stdin is not None
        lines = process.stdout.lines()
        for word in ("one", "two"):
            process.stdin.write(f"{word}\n")
            assert next(lines) == f"got {word}"
        process.stdin.close()
        assert process.wait().ok
        assert process.stderr.read() == b"end\n"
    with ws.exec("stty size; read -r _; stty size", stdin=True, terminal=(100, 30)) as process:
        lines = process.stdout.lines()
        assert next(lines) == "30 100"
        process.resize(80, 24)
        assert process.stdin is not None
        process.stdin.write("\n")
        assert list(lines)[-1] == "24 80"


def test_a_command_is_killed_with_all_it_started(ws: Workspace) -> None:
    # Short sleeps: a signal that comes just before a fork is only seen after what was forked.
    process = ws.exec("trap 'echo hup' HUP; echo up; while :; do sleep 0.1; done")
    assert process.stdout.read_some() == b"up\n"
    process.kill("HUP")
    assert process.stdout.read_some() == b"hup\n"
    process.kill()
    ended = process.wait()
    assert ended.exit_code == 143
    assert ended.cancelled
    process.kill()
    assert ws.run("pgrep sleep").stdout == ""


def test_detached_commands_are_attached_to_as_often_as_wanted(ws: Workspace) -> None:
    started = ws.start_exec("echo one; while [ ! -e go ]; do sleep 0.05; done; echo two; exit 5")
    assert started.running
    first = ws.attach(started.exec_id)
    assert first.stdout.read_some() == b"one\n"
    second = first.attach()
    # Leaving an attached end ends nothing.
    first.close()
    ws.run("touch go", check=True)
    assert second.stdout.read() == b"two\n"
    assert second.wait().exit_code == 5
    assert ws.wait(started.exec_id).exit_code == 5
    assert ws.attach(started.exec_id).stdout.read() == b"one\ntwo\n"
    kept = ws.output(started.exec_id, offset=4, length=2)
    assert (kept.start, kept.end, kept.data) == (4, 6, b"tw")
    assert started.exec_id in [one.exec_id for one in ws.execs()]


def test_asyncio_runs_many_at_once(real: Pyro, ws: Workspace) -> None:
    async def story() -> None:
        workspace = await AsyncWorkspace.get("stories", pyro=beside(real))
        results = await asyncio.gather(
            *(workspace.run(["echo", str(number)]) for number in range(32))
        )
        assert [int(result.stdout) for result in results] == list(range(32))
        process = await workspace.exec(["cat"], stdin=True)
        assert process.stdin is not None
        await process.stdin.write("text")
        assert await process.stdout.read_some() == b"text"
        await process.stdin.close()
        assert (await process.wait()).ok
        # A task that is cancelled ends its command.
        task = asyncio.create_task(workspace.run("touch began; sleep 1000"))
        while not (await workspace.run("test -e began")).ok:
            pass
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(story())
    ended = [one for one in ws.execs() if one.command.startswith("touch began")]
    assert ws.wait(ended[0].exec_id).cancelled


def test_200_threads_in_4_workspaces_and_a_fork_in_the_middle(real: Pyro) -> None:
    workspaces = [make(real) for _ in range(4)]
    faults: list[BaseException] = []
    barrier = threading.Barrier(201)

    def work(number: int) -> None:
        try:
            barrier.wait(60)
            workspace = workspaces[number % 4]
            for turn in range(2):
                said = f"{workspace.id} {number} {turn}"
                result = workspace.run(["sh", "-c", f"echo {said}; echo {said} >&2; exit {turn}"])
                expected = (f"{said}\n", f"{said}\n", turn)
                assert (result.stdout, result.stderr, result.exit_code) == expected
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    barrier.wait(60)
    # The child uses the same client while the parent's threads are in the middle of theirs.
    child = os.fork()
    if child == 0:
        code = 1
        try:
            results = [workspace.run(["echo", "child"]).stdout for workspace in workspaces]
            code = 0 if results == ["child\n"] * 4 else 2
        finally:
            os._exit(code)
    for thread in threads:
        thread.join(300)
    _, status = os.waitpid(child, 0)
    assert faults == []
    assert os.waitstatus_to_exitcode(status) == 0
    for workspace in workspaces:
        # Two of each thread, and the child's.
        assert workspace.refresh().command_count == 101
        workspace.delete()


SERVER = ["python3", "-m", "http.server", "8000", "--bind", "127.0.0.1"]
LISTENING = Probe.tcp("127.0.0.1:8000")
# Says every word that it is told through the pipe.
ECHO = """
[ -p words ] || mkfifo words
exec 3<>words
echo up
while read -r word <&3; do echo said $word; done
"""


def test_a_service_is_ready_when_its_port_answers(real: Pyro, ws: Workspace) -> None:
    web = ws.services.start("web", SERVER, ready=LISTENING)
    assert web.info is not None
    assert (web.info.state, web.info.ready) == ("running", True)
    assert ("127.0.0.1", 8000) in web.status().listening_ports
    ws.run(
        ["python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 8000))"]
    ).check()
    listed = real.list_services(ws.id)
    assert (listed["count"], listed["running_count"]) == (1, 1)
    assert (ws.refresh().service_count, ws.info.running_service_count) == (1, 1)
    again = real.start_service(ws.id, "web", command=SERVER, readiness=LISTENING.payload)
    assert (again["unchanged"], again["pid"]) == (True, web.info.pid)
    with pytest.raises(ConflictError) as other:
        ws.services.start("web", ["sleep", "1000"])
    assert other.value.code == "service_already_running"
    replaced = ws.services.start("web", ["sleep", "1000"], replace=True)
    stopped = replaced.stop()
    assert (stopped.state, stopped.stop_reason, stopped.pid) == ("stopped", "sigterm", None)
    assert stopped.last_exit is not None
    assert stopped.last_exit.signal == signal.SIGTERM
    # One that does not run is left as it is.
    assert replaced.stop() == stopped
    replaced.delete()
    with pytest.raises(NotFoundError) as gone:
        replaced.status()
    assert gone.value.code == "service_not_found"


def test_a_service_that_fails_says_why(ws: Workspace) -> None:
    with pytest.raises(ServiceFailedError) as raised:
        ws.services.start("broken", "echo one; echo two >&2; exit 3", ready=LISTENING)
    assert raised.value.code == "service_exited"
    assert sorted(raised.value.log_tail) == ["one", "two"]
    assert (raised.value.info.state, raised.value.info.exit_code) == ("failed", 3)
    elsewhere = [*SERVER[:3], "5173", *SERVER[4:]]
    with pytest.raises(ServiceFailedError) as raised:
        ws.services.start("broken", elsewhere, ready=LISTENING, ready_timeout=10)
    assert raised.value.code == "service_not_ready"
    assert "127.0.0.1:5173" in raised.value.hints[0]
    assert raised.value.info.stop_reason == "readiness_timeout"
    with pytest.raises(ServiceFailedError):
        ws.services["broken"].wait()
    ws.services["broken"].delete()


def test_services_come_from_a_file(ws: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "pyro.toml"
    file.write_text(
        """
[services.front]
command = "echo up; exec sleep $TIME"
env = { TIME = "${TIME:-1000}" }
ready_log = "^up$"
depends_on = ["back"]
[services.back]
command = ["sleep", "1000"]
"""
    )

    def up(**more: Any) -> dict[str, str]:
        result = ws.services.up(file, **more)
        return {one["service_name"]: one["action"] for one in result["services"]}

    assert up() == {"back": "started", "front": "started"}
    assert up() == {"back": "unchanged", "front": "unchanged"}
    assert up(env={"TIME": "1001"}) == {"back": "unchanged", "front": "restarted"}
    assert ws.services["front"].status().source == "pyro.toml"
    job = '[services.job]\ncommand = "echo no; exit 3"\nready_file = "/nowhere"'
    ws.run(f"echo '{job}' > pyro.toml", check=True)
    with pytest.raises(ServicesFailedError) as raised:
        ws.services.up(remove_orphans=True)
    actions = {one["service_name"]: one["action"] for one in raised.value.result["services"]}
    assert actions == {"job": "failed", "back": "stopped", "front": "stopped"}
    assert raised.value.__notes__[-1] == "  job | no"
    assert ws.services.down()["stopped_count"] == 0
    for one in ws.services.list():
        ws.services[one.service_name].delete()


def test_logs_are_kept_and_followed(real: Pyro, ws: Workspace) -> None:
    echo = ws.services.start("echo", ECHO, ready=Probe.log("^up$"))
    lines = echo.logs(follow=True)
    assert next(lines).text == "up"
    for word in ("one", "two"):
        ws.run(f"echo {word} > words", check=True)
        line = next(lines)
        assert (line.text, line.stream) == (f"said {word}", "stdout")
    assert real.logs_service(ws.id, "echo", tail_lines=1)["stdout"] == "said two\n"
    # A run follows the one before it.
    first = echo.status()
    again = echo.restart()
    assert again.pid != first.pid
    assert [str(line) for line in echo.logs()] == ["up", "said one", "said two", "up"]
    assert [str(line) for line in echo.logs(since=again.started_at)] == ["up"]
    ended = echo.signal("KILL", whole_tree=True)
    assert ended.service_name == "echo"
    ended = echo.wait(ended=True, timeout=30)
    assert (ended.state, ended.exit_code) == ("exited", 137)
    echo.delete()


def test_services_are_known_while_their_workspace_is_stopped_and_run_again(ws: Workspace) -> None:
    echo = ws.services.start("echo", "echo up; exec sleep 1000", ready=Probe.log("^up$"))
    ws.stop()
    (stopped,) = ws.services.list()
    assert (stopped.state, stopped.stop_reason) == ("stopped", "workspace_stopped")
    assert [line.text for line in echo.logs()] == ["up"]
    ws.start()
    again = echo.wait(timeout=60)
    assert (again.state, again.ready) == ("running", True)
    echo.delete()


SHOUT = """perl -MSocket -e '$| = 1; socket(my $s, PF_INET, SOCK_STREAM, 0);
setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1); bind($s, sockaddr_in(8000, INADDR_LOOPBACK)) or die;
listen($s, 16); print "up\\n"; while (accept(my $c, $s)) { print $c uc <$c>; close $c }'
"""


def test_a_services_port_is_reached_on_this_host(ws: Workspace) -> None:
    import socket

    def asked(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            client.sendall(b"hello\n")
            return client.makefile("rb").read()

    echo = ws.services.start("echo", SHOUT, ready=Probe.log("^up$"), publish=[(0, 8000)])
    assert echo.info is not None
    (port,) = echo.info.published_ports
    assert asked(port.host_port) == b"HELLO\n"
    (own,) = ws.ports.publish((0, 8000))
    assert asked(own.host_port) == b"HELLO\n"
    states = {one.published.state for one in ws.ports.list() if one.published is not None}
    assert states == {"listening"}
    assert ws.ports.unpublish(own.host_port) == (own,)
    echo.stop()
    with pytest.raises(ConnectionRefusedError):
        asked(port.host_port)
    echo.delete()


def test_ports_are_forwarded_while_they_are_held(real: Pyro, ws: Workspace) -> None:
    import socket

    echo = ws.services.start("echo", SHOUT, ready=Probe.log("^up$"))
    with ws.forward((0, 8000), (0, 8001)) as forward:
        reached, nobody = forward.ports
        with socket.create_connection(("localhost", reached.host_port), timeout=30) as client:
            # The line has no end but that of its direction.
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            assert client.makefile("rb").read() == b"HELLO"
        with (
            socket.create_connection(("127.0.0.1", nobody.host_port), timeout=30) as client,
            pytest.raises(ConnectionResetError),
        ):
            client.recv(1)
        assert forward.failure is not None
        assert forward.failure.code == "port_not_connected"
        with pytest.raises(ConflictError) as raised:
            ws.forward((reached.host_port, 8000))
        assert raised.value.code == "port_taken"

    async def story() -> None:
        workspace = await AsyncWorkspace.get("stories", pyro=beside(real))

        async def asked(port: int, text: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(text)
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            return answer

        async with workspace.forward((reached.host_port, 8000)) as again:
            (port,) = again.ports
            assert port == reached
            answers = await asyncio.gather(*(asked(port.host_port, b"a%d" % n) for n in range(8)))
            assert answers == [b"A%d" % n for n in range(8)]

    asyncio.run(story())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", reached.host_port), timeout=30)
    echo.delete()


def test_what_a_workspace_reaches_is_said_and_what_it_wanted_is_told(ws: Workspace) -> None:
    assert ws.network.show().network_enabled is False
    changed = ws.network.set(allow="example.org:80")
    assert (changed.network_policy, changed.network_allow) == ("off", ("example.org:80",))
    assert ws.refresh().network_allow == ("example.org:80",)
    result = ws.run(["bash", "-c", "exec 3<>/dev/tcp/example.com/80"])
    assert result.exit_code != 0
    (denied,) = result.network_denied
    assert denied.hint == "--allow example.com"
    told = [one for one in ws.network.log() if one.verdict == "denied"]
    assert {(one.protocol, one.name, one.reason) for one in told} == {
        ("dns", "example.com", "not_allowed")
    }
    assert told[0].process is not None
    assert told[0].process.name == "bash"
    for entry in ws.network.log(after=told[-1].seq - 1, follow=True):
        assert entry == told[-1]
        break
    ws.network.set(allow=["example.net"], add=True)
    assert ws.network.show().network_allow == ("example.org:80", "example.net")
    assert ws.network.set().network_enabled is False


def test_every_change_of_a_service_is_told_from_a_cursor_on(ws: Workspace) -> None:
    before = max((event.cursor for event in ws.events()), default=0)
    job = ws.services.start("job", "true", wait=False)
    job.wait(ended=True)
    states = []
    for event in ws.events(after=before, follow=True):
        assert event.cursor > before
        if event.service.service_name != "job":
            # What was told last of the one before may come a moment after its verb has returned.
            continue
        states.append(event.service.state)
        if event.service.state == "exited":
            break
    assert states[0] == "starting"
    job.delete()
    # Told a moment after its verb has returned, likewise.
    for event in ws.events(after=before, follow=True):
        if (event.event, event.service.service_name) == ("service_deleted", "job"):
            break


def test_asyncio_has_services(real: Pyro, ws: Workspace) -> None:
    async def story() -> None:
        workspace = await AsyncWorkspace.get("stories", pyro=beside(real))
        ready = Probe.log("^up$")
        names = ["one", "two", "three"]
        await asyncio.gather(
            *(
                workspace.services.start(name, f"echo up; exec sleep 100{at}", ready=ready)
                for at, name in enumerate(names)
            )
        )
        assert [one.service_name for one in await workspace.services.list()] == sorted(names)
        async for line in workspace.services["two"].logs(follow=True):
            assert line.text == "up"
            break
        stopped = await asyncio.gather(*(workspace.services[name].stop() for name in names))
        assert {one.stop_reason for one in stopped} == {"sigterm"}
        with pytest.raises(ServiceFailedError) as raised:
            await workspace.services.start("four", "exit 4", ready=ready)
        assert raised.value.info.exit_code == 4
        for name in [*names, "four"]:
            await workspace.services[name].delete()

    asyncio.run(story())
    assert ws.services.list() == ()


def test_a_node_killed_under_a_stream_is_told_and_attach_goes_on(real: Pyro, ws: Workspace) -> None:
    process = ws.exec("echo one; while [ ! -e on ]; do sleep 0.05; done; echo two; exit 6")
    assert process.stdout.read_some() == b"one\n"
    pid = real.node_status()["pid"]
    node = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(NodeError) as raised:
        process.stdout.read()
    assert raised.value.code == "node_connection_lost"
    assert f"pyro attach {ws.id} {process.exec_id}" in raised.value.hints[0]
    # Until the last of its threads has gone, its socket takes connections.
    assert select.select([node], [], [], 30)[0]
    os.close(node)
    # The next call starts a node, which finds the command where it was.
    again: Process = process.attach()
    ws.run("touch on", check=True)
    assert again.stdout.read() == b"two\n"
    assert again.wait().exit_code == 6


EXAMPLES = Path(__file__).resolve().parents[2] / "examples/python"


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_the_examples_run(real: Pyro, example: Path) -> None:
    import subprocess
    import sys

    location = real._transport.location
    environment = {
        **os.environ,
        "PYRO_HOME": location.state,
        "PYRO_PROGRAM": str(location.program),
        "PYTHONPATH": str(EXAMPLES.parents[1] / "python/src"),
    }
    run = subprocess.run(
        [sys.executable, "-W", "error", str(example)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    # What it prints stands at its end, so that a reader knows without running it.
    source = example.read_text()
    printed = source.partition('"""Prints, for example:\n\n')[2].partition('"""')[0]
    shape = [line.split() for line in printed.strip().splitlines()]
    assert len(shape) == len(run.stdout.splitlines()), run.stdout
    left = {one["name"] for one in real.list_workspaces()["workspaces"]}
    assert left <= {"stories"}


def test_files_are_written_read_changed_and_found(ws: Workspace) -> None:
    ws.files.write("tale/app.py", "print('hello')\n", mode=0o755)
    assert ws.run("tale/app.py 2>&1 || python3 -V; stat -c %a tale/app.py").exit_code == 0
    assert ws.files.edit("tale/app.py", "hello", "good morning") == 1
    assert ws.files.read("tale/app.py").text == "print('good morning')\n"
    assert ws.files.stat("tale/app.py").mode == "0755"
    ws.files.write(b"tale/\xff", b"\x00\xff")
    listed = ws.files.list("tale")
    assert [one.raw_path for one in listed] == [
        b"/workspace/tale/app.py",
        b"/workspace/tale/\xff",
    ]
    assert ws.files.read(listed[1].raw_path).data == b"\x00\xff"
    assert [one.line_number for one in ws.files.search("good", "tale")] == [1]
    with pytest.raises(ConflictError):
        ws.files.write("tale/app.py", "", create_only=True)
    ws.files.mkdir("tale/deep/er")
    ws.files.move("tale/app.py", "tale/deep/er/app.py")
    with pytest.raises(NotFoundError):
        ws.files.read("tale/app.py")
    patched = ws.apply_patch(
        "--- a/app.py\n+++ b/app.py\n@@ -1 +1 @@\n-print('good morning')\n+print('bye')\n",
        base="tale/deep/er",
    )
    assert [(one.path, one.status) for one in patched.entries] == [
        ("/workspace/tale/deep/er/app.py", "modified")
    ]
    assert ws.files.read("tale/deep/er/app.py").text == "print('bye')\n"
    told = {one.path: one.status for one in ws.diff(paths=["tale"])}
    assert told["tale/deep/er/app.py"] == "added"
    assert b"+print('bye')" in ws.pyro.diff_workspace_patch(ws.id, paths=["tale"])
    ws.files.remove("tale", recursive=True)
    assert not ws.diff(paths=["tale"]).changed


def test_a_workspace_goes_back_to_what_it_was(real: Pyro) -> None:
    with make(real) as ws:
        ws.files.write("kept", "first")
        taken = ws.snapshot("first")
        assert (taken.snapshot_name, taken.kind) == ("first", "named")
        ws.files.write("kept", "second")
        assert [one.snapshot_name for one in ws.snapshots()] == ["baseline", "first"]
        assert ws.reset(snapshot="first").state == "started"
        assert ws.files.read("kept").text == "first"
        ws.reset()
        with pytest.raises(NotFoundError):
            ws.files.read("kept")
        ws.delete_snapshot("first")
        assert [one.kind for one in ws.snapshots()] == ["baseline"]


def test_files_go_in_and_out_unharmed(real: Pyro, ws: Workspace, tmp_path: Path) -> None:
    root = tmp_path / "from"
    (root / "in").mkdir(parents=True)
    (root / "in/big").write_bytes(os.urandom(5 << 20))
    os.utime(root / "in/big", ns=(1, 1_234_567_890_123_456_789))
    os.link(root / "in/big", root / "in/same")
    (root / "link").symlink_to("/etc/hostname")
    (root / os.fsdecode(b"\xff")).write_bytes(b"x")
    (root / "left.log").write_bytes(b"x")
    pushed = ws.push(root, "carried", exclude=["*.log"])
    assert pushed.bytes_written >= 5 << 20
    ws.run("cd carried && ln -s /etc/passwd evil && truncate -s 1M hole && mkfifo p", check=True)
    told = ws.export("carried", tmp_path / "out/there")
    assert told.entry_count >= 6
    back = tmp_path / "out/there"
    assert (back / "in/big").read_bytes() == (root / "in/big").read_bytes()
    assert (back / "in/big").stat().st_mtime_ns == 1_234_567_890_123_456_789
    assert (back / "in/big").stat().st_nlink == 2
    assert os.readlink(back / "link") == "/etc/hostname"
    assert os.readlink(back / "evil") == "/etc/passwd"
    assert (back / os.fsdecode(b"\xff")).read_bytes() == b"x"
    hole = (back / "hole").stat()
    assert (hole.st_size, hole.st_blocks) == (1 << 20, 0)
    assert not (back / "p").exists()
    assert not (back / "left.log").exists()
    assert os.listdir(tmp_path / "out") == ["there"]
    with pytest.raises(ConflictError):
        ws.export("carried", back)

    async def story() -> None:
        workspace = await AsyncWorkspace.get("stories", pyro=beside(real))
        await workspace.export("carried/in/big", tmp_path / "one")
        await workspace.push(root / "in", "carried/again", delete=True)

    asyncio.run(story())
    assert (tmp_path / "one").read_bytes() == (root / "in/big").read_bytes()
    ws.run("cmp carried/again/big carried/in/big", check=True)
    ws.files.remove("carried", recursive=True)
