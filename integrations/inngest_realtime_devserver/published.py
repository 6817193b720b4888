"""Recorded frames as the messages that a subscriber would have received."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from inngest_realtime_core._upstream.protocol import Decoder
from inngest_realtime_core.channels.channel import Channel, Topic, TopicRef
from inngest_realtime_core.channels.resolve import adapter_for, resolve_channel, resolve_topics
from inngest_realtime_core.messages.envelope import Envelope
from inngest_realtime_core.messages.message import Message

__all__ = ["messages_of"]


def messages_of(
    recorded: Iterable[bytes],
    channel: Channel | str | None,
    topic: str | Topic[Any] | TopicRef[Any] | None,
) -> list[Message[Any]]:
    """The messages among `recorded` frames on `channel` and `topic`, None meaning all.

    With a `Channel`, `data` is what its class declares where it fits, and plain JSON where it does not.

    Raises:
        ChannelError, TopicError: The channel or the topic cannot be one.
    """
    if channel is None and isinstance(topic, TopicRef):
        channel = topic.channel
    resolved = None if channel is None else resolve_channel(channel)
    name = topic.name if isinstance(topic, (Topic, TopicRef)) else topic
    if channel is not None and topic is not None:
        (name,) = resolve_topics(channel, [topic])
    decoder = Decoder()
    found: list[Message[Any]] = []
    for frame in recorded:
        envelope = decoder.decode(frame)
        if not isinstance(envelope, Envelope) or (resolved is not None and envelope.channel != resolved.name):
            continue
        if name is None or envelope.topic == name:
            found.append(_message(envelope, None if resolved is None else resolved.declaration))
    return found


def _message(envelope: Envelope, declaration: type[Channel] | None) -> Message[Any]:
    schema = adapter_for(declaration, envelope.topic) if envelope.kind == "data" else None
    if schema is None:
        return Message(envelope)
    try:
        return Message(envelope, schema, schema.validate_json(bytes(envelope.data)))
    except Exception:
        # A test wants to see what was published, above all where it is wrong.
        return Message(envelope, None, msgspec.UNSET)
