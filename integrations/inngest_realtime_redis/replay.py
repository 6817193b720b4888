"""A log that all worker processes share, in Redis. Needs the extra `redis`."""

from __future__ import annotations

import importlib.util
from collections.abc import Awaitable, Callable
from typing import Any, cast

from inngest_realtime_core._api.claims import TokenClaims
from inngest_realtime_core._replay.event_ids import EventIds
from inngest_realtime_core._replay.log import Replay
from inngest_realtime_core.arguments import describe
from inngest_realtime_core.errors import ConfigurationError
from inngest_realtime_core.settings import Settings

from .clients import source_problem
from .clock import RedisClock
from .store import RedisHistory
from .trouble import Trouble

__all__ = ["RedisReplay"]


class RedisReplay:
    """What is kept of each channel, in Redis: clients resume on any worker, also after the restart of all.

    Args:
        url_or_client: `redis://`, `rediss://` or `unix://`, as the `redis` package takes it; or a client of that
            package, sync or async, of which the address and the credentials are taken.
        size: Messages kept for each channel at most.
        max_age: Seconds that a message is kept at most.
        max_bytes: Bytes kept for each channel at most.
        namespace: Tells the keys of one Inngest, environment and account from those of another. None derives it from
            the address of Inngest and from what a token says; processes that reach one Inngest under different
            addresses set it.
        published: Whether what is published is kept, too, for those who subscribe afterwards.
        prefix: Before the names of all keys.

    Raises:
        ConfigurationError: The package `redis` is not installed, or an argument is wrong.
    """

    def __init__(
        self,
        url_or_client: Any,
        *,
        size: int = 256,
        max_age: float = 60.0,
        max_bytes: int = 4 * 2**20,
        namespace: str | None = None,
        published: bool = True,
        prefix: str = "inngest-realtime:",
    ) -> None:
        self._namespace = namespace
        self._prefix = prefix
        self._source = url_or_client
        del url_or_client  # it may hold a password, and error reports show local variables
        if importlib.util.find_spec("redis") is None:
            raise ConfigurationError("RedisReplay needs the package redis. Install inngest-realtime[redis].")
        problem = source_problem(self._source)
        if problem is not None:
            raise problem
        given = cast("object", namespace)
        if given is not None and (not isinstance(given, str) or not given or "{" in given):
            raise ConfigurationError(f"namespace is {describe(namespace)}: expected a text without '{{', or None.")
        # Shared by the event loops, of which there may be one a request: how Redis is, its time, and namespaces.
        self._troubles: dict[Settings, Trouble] = {}
        self._clock = RedisClock()
        self._namespaces: dict[Settings, str] = {}
        self.local: Replay = Replay(size=size, max_age=max_age, max_bytes=max_bytes, published=published)

    def __repr__(self) -> str:
        return f"<RedisReplay prefix={self._prefix!r} namespace={self._namespace!r}>"

    def open(
        self, settings: Settings, claims: Callable[[], Awaitable[TokenClaims]], event_ids: EventIds
    ) -> RedisHistory:
        """Connect on the running event loop; see `SharedReplay`."""
        return RedisHistory(
            self._source,
            self._prefix,
            self._namespace,
            self.local,
            settings,
            claims,
            event_ids,
            self._troubles.setdefault(settings, Trouble()),
            self._clock,
            self._namespaces,
        )
