"""The embedded Inngest Realtime server: for development and tests, never for production.

It needs the extra `devserver` (Starlette, uvicorn, wsproto). `python -m inngest_realtime_devserver` runs it
as a program; `DevServer` runs it inside one.
"""

from __future__ import annotations

from .server import DevServer, Stats

__all__ = ["DevServer", "Stats"]
