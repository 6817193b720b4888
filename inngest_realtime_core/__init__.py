"""Inngest Realtime for Python: typed channels, subscriptions, tokens for browsers, publishing, server-sent events.

The adapters for web frameworks are packages of their own: `inngest_realtime_starlette`, `inngest_realtime_fastapi`,
`inngest_realtime_django` and `inngest_realtime_flask`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._api.batch import Batch, SyncBatch
from ._api.claims import TokenClaims, TopicClaim
from ._api.client_token import ClientSubscriptionToken
from ._replay.log import Replay
from ._upstream.subscriber import State
from .channels.channel import Channel, Topic, TopicRef, topic
from .channels.parameter import Parameter
from .errors import (
    AuthenticationError,
    ChannelError,
    ConcurrentReadError,
    ConfigurationError,
    ConnectionLostError,
    DataStreamInterruptedError,
    FrameTooLargeError,
    InngestError,
    MessageError,
    MessageValidationError,
    PublishError,
    RealtimeError,
    ShuttingDownError,
    SubscriptionClosedError,
    TopicError,
    UnexpectedResponseError,
    UnreachableError,
)
from .messages.data_stream import DataStream
from .messages.message import Gap, GapReason, Kind, Message
from .realtime import Realtime
from .settings import Settings
from .stats import Health, Stats
from .subscriptions.pending import PendingSubscription
from .subscriptions.subscription import Subscription
from .subscriptions.sync import SyncSubscription
from .version import __version__

if TYPE_CHECKING:
    from .endpoints.grants import Grant, allow_anyone
    from .functions import get_client_subscription_token, get_client_subscription_token_sync, subscribe, subscribe_sync

__all__ = [
    "AuthenticationError",
    "Batch",
    "Channel",
    "ChannelError",
    "ClientSubscriptionToken",
    "ConcurrentReadError",
    "ConfigurationError",
    "ConnectionLostError",
    "DataStream",
    "DataStreamInterruptedError",
    "FrameTooLargeError",
    "Gap",
    "GapReason",
    "Grant",
    "Health",
    "InngestError",
    "Kind",
    "Message",
    "MessageError",
    "MessageValidationError",
    "Parameter",
    "PendingSubscription",
    "PublishError",
    "Realtime",
    "RealtimeError",
    "Replay",
    "Settings",
    "ShuttingDownError",
    "State",
    "Stats",
    "Subscription",
    "SubscriptionClosedError",
    "SyncBatch",
    "SyncSubscription",
    "TokenClaims",
    "Topic",
    "TopicClaim",
    "TopicError",
    "TopicRef",
    "UnexpectedResponseError",
    "UnreachableError",
    "__version__",
    "allow_anyone",
    "get_client_subscription_token",
    "get_client_subscription_token_sync",
    "subscribe",
    "subscribe_sync",
    "topic",
]


# Loaded by those who use them: the endpoints' floor alone is a quarter of the time that an import takes.
_LAZY = {
    **dict.fromkeys(("Grant", "allow_anyone"), "endpoints.grants"),
    **dict.fromkeys(("get_client_subscription_token", "get_client_subscription_token_sync"), "functions"),
    **dict.fromkeys(("subscribe", "subscribe_sync"), "functions"),
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = globals()[name] = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
