"""The transport's seam, and what it relies on of `websockets` beyond what is documented.

`inngest_realtime_core/_upstream/transport.py` is the only file that knows `websockets`. It relies on

- `connect(create_connection=...)` calling a factory with the client protocol, whose `uri` may still be replaced then;
- `ClientConnection.data_received` being how it is given what was read, in pieces of any length, so that it need not be
  given whole text frames; and `.state` telling when the handshake is over;
- `ClientConnection.process_event` getting each frame as a `websockets.frames.Frame`, a text frame's `data` as bytes;
- `ClientConnection.connection_lost`, and `.transport`, an asyncio transport;
- `ClientConnection.request` and `.protocol.uri` being of no use any more after the handshake.

Each of these has a test here: a release of `websockets` that changes one of them fails by its name.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

import inngest_realtime_core
from inngest_realtime_core._api.tokens import IssuedToken
from inngest_realtime_core._upstream.transport import HandshakeError, TransportClosedError, _Socket, open_websocket
from raw_server import RawServer, http_answer, raw_server
from talk import eventually, soon

TOKEN = IssuedToken("a.secret/token", None)
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Receiver:
    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.cuts = 0

    def accept(self, frame: bytes | bytearray) -> None:
        self.frames.append(bytes(frame))

    def cut(self) -> None:
        self.cuts += 1


def websocket_url(server: RawServer) -> str:
    return server.url.replace("http", "ws", 1) + "/v1/realtime/connect"


def serialized(*frames: Frame) -> bytes:
    return b"".join(frame.serialize(mask=False) for frame in frames)


def accepting(servers: list[RawServer], sent: bytes = b"", *, end: bool = False) -> Callable[[socket.socket], None]:
    """Accept the handshake, send `sent` in the same packet, and read on until the client leaves."""

    def respond(connection: socket.socket) -> None:
        found = re.search(rb"(?i)sec-websocket-key: *(\S+)", servers[0].requests[-1])
        assert found is not None
        digest = hashlib.sha1(found[1] + GUID).digest()
        head = [
            b"HTTP/1.1 101 Switching Protocols",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest),
        ]
        connection.sendall(b"\r\n".join(head) + b"\r\n\r\n" + sent)
        while not end and connection.recv(65536):
            pass

    return respond


class Bench:
    """A socket that is given what a server would send, in pieces as they are."""

    def __init__(self, socket_: Any, head: bytes, peer: socket.socket) -> None:
        self.socket = socket_
        self.head = head
        self.peer = peer
        self.receiver = Receiver()

    def give(self, data: bytes, cuts: Iterable[int] = (), *, attach_after: int = 0) -> list[bytes]:
        """Give `data` in pieces, and attach the receiver before the piece of this number; returns what it got."""
        ends = sorted({cut % (len(data) + 1) for cut in cuts} | {len(data)})
        attach_after %= len(ends) + 1
        for number, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            if number == attach_after:
                self.socket.attach(self.receiver)
            self.socket.data_received(data[begin:end])
        if attach_after == len(ends):
            self.socket.attach(self.receiver)
        return self.receiver.frames


@contextlib.asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    peer, end = socket.socketpair()
    with peer:
        uri = parse_uri("ws://127.0.0.1/")
        loop = asyncio.get_running_loop()
        transport, made = await loop.create_connection(lambda: _Socket(ClientProtocol(uri)), sock=end)
        request = made.protocol.connect()
        made.protocol.send_request(request)
        digest = base64.b64encode(hashlib.sha1(request.headers["Sec-WebSocket-Key"].encode() + GUID).digest())
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        try:
            yield Bench(made, head + b"Sec-WebSocket-Accept: %b\r\n\r\n" % digest, peer)
        finally:
            transport.abort()
            await eventually(lambda: made.state is State.CLOSED)


@pytest.mark.parametrize("cut", range(10))
async def test_what_comes_with_the_response_to_the_handshake_is_read(cut: int) -> None:
    frames = serialized(Frame(Opcode.TEXT, b"early"), Frame(Opcode.TEXT, b"later"))
    async with bench() as under_test:
        under_test.socket.data_received(under_test.head + frames[:cut])
        assert under_test.give(frames[cut:]) == [b"early", b"later"]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 255, 256, 65_535, 65_536, 70_000])
async def test_a_frame_of_each_size_is_read_wherever_its_head_is_cut(size: int) -> None:
    """Behind another one, and before one that comes with its end."""
    sent = [b"before", b"x" * size, b"after"]
    frames = serialized(*(Frame(Opcode.TEXT, text) for text in sent))
    async with bench() as under_test:
        under_test.give(under_test.head)
        for cut in range(min(20, len(frames) - 3)):
            under_test.receiver.frames.clear()
            for begin, end in ((0, cut), (cut, cut + 1), (cut + 1, -3), (-3, None)):
                under_test.socket.data_received(frames[begin:end])
            assert under_test.receiver.frames == sent


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (b"\x81\x81mask\x12", 1002),
        (b"\x81\x88" + bytes(12), 1002),  # also where the mask is nothing
        (b"\xc1\x01x", 1002),  # compressed, which was not agreed on
        (b"\x83\x01x", 1002),  # no such kind
        (b"\x80\x01x", 1002),  # it continues nothing
        (b"\x01\x01x\x81\x01y", 1002),  # a message in the middle of another
        (b"\x01\x01x\x89\x00\x81\x01y", 1002),  # also behind a ping, which may be there
        (b"\x89\x7e\x00\x7e" + b"x" * 126, 1002),  # a control frame that is too long
        (b"\x81\x7f" + (64 * 1024 * 1024 + 1).to_bytes(8, "big"), 1009),
        (b"\x88\x02\x03\xe9", 1001),  # the server closes: nothing comes after it
    ],
)
@pytest.mark.parametrize("piecewise", [False, True])
async def test_what_is_no_frame_of_a_server_ends_the_connection(wrong: bytes, code: int, piecewise: bool) -> None:
    async with bench() as under_test:
        data = under_test.head + serialized(Frame(Opcode.TEXT, b"before")) + wrong
        data += serialized(Frame(Opcode.TEXT, b"after"))
        assert under_test.give(data, range(len(data)) if piecewise else ()) == [b"before"]
        assert under_test.socket.state is not State.OPEN
        assert under_test.socket.protocol.close_sent.code == code


async def test_what_comes_with_a_pings_end_is_read_when_the_client_has_begun_to_close() -> None:
    """The server's own closing frame: without it, closing would take until its time limit."""
    async with bench() as under_test:
        under_test.give(under_test.head)
        under_test.socket.protocol.send_close(1000)
        rest = Frame(Opcode.TEXT, b"last"), Frame(Opcode.PING, b""), Frame(Opcode.CLOSE, b"\x03\xe8")
        assert under_test.give(serialized(*rest)) == [b"last"]
        assert under_test.socket.protocol.close_rcvd.code == 1000


async def test_who_is_attached_after_the_end_is_told_of_it() -> None:
    async with bench() as under_test:
        under_test.socket.data_received(under_test.head)
        under_test.peer.close()
        await eventually(lambda: under_test.socket.state is State.CLOSED)
        under_test.socket.attach(under_test.receiver)
        assert under_test.receiver.cuts == 1


async def test_every_text_frame_is_handed_on_whole_and_in_order() -> None:
    """Those that came with the response to the handshake too; binary frames are passed over."""
    servers: list[RawServer] = []
    frames = serialized(
        Frame(Opcode.TEXT, b"early"),
        Frame(Opcode.BINARY, b"\x00"),
        Frame(Opcode.TEXT, b"in ", fin=False),
        Frame(Opcode.PING, b"between"),
        Frame(Opcode.CONT, b"three ", fin=False),
        Frame(Opcode.CONT, b"parts"),
        Frame(Opcode.TEXT, b"last"),
    )
    with raw_server(accepting(servers, frames)) as server:
        servers.append(server)
        receiver = Receiver()
        transport = await open_websocket(websocket_url(server), TOKEN, receiver, timeout=5)
        await eventually(lambda: len(receiver.frames) == 3)
        transport.abort()
        await transport.close()
    assert receiver.frames == [b"early", b"in three parts", b"last"]
    assert receiver.cuts == 1


async def test_a_transport_that_ended_says_so() -> None:
    servers: list[RawServer] = []
    with raw_server(accepting(servers, end=True)) as server:
        servers.append(server)
        receiver = Receiver()
        transport = await open_websocket(websocket_url(server), TOKEN, receiver, timeout=5)
        await eventually(lambda: receiver.cuts == 1)
        with pytest.raises(TransportClosedError):
            await transport.send("{}")
        with pytest.raises(TransportClosedError):
            await transport.ping()
        transport.abort()
        await soon(transport.close())


async def test_the_token_goes_to_its_address_and_to_no_redirects_target() -> None:
    """And nothing of the request is kept once the connection is open."""
    servers: list[RawServer] = []
    with raw_server(accepting(servers)) as target:
        servers.append(target)
        elsewhere = websocket_url(target)
        with raw_server(http_answer("302 Found", location=elsewhere, connection="close")) as server:
            transport = await open_websocket(websocket_url(server), TOKEN, Receiver(), timeout=5)
            transport.abort()
            await transport.close()
            assert server.requests[0].startswith(b"GET /v1/realtime/connect?token=a.secret%2Ftoken HTTP/1.1\r\n")
        assert len(target.requests) == 1
        assert b"secret" not in target.requests[0]


async def test_the_token_is_not_kept() -> None:
    servers: list[RawServer] = []
    with raw_server(accepting(servers)) as server:
        servers.append(server)
        transport = await open_websocket(websocket_url(server), TOKEN, Receiver(), timeout=5)
        kept = cast("Any", transport)._socket
        assert isinstance(kept, ClientConnection)
        assert "secret" not in f"{kept.request} {kept.protocol.uri} {vars(kept.protocol)}"
        transport.abort()
        await transport.close()


async def test_another_response_is_told_by_its_status() -> None:
    with raw_server(http_answer("418 Teapot", connection="close")) as server:
        with pytest.raises(HandshakeError) as caught:
            await open_websocket(websocket_url(server), TOKEN, Receiver(), timeout=5)
    assert caught.value.status == 418
    # The exceptions of websockets hold the request, and the request the token.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_reading_pauses_and_goes_on() -> None:
    servers: list[RawServer] = []

    def respond(connection: socket.socket) -> None:
        accepting(servers, end=True)(connection)
        connection.recv(65536)  # the client's frame: it does not read from now on
        connection.sendall(serialized(Frame(Opcode.TEXT, b"unread"), Frame(Opcode.PING, b"")))
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(65536)
        connection.settimeout(None)
        while connection.recv(65536):
            pass

    with raw_server(respond) as server:
        servers.append(server)
        receiver = Receiver()
        transport = await open_websocket(websocket_url(server), TOKEN, receiver, timeout=5)
        transport.pause_reading()
        await transport.send("{}")
        await asyncio.sleep(0.15)  # the server watches for a pong for 0.1 s
        assert receiver.frames == []
        transport.resume_reading()
        await eventually(lambda: receiver.frames == [b"unread"])
        transport.abort()
        await transport.close()


async def test_websockets_calls_process_event_with_frames() -> None:
    """The one undocumented method that is overridden."""
    seen: list[Any] = []

    class Spy(ClientConnection):
        def process_event(self, event: Any) -> None:
            seen.append(event)
            super().process_event(event)

    servers: list[RawServer] = []
    with raw_server(accepting(servers, serialized(Frame(Opcode.TEXT, b"x")))) as server:
        servers.append(server)
        async with connect(websocket_url(server), create_connection=Spy, proxy=None) as connection:
            await eventually(lambda: len(seen) == 2)
            connection.transport.abort()
    frame = seen[1]
    assert type(frame) is Frame
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.TEXT, True, b"x")


def test_no_other_file_knows_websockets() -> None:
    package = Path(inngest_realtime_core.__file__).parent
    knowing = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"^\s*(from|import) websockets", path.read_text(), re.MULTILINE)
    ]
    assert knowing == ["_upstream/transport.py"]


def test_the_log_of_websockets_never_shows_requests() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import logging; logging.basicConfig(level=logging.DEBUG)\n"
            "from inngest_realtime_core._upstream import transport\n"
            "print(transport._wire_logger.isEnabledFor(logging.DEBUG))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"


# -- whatever is sent, however it is cut -------------------------------------------------------------------------------

texts = st.binary(max_size=300) | st.sampled_from([125, 126, 127, 65_535, 65_536, 70_000]).map(lambda size: b"x" * size)
controls = st.binary(max_size=125).flatmap(
    lambda data: st.sampled_from([Frame(Opcode.PING, data), Frame(Opcode.PONG, data)])
)


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes | None, list[Frame]]:
    """The text of a message, or None for what is not one, and the frames that it is sent in."""
    text = draw(texts)
    if draw(st.integers(0, 3)):
        return text, [Frame(Opcode.TEXT, text)]
    parts = [text[at : at + 100] for at in range(0, len(text), 100)][:5] or [b""]
    kind = draw(st.sampled_from([Opcode.TEXT, Opcode.BINARY]))
    frames: list[Frame] = []
    for number, part in enumerate(parts):
        frames.append(Frame(Opcode.CONT if number else kind, part, fin=number == len(parts) - 1))
        frames.extend(draw(st.lists(controls, max_size=1)))
    return (b"".join(parts) if kind is Opcode.TEXT else None), frames


@settings(max_examples=200, deadline=None)
@given(
    st.lists(messages(), max_size=6),
    st.lists(st.integers(0, 100_000) | st.integers(0, 300), max_size=12),
    st.integers(0, 13),
)
async def test_frames_are_read_however_they_are_cut(
    sent: list[tuple[bytes | None, list[Frame]]], cuts: list[int], attach_after: int
) -> None:
    """The response to the handshake too, and whenever the receiver is attached."""
    frames = [frame for _, parts in sent for frame in parts]
    async with bench() as under_test:
        got = under_test.give(under_test.head + serialized(*frames), cuts, attach_after=attach_after)
        assert got == [text for text, _ in sent if text is not None]
        assert under_test.socket.state is State.OPEN
        pings = [bytes(frame.data) for frame in frames if frame.opcode is Opcode.PING]
        # Each was answered: a masked pong.
        await eventually(lambda: _pongs(under_test.peer) == len(pings))


def _pongs(peer: socket.socket) -> int:
    peer.setblocking(False)
    try:
        answered = peer.recv(1 << 20, socket.MSG_PEEK)
    except BlockingIOError:
        return 0
    answered = answered.partition(b"\r\n\r\n")[2]
    count = 0
    while answered:
        assert answered[0] == 0x80 | Opcode.PONG
        answered = answered[6 + (answered[1] & 127) :]
        count += 1
    return count
