"""A connection to a port of a workspace, blocking."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

    from typing_extensions import Self

    from . import _wire as wire
    from ._transport import Transport


class PortConnection:
    """One TCP connection to what listens in a workspace; a context manager that closes it.

    Each direction ends by itself: `end` says that nothing more is sent, and what comes may still
    be read. Closing before that cuts the connection.
    """

    def __init__(self, stream: socket.socket, came: bytes) -> None:
        self._stream = stream
        self._came = came

    @classmethod
    def _open(cls, transport: Transport, call: wire.Call) -> PortConnection:
        return cls(*transport.open(call))

    def read(self, size: int = 65536) -> bytes:
        """What comes next, at most so many bytes; nothing at the end."""
        if self._came:
            piece, self._came = self._came[:size], self._came[size:]
            return piece
        return self._stream.recv(size)

    def write(self, data: bytes) -> None:
        """Sends these bytes; waits while the other side takes no more."""
        self._stream.sendall(data)

    def end(self) -> None:
        """Ends what is sent."""
        import socket

        self._stream.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Closes it."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()
