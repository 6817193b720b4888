"""Inngest Realtime for Django: an app with token and stream views, decorators, a streaming response, checks, a command.

Django 4.2 or newer, under ASGI and WSGI. Importing this needs no settings.
"""

from __future__ import annotations

from inngest_realtime_core import ClientSubscriptionToken, Subscription, SyncSubscription
from inngest_realtime_core.endpoints import Grant, allow_anyone
from inngest_realtime_core.extras import extra

with extra("django", __name__):
    from .decorators import subscription_stream, subscription_token
    from .responses import RealtimeStreamingResponse

__all__ = [
    "ClientSubscriptionToken",
    "Grant",
    "RealtimeStreamingResponse",
    "Subscription",
    "SyncSubscription",
    "allow_anyone",
    "subscription_stream",
    "subscription_token",
]
