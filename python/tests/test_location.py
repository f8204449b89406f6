"""Where the node is, and how one is started."""

from __future__ import annotations

import os
import pwd
import stat
import sys
import threading
from pathlib import Path

import pytest

from pyro_mcp import ConflictError, InvalidError, NodeError, Pyro
from pyro_mcp._location import find_program, locate


def test_the_directories_are_those_of_the_command_line() -> None:
    found = locate(environment={"HOME": "/home/you"})
    assert found.state == "/home/you/.local/state/pyro"
    assert found.cache == "/home/you/.cache/pyro"
    assert found.may_start
    found = locate(
        environment={
            "HOME": "/home/you",
            "XDG_STATE_HOME": "/state",
            "XDG_CACHE_HOME": "relative",
            "PYRO_NODE_START": "never",
        }
    )
    assert found.state == "/state/pyro"
    assert found.cache == "/home/you/.cache/pyro"
    assert not found.may_start
    found = locate(environment={"PYRO_HOME": "relative", "PYRO_CACHE_DIR": "/cache"})
    assert found.state == os.path.join(os.getcwd(), "relative")
    assert found.cache == "/cache"
    assert locate(home=Path("/a"), environment={"PYRO_HOME": "/b", "HOME": "/h"}).state == "/a"


def test_without_a_home_the_variable_to_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "pwd.getpwuid",
        lambda _: pwd.struct_passwd(("user", "x", 1, 1, "", "/home/of/user", "/bin/sh")),
    )
    assert locate(environment={}).state == "/home/of/user/.local/state/pyro"

    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(InvalidError) as raised:
        locate(environment={})
    assert raised.value.code == "no_home"
    assert "PYRO_HOME" in raised.value.hints[0]


def test_a_program_is_found_in_path_or_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr("sysconfig.get_path", lambda *_, **__: str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(NodeError) as raised:
        find_program()
    assert raised.value.code == "program_not_found"
    program(tmp_path / "bin", "")
    assert find_program() == str(tmp_path / "bin" / "pyro")
    # Beside this Python goes first: it came with this package.
    program(tmp_path, "")
    assert find_program() == str(tmp_path / "pyro")


def program(folder: Path, body: str) -> Path:
    """A `pyro` that serves as this Python says."""
    folder.mkdir(exist_ok=True)
    path = folder / "pyro"
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


SERVE = """
import os, socket, sys
assert sys.argv[1:4] == ["serve", "--on-demand", "--ready-fd"], sys.argv
assert "PYRO_WORKSPACE" not in os.environ and os.getcwd() == "/"
assert os.getsid(0) == os.getpid()
home = os.environ["PYRO_HOME"]
with open(home + "/started", "a") as log:
    log.write("x")
listener = socket.socket(socket.AF_UNIX)
listener.bind(home + "/node.sock")
listener.listen(64)
os.write(int(sys.argv[4]), b"ready\\n")
os.close(int(sys.argv[4]))
while True:
    stream, _ = listener.accept()
    data = b""
    while b"\\r\\n\\r\\n" not in data:
        data += stream.recv(1000)
    body = b'{"pid": %d}' % os.getpid()
    stream.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: %d\\r\\n\\r\\n%b" % (len(body), body))
    stream.close()
    if b"/stop" in data:
        os.unlink(home + "/node.sock")
        sys.exit()
"""


def test_ten_threads_that_find_no_node_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRO_WORKSPACE", "web")
    state = tmp_path / "state"
    pyro = Pyro(home=state, program=program(tmp_path, SERVE))
    pids: list[int] = []
    threads = [
        threading.Thread(target=lambda: pids.append(pyro.node_status()["pid"])) for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(pids) == 10
    assert len(set(pids)) == 1
    assert (state / "started").read_text() == "x"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    # One that ended is started again.
    pyro.stop_node()
    waiter = [one for one in threading.enumerate() if one.name == "pyro-node"]
    for thread in waiter:
        thread.join(10)
    assert pyro.node_status()["pid"] != pids[0]
    pyro.stop_node()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "node_start_failed"),
        ("import os, sys; os.write(int(sys.argv[4]), b'nonsense\\n')", "node_start_failed"),
        (
            "import os, sys; os.write(int(sys.argv[4]), "
            'b\'{"kind": "conflict", "code": "state_too_new", "message": "newer"}\\n\')',
            "state_too_new",
        ),
    ],
)
def test_a_node_that_does_not_start_says_why(tmp_path: Path, body: str, code: str) -> None:
    pyro = Pyro(home=tmp_path / "state", program=program(tmp_path, body))
    with pytest.raises((NodeError, ConflictError)) as raised:
        pyro.node_status()
    assert raised.value.code == code


def test_a_program_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match=r"cannot start a node with .*/absent") as raised:
        Pyro(home=tmp_path, program=tmp_path / "absent").node_status()
    assert raised.value.code == "node_start_failed"


def test_a_state_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError) as raised:
        Pyro(home=tmp_path / "file" / "state", program="/bin/true").node_status()
    assert getattr(raised.value, "code", None) in {"state_directory_unusable", "node_unreachable"}


def test_the_mcp_server_is_the_binarys(tmp_path: Path) -> None:
    body = (
        "import sys, os; open(os.environ['PYRO_HOME'] + '/argv', 'w').write(' '.join(sys.argv[1:]))"
    )
    pyro = Pyro(home=tmp_path, program=program(tmp_path, body))
    assert pyro.create_server(profile="workspace-core").run() == 0
    assert (tmp_path / "argv").read_text() == "mcp serve --profile workspace-core"
    with pytest.raises(InvalidError):
        pyro.create_server(profile="everything")
