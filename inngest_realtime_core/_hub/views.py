"""A message as its readers see it: which topics, and what their types make of the payload."""

from __future__ import annotations

import logging
from collections.abc import Container
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from pydantic import ValidationError

from .._telemetry.throttled_log import ThrottledLog
from ..channels.channel import Channel, Topic
from ..channels.topic import TYPED_KINDS
from ..errors import MessageError, MessageValidationError
from ..messages.envelope import Envelope
from ..messages.message import Message, payload_size

if TYPE_CHECKING:
    from pydantic import TypeAdapter


_log = ThrottledLog(logging.getLogger("inngest_realtime.feed"))

_MAX_DETAILS: Final = 20  # errors of one message that are written to the log
_MAX_CAUSE: Final = 1024 * 1024  # bytes that an error keeps of a message by its cause
_PER_MISTAKE: Final = 400  # bytes of each in pydantic's error
_PER_BYTE: Final = 24  # bytes that a byte of JSON takes as Python's objects, at most
_RUN: Final = "$run"  # the topic of messages of kind `run`, which may come without one


class SubscriptionSpec:
    """How a reader looks at a channel. Readers who look alike share each message, decoded and encoded once.

    Attributes:
        declaration: The channel's class, which says what types its topics have; None for a plain name.
        topics: The names of the topics of interest. Their order makes no difference.
        validate: Whether data must fit its topic's type.
        given: The topics that were given as objects, which have a type also where the channel is a plain name.
        schemas: What validates the data, by topic.
        names: The same as `topics`, as a set.
    """

    __slots__ = ("__weakref__", "_key", "declaration", "given", "names", "schemas", "topics", "validate")

    @classmethod
    def of(
        cls,
        declaration: type[Channel] | None,
        topics: tuple[str, ...],
        validate: bool = True,
        given: tuple[Topic[Any], ...] = (),
    ) -> SubscriptionSpec:
        """The spec of these arguments, which is one object for as long as anybody has it: of many channels as well."""
        key = (declaration, topics, validate, given)
        return _specs.get(key) or _specs.setdefault(key, cls(*key))

    def __init__(
        self,
        declaration: type[Channel] | None,
        topics: tuple[str, ...],
        validate: bool = True,
        given: tuple[Topic[Any], ...] = (),
    ) -> None:
        self.declaration: type[Channel] | None = declaration
        self.topics: tuple[str, ...] = topics
        self.validate: bool = validate
        self.given: tuple[Topic[Any], ...] = given
        self.names: frozenset[str] = frozenset(topics)
        self.schemas: dict[str, TypeAdapter[Any]] = {}
        self._key = (declaration, self.names, validate, given)
        if validate:
            types = {topic.name: topic for topic in given}
            if declaration is not None:
                types.update(declaration.topics())
            adapters = {name: types[name].adapter for name in topics if name in types}
            self.schemas.update({name: adapter for name, adapter in adapters.items() if adapter is not None})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SubscriptionSpec) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def schema_of(self, envelope: Envelope) -> TypeAdapter[Any] | None:
        """What validates the data of a message; None when nothing does."""
        return self.schemas.get(envelope.topic) if self.schemas and envelope.kind in TYPED_KINDS else None

    def sees(self, envelope: Envelope, followed: Container[str]) -> bool:
        """Whether a message is for these readers.

        Args:
            followed: All topics of the channel that this process has asked for. A message of kind `run` that came
                although nobody asked for its topic is for all.
        """
        topic = envelope.topic
        if topic in self.names:
            return True
        if envelope.kind != "run":
            return False
        topic = topic or _RUN
        return topic in self.names or topic not in followed


def decode(
    envelope: Envelope, schema: TypeAdapter[Any] | None, *, untyped: bool = False, shared: bool = True
) -> Message[Any] | MessageValidationError:
    """Returns the message, its data validated where it has a type, or why it can't be delivered, which is logged.

    Args:
        untyped: Data without a schema was to be validated, and no type of its topic is known.
        shared: Whether it has more than one reader, or is encoded: what the schema makes of it is kept apart then.
    """
    if schema is None:
        return Message(envelope) if untyped else Message(envelope, _untyped=False)
    try:
        value = schema.validate_json(bytes(envelope.data))
    except ValidationError as error:
        return _invalid(envelope, error)
    except Exception as error:
        # What an application's own validator raises is passed on by pydantic as it is.
        return _unreadable(envelope, error)
    return Message(envelope, schema, _validated=[value]) if shared else Message(envelope, schema, value)


_specs: Final[WeakValueDictionary[object, SubscriptionSpec]] = WeakValueDictionary()


def encoding_error(message: Message[Any]) -> MessageError | None:
    """Returns why a message has no JSON form, which is logged, and None when it has one."""
    try:
        message.to_sse()
    except Exception as cause:
        # Whatever an application's own serializer raises.
        error = MessageError(
            f"A message on channel {message.channel!r} was left out of event streams: what the type of topic "
            f"{message.topic!r} made of it has no JSON form ({type(cause).__name__}). Mend the type's serializer.",
            channel=message.channel,
            topic=message.topic,
            payload_size=payload_size(message),
        )
        _log_raised("no JSON", error, cause)
        return error
    return None


def _log_raised(kind: str, error: MessageError, cause: Exception) -> None:
    """Logs what an application's own code raised."""
    error.__cause__ = cause
    kinds = (kind, error.channel, error.topic)
    _log.write(logging.ERROR, kinds, str(error), cause, event="message.invalid", traceback=True)


def _unreadable(envelope: Envelope, cause: Exception) -> MessageValidationError:
    error = MessageValidationError(
        f"A message on channel {envelope.channel!r} was not delivered: the validation of topic {envelope.topic!r} "
        f"raised {type(cause).__name__}. A validator should raise ValueError for what does not fit.",
        channel=envelope.channel,
        topic=envelope.topic,
        payload_size=len(envelope.data),
    )
    _log_raised("validator", error, cause)
    return error


def _invalid(envelope: Envelope, cause: ValidationError) -> MessageValidationError:
    kept = _kept_by(cause, envelope)
    error = MessageValidationError(
        f"A message on channel {envelope.channel!r} does not fit the type of topic {envelope.topic!r} "
        f"({cause.error_count()} errors) and was not delivered. Publish what the topic declares, or subscribe with "
        "validate=False.",
        channel=envelope.channel,
        topic=envelope.topic,
        payload_size=0 if kept > _MAX_CAUSE else kept,
    )
    if kept <= _MAX_CAUSE:
        # Without the frame of this package, which holds what Inngest sent.
        error.__cause__ = cause.with_traceback(None)
    # The input stays out of the log: it may be large, and it is the application's. So do details that are too many.
    few = cause.error_count() <= _MAX_DETAILS
    details = cause.errors(include_input=False, include_url=False, include_context=False) if few else ""
    kind = ("invalid", envelope.channel, envelope.topic)
    _log.write(logging.ERROR, kind, f"{error} {details}", event="message.invalid")
    return error


def _kept_by(cause: ValidationError, envelope: Envelope) -> int:
    """About how many bytes pydantic's error keeps: of a small message they may be a hundred times its own."""
    count = cause.error_count()
    kept = count * _PER_MISTAKE + envelope.size
    few = cause.errors(include_url=False, include_context=False) if count <= _MAX_DETAILS else None
    if few is None or any(isinstance(mistake["input"], (dict, list)) for mistake in few):
        kept += _PER_BYTE * len(envelope.data)
    return kept
