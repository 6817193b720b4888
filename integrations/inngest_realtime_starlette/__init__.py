"""Inngest Realtime for Starlette: token and stream routes, decorators, an event-stream response, a lifespan."""

from __future__ import annotations

from inngest_realtime_core import ClientSubscriptionToken, Subscription
from inngest_realtime_core.endpoints import Grant, allow_anyone
from inngest_realtime_core.endpoints.asgi import realtime_lifespan
from inngest_realtime_core.extras import extra

with extra("starlette", __name__):
    from .decorators import subscription_stream, subscription_token
    from .responses import RealtimeStreamingResponse, realtime_error_handler
    from .routing import realtime_routes

__all__ = [
    "ClientSubscriptionToken",
    "Grant",
    "RealtimeStreamingResponse",
    "Subscription",
    "allow_anyone",
    "realtime_error_handler",
    "realtime_lifespan",
    "realtime_routes",
    "subscription_stream",
    "subscription_token",
]
