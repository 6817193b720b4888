"""What this process has published lately, for those who subscribe afterwards, and for holes in what was received.

Inngest keeps nothing. One record serves all event loops and threads of a process, under a lock that is never held
across an await.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from ..messages.envelope import Envelope
from .event_ids import Cursor
from .log import Kept, Replay
from .numbers import Clock

_CHANNELS: Final = 1_000
_BYTES: Final = 64 * 1024 * 1024
_LATE: Final = 10.0  # seconds after its recording within which Inngest takes a message, if it does


class _Published(msgspec.Struct):
    """A message.

    Attributes:
        at: When it was recorded.
        number: Its offset among the channel's messages.
        envelope: The message itself; None when it was withdrawn, after a reader may have had it.
        received: Whether a log is known to have had it.
        is_ambiguous: Whether two logs had it in different places among the others.
    """

    at: float
    number: float
    envelope: Envelope | None
    received: bool = False
    is_ambiguous: bool = False


class _Channel(msgspec.Struct):
    """What was published to one channel.

    Attributes:
        since: From when on nothing is missing among them.
        messages: By identity, in the order of publication.
        last: The number given last.
        bytes: Of all payloads.
        mixed: Whether somebody else publishes to the channel, or something that is not recorded.
    """

    since: float
    messages: OrderedDict[str, _Published] = msgspec.field(default_factory=OrderedDict[str, _Published])
    last: int = 0
    bytes: int = 0
    mixed: bool = False

    def behind(self, number: float) -> float:
        """An offset between this one and the next."""
        following = (each.number for each in self.messages.values() if each.number > number)
        return (number + min([*following, number + 2])) / 2


class Record:
    """The publications of one process, by channel; the channels published to least recently go first.

    Attributes:
        kept_bytes: Bytes of payload in the record.
    """

    def __init__(self, limits: Replay) -> None:
        self._limits = limits
        # A little more than the logs have of what was received: what they have that is not here is another's.
        self._size = limits.size + limits.size // 4 + 8
        self._max_age = limits.max_age + 5
        self._lock = threading.Lock()
        self._since = time.monotonic()  # of channels that are not here
        self._channels: OrderedDict[str, _Channel] = OrderedDict()
        self.kept_bytes: int = 0

    def add(self, envelope: Envelope) -> None:
        """Record a message that is about to be sent."""
        if not self._limits.published or not self._limits.size:
            return
        identity = envelope.identity
        with self._lock:
            now = time.monotonic()
            channel = self._touch(envelope.channel, now)
            known = channel.messages.get(identity)
            if known is not None:
                if known.envelope is not None:
                    return
                del channel.messages[identity]
            channel.last += 1
            channel.messages[identity] = _Published(now, channel.last, envelope)
            self._count(channel, envelope.size)
            self._evict(channel, now)
            while len(self._channels) > _CHANNELS or (self.kept_bytes > _BYTES and len(self._channels) > 1):
                _, oldest = self._channels.popitem(last=False)
                self.kept_bytes -= oldest.bytes
                self._since = now

    def mark_mixed(self, channel: str) -> None:
        """Called when something is sent to a channel that is not recorded."""
        with self._lock:
            self._touch(channel, time.monotonic()).mixed = True

    def remove(self, envelope: Envelope) -> None:
        with self._lock:
            channel = self._channels.get(envelope.channel)
            known = None if channel is None else channel.messages.get(envelope.identity)
            if channel is not None and known is not None and known.envelope is not None:
                known.envelope = None
                self._count(channel, -envelope.size)

    def load(self, name: str, received: Sequence[Envelope], *, mixed: bool) -> Kept:
        """What is kept of a channel: in the order of publication, or of receipt where that was another one.

        Args:
            received: What the log of whoever asks has.
            mixed: Whether it has something that was not published through this package.
        """
        with self._lock:
            channel = self._channels.get(name)
            if channel is None:
                return Kept((), whole=False, since=time.monotonic())
            self._compare(channel, received, mixed=mixed)
            ordered = sorted(channel.messages.values(), key=lambda message: message.number)
            kept = [(message.at, message.envelope) for message in ordered if message.envelope is not None]
            ambiguous = {identity for identity, each in channel.messages.items() if each.is_ambiguous}
            return Kept(kept, whole=not channel.mixed, since=channel.since, ambiguous=ambiguous)

    def leave(self, name: str, received: Sequence[Envelope], *, mixed: bool, since: float) -> None:
        """Called when a log goes: of what it never had, its clients may have had what was published at the same time.

        So that is behind what they have had, for those who come back.

        Args:
            since: From when on all that the log had is in `received`.
        """
        with self._lock:
            channel = self._channels.get(name)
            if channel is None:
                return
            for topic, last in self._compare(channel, received, mixed=mixed).items():
                since_ = max(since, last.at - _LATE)
                at = last.number
                for each in sorted(channel.messages.values(), key=lambda message: message.number):
                    envelope = each.envelope
                    if (
                        each.number < last.number
                        and each.at >= since_
                        and not each.received
                        and envelope is not None
                        and envelope.topic == topic
                    ):
                        at = each.number = channel.behind(at)

    def _compare(self, channel: _Channel, received: Sequence[Envelope], *, mixed: bool) -> dict[str, _Published]:
        """Put what was received in the order of its receipt; returns the last one of each topic."""
        self._evict(channel, time.monotonic())
        messages = channel.messages
        # What another process has published is not here: this record has no more than a part.
        channel.mixed = channel.mixed or mixed or any(envelope.identity not in messages for envelope in received)
        last: dict[str, _Published] = {}
        for envelope in received:
            known = messages.get(envelope.identity)
            if known is not None:
                before = last.get(envelope.topic)
                if before is not None and known.number < before.number:
                    # Known first, but received later; not by everybody where it was received before.
                    known.is_ambiguous = known.received
                    known.number = channel.behind(before.number)
                known.received = True
                last[envelope.topic] = known
        return last

    def _touch(self, name: str, now: float) -> _Channel:
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel(self._since)
        self._channels.move_to_end(name)
        return channel

    def _evict(self, channel: _Channel, now: float) -> None:
        messages = channel.messages
        while messages:
            oldest = next(iter(messages.values()))
            at = oldest.at
            if len(messages) <= self._size and channel.bytes <= self._limits.max_bytes and now - at <= self._max_age:
                break
            messages.popitem(last=False)
            channel.since = max(channel.since, at)
            if oldest.envelope is not None:
                self._count(channel, -oldest.envelope.size)

    def _count(self, channel: _Channel, size: int) -> None:
        channel.bytes += size
        self.kept_bytes += size


class MemoryHistory:
    """The record as what is kept beside the logs of one event loop."""

    shared: bool = False

    def __init__(self, record: Record) -> None:
        self._record = record

    def follow(self, channel: str) -> None: ...

    async def cover(self, channel: str) -> int:
        return 0

    def created(self, channel: str) -> int:
        return 0

    @property
    def clock(self) -> Clock:
        return Clock(0.0)

    def add(self, envelope: Envelope, before: Envelope | None) -> None: ...

    def leave(self, channel: str, received: Sequence[Envelope], *, mixed: bool, since: float) -> None:
        self._record.leave(channel, received, mixed=mixed, since=since)

    def load_now(self, channel: str, received: Sequence[Envelope], *, mixed: bool) -> Kept:
        return self._record.load(channel, received, mixed=mixed)

    async def load(
        self,
        channel: str,
        received: Sequence[Envelope],
        *,
        mixed: bool,
        cursor: Cursor | None = None,
        topics: Collection[str] = (),
    ) -> Kept:
        return self._record.load(channel, received, mixed=mixed)

    async def publish(self, envelope: Envelope) -> None:
        self._record.add(envelope)

    async def withdraw(self, envelope: Envelope) -> None:
        self._record.remove(envelope)

    def publish_unidentified(self, channel: str) -> None:
        self._record.mark_mixed(channel)

    def health(self) -> None:
        """It is this process's own memory."""

    async def ready(self, patience: float = 0.5) -> None: ...

    async def close(self) -> None: ...
