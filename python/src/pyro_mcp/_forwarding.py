"""Carrying connections from ports of this host to ports of a workspace.

One connection to the node for each. Each direction ends by itself, waits for whoever takes what it
carries, and what does not end but breaks is seen as that on the other side: by a reset.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
import weakref
from typing import TYPE_CHECKING

from . import _calls as calls
from ._aio_transport import Connection
from .errors import PyroError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._aio_transport import AsyncTransport
    from ._listening import Listening

# The most that is read at once, bytes.
PIECE = 64 * 1024
# Nothing tells when a process that has no descriptors left has some again, seconds.
PAUSE = 0.1
# The system's `struct linger`: closing discards what was not sent, and resets.
AT_ONCE = struct.pack("ii", 1, 0)


class HangUps:
    """Knows that peers are gone while nobody reads what they sent.

    A poll tells of hang-ups and errors unasked, so one that waits for no event tells nothing else.
    """

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._watched: dict[int, Callable[[], None]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._poll.fileno(), self.tell)

    def watch(self, connection: Connection, gone: Callable[[], None]) -> None:
        """Calls `gone`, once, when the peer of a connection is gone for both directions.

        Once this side has ended its own direction, the peer's ordinary end looks the same, so
        whoever does that must `forget` it before.
        """
        number = _descriptor(connection)
        self._poll.register(number, 0)
        self._watched[number] = gone

    def forget(self, connection: Connection) -> None:
        """Watches it no more; so before it is closed."""
        number = _descriptor(connection)
        if self._watched.pop(number, None) is not None:
            self._poll.unregister(number)

    def tell(self) -> None:
        """Looks who is gone, and tells it."""
        for number, _ in self._poll.poll(0):
            self._poll.unregister(number)
            self._watched.pop(number)()

    def close(self) -> None:
        """Watches nothing any more."""
        self._loop.remove_reader(self._poll.fileno())
        self._poll.close()


def _descriptor(connection: Connection) -> int:
    number: int = connection.writer.get_extra_info("socket").fileno()
    return number


class Forwarding:
    """The ports of this host that lead to one workspace, and the connections that came to them."""

    def __init__(
        self, transport: AsyncTransport, workspace_id: str, listening: Sequence[Listening]
    ) -> None:
        self.failure: PyroError | None = None
        self._transport = transport
        self._workspace_id = workspace_id
        self._listening = listening
        self._clients: set[socket.socket] = set()
        _all.add(self)

    def release(self) -> None:
        """Gives the ports back; to do it again does nothing."""
        for one in self._listening:
            one.release()

    def disown(self) -> None:
        """Closes what a forked child has of it."""
        self.release()
        for client in self._clients:
            client.close()

    async def run(self) -> None:
        """Accepts and carries until it is cancelled; then every connection is cut."""
        loop = asyncio.get_running_loop()
        hang_ups = HangUps()
        carrying: set[asyncio.Task[None]] = set()

        def listen(listener: socket.socket, guest_port: int) -> None:
            loop.add_reader(listener, accept, listener, guest_port)

        def accept(listener: socket.socket, guest_port: int) -> None:
            try:
                client, _ = listener.accept()
            except (BlockingIOError, ConnectionError):
                # It is gone already.
                return
            except OSError:
                # Without descriptors left, it stays in the queue until there are some.
                loop.remove_reader(listener)
                pauses.add(loop.call_later(PAUSE, listen, listener, guest_port))
                return
            client.setblocking(False)
            self._clients.add(client)
            task = asyncio.create_task(self._serve(client, guest_port, hang_ups))
            carrying.add(task)
            task.add_done_callback(carrying.discard)

        pauses: set[asyncio.TimerHandle] = set()
        listeners = [(sock, one.port.guest_port) for one in self._listening for sock in one.sockets]
        for listener, guest_port in listeners:
            listen(listener, guest_port)
        try:
            await loop.create_future()
        finally:
            for pause in pauses:
                pause.cancel()
            for listener, _ in listeners:
                loop.remove_reader(listener)
            self.release()
            ending = list(carrying)
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
            for client in self._clients:
                # It came so late that nothing was begun for it.
                _cut(client, [])
                client.close()
            self._clients.clear()
            hang_ups.close()

    async def _serve(self, client: socket.socket, guest_port: int, hang_ups: HangUps) -> None:
        ends: list[Connection] = []
        cut = True
        try:
            call = calls.connect_port(self._workspace_id, guest_port, "localhost", False)
            port, came = await self._transport.open(call)
            ends.append(port)
            self.failure = None
            # Nothing here waits for more to send.
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            near = Connection(*await asyncio.open_connection(sock=client))
            ends.append(near)
            await _carry(near, port, came, hang_ups)
            cut = False
        except PyroError as error:
            self.failure = error
        except OSError:
            # One of the sides broke it off.
            pass
        finally:
            if cut:
                _cut(client, ends)
            for one in ends:
                one.close()
            if len(ends) < 2:
                client.close()
            self._clients.discard(client)


async def _carry(near: Connection, port: Connection, came: bytes, hang_ups: HangUps) -> None:
    """Carries bytes until both directions have ended; an `OSError` where one broke."""
    gone = asyncio.Event()

    async def copy(source: Connection, sink: Connection, first: bytes) -> None:
        piece = first or await source.reader.read(PIECE)
        while piece:
            sink.writer.write(piece)
            await sink.writer.drain()
            piece = await source.reader.read(PIECE)
        # Whoever went altogether did not end this direction, but broke it.
        hang_ups.tell()
        if gone.is_set():
            raise ConnectionResetError
        hang_ups.forget(sink)
        sink.writer.write_eof()

    for one in (near, port):
        # Nothing is held here of what the other side does not take.
        one.writer.transport.set_write_buffer_limits(high=0)
        hang_ups.watch(one, gone.set)
    copies = [
        asyncio.create_task(copy(near, port, b"")),
        asyncio.create_task(copy(port, near, came)),
    ]
    hearing = asyncio.create_task(gone.wait())
    pending = set(copies)
    try:
        while pending:
            done, _ = await asyncio.wait({*pending, hearing}, return_when=asyncio.FIRST_COMPLETED)
            for task in done & pending:
                task.result()
            pending -= done
            if pending and gone.is_set():
                raise ConnectionResetError
    finally:
        for one in (near, port):
            hang_ups.forget(one)
        for task in (*copies, hearing):
            task.cancel()
        await asyncio.gather(*copies, hearing, return_exceptions=True)


def _cut(client: socket.socket, ends: Sequence[Connection]) -> None:
    """Lets both sides see that it was broken off."""
    try:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        for port in ends[:1]:
            # A forked child may have it open still.
            port.writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
    except OSError:
        # It is gone already.
        pass


# A forked child has no use for them, and its parent's would not end while the child has them open.
_all: weakref.WeakSet[Forwarding] = weakref.WeakSet()


def _forked() -> None:
    for one in list(_all):
        one.disown()


os.register_at_fork(after_in_child=_forked)
