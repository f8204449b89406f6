"""Files: seeded, brought, changed, reviewed, taken back and taken home."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import tempfile
from typing import Any

from kit import LIMIT, server, size, story, text, workspace
from mcp import Client


@story
async def files_are_changed_reviewed_and_taken_back() -> str:
    async with Client(server("--profile", "workspace-full")) as client:
        async with workspace(client, "mcp-files") as identity:
            async def call(tool: str, **arguments: Any) -> Any:
                result = await client.call_tool(tool, {"workspace_id": identity, **arguments})
                assert not result.is_error, (tool, text(result))
                assert size(result) <= LIMIT, (tool, size(result))
                return result

            await call("workspace_file_write", path="a.txt", text="one\ntwo\n")
            await call("workspace_file_edit", path="a.txt", old="two", new="three")
            read = await call("workspace_file_read", path="a.txt")
            assert read.structured_content["content"] == "one\nthree\n" and "three" in text(read)
            found = await call("workspace_file_search", pattern="thr..")
            assert "/workspace/a.txt\n2: three" in text(found), text(found)
            diff = await call("workspace_diff")
            assert diff.structured_content["changed"] and "+three" in text(diff), text(diff)
            assert "patch" not in diff.structured_content
            await call("snapshot_create", snapshot_name="kept")
            patch = "--- a/a.txt\n+++ b/a.txt\n@@ -1,2 +1,2 @@\n one\n-three\n+four\n"
            patched = await call("workspace_patch_apply", patch=patch)
            assert "modified /workspace/a.txt" in text(patched), text(patched)
            assert "patch" not in patched.structured_content
            listed = await call("snapshot_list")
            assert "kept" in text(listed) and listed.structured_content["count"] == 2
            await call("workspace_reset", snapshot="kept")
            read = await call("workspace_file_read", path="a.txt")
            assert read.structured_content["content"] == "one\nthree\n"
            await call("snapshot_delete", snapshot_name="kept")
            missing = await client.call_tool(
                "workspace_reset", {"workspace_id": identity, "snapshot": "kept"}
            )
            assert missing.is_error and "snapshot_not_found" in text(missing)
            assert "hint: " in text(missing), text(missing)
    return ""


@story
async def files_of_the_host_go_in_and_come_out_where_that_is_allowed() -> str:
    with tempfile.TemporaryDirectory() as allowed, tempfile.TemporaryDirectory() as other:
        project = pathlib.Path(allowed, "project")
        project.mkdir()
        (project / "a.txt").write_text("one\n")
        (project / ".env").write_text("KEY=1\n")
        pathlib.Path(other, "secret").write_text("secret\n")
        arguments = ("--profile", "workspace-full", "--allow-path", allowed)
        async with Client(server(*arguments)) as client:

            async def call(tool: str, code: str | None = None, **given: Any) -> Any:
                result = await client.call_tool(tool, given)
                assert size(result) <= LIMIT, (tool, size(result))
                told = text(result)
                assert result.is_error is (code is not None), (tool, told)
                if code is not None:
                    assert f"code: {code}" in told and "hint: " in told, told
                return result

            outside = str(pathlib.Path(other, "secret"))
            refused = "host_path_not_allowed"
            await call("workspace_create", refused, seed_path=other)
            await call("workspace_create", "file_not_found", seed_git="https://example.org/x.git")
            await call("workspace_create", refused, seed_git=other)
            git = ["git", "-C", str(project), "-c", "user.name=n", "-c", "user.email=n@example.org"]
            for words in (["init", "-q", "-b", "main"], ["add", "a.txt"], ["commit", "-qm", "first"]):
                subprocess.run([*git, *words], check=True)
            tracked = await call("workspace_create", seed_git="project@main")
            one = {"workspace_id": tracked.structured_content["workspace_id"]}
            listed = await call("workspace_exec", **one, command="git log --format=%s; ls -A")
            assert listed.structured_content["stdout"] == "first\n.git\na.txt\n", text(listed)
            await call("workspace_delete", **one)
            shutil.rmtree(project / ".git")
            made = await call("workspace_create", name="mcp-seeded", seed_path=str(project))
            assert "may hold secrets: .env" in text(made), text(made)
            document = made.structured_content
            identity = document["workspace_id"]
            assert document["workspace_seed"]["mode"] == "directory", document
            here = {"workspace_id": identity}

            (project / "b.txt").write_text("two\n")
            pushed = await call("workspace_sync_push", **here, source_path="project", dest="src")
            assert pushed.structured_content["workspace_sync"]["entry_count"] == 3
            await call("workspace_sync_push", refused, **here, source_path=outside)
            await call("workspace_sync_push", "file_not_found", **here, source_path="none")

            await call("workspace_file_mkdir", **here, path="made/deep")
            await call("workspace_file_move", **here, path="src/b.txt", to="made/deep/c.txt")
            stat = await call("workspace_file_stat", **here, path="made/deep/c.txt")
            assert stat.structured_content["size_bytes"] == 4, text(stat)
            await call("workspace_file_remove", **here, path="src", recursive=True)
            since = await call("workspace_diff", **here)
            assert since.structured_content["summary"]["added"] == 1, text(since)

            taken = await call("workspace_export", **here, path="made", output_path="out/new")
            assert pathlib.Path(allowed, "out/new/deep/c.txt").read_text() == "two\n", text(taken)
            await call("workspace_export", "output_exists", **here, path="made", output_path="out/new")
            gone = str(pathlib.Path(other, "new"))
            await call("workspace_export", refused, **here, path="made", output_path=gone)
            assert not pathlib.Path(gone).exists()

            await call("workspace_disk_list", "workspace_running", **here)
            await call("workspace_stop", **here)
            listed = await call("workspace_disk_list", **here, recursive=True)
            assert "/workspace/made/deep/c.txt  4 bytes" in text(listed), text(listed)
            read = await call("workspace_disk_read", **here, path="/workspace/a.txt")
            assert read.structured_content["content"] == "one\n" and "one" in text(read)
            await call("workspace_disk_export", **here, output_path="disk.ext4")
            assert pathlib.Path(allowed, "disk.ext4").stat().st_size > 1 << 30
            await call("workspace_disk_export", refused, **here, output_path=gone)
            await call("workspace_delete", **here)
    # Where a client started it in a directory that nobody chose, nothing of the host is its own.
    nowhere = server()
    nowhere.cwd = "/"
    async with Client(nowhere) as client:
        nothing = await client.call_tool("workspace_create", {"seed_path": "/etc"})
        assert nothing.is_error and "--allow-path" in text(nothing), text(nothing)
    return ""
