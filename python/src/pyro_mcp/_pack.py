"""Makes a tar of files of this host, piece by piece.

pax format (POSIX.1-2001), with times in nanoseconds, symlinks as links and hard links as such.
Refuses to know where it goes.
"""

from __future__ import annotations

import os
import stat
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from ._transfer import UPLOAD_PIECE, pieces, unreadable
from .errors import FailedError, InvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from tarfile import TarInfo

    from ._location import StrPath

BLOCK = 512


class Source(NamedTuple):
    """What is sent."""

    mode: str
    """`directory` or `tar_archive`."""
    tar: Iterator[bytes]
    """It as a tar without compression."""


def source(path: StrPath, exclude: str | Sequence[str] = ()) -> Source:
    """A directory of this host, or an archive: .tar, .tar.gz, .tgz."""
    text = os.path.abspath(path)
    patterns = [exclude] if isinstance(exclude, str) else list(exclude)
    try:
        is_directory = stat.S_ISDIR(os.stat(text).st_mode)
    except OSError as error:
        raise unreadable(error) from error
    if is_directory:
        return Source("directory", _directory(text, patterns))
    if not text.endswith((".tar", ".tar.gz", ".tgz")):
        raise InvalidError(
            f"{text} is neither a directory nor an archive",
            code="archive_unknown_format",
            hints=["an archive's name ends in .tar, .tar.gz or .tgz"],
        )
    if patterns:
        raise InvalidError(
            "nothing can be left out of an archive",
            code="archive_bad_rule",
            hints=["give a directory, or an archive without what is not wanted"],
        )
    return Source("tar_archive", _archive(text))


def _archive(path: str) -> Iterator[bytes]:
    import gzip
    import zlib

    try:
        with open(path, "rb") if path.endswith(".tar") else gzip.open(path, "rb") as file:
            yield from pieces(file)  # type: ignore[arg-type]
    except (EOFError, zlib.error) as error:
        raise FailedError(f"{path} is damaged: {error}", code="archive_unreadable") from error
    except OSError as error:
        raise unreadable(error) from error


def left_out(name: str, is_directory: bool, patterns: Sequence[str]) -> bool:
    """Whether a pattern names it.

    One with a slash within it is of the whole path, any other of a name wherever it is; one with a
    slash at its end is of directories only.
    """
    for pattern in patterns:
        if pattern.endswith("/") and not is_directory:
            continue
        wanted = pattern.rstrip("/")
        if "/" in wanted:
            fits = fnmatchcase(name, wanted.lstrip("/"))
        else:
            fits = fnmatchcase(name.rpartition("/")[2], wanted)
        if fits:
            return True
    return False


def _directory(root: str, patterns: Sequence[str]) -> Iterator[bytes]:
    """Everything in a directory by name, directories before what is in them."""
    import tarfile

    # The first name of each file that has several.
    names: dict[tuple[int, int], str] = {}
    waiting = _names(root, "")
    while waiting:
        name = waiting.pop()
        path = os.path.join(root, name)
        try:
            found = os.lstat(path)
            if left_out(name, stat.S_ISDIR(found.st_mode), patterns):
                continue
            info = tarfile.TarInfo(name)
            info.mode = stat.S_IMODE(found.st_mode)
            _date(info, found.st_mtime_ns)
            if stat.S_ISDIR(found.st_mode):
                info.type = tarfile.DIRTYPE
                waiting += _names(root, name)
            elif stat.S_ISLNK(found.st_mode):
                info.type = tarfile.SYMTYPE
                info.linkname = os.readlink(path)
            elif not stat.S_ISREG(found.st_mode):
                # A socket, a pipe or a device means nothing elsewhere.
                continue
            elif (found.st_dev, found.st_ino) in names:
                info.type = tarfile.LNKTYPE
                info.linkname = names[found.st_dev, found.st_ino]
            else:
                if found.st_nlink > 1:
                    names[found.st_dev, found.st_ino] = name
                yield from _file(info, path)
                continue
        except FileNotFoundError:
            # Gone meanwhile.
            continue
        except OSError as error:
            raise unreadable(error) from error
        yield _header(info)
    yield bytes(2 * BLOCK)


def _names(root: str, directory: str) -> list[str]:
    """What is in a directory, the last name first."""
    names = os.listdir(os.path.join(root, directory))
    names.sort(key=os.fsencode, reverse=True)
    return [f"{directory}/{name}" if directory else name for name in names]


def _date(info: TarInfo, nanoseconds: int) -> None:
    seconds, rest = divmod(abs(nanoseconds), 1_000_000_000)
    sign = "-" if nanoseconds < 0 else ""
    info.mtime = max(nanoseconds // 1_000_000_000, 0)
    if rest or sign:
        info.pax_headers = {"mtime": f"{sign}{seconds}.{rest:09}"}


def _header(info: TarInfo) -> bytes:
    import tarfile

    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _file(info: TarInfo, path: str) -> Iterator[bytes]:
    """A regular file with its content, of the length that it has now."""
    # What is no file any more is not followed, nor waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return
        left = found.st_size
        info.size = left
        piece = bytearray(_header(info))
        padding = -left % BLOCK
        while left:
            part = file.read(min(left, UPLOAD_PIECE))
            if not part:
                raise FailedError(
                    f"{path} became shorter while it was read", code="input_unreadable"
                )
            left -= len(part)
            piece += part
            if len(piece) >= UPLOAD_PIECE:
                yield bytes(piece)
                piece.clear()
        piece += bytes(padding)
        yield bytes(piece)
