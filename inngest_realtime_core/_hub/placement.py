"""Which socket a channel rides on: one that has room, or a new one."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from typing import Final

from .._api.client import ApiClient
from .._api.tokens import Entry, IssuedToken
from .._upstream.backoff import RetryGate
from .._upstream.batching import MAX_URL_TOKEN, token_size
from .._upstream.dialer import Dialer, Mint
from .._upstream.throttle import Throttle
from .._upstream.transport import open_websocket
from .._upstream.upstream import Upstream
from ..settings import Settings
from ..stats import Counters
from .options import HubOptions, Source

_CHANNELS_PER_SOCKET: Final = 1_000
_DEDICATED: Final = 16_000  # characters of a token for one channel; a larger one gets a socket of its own


class Placement:
    """The upstreams of one event loop.

    Attributes:
        throttle: How far readers may hold up connections.
    """

    def __init__(self, api: ApiClient, options: HubOptions, counters: Counters) -> None:
        self.throttle = Throttle()
        self._api = api
        self._options = options
        self._counters = counters
        self._retry_gates: dict[str | None, RetryGate] = {}
        self._upstreams: dict[Source, list[Upstream]] = {}

    @property
    def sockets(self) -> int:
        # Copies, since this is asked from other threads as well.
        return sum(upstream.sockets for upstreams in list(self._upstreams.values()) for upstream in list(upstreams))

    def upstream_for(self, channel: str, source: Source, topics: Sequence[str]) -> Upstream:
        """Find an upstream with room for a channel, or make one."""
        size = token_size([(channel, topic) for topic in topics])
        dedicated = not self._options.multiplex or source.key is not None or size > _DEDICATED
        upstreams = self._upstreams.setdefault(source, [])
        if not dedicated:
            for upstream in upstreams:
                # What fits the token of one URL is had back with one request.
                room = upstream.channels < _CHANNELS_PER_SOCKET and upstream.token_size + size <= MAX_URL_TOKEN
                if room and upstream.alive and not upstream.dedicated:
                    return upstream
        settings = self._api.settings
        if source.api_base_url is not None:
            settings = settings.at(source.api_base_url)
        dialer = Dialer(
            settings.websocket_url,
            self._mint_for(settings, source),
            liveness=self._options.liveness,
            throttle=self.throttle,
            open_transport=functools.partial(open_websocket, proxy=self._options.proxy),
        )
        upstream = Upstream(
            dialer,
            retry_gate=self._retry_gates.setdefault(source.api_base_url, RetryGate(self._counters)),
            on_reconnect=self._count_reconnect,
            on_end=functools.partial(self._ended, source),
            dedicated=dedicated,
        )
        upstreams.append(upstream)
        return upstream

    def _mint_for(self, settings: Settings, source: Source) -> Mint:
        async def mint(entries: Sequence[Entry]) -> IssuedToken:
            if source.key is not None:
                return IssuedToken.of(source.key)
            return await self._api.tokens.fresh(entries, settings)

        return mint

    def _count_reconnect(self) -> None:
        self._counters.reconnects += 1

    def _ended(self, source: Source, upstream: Upstream) -> None:
        upstreams = self._upstreams.get(source, [])
        if upstream in upstreams:
            upstreams.remove(upstream)
        if not upstreams:
            # With it goes a key that was issued elsewhere.
            self._upstreams.pop(source, None)

    async def close(self) -> None:
        """Close every upstream. Returns when no socket is left."""
        upstreams = [upstream for group in self._upstreams.values() for upstream in group]
        self._upstreams.clear()
        await asyncio.gather(*(upstream.close() for upstream in upstreams))
