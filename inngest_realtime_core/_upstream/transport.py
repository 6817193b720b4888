"""The one file that knows `websockets`: a WebSocket that hands on each text frame as it is read.

Another transport is a function like `open_websocket` that returns a `Transport`. What is relied upon beyond the
documented interface of websockets is named by `tests/test_transport.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, Protocol, cast
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidProxyStatus, InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from .._api.proxies import proxy_for, through_proxy
from .._api.tokens import IssuedToken
from ..version import USER_AGENT

# websockets logs the request line and the frames at DEBUG, and both hold tokens: this logger never goes below INFO,
# whatever the root logger is set to.
_wire_logger = logging.getLogger("inngest_realtime.websockets")
_wire_logger.setLevel(logging.INFO)

_HARD_LIMIT: Final = 64 * 1024 * 1024  # bytes; a larger frame ends the connection instead of filling the memory
_CLOSE_TIMEOUT: Final = 1.0  # seconds

_WHOLE_TEXT: Final = 0x80 | Opcode.TEXT  # the first byte of a frame: all of a message, without extensions


class FrameReceiver(Protocol):
    """Gets what a transport reads. Neither method may raise."""

    def accept(self, frame: bytes | bytearray) -> None:
        """Called with each text frame, whole and in order."""

    def cut(self) -> None:
        """Called when the connection has ended and nothing more will be read."""


class Transport(Protocol):
    """An open WebSocket. It is read all the time, except between `pause_reading` and `resume_reading`."""

    async def send(self, text: str) -> None:
        """Send a text frame.

        Raises:
            TransportClosedError: The connection has ended.
        """

    async def ping(self) -> Awaitable[object]:
        """Send a ping; the awaitable returned is done when its pong arrives, and fails when the connection ends.

        Raises:
            TransportClosedError: The connection has ended.
        """
        ...

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def abort(self) -> None:
        """End the connection without a closing handshake."""

    async def close(self) -> None:
        """End the connection with a closing handshake of at most a second; returns when the socket is closed."""


class OpenTransport(Protocol):
    """Opens a transport."""

    async def __call__(
        self, websocket_url: str, token: IssuedToken, receiver: FrameReceiver, *, timeout: float
    ) -> Transport:
        """Open a WebSocket.

        Args:
            websocket_url: The address without a query: `ws://host/v1/realtime/connect`.
            token: Sent in the query, to this address only.
            receiver: Gets the frames.
            timeout: Seconds for the TCP, TLS and WebSocket handshakes together.

        Raises:
            HandshakeError: There is no connection.
        """
        ...


class TransportClosedError(Exception):
    """The connection has ended."""


class HandshakeError(Exception):
    """A WebSocket could not be opened.

    Attributes:
        reason: What happened, the rest of a sentence that begins with the address.
        status: The HTTP status of a response that was not a WebSocket's; None when there was none.
        content: The content of that response.
    """

    def __init__(self, reason: str, *, status: int | None = None, content: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.content = content


class _Socket(ClientConnection):
    """Hands each text frame on as it is read, without a queue: nobody can hold up the reading of this socket.

    Those that are whole are taken out of what is read here: websockets takes 2 us for each, half of what a message
    costs in all. It gets the rest: the handshake, control frames, fragments, and what is no frame of a server.
    """

    _receiver: FrameReceiver | None = None
    _fragments: list[bytes | bytearray] | None = None
    _passing = True  # what is read goes to websockets, up to the end of the handshake, and from the last frame on
    _fragmented = False  # the next data frame continues one that websockets had
    _needed = 0  # bytes with which `_unfinished` is a frame, or its size is known

    def __init__(self, protocol: ClientProtocol, **options: Any) -> None:
        super().__init__(protocol, **options)
        self._unfinished = bytearray()
        self._early: list[bytes | bytearray] = []
        self._accept: Callable[[bytes | bytearray], None] = self._early.append

    def attach(self, receiver: FrameReceiver) -> None:
        """Set where frames go; those that came together with the response to the handshake go there first."""
        self._receiver = receiver
        # They hold the token, which may be large, and are of no use any more.
        self.request = None
        self.protocol.uri = replace(self.protocol.uri, query="")
        self._accept = receiver.accept
        for frame in self._early:
            receiver.accept(frame)
        self._early.clear()
        if self.state is State.CLOSED:
            receiver.cut()

    def data_received(self, data: bytes) -> None:
        if self._passing:
            data = self._pass(data)
        unfinished = self._unfinished
        if unfinished:
            unfinished += data
            if len(unfinished) < self._needed:
                return
            data = bytes(unfinished)
            unfinished.clear()
        accept, at, end, needed = self._accept, 0, len(data), 2
        while end - at >= 2:
            head, size, begin = data[at], data[at + 1], at + 2
            if size > 125:
                begin += 2 if size == 126 else 8
                # Where the size is cut off, what is there of it is no larger. A server's frame has no mask.
                size = int.from_bytes(data[at + 2 : begin], "big") if size < 128 else _HARD_LIMIT + 1
            until = begin + size
            if until <= end and head == _WHOLE_TEXT and not self._fragmented:
                accept(data[begin:until])
            elif until <= end or size > _HARD_LIMIT:
                if head & 15 < 8:
                    self._fragmented = head < 128
                super().data_received(data[at:until])
                if self.state is not State.OPEN:
                    self._passing = True
                    super().data_received(data[until:])
                    return
            else:
                needed = until - at
                break
            at = until
        if at < end:
            unfinished += data[at:]
            self._needed = needed

    def _pass(self, data: bytes) -> bytes:
        """Gives websockets what is read; returns what follows the handshake."""
        begin = 0
        while self.state is State.CONNECTING and begin < len(data):
            # By lines, to see where it ends.
            end = data.find(b"\n", begin) + 1 or len(data)
            super().data_received(data[begin:end])
            begin = end
        if self.state is State.OPEN:
            self._passing = False
            return data[begin:]
        super().data_received(data[begin:])
        return b""

    def process_event(self, event: Any) -> None:
        if type(event) is Frame:
            opcode = event.opcode
            if opcode is Opcode.TEXT or opcode is Opcode.CONT:
                self._text(event)
                return
            if opcode is Opcode.BINARY:
                return
        super().process_event(event)

    def _text(self, frame: Frame) -> None:
        # Inngest sends unfragmented frames; something between may not.
        data: Any = frame.data
        if frame.opcode is Opcode.TEXT:
            if frame.fin:
                self._accept(data)
            else:
                self._fragments = [data]
        elif self._fragments is not None:
            self._fragments.append(data)
            if frame.fin:
                whole, self._fragments = b"".join(self._fragments), None
                self._accept(whole)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._receiver is not None:
            self._receiver.cut()


class _WebSocketTransport:
    """A transport that is a connection of websockets."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, text: str) -> None:
        try:
            await self._socket.send(text)
        except ConnectionClosed:
            pass
        else:
            return
        raise TransportClosedError

    async def ping(self) -> Awaitable[object]:
        try:
            return await self._socket.ping()
        except ConnectionClosed:
            raise TransportClosedError from None

    def pause_reading(self) -> None:
        self._socket.transport.pause_reading()

    def resume_reading(self) -> None:
        self._socket.transport.resume_reading()

    def abort(self) -> None:
        self._socket.transport.abort()

    async def close(self) -> None:
        await self._socket.close()


async def open_websocket(
    websocket_url: str, token: IssuedToken, receiver: FrameReceiver, *, timeout: float, proxy: str | None = None
) -> Transport:
    """Open a WebSocket by the rules of `OpenTransport`.

    Args:
        proxy: The proxy to it; None follows the environment.

    Raises:
        ConfigurationError: The proxy is not supported.
    """
    through = proxy_for(f"http{websocket_url.removeprefix('ws')}", proxy)
    address = parse_uri(websocket_url)

    def make(protocol: ClientProtocol, **options: Any) -> _Socket:
        # Put in only here: Python's URL parser keeps the last URLs it has seen, and tokens of up to 700 KB with
        # them. And not for another address that a redirect may have led to.
        if protocol.uri == address:
            protocol.uri = replace(address, query=f"token={quote(token.token, safe='')}")
        return _Socket(protocol, **options)

    # The exceptions of websockets may hold the request and so the token: none of them is chained.
    try:
        socket = await connect(
            websocket_url,
            create_connection=cast("type[ClientConnection]", make),
            compression=None,
            open_timeout=timeout,
            close_timeout=_CLOSE_TIMEOUT,
            ping_interval=None,
            max_size=_HARD_LIMIT,
            logger=_wire_logger,
            proxy=through,
            user_agent_header=USER_AGENT,
        )
    except InvalidStatus as error:
        response = error.response
        failure = HandshakeError(
            "responded with no WebSocket", status=response.status_code, content=bytes(response.body or b"")
        )
    except InvalidProxyStatus as error:
        failure = HandshakeError(
            f"could not be reached: the proxy did not let it pass ({error.response.status_code}). Check what it "
            "allows, and its password"
        )
    except (TimeoutError, asyncio.TimeoutError):
        failure = HandshakeError(f"did not respond to the WebSocket handshake within {timeout} s")
    except OSError as error:
        failure = HandshakeError(
            f"could not be connected to ({type(error).__name__}: {error.strerror or 'no response'})"
            f"{through_proxy(through)}"
        )
    except WebSocketException as error:
        failure = HandshakeError(f"broke off the WebSocket handshake ({type(error).__name__})")
    else:
        if isinstance(socket, _Socket):
            socket.attach(receiver)
        return _WebSocketTransport(socket)
    raise failure
