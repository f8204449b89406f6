"""What a workspace begins with, and its disk once it is stopped, on real VMs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from pyro_mcp import AsyncWorkspace, ConflictError, InvalidError, NotFoundError, Pyro, Workspace

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.vm


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "a project"
    (root / "src").mkdir(parents=True)
    (root / "src/app.py").write_text("print('hello')\n")
    (root / "src/app.log").write_text("noise\n")
    (root / ".gitignore").write_text("*.log\n")
    (root / ".env").write_text("KEY=1\n")
    (root / os.fsdecode(b"\xff")).write_bytes(b"x")
    return root


def names(ws: Workspace) -> set[bytes]:
    return {one.raw_path.removeprefix(b"/workspace/") for one in ws.files.list(recursive=True)}


def test_a_workspace_begins_with_files_of_the_host(real: Pyro, project: Path) -> None:
    everything = {b"src", b"src/app.py", b"src/app.log", b".gitignore", b".env", b"\xff"}
    with Workspace.create(mem_mib=256, seed_path=project, labels={"a": "b c"}, pyro=real) as ws:
        assert names(ws) == everything
        assert not ws.diff().changed
        status = real.status_workspace(ws.id)
        assert status["workspace_seed"]["seed_path"] == str(project)
        assert status["labels"] == {"a": "b c"}
    made = real.create_workspace(
        mem_mib=256, seed_path=project, exclude=[".env"], respect_ignore=True, name="fewer"
    )
    try:
        assert names(Workspace.get("fewer", pyro=real)) == everything - {b".env", b"src/app.log"}
    finally:
        real.delete_workspace(made["workspace_id"])
    with pytest.raises(InvalidError) as refused:
        real.create_workspace(seed_path=project / "none")
    assert refused.value.code


def test_a_workspace_begins_with_a_repository(real: Pyro, project: Path) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
        subprocess.run(["git", "-C", project, *identity, *words], check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    git("add", "src/app.py")
    git("commit", "-qm", "first")
    with Workspace.create(mem_mib=256, seed_git=f"{project}@main", pyro=real) as ws:
        assert ws.run("git log --format=%s").stdout == "first\n"
        assert b"src/app.py" in names(ws)
        assert b".env" not in names(ws)


def test_what_ignore_files_name_stays_at_home(real: Pyro, project: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.tar"
    with tarfile.open(packed, "w") as archive:
        archive.add(project, ".")
    with Workspace.create(mem_mib=256, pyro=real) as ws:
        pushed = real.push_workspace_sync(ws.id, project, dest="fewer", respect_ignore=True)
        assert pushed["workspace_sync"]["mode"] == "directory"
        assert b"fewer/src/app.py" in names(ws)
        assert b"fewer/src/app.log" not in names(ws)
        with pytest.raises(NotFoundError):
            real.push_workspace_sync("none", project, respect_ignore=True)
        real.create_snapshot(ws.id, "pushed")
        ws.push(packed, "whole")
        since = ws.diff(since="pushed")
        assert {one.status for one in since} == {"added"}
        assert ws.diff(since="pushed", until="baseline", paths=["fewer"]).changed


def test_what_was_changed_comes_home(real: Pyro, project: Path) -> None:
    with Workspace.create(mem_mib=256, seed_path=project, pyro=real) as ws:
        ws.files.write("src/app.py", "print('bye')\n")
        ws.files.write("new", "x")
        told = ws.pull(project, check=True)
        assert told["checked"]
        assert (told["conflicts"], len(told["entries"])) == (0, 2)
        assert not (project / "new").exists()
        assert {one["result"] for one in ws.pull(project)["entries"]} == {"written"}
        assert (project / "src/app.py").read_text() == "print('bye')\n"
        (project / "new").write_text("mine")
        ws.files.write("new", "theirs")
        assert ws.pull(project, check=True)["conflicts"] == 1
        with pytest.raises(ConflictError) as refused:
            ws.pull(project)
        assert refused.value.code == "pull_conflict"
        assert ws.pull(project, paths=["src"])["conflicts"] == 0
        ws.pull(project, force=True)
        assert (project / "new").read_text() == "theirs"


def test_a_stopped_workspace_shows_its_disk(real: Pyro, tmp_path: Path) -> None:
    with Workspace.create(mem_mib=256, pyro=real) as ws:
        ws.files.write(b"in/\xff", b"\x00\xff")
        ws.files.write("in/text", "good morning\n")
        with pytest.raises(ConflictError):
            real.list_workspace_disk(ws.id)
        ws.stop()
        listed = real.list_workspace_disk(ws.id, recursive=True)["entries"]
        assert [one["path"] for one in listed][:2] == ["/workspace/in", "/workspace/in/text"]
        read = real.read_workspace_disk(ws.id, "in/text", max_bytes=4)
        assert (read["content"], read["truncated"]) == ("good", True)
        assert real.read_workspace_disk(ws.id, b"in/\xff")["content_base64"] == "AP8="
        told = real.export_workspace_disk(ws.id, output_path=tmp_path / "new/disk.ext4")
        image = tmp_path / "new/disk.ext4"
        assert told["bytes_written"] == image.stat().st_size > 1 << 30
        assert image.stat().st_blocks * 512 < 1 << 28
        with image.open("rb") as file:
            file.seek(1024 + 56)
            assert file.read(2) == b"\x53\xef"
        with pytest.raises(ConflictError):
            real.export_workspace_disk(ws.id, output_path=image)
        assert os.listdir(image.parent) == ["disk.ext4"]


def test_a_seed_that_is_given_up_leaves_nothing(real: Pyro, tmp_path: Path) -> None:
    much = tmp_path / "much"
    much.mkdir()
    with (much / "hole").open("wb") as file:
        file.truncate(8 << 30)

    async def begin() -> None:
        from pyro_mcp import AsyncPyro

        location = real._transport.location
        client = AsyncPyro(home=location.state, program=location.program)
        made = AsyncWorkspace.create(mem_mib=256, seed_path=much, pyro=client)
        await asyncio.wait_for(_awaited(made), 1.0)

    before = len(real.list_workspaces()["workspaces"])
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(begin())
    assert len(real.list_workspaces()["workspaces"]) == before


async def _awaited(creation: object) -> object:
    return await creation  # type: ignore[misc]
