"""Cuts a service's log, as the node tells it piece by piece, into lines.

Pure. Refuses to know connections: `service.py` and `aio_service.py` feed it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .results import LogLine

if TYPE_CHECKING:
    from .payloads import ServiceLogEntry

# A line that is longer comes in pieces of this many bytes.
LONGEST = 1024 * 1024


def data_of(entry: ServiceLogEntry) -> bytes:
    """The bytes of a piece."""
    if entry["text"] is not None:
        return entry["text"].encode()
    return bytes.fromhex(entry["hex"] or "")


class Unfinished:
    """A line whose end did not come yet."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.at = 0.0


class LogLines:
    """The lines of both streams, each once its end came."""

    def __init__(self) -> None:
        self._unfinished: dict[str, Unfinished] = {}

    def feed(self, entry: ServiceLogEntry) -> list[LogLine]:
        """The lines that are whole now."""
        stream, at = entry["stream"], entry["at_micros"] / 1e6
        line = self._unfinished.setdefault(stream, Unfinished())
        whole = []
        *ends, rest = data_of(entry).split(b"\n")
        for end in ends:
            if not line.data:
                line.at = at
            line.data += end
            whole.append(self._take(stream, line))
        if rest:
            if not line.data:
                line.at = at
            line.data += rest
            if len(line.data) >= LONGEST:
                whole.append(self._take(stream, line))
        return whole

    def last(self) -> list[LogLine]:
        """Lines without an end."""
        left = [(stream, line) for stream, line in self._unfinished.items() if line.data]
        left.sort(key=lambda one: one[1].at)
        return [self._take(stream, line) for stream, line in left]

    def _take(self, stream: str, line: Unfinished) -> LogLine:
        raw = bytes(line.data).removesuffix(b"\r")
        line.data.clear()
        return LogLine(text=raw.decode("utf-8", "replace"), raw=raw, stream=stream, at=line.at)
