"""Who reads one channel: readers that look alike are a group, and a message is decoded once for all groups."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from .._replay.channel_history import ChannelHistory
from .._replay.entries import Entry
from .._replay.resume import Selected
from ..channels.topic import TYPED_KINDS
from ..errors import MessageError, RealtimeError
from ..messages.data_stream import DataStream
from ..messages.envelope import Envelope
from ..messages.message import Message, twin, with_stream
from .buffer import ReaderBuffer
from .open_streams import OpenStreams
from .views import SubscriptionSpec, decode, encoding_error

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from .._upstream.subscriber import State


class ReaderGroup:
    """The readers of one spec.

    Attributes:
        readers: Those that hand messages out. Replaced when it changes, since that may be in the middle of a loop.
        encoders: Those that only encode them; likewise.
        events: How many of all send events with an id.
        shared: Whether a message has more than one reader, or is encoded.
    """

    __slots__ = ("encoders", "events", "readers", "shared", "spec")

    def __init__(self, spec: SubscriptionSpec) -> None:
        self.spec = spec
        self.readers: tuple[ReaderBuffer, ...] = ()
        self.encoders: tuple[ReaderBuffer, ...] = ()
        self.events = 0
        self.shared = False

    def __iter__(self) -> Iterator[ReaderBuffer]:
        yield from self.readers
        yield from self.encoders

    def add(self, buffer: ReaderBuffer) -> None:
        if buffer.encoded:
            self.encoders = (*self.encoders, buffer)
        else:
            self.readers = (*self.readers, buffer)
        self.events += buffer.events
        self.shared = bool(self.encoders) or len(self.readers) > 1

    def remove(self, buffer: ReaderBuffer) -> None:
        if buffer.encoded:
            self.encoders = _without(self.encoders, buffer)
        else:
            self.readers = _without(self.readers, buffer)
        self.events -= buffer.events
        self.shared = bool(self.encoders) or len(self.readers) > 1


def _without(buffers: tuple[ReaderBuffer, ...], buffer: ReaderBuffer) -> tuple[ReaderBuffer, ...]:
    # In C throughout: a channel may have thousands, which all leave at once when the process stops.
    index = buffers.index(buffer)
    return buffers[:index] + buffers[index + 1 :]


class Follower(Protocol):
    """A subscription to the channel, whose readers these are."""

    @property
    def spec(self) -> SubscriptionSpec: ...

    def report(self, error: RealtimeError) -> None:
        """Called with what can't be delivered to its readers, and with a connection that was lost."""

    def state_changed(self, state: State) -> None:
        """Called with each new state of the connection."""

    def ended(self, error: RealtimeError | None) -> None:
        """Called when nothing more will come, with the error that ends every reader, if one does."""


class ReaderGroups:
    """The readers of a channel.

    Args:
        channel: The channel's name.
        followed: The topics of the channel that this process has asked for, kept up to date by their owner.

    Attributes:
        followers: The subscriptions that are open.
    """

    __slots__ = ("_by_spec", "_channel", "_followed", "_only", "followers")

    def __init__(self, channel: str, followed: Container[str]) -> None:
        self._channel = channel
        self._followed = followed
        self._by_spec: dict[SubscriptionSpec, ReaderGroup] = {}
        self._only: ReaderGroup | None = None  # the group, as long as there is one alone
        self.followers: list[Follower] = []

    def __bool__(self) -> bool:
        return bool(self._by_spec)

    def __iter__(self) -> Iterator[ReaderBuffer]:
        for group in tuple(self._by_spec.values()):
            yield from group

    @property
    def streams(self) -> int:
        """How many readers send events with an id."""
        return sum(group.events for group in tuple(self._by_spec.values()))

    def add(self, spec: SubscriptionSpec, buffer: ReaderBuffer) -> None:
        group = self._by_spec.get(spec)
        if group is None:
            group = self._by_spec[spec] = ReaderGroup(spec)
            self._count_groups()
        group.add(buffer)

    def remove(self, spec: SubscriptionSpec, buffer: ReaderBuffer) -> None:
        group = self._by_spec[spec]
        group.remove(buffer)
        if not (group.readers or group.encoders):
            del self._by_spec[spec]
            self._count_groups()

    def _count_groups(self) -> None:
        self._only = next(iter(self._by_spec.values())) if len(self._by_spec) == 1 else None

    @property
    def _events(self) -> bool:
        return any(group.events for group in self._by_spec.values())

    # -- messages -------------------------------------------------------------------------------------------------

    def deliver(self, entry: Entry, envelope: Envelope, stream: DataStream | None, history: ChannelHistory) -> None:
        """Gives a message to every reader that it is for.

        Args:
            entry: The message in the channel's log.
            envelope: The message.
            stream: The data stream that it begins.
            history: What gives the entry its event id.
        """
        group = self._only
        if group is None or stream is not None or entry.early_offset is not None:
            self._deliver_to_all(entry, envelope, stream, history)
            return
        # Most channels have one kind of reader, and nothing to share between several.
        spec = group.spec
        if envelope.topic not in spec.names and not spec.sees(envelope, self._followed):
            return
        schema = spec.schemas.get(envelope.topic) if spec.schemas and envelope.kind in TYPED_KINDS else None
        message: Message[Any] | MessageError | None
        if group.events:
            message = self._view(entry, envelope, schema, untyped=spec.validate)
            if message is None:
                return
            if not entry.event_id:
                history.here()
            message = twin(message, entry.event_id)
        elif schema is None:
            message = Message(envelope) if spec.validate else Message(envelope, _untyped=False)
        else:
            message = decode(envelope, schema, shared=group.shared)
            if isinstance(message, MessageError):
                self._tell(envelope, schema, message)
                return
        size = envelope.weight or len(envelope.data)
        if group.encoders and self._encodes(envelope, schema, message):
            for buffer in group.encoders:
                buffer.push(message, size)
        readers = group.readers
        if readers:
            readers[0].push(message, size)
            if group.shared:
                for buffer in readers[1:]:
                    buffer.push(twin(message, message.event_id), size)

    def _deliver_to_all(
        self, entry: Entry, envelope: Envelope, stream: DataStream | None, history: ChannelHistory
    ) -> None:
        early_offset = entry.early_offset
        size = envelope.weight or len(envelope.data)
        views: list[tuple[ReaderGroup, Message[Any]]] = []
        for group in tuple(self._by_spec.values()):
            spec = group.spec
            if not spec.sees(envelope, self._followed):
                continue
            schema = spec.schema_of(envelope)
            message = self._view(entry, envelope, schema, untyped=spec.validate)
            if message is None:
                continue
            if group.events:
                if not entry.event_id:
                    history.here()
                message = twin(message, entry.event_id)
            if group.readers:
                views.append((group, message))
            # Before anybody is handed the data, who may change it.
            if group.encoders and self._encodes(envelope, schema, message):
                for buffer in group.encoders:
                    if early_offset is None or buffer.since_offset > early_offset:
                        buffer.push(message, size)
        if not self._events:
            # Kept for those who come back: without event streams there are none.
            entry.views = None
        # A reader that hands messages out gets one of its own: what one subscriber changes, no other sees.
        given: set[int] = set()
        for group, message in views:
            for buffer in group.readers:
                if early_offset is not None and buffer.since_offset <= early_offset:
                    continue
                if stream is not None:
                    buffer.push(_with_view(message, stream, buffer), size)
                elif id(message) in given:
                    buffer.push(twin(message, message.event_id), size)
                else:
                    given.add(id(message))
                    buffer.push(message, size)

    def deliver_gap(
        self, entry: Entry, envelope: Envelope, history: ChannelHistory, began: float | None = None
    ) -> None:
        """Tells every reader of its topic that the text is missing which a message ends. Arguments as of `deliver`.

        Args:
            began: The offset of the text's start, which is missing to those who read from later on.
        """
        if self._events:
            history.here()
        message = Message.gap(self._channel, "expired", event_id=entry.event_id or None)
        early_offset = entry.early_offset if began is None else began
        for group in tuple(self._by_spec.values()):
            for buffer in group if group.spec.sees(envelope, self._followed) else ():
                if early_offset is None or buffer.since_offset > early_offset:
                    buffer.push_gap(message)

    def _view(
        self, entry: Entry, envelope: Envelope, schema: TypeAdapter[Any] | None, *, untyped: bool
    ) -> Message[Any] | None:
        """The message, validated once for all who look at it with this type."""
        views = entry.views
        if views is None:
            views = entry.views = {}
        view = (schema, untyped)
        if view not in views:
            result = decode(envelope, schema, untyped=untyped)
            if isinstance(result, MessageError):
                self._tell(envelope, schema, result)
            views[view] = None if isinstance(result, MessageError) else result
        message: Message[Any] | None = views[view]
        return message

    def _encodes(self, envelope: Envelope, schema: TypeAdapter[Any] | None, message: Message[Any]) -> bool:
        error = None if schema is None else encoding_error(message)
        if error is not None:
            self._tell(envelope, schema, error)
        return error is None

    def _tell(self, envelope: Envelope, schema: TypeAdapter[Any] | None, error: MessageError) -> None:
        for follower in list(self.followers):
            spec = follower.spec
            if spec.schemas.get(envelope.topic) is schema and spec.sees(envelope, self._followed):
                follower.report(error)

    def kept(
        self, spec: SubscriptionSpec, buffer: ReaderBuffer, selected: Iterable[Selected], streams: OpenStreams
    ) -> Iterator[Message[Any]]:
        """Yields what a reader missed, as it sees it.

        Args:
            selected: Entries of the channel's log, each with its event id for this reader.
            streams: The data streams that are open.
        """
        selected = list(selected)
        past = {} if buffer.encoded else _past_streams(selected, streams)
        for entry, event_id in selected:
            envelope = entry.envelope
            if isinstance(envelope, str):
                yield Message.gap(self._channel, envelope, event_id=event_id or None)
                continue
            if not spec.sees(envelope, self._followed):
                continue
            if envelope.hides_text:
                yield Message.gap(self._channel, "expired", event_id=event_id or None)
                continue
            schema = spec.schema_of(envelope)
            message = self._view(entry, envelope, schema, untyped=spec.validate)
            if message is None or (buffer.encoded and not self._encodes(envelope, schema, message)):
                continue
            message = twin(message, event_id or None)
            if envelope.stream_id is None or envelope.kind != "datastream-start" or buffer.encoded:
                yield message
            else:
                yield _with_view(message, past.get(envelope.stream_id) or streams[envelope.stream_id], buffer)

    def view_ahead(self, spec: SubscriptionSpec, entry: Entry, *, encoded: bool) -> None:
        """Validates an entry for readers of this spec, and encodes it, so that `kept` finds both done."""
        envelope = entry.envelope
        if isinstance(envelope, str) or not spec.sees(envelope, self._followed):
            return
        message = self._view(entry, envelope, spec.schema_of(envelope), untyped=spec.validate)
        if encoded and message is not None:
            # What has no JSON form is told of when a reader would be given it.
            with contextlib.suppress(Exception):
                message.to_sse()


def _past_streams(selected: Iterable[Selected], streams: OpenStreams) -> dict[str, DataStream]:
    """The data streams that begin among these and are not open any more, made of what is kept of them."""
    found: dict[str, DataStream] = {}
    for entry, _ in selected:
        envelope = entry.envelope
        stream_id = None if isinstance(envelope, str) else envelope.stream_id
        if isinstance(envelope, str) or stream_id is None or streams.get(stream_id) is not None:
            continue
        if envelope.kind == "datastream-start":
            found[stream_id] = DataStream(stream_id, channel=envelope.channel, topic=envelope.topic)
        elif stream_id in found and envelope.kind == "chunk":
            found[stream_id].feed(msgspec.json.decode(envelope.data, type=str))
        elif stream_id in found:
            found[stream_id].end()
    for stream in found.values():
        stream.end("the connection to Inngest was lost")  # unless it has ended
    return found


def _with_view(message: Message[Any], stream: DataStream, buffer: ReaderBuffer) -> Message[Any]:
    """Returns the start of a data stream with the stream as the subscription of this reader has it."""
    view = stream.view()
    if buffer.owner is not None:
        buffer.owner.opened(view)
    return with_stream(message, view)
