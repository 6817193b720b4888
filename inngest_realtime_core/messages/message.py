"""What a subscriber receives: `Message`, with its payload decoded when someone looks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final, Generic, Literal, cast

import msgspec
from pydantic import GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypeVar

from .data_stream import DataStream
from .envelope import METADATA_KEY, Envelope
from .response_bodies import check_is_no_body
from .sparse import leaves_none_out
from .timestamps import milliseconds, parse_timestamp

T_co = TypeVar("T_co", covariant=True, default=Any)

Kind = Literal["data", "run", "datastream-start", "datastream-end", "chunk", "gap"]
"""What a message is. All but `gap` are Inngest's; a `gap` is ours and says that messages may have been missed."""

GapReason = Literal["reconnect", "overflow", "too-large", "unreadable", "expired"]
"""Why messages may have been missed.

`reconnect`: the connection to Inngest was lost for a while. `overflow`: this reader read too slowly.
`too-large`: a frame of over 4 MiB was not read. `unreadable`: a message has JSON that can't be decoded.
`expired`: a client resumed from an event that is no longer known, or what came before a `rewind` cannot be asked for.
"""


class Gap(msgspec.Struct, frozen=True):
    """The `data` of a message of kind `gap`.

    Attributes:
        reason: Why messages may have been missed.
        missed: How many were missed, or None when that can't be known.
    """

    reason: GapReason
    missed: int | None = None


class _Wire(msgspec.Struct, omit_defaults=True, rename="camel"):
    """The JSON that clients of the TypeScript SDK's encoded stream know; the order of the fields is the output's."""

    channel: str
    topic: str | msgspec.UnsetType
    data: msgspec.Raw | msgspec.UnsetType
    fn_id: str | None = None
    created_at: str | None = None
    run_id: str | None = None
    kind: str | None = None
    env_id: str | None = None


class _StreamWire(msgspec.Struct, omit_defaults=True, rename="camel"):
    """The same for `datastream-start`, `chunk` and `datastream-end`: a stream id, and neither time nor environment."""

    channel: str
    topic: str
    kind: str
    data: msgspec.Raw
    stream_id: str | None = None
    fn_id: str | None = None
    run_id: str | None = None


# As numbers: looking for a byte by its number is many times faster than looking for a byte string of one.
_LF: Final = 10
_CR: Final = 13
_HUGE: Final = rb"[0-9.][eE]\+?[0-9]{3}|[0-9]{309}"  # what a number beyond all floats has in it

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Message(msgspec.Struct, Generic[T_co], eq=False, weakref=True):
    """One message of a subscription.

    `data` of a topic without a schema is decoded from JSON at the first look, and kept.
    """

    _envelope: Envelope
    _schema: TypeAdapter[Any] | None = None
    _value: Any = msgspec.UNSET  # what was handed out: it may have been changed since
    _id: str | None = None
    _json: bytes | None = None
    _sse: bytes | None = None
    _event: bytes | None = None
    _validated: list[Any] | None = None  # at most one: what the schema made of the payload, until it is handed out
    _origin: Message[Any] | None = None  # the same message, whose encoding is used
    _untyped: bool = True  # without a schema: it was to be validated, and no type of its topic is known

    @classmethod
    def gap(
        cls, channel: str, reason: GapReason, missed: int | None = None, *, event_id: str | None = None
    ) -> Message[Gap]:
        """Make the message that says: something may have been missed on this channel."""
        gap = Gap(reason, missed)
        envelope = Envelope("gap", msgspec.Raw(_encode(gap)), channel)
        return cast("Message[Gap]", cls(envelope, None, gap, event_id))

    @property
    def kind(self) -> Kind:
        return cast("Kind", self._envelope.kind)

    @property
    def channel(self) -> str:
        """The channel's name."""
        return self._envelope.channel

    @property
    def topic(self) -> str:
        """The topic's name; empty for a `gap`, and for a `run` message that has none."""
        return self._envelope.topic

    @property
    def data(self) -> T_co:
        """The payload: what the topic's schema made of it, else plain JSON values.

        For `datastream-start` and `datastream-end` the stream's id, for `chunk` a piece of text, for `gap` a `Gap`.
        """
        value = self._value
        if value is msgspec.UNSET:
            value = self._value = self._load(self._envelope.data) if self._schema is None else self._validate()
        return cast("T_co", value)

    def _validate(self) -> Any:
        """The value that was made at receipt for the first who asks, another one for every other."""
        if self._schema is None:
            return msgspec.UNSET
        kept = (self._origin or self)._validated
        try:
            return kept.pop() if kept is not None else self._schema.validate_json(bytes(self._envelope.data))
        except IndexError:
            return self._schema.validate_json(bytes(self._envelope.data))

    @staticmethod
    def _load(raw: msgspec.Raw) -> Any:
        try:
            return _decode(raw)
        except (msgspec.DecodeError, RecursionError):
            # Numbers beyond a double's range (`1e400`) are valid JSON that only the standard library takes.
            return json.loads(bytes(raw))

    @property
    def run_id(self) -> str | None:
        """The function run that published it, where the publisher said so."""
        return self._envelope.run_id

    @property
    def fn_id(self) -> str | None:
        return self._envelope.fn_id

    @property
    def env_id(self) -> str | None:
        """The Inngest environment's UUID."""
        return self._envelope.env_id

    @property
    def created_at(self) -> datetime | None:
        """When Inngest received it, in UTC, cut to microseconds. None for a `chunk` and a `gap`."""
        return parse_timestamp(self._envelope.created_at)

    @property
    def id(self) -> str | None:
        """The publisher's id of the message: the same for each copy of it. None where the publisher gave none."""
        return self._envelope.id

    @property
    def metadata(self) -> Mapping[str, Any] | None:
        """The JSON object that the publisher gave beside the payload, without what `publish()` adds to it.

        None where the publisher gave none, or an empty one. Other publishers may give any JSON.
        """
        metadata = self._load(self._envelope.metadata)
        if isinstance(metadata, dict) and METADATA_KEY in metadata:
            own = cast("dict[str, Any]", metadata)
            del own[METADATA_KEY]
            return own or None
        return cast("Mapping[str, Any] | None", metadata)

    @property
    def stream_id(self) -> str | None:
        """The data stream that the message is part of, else None."""
        return self._envelope.stream_id

    @property
    def stream(self) -> DataStream | None:
        """The chunks to come, of a `datastream-start`, else None. Iterate it with `async for`."""
        return self._envelope.stream

    @property
    def event_id(self) -> str | None:
        """The `id:` that the message has in an SSE stream of an endpoint; None elsewhere."""
        return self._id

    def __repr__(self) -> str:
        raw = bytes(self._envelope.data)
        shown = raw if len(raw) <= 200 else raw[:200] + b"..."
        return (
            f"<Message {self.kind} channel={self.channel!r} topic={self.topic!r} data={shown.decode(errors='replace')}>"
        )

    def __str__(self) -> str:
        check_is_no_body()
        return repr(self)

    def to_json(self) -> bytes:
        """The message as compact JSON on one line, exactly as the TypeScript SDK's encoded stream has it.

        Made once, however many streams send it.
        """
        if self._origin is not None:
            return self._origin.to_json()
        encoded = self._json
        if encoded is None:
            encoded = self._json = self._encode_json()
        return encoded

    def _encode_json(self, payload: msgspec.Raw | None = None) -> bytes:
        envelope = self._envelope
        if payload is not None:
            raw = payload
        elif self._schema is None:
            raw = envelope.data
        else:
            # Not what was handed out, which may have been changed.
            kept = self._validated or [self._schema.validate_json(bytes(envelope.data))]
            sparse = leaves_none_out(self._schema)
            text = self._schema.dump_json(kept[0], by_alias=True, exclude_none=sparse)
            if b"null" in text and re.search(_HUGE, envelope.data):
                # A number beyond all floats is an infinity, which pydantic writes as null without a word.
                json.dumps(self._schema.dump_python(kept[0], mode="json", by_alias=True), allow_nan=False)
            raw = msgspec.Raw(text)
        if envelope.stream_id is not None:
            encoded = _encode(
                _StreamWire(
                    envelope.channel,
                    envelope.topic,
                    envelope.kind,
                    raw,
                    envelope.stream_id,
                    envelope.fn_id,
                    envelope.run_id,
                )
            )
        else:
            encoded = _encode(
                _Wire(
                    envelope.channel,
                    envelope.topic or msgspec.UNSET,
                    msgspec.UNSET if len(raw) == 4 and bytes(raw) == b"null" else raw,
                    envelope.fn_id,
                    milliseconds(envelope.created_at),
                    envelope.run_id,
                    envelope.kind,
                    envelope.env_id,
                )
            )
        if _LF in encoded or _CR in encoded:
            # Line breaks between the payload's tokens, which would end the line of an SSE event. Looked for here
            # rather than in the payload, which is spared a copy that way.
            return self._encode_json(msgspec.Raw(msgspec.json.format(bytes(raw), indent=-1)))
        return encoded

    def to_sse(self) -> bytes:
        """The message as one server-sent event without an id, ending in a blank line.

        Made once, however many streams send it. A `gap` is an event of that name, all others are unnamed.
        """
        if self._origin is not None:
            return self._origin.to_sse()
        event = self._sse
        if event is None:
            # The JSON alone is not kept: who streams events rarely wants both.
            event = b"data: %b\n\n" % (self._json or self._encode_json())
            if self._envelope.kind == "gap":
                event = b"event: gap\n" + event
            self._sse = event
        return event

    def to_event(self) -> bytes:
        """The message as one server-sent event with its `id:`, where it has one."""
        if self._id is None:
            return self.to_sse()
        if self._event is None:
            # The id comes last: a reader that notes it at once (fetch-event-source) and is cut off would miss the data.
            self._event = b"%bid: %b\n\n" % (self.to_sse()[:-1], self._id.encode())
        return self._event

    def to_dict(self) -> dict[str, Any]:
        """The same content as `to_json()` as plain Python values, with camelCase keys; absent values are left out."""
        return cast("dict[str, Any]", self._load(msgspec.Raw(self.to_json())))

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        # As pydantic's models do: `dict(message)`, which is also how FastAPI encodes what a route yields.
        yield from self.to_dict().items()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        # So that a route may say that it returns or yields messages.
        encode = core_schema.plain_serializer_function_ser_schema(
            cls.to_dict, return_schema=core_schema.dict_schema(core_schema.str_schema())
        )
        return core_schema.is_instance_schema(cls, serialization=encode)


# What the floors above do with a message, and its users have no use for.
# pyright: reportPrivateUsage=false


def envelope_of(message: Message[Any]) -> Envelope:
    """Returns what Inngest sent."""
    return message._envelope


def payload_size(message: Message[Any]) -> int:
    """Returns how many bytes it has that count, as Inngest sent it: those of the payload, and of large metadata."""
    return message._envelope.size


def carries(message: Message[Any], schema: TypeAdapter[Any] | None) -> bool:
    """Returns whether the data is what this type makes of it, or was deliberately not validated."""
    return schema is None or message._schema is schema or (message._schema is None and not message._untyped)


def twin(message: Message[Any], event_id: str | None = None) -> Message[Any]:
    """Returns the same message for another reader: with data of its own, and encoded once for both."""
    return Message(
        message._envelope, message._schema, _id=event_id, _origin=message._origin or message, _untyped=message._untyped
    )


def with_stream(message: Message[Any], stream: DataStream) -> Message[Any]:
    """Returns the same message with the data stream that it begins."""
    return Message(msgspec.structs.replace(message._envelope, stream=stream), _id=message._id)
