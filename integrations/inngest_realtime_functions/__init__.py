"""Inngest Realtime inside Inngest functions: what is published there carries the run's id by itself."""

from __future__ import annotations

from inngest_realtime_core.extras import extra

with extra("inngest", __name__):
    from .middleware import RealtimeMiddleware

__all__ = ["RealtimeMiddleware"]
