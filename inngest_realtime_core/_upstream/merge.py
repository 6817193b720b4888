"""Merging an old and a new connection that deliver the same for a while, so that each message is delivered once.

Sans-IO. Order is kept per topic, as Inngest keeps it. Per topic the old connection leads until one message has been
seen on both; what the new connection brings meanwhile is held. From that message on both bring the same, so the new
connection takes over, and what the old one delivered ahead is recognised when the new one brings it.

A data stream belongs to the connection that delivered its start: its chunks have no identity of their own. A topic
stays with the old connection until the streams that only the old one knows have ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..messages.envelope import Envelope


class _Topic:
    __slots__ = ("ahead", "held", "only_old", "switched")

    def __init__(self) -> None:
        self.held: dict[str, Envelope] = {}
        self.ahead: set[str] = set()
        self.only_old: dict[str, Envelope] = {}
        self.switched = False


class StreamMerge:
    """The overlap of two connections.

    Args:
        open_streams: The starts of the data streams that are open on the old connection when the overlap begins.
        recent: What the old connection delivered just before: the new one may lag behind it, and repeat that.
    """

    def __init__(self, open_streams: Iterable[Envelope] = (), recent: Iterable[Envelope] = ()) -> None:
        self._topics: dict[tuple[str, str], _Topic] = {}
        self._finished = False
        for start in open_streams:
            self._topic(start).only_old[start.stream_id or ""] = start
        for envelope in recent:
            self._topic(envelope).ahead.add(envelope.identity)

    def _topic(self, envelope: Envelope) -> _Topic:
        key = (envelope.channel, envelope.topic)
        topic = self._topics.get(key)
        if topic is None:
            topic = self._topics[key] = _Topic()
            topic.switched = self._finished
        return topic

    def adopt(self, topics: Iterable[tuple[str, str]]) -> None:
        """Called with (channel, topic) pairs that the old connection never had: the new one leads for them at once.

        What is known of them from before they were left and taken again does not count any more.
        """
        for key in topics:
            topic = self._topics[key] = _Topic()
            topic.switched = True

    @property
    def settled(self) -> bool:
        """Whether the old connection can be left: nothing is held, and no stream depends on it."""
        return all(topic.switched or not (topic.held or topic.only_old) for topic in self._topics.values())

    @property
    def interrupted(self) -> list[Envelope]:
        """The starts of the data streams that only the old connection knows and that have not ended."""
        return [start for topic in self._topics.values() for start in topic.only_old.values()]

    def old(self, envelope: Envelope) -> Iterator[Envelope]:
        """Called with a message of the old connection. Returns what to deliver now, in order."""
        topic = self._topic(envelope)
        if topic.switched:
            return
        stream_id = envelope.stream_id
        if stream_id is not None and stream_id in topic.only_old and envelope.kind != "datastream-start":
            if envelope.kind == "datastream-end":
                del topic.only_old[stream_id]
            # The new connection may know the stream after all, and only be behind; or have brought its end before.
            if topic.held.pop(envelope.identity, None) is None:
                topic.ahead.add(envelope.identity)
            yield envelope
            return
        identity = envelope.identity
        if identity in topic.held:
            # What the new connection has before it never came on the old one, or would have come by now.
            for held in list(topic.held):
                yield topic.held.pop(held)
                if held == identity:
                    break
            yield from self._switch(topic)
            return
        topic.ahead.add(identity)
        if envelope.kind == "datastream-start" and stream_id is not None:
            topic.only_old[stream_id] = envelope
        yield envelope

    def new(self, envelope: Envelope) -> Iterator[Envelope]:
        """Called with a message of the new connection. Returns what to deliver now, in order."""
        topic = self._topic(envelope)
        identity = envelope.identity
        if identity in topic.ahead:
            topic.ahead.discard(identity)
            if envelope.kind == "datastream-start" and envelope.stream_id is not None:
                topic.only_old.pop(envelope.stream_id, None)
            if not topic.switched:
                yield from self._switch(topic)
        elif topic.switched:
            yield envelope
        else:
            topic.held[identity] = envelope

    def _switch(self, topic: _Topic) -> Iterator[Envelope]:
        if topic.only_old:
            return
        topic.switched = True
        held, topic.held = topic.held, {}
        yield from held.values()

    def expire(self) -> Iterator[Envelope]:
        """Stop waiting for the old connection wherever no stream depends on it; returns what to deliver now."""
        for topic in self._topics.values():
            if not topic.switched and topic.held:
                yield from self._switch(topic)

    def finish(self) -> Iterator[Envelope]:
        """The old connection is gone: the new one leads everywhere. Returns what to deliver now.

        Keep giving `new()` what the new connection brings for a while: it may still repeat what the old one delivered.
        """
        self._finished = True
        for topic in self._topics.values():
            topic.only_old.clear()
            yield from self._switch(topic)
            topic.switched = True
