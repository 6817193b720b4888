"""Who listens to which topic, and the delivery of what is published."""

from __future__ import annotations

from collections.abc import AsyncIterable, Collection, Iterable
from typing import Protocol

from . import frames
from .clock import Clock
from .frames import Frame
from .identifiers import new_stream_id, parse_ulid
from .loose_json import decode_bytes
from .record import Record

__all__ = ["Broker", "Connection", "Key"]

Key = tuple[str, str]  # (channel, topic)

MAX_MESSAGE = 524_288  # bytes of a published message; the rest is cut off silently
MAX_CHUNK = 1_024  # bytes
MAX_CHUNKS = 1_000  # of one data stream
MAX_SUBSCRIBERS = 5_000  # of one topic; later ones silently get nothing
RAW_TOPIC = "$stream"


class Connection(Protocol):
    """An open WebSocket or SSE connection, which can be subscribed to topics."""

    def deliver(self, frame: Frame) -> None:
        """Take a frame to send, without waiting."""
        ...

    async def drained(self) -> None:
        """Return when the connection does not hold too much unsent, or is gone."""
        ...

    @property
    def channels(self) -> Collection[str]:
        """The channels that the client's tokens cover."""
        ...

    @property
    def frozen(self) -> bool:
        """Whether it never sends anything again."""
        ...

    def drop(self) -> None:
        """Cut the connection off: what is unsent is lost, the client sees the end of the stream."""
        ...

    def finish(self) -> None:
        """Send what is unsent, then end the stream without a closing handshake."""
        ...

    def freeze(self) -> None:
        """Never send anything again, but leave the connection open."""
        ...


class Broker:
    """Delivers published messages to the subscribers of their topic, in the order of publishing.

    Used on one event loop. A publish waits while a subscriber of its topic does not read, as it does in Inngest.

    Args:
        record: Published frames that are kept for tests to look at.
    """

    def __init__(self, *, record: int = 0) -> None:
        self.publishes: int = 0
        self.record: Record = Record(record)
        self.clock: Clock = Clock()
        self._subscribers: dict[Key, dict[Connection, None]] = {}
        self._keys: dict[Connection, set[Key]] = {}

    @property
    def subscriptions(self) -> int:
        """The number of registered pairs of a connection and a topic."""
        return sum(map(len, list(self._keys.values())))

    def subscribe(self, subscriber: Connection, keys: Iterable[Key]) -> None:
        """Add topics to a connection; those it has already are left as they are."""
        own = self._keys.setdefault(subscriber, set())
        for key in keys:
            subscribers = self._subscribers.setdefault(key, {})
            if len(subscribers) < MAX_SUBSCRIBERS:
                subscribers[subscriber] = None
                own.add(key)

    def unsubscribe(self, subscriber: Connection, keys: Iterable[Key] | None = None) -> None:
        """Take topics from a connection: all of them, and the connection itself, when `keys` is None."""
        own = self._keys.get(subscriber, set())
        for key in list(own) if keys is None else own.intersection(keys):
            own.discard(key)
            subscribers = self._subscribers[key]
            del subscribers[subscriber]
            if not subscribers:
                del self._subscribers[key]
        if keys is None:
            self._keys.pop(subscriber, None)

    async def publish(
        self, channel: str, topic: str, body: bytes, *, run_id: str = "", metadata: str = "", kind: str = "data"
    ) -> None:
        """Publish one message. What is too long, not JSON, or named wrongly fares as PROTOCOL.md section 6 says."""
        self.publishes += 1
        body = body[:MAX_MESSAGE]
        data = frames.compact_json(body.decode(errors="surrogateescape"))
        if data is None:
            data = frames.quote(decode_bytes(body))
        await self._send_envelope((channel, topic), kind, data, self.clock.now(), run_id, metadata)

    async def publish_stream(
        self,
        channel: str,
        topic: str,
        chunks: AsyncIterable[bytes],
        *,
        run_id: str = "",
        metadata: str = "",
    ) -> None:
        """Publish a data stream. Whatever ends `chunks`, even an exception, subscribers get the end of the stream."""
        self.publishes += 1
        key, stream_id, created_at = (channel, topic), new_stream_id(), self.clock.now()
        data = frames.quote(stream_id)
        await self._send_envelope(key, "datastream-start", data, created_at, run_id, metadata)
        try:
            reads = 0
            async for chunk in chunks:
                for start in range(0, len(chunk), MAX_CHUNK):
                    if reads == MAX_CHUNKS:
                        return
                    reads += 1
                    text = decode_bytes(chunk[start : start + MAX_CHUNK])
                    await self._send(key, frames.chunk(stream_id, text, run_id=parse_ulid(run_id)))
        finally:
            await self._send_envelope(key, "datastream-end", data, created_at, run_id, metadata)

    async def publish_raw(self, channel: str, data: bytes) -> None:
        """Send bytes as they are, as one text frame without an envelope, to the topic `$stream`."""
        await self.deliver((channel, RAW_TOPIC), Frame(data, raw=True))

    async def _send_envelope(self, key: Key, kind: str, data: str, created_at: str, run_id: str, metadata: str) -> None:
        compact_metadata = frames.compact_json(metadata) if metadata else None
        if metadata and compact_metadata is None:
            return  # lost, as in Inngest
        frame = frames.envelope(
            kind,
            data,
            created_at=created_at,
            channel=key[0],
            topic=key[1],
            run_id=parse_ulid(run_id),
            metadata=compact_metadata,
        )
        await self._send(key, frame)

    async def _send(self, key: Key, frame: Frame) -> None:
        self.record.add(frame)
        await self.deliver(key, frame)

    async def deliver(self, key: Key, frame: Frame) -> None:
        """Hand `frame` to every subscriber of `key`, then wait for those that hold too much."""
        subscribers = list(self._subscribers.get(key, ()))
        for subscriber in subscribers:
            subscriber.deliver(frame)
        for subscriber in subscribers:
            await subscriber.drained()
