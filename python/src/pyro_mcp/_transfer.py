"""What goes to and comes from a node in pieces: builds that tell of themselves, and uploads.

Refuses to know connections: `client.py` and `aio_client.py` carry it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from .errors import FailedError, PyroError, of_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from . import payloads
    from ._location import StrPath

# How long a build may say nothing, seconds.
BUILD_SILENCE = 3600.0
UPLOAD_PIECE = 256 * 1024


def build_event(
    event: dict[str, Any], progress: Callable[[str, float | None], None] | None
) -> payloads.Environment | None:
    """Hears one line of a build; what was built, at its end."""
    if event["type"] == "progress" and progress is not None:
        progress(event["message"], event.get("fraction"))
    elif event["type"] == "problem":
        raise of_problem(event["problem"])
    elif event["type"] == "done":
        return cast("payloads.Environment", {**event["environment"], "built": event["built"]})
    return None


class opened:  # noqa: N801 (a context manager, used as a function)
    """A source to read from, closed afterwards where it was opened here."""

    def __init__(self, source: StrPath | BinaryIO) -> None:
        if isinstance(source, (str, os.PathLike)):
            try:
                self.file: BinaryIO = open(source, "rb")  # noqa: SIM115 (closed by __exit__)
            except OSError as error:
                raise unreadable(error) from error
            self.own = True
        else:
            self.file = source
            self.own = False

    def __enter__(self) -> BinaryIO:
        return self.file

    def __exit__(self, *_: object) -> None:
        if self.own:
            self.file.close()


def unreadable(error: OSError) -> PyroError:
    """What was to be sent could not be read."""
    return FailedError(f"cannot read what was to be sent: {error}", code="input_unreadable")


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """What a file holds, as it is read."""
    while True:
        try:
            piece = file.read(UPLOAD_PIECE)
        except OSError as error:
            raise unreadable(error) from error
        if not piece:
            return
        yield piece
