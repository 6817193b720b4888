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

from .backoff import Backoff, Circuit
from .connection import Connection, Liveness
from .dialer import Dialer, Mint, Ticket
from .entries import Entry, frame_batches
from .envelope import Envelope
from .errors import AuthenticationError, InngestError, RealtimeError, UnreachableError
from .pace import Pace
from .roster import Join, Member, Roster, State, tell_state
from .succession import Succession
from .tasks import INSISTENCE, end_tasks

__all__ = ["Upstream"]

logger = logging.getLogger("inngest_realtime.upstream")

_IMPATIENCE: Final = 1.0  # seconds between two attempts at most while somebody waits to join
_SUCCESSION_CAP: Final = 2.0  # seconds between two attempts to find a successor, which has to be found before the end
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
        solitary: It is meant for one channel alone.
        pace: How far the readers of the channels may hold it up.

    Attributes:
        load: The length of a token for all its topics, nearly, in characters; kept by the floor above.
        solitary: The same.
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
        solitary: bool = False,
        pace: Pace | None = None,
    ) -> None:
        self.load = 0
        self.solitary = solitary
        self._dialer = Dialer(websocket_url, mint, liveness=liveness, pace=pace or Pace())
        self._roster = Roster()
        self._circuit = circuit
        self._on_reconnect = on_reconnect
        self._on_end = on_end
        self._connection: Connection | None = None
        self._retiring: Succession | None = None
        self._echo: Succession | None = None  # the last one, as long as its successor may repeat something
        self._wake = asyncio.Event()
        self._backoff = Backoff()
        self._succession_backoff = Backoff(cap=_SUCCESSION_CAP)
        self._succession_due = 0.0
        self._asked: asyncio.Task[Ticket] | None = None  # a token for who joins
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
        return len(self._roster.members)

    @property
    def alive(self) -> bool:
        return self.state != "closed"

    def join(self, member: Member, topics: Iterable[str]) -> asyncio.Future[None]:
        """Take a channel along, or more topics of it.

        Returns:
            A future that is done when Inngest has proved to deliver them, and fails if that can't be had.
        """
        done = self._roster.join(member, topics)
        self._wake.set()
        return done

    def leave(self, member: Member) -> asyncio.Future[None]:
        """Drop a channel. The future is done when its topics may be subscribed to again."""
        done = self._roster.leave(member)
        if self.state == "closed":
            self._roster.release()
        elif self._connection is None or self._connection.lost:
            # Nothing to leave, and nobody is to wait for an attempt to connect that may take long.
            if self._roster.members:
                self._roster.release()
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
            await asyncio.wait([self._task], timeout=INSISTENCE)

    # -- the one task ---------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        failure: RealtimeError | None = None
        try:
            while not self._stopping and (self._roster.members or self.state == "connecting"):
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
            self._roster.fail(failure or _closed())
            members, self._roster.members = self._roster.members, {}
            for member in members.values():
                tell_state(member, "closed")
                if failure is not None:
                    member.fail(failure)
            try:
                await self._stop_asking()
                await self._close_connections()
            finally:
                self._roster.release()

    def _ended(self, _: asyncio.Task[None]) -> None:
        # A task that is cancelled before its first step never gets to its `finally`.
        self.state = "closed"
        self._roster.fail(_closed())
        self._roster.release()
        self._on_end(self)

    async def _step(self) -> None:
        connection = self._connection
        if connection is None or connection.lost:
            await self._connect()
            return
        due = await self._tend()
        if connection.closing and self._retiring is None:
            # Between two attempts the old connection is served as ever.
            due = self._succession_due - time.monotonic()
            if due <= 0:
                await self._succeed(connection)
                return
        if self._asked is None and self._roster.joining:
            self._ask()
        # By turns, or else many who leave would keep out who joins: the next token takes a while.
        if self._asked is not None and self._asked.done():
            await self._subscribe(connection, self._asked)
        elif self._roster.departing:
            await self._unsubscribe(connection)
        else:
            await self._rest(due)

    # -- connecting -----------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        """Open the first connection, or one in place of a lost one."""
        lost, self._connection = self._connection, None
        await self._stop_asking()
        await self._retire_now()
        if lost is not None:
            logger.info("The connection to Inngest was lost (%s); reconnecting.", lost.lost_reason)
            await lost.close()
            self._roster.lose()
            self._succession_due = 0.0
            self._set_state("reconnecting")
        self._echo = None
        self._roster.clear()
        reconnecting = self.state == "reconnecting"
        if reconnecting:
            await self._pause(self._backoff.next_delay())
        # Who is new is told of the trouble rather than queued behind those who wait for their turn.
        turned_away = not reconnecting and self._circuit.crowded
        if not turned_away:
            await self._circuit.wait()
        if not self._roster.members:
            # Everybody has left meanwhile.
            raise _closed()
        joined = self._roster.joins()
        held: list[Envelope] = []
        if turned_away:
            self._judge(_failing(), joined, reconnecting)
            return
        try:
            connection = await self._establish(held.append)
        except RealtimeError as error:
            self._count_failure(error)
            self._judge(error, joined, reconnecting)
            return
        if reconnecting:
            self._tell_gap(self._roster.owed())
        for envelope in held:
            self._roster.route(envelope)
        connection.deliver = self._roster.route
        self._connection = connection
        self._set_state("open")
        self._roster.resolve()

    def _judge(self, error: RealtimeError, joined: dict[str, list[Join]], reconnecting: bool) -> None:
        """Decide what a failed attempt means: who joins is told at once, who was here already is kept if possible."""
        self._roster.turn_away(joined, error, drop=not reconnecting)
        if isinstance(error, AuthenticationError) and (not reconnecting or self._is_meant(error)):
            raise error
        if reconnecting:
            logger.warning("Reconnecting to Inngest failed: %s", error)
        elif not self._roster.members:
            raise error

    def _is_meant(self, error: AuthenticationError) -> bool:
        # A token made just before a server was replaced is refused once; a refusal of a second one is meant.
        self._refusals += 1
        return error.url != self._dialer.websocket_url or self._refusals >= 2

    def _count_failure(self, error: RealtimeError) -> None:
        # A refusal says that Inngest is well.
        if not isinstance(error, AuthenticationError):
            self._circuit.failed()

    def _tell_gap(self, members: Iterable[Member]) -> None:
        """Tell that messages may have been missed: before what comes after them, and once nothing more can be."""
        self._on_reconnect()
        for member in members:
            member.lost()

    async def _establish(self, deliver: Callable[[Envelope], None]) -> Connection:
        """Open a connection that is proved to be subscribed to all topics of all members."""
        entries = self._roster.entries()
        connection, refused = await self._dialer.dial(
            entries, deliver, on_change=self._wake.set, on_oversized=self._roster.oversized
        )
        self._roster.renew(entry for entry in entries if entry not in refused)
        for entry, error in refused.items():
            self._refuse(entry, error)
        self._refusals = 0
        self._circuit.succeeded()
        self._backoff.opened()
        return connection

    # -- joining and leaving --------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Have a token made for who joins. Meanwhile all else goes on, for it may take long."""
        batches = frame_batches(self._roster.wanted())
        if not batches:
            self._roster.resolve()
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

    async def _subscribe(self, connection: Connection, asked: asyncio.Task[Ticket]) -> None:
        self._asked = None
        batch = self._asking_for
        try:
            ticket = asked.result()
            if set(self._roster.wanted()).isdisjoint(batch):
                # They have left, or a new connection has taken them along.
                self._roster.resolve()
                return
            if self._retiring is not None:
                self._retiring.adopt(ticket.entries)
            refused = await self._dialer.add(connection, ticket)
        except UnreachableError as error:
            if connection.lost or error.url == "":
                # The connection itself broke: they are subscribed with all others on the next one.
                connection.abort(connection.lost_reason)
                await self._until_lost(connection)
                return
            self._roster.fail(error, {channel for channel, _ in batch})
        except RealtimeError as error:
            self._roster.fail(error, {channel for channel, _ in batch})
        else:
            self._roster.cover(entry for entry in ticket.entries if entry not in refused)
            for entry, refusal in refused.items():
                self._refuse(entry, refusal)
        self._roster.resolve()

    def _refuse(self, entry: Entry, error: RealtimeError) -> None:
        """Tell that Inngest does not deliver one topic, though it does others."""
        channel, topic = entry
        self._roster.fail(error, {channel})
        member = self._roster.members.get(channel)
        if member is None or (member.confirmed and topic not in member.confirmed):
            # Who asked for more than there was knows; who was content before still has that.
            return
        del self._roster.members[channel]
        if member.confirmed:
            tell_state(member, "closed")
            member.fail(error)

    async def _unsubscribe(self, connection: Connection) -> None:
        roster = self._roster
        waiting = roster.take_leavers()
        try:
            gone = roster.gone()
            if gone and roster.members:
                roster.covered.difference_update(gone)
                await self._dialer.remove(connection, gone)
                await asyncio.sleep(_LEAVE_PAUSE)
        except UnreachableError:
            await self._until_lost(connection)
        finally:
            if roster.members:
                roster.release(waiting)
            else:
                # The socket itself goes; who waits is released once it is closed.
                roster.keep_waiting(waiting)

    # -- switching over -------------------------------------------------------------------------------------------

    async def _succeed(self, old: Connection) -> None:
        """Open a successor while the old connection still delivers, and let both deliver for a while."""
        await self._circuit.wait()
        if old.lost:
            return
        recent = (envelope for member in self._roster.members.values() for envelope in member.recent(_LAG))
        succession = Succession(old, self._roster.route, recent, self._echo)
        held: list[Envelope] = []
        covered = self._roster.covered
        try:
            new = await self._establish(held.append)
        except InngestError as error:
            succession.give_up()
            self._count_failure(error)
            logger.warning("No successor for a connection that Inngest is about to close: %s", error)
            if isinstance(error, AuthenticationError) and self._is_meant(error):
                # The old one delivers to its end, and then the refusal of its successor is reported.
                old.closing = False
            else:
                self._succession_due = time.monotonic() + self._succession_backoff.next_delay()
            return
        self._succession_backoff = Backoff(cap=_SUCCESSION_CAP)
        self._succession_due = 0.0
        # Who joined just now is on the new connection alone.
        succession.begin(self._roster.covered - covered)
        self._retiring, self._connection = succession, new
        try:
            # Only an answer of the old connection from now on proves that the two have overlapped.
            await old.confirm()
        except UnreachableError:
            await self._until_lost(old)
            self._tell_gap(self._roster.of({channel for channel, _ in covered}))
        succession.overlapped()
        for envelope in held:
            succession.take_new(envelope)
        new.deliver = succession.take_new
        self._roster.resolve()
        logger.info("Switching over to a new connection to Inngest.")

    async def _tend(self) -> float | None:
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
            self._connection.deliver = self._roster.route
        return None

    async def _retire_now(self) -> None:
        """Leave the old connection of a succession, if there is one."""
        retiring, self._retiring = self._retiring, None
        if retiring is None:
            return
        for start in retiring.interrupted:
            member = self._roster.members.get(start.channel)
            if member is not None and start.stream_id is not None:
                member.interrupted(start.stream_id)
                member.gap("reconnect")
        self._echo = retiring
        await retiring.finish()

    # -- small things ---------------------------------------------------------------------------------------------

    def _set_state(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self._roster.tell_state(state)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not on when nobody is left to wait for, and not long when somebody waits to join."""
        began = time.monotonic()
        while self._roster.members:
            longest = min(seconds, _IMPATIENCE) if self._roster.joining else seconds
            remaining = began + longest - time.monotonic()
            if remaining <= 0:
                return
            self._wake.clear()
            await self._rest(remaining)

    async def _rest(self, seconds: float | None) -> None:
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
