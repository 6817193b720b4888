"""The calls to Inngest from one event loop."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import httpx

from ..settings import Settings
from .http_pool import HttpPool
from .token_cache import TokenCache


class ApiClient:
    """What one event loop uses to call Inngest.

    Args:
        settings: Where Inngest is, unless a call says otherwise.
        keep: Whether unused connections are kept for a while.
        proxy: The proxy to Inngest; None follows the environment.

    Attributes:
        settings: The same.
        tokens: Asks for tokens.
    """

    __slots__ = ("_pool", "settings", "tokens")

    def __init__(self, settings: Settings, *, keep: bool, proxy: str | None = None) -> None:
        self.settings: Settings = settings
        self._pool = HttpPool(keep=keep, proxy=proxy)
        self.tokens: TokenCache = TokenCache(settings, self._pool)

    def http(self) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        """An HTTP client for the length of an `async with`."""
        return self._pool.client(self.settings)

    async def close(self) -> None:
        """Returns when no request is under way and no connection is left."""
        try:
            await self.tokens.close()
        finally:
            await self._pool.close()
