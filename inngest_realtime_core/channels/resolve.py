"""What a caller gave as a channel and as topics, or as the topic to publish to, checked and reduced to names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, Union, cast

import msgspec
from pydantic import TypeAdapter
from typing_extensions import Never

from ..arguments import describe
from ..errors import ChannelError, PublishError, TopicError
from .channel import Channel, Topic, TopicRef
from .template import check_channel_name
from .topic import check_topic_name

T = TypeVar("T")

DataOf = Union[T, Callable[[T], Never]]  # noqa: UP007 - no alias of mypy may begin with a variable
"""Data of the type T. No function can be meant: this form makes mypy look at a dict or list display with the topic's
type in mind, as pyright does anyway, so that `{"a": 1}` passes for a TypedDict and `[1, 2]` for a list[float]."""

TypedTarget = Union[TopicRef[T], tuple[Channel | str, Topic[T] | TopicRef[T]]]  # noqa: UP007 - as above
"""A `Target` that says of which type the data is."""

Target = TopicRef[Any] | tuple[Channel | str, str | Topic[Any] | TopicRef[Any]]
"""A topic of a channel (`channel.status`), or a pair of a channel and a topic."""

_WRITE = "Write publish(channel.status, data) with a channel made of its class, or publish((channel, topic), data)."


class ResolvedChannel(msgspec.Struct, frozen=True):
    """A channel's name, and the class that declares it; None for a plain string."""

    name: str
    declaration: type[Channel] | None


def resolve_channel(channel: Channel | str) -> ResolvedChannel:
    """Check what a user gave as a channel. `ChannelError` when it cannot be one."""
    if isinstance(channel, Channel):
        return ResolvedChannel(channel.name, type(channel))
    if isinstance(channel, type) and issubclass(channel, Channel):
        raise ChannelError(f"{channel.__name__} is a class of channels; make one of them: {channel.__name__}(...).")
    return ResolvedChannel(check_channel_name(channel), None)


def resolve_topics(
    channel: Channel | str, topics: Sequence[str | Topic[Any] | TopicRef[Any]] | None = None
) -> tuple[str, ...]:
    """The names on the wire of `topics` of `channel`, without repetitions. Errors as for `resolve_declared`."""
    return tuple(resolve_declared(channel, topics))


def resolve_declared(
    channel: Channel | str, topics: Sequence[str | Topic[Any] | TopicRef[Any]] | None = None
) -> dict[str, Topic[Any] | None]:
    """The names on the wire of `topics` of `channel`, each with what declares it; None for the name alone.

    `topics` None means every topic that the channel declares. `TopicError` for an empty sequence, a topic that the
    channel does not declare, a `TopicRef` of another channel, two topics of one name that differ, and None with a
    channel that declares nothing, such as a string.
    """
    declared = channel.topics() if isinstance(channel, Channel) else None
    if topics is None:
        if not declared:
            what = (
                f"{type(channel).__name__} declares no topics" if declared is not None else "A str declares no topics"
            )
            raise TopicError(f"{what}. Say which ones: topics=[...].")
        return dict(declared)
    given: Any = topics
    if isinstance(given, (str, Topic, TopicRef)):
        raise TopicError("topics must be a list. Put the one topic into brackets: topics=[...].")
    if not isinstance(given, Iterable):
        raise TopicError(f"topics is {describe(given)}: expected a list of names or topics, topics=[...].")
    found: dict[str, Topic[Any] | None] = {}
    for item in topics:
        topic = _topic(channel, declared, item)
        name = topic if isinstance(topic, str) else topic.name
        known = found.get(name)
        if known is not None and topic is not known and not isinstance(topic, str):
            raise TopicError(f"topics has two different topics named {name!r}: {known!r} and {topic!r}.", topic=name)
        found[name] = known if isinstance(topic, str) else topic
    if not found:
        raise TopicError("topics is empty, so nothing would ever arrive. Name at least one topic.")
    return found


def _topic(
    channel: Channel | str, declared: Mapping[str, Topic[Any]] | None, item: str | Topic[Any] | TopicRef[Any]
) -> Topic[Any] | str:
    if isinstance(item, TopicRef):
        if item.channel.name != str(channel):
            raise TopicError(
                f"{item.name!r} is a topic of {item.channel!r}, not of {channel!r}. Take it from the same channel.",
                topic=item.name,
            )
        item = item.topic
    if isinstance(item, Topic):
        if declared is not None and declared.get(item.name) is not item:
            raise TopicError(f"{item!r} is declared by another class than {channel!r}.", topic=item.name)
        return item
    name = check_topic_name(item)
    if declared is None:
        return name
    if name not in declared:
        known = ", ".join(declared) or "none"
        raise TopicError(f"{type(channel).__name__} has no topic {name!r}; it has: {known}.", topic=name)
    return declared[name]


def adapter_for(declaration: type[Channel] | None, topic_name: str) -> TypeAdapter[Any] | None:
    """What validates the data of a topic, by its name on the wire; None when nothing does."""
    declared = declaration.topics().get(topic_name) if declaration is not None else None
    return declared.adapter if declared is not None else None


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
