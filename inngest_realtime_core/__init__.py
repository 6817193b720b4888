"""Inngest Realtime for Python: typed channels, subscriptions, tokens for browsers, publishing, server-sent events.

The adapters for web frameworks are packages of their own: `inngest_realtime_starlette`, `inngest_realtime_fastapi`,
`inngest_realtime_django` and `inngest_realtime_flask`.
"""

from __future__ import annotations

from .blocking_subscription import BlockingSubscription
from .channels import Channel, Parameter
from .claims import TokenClaims, TopicClaim
from .datastream import DataStream
from .errors import (
    AuthenticationError,
    ChannelError,
    ConfigurationError,
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
from .functions import (
    get_client_subscription_token,
    get_client_subscription_token_sync,
    subscribe,
    subscribe_sync,
)
from .grants import Grant, allow_anyone
from .messages import Gap, GapReason, Kind, Message
from .realtime import Realtime
from .redis_replay import RedisReplay
from .replay import Replay
from .roster import State
from .settings import Settings
from .stats import Stats
from .subscription import PendingSubscription, Subscription
from .tokens import ClientSubscriptionToken
from .topics import Topic, TopicRef, topic

__all__ = [
    "AuthenticationError",
    "BlockingSubscription",
    "Channel",
    "ChannelError",
    "ClientSubscriptionToken",
    "ConfigurationError",
    "DataStream",
    "DataStreamInterruptedError",
    "FrameTooLargeError",
    "Gap",
    "GapReason",
    "Grant",
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
    "RedisReplay",
    "Replay",
    "Settings",
    "ShuttingDownError",
    "State",
    "Stats",
    "Subscription",
    "SubscriptionClosedError",
    "TokenClaims",
    "Topic",
    "TopicClaim",
    "TopicError",
    "TopicRef",
    "UnexpectedResponseError",
    "UnreachableError",
    "allow_anyone",
    "get_client_subscription_token",
    "get_client_subscription_token_sync",
    "subscribe",
    "subscribe_sync",
    "topic",
]
