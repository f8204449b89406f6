"""A command that runs in a workspace, and the streams of it."""

from __future__ import annotations

import os
import select
import socket
import threading
from time import monotonic
from typing import TYPE_CHECKING

from . import _calls as calls
from . import _wire as wire
from ._session import (
    Session,
    TextLines,
    Told,
    end_closed,
    end_detached,
    end_of_another_process,
    stdin_closed,
)
from .errors import PyroError
from .results import ExecInfo, ExecOutput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self

    from ._transport import Transport

__all__ = ["InputStream", "OutputStream", "Process"]


class Channel:
    """The connection of one command, which its streams share.

    Nothing it refers to refers to it: it goes with the last reference to the command and its
    streams, and the command with it unless it was detached.
    """

    def __init__(self, transport: Transport, call: wire.Call, *, offset: int) -> None:
        self.transport = transport
        self.session = Session(offset=offset)
        self.changed = threading.Condition()
        self._hearing = False
        self._saying = threading.Lock()
        self._pid = os.getpid()
        self._stream: socket.socket | None = None
        stream, rest = transport.open(call)
        self._stream = stream
        try:
            if rest:
                self.session.feed(rest)
            with self.changed:
                self.hear_until(lambda: self.session.started, transport.timeout)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes this end."""
        stream = self._stream
        if stream is None:
            return
        self._stream = None
        if self._pid == os.getpid():
            try:
                # Whoever waits in another thread wakes up.
                stream.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        stream.close()

    def __del__(self) -> None:
        if getattr(self, "_stream", None) is not None:
            self.close()

    def connected(self) -> socket.socket:
        if self._pid != os.getpid():
            raise end_of_another_process()
        if self._stream is None:
            raise end_closed()
        return self._stream

    def say(self, frame: bytes) -> None:
        with self._saying:
            if self.session.over:
                raise self.session.unsaid(None)
            try:
                self.connected().sendall(frame)
            except OSError as error:
                raise self.session.unsaid(error) from error

    def hear_until(self, condition: _Condition, timeout: float | None) -> None:
        """Hears the node until the condition holds or the command ended.

        Called with the lock held. One thread reads for all; the others wait for what it finds.
        """
        deadline = None if timeout is None else monotonic() + timeout
        while not condition():
            if self.session.ended:
                return
            if self.session.failure is not None:
                raise self.session.failure
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                raise wire.silent("the stream of an exec", timeout or 0.0)
            if self._hearing:
                self.changed.wait(left)
                continue
            stream = self.connected()
            self._hearing = True
            self.changed.release()
            data = None
            broken: OSError | None = None
            try:
                if left is None or _readable(stream, left):
                    data = stream.recv(wire.READ_AHEAD)
            except OSError as error:
                broken = error
            finally:
                self.changed.acquire()
                self._hearing = False
                self.changed.notify_all()
            if broken is not None:
                self.session.break_off(broken)
            elif data is not None:
                if not data and self._stream is None:
                    self.connected()
                self.session.feed(data)
            if self.session.over:
                self.close()


class OutputStream:
    """Standard output or standard error of a command; iterating gives bytes as they come."""

    def __init__(self, channel: Channel, kind: int) -> None:
        self._channel = channel
        self._pending = channel.session.pending[kind]
        self._ahead = b""

    @property
    def dropped_bytes(self) -> int:
        """What came and was not read in time: more than 16 MiB are not kept for later.

        The node has it still: `Process.read_output`.
        """
        return self._pending.dropped

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read_some():
            yield piece

    def read_some(self, most: int = -1, *, timeout: float | None = None) -> bytes:
        """What there is, once there is something; nothing at the end.

        Raises `NodeError` with the code `node_timeout` when nothing came in `timeout` seconds.
        """
        if self._ahead:
            piece, self._ahead = self._ahead, b""
            if 0 <= most < len(piece):
                piece, self._ahead = piece[:most], piece[most:]
            return piece
        with self._channel.changed:
            self._channel.hear_until(lambda: self._pending.size > 0, timeout)
            if most < 0 and self._pending.size:
                return self._pending.take_piece()
            return self._pending.take(most)

    def read(self, *, timeout: float | None = None) -> bytes:
        """Everything up to the end."""
        deadline = None if timeout is None else monotonic() + timeout
        pieces: list[bytes] = []
        while True:
            left = None if deadline is None else max(deadline - monotonic(), 0.0)
            piece = self.read_some(timeout=left)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)

    def lines(self, encoding: str = "utf-8", errors: str = "replace") -> Iterator[str]:
        """Lines as they come, without their ends; the last one may have had none."""
        lines = TextLines(encoding, errors)
        for piece in self:
            # Whoever stops between two lines finds the others next time.
            for line, self._ahead in lines.cut(piece):
                yield line
            self._ahead = b""
        yield from lines.last()


class InputStream:
    """Standard input of a command."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.closed = False

    def write(self, data: bytes | str) -> int:
        """Sends bytes (or a text, as UTF-8); waits while the command does not read."""
        if self.closed:
            raise stdin_closed()
        encoded = data.encode() if isinstance(data, str) else bytes(data)
        for frame in wire.stdin_frames(encoded):
            self._channel.say(frame)
        return len(encoded)

    def close(self) -> None:
        """Ends the command's standard input."""
        if not self.closed:
            self.closed = True
            if not self._channel.session.over:
                self._channel.say(wire.frame(wire.END))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Process(Told):
    """A command that runs, and the connection to it.

    Leaving it (`with`), closing it or losing the last reference to it ends a command that was
    started by it; one that was attached to, or detached from, goes on. Threads may share it.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        stdin: bool,
    ) -> None:
        self._channel = channel
        self._session = channel.session
        self.stdout = OutputStream(channel, wire.STDOUT)
        """Its standard output; with a terminal, all its output."""
        self.stderr = OutputStream(channel, wire.STDERR)
        """Its standard error."""
        self.stdin = InputStream(channel) if stdin else None
        """Its standard input, where that was asked for."""

    @classmethod
    def _open(
        cls, transport: Transport, call: wire.Call, *, offset: int = 0, stdin: bool = False
    ) -> Process:
        return cls(Channel(transport, call, offset=offset), stdin=stdin)

    def wait(self, timeout: float | None = None) -> ExecInfo:
        """Waits for its end. Output that is not read meanwhile is kept, up to 16 MiB a stream.

        Raises `NodeError` with the code `node_timeout` when it still runs after `timeout` seconds;
        the command goes on.
        """
        with self._channel.changed:
            self._channel.hear_until(lambda: False, timeout)
        return self.info

    def kill(self, signal: str | int | None = None) -> None:
        """Ends it and every process it started: TERM, grace period, KILL.

        With a signal (`"INT"`, `signal.SIGINT`) only sends that.
        """
        if self._session.over:
            return
        call = calls.signal_exec(self.workspace_id, self.exec_id, signal)
        try:
            self._channel.transport.json(call)
        except PyroError as error:
            if error.code != "exec_ended":
                raise

    def resize(self, columns: int, rows: int) -> None:
        """Tells its terminal a new size."""
        self._channel.say(wire.control(type="resize", columns=columns, rows=rows))

    def detach(self) -> None:
        """Leaves it running: this end is closed, and `attach` finds it again."""
        if not self._session.over:
            self._channel.say(wire.control(type="detach"))
            self._session.failure = end_detached()
        self.close()

    def attach(self, *, offset: int | None = None, stdin: bool = False) -> Process:
        """Another end of the same command, from where this one is, or from `offset` on."""
        start = self.offset if offset is None else offset
        call = calls.attach_exec(self.workspace_id, self.exec_id, start, stdin)
        return Process._open(self._channel.transport, call, offset=start, stdin=stdin)

    def read_output(
        self, *, offset: int = 0, length: int | None = None, stream: str | None = None
    ) -> ExecOutput:
        """Kept output by range of the combined output, also of what was read already."""
        call = calls.exec_output(self.workspace_id, self.exec_id, offset, length, stream)
        return ExecOutput.of(*self._channel.transport.call(call), offset=offset)

    def close(self) -> None:
        """Closes this end; ends the command where it was started by it and still runs."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


if TYPE_CHECKING:
    from collections.abc import Callable

    _Condition = Callable[[], bool]


def _readable(stream: socket.socket, seconds: float) -> bool:
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
