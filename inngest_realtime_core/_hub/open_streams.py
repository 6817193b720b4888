"""The data streams of a channel that have begun and not ended yet."""

from __future__ import annotations

import msgspec

from .._upstream.protocol import MAX_OPEN_STREAMS
from ..messages.data_stream import DataStream
from ..messages.envelope import Envelope
from .budget import NO_BUDGET, ByteBudget


class OpenStreams:
    """Collects the chunks of each data stream.

    Args:
        max_bytes: Bytes of memory that all of them hold at most; with more, the oldest is cut off.
        budget: The bytes that may wait in the process.
    """

    __slots__ = ("_began", "_by_id", "_max_bytes", "budget", "held_bytes")

    def __init__(self, max_bytes: int, budget: ByteBudget = NO_BUDGET) -> None:
        self._by_id: dict[str, DataStream] = {}
        self._began: dict[str, int] = {}
        self._max_bytes = max_bytes
        self.budget: ByteBudget = budget
        self.held_bytes: int = 0

    def __getitem__(self, stream_id: str) -> DataStream:
        return self._by_id[stream_id]

    def get(self, stream_id: str | None) -> DataStream | None:
        return None if stream_id is None else self._by_id.get(stream_id)

    def began(self, envelope: Envelope) -> int | None:
        """The offset of the start of the data stream that a message ends; None for all others."""
        return self._began.get(envelope.stream_id or "") if envelope.kind == "datastream-end" else None

    def follow(self, envelope: Envelope, stream_id: str, offset: int = 0) -> DataStream | None:
        """Takes a message of a data stream. Returns the stream when it begins with this message.

        Args:
            offset: That of the message in the channel's log.
        """
        if envelope.kind == "datastream-start":
            self._drop(stream_id)
            self._began[stream_id] = offset
            stream = self._by_id[stream_id] = DataStream(stream_id, channel=envelope.channel, topic=envelope.topic)
            if len(self._by_id) > MAX_OPEN_STREAMS:
                # The decoder has given it up too: nothing more would come of it.
                self.interrupt(next(iter(self._by_id)), f"{MAX_OPEN_STREAMS} others began before its end")
            return stream
        if envelope.kind == "datastream-end":
            ended = self._drop(stream_id)
            if ended is not None:
                ended.end()
        elif (known := self._by_id.get(stream_id)) is not None:
            chunk = msgspec.json.decode(envelope.data, type=str)
            before = known.size
            known.feed(chunk)
            added = known.size - before
            self.held_bytes += added
            if self.held_bytes > self._max_bytes:
                self.drop(self.held_bytes - self._max_bytes)
            self.budget.spend(added)
        return None

    def drop(self, size: int) -> None:
        """Cuts off the oldest until so many bytes are free, or none is left."""
        kept = self.held_bytes - size
        while self._by_id and self.held_bytes > kept:
            self.interrupt(next(iter(self._by_id)), "more is open than what is kept")

    def interrupt(self, stream_id: str, why: str) -> None:
        stream = self._drop(stream_id)
        if stream is not None:
            stream.end(why)

    def interrupt_all(self, why: str) -> None:
        for stream_id in list(self._by_id):
            self.interrupt(stream_id, why)

    def _drop(self, stream_id: str) -> DataStream | None:
        self._began.pop(stream_id, None)
        stream = self._by_id.pop(stream_id, None)
        if stream is not None:
            self.held_bytes -= stream.size
        return stream
