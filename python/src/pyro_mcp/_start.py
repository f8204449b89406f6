"""Connecting to the node of a state directory, and starting one where there is none.

The same protocol as the command line's: whoever starts a node holds `start.lock` from before the
second look at the socket until the node listens, so ten clients that find none start exactly one.
Blocking; asyncio calls it on a thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import struct
from time import monotonic
from typing import TYPE_CHECKING

from ._location import LOG, MAX_LINE, SOCKET, START_DEADLINE, START_LOCK, Location
from .errors import ConflictError, FailedError, NodeError, of_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_ABSENT = (FileNotFoundError, ConnectionRefusedError)


@contextlib.contextmanager
def short_path(location: Location) -> Iterator[str]:
    """A path of the node's socket that is never too long for a socket address (108 bytes)."""
    handle = os.open(location.state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}/{SOCKET}"
    finally:
        os.close(handle)


def connect(location: Location, timeout: float | None) -> socket.socket | None:
    """A connection to the node that runs; `None` where none listens."""
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if timeout is not None:
            # Only a blocking connect waits where more clients come at once than the listener's
            # queue holds; this limits how long.
            seconds, fraction = divmod(max(timeout, 0.001), 1)
            limit = struct.pack("@ll", int(seconds), int(fraction * 1e6))
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        with short_path(location) as path:
            stream.connect(path)
        if timeout is not None:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", 0, 0))
        return stream
    except _ABSENT:
        stream.close()
        return None
    except OSError as error:
        stream.close()
        raise unreachable(error) from error
    except BaseException:
        stream.close()
        raise


def unreachable(error: OSError) -> NodeError:
    """There is a node, but its socket cannot be used."""
    return NodeError(
        f"the node cannot be reached: {error.strerror or error}",
        code="node_unreachable",
        causes=[str(error)],
    )


def connect_or_start(location: Location, timeout: float | None) -> socket.socket:
    """A connection to the node, which is started where none listens."""
    stream = connect(location, timeout)
    if stream is not None:
        return stream
    if not location.may_start:
        raise ConflictError(
            f"no node is running in {location.state}",
            code="node_not_running",
            hints=["run one in the foreground with: pyro serve"],
        )
    try:
        os.makedirs(location.state, mode=0o700, exist_ok=True)
        lock = os.open(
            os.path.join(location.state, START_LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise FailedError(
            f"the state directory cannot be used: {error}",
            code="state_directory_unusable",
            hints=["PYRO_HOME names another state directory"],
            causes=[str(error)],
        ) from error
    try:
        # Not for ever: who holds it gives up after START_DEADLINE.
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            stream = connect(location, timeout)
            if stream is None:
                _start(location)
                stream = connect(location, timeout)
        finally:
            # Unlocked by hand: a process that was forked meanwhile holds a copy of the descriptor.
            fcntl.flock(lock, fcntl.LOCK_UN)
    finally:
        os.close(lock)
    if stream is None:
        raise _failed(location, "the node ended before it was ready")
    return stream


def _failed(location: Location, message: str) -> NodeError:
    log = os.path.join(location.state, LOG)
    return NodeError(message, code="node_start_failed", hints=[f"what it said last is in {log}"])


def _start(location: Location) -> None:
    """Starts a node and waits until it listens."""
    import subprocess
    import threading

    program = location.find_program()
    environment = {
        **os.environ,
        "PYRO_HOME": location.state,
        "PYRO_CACHE_DIR": location.cache,
    }
    environment.pop("PYRO_WORKSPACE", None)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            process = subprocess.Popen(
                [program, "serve", "--on-demand", "--ready-fd", str(writer)],
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[writer],
                start_new_session=True,
            )
        except OSError as error:
            raise NodeError(
                f"cannot start a node with {program}: {error.strerror or error}",
                code="node_start_failed",
                causes=[str(error)],
            ) from error
        finally:
            os.close(writer)
        # It outlives this process; should it end before, somebody must take its status.
        threading.Thread(target=process.wait, name="pyro-node", daemon=True).start()
        line = _read_line(reader, location)
    finally:
        os.close(reader)
    if line.strip() == b"ready":
        return
    try:
        problem = json.loads(line)
    except ValueError:
        problem = None
    if isinstance(problem, dict):
        raise of_problem(problem)
    raise _failed(location, "the node ended before it was ready")


def _read_line(reader: int, location: Location) -> bytes:
    """What the starting node says, up to the end of its line."""
    deadline = monotonic() + START_DEADLINE
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    line = b""
    while not line.endswith(b"\n") and len(line) < MAX_LINE:
        left = deadline - monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise _failed(location, f"the node was not ready after {START_DEADLINE:g} s")
        piece = os.read(reader, MAX_LINE)
        if not piece:
            break
        line += piece
    return line
