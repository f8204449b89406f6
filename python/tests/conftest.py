from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_node import FakeNode

from pyro_mcp import Pyro, _calls


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the state, the choices or the node of whoever runs it."""
    for name in ("PYRO_WORKSPACE", "PYRO_NODE_START", "PYRO_PROGRAM", "PYRO_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYRO_HOME", "/nonexistent")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FakeNode]:
    node = FakeNode(tmp_path / "state")
    yield node
    node.close()


@pytest.fixture
def pyro(node: FakeNode) -> Pyro:
    return Pyro(home=node.state, start=False, timeout=10)


@pytest.fixture(scope="module")
def real() -> Iterator[Pyro]:
    """A real node with a state directory of its own; whatever it made is deleted."""
    program = os.environ.get("PYRO_E2E_PYRO")
    if not program:
        pytest.skip("PYRO_E2E_PYRO names no pyro binary")
    home = Path(tempfile.mkdtemp(prefix="pyro-sdk-"))
    client = Pyro(home=home / "state", program=program, backend=os.environ.get("PYRO_E2E_BACKEND"))
    yield client
    for workspace in client._transport.json(_calls.list_workspaces())["workspaces"]:
        client.delete_workspace(workspace["workspace_id"])
    client.stop_node()
    shutil.rmtree(home, ignore_errors=True)
