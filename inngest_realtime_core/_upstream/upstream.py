"""One place at Inngest for many channels: a WebSocket that is kept, renewed and replaced for as long as it is needed.

The facts it rests on were observed on a real server: a subscription exists only once a ping after it is answered;
there is no replay; a token is checked at connect only and lives a minute; `sub` adds topics, `unsub` takes them off,
and neither is acknowledged; a topic that is dropped and retaken at once can stay silent for good.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

from .._api.tokens import Entry
from .._concurrency.tasks import CANCEL_RETRY_INTERVAL, end_tasks
from ..errors import AuthenticationError, InngestError, RealtimeError, UnreachableError
from ..messages.envelope import Envelope
from .backoff import Backoff
from .batching import frame_batches
from .circuit import Circuit
from .connection import Connection
from .dialer import Dialer, Mint, TokenResult
from .handover import Handover
from .liveness import Liveness
from .registry import ChannelRegistry, ChannelSubscriber, Join, State, tell_state
from .throttle import Throttle

__all__ = ["Upstream"]

logger = logging.getLogger("inngest_realtime.upstream")

_MAX_JOIN_WAIT: Final = 1.0  # seconds between two attempts at most while somebody waits to join
_HANDOVER_CAP: Final = 2.0  # seconds between two attempts to find a successor, which has to be found before the end
_LAG: Final = 2.0  # seconds that a new server may be behind the old one
_LEAVE_PAUSE: Final = 0.01  # seconds between leaving a topic and being free to take it again


class Upstream:
    """A connection to Inngest and the channels that ride on it.

    Args:
        websocket_url: The address to connect to, without a query.
        mint: Makes a token for some (channel, topic) pairs.
        circuit: Shared with the other upstreams of the process.
        on_reconnect: Called after each unexpected loss that was made good.
        on_end: Called when it has ended, for whatever reason.
        dedicated: It is meant for one channel alone.
        throttle: How far the readers of the channels may hold it up.

    Attributes:
        token_size: The length of a token for all its topics, nearly, in characters; kept by the floor above.
        dedicated: The same.
        state: Of the connection.
    """

    def __init__(
        self,
        websocket_url: str,
        mint: Mint,
        *,
        circuit: Circuit,
        liveness: Liveness,
        on_reconnect: Callable[[], None],
        on_end: Callable[[Upstream], None],
        dedicated: bool = False,
        throttle: Throttle | None = None,
    ) -> None:
        self.token_size = 0
        self.dedicated = dedicated
        self._dialer = Dialer(websocket_url, mint, liveness=liveness, throttle=throttle or Throttle())
        self._registry = ChannelRegistry()
        self._circuit = circuit
        self._on_reconnect = on_reconnect
        self._on_end = on_end
        self._connection: Connection | None = None
        self._retiring: Handover | None = None
        self._echo: Handover | None = None  # the last one, as long as its successor may repeat something
        self._wake = asyncio.Event()
        self._backoff = Backoff()
        self._handover_backoff = Backoff(cap=_HANDOVER_CAP)
        self._handover_due = 0.0
        self._asked: asyncio.Task[TokenResult] | None = None  # a token for who joins
        self._asking_for: list[Entry] = []
        self._refusals = 0
        self._stopping = False
        self._ending = False
        self.state: State = "connecting"
        self._task = asyncio.get_running_loop().create_task(self._run(), name="inngest-realtime upstream")
        self._task.add_done_callback(self._ended)

    # -- what the floor above calls -------------------------------------------------------------------------------

    @property
    def sockets(self) -> int:
        """Open WebSockets: one, or two while one replaces the other."""
        connections = (self._connection, self._retiring.old if self._retiring else None)
        return sum(1 for connection in connections if connection is not None and not connection.lost)

    @property
    def members(self) -> int:
        return len(self._registry.members)

    @property
    def alive(self) -> bool:
        return self.state != "closed"

    def join(self, member: ChannelSubscriber, topics: Iterable[str]) -> asyncio.Future[None]:
        """Take a channel along, or more topics of it.

        Returns:
            A future that is done when Inngest has proved to deliver them, and fails if that can't be had.
        """
        done = self._registry.join(member, topics)
        self._wake.set()
        return done

    def leave(self, member: ChannelSubscriber) -> asyncio.Future[None]:
        """Drop a channel. The future is done when its topics may be subscribed to again."""
        done = self._registry.leave(member)
        if self.state == "closed":
            self._registry.release()
        elif self._connection is None or self._connection.lost:
            # Nothing to leave, and nobody is to wait for an attempt to connect that may take long.
            if self._registry.members:
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
            while not self._stopping and (self._registry.members or self.state == "connecting"):
                self._wake.clear()
                await self._step()
        except RealtimeError as error:
            failure = error
        except Exception:
            # A defect, but readers that wait for ever would be worse than readers that are told.
            logger.exception("The connection to Inngest ended by a defect.")
            failure = UnreachableError(
                "The connection to Inngest ended by a defect of this package; see the log.", url=""
            )
        finally:
            self._ending = True
            self.state = "closed"
            self._registry.fail(failure or _closed())
            members, self._registry.members = self._registry.members, {}
            for member in members.values():
                tell_state(member, "closed")
                if failure is not None:
                    member.fail(failure)
            try:
                await self._stop_asking()
                await self._close_connections()
            finally:
                self._registry.release()

    def _ended(self, _: asyncio.Task[None]) -> None:
        # A task that is cancelled before its first step never gets to its `finally`.
        self.state = "closed"
        self._registry.fail(_closed())
        self._registry.release()
        self._on_end(self)

    async def _step(self) -> None:
        connection = self._connection
        if connection is None or connection.lost:
            await self._connect()
            return
        due = await self._poll_handover()
        if connection.closing and self._retiring is None:
            # Between two attempts the old connection is served as ever.
            due = self._handover_due - time.monotonic()
            if due <= 0:
                await self._hand_over(connection)
                return
        if self._asked is None and self._registry.joining:
            self._ask()
        # By turns, or else many who leave would keep out who joins: the next token takes a while.
        if self._asked is not None and self._asked.done():
            await self._subscribe(connection, self._asked)
        elif self._registry.departing:
            await self._unsubscribe(connection)
        else:
            await self._wait(due)

    # -- connecting -----------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        """Open the first connection, or one in place of a lost one."""
        lost, self._connection = self._connection, None
        await self._stop_asking()
        await self._retire_now()
        if lost is not None:
            logger.info("The connection to Inngest was lost (%s); reconnecting.", lost.lost_reason)
            await lost.close()
            self._registry.lose()
            self._handover_due = 0.0
            self._set_state("reconnecting")
        self._echo = None
        self._registry.clear()
        reconnecting = self.state == "reconnecting"
        if reconnecting:
            await self._pause(self._backoff.next_delay())
        # Who is new is told of the trouble rather than queued behind those who wait for their turn.
        turned_away = not reconnecting and self._circuit.crowded
        if not turned_away:
            await self._circuit.wait()
        if not self._registry.members:
            # Everybody has left meanwhile.
            raise _closed()
        joined = self._registry.joins()
        held: list[Envelope] = []
        if turned_away:
            self._handle_failure(_failing(), joined, reconnecting)
            return
        try:
            connection = await self._establish(held.append)
        except RealtimeError as error:
            self._count_failure(error)
            self._handle_failure(error, joined, reconnecting)
            return
        if reconnecting:
            self._tell_gap(self._registry.pending_gaps())
        for envelope in held:
            self._registry.route(envelope)
        connection.deliver = self._registry.route
        self._connection = connection
        self._set_state("open")
        self._registry.resolve()

    def _handle_failure(self, error: RealtimeError, joined: dict[str, list[Join]], reconnecting: bool) -> None:
        """Decide what a failed attempt means: who joins is told at once, who was here already is kept if possible."""
        self._registry.reject_pending(joined, error, drop=not reconnecting)
        if isinstance(error, AuthenticationError) and (not reconnecting or self._is_meant(error)):
            raise error
        if reconnecting:
            logger.warning("Reconnecting to Inngest failed: %s", error)
        elif not self._registry.members:
            raise error

    def _is_meant(self, error: AuthenticationError) -> bool:
        # A token made just before a server was replaced is refused once; a refusal of a second one is meant.
        self._refusals += 1
        return error.url != self._dialer.websocket_url or self._refusals >= 2

    def _count_failure(self, error: RealtimeError) -> None:
        # A refusal says that Inngest is well.
        if not isinstance(error, AuthenticationError):
            self._circuit.failed()

    def _tell_gap(self, members: Iterable[ChannelSubscriber]) -> None:
        """Tell that messages may have been missed: before what comes after them, and once nothing more can be."""
        self._on_reconnect()
        for member in members:
            member.lost()

    async def _establish(self, deliver: Callable[[Envelope], None]) -> Connection:
        """Open a connection that is proved to be subscribed to all topics of all members."""
        entries = self._registry.entries()
        connection, refused = await self._dialer.dial(
            entries, deliver, on_change=self._wake.set, on_oversized=self._registry.oversized
        )
        self._registry.renew(entry for entry in entries if entry not in refused)
        for entry, error in refused.items():
            self._refuse(entry, error)
        self._refusals = 0
        self._circuit.succeeded()
        self._backoff.opened()
        return connection

    # -- joining and leaving --------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Have a token made for who joins. Meanwhile all else goes on, for it may take long."""
        batches = frame_batches(self._registry.wanted())
        if not batches:
            self._registry.resolve()
            return
        self._asked = asyncio.get_running_loop().create_task(
            self._dialer.ask(batches[0]), name="inngest-realtime token"
        )
        self._asked.add_done_callback(lambda _: self._wake.set())
        self._asking_for = batches[0]

    async def _stop_asking(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            await end_tasks([asked])
            if not asked.cancelled():
                # Who joins is told by the next attempt; asyncio would log it as never retrieved.
                asked.exception()

    async def _subscribe(self, connection: Connection, asked: asyncio.Task[TokenResult]) -> None:
        self._asked = None
        batch = self._asking_for
        try:
            result = asked.result()
            if set(self._registry.wanted()).isdisjoint(batch):
                # They have left, or a new connection has taken them along.
                self._registry.resolve()
                return
            if self._retiring is not None:
                self._retiring.adopt(result.entries)
            refused = await self._dialer.add(connection, result)
        except UnreachableError as error:
            if connection.lost or error.url == "":
                # The connection itself broke: they are subscribed with all others on the next one.
                connection.abort(connection.lost_reason)
                await self._until_lost(connection)
                return
            self._registry.fail(error, {channel for channel, _ in batch})
        except RealtimeError as error:
            self._registry.fail(error, {channel for channel, _ in batch})
        else:
            self._registry.cover(entry for entry in result.entries if entry not in refused)
            for entry, refusal in refused.items():
                self._refuse(entry, refusal)
        self._registry.resolve()

    def _refuse(self, entry: Entry, error: RealtimeError) -> None:
        """Tell that Inngest does not deliver one topic, though it does others."""
        channel, topic = entry
        self._registry.fail(error, {channel})
        member = self._registry.members.get(channel)
        if member is None or (member.confirmed and topic not in member.confirmed):
            # Who asked for more than there was knows; who was content before still has that.
            return
        del self._registry.members[channel]
        if member.confirmed:
            tell_state(member, "closed")
            member.fail(error)

    async def _unsubscribe(self, connection: Connection) -> None:
        registry = self._registry
        waiting = registry.take_leavers()
        try:
            gone = registry.gone()
            if gone and registry.members:
                registry.covered.difference_update(gone)
                await self._dialer.remove(connection, gone)
                await asyncio.sleep(_LEAVE_PAUSE)
        except UnreachableError:
            await self._until_lost(connection)
        finally:
            if registry.members:
                registry.release(waiting)
            else:
                # The socket itself goes; who waits is released once it is closed.
                registry.keep_waiting(waiting)

    # -- switching over -------------------------------------------------------------------------------------------

    async def _hand_over(self, old: Connection) -> None:
        """Open a successor while the old connection still delivers, and let both deliver for a while."""
        await self._circuit.wait()
        if old.lost:
            return
        recent = (envelope for member in self._registry.members.values() for envelope in member.recent(_LAG))
        handover = Handover(old, self._registry.route, recent, self._echo)
        held: list[Envelope] = []
        covered = self._registry.covered
        try:
            new = await self._establish(held.append)
        except InngestError as error:
            handover.give_up()
            self._count_failure(error)
            logger.warning("No successor for a connection that Inngest is about to close: %s", error)
            if isinstance(error, AuthenticationError) and self._is_meant(error):
                # The old one delivers to its end, and then the refusal of its successor is reported.
                old.closing = False
            else:
                self._handover_due = time.monotonic() + self._handover_backoff.next_delay()
            return
        self._handover_backoff = Backoff(cap=_HANDOVER_CAP)
        self._handover_due = 0.0
        # Who joined just now is on the new connection alone.
        handover.begin(self._registry.covered - covered)
        self._retiring, self._connection = handover, new
        try:
            # Only an answer of the old connection from now on proves that the two have overlapped.
            await old.confirm()
        except UnreachableError:
            await self._until_lost(old)
            self._tell_gap(self._registry.of({channel for channel, _ in covered}))
        handover.overlapped()
        for envelope in held:
            handover.take_new(envelope)
        new.deliver = handover.take_new
        self._registry.resolve()
        logger.info("Switching over to a new connection to Inngest.")

    async def _poll_handover(self) -> float | None:
        """See to what is due; returns the seconds until something is due again, or None."""
        if self._retiring is not None:
            if not self._retiring.over:
                return self._retiring.tend()
            await self._retire_now()
        if self._echo is None:
            return None
        if (remaining := self._echo.echo) > 0:
            return remaining
        self._echo = None
        if self._connection is not None:
            self._connection.deliver = self._registry.route
        return None

    async def _retire_now(self) -> None:
        """Leave the old connection of a handover, if there is one."""
        retiring, self._retiring = self._retiring, None
        if retiring is None:
            return
        for start in retiring.interrupted:
            member = self._registry.members.get(start.channel)
            if member is not None and start.stream_id is not None:
                member.interrupted(start.stream_id)
                member.gap("reconnect")
        self._echo = retiring
        await retiring.finish()

    # -- small things ---------------------------------------------------------------------------------------------

    def _set_state(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self._registry.tell_state(state)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not on when nobody is left to wait for, and not long when somebody waits to join."""
        began = time.monotonic()
        while self._registry.members:
            longest = min(seconds, _MAX_JOIN_WAIT) if self._registry.joining else seconds
            remaining = began + longest - time.monotonic()
            if remaining <= 0:
                return
            self._wake.clear()
            await self._wait(remaining)

    async def _wait(self, seconds: float | None) -> None:
        """Wait until something changes, or for so long."""
        # Not asyncio.wait_for: before Python 3.12 it can swallow the cancellation that ends this task.
        timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _until_lost(self, connection: Connection) -> None:
        while not connection.lost:
            self._wake.clear()
            await self._wake.wait()

    async def _close_connections(self) -> None:
        retiring, self._retiring = self._retiring, None
        connection, self._connection = self._connection, None
        try:
            if retiring is not None:
                await retiring.old.close()
        finally:
            if connection is not None:
                await connection.close()


def _closed() -> UnreachableError:
    return UnreachableError("The connection to Inngest was closed by this process.", url="")


def _failing() -> UnreachableError:
    return UnreachableError(
        "Inngest has failed several times in a row; until it answers again, this process tries about once a second. "
        "Try again later, and see the log for what failed.",
        url="",
    )
