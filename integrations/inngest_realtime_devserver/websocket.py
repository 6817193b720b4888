"""`GET connect`: one WebSocket connection, spoken as the real server speaks it (PROTOCOL.md sections 2 to 5).

ASGI has no words for pings, for a pong that waits for a registration, or for a connection that ends
without a close frame. So this is a protocol class of its own, which uvicorn takes as its `ws=` option.
"""

from __future__ import annotations

import asyncio
import datetime
from collections import deque
from typing import Any, cast
from urllib.parse import parse_qs, unquote

import msgspec
import wsproto
from starlette.applications import Starlette
from starlette.responses import Response
from uvicorn import Config
from uvicorn.server import ServerState
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from . import frames, responses
from .access import is_loopback_origin
from .broker import Key
from .entries import read_entries, valid_identifiers
from .frames import Frame
from .loose_json import fold_keys, read_first
from .node import Node

__all__ = ["CONNECT_PATH", "WebSocketConnection"]

CONNECT_PATH = "/v1/realtime/connect"

MAX_CLIENT_FRAME = 32_768  # bytes of one message from a client; a larger one closes the connection
HIGH_WATER = 3 * 1024 * 1024  # bytes unsent to one client, above which publishers wait
FLUSH_SIZE = 65_536  # bytes collected before they are handed to the transport
CLOSE_TIMEOUT = 5.0  # seconds given to the client to send its close frame


class WebSocketConnection(asyncio.Protocol):
    """One connection, from the upgrade request on. The signature is the one uvicorn calls."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._node = cast("Node", cast("Starlette", config.app).state.node)
        self._loop = _loop or asyncio.get_running_loop()
        self._server_connections = cast("set[object]", server_state.connections)
        self._ws = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        self.transport: asyncio.Transport
        self.channels: set[str] = set()  # that the client's tokens cover
        self._joined = False
        self._silent = False  # nothing more is sent: closed, or frozen
        self.frozen: bool = False  # nor is anything heard
        self._size = 0  # bytes of the client's message so far
        self._text: list[str] = []
        self._inbox: deque[bytes | str] = deque()  # pings and texts that wait for a registration
        self._registering: asyncio.TimerHandle | None = None
        self._keepalive: asyncio.TimerHandle | None = None
        self._pings_sent = 0
        self._unsent: list[bytes] = []
        self._unsent_size = 0
        self._flushing = False
        self._writable = asyncio.Event()
        self._writable.set()

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER)
        self._server_connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server_connections.discard(self)
        self._fall_silent()
        if self._joined:
            self._node.leave(self)

    def pause_writing(self) -> None:
        self._writable.clear()
        # A client that reads nothing and pings would be owed more and more pongs.
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._writable.set()
        self.transport.resume_reading()

    def shutdown(self) -> None:
        """Called by uvicorn's own shutdown."""
        self.drop()

    def data_received(self, data: bytes) -> None:
        head_size = 0 if self._ws.connection else len(data)
        try:
            self._ws.receive_data(data)
        except RemoteProtocolError:
            self._reject(responses.bad_upgrade())
            return
        except LocalProtocolError:  # the client went on after the closing handshake
            self.transport.close()
            return
        if head_size > responses.MAX_HEAD:
            self._reject(responses.head_too_large())
            return
        for event in self._ws.events():
            self._handle(event)

    # The broker's side

    def deliver(self, frame: Frame) -> None:
        """Collect a frame; all of one turn of the loop leave in one write."""
        if self._silent:
            return
        self._unsent.append(frame.websocket)
        self._unsent_size += len(frame.websocket)
        if self._unsent_size >= FLUSH_SIZE:
            self._flush()
        elif not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    async def drained(self) -> None:
        """Return when less than the high-water mark is unsent, or the connection is gone."""
        if not self._writable.is_set():
            await self._writable.wait()

    def drop(self) -> None:
        """Abort: the client sees the end of the stream and no close frame."""
        self._fall_silent()
        self.transport.abort()

    def finish(self) -> None:
        """Send what is unsent, then end the stream without a close frame."""
        self._flush()
        self._fall_silent()
        self.transport.close()

    def freeze(self) -> None:
        """Send nothing any more, not even pongs, as if the network had gone."""
        self.frozen = True
        self._fall_silent()

    # The upgrade

    def _handle(self, event: Event) -> None:
        if self.frozen:
            return
        if isinstance(event, Request):
            self._upgrade(event)
        elif isinstance(event, CloseConnection):
            self._close_received(event)
        elif self._silent:
            return
        elif isinstance(event, Ping):
            self._node.pings += 1
            self._take(bytes(event.payload))
        elif isinstance(event, (TextMessage, BytesMessage)):
            self._message(event)  # a pong calls for nothing, and the server never misses one

    def _upgrade(self, request: Request) -> None:
        node = self._node
        path, _, query = request.target.partition("?")
        headers = {name.lower(): value for name, value in request.extra_headers}
        authorization = headers.get(b"authorization", b"").decode("latin-1")
        if not node.allow_remote and not is_loopback_origin(request.host, ""):
            self._reject(responses.not_local(request.host))
            return
        if unquote(path) != CONNECT_PATH:
            self._reject(responses.not_served(path))
            return
        if node.connect_status is not None:
            self._reject(responses.simulated_failure(node.connect_status))
            return
        token = parse_qs(query).get("token", [""])[0]
        claims = node.authority.claims_of(authorization, token)
        if claims is None:
            self._reject(responses.not_authenticated(node.authority, authorization))
            return
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not (node.allow_remote or claims.own or is_loopback_origin(request.host, origin)):
            # Web pages from elsewhere get no token here, and a server without keys takes those that they make up.
            self._reject(responses.not_local(request.host))
            return
        self.transport.write(self._ws.send(AcceptConnection()))
        if node.refuses_new:
            self.finish()
            return
        self._joined = True
        node.join(self)
        if claims.topics:
            self._ping()
        self._register(claims.keys)

    def _reject(self, response: Response) -> None:
        if self._ws.state is ConnectionState.CONNECTING:
            headers = [*response.raw_headers, (b"connection", b"close")]
            event = RejectConnection(status_code=response.status_code, headers=headers, has_body=True)
            self.transport.write(self._ws.send(event) + self._ws.send(RejectData(data=bytes(response.body))))
        self._fall_silent()
        self.transport.close()

    # What the client says

    def _message(self, event: TextMessage | BytesMessage) -> None:
        self._size += len(event.data.encode() if isinstance(event.data, str) else event.data)
        if self._size > MAX_CLIENT_FRAME:
            self._close(1009, f"read limited at {MAX_CLIENT_FRAME + 1} bytes")
            return
        if isinstance(event, TextMessage) and event.data:
            self._text.append(event.data)
        if event.message_finished:
            text, self._text, self._size = "".join(self._text), [], 0
            if isinstance(event, TextMessage):
                self._take(text)

    def _take(self, item: bytes | str) -> None:
        self._inbox.append(item)
        self._work()

    def _work(self) -> None:
        # In order, and not before a registration under way is done: that is what a pong proves to a client.
        while self._inbox and self._registering is None and not self._silent:
            item = self._inbox.popleft()
            if isinstance(item, bytes):
                self._flush()
                self.transport.write(frames.pong(item))
            else:
                self._obey(item)

    def _obey(self, text: str) -> None:
        try:
            value = read_first(text.encode(errors="replace"))
            frame = fold_keys(value if isinstance(value, dict) else {})  # pyright: ignore[reportUnknownArgumentType] - any JSON
            if not valid_identifiers(frame) or not _valid_time(frame.get("created_at")):
                return
            if frame.get("kind") == "sub":
                claims = self._node.authority.verify(frame["data"])
                if claims is not None:
                    self._register(claims.keys)
            elif frame.get("kind") == "unsub":
                entries = read_entries(frame["data"]) or ()
                self._node.broker.unsubscribe(self, [key for entry in entries if (key := entry.key) is not None])
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # anything else is ignored

    def _register(self, keys: tuple[Key, ...]) -> None:
        self.channels.update(channel for channel, _ in keys)
        if self._node.registration_delay <= 0:
            self._node.broker.subscribe(self, keys)
            return

        def registered() -> None:
            self._registering = None
            self._node.broker.subscribe(self, keys)
            self._work()

        self._registering = self._loop.call_later(self._node.registration_delay, registered)

    # Ends and beginnings of talk

    def _ping(self) -> None:
        self._pings_sent += 1
        self._flush()
        self.transport.write(frames.ping(str(self._pings_sent).encode()))
        self._keepalive = self._loop.call_later(self._node.keepalive, self._ping)

    def _flush(self) -> None:
        self._flushing = False
        if self._unsent and not self._silent:
            unsent, self._unsent, self._unsent_size = self._unsent, [], 0
            self.transport.write(b"".join(unsent))

    def _close(self, code: int, reason: str) -> None:
        self._flush()
        self.transport.write(self._ws.send(CloseConnection(code=code, reason=reason)))
        self._fall_silent()
        # Closing at once, with bytes of the client unread, would reset the connection and lose the close frame.
        self._keepalive = self._loop.call_later(CLOSE_TIMEOUT, self.transport.abort)

    def _close_received(self, event: CloseConnection) -> None:
        if self._ws.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            self._flush()
            self.transport.write(self._ws.send(event.response()))
        self._fall_silent()
        self.transport.close()

    def _fall_silent(self) -> None:
        self._silent = True
        self._writable.set()  # nobody waits for one who gets nothing
        self._unsent.clear()
        self._inbox.clear()
        for timer in (self._keepalive, self._registering):
            if timer is not None:
                timer.cancel()


def _valid_time(text: object) -> bool:
    try:
        return text is None or bool(msgspec.convert(text, datetime.datetime))
    except msgspec.ValidationError:
        return False
