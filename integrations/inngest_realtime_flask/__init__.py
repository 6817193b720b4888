"""Inngest Realtime for Flask: a blueprint of token and stream endpoints, an extension, a response, a decorator."""

from __future__ import annotations

from inngest_realtime_core._api.tokens import ClientSubscriptionToken
from inngest_realtime_core.endpoints.grants import Grant, allow_anyone

from .blueprint import realtime_blueprint
from .extension import InngestRealtime
from .responses import sse_response
from .tokens import subscription_token

__all__ = [
    "ClientSubscriptionToken",
    "Grant",
    "InngestRealtime",
    "allow_anyone",
    "realtime_blueprint",
    "sse_response",
    "subscription_token",
]
