"""Where something is published: a topic of a channel, as callers write it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, Union, cast

import msgspec
from pydantic import TypeAdapter
from typing_extensions import Never

from ..arguments import describe
from ..errors import PublishError, TopicError
from .channel import Channel, Topic, TopicRef
from .resolve import resolve_channel, resolve_declared

T = TypeVar("T")

DataOf = Union[T, Callable[[T], Never]]  # noqa: UP007 - no alias of mypy may begin with a variable
"""Data of the type T. No function can be meant: this form makes mypy look at a dict or list display with the topic's
type in mind, as pyright does anyway, so that `{"a": 1}` passes for a TypedDict and `[1, 2]` for a list[float]."""

TypedTarget = Union[TopicRef[T], tuple[Channel | str, Topic[T] | TopicRef[T]]]  # noqa: UP007
"""A `Target` that says of which type the data is."""

Target = TopicRef[Any] | tuple[Channel | str, str | Topic[Any] | TopicRef[Any]]
"""A topic of a channel (`channel.status`), or a pair of a channel and a topic."""

_WRITE = "Write publish(channel.status, data) with a channel made of its class, or publish((channel, topic), data)."


class PublishTarget(msgspec.Struct, frozen=True):
    """The names of a channel and a topic, and the type of what is published there; None for any."""

    channel: str
    topic: str
    adapter: TypeAdapter[Any] | None


def resolve_target(target: Target) -> PublishTarget:
    """Check where a user wants to publish.

    Raises:
        PublishError: It is neither a topic of a channel nor a pair.
        ChannelError, TopicError: The channel or the topic is not acceptable.
    """
    if isinstance(target, TopicRef):
        return PublishTarget(target.channel.name, target.name, target.adapter)
    given = cast("object", target)
    if isinstance(given, Topic):
        raise TopicError(f"The topic of a class of channels does not say which channel is meant. {_WRITE}")
    if not isinstance(given, tuple) or len(target) != 2:
        raise PublishError(
            f"The topic to publish to is {describe(cast('object', target))}: expected a topic of a channel. {_WRITE}"
        )
    channel, item = target
    resolved = resolve_channel(channel)
    ((name, declared),) = resolve_declared(channel, [item]).items()
    return PublishTarget(resolved.name, name, None if declared is None else declared.adapter)
