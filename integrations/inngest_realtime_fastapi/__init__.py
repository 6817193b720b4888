"""Inngest Realtime for FastAPI: a router, dependencies for tokens and streams, and responses."""

from __future__ import annotations

from inngest_realtime_core import ClientSubscriptionToken, Subscription
from inngest_realtime_core.endpoints import Grant, allow_anyone
from inngest_realtime_core.extras import extra

with extra("fastapi", __name__):
    from inngest_realtime_starlette import RealtimeStreamingResponse, realtime_error_handler, realtime_lifespan

    from .dependencies import subscription_stream, subscription_token
    from .responses import server_sent_event
    from .router import realtime_router

__all__ = [
    "ClientSubscriptionToken",
    "Grant",
    "RealtimeStreamingResponse",
    "Subscription",
    "allow_anyone",
    "realtime_error_handler",
    "realtime_lifespan",
    "realtime_router",
    "server_sent_event",
    "subscription_stream",
    "subscription_token",
]
