"""An optional lifespan. Everything works without one; mounted applications don't run theirs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from inngest_realtime_core import Realtime
from inngest_realtime_core.endpoints import asgi

__all__ = ["realtime_lifespan"]


def realtime_lifespan(realtime: Realtime) -> Callable[[object], AbstractAsyncContextManager[None]]:
    """Closes `realtime` when the application stops: `Starlette(lifespan=realtime_lifespan(realtime))`.

    It closes what is still connected to Inngest. It is not what lets the server stop: servers run lifespan shutdown
    only after all responses have ended, so open streams are ended earlier, when the stop signal arrives.
    """
    return asgi.lifespan(realtime)
