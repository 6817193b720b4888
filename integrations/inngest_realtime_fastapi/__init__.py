"""Inngest Realtime for FastAPI: a router, dependencies for tokens and streams, and responses."""

from __future__ import annotations

from inngest_realtime_core._api.tokens import ClientSubscriptionToken
from inngest_realtime_core.endpoints.grants import Grant, allow_anyone
from inngest_realtime_core.subscriptions.subscription import Subscription
from inngest_realtime_starlette.lifespan import realtime_lifespan

from .dependencies import subscription_stream, subscription_token
from .responses import RealtimeStreamingResponse, server_sent_event
from .router import realtime_router

__all__ = [
    "ClientSubscriptionToken",
    "Grant",
    "RealtimeStreamingResponse",
    "Subscription",
    "allow_anyone",
    "realtime_lifespan",
    "realtime_router",
    "server_sent_event",
    "subscription_stream",
    "subscription_token",
]
