"""Inngest Realtime for Flask: a blueprint of token and stream endpoints, an extension, a response, decorators."""

from __future__ import annotations

from inngest_realtime_core import ClientSubscriptionToken, SyncSubscription
from inngest_realtime_core.endpoints import Grant, allow_anyone
from inngest_realtime_core.extras import extra

with extra("flask", __name__):
    from .blueprint import realtime_blueprint
    from .decorators import subscription_stream, subscription_token
    from .extension import InngestRealtime
    from .responses import realtime_error_handler, sse_response

__all__ = [
    "ClientSubscriptionToken",
    "Grant",
    "InngestRealtime",
    "SyncSubscription",
    "allow_anyone",
    "realtime_blueprint",
    "realtime_error_handler",
    "sse_response",
    "subscription_stream",
    "subscription_token",
]
