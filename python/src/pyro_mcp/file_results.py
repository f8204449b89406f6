"""What the typed layer answers about files, changes and snapshots."""

from __future__ import annotations

import base64
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .results import _Payload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from typing_extensions import Self

__all__ = [
    "DiffEntry",
    "DiffInfo",
    "FileContent",
    "FileInfo",
    "PatchInfo",
    "PatchedFile",
    "SearchInfo",
    "SearchMatch",
    "SnapshotInfo",
    "TransferInfo",
]


def _raw(payload: Mapping[str, Any]) -> bytes:
    coded = payload.get("path_base64")
    return base64.b64decode(coded) if coded is not None else str(payload["path"]).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo(_Payload):
    """A name in a workspace, and what it stands for."""

    path: str
    """Absolute; bytes that are not UTF-8 are replaced."""
    raw_path: bytes = dataclasses.field(repr=False)
    """The same, byte for byte."""
    artifact_type: str
    """`file`, `directory`, `symlink` or `other`."""
    size_bytes: int
    """Of its content; 0 of a directory."""
    link_target: str | None
    """Of a symlink, as it stands there."""
    mode: str
    """Its permissions in octal."""
    modified_at: float
    """Unix seconds."""
    uid: int
    """Its owner's number."""
    gid: int
    """Its group's number."""

    @classmethod
    def of(cls, payload: Mapping[str, Any], **more: Any) -> Self:
        return super(FileInfo, cls).of(payload, raw_path=_raw(payload), **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContent(_Payload):
    """A file's content, or a part of it; as a text, what is in it."""

    path: str
    """Absolute."""
    text: str
    """What was read; bytes that are not UTF-8 are replaced."""
    data: bytes = dataclasses.field(repr=False)
    """The same, byte for byte."""
    size_bytes: int
    """Of the whole file."""
    offset: int
    """Of the first byte that was read."""
    bytes_read: int
    """How many bytes were."""
    truncated: bool
    """Whether there is more behind it."""
    mode: str
    """The file's permissions in octal."""

    @classmethod
    def of(cls, payload: Mapping[str, Any], **more: Any) -> Self:
        text, coded = payload["content"], payload.get("content_base64")
        data = base64.b64decode(coded) if coded is not None else text.encode()
        return super(FileContent, cls).of(payload, text=text, data=data, **more)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchMatch(_Payload):
    """A line that was found, or one beside it."""

    path: str
    """Absolute."""
    line_number: int | None
    """1 for the first; `None` where only names were asked for."""
    line: str
    """Without its end."""
    context: bool
    """Whether it only stands beside one that was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchInfo(_Payload):
    """Lines that were found; iterating gives them."""

    matches: tuple[SearchMatch, ...]
    """By path and line."""
    count: int
    """How many were found, lines beside them not counted."""
    files_searched: int
    """How many files were looked into."""
    truncated: bool
    """Whether there may be more."""

    @classmethod
    def of(cls, payload: Mapping[str, Any], **more: Any) -> Self:
        found = tuple(SearchMatch.of(one) for one in payload["matches"])
        return super(SearchInfo, cls).of(payload, matches=found, **more)

    def __iter__(self) -> Iterator[SearchMatch]:
        return iter(self.matches)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffEntry(_Payload):
    """A path that is different."""

    path: str
    """Relative to `/workspace`."""
    raw_path: bytes = dataclasses.field(repr=False)
    """The same, byte for byte."""
    status: str
    """`added`, `modified`, `deleted`, `type_changed` or `renamed`."""
    artifact_type: str
    """What it is, or was where it is gone."""
    text_patch: str | None
    """Its patch, where it is text."""
    binary: bool
    """Whether its content is no text."""
    old_path: str | None
    """Of a renamed one."""
    mode: str | None
    """Permissions in octal; `None` where it is gone."""
    old_mode: str | None
    """Permissions it had; `None` where it is new."""
    size_bytes: int | None
    """Bytes; `None` where it is gone."""
    old_size_bytes: int | None
    """Bytes it had; `None` where it is new."""
    marks: tuple[str, ...]
    """Why it is worth a second look."""

    @classmethod
    def of(cls, payload: Mapping[str, Any], **more: Any) -> Self:
        marks = tuple(mark["reason"] for mark in payload["marks"])
        return super(DiffEntry, cls).of(payload, raw_path=_raw(payload), marks=marks, **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffInfo(_Payload):
    """What is different in a workspace; iterating gives its entries."""

    changed: bool
    """Whether anything is."""
    entries: tuple[DiffEntry, ...]
    """By path."""
    summary: dict[str, int]
    """Counts: `total`, `added`, `modified`, `deleted`, `type_changed`, ..."""
    patch: str
    """The patches of all entries; as a text, this."""
    truncated: bool
    """Whether there is more than was told."""

    @classmethod
    def of(cls, payload: Mapping[str, Any], **more: Any) -> Self:
        entries = tuple(DiffEntry.of(one) for one in payload["entries"])
        summary = dict(payload["summary"])
        return super(DiffInfo, cls).of(payload, entries=entries, summary=summary, **more)

    def __iter__(self) -> Iterator[DiffEntry]:
        return iter(self.entries)

    def __str__(self) -> str:
        return self.patch


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchedFile(_Payload):
    """A file that a patch changed."""

    path: str
    """Absolute."""
    status: str
    """`added`, `modified`, `deleted` or `renamed`."""
    old_path: str | None
    """Of a renamed one."""
    mended_hunks: int
    """Hunks that were found elsewhere than they said, or needed mending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchInfo(_Payload):
    """What a patch changed, or would."""

    changed: bool
    """Whether anything is different now."""
    checked: bool
    """Whether it was only looked at what would be."""
    entries: tuple[PatchedFile, ...]
    """File by file."""

    @classmethod
    def of(cls, payload: Mapping[str, Any], **more: Any) -> Self:
        entries = tuple(PatchedFile.of(one) for one in payload["entries"])
        return super(PatchInfo, cls).of(payload, entries=entries, **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotInfo(_Payload):
    """What a workspace's disk was at some time."""

    snapshot_name: str
    """Its name."""
    kind: str
    """`named`, or `baseline`: what the workspace was when it was made."""
    created_at: float
    """Unix seconds."""
    entry_count: int
    """Files, directories and links on the disk."""
    bytes_written: int
    """Bytes of it that are in use."""
    deletable: bool
    """Whether it can be deleted: all but the baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferInfo(_Payload):
    """Files that were brought in or taken out."""

    entry_count: int
    """How many names."""
    bytes_written: int
    """Bytes of content."""
    removed_count: int = 0
    """Names that were removed, because they did not come."""
    notices: tuple[str, ...] = ()
    """What the caller should know."""
