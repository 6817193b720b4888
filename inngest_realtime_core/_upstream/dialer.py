"""Making connections that are proved to be subscribed, and adding topics to them and taking them off."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from .._api.tokens import Entry, IssuedToken
from .._telemetry.throttled_log import ThrottledLog
from ..errors import InngestError, RealtimeError, TopicError, UnreachableError
from .batching import MAX_URL_TOKEN, frame_batches, split_for_url, unsubscribe_frames
from .connection import Connection, OnUndelivered
from .liveness import Liveness
from .protocol import MAX_CLIENT_FRAME, subscribe_frame
from .throttle import Throttle
from .transport import OpenTransport

logger = logging.getLogger("inngest_realtime.upstream")
_log = ThrottledLog(logger)

_MODEST_URL_TOKEN: Final = 6_000  # characters of a token that any proxy lets pass in a URL
_TOO_LONG: Final = frozenset({400, 413, 414, 431, 494})  # the statuses of a response to a URL that is found too long
_CUT_OFF: Final = 3  # connects with a long URL that got no response, before a shorter one is tried
_WRONG: Final = frozenset({400, 403, 404, 413, 422})  # the statuses of a response that one topic among many may cause
_BISECTIONS: Final = 40  # token requests at most to find the topics for which Inngest makes no token

Mint = Callable[[Sequence[Entry]], Awaitable[IssuedToken]]

Outcome = dict[Entry, "RealtimeError | None"]
"""What became of topics: None where they are proved to be delivered, else why not. Those absent are undecided."""


class TokenResult(msgspec.Struct, frozen=True, eq=False):
    """A token for those of some topics that Inngest makes one for.

    Attributes:
        issued: The token.
        entries: The topics that it is for.
        rejected: Those that it is not for, and why.
    """

    issued: IssuedToken
    entries: Sequence[Entry]
    rejected: dict[Entry, InngestError]


class Dialer:
    """How one upstream connects. A fresh token for every attempt: it is checked at connect only, and lives a minute.

    Args:
        websocket_url: The address to connect to, without a query.
        mint: Makes a token for some (channel, topic) pairs.
        liveness: How connections are kept alive.
        throttle: How far readers may hold them up.
        open_transport: Opens their WebSockets.
    """

    def __init__(
        self,
        websocket_url: str,
        mint: Mint,
        *,
        liveness: Liveness,
        throttle: Throttle,
        open_transport: OpenTransport,
    ) -> None:
        self.websocket_url = websocket_url
        self._mint = mint
        self._liveness = liveness
        self._throttle = throttle
        self._open_transport = open_transport
        self._env_id: str | None = None
        self._url_limit = MAX_URL_TOKEN
        self._cut_off = 0

    async def dial(
        self,
        entries: Sequence[Entry],
        *,
        partial: bool = False,
        on_change: Callable[[], None],
        on_undelivered: OnUndelivered,
    ) -> tuple[Connection, Outcome]:
        """Open a connection that is proved to be subscribed to all of `entries` but those that are rejected.

        Args:
            partial: Whether some may stay undecided when many are rejected.

        Returns:
            The connection, which holds what it brings, and what became of the entries.

        Raises:
            InngestError: It can't be had.
        """
        while True:
            first, others = split_for_url(entries, self._url_limit)
            result = await self.request(first, partial=partial)
            outcome = _outcome(result)
            connection = Connection(
                on_change=on_change,
                on_undelivered=on_undelivered,
                liveness=self._liveness,
                throttle=self._throttle,
                open_transport=self._open_transport,
            )
            try:
                await connection.open(self.websocket_url, result.issued)
                await connection.confirm()
                for batch in frame_batches(others):
                    outcome.update(await self._add_each(connection, batch, partial))
            except BaseException as error:
                await connection.close()
                length = len(result.issued.token)
                if isinstance(error, InngestError) and self._is_too_long(error, length):
                    logger.info(
                        "A URL with a token of %d characters was rejected.",
                        length,
                        extra={"event": "token.url_rejected"},
                    )
                    self._url_limit = _MODEST_URL_TOKEN
                    continue
                raise
            self._env_id = result.issued.env_id
            self._cut_off = 0
            return connection, outcome

    async def _add_each(self, connection: Connection, batch: Sequence[Entry], partial: bool) -> Outcome:
        try:
            return await self.add(connection, await self.request(batch, partial=partial), partial=partial)
        except UnreachableError:
            raise
        except RealtimeError as error:
            if len(batch) > 1:
                raise
            return {batch[0]: error}

    def _is_too_long(self, error: InngestError, length: int) -> bool:
        if length <= _MODEST_URL_TOKEN or self._url_limit == _MODEST_URL_TOKEN:
            return False
        if error.status in _TOO_LONG:
            return True
        # Some servers end the connection instead of responding.
        self._cut_off += isinstance(error, UnreachableError)
        return self._cut_off >= _CUT_OFF

    async def request(self, entries: Sequence[Entry], *, partial: bool = False) -> TokenResult:
        """Request a token for topics. One that Inngest rejects does not cost the others theirs.

        Args:
            partial: Whether, when many are rejected, a token for some of them is enough for now.

        Raises:
            InngestError: There is none for any of them, or it can't be found out for which.
        """
        try:
            return TokenResult(await self._mint(entries), entries, {})
        except InngestError as error:
            if error.status not in _WRONG or len(entries) == 1:
                raise
            rejection = error
        good, rejected = await self._bisect(entries, rejection, partial)
        if not good:
            raise rejection
        _log.write(
            logging.WARNING,
            "token.topics_rejected",
            f"Inngest makes no token for {len(rejected)} of {len(entries)} topics; look at their names. {rejection}",
            event="token.topics_rejected",
        )
        return TokenResult(await self._mint(good), good, rejected)

    async def _bisect(
        self, entries: Sequence[Entry], rejection: InngestError, partial: bool
    ) -> tuple[list[Entry], dict[Entry, InngestError]]:
        good: list[Entry] = []
        rejected: dict[Entry, InngestError] = {}
        suspects = _halves(entries)
        requests = 0
        while suspects and (requests < _BISECTIONS or (partial and not good)):
            requests += 1
            some = suspects.pop()
            try:
                await self._mint(some)
            except InngestError as error:
                if error.status not in _WRONG:
                    raise
                if len(some) == 1:
                    rejected[some[0]] = error
                else:
                    suspects += _halves(some)
            else:
                good += some
        if suspects and not partial:
            raise rejection
        return good, rejected

    async def add(self, connection: Connection, result: TokenResult, *, partial: bool = False) -> Outcome:
        """Add topics to a connection; returns when they are proved to be delivered.

        Returns:
            What became of them.

        Raises:
            InngestError: It can't be had.
            TopicError: The name of the only topic is too long.
        """
        if len(subscribe_frame(result.issued.token)) > MAX_CLIENT_FRAME:
            if len(result.entries) == 1:
                raise _too_long(result.entries[0])
            outcome = Outcome(result.rejected)
            for half in _halves(result.entries):
                outcome.update(await self._add_each(connection, half, partial))
            return outcome
        self._env_id = result.issued.env_id
        await connection.subscribe(result.issued)
        return _outcome(result)

    async def remove(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Unsubscribe topics from a connection. Returns when that is proved.

        Raises:
            UnreachableError: The connection has ended.
        """
        for frame in unsubscribe_frames(entries, env_id=self._env_id):
            await connection.send(frame)
        await connection.confirm()


def _outcome(result: TokenResult) -> Outcome:
    return {**dict.fromkeys(result.entries), **result.rejected}


def _halves(entries: Sequence[Entry]) -> list[Sequence[Entry]]:
    middle = len(entries) // 2
    return [entries[:middle], entries[middle:]]


def _too_long(entry: Entry) -> TopicError:
    channel, topic = entry
    return TopicError(
        f"The names of channel {channel[:40]!r} and topic {topic[:40]!r} are too long together ({len(channel)} and "
        f"{len(topic)} characters) to be added to an open connection: Inngest takes frames of {MAX_CLIENT_FRAME} "
        "bytes. Use shorter names.",
        topic=topic,
    )
