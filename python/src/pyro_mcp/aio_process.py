"""A command that runs in a workspace, and the streams of it, for asyncio.

Nothing here runs in the background: whoever waits reads for all.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from . import _calls as calls
from . import _wire as wire
from ._aio_transport import TimeLimit
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
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

    from typing_extensions import Self

    from ._aio_transport import AsyncTransport, Connection

__all__ = ["AsyncInputStream", "AsyncOutputStream", "AsyncProcess"]


class AsyncChannel:
    """The connection of one command, which its streams share.

    Nothing it refers to refers to it: it goes with the last reference to the command and its
    streams, and the command with it unless it was detached.
    """

    def __init__(self, transport: AsyncTransport, connection: Connection, offset: int) -> None:
        self.transport = transport
        self.connection: Connection | None = connection
        self.session = Session(offset=offset)
        self._pid = os.getpid()
        self._hearing: asyncio.Future[None] | None = None

    @classmethod
    async def open(cls, transport: AsyncTransport, call: wire.Call, offset: int) -> AsyncChannel:
        connection, rest = await transport.open(call)
        channel = cls(transport, connection, offset)
        try:
            if rest:
                channel.session.feed(rest)
            async with TimeLimit(transport.timeout):
                await channel.hear_until(lambda: channel.session.started)
        except TimeoutError as error:
            channel.close()
            raise wire.silent(call.name, transport.timeout or 0.0) from error
        except BaseException:
            channel.close()
            raise
        return channel

    def close(self) -> None:
        """Closes this end."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def __del__(self) -> None:
        self.close()

    def connected(self) -> Connection:
        if self._pid != os.getpid():
            raise end_of_another_process()
        if self.connection is None:
            raise end_closed()
        return self.connection

    async def say(self, frame: bytes) -> None:
        if self.session.over:
            raise self.session.unsaid(None)
        connection = self.connected()
        try:
            connection.writer.write(frame)
            await connection.writer.drain()
        except OSError as error:
            raise self.session.unsaid(error) from error

    async def hear_until(self, condition: Callable[[], bool]) -> None:
        """Hears the node until the condition holds or the command ended.

        One task reads for all; the others wait for what it finds.
        """
        while not condition():
            if self.session.ended:
                return
            if self.session.failure is not None:
                raise self.session.failure
            if self._hearing is not None:
                await asyncio.shield(self._hearing)
                continue
            connection = self.connected()
            hearing = self._hearing = asyncio.get_running_loop().create_future()
            try:
                data = await connection.reader.read(wire.READ_AHEAD)
                if not data and self.connection is None:
                    self.connected()
                self.session.feed(data)
            except OSError as error:
                self.session.break_off(error)
            finally:
                self._hearing = None
                hearing.set_result(None)
            if self.session.over:
                self.close()


class AsyncOutputStream:
    """Standard output or standard error of a command; iterating gives bytes as they come."""

    def __init__(self, channel: AsyncChannel, kind: int) -> None:
        self._channel = channel
        self._pending = channel.session.pending[kind]
        self._ahead = b""

    @property
    def dropped_bytes(self) -> int:
        """What came and was not read in time: more than 16 MiB are not kept for later."""
        return self._pending.dropped

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.read_some():
            yield piece

    async def read_some(self, most: int = -1) -> bytes:
        """What there is, once there is something; nothing at the end."""
        if self._ahead:
            piece, self._ahead = self._ahead, b""
            if 0 <= most < len(piece):
                piece, self._ahead = piece[:most], piece[most:]
            return piece
        await self._channel.hear_until(lambda: self._pending.size > 0)
        if most < 0 and self._pending.size:
            return self._pending.take_piece()
        return self._pending.take(most)

    async def read(self) -> bytes:
        """Everything up to the end."""
        return b"".join([piece async for piece in self])

    async def lines(self, encoding: str = "utf-8", errors: str = "replace") -> AsyncIterator[str]:
        """Lines as they come, without their ends; the last one may have had none."""
        lines = TextLines(encoding, errors)
        async for piece in self:
            # Whoever stops between two lines finds the others next time.
            for line, self._ahead in lines.cut(piece):
                yield line
            self._ahead = b""
        for line in lines.last():
            yield line


class AsyncInputStream:
    """Standard input of a command."""

    def __init__(self, channel: AsyncChannel) -> None:
        self._channel = channel
        self.closed = False

    async def write(self, data: bytes | str) -> int:
        """Sends bytes (or a text, as UTF-8); waits while the command does not read."""
        if self.closed:
            raise stdin_closed()
        encoded = data.encode() if isinstance(data, str) else bytes(data)
        for frame in wire.stdin_frames(encoded):
            await self._channel.say(frame)
        return len(encoded)

    async def close(self) -> None:
        """Ends the command's standard input."""
        if not self.closed:
            self.closed = True
            if not self._channel.session.over:
                await self._channel.say(wire.frame(wire.END))


class AsyncProcess(Told):
    """A command that runs, and the connection to it.

    Leaving it (`async with`) or closing it ends a command that was started by it; one that was
    attached to, or detached from, goes on.
    """

    def __init__(self, channel: AsyncChannel, *, stdin: bool) -> None:
        self._channel = channel
        self._session = channel.session
        self.stdout = AsyncOutputStream(channel, wire.STDOUT)
        """Its standard output; with a terminal, all its output."""
        self.stderr = AsyncOutputStream(channel, wire.STDERR)
        """Its standard error."""
        self.stdin = AsyncInputStream(channel) if stdin else None
        """Its standard input, where that was asked for."""

    @classmethod
    async def _open(
        cls, transport: AsyncTransport, call: wire.Call, *, offset: int = 0, stdin: bool = False
    ) -> AsyncProcess:
        return cls(await AsyncChannel.open(transport, call, offset), stdin=stdin)

    async def wait(self) -> ExecInfo:
        """Waits for its end. Output that is not read meanwhile is kept, up to 16 MiB a stream."""
        await self._channel.hear_until(lambda: False)
        return self.info

    async def kill(self, signal: str | int | None = None) -> None:
        """Ends it and every process it started: TERM, grace period, KILL.

        With a signal (`"INT"`, `signal.SIGINT`) only sends that.
        """
        if self._session.over:
            return
        try:
            await self._channel.transport.json(
                calls.signal_exec(self.workspace_id, self.exec_id, signal)
            )
        except PyroError as error:
            if error.code != "exec_ended":
                raise

    async def resize(self, columns: int, rows: int) -> None:
        """Tells its terminal a new size."""
        await self._channel.say(wire.control(type="resize", columns=columns, rows=rows))

    async def detach(self) -> None:
        """Leaves it running: this end is closed, and `attach` finds it again."""
        if not self._session.over:
            await self._channel.say(wire.control(type="detach"))
            self._session.failure = end_detached()
        connection, self._channel.connection = self._channel.connection, None
        if connection is not None:
            # What was said is sent before it is closed.
            connection.writer.close()

    async def attach(self, *, offset: int | None = None, stdin: bool = False) -> AsyncProcess:
        """Another end of the same command, from where this one is, or from `offset` on."""
        start = self.offset if offset is None else offset
        call = calls.attach_exec(self.workspace_id, self.exec_id, start, stdin)
        return await AsyncProcess._open(self._channel.transport, call, offset=start, stdin=stdin)

    async def read_output(
        self, *, offset: int = 0, length: int | None = None, stream: str | None = None
    ) -> ExecOutput:
        """Kept output by range of the combined output, also of what was read already."""
        call = calls.exec_output(self.workspace_id, self.exec_id, offset, length, stream)
        return ExecOutput.of(*await self._channel.transport.call(call), offset=offset)

    def close(self) -> None:
        """Closes this end; ends the command where it was started by it and still runs."""
        self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
