"""One WebSocket to Inngest: open it, prove that it is subscribed, notice when it is dead, always read it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, cast
from urllib.parse import quote

import anyio
from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from .._concurrency.tasks import end_tasks
from ..errors import AuthenticationError, InngestError, UnexpectedResponseError, UnreachableError
from ..messages.envelope import Envelope
from .liveness import Liveness
from .protocol import MAX_SERVER_FRAME, Decoder
from .throttle import POLL, Throttle

__all__ = ["Connection"]

logger = logging.getLogger("inngest_realtime.connection")

# websockets logs the request line and the frames at DEBUG, and both hold tokens: this logger never goes below INFO,
# whatever the root logger is set to.
_wire_logger = logging.getLogger("inngest_realtime.websockets")
_wire_logger.setLevel(logging.INFO)

_BATCH: Final = 256  # frames handled before consumers get their turn on the event loop
_BACKLOG: Final = 8_192  # frames waiting; beyond it the socket is not read until they are handled
_HARD_LIMIT: Final = 64 * 1024 * 1024  # bytes; a larger frame ends the connection instead of filling the memory
_CLOSE_TIMEOUT: Final = 1.0  # seconds

# Looked up once: an enum's members are slow to get at.
_TEXT, _CONT, _BINARY = Opcode.TEXT, Opcode.CONT, Opcode.BINARY


class _Socket(ClientConnection):
    """Hands each text frame on as it is parsed, without a queue: nobody can hold up the reading of this socket."""

    _owner: Connection | None = None
    _early: list[bytes | bytearray] | None = None
    _fragments: list[bytes | bytearray] | None = None

    def attach(self, owner: Connection) -> None:
        """Say where frames go; those that came together with the handshake's answer go there first."""
        self._owner = owner
        # They hold the token, which may be large, and are of no use any more.
        self.request = None
        self.protocol.uri = replace(self.protocol.uri, query="")
        early, self._early = self._early, None
        for frame in early or ():
            owner.accept(frame)
        if self.state is State.CLOSED:
            owner.cut()

    def _hand_on(self, frame: bytes | bytearray) -> None:
        if self._owner is not None:
            self._owner.accept(frame)
        else:
            self._early = [*(self._early or ()), frame]

    def process_event(self, event: Any) -> None:
        if type(event) is Frame:
            opcode = event.opcode
            if opcode is _TEXT and event.fin and self._owner is not None:
                # What nearly every event is, without a detour.
                data: Any = event.data
                self._owner.accept(data)
                return
            if opcode is _TEXT or opcode is _CONT:
                self._text(event)
                return
            if opcode is _BINARY:
                return
        super().process_event(event)

    def _text(self, frame: Frame) -> None:
        # Inngest sends unfragmented frames; something between may not.
        data: Any = frame.data
        if frame.opcode is _TEXT:
            if frame.fin:
                self._hand_on(data)
            else:
                self._fragments = [data]
        elif self._fragments is not None:
            self._fragments.append(data)
            if frame.fin:
                whole, self._fragments = b"".join(self._fragments), None
                self._hand_on(whole)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._owner is not None:
            self._owner.cut()


class Connection:
    """An open WebSocket and what it was found to be.

    Attributes:
        deliver: Called with each message, in order; may be replaced at any time.
        closing: The server has said that it will shut down.
        handled: Frames that have been dealt with.
        lost: The connection has ended, and all that it brought has been delivered.
    """

    def __init__(
        self,
        deliver: Callable[[Envelope], None],
        *,
        on_change: Callable[[], None],
        on_oversized: Callable[[int, Envelope | None], None],
        liveness: Liveness,
        throttle: Throttle | None = None,
    ) -> None:
        self.deliver = deliver
        self.closing = False
        self.handled = 0
        self.lost = False
        self.lost_reason = "the connection was closed"
        self.decoder = Decoder()
        self._on_change = on_change
        self._on_oversized = on_oversized
        self._liveness = liveness
        self._throttle = throttle or Throttle()
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[bytes | bytearray] = deque()
        self._draining = False
        self._cut = False
        self._paused = False
        self._socket: ClientConnection | None = None
        self._keepalive: asyncio.Task[None] | None = None

    async def open(self, websocket_url: str, token: str) -> None:
        """Connect with a token.

        Args:
            websocket_url: The address without a query: `ws://host/v1/realtime/connect`.

        Raises:
            AuthenticationError: The token was refused.
            UnreachableError: There was no answer.
            UnexpectedResponseError: The answer was not a WebSocket's.
        """
        address = parse_uri(websocket_url)

        def make(protocol: ClientProtocol, **options: Any) -> _Socket:
            # Put in only here: Python's URL parser keeps the last URLs it has seen, and tokens of up to 700 KB with
            # them. And not for another address that a redirect may have led to.
            if protocol.uri == address:
                protocol.uri = replace(address, query=f"token={quote(token, safe='')}")
            return _Socket(protocol, **options)

        # The exceptions of websockets may hold the request and so the token: none of them is chained.
        try:
            socket = await connect(
                websocket_url,
                create_connection=cast("type[ClientConnection]", make),
                compression=None,
                open_timeout=self._liveness.open_timeout,
                close_timeout=_CLOSE_TIMEOUT,
                ping_interval=None,
                max_size=_HARD_LIMIT,
                logger=_wire_logger,
                user_agent_header="inngest-realtime-python",
            )
        except InvalidStatus as error:
            failure = _refusal(error.response.status_code, websocket_url)
        except (TimeoutError, asyncio.TimeoutError):
            failure = UnreachableError(
                f"Inngest did not answer the WebSocket handshake within {self._liveness.open_timeout} s. "
                "Check that the address is right and that a proxy lets WebSockets pass.",
                url=websocket_url,
            )
        except OSError as error:
            failure = UnreachableError(
                f"No connection to Inngest ({type(error).__name__}: {error.strerror or 'no answer'}). "
                "Check that it is running and that the address is right.",
                url=websocket_url,
            )
        except WebSocketException as error:
            failure = UnreachableError(
                f"The WebSocket handshake with Inngest broke off ({type(error).__name__}). "
                "Check that the address is right and that a proxy lets WebSockets pass.",
                url=websocket_url,
            )
        else:
            self._socket = socket
            if isinstance(socket, _Socket):
                socket.attach(self)
            self._keepalive = self._loop.create_task(self._keep_alive(), name="inngest-realtime keepalive")
            return
        raise failure

    async def send(self, frame: str) -> None:
        """Send a text frame.

        Raises:
            UnreachableError: The connection has ended.
        """
        socket = self._open_socket()
        try:
            # Not asyncio.wait_for: before Python 3.12 it can swallow the cancellation of the task that waits.
            with anyio.fail_after(self._liveness.ping_timeout):
                await socket.send(frame)
        except (ConnectionClosed, TimeoutError):
            self.abort("a frame could not be sent")
            raise self._gone() from None

    async def confirm(self) -> None:
        """Return when everything asked of the server so far has taken effect.

        The server answers the handshake before it registers the subscription, and never acknowledges a `sub`. A ping
        answered afterwards is the only proof: 0 of 500 messages were lost after it, 76 of 500 without it.

        Raises:
            UnreachableError: The connection has ended, or no pong came in time.
        """
        socket = self._open_socket()
        try:
            with anyio.fail_after(self._liveness.ping_timeout):
                pong = asyncio.ensure_future(await socket.ping())
            # Looked at afterwards, so that a pong counts that came while this process was busy for too long.
            await asyncio.wait([pong], timeout=self._liveness.ping_timeout)
        except (ConnectionClosed, TimeoutError):
            answered = False
        else:
            answered = pong.done() and not pong.cancelled() and pong.exception() is None
        if not answered:
            self.abort(f"no pong came within {self._liveness.ping_timeout} s")
            raise self._gone()

    async def _keep_alive(self) -> None:
        # The server never drops a silent peer, and a half-open connection tells nobody: only our own pings do.
        with contextlib.suppress(InngestError):
            while True:
                await asyncio.sleep(self._liveness.ping_interval)
                await self.confirm()

    def _open_socket(self) -> ClientConnection:
        if self._socket is None or self.lost or self._cut:
            raise self._gone()
        return self._socket

    def _gone(self) -> UnreachableError:
        return UnreachableError(f"The connection to Inngest has ended: {self.lost_reason}.", url="")

    @property
    def accepted(self) -> int:
        """Frames that have been received, also those that still wait to be dealt with."""
        return self.handled + len(self._inbox)

    def accept(self, frame: bytes | bytearray) -> None:
        """Take a text frame from the socket."""
        self._inbox.append(frame)
        if not self._draining:
            self._draining = True
            self._loop.call_soon(self._drain)

    def cut(self) -> None:
        """Note that the socket has ended; what it brought is still delivered."""
        self._cut = True
        if not self._draining:
            self._draining = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        inbox = self._inbox
        throttle = self._throttle
        if throttle.behind and throttle.should_pause():
            self._pause_reading(len(inbox) > _BACKLOG)
            self._loop.call_later(POLL, self._drain)
            return
        decode = self.decoder.decode
        waiting = len(inbox)
        for _ in range(min(_BATCH, waiting)):
            frame = inbox.popleft()
            if len(frame) > MAX_SERVER_FRAME:
                envelope = decode(frame)
                self._on_oversized(len(frame), envelope if isinstance(envelope, Envelope) else None)
                continue
            envelope = decode(frame)
            if not isinstance(envelope, Envelope):
                if envelope is not None:
                    self.closing = True
                    self._on_change()
                continue
            try:
                self.deliver(envelope)
            except Exception:
                # Whatever it is, the next frame has to be read: nothing would tell that the reading had stopped.
                logger.exception("A message of channel %r could not be delivered.", envelope.channel[:200])
            if throttle.behind:
                break
        self.handled += waiting - len(inbox)
        throttle.credit(waiting - len(inbox))
        if inbox:
            self._loop.call_soon(self._drain)
            self._pause_reading(len(inbox) > _BACKLOG)
            return
        self._draining = False
        self._pause_reading(False)
        if self._cut and not self.lost:
            self.lost = True
            self._on_change()

    def _pause_reading(self, pause: bool) -> None:
        # Never for longer than it takes to handle what has been read: consumers don't come into it.
        if pause is self._paused or self._socket is None or self._cut:
            return
        self._paused = pause
        if pause:
            self._socket.transport.pause_reading()
        else:
            self._socket.transport.resume_reading()

    def abort(self, reason: str) -> None:
        """Drop the connection without a closing handshake."""
        if self._socket is not None and not self._cut:
            self.lost_reason = reason
            self._socket.transport.abort()

    async def close(self) -> None:
        """Close the connection; returns when its socket and its task are gone. Safe to call at any time, repeatedly."""
        keepalive, self._keepalive = self._keepalive, None
        try:
            if keepalive is not None:
                await end_tasks([keepalive])
            if self._socket is not None:
                self._pause_reading(False)
                await self._socket.close()
        finally:
            if self._socket is not None:
                self._socket.transport.abort()


def _refusal(status: int, url: str) -> InngestError:
    if status in {401, 403}:
        return AuthenticationError(
            f"Inngest refused the subscription token ({status}). It may have expired (tokens live about a minute), or "
            "have been made by another server: mint a fresh one from the same address.",
            url=url,
            status=status,
        )
    return UnexpectedResponseError(
        f"Inngest answered the WebSocket handshake with status {status}; 101 was expected. "
        "Check that the address is an Inngest server's and that a proxy lets WebSockets pass.",
        url=url,
        status=status,
    )
