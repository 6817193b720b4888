"""Inngest without a socket: tokens and transports in memory, for tests of the connection floor in milliseconds.

It stands in at the floor's two seams, a `Mint` and an `OpenTransport`; everything between them is the real code.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any

from inngest_realtime_core import RealtimeError
from inngest_realtime_core._api.tokens import Entry, IssuedToken
from inngest_realtime_core._upstream.backoff import RetryGate
from inngest_realtime_core._upstream.connection import Connection, Liveness
from inngest_realtime_core._upstream.dialer import Dialer
from inngest_realtime_core._upstream.throttle import Throttle
from inngest_realtime_core._upstream.transport import FrameReceiver, TransportClosedError
from inngest_realtime_core._upstream.upstream import Upstream
from inngest_realtime_core.messages.envelope import Envelope
from inngest_realtime_core.messages.message import GapReason

URL = "ws://inngest.test/v1/realtime/connect"
REJECTED = b'{"error":"Not authenticated","data":null,"status":401}\n'
CLOSING = b'{"kind":"closing","data":"","created_at":"2026-11-24T13:20:17Z","topic":""}'


def ignore(*_: object) -> None:
    pass


class FakeTransport:
    """One WebSocket, as the connection sees it and as Inngest does."""

    def __init__(self, token: str, receiver: FrameReceiver) -> None:
        self.token = token
        self.receiver = receiver
        self.sent: list[dict[str, Any]] = []
        self.log: list[str] = []
        self.silent = False  # sends no pongs
        self.open = True
        self.close_delay = 0.0
        self.on_send: Callable[[dict[str, Any]], None] = lambda frame: None
        self._pongs: list[asyncio.Future[None]] = []

    def bring(self, *frames: bytes) -> None:
        for frame in frames:
            self.receiver.accept(frame)

    def pong(self) -> None:
        """Send the pongs that were left out."""
        self.silent = False
        for pong in self._pongs:
            if not pong.done():
                pong.set_result(None)

    def end(self) -> None:
        if self.open:
            self.open = False
            for pong in self._pongs:
                if not pong.done():
                    pong.set_exception(TransportClosedError())
                    pong.exception()
            self.receiver.cut()

    async def send(self, text: str) -> None:
        if not self.open:
            raise TransportClosedError
        self.sent.append(json.loads(text))
        self.log.append(self.sent[-1]["kind"])
        self.on_send(self.sent[-1])

    async def ping(self) -> Awaitable[object]:
        if not self.open:
            raise TransportClosedError
        self.log.append("ping")
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        if not self.silent:
            pong.set_result(None)
        return pong

    def pause_reading(self) -> None:
        self.log.append("pause")

    def resume_reading(self) -> None:
        self.log.append("resume")

    def abort(self) -> None:
        self.end()

    async def close(self) -> None:
        await asyncio.sleep(self.close_delay)
        self.end()


class FakeInngest:
    """Makes tokens that name their topics, and transports.

    Attributes:
        requests: The topics of each token request.
        transports: All that were opened.
        mint_gate: Awaited by each token request.
        wrong: Topics that it makes no token with.
        connect_failures: Raised by the next attempts to open a transport, each once; None lets one pass.
    """

    def __init__(self) -> None:
        self.requests: list[list[Entry]] = []
        self.transports: list[FakeTransport] = []
        self.mint_gate = asyncio.Event()
        self.mint_gate.set()
        self.wrong: dict[Entry, RealtimeError] = {}
        self.connect_failures: list[Exception | None] = []
        self.attempts = 0
        self.env_id = "env-1"
        self.on_open: Callable[[FakeTransport], None] = lambda transport: None

    async def mint(self, entries: Sequence[Entry]) -> IssuedToken:
        self.requests.append(list(entries))
        await self.mint_gate.wait()
        for entry in entries:
            if entry in self.wrong:
                raise self.wrong[entry]
        return IssuedToken(",".join(f"{channel}/{topic}" for channel, topic in entries), self.env_id)

    async def open_transport(
        self, websocket_url: str, token: IssuedToken, receiver: FrameReceiver, *, timeout: float
    ) -> FakeTransport:
        assert websocket_url == URL
        self.attempts += 1
        await asyncio.sleep(0)
        if self.connect_failures and (failure := self.connect_failures.pop(0)) is not None:
            raise failure
        transport = FakeTransport(token.token, receiver)
        self.transports.append(transport)
        self.on_open(transport)
        return transport

    def dialer(self, throttle: Throttle | None = None, **liveness: float) -> Dialer:
        return Dialer(
            URL,
            self.mint,
            liveness=Liveness(**{"ping_interval": 60.0, "ping_timeout": 0.05, **liveness}),
            throttle=throttle or Throttle(),
            open_transport=self.open_transport,
        )

    def upstream(self, retry_gate: RetryGate | None = None, **liveness: float) -> Upstream:
        return Upstream(
            self.dialer(**liveness),
            retry_gate=retry_gate or RetryGate(),
            on_reconnect=lambda: None,
            on_end=lambda upstream: None,
        )

    async def connection(self, throttle: Throttle | None = None, **liveness: float) -> tuple[Connection, FakeTransport]:
        """An open connection that ignores what the server says about itself."""
        connection, _ = await self.dialer(throttle, **liveness).dial(
            [("c", "t")],
            on_change=ignore,
            on_undelivered=ignore,
        )
        return connection, self.transports[-1]


class Channel:
    """A channel that rides on an upstream, and what it was told."""

    def __init__(self, channel: str, *topics: str) -> None:
        self.channel = channel
        self.topics: list[str] = list(topics)
        self.told: list[Any] = []
        self.states: list[str] = []
        self.reported: list[RealtimeError] = []
        self._confirmed: set[str] = set()

    @property
    def confirmed(self) -> Collection[str]:
        return self._confirmed

    def confirm(self, topics: Iterable[str]) -> None:
        self._confirmed.update(topics)

    def receive(self, envelope: Envelope) -> None:
        self.told.append(bytes(envelope.data).decode())

    def recent(self, seconds: float) -> Iterable[Envelope]:
        return ()

    def lost(self) -> None:
        self.told.append("lost")

    def gap(self, reason: GapReason, missed: int | None = None) -> None:
        self.told.append(f"gap: {reason}")

    def interrupted(self, stream_id: str) -> None:
        self.told.append(f"interrupted: {stream_id}")

    def report(self, error: RealtimeError) -> None:
        self.reported.append(error)

    def fail(self, error: RealtimeError) -> None:
        self.told.append(error)

    def state_changed(self, state: str) -> None:
        self.states.append(state)
