"""A message as one reader sees it: which topics, and what their types make of the payload."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import ValidationError

from ..channels.channel import Channel, Topic
from ..errors import MessageValidationError
from ..messages.envelope import Envelope
from ..messages.message import Message
from .buffer import ReaderBuffer

if TYPE_CHECKING:
    from pydantic import TypeAdapter


__all__ = ["ReaderGroup", "SubscriptionSpec"]

logger = logging.getLogger("inngest_realtime.feed")


@dataclass(frozen=True)
class SubscriptionSpec:
    """How a reader looks at a channel. Readers who look alike share each message, decoded and encoded once.

    Attributes:
        declaration: The channel's class, which says what types its topics have; None for a plain name.
        topics: The names of the topics of interest.
        validate: Whether data must fit its topic's type.
        given: The topics that were given as objects, which have a type also where the channel is a plain name.
    """

    declaration: type[Channel] | None
    topics: tuple[str, ...]
    validate: bool = True
    given: tuple[Topic[Any], ...] = ()
    schemas: Mapping[str, TypeAdapter[Any]] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        schemas: dict[str, TypeAdapter[Any]] = {}
        if self.validate:
            types = {topic.name: topic for topic in self.given}
            if self.declaration is not None:
                types.update(self.declaration.topics())
            adapters = {name: types[name].adapter for name in self.topics if name in types}
            schemas.update({name: adapter for name, adapter in adapters.items() if adapter is not None})
        object.__setattr__(self, "schemas", schemas)


class ReaderGroup:
    """The readers of one spec."""

    __slots__ = ("buffers", "events", "spec")

    def __init__(self, spec: SubscriptionSpec) -> None:
        self.spec = spec
        self.buffers: list[ReaderBuffer] = []
        self.events = 0  # how many of them send events with an id

    def view(self, envelope: Envelope, event_id: str | None) -> Message[Any] | MessageValidationError | None:
        """The message as these readers see it; None when they don't."""
        spec = self.spec
        kind = envelope.kind
        if envelope.topic not in spec.topics and kind != "run":
            return None
        if kind == "data" and spec.schemas:
            schema = spec.schemas.get(envelope.topic)
            if schema is not None:
                try:
                    return Message(envelope, schema, schema.validate_json(bytes(envelope.data)), event_id)
                except ValidationError as error:
                    return _invalid(envelope, error)
                except Exception as error:
                    # What an application's own validator raises is passed on by pydantic as it is.
                    return _unreadable(envelope, error)
        return Message(envelope, None, msgspec.UNSET, event_id)


def _unreadable(envelope: Envelope, cause: Exception) -> MessageValidationError:
    error = MessageValidationError(
        f"A message on channel {envelope.channel!r} was not delivered: the validation of topic {envelope.topic!r} "
        f"raised {type(cause).__name__}. A validator should raise ValueError for what does not fit.",
        channel=envelope.channel,
        topic=envelope.topic,
    )
    error.__cause__ = cause
    logger.error("%s", error, exc_info=cause)
    return error


def _invalid(envelope: Envelope, cause: ValidationError) -> MessageValidationError:
    error = MessageValidationError(
        f"A message on channel {envelope.channel!r} does not fit the type of topic {envelope.topic!r} "
        f"({cause.error_count()} errors) and was not delivered. Publish what the topic declares, or subscribe with "
        "validate=False.",
        channel=envelope.channel,
        topic=envelope.topic,
    )
    error.__cause__ = cause
    # The input stays out of the log: it may be large, and it is the application's.
    logger.error("%s %s", error, cause.errors(include_input=False, include_url=False, include_context=False))
    return error
