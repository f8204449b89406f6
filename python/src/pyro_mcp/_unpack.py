"""Takes a tar that a guest wrote into a place of this host, whole or not at all.

What comes is hostile: names stay within the new directory, symlinks are made as they are and never
followed, hard links lead to what was unpacked before, devices are refused and pipes left out. The
files are this user's; bits that would give somebody else's rights are dropped.

Formats: POSIX pax Interchange Format; GNU tar manual, "Storing Sparse Files" (1.0). Refuses to know
where the bytes come from.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from typing import TYPE_CHECKING, NamedTuple

from .errors import ConflictError, FailedError

if TYPE_CHECKING:
    from collections.abc import Generator

    from typing_extensions import Self

    from ._location import StrPath

BLOCK = 512
# The longest pax header, name, and map of a sparse file (in numbers) that are read.
MAX_EXTENDED = 256 * 1024
MAX_NAME = 4095
MAX_MAP = 2_000_000
# How much of a file is written at once.
_PIECE = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Unpacked(NamedTuple):
    """What came."""

    entries: int
    bytes: int
    left_out: int


class _Member(NamedTuple):
    name: bytes
    kind: bytes
    link: bytes
    mode: int
    size: int
    mtime: int
    """Nanoseconds."""
    real_size: int | None
    """Of a sparse file: its size with its holes."""


def _unsafe(what: str, name: bytes) -> FailedError:
    shown = os.fsdecode(name[:200])
    return FailedError(
        f"the export was refused: {shown!r} {what}",
        code="archive_unsafe_name",
        hints=["export a directory that does not have it"],
    )


def _malformed(detail: str) -> FailedError:
    return FailedError(f"the export is no tar: {detail}", code="archive_malformed")


def _unwritable(path: str, error: OSError) -> FailedError:
    detail = error.strerror or str(error)
    return FailedError(f"cannot write {path}: {detail}", code="output_failed", causes=[str(error)])


class Export:
    """Something that is being taken out to a path at which nothing is yet.

    Used with `with`: what is not `finish`ed is removed.
    """

    def __init__(self, output: StrPath) -> None:
        self.output = os.path.abspath(os.fspath(output))
        parent, name = os.path.split(self.output)
        if os.path.lexists(self.output) or not name:
            raise self._exists()
        self._beside = os.path.join(parent, f".{name[:200]}.{secrets.token_hex(6)}")
        try:
            os.makedirs(parent, exist_ok=True)
            os.mkdir(self._beside)
        except OSError as error:
            raise _unwritable(self._beside, error) from error
        self._root = os.open(self._beside, _DIRECTORY)
        self._buffer = bytearray()
        self._directories: list[tuple[bytes, int, int]] = []
        self._entries = self._bytes = self._left_out = 0
        self._over = False
        self._steps = self._members()
        self._least, self._most = next(self._steps)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._steps.close()
        os.close(self._root)
        shutil.rmtree(self._beside, ignore_errors=True)

    def _exists(self) -> ConflictError:
        return ConflictError(
            f"{self.output} is there already",
            code="output_exists",
            hints=["choose another path: nothing is written over"],
        )

    def feed(self, piece: bytes) -> None:
        """More of the tar."""
        if self._over:
            return
        self._buffer += piece
        at = 0
        try:
            while len(self._buffer) - at >= self._least:
                part = bytes(memoryview(self._buffer)[at : at + self._most])
                at += len(part)
                self._least, self._most = self._steps.send(part)
        except StopIteration:
            self._over = True
            self._buffer.clear()
        except (OSError, OverflowError) as error:
            if isinstance(error, OSError):
                raise _unwritable(self.output, error) from error
            raise _malformed(str(error)) from error
        else:
            del self._buffer[:at]

    def finish(self, artifact: str) -> Unpacked:
        """Puts what came where it belongs; `artifact` is what it is of."""
        if not self._over:
            raise FailedError("the export was cut short", code="archive_truncated")
        try:
            self._date_directories()
            if artifact == "directory":
                self._place_directory()
            else:
                self._place_one()
        except FileExistsError as error:
            raise self._exists() from error
        except OSError as error:
            raise _unwritable(self.output, error) from error
        return Unpacked(self._entries, self._bytes, self._left_out)

    def _place_directory(self) -> None:
        # Only what is made here is put aside for it: a rename goes over nothing but an empty
        # directory.
        os.mkdir(self.output)
        try:
            os.rename(self._beside, self.output)
        except OSError:
            with contextlib.suppress(OSError):
                os.rmdir(self.output)
            raise

    def _place_one(self) -> None:
        names = os.listdir(self._beside)
        if len(names) != 1:
            raise _malformed("it has not the one name that was asked for")
        (name,) = names
        made = os.path.join(self._beside, name)
        try:
            os.link(made, self.output, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:
            # Not every file system has links.
            if os.path.lexists(self.output):
                raise self._exists() from None
            os.rename(made, self.output)

    # --- reading ----------------------------------------------------------------------------------

    def _members(self) -> Generator[tuple[int, int], bytes, None]:
        extended: dict[bytes, bytes] | None = None
        while True:
            header = yield BLOCK, BLOCK
            if not any(header):
                if extended is not None:
                    raise _malformed("it ends behind an extended header")
                return
            kind = _checked(header)
            if kind == b"x":
                if extended is not None:
                    raise _malformed("it has two extended headers in a row")
                size = _octal(header[124:136])
                if not 0 < size <= MAX_EXTENDED:
                    raise _malformed(f"an extended header of {size} bytes")
                length = size + -size % BLOCK
                extended = _records((yield length, length)[:size])
                continue
            member = _member(header, kind, extended or {})
            extended = None
            yield from self._take(member)

    def _take(self, member: _Member) -> Generator[tuple[int, int], bytes, None]:
        parts = _parts(member.name)
        if not parts:
            # The directory itself.
            if member.kind != b"5":
                raise _unsafe("is no name", member.name)
            self._directories.append((b"", member.mode, member.mtime))
            return
        if member.kind == b"6":
            self._left_out += 1
            return
        if member.kind not in {b"0", b"\0", b"1", b"2", b"5"}:
            raise _unsafe("is neither file, directory nor link", member.name)
        *way, leaf = parts
        parent = self._open(way, member.name, make=True)
        try:
            self._entries += 1
            if member.kind == b"5":
                self._make_directory(parent, leaf, member)
            elif member.kind == b"2":
                os.symlink(member.link, leaf, dir_fd=parent)
                times = (member.mtime, member.mtime)
                with contextlib.suppress(OSError):
                    os.utime(leaf, ns=times, dir_fd=parent, follow_symlinks=False)
            elif member.kind == b"1":
                self._link(parent, leaf, member)
            else:
                yield from self._write(parent, leaf, member)
        except FileExistsError as error:
            raise FailedError(
                f"the export has {os.fsdecode(member.name)!r} twice",
                code="archive_duplicate_member",
            ) from error
        finally:
            os.close(parent)

    def _open(self, way: list[bytes], name: bytes, *, make: bool) -> int:
        """A directory within, on whose way there is no link."""
        descriptor = os.dup(self._root)
        try:
            for part in way:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=descriptor)
                try:
                    inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
                except OSError as error:
                    raise _unsafe("leads through what is no directory", name) from error
                os.close(descriptor)
                descriptor = inner
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _make_directory(self, parent: int, leaf: bytes, member: _Member) -> None:
        try:
            os.mkdir(leaf, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(leaf, dir_fd=parent).st_mode):
                raise
        # Its mode and time are set once everything is in it.
        self._directories.append((b"/".join(_parts(member.name)), member.mode, member.mtime))

    def _link(self, parent: int, leaf: bytes, member: _Member) -> None:
        *way, target = _parts(member.link) or [b""]
        if not target:
            raise _unsafe("links to no name", member.name)
        there = self._open(way, member.name, make=False)
        try:
            try:
                kind = os.lstat(target, dir_fd=there).st_mode
            except FileNotFoundError as error:
                raise _unsafe("links to what did not come before", member.name) from error
            if not (stat.S_ISREG(kind) or stat.S_ISLNK(kind)):
                raise _unsafe("links to what is no file", member.name)
            os.link(target, leaf, src_dir_fd=there, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(there)

    def _write(
        self, parent: int, leaf: bytes, member: _Member
    ) -> Generator[tuple[int, int], bytes, None]:
        left = member.size
        padding = -left % BLOCK
        segments = [(0, left)]
        if member.real_size is not None:
            segments, read = yield from _sparse_map(member.real_size, left)
            left -= read
            if sum(length for _, length in segments) != left:
                raise _malformed("a sparse file whose parts are not its size")
        descriptor = os.open(leaf, _NEW_FILE, 0o600, dir_fd=parent)
        try:
            for offset, length in segments:
                at, end = offset, offset + length
                while at < end:
                    piece = yield 1, min(end - at, _PIECE)
                    view = memoryview(piece)
                    while view:
                        written = os.pwrite(descriptor, view, at)
                        view = view[written:]
                        at += written
            size = member.real_size if member.real_size is not None else member.size
            if member.real_size is not None:
                os.ftruncate(descriptor, size)
            self._bytes += size
            os.fchmod(descriptor, member.mode)
            with contextlib.suppress(OSError):
                os.utime(descriptor, ns=(member.mtime, member.mtime))
        finally:
            os.close(descriptor)
        if padding:
            yield padding, padding

    def _date_directories(self) -> None:
        """Modes and times, the deepest first: what is shut must not be gone into any more."""
        self._directories.sort(key=lambda one: len(_parts(one[0])), reverse=True)
        for name, mode, mtime in self._directories:
            descriptor = self._open(_parts(name), name, make=False)
            try:
                with contextlib.suppress(OSError):
                    os.utime(descriptor, ns=(mtime, mtime))
                os.fchmod(descriptor, mode)
            finally:
                os.close(descriptor)


def _checked(header: bytes) -> bytes:
    """The type of a member whose header's checksum is right."""
    if len(header) != BLOCK:
        raise _malformed("a header is not whole")
    total = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    if _octal(header[148:156]) != total:
        raise _malformed("a header's checksum is wrong")
    return header[156:157]


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    if not digits:
        return 0
    if not digits.isdigit():
        raise _malformed("a number is none")
    try:
        return int(digits, 8)
    except ValueError as error:
        raise _malformed("a number is none") from error


def _records(data: bytes) -> dict[bytes, bytes]:
    """The records of a pax header: `LENGTH KEY=VALUE` and a line end each."""
    found: dict[bytes, bytes] = {}
    while data:
        length, space, _ = data[:16].partition(b" ")
        if not space or not length.isdigit():
            raise _malformed("an extended header is none")
        record, data = data[: int(length)], data[int(length) :]
        key, equals, value = record[len(length) + 1 :].partition(b"=")
        if len(record) != int(length) or not equals or not value.endswith(b"\n"):
            raise _malformed("an extended header is none")
        found[key] = value[:-1]
    return found


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise _malformed("a number is none")
    return int(text)


def _nanoseconds(text: bytes) -> int:
    """Seconds with decimals; what a host cannot have as a time is its beginning."""
    unsigned = text.removeprefix(b"-")
    whole, _, part = unsigned.partition(b".")
    nanoseconds = _number(whole or b"0") * 1_000_000_000 + _number(part[:9].ljust(9, b"0"))
    return -nanoseconds if unsigned != text else nanoseconds


def _member(header: bytes, kind: bytes, extended: dict[bytes, bytes]) -> _Member:
    def text(start: int, length: int) -> bytes:
        return header[start : start + length].split(b"\0", 1)[0]

    name = text(0, 100)
    if header[257:263] == b"ustar\0" and (prefix := text(345, 155)):
        name = prefix + b"/" + name
    size = _number(extended[b"size"]) if b"size" in extended else _octal(header[124:136])
    mtime = extended.get(b"mtime")
    real_size = None
    if b"GNU.sparse.major" in extended:
        if (extended[b"GNU.sparse.major"], extended.get(b"GNU.sparse.minor")) != (b"1", b"0"):
            raise _malformed("a sparse file of another format")
        name = extended.get(b"GNU.sparse.name", name)
        real_size = _number(extended.get(b"GNU.sparse.realsize", b""))
    elif b"path" in extended:
        name = extended[b"path"]
    return _Member(
        name=name,
        kind=kind,
        link=extended.get(b"linkpath", text(157, 100)),
        mode=_octal(header[100:108]) & 0o777,
        size=size if kind in {b"0", b"\0"} else 0,
        mtime=_nanoseconds(mtime) if mtime is not None else _octal(header[136:148]) * 1_000_000_000,
        real_size=real_size,
    )


def _parts(name: bytes) -> list[bytes]:
    """The parts of a name that stays where it is."""
    parts = [part for part in name.split(b"/") if part not in {b"", b"."}]
    if name.startswith(b"/") or b".." in parts or b"\0" in name or len(name) > MAX_NAME:
        raise _unsafe("leads elsewhere", name)
    return parts


def _sparse_map(
    real_size: int, stored: int
) -> Generator[tuple[int, int], bytes, tuple[list[tuple[int, int]], int]]:
    """The parts of a sparse file, and how long the map of them was."""
    numbers: list[int] = []
    text = b""
    read = 0
    while True:
        *lines, text = text.split(b"\n")
        for line in lines:
            numbers.append(_number(line))
            if numbers[0] > MAX_MAP:
                raise _malformed("a sparse file of too many parts")
            if len(numbers) == 1 + 2 * numbers[0]:
                break
        if numbers and len(numbers) == 1 + 2 * numbers[0]:
            break
        if len(text) > 20 or read + BLOCK > stored:
            raise _malformed("a sparse file without a map")
        text += yield BLOCK, BLOCK
        read += BLOCK
    segments = list(zip(numbers[1::2], numbers[2::2], strict=True))
    before = 0
    for offset, length in segments:
        if offset < before or offset + length > real_size:
            raise _malformed("a sparse file whose parts overlap")
        before = offset + length
    return segments, read
