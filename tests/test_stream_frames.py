"""Bytes cut into messages as the library would have done, wherever a read of the socket ends."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from exchange_client import run_async
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from microstream_lab.market.stream.connection import BatchConnection
from microstream_lab.market.stream.frames import payload_span, plain_messages

LIMIT = 70_000
SIZES = st.sampled_from([0, 1, 125, 126, 300, 65_535, 65_536, LIMIT])


class Wire(asyncio.Transport):
    """What a connection writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()

    def write(self, data: Any) -> None:
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered."""

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """It is the test that ends connections."""

    abort = write_eof = close

    def can_write_eof(self) -> bool:
        return True


class Line:
    """A connection, and the server's end of its handshake."""

    def __init__(self) -> None:
        self.protocol = ClientProtocol(parse_uri("ws://127.0.0.1/"), max_size=LIMIT)
        self.client, self.wire = BatchConnection(self.protocol), Wire()
        self.client.connection_made(self.wire)
        self.protocol.send_request(self.protocol.connect())
        self.server = ServerProtocol()
        self.server.receive_data(b"".join(self.protocol.data_to_send()))
        (request,) = self.server.events_received()
        self.client.request = request
        self.server.send_response(self.server.accept(request))

    def said(self) -> bytes:
        """What the server has sent and the client has not read."""
        return b"".join(self.server.data_to_send())

    def lose(self) -> None:
        self.client.connection_lost(None)


Part = tuple[str, bytes, int]
PARTS = st.lists(
    st.tuples(
        st.sampled_from(["text", "binary", "ping", "fragments"]),
        SIZES.map(lambda size: b"x" * size),
        st.integers(2, 4),
    ),
    max_size=8,
)


def say(server: ServerProtocol, part: Part) -> list[bytes]:
    """Send a part and return the messages it holds."""
    kind, data, n = part
    if kind == "ping":
        server.send_ping(data[:125])
        return []
    if kind == "fragments":
        cuts = [len(data) * k // n for k in range(n + 1)]
        server.send_text(data[: cuts[1]], fin=False)
        for k in range(1, n):
            server.send_ping(b"between")
            server.send_continuation(data[cuts[k] : cuts[k + 1]], fin=k == n - 1)
    else:
        (server.send_text if kind == "text" else server.send_binary)(data)
    return [data]


@given(parts=PARTS, cuts=st.lists(st.floats(0, 1), max_size=12))
def test_messages_are_those_that_were_sent_wherever_a_read_ends(
    parts: list[Part], cuts: list[float]
) -> None:
    async def scenario() -> None:
        line = Line()
        expected = [message for part in parts for message in say(line.server, part)]
        data = line.said()
        places = sorted({0, len(data), *(int(cut * len(data)) for cut in cuts)})
        for begin, end in itertools.pairwise(places):
            line.client.data_received(data[begin:end])
        if expected:
            assert await line.client.take() == expected
        line.server.receive_data(bytes(line.wire.written))
        pongs = [event for event in line.server.events_received() if event.opcode is Opcode.PONG]
        assert len(pongs) == sum(
            {"ping": 1, "fragments": n - 1}.get(kind, 0) for kind, _, n in parts
        )
        line.lose()

    asyncio.run(scenario())


@run_async
async def test_messages_that_were_there_before_the_end_are_taken_first() -> None:
    line = Line()
    line.server.send_text(b"last words")
    line.server.send_close(1001, "bye")
    line.client.data_received(line.said())
    line.lose()
    assert await line.client.take() == [b"last words"]
    with pytest.raises(ConnectionClosedOK, match="bye"):
        await line.client.take()


@run_async
async def test_who_waits_hears_that_the_connection_was_lost() -> None:
    line = Line()
    line.client.data_received(line.said())
    waiting = asyncio.create_task(line.client.take())
    await asyncio.sleep(0)
    line.lose()
    with pytest.raises(ConnectionClosedError):
        await waiting


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x7f" + (LIMIT + 1).to_bytes(8, "big"), 1009),
        (b"\x81\x7f" + (2**62).to_bytes(8, "big"), 1009),
        (Frame(Opcode.TEXT, b"masked").serialize(mask=True), 1002),
        (b"\xf1\x01x", 1002),
        (b"\x83\x01x", 1002),
        (b"\x80\x01x", 1002),
    ],
    ids=["too long", "absurdly long", "masked", "reserved bits", "unknown opcode", "no beginning"],
)
@run_async
async def test_what_breaks_the_rules_ends_the_connection(data: bytes, code: int) -> None:
    line = Line()
    line.client.data_received(line.said() + b"\x81\x02ok" + data)
    line.client.data_received(b"\x81\x04more")
    assert line.protocol.close_sent is not None
    assert line.protocol.close_sent.code == code
    line.lose()
    assert await line.client.take() == [b"ok"]
    with pytest.raises(ConnectionClosedError):
        await line.client.take()


@given(data=st.binary(max_size=40))
def test_any_bytes_are_measured_without_a_fault(data: bytes) -> None:
    messages: list[bytes] = []
    begin = plain_messages(data, 0, messages, LIMIT)
    span = payload_span(data, begin)
    assert span is None or begin < span[0] <= span[1]
    assert sum(map(len, messages)) <= begin <= len(data)
