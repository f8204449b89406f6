"""A connection to a port of a workspace, for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

    from . import _wire as wire
    from ._aio_transport import AsyncTransport, Connection


class AsyncPortConnection:
    """One TCP connection to what listens in a workspace; a context manager that closes it.

    Each direction ends by itself: `end` says that nothing more is sent, and what comes may still
    be read. Closing before that cuts the connection.
    """

    def __init__(self, connection: Connection, came: bytes) -> None:
        self._connection = connection
        self._came = came

    @classmethod
    async def _open(cls, transport: AsyncTransport, call: wire.Call) -> AsyncPortConnection:
        return cls(*await transport.open(call))

    async def read(self, size: int = 65536) -> bytes:
        """What comes next, at most so many bytes; nothing at the end."""
        if self._came:
            piece, self._came = self._came[:size], self._came[size:]
            return piece
        return await self._connection.reader.read(size)

    async def write(self, data: bytes) -> None:
        """Sends these bytes; waits while the other side takes no more."""
        self._connection.writer.write(data)
        await self._connection.writer.drain()

    async def end(self) -> None:
        """Ends what is sent."""
        self._connection.writer.write_eof()

    def close(self) -> None:
        """Closes it at once; what was not sent is lost."""
        self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        self.close()
