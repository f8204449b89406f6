from __future__ import annotations

import contextlib
import json
import random
import struct

import pytest

from pyro_mcp import NodeError, PyroError
from pyro_mcp import _wire as wire
from pyro_mcp._session import Pending, Session

CALL = wire.Call("GET", "/v1/node")


def test_a_name_never_becomes_a_step_in_a_path() -> None:
    assert wire.segment("web") == "web"
    assert wire.segment("..") == "%2E%2E"
    assert wire.segment(".") == "%2E"
    assert wire.segment("../x?y#z ä") == "..%2Fx%3Fy%23z%20%C3%A4"
    assert wire.segment("debian:12") == "debian:12"


def test_a_query_leaves_out_what_is_none() -> None:
    assert wire.with_query("/p", a=None, b=1.5, c=True, d="x y") == "/p?b=1.5&c=true&d=x%20y"
    assert wire.with_query("/p", a=None) == "/p"


def test_a_request_cannot_be_split_by_what_it_carries() -> None:
    call = wire.Call("POST", "/v1/x", {"name": "a\r\nHost: evil"})
    head, body = call.to_bytes().split(b"\r\n\r\n", 1)
    assert b"evil" not in head
    assert json.loads(body) == {"name": "a\r\nHost: evil"}


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_a_chunked_body_is_whole_however_it_is_cut(step: int) -> None:
    raw = b"5\r\nhello\r\n1;x=y\r\n \r\n6\r\nworld!\r\n0\r\n\r\n"
    body = wire.Body(CALL, wire.Head(200, {"transfer-encoding": "chunked"}))
    out = b"".join(body.feed(raw[at : at + step]) for at in range(0, len(raw), step))
    assert out == b"hello world!"
    assert body.done


def test_a_body_that_ends_early_is_an_error() -> None:
    for headers in ({"content-length": "50"}, {"transfer-encoding": "chunked"}):
        body = wire.Body(CALL, wire.Head(200, headers))
        body.feed(b"4\r\nab")
        with pytest.raises(NodeError) as raised:
            body.end()
        assert raised.value.code == "node_connection_lost"


@pytest.mark.parametrize("raw", [b"nonsense\r\n\r\n", b"HTTP/2 200\r\n\r\n", b"x" * 70_000])
def test_what_is_no_http_is_told(raw: bytes) -> None:
    with pytest.raises(NodeError) as raised:
        wire.cut_head(CALL, bytearray(raw))
    assert raised.value.code == "node_reply_invalid"


@pytest.mark.parametrize("step", [1, 4, 5, 6, 1000])
def test_frames_are_cut_where_they_end(step: int) -> None:
    raw = (
        wire.frame(wire.STDOUT, b"\xff\xfe") + wire.frame(wire.END) + wire.frame(wire.STDERR, b"x")
    )
    frames = wire.Frames()
    found = []
    for at in range(0, len(raw), step):
        frames.feed(raw[at : at + step])
        while (cut := frames.cut()) is not None:
            found.append(cut)
    assert found == [(wire.STDOUT, b"\xff\xfe"), (wire.END, b""), (wire.STDERR, b"x")]


@pytest.mark.parametrize("head", [(3, 64 * 1024 + 1), (9, 0), (15, 1), (1, 2**31)])
def test_an_oversized_or_unknown_frame_is_refused_by_its_header(head: tuple[int, int]) -> None:
    frames = wire.Frames()
    frames.feed(struct.pack("<BI", *head))
    with pytest.raises(NodeError):
        frames.cut()


def test_unread_output_is_bounded_and_counted() -> None:
    newest = Pending(10, keep_oldest=False)
    for piece in (b"12345", b"67890", b"abc"):
        newest.add(piece)
    assert newest.dropped == 5
    assert newest.take(2) == b"67"
    assert newest.take() == b"890abc"
    oldest = Pending(10, keep_oldest=True)
    for piece in (b"12345", b"67890", b"abc"):
        oldest.add(piece)
    assert oldest.take() == b"1234567890"
    assert oldest.dropped == 3


def test_a_session_knows_where_to_attach_again() -> None:
    session = Session(offset=100)
    session.feed(wire.frame(wire.STDOUT, b"abc") + wire.frame(wire.STDERR, b"d"))
    session.feed(wire.control(type="gap", **{"from": 104, "to": 200}))
    session.feed(wire.control(type="something_newer", x=1))
    session.feed(wire.frame(wire.STDOUT, b"e"))
    assert session.offset == 201
    assert session.gap_bytes == 96
    session.feed(b"")
    assert isinstance(session.failure, NodeError)


def test_nonsense_on_a_stream_is_an_error_and_not_a_crash() -> None:
    for payload in (b"{", b"[]", b'{"type": "started"}', b'{"type": "gap", "from": "x"}'):
        session = Session()
        session.feed(wire.frame(wire.CONTROL, payload))
        assert session.failure is not None
        assert session.failure.code == "node_reply_invalid"


def test_whatever_comes_is_an_answer_or_an_error() -> None:
    chance = random.Random(1)
    words = [b"HTTP/1.1 ", b"200", b"\r\n", b"\r\n\r\n", b"content-length: ", b"5", b"{", b"ffff"]
    words += [wire.frame(kind, b'{"type":"ended"}'[: 20 * (kind == 1)]) for kind in (1, 3, 4, 15)]
    for _ in range(3000):
        raw = b"".join(
            chance.choice(words) if chance.random() < 0.8 else chance.randbytes(3)
            for _ in range(chance.randrange(12))
        )
        session = Session()
        session.feed(raw)
        session.feed(b"")
        assert session.ended or session.failure is not None
        buffer = bytearray(raw)
        with contextlib.suppress(PyroError):
            head = wire.cut_head(CALL, buffer)
            if head is not None:
                body = wire.Body(CALL, head)
                body.feed(buffer)
                body.end()
