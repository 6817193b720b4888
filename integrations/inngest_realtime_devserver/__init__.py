"""The embedded Inngest Realtime server: for development and tests, never for production.

It needs the extra `devserver` (Starlette, uvicorn, wsproto). `python -m inngest_realtime_devserver` runs it
as a program; `DevServer` runs it inside one; `inngest_realtime_devserver.testing` is a pytest plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .server import DevServer, Stats

__all__ = ["DevServer", "Stats"]


def __getattr__(name: str) -> object:
    # At the first use: pytest loads the plugin in this package for every test run, also for those that do not need it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from inngest_realtime_core.extras import extra

    with extra("devserver", __name__):
        from . import server
    return getattr(server, name)
