"""Making connections that are proved to be subscribed, and adding topics to them and taking them off."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from .._api.tokens import Entry
from ..errors import InngestError, RealtimeError, TopicError, UnreachableError
from ..messages.envelope import Envelope
from .batching import MAX_URL_TOKEN, frame_batches, split_for_url, unsubscribe_frames
from .connection import Connection
from .liveness import Liveness
from .protocol import MAX_CLIENT_FRAME, subscribe_frame
from .throttle import Throttle

__all__ = ["Dialer", "IssuedToken", "Mint", "TokenResult"]

logger = logging.getLogger("inngest_realtime.upstream")

_MODEST_URL_TOKEN: Final = 6_000  # characters of a token that any proxy lets pass in a URL
_TOO_LONG: Final = frozenset({400, 413, 414, 431, 494})  # what is answered to a URL that is found too long
_CUT_OFF: Final = 3  # connects with a long URL that got no answer, before a shorter one is tried
_WRONG: Final = frozenset({400, 403, 404, 413, 422})  # what may be answered because of one topic among many
_BISECTIONS: Final = 40  # token requests at most to find the topics that others are refused for


class IssuedToken(Protocol):
    """A token for some topics, and the environment it is for."""

    @property
    def token(self) -> str: ...
    @property
    def env_id(self) -> str | None: ...


Mint = Callable[[Sequence[Entry]], Awaitable[IssuedToken]]


@dataclass(frozen=True)
class TokenResult:
    """A token for those of some topics that Inngest makes one for.

    Attributes:
        minted: The token.
        entries: The topics that it is for.
        refused: Those that it is not for, and why.
    """

    minted: IssuedToken
    entries: Sequence[Entry]
    refused: dict[Entry, InngestError]


class Dialer:
    """How one upstream connects. A fresh token for every attempt: it is checked at connect only, and lives a minute.

    Args:
        websocket_url: The address to connect to, without a query.
        mint: Makes a token for some (channel, topic) pairs.
        liveness: How connections are kept alive.
        throttle: How far readers may hold them up.
    """

    def __init__(self, websocket_url: str, mint: Mint, *, liveness: Liveness, throttle: Throttle) -> None:
        self.websocket_url = websocket_url
        self._mint = mint
        self._liveness = liveness
        self._throttle = throttle
        self._env_id: str | None = None
        self._url_limit = MAX_URL_TOKEN
        self._cut_off = 0

    async def dial(
        self,
        entries: Sequence[Entry],
        deliver: Callable[[Envelope], None],
        *,
        on_change: Callable[[], None],
        on_oversized: Callable[[int, Envelope | None], None],
    ) -> tuple[Connection, dict[Entry, RealtimeError]]:
        """Open a connection that is proved to be subscribed to all of `entries` but those that are refused.

        Returns:
            The connection, and why it lacks some of them.

        Raises:
            InngestError: It can't be had.
        """
        while True:
            first, rest = split_for_url(entries, self._url_limit)
            result = await self.ask(first)
            minted, refused = result.minted, dict[Entry, RealtimeError](result.refused)
            connection = Connection(
                deliver,
                on_change=on_change,
                on_oversized=on_oversized,
                liveness=self._liveness,
                throttle=self._throttle,
            )
            try:
                await connection.open(self.websocket_url, minted.token)
                await connection.confirm()
                for batch in frame_batches(rest):
                    refused.update(await self._add_each(connection, batch))
            except BaseException as error:
                await connection.close()
                if isinstance(error, InngestError) and self._is_too_long(error, minted.token):
                    logger.info("A URL with a token of %d characters was refused.", len(minted.token))
                    self._url_limit = _MODEST_URL_TOKEN
                    continue
                raise
            self._env_id = minted.env_id
            self._cut_off = 0
            return connection, refused

    async def _add_each(self, connection: Connection, batch: Sequence[Entry]) -> dict[Entry, RealtimeError]:
        try:
            return await self.add(connection, await self.ask(batch))
        except UnreachableError:
            raise
        except RealtimeError as error:
            if len(batch) > 1:
                raise
            return {batch[0]: error}

    def _is_too_long(self, error: InngestError, token: str) -> bool:
        if len(token) <= _MODEST_URL_TOKEN or self._url_limit == _MODEST_URL_TOKEN:
            return False
        if error.status in _TOO_LONG:
            return True
        # Some servers end the connection instead of answering.
        self._cut_off += isinstance(error, UnreachableError)
        return self._cut_off >= _CUT_OFF

    async def ask(self, entries: Sequence[Entry]) -> TokenResult:
        """Have a token made for topics. One that Inngest makes none for does not cost the others theirs.

        Raises:
            InngestError: There is none for any of them, or it can't be found out for which.
        """
        try:
            return TokenResult(await self._mint(entries), entries, {})
        except InngestError as error:
            if error.status not in _WRONG or len(entries) == 1:
                raise
            refusal = error
        good, refused = await self._bisect(entries, refusal)
        if not good:
            raise refusal
        logger.warning("Inngest makes no token for %d of %d topics: %s", len(refused), len(entries), refusal)
        return TokenResult(await self._mint(good), good, refused)

    async def _bisect(
        self, entries: Sequence[Entry], refusal: InngestError
    ) -> tuple[list[Entry], dict[Entry, InngestError]]:
        good: list[Entry] = []
        refused: dict[Entry, InngestError] = {}
        suspects = _halves(entries)
        for _ in range(_BISECTIONS):
            if not suspects:
                break
            some = suspects.pop()
            try:
                await self._mint(some)
            except InngestError as error:
                if error.status not in _WRONG:
                    raise
                if len(some) == 1:
                    refused[some[0]] = error
                else:
                    suspects += _halves(some)
            else:
                good += some
        if suspects:
            raise refusal
        return good, refused

    async def add(self, connection: Connection, result: TokenResult) -> dict[Entry, RealtimeError]:
        """Add topics to a connection; returns when they are proved to be delivered.

        Returns:
            Why some of them are not.

        Raises:
            InngestError: It can't be had.
            TopicError: The name of the only topic is too long.
        """
        frame = subscribe_frame(result.minted.token)
        if len(frame) > MAX_CLIENT_FRAME:
            if len(result.entries) == 1:
                raise _too_long(result.entries[0])
            refused = dict[Entry, RealtimeError](result.refused)
            for half in _halves(result.entries):
                refused.update(await self._add_each(connection, half))
            return refused
        self._env_id = result.minted.env_id
        await connection.send(frame)
        await connection.confirm()
        return dict(result.refused)

    async def remove(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Take topics off a connection; returns when that is proved.

        Raises:
            UnreachableError: The connection has ended.
        """
        for frame in unsubscribe_frames(entries, env_id=self._env_id):
            await connection.send(frame)
        await connection.confirm()


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
