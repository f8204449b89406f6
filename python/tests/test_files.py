"""Files, changes and snapshots, as a node that plays a part hears and answers them."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from fake_node import Conversation, FakeNode, Handler, Request, a_workspace

from pyro_mcp import AsyncPyro, ConflictError, FailedError, InvalidError, Pyro, Workspace
from pyro_mcp._pack import source
from pyro_mcp._unpack import Export

ENTRY = {
    "path": "/workspace/a",
    "artifact_type": "file",
    "size_bytes": 1,
    "link_target": None,
    "mode": "0644",
    "modified_at": 1.0,
    "uid": 0,
    "gid": 0,
}


def answering(node: FakeNode, document: Any) -> None:
    node.handler = lambda _, conversation: conversation.answer(document)


def workspace(node: FakeNode, pyro: Pyro) -> Workspace:
    answering(node, a_workspace())
    return Workspace.get("111111111111", pyro=pyro)


def test_what_the_node_leaves_out_is_there(node: FakeNode, pyro: Pyro) -> None:
    answering(node, {"workspace_id": "1" * 12, "path": "/workspace", "entries": [ENTRY]})
    listed = pyro.list_workspace_files("w", recursive=True)
    assert listed["notices"] == []
    assert listed["entries"][0]["path_base64"] is None
    assert node.requests[-1].target == "/v1/workspaces/w/files?path=%2Fworkspace&recursive=true"


def test_paths_that_are_no_utf_8_are_sent_as_they_are(node: FakeNode, pyro: Pyro) -> None:
    answering(node, {**ENTRY, "workspace_id": "1" * 12, "path_base64": "L/8="})
    for path in (b"/\xff", os.fsdecode(b"/\xff")):
        pyro.stat_workspace_file("w", path)
        assert node.requests[-1].target.endswith("files/status?path_base64=L%2F8%3D")
    pyro.move_workspace_file("w", "a", b"/\xff")
    assert node.requests[-1].json == {"path": "a", "to_base64": "L/8="}
    ws = workspace(node, pyro)
    answering(node, {**ENTRY, "workspace_id": "1" * 12, "path_base64": "L/8="})
    assert ws.files.stat(b"/\xff").raw_path == b"/\xff"


def test_texts_and_bytes_are_written(node: FakeNode, pyro: Pyro) -> None:
    ws = workspace(node, pyro)
    ws.files.write("a", "text", mode=0o755)
    assert node.requests[-1].json == {"path": "a", "text": "text", "mode": "0755"}
    ws.files.write("a", b"\xff", create_only=True)
    assert node.requests[-1].json == {"path": "a", "content_base64": "/w==", "create_only": True}
    with pytest.raises(InvalidError) as raised:
        ws.files.write("a", "\udcff")
    assert raised.value.code == "invalid_request"


def test_bytes_are_read(node: FakeNode, pyro: Pyro) -> None:
    ws = workspace(node, pyro)
    content = {
        "path": "/workspace/a",
        "content": "\ufffd",
        "content_base64": base64.b64encode(b"\xff").decode(),
        "size_bytes": 9,
        "offset": 3,
        "bytes_read": 1,
        "truncated": True,
        "mode": "0644",
    }
    answering(node, content)
    part = ws.files.read("a", offset=3)
    assert (part.data, part.text, str(part)) == (b"\xff", "\ufffd", "\ufffd")
    assert "offset=3" in node.requests[-1].target


def tree(root: Path) -> Path:
    (root / "in").mkdir(parents=True)
    (root / "in/file").write_bytes(b"content")
    (root / "in/file").chmod(0o750)
    os.utime(root / "in/file", ns=(1, 1_234_567_890_123_456_789))
    os.link(root / "in/file", root / "in/same")
    (root / "link").symlink_to("/etc/passwd")
    (root / os.fsdecode(b"\xff")).write_bytes(b"x" * 600_000)
    (root / ("long" * 50)).write_bytes(b"")
    os.mkfifo(root / "pipe")
    (root / "in").chmod(0o500)
    return root


def packed(root: Path, exclude: Iterable[str] = ()) -> bytes:
    return b"".join(source(root, tuple(exclude)).tar)


def exported(data: bytes, output: Path, artifact: str = "directory", piece: int = 700) -> Any:
    with Export(output) as export:
        for at in range(0, len(data), piece):
            export.feed(data[at : at + piece])
        return export.finish(artifact)


def test_files_go_out_as_they_came_in(tmp_path: Path) -> None:
    root = tree(tmp_path / "from")
    data = packed(root)
    for piece in (1000, len(data)):
        output = tmp_path / f"deep/er/to{piece}"
        count, size, left = exported(data, output, piece=piece)
        assert (count, size, left) == (6, 600_007, 0)
        assert (output / "in/file").read_bytes() == b"content"
        found = (output / "in/file").stat()
        assert (found.st_mode & 0o7777, found.st_nlink) == (0o750, 2)
        assert found.st_mtime_ns == 1_234_567_890_123_456_789
        assert os.readlink(output / "link") == "/etc/passwd"
        assert (output / os.fsdecode(b"\xff")).stat().st_size == 600_000
        assert (output / "in").stat().st_mode & 0o7777 == 0o500
        (output / "in").chmod(0o700)
        assert sorted(os.listdir(output.parent)) == sorted(
            name for name in os.listdir(output.parent) if not name.startswith(".")
        )
    (root / "in").chmod(0o700)
    with tarfile.open(fileobj=io.BytesIO(packed(root, ["in/", "long*"]))) as tar:
        assert len(tar.getnames()) == 2


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, len(data), 0o6755
    return info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512)


END = bytes(1024)


@pytest.mark.parametrize(
    "hostile",
    [
        member("/etc/x"),
        member("../x"),
        member("a/../../x"),
        member("a", tarfile.SYMTYPE, "/tmp") + member("a/x"),
        member("a", tarfile.SYMTYPE, "/etc") + member("b", tarfile.LNKTYPE, "a/passwd"),
        member("a", tarfile.LNKTYPE, "/etc/passwd"),
        member("a", tarfile.LNKTYPE, "nothing"),
        member("a", tarfile.CHRTYPE),
        member("a", tarfile.BLKTYPE),
        member("a") + member("a"),
        member("a", tarfile.SYMTYPE, "b") + member("a", data=b"x"),
        b"x" * 512,
        member("a")[:-12] + b"1" * 12,
    ],
)
def test_what_a_guest_wrote_leaves_nothing_behind(tmp_path: Path, hostile: bytes) -> None:
    with pytest.raises(FailedError) as raised:
        exported(hostile + END, tmp_path / "out/there")
    assert raised.value.code.startswith("archive_")
    assert os.listdir(tmp_path / "out") == []


def test_an_export_that_was_cut_short_is_none(tmp_path: Path) -> None:
    whole = member("a", data=b"x") + END
    for end in range(0, len(whole) - 512, 256):
        with pytest.raises(FailedError) as raised:
            exported(whole[:end], tmp_path / "out/there")
        assert raised.value.code == "archive_truncated"
    assert os.listdir(tmp_path / "out") == []


def test_set_user_bits_are_dropped_and_pipes_left_out(tmp_path: Path) -> None:
    data = member("a", data=b"x") + member("p", tarfile.FIFOTYPE) + END
    assert exported(data, tmp_path / "out") == (1, 1, 1)
    assert (tmp_path / "out/a").stat().st_mode & 0o7777 == 0o755


def test_sparse_files_stay_sparse(tmp_path: Path) -> None:
    stored = b"2\n4096\n3\n100000\n0\n".ljust(512, b"\0") + b"abc"
    info = tarfile.TarInfo("GNUSparseFile/a")
    info.size = len(stored)
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "a",
        "GNU.sparse.realsize": "100000",
    }
    data = info.tobuf(tarfile.PAX_FORMAT) + stored + bytes(-len(stored) % 512) + END
    exported(data, tmp_path / "a", "file")
    assert (tmp_path / "a").read_bytes() == bytes(4096) + b"abc" + bytes(100000 - 4099)


def test_nothing_is_written_over(node: FakeNode, pyro: Pyro, tmp_path: Path) -> None:
    (tmp_path / "there").symlink_to("nowhere")
    with pytest.raises(ConflictError) as raised:
        pyro.export_workspace("w", "a", output_path=tmp_path / "there")
    assert raised.value.code == "output_exists"
    assert node.requests == []


def tar_answer(conversation: Conversation, data: bytes, trailer: bytes = b"") -> None:
    conversation.stream.sendall(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-pyro-artifact-type: file\r\n\r\n"
        + b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(data), data, trailer)
    )


def exporting(data: bytes, trailer: bytes = b"") -> Handler:
    def handler(request: Request, conversation: Conversation) -> None:
        if "/archive?" not in request.target:
            conversation.answer(a_workspace())
            return
        assert request.headers["te"] == "trailers"
        tar_answer(conversation, data, trailer)

    return handler


def test_a_file_is_exported(node: FakeNode, pyro: Pyro, tmp_path: Path) -> None:
    node.handler = exporting(member("a", data=b"x") + END)
    told = pyro.export_workspace("w", "a", output_path=tmp_path / "one")
    assert told["workspace_id"] == "1" * 12
    assert (told["artifact_type"], told["workspace_path"]) == ("file", "/workspace/a")
    assert (tmp_path / "one").read_bytes() == b"x"

    async def story() -> None:
        other = AsyncPyro(home=node.state, start=False)
        await other.export_workspace("w", "a", output_path=tmp_path / "two")

    asyncio.run(story())
    assert (tmp_path / "two").read_bytes() == b"x"
    assert sorted(os.listdir(tmp_path)) == ["one", "state", "two"]


def test_an_export_that_broke_off_says_why(node: FakeNode, pyro: Pyro, tmp_path: Path) -> None:
    problem = {"ok": False, "error": "gone", "code": "file_unreadable", "kind": "failed"}
    trailer = b"x-pyro-problem: " + json.dumps({**problem, "hints": []}).encode() + b"\r\n"
    node.handler = exporting(member("a"), trailer)
    with pytest.raises(FailedError) as raised:
        pyro.export_workspace("w", "a", output_path=tmp_path / "out/one")
    assert raised.value.code == "file_unreadable"
    assert os.listdir(tmp_path / "out") == []


def test_a_directory_and_archives_are_pushed(node: FakeNode, pyro: Pyro, tmp_path: Path) -> None:
    root = tmp_path / "from"
    root.mkdir()
    (root / "a").write_text("x")
    counted = {"entry_count": 1, "bytes_written": 1, "removed_count": 0}
    answering(
        node,
        {"workspace_id": "1" * 12, "destination": "/d", "execution_mode": "guest_vsock", **counted},
    )
    told = pyro.push_workspace_sync("w", root, dest="/d", delete=True)
    assert told["workspace_sync"]["mode"] == "directory"
    assert node.requests[-1].target == "/v1/workspaces/w/archive?path=%2Fd&delete=true"
    with tarfile.open(fileobj=io.BytesIO(node.requests[-1].body)) as tar:
        assert tar.getnames() == ["a"]
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        tar.add(root / "a", "b")
    assert pyro.push_workspace_sync("w", tmp_path / "a.tgz")["workspace_sync"]["mode"] == (
        "tar_archive"
    )
    with tarfile.open(fileobj=io.BytesIO(node.requests[-1].body), mode="r:") as tar:
        assert tar.getnames() == ["b"]
    (tmp_path / "a.zip").write_text("")
    with pytest.raises(InvalidError):
        pyro.push_workspace_sync("w", tmp_path / "a.zip")
    (tmp_path / "a.tgz").write_text("no archive")
    with pytest.raises(FailedError) as raised:
        list(source(tmp_path / "a.tgz").tar)
    assert raised.value.code == "input_unreadable"
