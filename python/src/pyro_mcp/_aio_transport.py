"""Calls over the node's socket for asyncio: one connection each.

It is closed when its task is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

from . import _program
from . import _wire as wire
from ._session import Session
from ._start import connect_or_start, short_path, unreachable
from .errors import NodeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from types import TracebackType

    from ._location import Location


class TimeLimit:
    """Raises `TimeoutError` in its body when that takes longer; `None`: as long as it likes.

    `asyncio.wait_for` loses cancellations before Python 3.12, and `asyncio.timeout` is not in 3.10.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._expired = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        if self._seconds is not None and task is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._seconds, self._expire, task)

    def _expire(self, task: asyncio.Task[object]) -> None:
        self._expired = True
        task.cancel()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._expired:
            return
        task = asyncio.current_task()
        # Since Python 3.11 a task counts who cancelled it: somebody else may have as well.
        uncancel = getattr(task, "uncancel", None)
        others = uncancel() if uncancel is not None else 0
        if kind is asyncio.CancelledError and others == 0:
            raise TimeoutError


class Connection:
    """A connection for one call."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def close(self) -> None:
        """Closes it at once; what was not sent is lost."""
        try:
            self.writer.transport.abort()
        except RuntimeError:
            # Its event loop is closed, and with it everything on it.
            pass

    async def receive(self, call: wire.Call, timeout: float | None) -> bytes:
        """What comes next; nothing at the end."""
        try:
            async with TimeLimit(timeout):
                return await self.reader.read(wire.READ_AHEAD)
        except TimeoutError as error:
            raise wire.silent(call.name, timeout or 0.0) from error
        except OSError as error:
            raise wire.lost(call.name, error) from error


class Answer:
    """An answer whose body is still to come."""

    def __init__(
        self,
        call: wire.Call,
        connection: Connection,
        timeout: float | None,
        head: wire.Head,
        rest: bytearray,
    ) -> None:
        self._call = call
        self._connection = connection
        self._timeout = timeout
        self.head = head
        self.rest = rest
        self.trailers: dict[str, str] = {}

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        body = wire.Body(self._call, self.head)
        if self.rest and (piece := body.feed(self.rest)):
            yield piece
        while not body.done:
            received = await self._connection.receive(self._call, self._timeout)
            if not received:
                body.end()
            elif piece := body.feed(received):
                yield piece
        self.trailers = body.trailers

    async def whole(self) -> bytes:
        """The whole body."""
        parts = []
        length = 0
        async for piece in self.pieces():
            length += len(piece)
            if length > wire.MAX_REPLY:
                raise wire.not_understood(self._call.name, f"over {wire.MAX_REPLY} bytes")
            parts.append(piece)
        return b"".join(parts)


class AsyncTransport:
    """Calls to the node of one location."""

    def __init__(self, location: Location, timeout: float | None) -> None:
        self.location = location
        self.timeout = timeout

    async def connect(self) -> Connection:
        """A connection to the node, which is started where none listens."""
        stream = self._connect_at_once()
        if stream is None:
            # It has to wait, or to start a node: on a thread.
            stream = await _on_thread(self.location, self.timeout)
        try:
            reader, writer = await asyncio.open_unix_connection(
                sock=stream, limit=2 * wire.READ_AHEAD
            )
        except BaseException:
            stream.close()
            raise
        return Connection(reader, writer)

    def _connect_at_once(self) -> socket.socket | None:
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            stream.setblocking(False)
            with short_path(self.location) as path:
                stream.connect(path)
            return stream
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            stream.close()
            return None
        except OSError as error:
            stream.close()
            raise unreachable(error) from error

    async def _send(
        self,
        connection: Connection,
        call: wire.Call,
        timeout: float | None,
        body: Iterable[bytes] = (),
    ) -> Answer:
        async def send() -> None:
            connection.writer.write(call.to_bytes())
            if call.content_type is not None:
                for piece in body:
                    if piece:
                        connection.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                        await connection.writer.drain()
                connection.writer.write(b"0\r\n\r\n")
            await connection.writer.drain()

        try:
            # One limit for all of a body: nobody knows how long it is.
            async with TimeLimit(timeout if call.content_type is None else None):
                await send()
        except TimeoutError as error:
            raise wire.silent(call.name, timeout or 0.0) from error
        except (BrokenPipeError, ConnectionResetError):
            # It may have answered before it had read all; then that says why.
            pass
        rest = bytearray()
        while (head := wire.cut_head(call, rest)) is None:
            piece = await connection.receive(call, timeout)
            if not piece:
                raise wire.lost(call.name)
            rest += piece
        answer = Answer(call, connection, timeout, head, rest)
        if head.status >= 400:
            raise wire.refusal(call, head.status, await answer.whole())
        return answer

    async def _once(self, call: wire.Call, timeout: float | None) -> tuple[wire.Head, bytes]:
        connection = await self.connect()
        try:
            answer = await self._send(connection, call, timeout)
            return answer.head, await answer.whole()
        finally:
            connection.close()

    async def call(self, call: wire.Call, *, more: float = 0.0) -> tuple[wire.Head, bytes]:
        """Head and body of an answer; `more` seconds may pass in which the node only waits."""
        timeout = None if self.timeout is None else self.timeout + more
        try:
            return await self._once(call, timeout)
        except NodeError as error:
            # A question may be asked again, as in the blocking client.
            if call.method != "GET" or error.code != "node_connection_lost":
                raise
        return await self._once(call, timeout)

    async def json(self, call: wire.Call, *, more: float = 0.0) -> Any:
        """The document of an answer."""
        return wire.parse(call, (await self.call(call, more=more))[1])

    async def lines(self, call: wire.Call, timeout: float | None) -> AsyncIterator[Any]:
        """The documents of an answer of several, as they come."""
        connection = await self.connect()
        try:
            lines = wire.Lines(call)
            answer = await self._send(connection, call, timeout)
            async for piece in answer.pieces():
                for document in lines.feed(piece):
                    yield document
        finally:
            connection.close()

    async def upload(self, call: wire.Call, body: Iterable[bytes], timeout: float | None) -> Any:
        """Sends a body in pieces."""
        connection = await self.connect()
        try:
            answer = await self._send(connection, call, timeout, body)
            return wire.parse(call, await answer.whole())
        finally:
            connection.close()

    async def program(self, words: Sequence[str]) -> dict[str, Any]:
        """Does a verb by the program; one that is given up ends."""
        process = await asyncio.create_subprocess_exec(
            *_program.command(self.location, words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_program.environment(self.location),
        )
        try:
            stdout, stderr = await process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            raise
        return _program.answer(words, process.returncode or 0, stdout, stderr)

    async def download(self, call: wire.Call, take: Callable[[bytes], None]) -> wire.Head:
        """Gives a body away in pieces as it comes."""
        connection = await self.connect()
        try:
            answer = await self._send(connection, call, self.timeout)
            async for piece in answer.pieces():
                take(piece)
            problem = wire.broken_off(call, answer.trailers)
            if problem is not None:
                raise problem
            return answer.head
        finally:
            connection.close()

    async def open(self, call: wire.Call) -> tuple[Connection, bytes]:
        """An upgraded connection, and the bytes of it that came already."""
        connection = await self.connect()
        try:
            answer = await self._send(connection, call, self.timeout)
            if answer.head.status != 101:
                detail = f"{answer.head.status} instead of a stream"
                raise wire.not_understood(call.name, detail)
            return connection, bytes(answer.rest)
        except BaseException:
            connection.close()
            raise

    async def gather(
        self, call: wire.Call, *, limit: float | None, data: bytes | None = None
    ) -> Session:
        """Carries a command to its end and gathers its output; `data` is its stdin."""
        connection, rest = await self.open(call)
        session = Session(gather=True)

        async def send() -> None:
            with contextlib.suppress(OSError):
                for piece in wire.stdin_frames(data or b""):
                    connection.writer.write(piece)
                    await connection.writer.drain()
                connection.writer.write(wire.frame(wire.END))
                await connection.writer.drain()

        async def hear() -> None:
            while not session.over:
                try:
                    session.feed(await connection.reader.read(wire.READ_AHEAD))
                except OSError as error:
                    session.break_off(error)

        sending = asyncio.ensure_future(send()) if data is not None else None
        try:
            if rest:
                session.feed(rest)
            async with TimeLimit(limit):
                await hear()
        except TimeoutError as error:
            raise wire.silent(call.name, limit or 0.0) from error
        finally:
            if sending is not None:
                sending.cancel()
            connection.close()
        if session.failure is not None:
            raise session.failure
        return session


async def _on_thread(location: Location, timeout: float | None) -> socket.socket:
    """`connect_or_start` on a thread; a task that is cancelled meanwhile leaves no socket open."""
    loop = asyncio.get_running_loop()
    connecting = loop.run_in_executor(None, connect_or_start, location, timeout)
    try:
        stream = await asyncio.shield(connecting)
    except asyncio.CancelledError:

        def discard(done: asyncio.Future[socket.socket]) -> None:
            if not done.cancelled() and done.exception() is None:
                done.result().close()

        connecting.add_done_callback(discard)
        raise
    stream.setblocking(False)
    return stream
