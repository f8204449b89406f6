"""The verbs for files, changes, snapshots and disks as requests.

Pure, as `_calls.py` is. Paths are texts or bytes: what is no UTF-8 is sent as base64.
"""

from __future__ import annotations

import base64
import os
import posixpath
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from . import _calls as calls
from . import payloads
from ._wire import Call, segment, with_query
from .errors import InvalidError, NotFoundError

if TYPE_CHECKING:
    from ._location import StrPath
    from ._unpack import Unpacked
    from .outcomes import ExportedFiles, PushedFiles

# A path within a workspace: absolute, or relative to `/workspace`.
FilePath = str | bytes | os.PathLike[str]

READ_BYTES = 65536
_TAR = "application/x-tar"


def coded(content: bytes) -> str:
    """Bytes as the node takes them."""
    return base64.b64encode(content).decode("ascii")


def place(path: FilePath, name: str = "path") -> dict[str, str]:
    """A path as it is sent."""
    if isinstance(path, bytes):
        raw = path
    elif isinstance(path, (str, os.PathLike)):
        raw = os.fspath(path).encode("utf-8", "surrogateescape")
    else:
        raise InvalidError(f"{path!r} is not a path", code="invalid_path")
    try:
        return {name: raw.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": coded(raw)}


def _flags(**flags: bool) -> dict[str, bool]:
    return {name: True for name, value in flags.items() if value}


def _mode(mode: int | str | None) -> str | None:
    return f"{mode:04o}" if isinstance(mode, int) else mode


def _lines(paths: str | Sequence[str] | None) -> str | None:
    """Paths as the node takes several, one on each line; a text is one."""
    if not paths:
        return None
    lines = [paths] if isinstance(paths, str) else list(paths)
    if any("\n" in line for line in lines):
        raise InvalidError("a path of several must not have a line break", code="invalid_path")
    return "\n".join(lines)


# --- files ---------------------------------------------------------------------------------------


def list_files(
    workspace: str, path: FilePath, recursive: bool, max_entries: int | None, no_start: bool
) -> Call:
    flags = _flags(recursive=recursive, no_start=no_start)
    target = calls.in_workspace(workspace, "/files")
    return Call("GET", with_query(target, **place(path), max_entries=max_entries, **flags))


def status_file(workspace: str, path: FilePath, follow: bool, no_start: bool) -> Call:
    target = calls.in_workspace(workspace, "/files/status")
    return Call(
        "GET", with_query(target, **place(path), **_flags(follow=follow, no_start=no_start))
    )


def read_file(
    workspace: str,
    path: FilePath,
    *,
    max_bytes: int,
    offset: int,
    first_line: int | None,
    line_count: int | None,
    no_start: bool,
) -> Call:
    query = with_query(
        calls.in_workspace(workspace, "/files/content"),
        **place(path),
        max_bytes=max_bytes if max_bytes != READ_BYTES else None,
        offset=offset or None,
        first_line=first_line,
        line_count=line_count,
        **_flags(no_start=no_start),
    )
    return Call("GET", query)


def write_file(
    workspace: str,
    path: FilePath,
    *,
    text: str | None,
    content: bytes | None,
    mode: int | str | None,
    create_only: bool,
    no_start: bool,
) -> Call:
    document: dict[str, Any] = {**place(path)}
    if text is not None:
        try:
            text.encode()
            document["text"] = text
        except UnicodeEncodeError as error:
            raise InvalidError(
                f"the text is not UTF-8: {error.reason}",
                code="invalid_request",
                hints=["give bytes: content=..."],
            ) from error
    if content is not None:
        document["content_base64"] = coded(content)
    if mode is not None:
        document["mode"] = _mode(mode)
    document |= _flags(create_only=create_only, no_start=no_start)
    return Call("PUT", calls.in_workspace(workspace, "/files/content"), document)


def edit_file(
    workspace: str, path: FilePath, old: str, new: str, replace_all: bool, no_start: bool
) -> Call:
    flags = _flags(replace_all=replace_all, no_start=no_start)
    document = {**place(path), "old": old, "new": new, **flags}
    return Call("POST", calls.in_workspace(workspace, "/files/edit"), document)


def move_file(workspace: str, path: FilePath, to: FilePath, replace: bool, no_start: bool) -> Call:
    document = {**place(path), **place(to, "to"), **_flags(replace=replace, no_start=no_start)}
    return Call("POST", calls.in_workspace(workspace, "/files/move"), document)


def remove_file(workspace: str, path: FilePath, recursive: bool, no_start: bool) -> Call:
    document = {**place(path), **_flags(recursive=recursive, no_start=no_start)}
    return Call("POST", calls.in_workspace(workspace, "/files/remove"), document)


def make_directory(workspace: str, path: FilePath, mode: int | str | None, no_start: bool) -> Call:
    document: dict[str, Any] = {**place(path), **_flags(no_start=no_start)}
    if mode is not None:
        document["mode"] = _mode(mode)
    return Call("POST", calls.in_workspace(workspace, "/files/directory"), document)


def search_files(
    workspace: str,
    pattern: str,
    *,
    path: str,
    literal: bool,
    ignore_case: bool,
    globs: str | Sequence[str],
    context: int,
    max_matches: int | None,
    everything: bool,
    names_only: bool,
    no_start: bool,
) -> Call:
    document: dict[str, Any] = {"pattern": pattern, "path": path}
    if globs:
        document["globs"] = [globs] if isinstance(globs, str) else list(globs)
    if context:
        document["context"] = context
    if max_matches is not None:
        document["max_matches"] = max_matches
    document |= _flags(
        literal=literal,
        ignore_case=ignore_case,
        all=everything,
        names_only=names_only,
        no_start=no_start,
    )
    return Call("POST", calls.in_workspace(workspace, "/files/search"), document)


# --- changes -------------------------------------------------------------------------------------


def apply_patch(
    workspace: str, patch: str | bytes, base: str | None, check: bool, no_start: bool
) -> Call:
    raw = patch.encode("utf-8", "surrogateescape") if isinstance(patch, str) else patch
    document: dict[str, Any] = {}
    try:
        document["patch"] = raw.decode()
    except UnicodeDecodeError:
        document["patch_base64"] = coded(raw)
    if base is not None:
        document["base"] = base
    document |= _flags(check=check, no_start=no_start)
    return Call("POST", calls.in_workspace(workspace, "/patch"), document)


def diff_workspace(
    workspace: str,
    *,
    paths: str | Sequence[str],
    renames: bool,
    summary_only: bool,
    digests: bool,
    max_patch_bytes: int | None,
    max_total_bytes: int | None,
    since: str | None,
    until: str | None,
    no_start: bool,
    raw: bool = False,
) -> Call:
    query = with_query(
        calls.in_workspace(workspace, "/diff/patch" if raw else "/diff"),
        paths=_lines(paths),
        **{"from": since, "to": until},
        max_patch_bytes=max_patch_bytes,
        max_total_bytes=max_total_bytes,
        **_flags(renames=renames, summary_only=summary_only, digests=digests, no_start=no_start),
    )
    return Call("GET", query)


# --- much at once --------------------------------------------------------------------------------


def push_archive(workspace: str, destination: FilePath, delete: bool, no_start: bool) -> Call:
    flags = _flags(delete=delete, no_start=no_start)
    target = with_query(calls.in_workspace(workspace, "/archive"), **place(destination), **flags)
    return Call("PUT", target, content_type=_TAR)


def list_disk(workspace: str, path: FilePath, recursive: bool, max_entries: int | None) -> Call:
    target = calls.in_workspace(workspace, "/disk/files")
    flags = _flags(recursive=recursive)
    return Call("GET", with_query(target, **place(path), max_entries=max_entries, **flags))


def read_disk(workspace: str, path: FilePath, max_bytes: int, offset: int | None) -> Call:
    target = calls.in_workspace(workspace, "/disk/content")
    return Call("GET", with_query(target, **place(path), max_bytes=max_bytes, offset=offset))


def export_disk(workspace: str) -> Call:
    return Call("GET", calls.in_workspace(workspace, "/disk/image"))


def export_archive(
    workspace: str, path: FilePath, changed: bool, paths: str | Sequence[str], no_start: bool
) -> Call:
    flags = _flags(changed=changed, no_start=no_start)
    target = calls.in_workspace(workspace, "/archive")
    query = with_query(target, **place(path), paths=_lines(paths), **flags)
    return Call("GET", query, takes_trailers=True)


# --- snapshots -----------------------------------------------------------------------------------


def list_snapshots(workspace: str) -> Call:
    return Call("GET", calls.in_workspace(workspace, "/snapshots"))


def create_snapshot(workspace: str, snapshot: str) -> Call:
    document = {"snapshot_name": snapshot}
    return Call("POST", calls.in_workspace(workspace, "/snapshots"), document)


def delete_snapshot(workspace: str, snapshot: str) -> Call:
    if not isinstance(snapshot, str) or not snapshot:
        raise NotFoundError(f"there is no snapshot {snapshot!r}", code="snapshot_not_found")
    return Call("DELETE", calls.in_workspace(workspace, f"/snapshots/{segment(snapshot)}"))


def reset_workspace(workspace: str, snapshot: str, no_resume: bool) -> Call:
    document = {"snapshot": snapshot, **_flags(no_resume=no_resume)}
    return Call("POST", calls.in_workspace(workspace, "/reset"), document)


# --- answers, with what the node leaves out of them ----------------------------------------------

_ENTRY: dict[str, Any] = {"path_base64": None}
_PATCHED: dict[str, Any] = {"old_path": None}
_DIFFERENT: dict[str, Any] = {
    "path_base64": None,
    "text_patch_left_out": False,
    "old_path": None,
    "sha256": None,
    "old_sha256": None,
    "link_target": None,
    "old_link_target": None,
    "marks": [],
}


def _whole(
    document: Mapping[str, Any], key: str | None = None, usual: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    whole = {"notices": [], **document}
    if key is not None:
        whole[key] = [{**(usual or {}), **one} for one in document[key]]
    return whole


def noticed(document: Mapping[str, Any]) -> Any:
    """An answer with its notices, where there are none."""
    return _whole(document)


def file_list(document: Mapping[str, Any]) -> payloads.FileList:
    """What is in a directory."""
    return cast("payloads.FileList", _whole(document, "entries", _ENTRY))


def file_status(document: Mapping[str, Any]) -> payloads.FileStatus:
    """What a path stands for."""
    return cast("payloads.FileStatus", {**_ENTRY, **_whole(document)})


def file_content(document: Mapping[str, Any]) -> payloads.FileContent:
    """A part of a file."""
    return cast("payloads.FileContent", {"content_base64": None, **_whole(document)})


def file_bytes(content: payloads.FileContent) -> bytes:
    """The bytes of a part of a file."""
    raw = content["content_base64"]
    return base64.b64decode(raw) if raw is not None else content["content"].encode()


def disk_list(document: Mapping[str, Any]) -> payloads.DiskList:
    """What is in a directory of a stopped workspace."""
    return cast("payloads.DiskList", _whole(document, "entries", _ENTRY))


def disk_content(document: Mapping[str, Any]) -> payloads.DiskContent:
    """A part of a file of a stopped workspace."""
    return cast("payloads.DiskContent", {"content_base64": None, "path_base64": None, **document})


def search_result(document: Mapping[str, Any]) -> payloads.SearchResult:
    """Lines that were found."""
    return cast("payloads.SearchResult", _whole(document, "matches", _ENTRY))


def patch_result(document: Mapping[str, Any]) -> payloads.PatchResult:
    """What a patch changed."""
    return cast("payloads.PatchResult", _whole(document, "entries", _PATCHED))


def diff_result(document: Mapping[str, Any]) -> payloads.DiffResult:
    """What is different."""
    return cast("payloads.DiffResult", _whole(document, "entries", _DIFFERENT))


def pushed(sent: payloads.UnpackedFiles, mode: str, source: StrPath) -> PushedFiles:
    """What became of files that were sent, as the contract has it."""
    return {
        "workspace_id": sent["workspace_id"],
        "execution_mode": sent["execution_mode"],
        "workspace_sync": {
            "mode": mode,
            "source_path": os.path.abspath(source),
            "destination": sent["destination"],
            "entry_count": sent["entry_count"],
            "bytes_written": sent["bytes_written"],
            "removed_count": sent["removed_count"],
        },
        "notices": sent.get("notices") or [],
    }


def exported(
    workspace: payloads.Workspace,
    path: FilePath,
    output: str,
    artifact: str,
    unpacked: Unpacked,
) -> ExportedFiles:
    """What was taken out, as the contract has it."""
    raw = os.fspath(path)
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    left = unpacked.left_out
    return {
        "workspace_id": workspace["workspace_id"],
        "workspace_path": posixpath.normpath(posixpath.join("/workspace", text)),
        "output_path": output,
        "artifact_type": artifact,
        "entry_count": unpacked.entries,
        "bytes_written": unpacked.bytes,
        "execution_mode": workspace["execution_mode"],
        "notices": [f"{left} pipes were left out"] if left else [],
    }
