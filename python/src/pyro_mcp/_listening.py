"""Taking ports of this host.

A port is taken for every address that is meant or not at all: localhost is 127.0.0.1 and, where
there is IPv6, ::1, so that no other program answers half of those who say it.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .errors import ConflictError, InvalidError
from .results import ForwardedPort

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._calls import PortLike

# How often a number is looked for that is free for IPv4 and for IPv6.
TRIES = 16


class Listening:
    """A port of this host that was taken, until it is released."""

    def __init__(self, port: ForwardedPort, sockets: tuple[socket.socket, ...]) -> None:
        self.port = port
        self.sockets = sockets

    def release(self) -> None:
        """Gives it back; to do it again does nothing."""
        for one in self.sockets:
            one.close()


def listen(ports: Sequence[PortLike], bind: str | None) -> tuple[Listening, ...]:
    """Takes a port of this host for each of them; all or none."""
    wanted = [_wanted(port) for port in ports]
    if not wanted:
        raise InvalidError("no port is given", code="invalid_port")
    address = _address(bind)
    taken: list[Listening] = []
    try:
        for host_port, guest_port in wanted:
            taken.append(_taken(address, host_port, guest_port))
    except BaseException:
        for one in taken:
            one.release()
        raise
    return tuple(taken)


def _wanted(port: PortLike) -> tuple[int | None, int]:
    host_port: object
    guest_port: object
    if isinstance(port, Mapping):
        host_port, guest_port = port.get("host_port"), port.get("guest_port")
    elif isinstance(port, tuple):
        host_port, guest_port = port
    else:
        host_port, guest_port = None, port
    if host_port is not None:
        host_port = _number(host_port, 0)
    return host_port, _number(guest_port, 1)


def _number(port: object, least: int) -> int:
    if not isinstance(port, int) or isinstance(port, bool) or not least <= port <= 65535:
        raise InvalidError(
            f"{port!r} is not a port",
            code="invalid_port",
            hints=["a port is a number from 1 to 65535; on the host 0 means any that is free"],
        )
    return port


def _address(bind: str | None) -> str | None:
    if bind is None or bind == "localhost":
        return None
    try:
        return str(ipaddress.ip_address(bind.removeprefix("[").removesuffix("]")))
    except ValueError as error:
        raise InvalidError(
            f"{bind!r} is not an address",
            code="invalid_bind",
            hints=["it is an IPv4 or IPv6 address of this host, such as 192.0.2.1, 0.0.0.0 or ::1"],
        ) from error


def _taken(address: str | None, host_port: int | None, guest_port: int) -> Listening:
    if host_port is None:
        # The guest's number, or where that is not free any that is.
        try:
            return _exactly(address, guest_port, guest_port)
        except ConflictError:
            host_port = 0
    for _ in range(1, TRIES if host_port == 0 else 1):
        try:
            return _exactly(address, host_port, guest_port)
        except ConflictError as error:
            # It may have been free for IPv4 alone.
            if error.code != "port_taken":
                raise
    return _exactly(address, host_port, guest_port)


def _exactly(address: str | None, host_port: int, guest_port: int) -> Listening:
    host = address or "127.0.0.1"
    first = _bound(host, host_port)
    found: int = first.getsockname()[1]
    sockets = [first]
    if address is None:
        try:
            sockets.append(_bound("::1", found))
        except ConflictError as error:
            # Otherwise there is no IPv6 here.
            if error.code == "port_taken":
                first.close()
                raise
    port = ForwardedPort(host=host, host_port=found, guest_port=guest_port, protocol="tcp")
    return Listening(port, tuple(sockets))


def _bound(host: str, port: int) -> socket.socket:
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    listener = None
    try:
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
        listener.setblocking(False)
        return listener
    except OSError as error:
        if listener is not None:
            listener.close()
        if error.errno == errno.EADDRINUSE:
            hint = f"take another port, or 0 for any; `ss -ltnp sport = {port}` shows whose it is"
            message = f"port {shown} of this host is taken"
            raise ConflictError(message, code="port_taken", hints=[hint]) from error
        cause = error.strerror or str(error)
        raise ConflictError(
            f"cannot listen on {shown}: {cause}",
            code="port_unusable",
            hints=["ports below 1024 need privileges; an address must be one of this host's"],
            causes=[cause],
        ) from error
