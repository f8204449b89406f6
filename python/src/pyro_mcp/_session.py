"""The conversation with one command, without any I/O.

Takes the bytes of an upgraded connection apart and keeps what was not read yet, in bounded memory.
Refuses to know sockets: `process.py` and `aio_process.py` feed it.
"""

from __future__ import annotations

import codecs
import json
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from . import _wire as wire
from .errors import ConflictError, PyroError, of_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .outcomes import ExecOutcome
    from .payloads import VmCleanup
    from .results import ExecInfo

# The most unread output that is kept of each stream, bytes. Beyond that the oldest goes; the node
# has it still (`Process.read_output`).
UNREAD = 16 * 1024 * 1024
# The most that a call which gathers all output keeps of each stream, bytes; the rest is cut off.
GATHERED = 64 * 1024 * 1024


class Pending:
    """Output of one stream that was not read yet."""

    def __init__(self, limit: int, *, keep_oldest: bool) -> None:
        self._pieces: deque[bytes] = deque()
        self._limit = limit
        self._keep_oldest = keep_oldest
        self.size = 0
        self.dropped = 0

    def add(self, piece: bytes) -> None:
        """One more piece."""
        if self._keep_oldest:
            room = self._limit - self.size
            if len(piece) > room:
                self.dropped += len(piece) - room
                piece = piece[:room]
        self._pieces.append(piece)
        self.size += len(piece)
        while self.size > self._limit:
            over = self._pieces.popleft()
            self.size -= len(over)
            self.dropped += len(over)

    def take(self, most: int = -1) -> bytes:
        """What there is, at most so many bytes of it."""
        if most < 0 or most >= self.size:
            whole = b"".join(self._pieces)
            self._pieces.clear()
            self.size = 0
            return whole
        taken = []
        left = most
        while left > 0:
            piece = self._pieces.popleft()
            if len(piece) > left:
                self._pieces.appendleft(piece[left:])
                piece = piece[:left]
            taken.append(piece)
            left -= len(piece)
        self.size -= most
        return b"".join(taken)

    def take_piece(self) -> bytes:
        """The oldest piece."""
        piece = self._pieces.popleft()
        self.size -= len(piece)
        return piece


class Session:
    """What was heard of a command so far."""

    def __init__(self, *, offset: int = 0, gather: bool = False) -> None:
        limit = GATHERED if gather else UNREAD
        self._frames = wire.Frames()
        self.pending = {
            kind: Pending(limit, keep_oldest=gather) for kind in (wire.STDOUT, wire.STDERR)
        }
        self.exec: dict[str, Any] = {}
        self.notices: list[str] = []
        self.cleanup: VmCleanup | None = None
        self.offset = offset
        """The position in the combined output up to which it was received."""
        self.gap_bytes = 0
        self.started = False
        self.ended = False
        self.failure: PyroError | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will be heard."""
        return self.ended or self.failure is not None

    def feed(self, data: bytes | memoryview) -> None:
        """More bytes of the connection; none when it ended."""
        if self.over:
            return
        if not data:
            self.break_off(None)
            return
        try:
            self._frames.feed(data)
            while not self.over and (cut := self._frames.cut()) is not None:
                self._take(*cut)
        except PyroError as error:
            self.failure = error

    def break_off(self, cause: BaseException | None) -> None:
        """The connection broke."""
        if not self.over:
            self.failure = wire.stream_lost(
                self.exec.get("workspace_id"), self.exec.get("exec_id"), cause
            )

    def unsaid(self, cause: BaseException | None) -> PyroError:
        """Why the command could not be told something."""
        # What was heard may know better why the connection broke.
        if self.ended:
            return ConflictError(
                "the command has ended", code="exec_ended", hints=["its output can still be read"]
            )
        return self.failure or wire.stream_lost(
            self.exec.get("workspace_id"), self.exec.get("exec_id"), cause
        )

    def _take(self, kind: int, payload: bytes) -> None:
        if kind in self.pending:
            self.offset += len(payload)
            self.pending[kind].add(payload)
        elif kind == wire.CONTROL:
            try:
                self._control(json.loads(payload))
            except (ValueError, KeyError, TypeError) as error:
                raise wire.not_understood("the stream of an exec", str(error)) from error
        else:
            # An end before `ended`: the node gave the stream up.
            self.break_off(None)

    def _control(self, said: dict[str, Any]) -> None:
        # A newer node may say more than is known here.
        kind = said["type"]
        if kind == "started":
            self.exec = said["exec"]
            self.notices = list(said["notices"])
            self.started = True
        elif kind == "gap":
            self.gap_bytes += said["to"] - said["from"]
            self.offset = said["to"]
        elif kind == "ended":
            self.exec = said["exec"]
            self.cleanup = said.get("cleanup")
            self.ended = True
        elif kind == "problem":
            self.failure = of_problem(said["problem"])

    def result(self) -> tuple[ExecOutcome, bytes, bytes]:
        """The record of a command that ended, with the output that was gathered, also as bytes."""
        out, err = self.pending[wire.STDOUT], self.pending[wire.STDERR]
        cut = bool(out.dropped or err.dropped)
        raw = (out.take(), err.take())
        texts = [one.decode("utf-8", "replace") for one in raw]
        record = cast(
            "ExecOutcome",
            {
                **self.exec,
                "stdout": texts[0],
                "stderr": texts[1],
                # U+FFFD may as well have been printed.
                "lossy": any(
                    "\ufffd" in text and text.encode() != one
                    for text, one in zip(texts, raw, strict=True)
                ),
                "truncated": bool(self.exec.get("truncated")) or cut,
                "notices": self.notices,
            },
        )
        return record, *raw


class Told:
    """What a command's object knows without asking anybody."""

    _session: Session

    def __repr__(self) -> str:
        name, command = type(self).__name__, self._session.exec["command"]
        return f"<{name} {self.exec_id} {command!r} in {self.workspace_id}>"

    @property
    def exec_id(self) -> str:
        """Identifies the command within its workspace."""
        return str(self._session.exec["exec_id"])

    @property
    def workspace_id(self) -> str:
        """Where it runs."""
        return str(self._session.exec["workspace_id"])

    @property
    def info(self) -> ExecInfo:
        """The command as it was when it was last heard of."""
        from .results import ExecInfo

        return ExecInfo.of(self._session.exec)

    @property
    def notices(self) -> list[str]:
        """What the caller should know, for example that the workspace was started for it."""
        return list(self._session.notices)

    @property
    def offset(self) -> int:
        """The position in its combined output up to which it was received: where to attach."""
        return self._session.offset

    @property
    def gap_bytes(self) -> int:
        """Output that the node dropped from the middle because there was too much of it."""
        return self._session.gap_bytes

    @property
    def exit_code(self) -> int | None:
        """Its exit code once its end was heard."""
        code: int | None = self._session.exec["exit_code"]
        return code


class TextLines:
    """Cuts output into lines as it comes."""

    def __init__(self, encoding: str, errors: str) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        self._code = (encoding, errors)
        self._rest = ""

    def cut(self, piece: bytes) -> Iterator[tuple[str, bytes]]:
        """The lines that end in this piece, each with what follows it there."""
        *lines, self._rest = (self._rest + self._decoder.decode(piece)).split("\n")
        for number, line in enumerate(lines):
            ahead = "\n".join([*lines[number + 1 :], self._rest]).encode(*self._code)
            yield line.removesuffix("\r"), ahead

    def last(self) -> Iterator[str]:
        """The last line, where it has no end."""
        rest = self._rest + self._decoder.decode(b"", True)
        if rest:
            yield rest


def end_of_another_process() -> ConflictError:
    """A forked child used what its parent opened."""
    return ConflictError(
        "this end of the command belongs to the process that was forked",
        code="stream_of_another_process",
        hints=["attach() gives this process an end of its own"],
    )


def end_closed() -> ConflictError:
    """It is used after it was closed."""
    return ConflictError(
        "this end of the command was closed",
        code="stream_closed",
        hints=["attach() gives another"],
    )


def end_detached() -> ConflictError:
    """It is used after the command was left."""
    return ConflictError("this end was detached", code="detached", hints=["attach() gives another"])


def stdin_closed() -> ConflictError:
    """Something is written behind the end."""
    return ConflictError("the command's stdin was closed", code="stdin_closed")
