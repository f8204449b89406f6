"""What is said to the node and how its answers are cut, without any I/O.

Knows HTTP/1.1 as far as the node speaks it, and the frames of an upgraded connection
(docs/http-api.md). Refuses to know sockets, so that threads and asyncio share it.
"""

from __future__ import annotations

import json
from struct import Struct
from typing import Any, NamedTuple

from .errors import NodeError, PyroError, of_problem

UPGRADE = "pyro-stream"
CONTROL, STDIN, STDOUT, STDERR, END = 1, 2, 3, 4, 15
MAX_FRAME = 64 * 1024
MAX_CONTROL = 1024 * 1024
# The longest document, line of progress and head of an answer that are accepted, bytes.
MAX_REPLY = 256 * 1024 * 1024
MAX_LINE = 1024 * 1024
MAX_HEAD = 64 * 1024
# How much is asked of the socket at once.
READ_AHEAD = 256 * 1024

_HEADER = Struct("<BI")
_LIMITS = {CONTROL: MAX_CONTROL, STDOUT: MAX_FRAME, STDERR: MAX_FRAME, END: 0}
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~:")


class Call(NamedTuple):
    """A request without its connection."""

    method: str
    target: str
    document: Any = None
    """A JSON body."""
    content_type: str | None = None
    """The media type of a body that is sent in chunks."""
    upgrade: bool = False
    protocol: str = UPGRADE
    """What an upgraded connection speaks."""
    takes_trailers: bool = False
    """Whether the answer may say at its end what went wrong."""

    @property
    def name(self) -> str:
        """What it is called in errors."""
        return f"{self.method} {self.target}"

    def to_bytes(self) -> bytes:
        """The head, and the body where it is a document."""
        lines = [f"{self.method} {self.target} HTTP/1.1", "Host: pyro"]
        body = b""
        if self.upgrade:
            lines += ["Connection: Upgrade", f"Upgrade: {self.protocol}"]
        else:
            lines.append("Connection: close")
        if self.takes_trailers:
            lines.append("TE: trailers")
        if self.document is not None:
            body = json.dumps(self.document).encode("ascii")
            lines.append("Content-Type: application/json")
        if self.content_type is not None:
            lines += [f"Content-Type: {self.content_type}", "Transfer-Encoding: chunked"]
        elif self.method != "GET":
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def segment(text: str) -> str:
    """One segment of a path, or a value of a query, percent-encoded."""
    encoded = "".join(
        chr(byte) if byte in _PLAIN else f"%{byte:02X}"
        for byte in text.encode("utf-8", "surrogatepass")
    )
    # A dot segment would be taken for a step within the path.
    return {".": "%2E", "..": "%2E%2E"}.get(encoded, encoded)


def with_query(path: str, /, **parameters: object) -> str:
    """A target with its query; what is `None` is left out."""
    pairs = []
    for name, value in parameters.items():
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            pairs.append(f"{name}={segment(text)}")
    return f"{path}?{'&'.join(pairs)}" if pairs else path


class Head(NamedTuple):
    """The beginning of an answer."""

    status: int
    headers: dict[str, str]
    """By their names in lower case."""


def cut_head(call: Call, buffer: bytearray) -> Head | None:
    """Cuts the head off the front of the buffer; `None` while it is not whole."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > MAX_HEAD:
            raise not_understood(call.name, "its head is too long")
        return None
    lines = buffer[:end].decode("latin-1").split("\r\n")
    del buffer[: end + 4]
    try:
        protocol, status = lines[0].split(" ", 2)[:2]
        if protocol != "HTTP/1.1":
            raise ValueError(protocol)
        pairs = (line.split(":", 1) for line in lines[1:])
        return Head(int(status), {name.lower(): value.strip() for name, value in pairs})
    except ValueError as error:
        raise not_understood(call.name, f"{lines[0]!r} is not a status line") from error


class Body:
    """Takes the body of an answer out of the bytes of its connection."""

    def __init__(self, call: Call, head: Head) -> None:
        self._call = call
        self._buffer = bytearray()
        self.trailers: dict[str, str] = {}
        """What came behind the body, by names in lower case."""
        self._trailing = False
        self._chunked = head.headers.get("transfer-encoding", "").lower() == "chunked"
        length = head.headers.get("content-length")
        try:
            self._left = int(length) if length is not None else None
        except ValueError as error:
            raise not_understood(call.name, f"{length!r} is not a length") from error
        self.done = not self._chunked and self._left == 0

    def feed(self, data: bytes | bytearray) -> bytes:
        """What of the body these bytes hold."""
        if self._chunked:
            self._buffer += data
            return self._chunks()
        if self._left is None:
            return bytes(data)
        piece = bytes(data[: self._left])
        self._left -= len(piece)
        self.done = self._left == 0
        return piece

    def end(self) -> None:
        """The connection ended."""
        if not self.done and (self._chunked or self._left is not None):
            raise lost(self._call.name)
        self.done = True

    def _chunks(self) -> bytes:
        pieces = []
        while not self.done:
            if self._trailing:
                end = self._buffer.find(b"\r\n")
                if end < 0:
                    if len(self._buffer) > MAX_HEAD:
                        raise not_understood(self._call.name, "its end is too long")
                    break
                name, _, value = self._buffer[:end].decode("latin-1").partition(":")
                del self._buffer[: end + 2]
                if name:
                    self.trailers[name.lower()] = value.strip()
                self.done = not name or len(self.trailers) > 16
            elif self._left is None:
                end = self._buffer.find(b"\r\n")
                if end < 0:
                    if len(self._buffer) > 1024:
                        raise not_understood(self._call.name, "a chunk without a length")
                    break
                try:
                    self._left = int(self._buffer[:end].split(b";", 1)[0], 16)
                except ValueError as error:
                    raise not_understood(self._call.name, "a chunk without a length") from error
                del self._buffer[: end + 2]
                self._trailing = self._left == 0
            elif self._left > 0:
                piece = bytes(self._buffer[: self._left])
                if not piece:
                    break
                pieces.append(piece)
                del self._buffer[: len(piece)]
                self._left -= len(piece)
            elif len(self._buffer) >= 2:
                # The line end behind a chunk.
                del self._buffer[:2]
                self._left = None
            else:
                break
        return b"".join(pieces)


class Lines:
    """Cuts lines of JSON (NDJSON) out of pieces."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """The documents that are whole now."""
        self._buffer += data
        documents = []
        *lines, rest = self._buffer.split(b"\n")
        if len(rest) > MAX_LINE:
            raise not_understood(self._call.name, "a line is too long")
        self._buffer = bytearray(rest)
        for line in lines:
            if line.strip():
                documents.append(parse(self._call, bytes(line)))
        return documents


class Frames:
    """Cuts frames out of pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """More bytes of the connection."""
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data

    def cut(self) -> tuple[int, bytes] | None:
        """Kind and payload of the next frame; `None` while it is not whole."""
        start = self._at + _HEADER.size
        if len(self._buffer) < start:
            return None
        kind, length = _HEADER.unpack_from(self._buffer, self._at)
        limit = _LIMITS.get(kind)
        if limit is None or length > limit:
            raise not_understood("the stream of an exec", f"a frame of kind {kind}, {length} bytes")
        end = start + length
        if len(self._buffer) < end:
            return None
        self._at = end
        return kind, bytes(memoryview(self._buffer)[start:end])


def frame(kind: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return _HEADER.pack(kind, len(payload)) + payload


def control(**document: Any) -> bytes:
    """A control frame."""
    return frame(CONTROL, json.dumps(document).encode())


def stdin_frames(data: bytes | bytearray | memoryview) -> list[bytes]:
    """Bytes for stdin in pieces the node takes."""
    view = memoryview(data).cast("B")
    return [frame(STDIN, bytes(view[at : at + MAX_FRAME])) for at in range(0, len(view), MAX_FRAME)]


def parse(call: Call, data: bytes) -> Any:
    """The document of an answer."""
    try:
        return json.loads(data)
    except ValueError as error:
        raise not_understood(call.name, str(error)) from error


def broken_off(call: Call, trailers: dict[str, str]) -> PyroError | None:
    """Why an answer broke off, where it did."""
    told = trailers.get("x-pyro-problem")
    if told is None:
        return None
    document = parse(call, told.encode("latin-1"))
    if not isinstance(document, dict) or "code" not in document:
        return not_understood(call.name, "it broke off")
    return of_problem(document)


def refusal(call: Call, status: int, data: bytes) -> PyroError:
    """The exception for an answer of 400 and above."""
    try:
        body = json.loads(data)
        if isinstance(body, dict) and "code" in body:
            return of_problem(body)
    except ValueError:
        pass
    said = data[:200].decode("utf-8", "replace").strip()
    return not_understood(call.name, f"{status}: {said}" if said else str(status))


def not_understood(what: str, detail: str) -> NodeError:
    """The node said something that is no answer."""
    return NodeError(
        f"the node's answer to {what} is not understood: {detail}",
        code="node_reply_invalid",
        hints=["the running node may be of another version; end it with: pyro node stop"],
        causes=[detail],
    )


def lost(what: str, cause: BaseException | None = None) -> NodeError:
    """The connection broke before the answer was complete."""
    causes = [str(cause)] if cause is not None else []
    return NodeError(
        ": ".join([f"the connection to the node was lost during {what}", *causes]),
        code="node_connection_lost",
        hints=["see what became of it with: pyro workspace list"],
        causes=causes,
    )


def stream_lost(
    workspace: str | None, exec_id: str | None, cause: BaseException | None = None
) -> NodeError:
    """The connection of a command broke before its end was known."""
    causes = [str(cause)] if cause is not None else []
    hint = "see what became of it with: pyro workspace list"
    if workspace and exec_id:
        hint = f"the command goes on for now; attach to it: pyro attach {workspace} {exec_id}"
    return NodeError(
        ": ".join(["the connection to the node was lost", *causes]),
        code="node_connection_lost",
        hints=[hint],
        causes=causes,
    )


def silent(what: str, seconds: float) -> NodeError:
    """The node did not answer in time."""
    return NodeError(
        f"the node did not answer {what} within {seconds:g} s",
        code="node_timeout",
        hints=["pyro node status says whether it runs; Pyro(timeout=...) waits longer"],
    )
