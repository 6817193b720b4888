"""One connection to Inngest for many channels: a WebSocket that is kept, renewed and replaced while it is needed.

The facts it rests on were observed on a real server: a subscription exists only once a ping after it got its pong;
there is no replay; a token is checked at connect only and lives a minute; `sub` adds topics, `unsub` takes them off,
and neither is acknowledged; a topic that is dropped and retaken at once can stay silent for good.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable, Iterable

from .._concurrency.tasks import CANCEL_RETRY_INTERVAL, create_shared_task
from ..errors import ConnectionLostError, RealtimeError, UnreachableError
from .backoff import RetryGate
from .connecting import Connector, closed_here
from .connection import Connection
from .dialer import Dialer
from .handover import Handovers
from .joining import Joiner
from .registry import ChannelRegistry
from .subscriber import ChannelSubscriber, State
from .wake import Wake

logger = logging.getLogger("inngest_realtime.upstream")


class Upstream:
    """A connection to Inngest and the channels that ride on it.

    Args:
        dialer: Makes connections.
        retry_gate: Shared with the other upstreams of the process.
        on_reconnect: Called after each unexpected loss that was made good.
        on_end: Called when it has ended, for whatever reason.
        dedicated: It is meant for one channel alone.

    Attributes:
        dedicated: The same.
        state: Of the connection.
    """

    def __init__(
        self,
        dialer: Dialer,
        *,
        retry_gate: RetryGate,
        on_reconnect: Callable[[], None],
        on_end: Callable[[Upstream], None],
        dedicated: bool = False,
    ) -> None:
        self.dedicated = dedicated
        self.state: State = "connecting"
        self._on_reconnect = on_reconnect
        self._on_end = on_end
        self._registry = ChannelRegistry()
        self._wake = Wake()
        self._outages = retry_gate.outages
        self._connector = Connector(dialer, self._registry, retry_gate, self._wake)
        self._joiner = Joiner(dialer, self._registry, self._wake)
        self._handovers = Handovers(self._registry, self._connector, self._wake, self._lost_in_handover)
        self._connection: Connection | None = None
        self._lost_at = 0.0
        self._stopping = False
        self._ending = False
        self._task = create_shared_task(self._run(), name="inngest-realtime upstream")
        self._task.add_done_callback(self._ended, context=contextvars.Context())

    # -- what the floor above calls -------------------------------------------------------------------------------

    @property
    def sockets(self) -> int:
        """Open WebSockets: one, or two while one replaces the other."""
        connections = (self._connection, self._handovers.old)
        return sum(1 for connection in connections if connection is not None and not connection.lost)

    @property
    def channels(self) -> int:
        """How many ride on it."""
        return len(self._registry)

    @property
    def token_size(self) -> int:
        """Characters that a token for all its topics has at most, nearly, without its fixed part."""
        return self._registry.token_size

    @property
    def alive(self) -> bool:
        return self.state != "closed"

    def join(self, subscriber: ChannelSubscriber, topics: Iterable[str]) -> asyncio.Future[None]:
        """Add a channel, or more topics of one.

        Returns:
            A future that is done when Inngest has proved to deliver them, and fails if that can't be had.
        """
        done = self._registry.join(subscriber, topics)
        self._wake.set()
        return done

    def not_awaited(self, channel: str, topics: Iterable[str]) -> list[str]:
        """Returns those of some topics that no join waits for."""
        return self._registry.not_awaited(channel, topics)

    def measure(self, subscriber: ChannelSubscriber) -> None:
        """Called when a channel asks for less than it did."""
        self._registry.measure(subscriber)

    def leave(self, subscriber: ChannelSubscriber) -> asyncio.Future[None]:
        """Drop a channel. The future is done when its topics may be subscribed to again."""
        done = self._registry.leave(subscriber)
        if self.state == "closed":
            self._registry.release()
        elif self._connection is None or self._connection.lost:
            # Nothing to leave, and nobody is to wait for an attempt to connect that may take long.
            if not self._registry.empty:
                self._registry.release()
            else:
                self.state = "closed"
                self._task.cancel()
        self._wake.set()
        return done

    async def close(self) -> None:
        """End the connection and everything about it."""
        self._stopping = True
        while not self._task.done():
            # More than once: what is called below may swallow a cancellation, as asyncio's own did before Python 3.12.
            if not self._ending:
                self._task.cancel()
            await asyncio.wait([self._task], timeout=CANCEL_RETRY_INTERVAL)

    # -- the one task ---------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        failure: RealtimeError | None = None
        try:
            while not self._stopping and (not self._registry.empty or self.state == "connecting"):
                self._wake.clear()
                await self._step()
        except RealtimeError as error:
            failure = error
        except Exception:
            # A defect, but readers that wait for ever would be worse than readers that are told.
            logger.exception(
                "The connection to Inngest ended by a defect of this package, please report it.",
                extra={"event": "connection.defect"},
            )
            failure = UnreachableError(
                "The connection to Inngest ended by a defect of this package; see the log.", url=""
            )
        finally:
            self._ending = True
            self.state = "closed"
            self._registry.close(failure, waiting=failure or closed_here())
            await self._joiner.stop()
            await self._close_connections()

    def _ended(self, _: asyncio.Task[None]) -> None:
        # A task that is cancelled before its first step never gets to its `finally`.
        self.state = "closed"
        self._registry.fail(closed_here())
        self._registry.release()
        self._on_end(self)

    async def _step(self) -> None:
        connection = self._connection
        if connection is None or connection.lost:
            await self._connect()
            return
        due = await self._handovers.poll()
        attempt = self._handovers.due(connection)
        if attempt is not None:
            # Between two attempts the old connection is served as ever.
            due = attempt
            if due <= 0:
                await self._replace(connection)
                return
        self._joiner.request()
        # By turns, or else many who leave would keep out who joins: the next token takes a while.
        if self._joiner.ready:
            await self._joiner.subscribe(connection, self._handovers.adopt)
        elif self._registry.departing:
            await self._joiner.unsubscribe(connection)
        else:
            await self._wake.wait_for(due)

    async def _connect(self) -> None:
        """Open the first connection, or one in place of a lost one."""
        lost, self._connection = self._connection, None
        await self._joiner.stop()
        await self._handovers.forget()
        if lost is not None:
            self._outages.write(
                logging.WARNING,
                "lost",
                f"The connection to Inngest was lost ({lost.lost_reason}); reconnecting. If it repeats, run "
                "`inngest-realtime doctor`.",
                event="connection.lost",
            )
            await lost.close()
            self._registry.lose(_lost(lost))
            self._lost_at = time.monotonic()
            self._set_state("reconnecting")
        self._registry.clear()
        reconnecting = self.state == "reconnecting"
        connection = await self._connector.connect(reconnecting=reconnecting)
        if connection is None:
            return
        self._connection = connection
        if reconnecting:
            self._outages.write(
                logging.WARNING,
                "restored",
                f"Connected to Inngest again after {time.monotonic() - self._lost_at:.0f} s.",
                event="connection.restored",
            )
            self._tell_gap(self._registry.take_pending_gaps())
        connection.deliver(self._registry.route)
        self._set_state("open")
        self._registry.resolve()

    async def _replace(self, old: Connection) -> None:
        """Put a successor in the place of a connection that Inngest is about to close."""
        successor = await self._handovers.start(old)
        if successor is not None:
            self._connection = successor
            await self._handovers.overlap()

    def _lost_in_handover(self, old: Connection, channels: Iterable[str]) -> None:
        """Called when a connection ended before its successor was proved to have been there in time."""
        subscribers = list(self._registry.of(channels))
        for subscriber in subscribers:
            subscriber.report(_lost(old))
        self._tell_gap(subscribers)

    def _tell_gap(self, subscribers: Iterable[ChannelSubscriber]) -> None:
        """Report that messages may have been missed: before what comes after them, and once nothing more can be."""
        self._on_reconnect()
        for subscriber in subscribers:
            subscriber.lost()

    def _set_state(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self._registry.tell_state(state)

    async def _close_connections(self) -> None:
        connection, self._connection = self._connection, None
        try:
            await self._handovers.close()
        finally:
            if connection is not None:
                await connection.close()


def _lost(connection: Connection) -> ConnectionLostError:
    return ConnectionLostError(
        f"The connection to Inngest was lost: {connection.lost_reason}. It is being made again; once it is, a gap says "
        "that messages may have been missed.",
        url="",
    )
