"""One WebSocket to Inngest: open it, prove that it is subscribed, notice when it is dead, always read it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Literal

import anyio

from .._api.errors_from_status import is_inngests_rejection
from .._api.tokens import IssuedToken
from .._concurrency.tasks import create_task, end_tasks
from .._telemetry.throttled_log import ThrottledLog
from ..errors import AuthenticationError, InngestError, UnexpectedResponseError, UnreachableError
from ..messages.envelope import Envelope
from .liveness import Liveness
from .protocol import CLOSING, MAX_SERVER_FRAME, Decoder, Unreadable, subscribe_frame
from .throttle import POLL, Throttle
from .transport import HandshakeError, OpenTransport, Transport, TransportClosedError

_log = ThrottledLog(logging.getLogger("inngest_realtime.connection"))

_BATCH: Final = 256  # frames handled before consumers get their turn on the event loop
_BACKLOG: Final = 8_192  # frames waiting; beyond it the socket is not read until they are handled

Delivery = Literal["holding", "delivering", "ignoring"]
OnUndelivered = Callable[[Envelope | Unreadable | None, int], None]


class Connection:
    """A WebSocket to Inngest.

    The messages that it brings are held at first; `deliver` hands them on, `ignore` discards them.

    Args:
        on_change: Called when the server has said that it will shut down, and when the connection is lost.
        on_undelivered: Called with what is known of a message that is too large or can't be decoded, and its size in
            bytes.
        liveness: How the connection is kept alive.
        throttle: How far readers may hold it up.
        open_transport: Opens the WebSocket.

    Attributes:
        delivery: What becomes of the messages.
        closing: The server has said that it will shut down.
        handled: Frames that have been dealt with.
        lost: The connection has ended, and all that it brought has been delivered.
    """

    def __init__(
        self,
        *,
        on_change: Callable[[], None],
        on_undelivered: OnUndelivered,
        liveness: Liveness,
        throttle: Throttle,
        open_transport: OpenTransport,
    ) -> None:
        self.delivery: Delivery = "holding"
        self.closing: bool = False
        self.handled: int = 0
        self.lost: bool = False
        self.lost_reason: str = "the connection was closed"
        self.decoder: Decoder = Decoder()
        self._held: list[Envelope] = []
        self._deliver: Callable[[Envelope], None] = self._held.append
        self._on_change = on_change
        self._on_undelivered = on_undelivered
        self._liveness = liveness
        self._throttle = throttle
        self._open_transport = open_transport
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[bytes | bytearray] = deque()
        self._draining = False
        self._cut = False
        self._paused = False
        self._transport: Transport | None = None
        self._keepalive: asyncio.Task[None] | None = None

    # -- opening and asking ---------------------------------------------------------------------------------------

    async def open(self, websocket_url: str, token: IssuedToken) -> None:
        """Connect with a token.

        Args:
            websocket_url: The address without a query: `ws://host/v1/realtime/connect`.

        Raises:
            AuthenticationError: The token was not accepted.
            UnreachableError: There was no response.
            UnexpectedResponseError: The response was not a WebSocket's.
        """
        try:
            transport = await self._open_transport(websocket_url, token, self, timeout=self._liveness.open_timeout)
        except HandshakeError as error:
            failure = _handshake_failure(error, websocket_url)
        else:
            self._transport = transport
            self._keepalive = create_task(self._keep_alive(), name="inngest-realtime keepalive")
            return
        raise failure

    async def subscribe(self, token: IssuedToken) -> None:
        """Add a token's topics; returns when they are proved to be delivered.

        Raises:
            UnreachableError: The connection has ended.
        """
        # The frame holds the token and is in no variable here, for reporters that show those of a traceback.
        if not await self._sent(subscribe_frame(token.token)):
            raise self._gone()
        await self.confirm()

    async def send(self, frame: str) -> None:
        """Send a text frame.

        Raises:
            UnreachableError: The connection has ended.
        """
        if not await self._sent(frame):
            raise self._gone()

    async def _sent(self, frame: str) -> bool:
        if self._transport is None or self._ended:
            return False
        try:
            # Not asyncio.wait_for: before Python 3.12 it can swallow the cancellation of the task that waits.
            with anyio.fail_after(self._liveness.ping_timeout):
                await self._transport.send(frame)
        except (TransportClosedError, TimeoutError):
            self.abort("a frame could not be sent")
            return False
        return True

    async def confirm(self) -> None:
        """Return when everything asked of the server so far has taken effect.

        The server responds to the handshake before it registers the subscription, and never acknowledges a `sub`. A
        pong afterwards is the only proof: 0 of 500 messages were lost after it, 76 of 500 without it.

        Raises:
            UnreachableError: The connection has ended, or no pong came in time.
        """
        if self._transport is None or self._ended:
            raise self._gone()
        try:
            with anyio.fail_after(self._liveness.ping_timeout):
                pong = asyncio.ensure_future(await self._transport.ping())
            # Looked at afterwards, so that a pong counts that came while this process was busy for too long.
            await asyncio.wait([pong], timeout=self._liveness.ping_timeout)
        except (TransportClosedError, TimeoutError):
            alive = False
        else:
            alive = pong.done() and not pong.cancelled() and pong.exception() is None
        if not alive:
            self.abort(f"no pong came within {self._liveness.ping_timeout} s")
            raise self._gone()

    async def _keep_alive(self) -> None:
        # The server never drops a silent peer, and a half-open connection tells nobody: only our own pings do.
        with contextlib.suppress(InngestError):
            while True:
                await asyncio.sleep(self._liveness.ping_interval)
                await self.confirm()

    @property
    def _ended(self) -> bool:
        return self.lost or self._cut

    def _gone(self) -> UnreachableError:
        return UnreachableError(f"The connection to Inngest has ended: {self.lost_reason}.", url="")

    # -- delivering -----------------------------------------------------------------------------------------------

    def deliver(self, route: Callable[[Envelope], None]) -> None:
        """Deliver what was held to `route`, and from now on each message as it arrives."""
        held, self._held = self._held, []
        self.delivery = "delivering"
        self._deliver = route
        for envelope in held:
            route(envelope)

    def ignore(self) -> None:
        """Discard what was held and whatever still comes."""
        self.delivery = "ignoring"
        self._deliver = _discard
        self._held.clear()

    @property
    def accepted(self) -> int:
        """Frames that have been received, also those that still wait to be dealt with."""
        return self.handled + len(self._inbox)

    def accept(self, frame: bytes | bytearray) -> None:
        """Called by the transport with each text frame."""
        self._inbox.append(frame)
        if not self._draining:
            self._draining = True
            self._loop.call_soon(self._drain)

    def cut(self) -> None:
        """Called by the transport when it has ended; what it brought is still delivered."""
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
            try:
                found = decode(frame)
                if type(found) is Envelope and len(frame) <= MAX_SERVER_FRAME:
                    self._deliver(found)
                elif found == CLOSING:
                    self.closing = True
                    self._on_change()
                elif found is not None or len(frame) > MAX_SERVER_FRAME:
                    self._on_undelivered(found, len(frame))
            except Exception as error:
                # Whatever it is, the next frame has to be read: nothing would tell that the reading had stopped.
                text = (
                    f"A frame of {len(frame)} bytes could not be delivered: a defect of this package, please report it."
                )
                _log.write(
                    logging.ERROR, type(error).__name__, text, error, event="message.undelivered", traceback=True
                )
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
        if pause is self._paused or self._transport is None or self._cut:
            return
        self._paused = pause
        if pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # -- the end --------------------------------------------------------------------------------------------------

    def abort(self, reason: str) -> None:
        """Drop the connection without a closing handshake."""
        if self._transport is not None and not self._cut:
            self.lost_reason = reason
            self._transport.abort()

    async def close(self) -> None:
        """Close the connection; returns when its socket and its task are gone. Safe to call at any time, repeatedly."""
        keepalive, self._keepalive = self._keepalive, None
        try:
            if keepalive is not None:
                await end_tasks([keepalive])
            if self._transport is not None:
                self._pause_reading(False)
                await self._transport.close()
        finally:
            if self._transport is not None:
                self._transport.abort()


def _discard(envelope: Envelope) -> None:
    pass


def _handshake_failure(error: HandshakeError, url: str) -> InngestError:
    status = error.status
    if status is None:
        return UnreachableError(
            f"Inngest {error.reason}. Check that it is running, that the address is right, and that a proxy lets "
            "WebSockets pass.",
            url=url,
        )
    if status in {401, 403}:
        own = is_inngests_rejection(status, error.content)
        return AuthenticationError(
            f"Inngest did not accept the subscription token ({status}). It may have expired (tokens live about a "
            "minute), or have been issued by another server: mint a fresh one from the same address."
            if own
            else f"The WebSocket handshake got a response of status {status} that is not an Inngest server's: a proxy "
            "or a login page may have responded in its place. Check the address, and what is in front of it.",
            url=url,
            status=status,
            by_inngest=own,
        )
    return UnexpectedResponseError(
        f"Inngest responded to the WebSocket handshake with status {status}; 101 was expected. "
        "Check that the address is an Inngest server's and that a proxy lets WebSockets pass.",
        url=url,
        status=status,
    )
