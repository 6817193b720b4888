"""Making connections that are proved to be subscribed, and adding topics to them and taking them off."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from .connection import Connection, Liveness
from .entries import MAX_URL_TOKEN, Entry, frame_batches, split_for_url, unsubscribe_frames
from .envelope import Envelope
from .errors import InngestError, UnreachableError
from .pace import Pace
from .protocol import MAX_CLIENT_FRAME, subscribe_frame

__all__ = ["Dialer", "Mint", "Minted"]

logger = logging.getLogger("inngest_realtime.upstream")

_MODEST_URL_TOKEN: Final = 6_000  # characters of a token that any proxy lets pass in a URL
_TOO_LONG: Final = frozenset({400, 413, 414, 431, 494})  # what is answered to a URL that is found too long
_CUT_OFF: Final = 3  # connects with a long URL that got no answer, before a shorter one is tried


class Minted(Protocol):
    """A token for some topics, and the environment it is for."""

    @property
    def token(self) -> str: ...
    @property
    def env_id(self) -> str | None: ...


Mint = Callable[[Sequence[Entry]], Awaitable[Minted]]


class Dialer:
    """How one upstream connects. A fresh token for every attempt: it is checked at connect only, and lives a minute.

    Args:
        websocket_url: The address to connect to, without a query.
        mint: Makes a token for some (channel, topic) pairs.
        liveness: How connections are kept alive.
        pace: How far readers may hold them up.
    """

    def __init__(self, websocket_url: str, mint: Mint, *, liveness: Liveness, pace: Pace) -> None:
        self.websocket_url = websocket_url
        self._mint = mint
        self._liveness = liveness
        self._pace = pace
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
    ) -> Connection:
        """Open a connection that is proved to be subscribed to all of `entries`.

        Raises:
            InngestError: It can't be had.
        """
        while True:
            first, rest = split_for_url(entries, self._url_limit)
            minted = await self._mint(first)
            connection = Connection(
                deliver, on_change=on_change, on_oversized=on_oversized, liveness=self._liveness, pace=self._pace
            )
            try:
                await connection.open(self.websocket_url, minted.token)
                await connection.confirm()
                for batch in frame_batches(rest):
                    await self.add(connection, batch)
            except BaseException as error:
                await connection.close()
                if isinstance(error, InngestError) and self._is_too_long(error, minted.token):
                    logger.info("A URL with a token of %d characters was refused.", len(minted.token))
                    self._url_limit = _MODEST_URL_TOKEN
                    continue
                raise
            self._env_id = minted.env_id
            self._cut_off = 0
            return connection

    def _is_too_long(self, error: InngestError, token: str) -> bool:
        if len(token) <= _MODEST_URL_TOKEN or self._url_limit == _MODEST_URL_TOKEN:
            return False
        if error.status in _TOO_LONG:
            return True
        # Some servers end the connection instead of answering.
        self._cut_off += isinstance(error, UnreachableError)
        return self._cut_off >= _CUT_OFF

    async def add(self, connection: Connection, batch: Sequence[Entry]) -> None:
        """Add topics to a connection; returns when they are proved to be delivered.

        Raises:
            InngestError: It can't be had.
        """
        minted = await self._mint(batch)
        frame = subscribe_frame(minted.token)
        if len(frame) > MAX_CLIENT_FRAME and len(batch) > 1:
            middle = len(batch) // 2
            await self.add(connection, batch[:middle])
            await self.add(connection, batch[middle:])
            return
        self._env_id = minted.env_id
        await connection.send(frame)
        await connection.confirm()

    async def remove(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Take topics off a connection; returns when that is proved.

        Raises:
            UnreachableError: The connection has ended.
        """
        for frame in unsubscribe_frames(entries, env_id=self._env_id):
            await connection.send(frame)
        await connection.confirm()
