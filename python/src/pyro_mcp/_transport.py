"""Calls over the node's socket, blocking: one connection each.

Nothing is shared between calls, so threads need no lock and a forked child inherits nothing it
could spoil; a node that was restarted, or ended by idleness, is found by the next call.
"""

from __future__ import annotations

import select
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from . import _program
from . import _wire as wire
from ._session import Session
from ._start import connect_or_start
from .errors import NodeError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ._location import Location


class Answer:
    """An answer whose body is still to come."""

    def __init__(self, call: wire.Call, stream: socket.socket, timeout: float | None) -> None:
        self._call = call
        self._stream = stream
        self._timeout = timeout
        self._rest = bytearray()
        while (head := wire.cut_head(call, self._rest)) is None:
            piece = self._receive()
            if not piece:
                raise wire.lost(call.name)
            self._rest += piece
        self.head = head
        self.trailers: dict[str, str] = {}

    def _receive(self) -> bytes:
        try:
            return self._stream.recv(wire.READ_AHEAD)
        except TimeoutError as error:
            raise wire.silent(self._call.name, self._timeout or 0.0) from error
        except OSError as error:
            raise wire.lost(self._call.name, error) from error

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes."""
        body = wire.Body(self._call, self.head)
        if self._rest and (piece := body.feed(self._rest)):
            yield piece
        while not body.done:
            received = self._receive()
            if not received:
                body.end()
            elif piece := body.feed(received):
                yield piece
        self.trailers = body.trailers

    def whole(self) -> bytes:
        """The whole body."""
        parts = []
        length = 0
        for piece in self.pieces():
            length += len(piece)
            if length > wire.MAX_REPLY:
                raise wire.not_understood(self._call.name, f"over {wire.MAX_REPLY} bytes")
            parts.append(piece)
        return b"".join(parts)

    def taken_over(self) -> bytes:
        """The bytes of an upgraded connection that came behind the head."""
        if self.head.status != 101:
            detail = f"{self.head.status} instead of a stream"
            raise wire.not_understood(self._call.name, detail)
        return bytes(self._rest)


class Transport:
    """Calls to the node of one location."""

    def __init__(self, location: Location, timeout: float | None) -> None:
        self.location = location
        self.timeout = timeout

    def _send(
        self,
        stream: socket.socket,
        call: wire.Call,
        timeout: float | None,
        body: Iterable[bytes] = (),
    ) -> Answer:
        stream.settimeout(timeout)
        try:
            stream.sendall(call.to_bytes())
            if call.content_type is not None:
                for piece in body:
                    if piece:
                        stream.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
                stream.sendall(b"0\r\n\r\n")
        except TimeoutError as error:
            raise wire.silent(call.name, timeout or 0.0) from error
        except (BrokenPipeError, ConnectionResetError):
            # It may have answered before it had read all; then that says why.
            pass
        answer = Answer(call, stream, timeout)
        if answer.head.status >= 400:
            raise wire.refusal(call, answer.head.status, answer.whole())
        return answer

    def _once(self, call: wire.Call, timeout: float | None) -> tuple[wire.Head, bytes]:
        with connect_or_start(self.location, self.timeout) as stream:
            answer = self._send(stream, call, timeout)
            return answer.head, answer.whole()

    def call(self, call: wire.Call, *, more: float = 0.0) -> tuple[wire.Head, bytes]:
        """Head and body of an answer; `more` seconds may pass in which the node only waits."""
        timeout = None if self.timeout is None else self.timeout + more
        try:
            return self._once(call, timeout)
        except NodeError as error:
            # A question may be asked again: the node may have ended by idleness just before it
            # heard it.
            if call.method != "GET" or error.code != "node_connection_lost":
                raise
        return self._once(call, timeout)

    def json(self, call: wire.Call, *, more: float = 0.0) -> Any:
        """The document of an answer."""
        return wire.parse(call, self.call(call, more=more)[1])

    def lines(self, call: wire.Call, timeout: float | None) -> Iterator[Any]:
        """The documents of an answer of several, as they come."""
        with connect_or_start(self.location, self.timeout) as stream:
            lines = wire.Lines(call)
            for piece in self._send(stream, call, timeout).pieces():
                yield from lines.feed(piece)

    def upload(self, call: wire.Call, body: Iterable[bytes], timeout: float | None) -> Any:
        """Sends a body in pieces."""
        with connect_or_start(self.location, self.timeout) as stream:
            return wire.parse(call, self._send(stream, call, timeout, body).whole())

    def program(self, words: Sequence[str]) -> dict[str, Any]:
        """Does a verb by the program; one that is given up ends."""
        import subprocess

        with subprocess.Popen(
            _program.command(self.location, words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_program.environment(self.location),
        ) as process:
            try:
                stdout, stderr = process.communicate()
            except BaseException:
                process.terminate()
                raise
        return _program.answer(words, process.returncode, stdout, stderr)

    def download(self, call: wire.Call, take: Callable[[bytes], None]) -> wire.Head:
        """Gives a body away in pieces as it comes."""
        with connect_or_start(self.location, self.timeout) as stream:
            answer = self._send(stream, call, self.timeout)
            for piece in answer.pieces():
                take(piece)
            problem = wire.broken_off(call, answer.trailers)
            if problem is not None:
                raise problem
            return answer.head

    def open(self, call: wire.Call) -> tuple[socket.socket, bytes]:
        """An upgraded connection, and the bytes of it that came already."""
        stream = connect_or_start(self.location, self.timeout)
        try:
            rest = self._send(stream, call, self.timeout).taken_over()
            stream.settimeout(None)
            return stream, rest
        except BaseException:
            stream.close()
            raise

    def gather(self, call: wire.Call, *, limit: float | None, data: bytes | None = None) -> Session:
        """Carries a command to its end and gathers its output; `data` is its stdin.

        The node ends it by its own timeout; `limit` is when that is believed no more.
        """
        stream, rest = self.open(call)
        session = Session(gather=True)
        with stream:
            if rest:
                session.feed(rest)
            deadline = None if limit is None else monotonic() + limit
            sending: deque[memoryview] = deque()
            if data is not None:
                sending.extend(map(memoryview, [*wire.stdin_frames(data), wire.frame(wire.END)]))
            poll = select.poll()
            buffer = bytearray(wire.READ_AHEAD)
            view = memoryview(buffer)
            while not session.over:
                if deadline is not None or sending:
                    poll.register(stream, select.POLLIN | (select.POLLOUT if sending else 0))
                    left = None if deadline is None else max(deadline - monotonic(), 0) * 1000
                    ready = poll.poll(left)
                    if not ready:
                        raise wire.silent(call.name, limit or 0.0)
                    events = ready[0][1]
                    if events & select.POLLOUT and sending:
                        _send_some(stream, sending)
                    if not events & ~select.POLLOUT:
                        continue
                try:
                    count = stream.recv_into(buffer)
                except OSError as error:
                    session.break_off(error)
                    break
                session.feed(view[:count])
        if session.failure is not None:
            raise session.failure
        return session


def _send_some(stream: socket.socket, sending: deque[memoryview]) -> None:
    """Sends what can be sent without waiting."""
    import socket

    try:
        while sending:
            sent = stream.send(sending[0], socket.MSG_DONTWAIT)
            if sent < len(sending[0]):
                sending[0] = sending[0][sent:]
                return
            sending.popleft()
    except BlockingIOError:
        pass
    except OSError:
        # The receiving side knows better why the connection broke, and may still have output.
        sending.clear()
