"""A disk that is being written to a path at which nothing is yet.

Whole or not at all, with holes where it is empty.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from .errors import ConflictError, FailedError

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._location import StrPath

# What is looked at for being empty, bytes.
BLOCK = 64 * 1024
_EMPTY = bytes(BLOCK)


class DiskFile:
    """Used with `with`: what is not `finish`ed is removed."""

    def __init__(self, output: StrPath) -> None:
        self.output = os.path.abspath(os.fspath(output))
        parent, name = os.path.split(self.output)
        if os.path.lexists(self.output) or not name:
            raise self._exists()
        self._beside = os.path.join(parent, f".{name[:200]}.{secrets.token_hex(6)}")
        try:
            os.makedirs(parent, exist_ok=True)
            self._file = open(self._beside, "xb")  # noqa: SIM115 (closed by __exit__)
        except OSError as error:
            raise self._unwritable(error) from error
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        try:
            os.unlink(self._beside)
        except FileNotFoundError:
            pass

    def _exists(self) -> ConflictError:
        return ConflictError(
            f"{self.output} is there already",
            code="output_exists",
            hints=["choose another path: nothing is written over"],
        )

    def _unwritable(self, error: OSError) -> FailedError:
        return FailedError(
            f"cannot write {self.output}: {error.strerror or error}",
            code="output_failed",
            causes=[str(error)],
        )

    def feed(self, piece: bytes) -> None:
        """More of it."""
        try:
            for at in range(0, len(piece), BLOCK):
                block = piece[at : at + BLOCK]
                if block == _EMPTY[: len(block)]:
                    self._file.seek(len(block), os.SEEK_CUR)
                else:
                    self._file.write(block)
        except OSError as error:
            raise self._unwritable(error) from error
        self.size += len(piece)

    def finish(self, size: int) -> None:
        """Gives it its name, if it is as long as it was to be."""
        if self.size != size:
            raise FailedError("the disk was cut short", code="archive_truncated")
        try:
            self._file.truncate(size)
            self._file.flush()
            os.fsync(self._file.fileno())
            os.link(self._beside, self.output)
        except FileExistsError as error:
            raise self._exists() from error
        except OSError as error:
            raise self._unwritable(error) from error
