"""An optional lifespan. Everything works without one; mounted applications don't run theirs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from inngest_realtime_core.realtime import Realtime

__all__ = ["realtime_lifespan"]


def realtime_lifespan(realtime: Realtime) -> Callable[[object], AbstractAsyncContextManager[None]]:
    """Closes `realtime` when the application stops: `Starlette(lifespan=realtime_lifespan(realtime))`.

    It closes what is still connected to Inngest. It is not what lets the server stop: servers run lifespan shutdown
    only after all responses have ended, so open streams are ended earlier, when the stop signal arrives.
    """

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncGenerator[None, None]:
        # For routes that subscribe by themselves: a signal that comes meanwhile is to be heard.
        realtime.install_signal_handlers()
        async with realtime:
            yield

    return lifespan
