"""A deployment in one process and on a clock of its own: publishers, Inngest, workers, what is kept, and web clients.

Every step of the real thing is one call here, so that a test can interleave them as it likes.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import msgspec

from inngest_realtime_core._replay.channel_history import ChannelHistory
from inngest_realtime_core._replay.channel_log import Entry
from inngest_realtime_core._replay.event_ids import EventIds
from inngest_realtime_core._replay.log import Kept, Replay
from inngest_realtime_core._replay.resume import Selected
from inngest_realtime_core.messages.envelope import Envelope

TOPICS = ("a", "b")
CHANNEL = "c"


class Clock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + 5_000.0


class Shared:
    """What Redis keeps of the channel: what was published or received, in order."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.messages: dict[str, tuple[float, Envelope]] = {}
        self.numbers: dict[str, int] = {}
        self.mixed = False
        self.since = clock.now

    def publish(self, envelope: Envelope) -> None:
        self.messages[envelope.identity] = self._clock.now, envelope
        self._number(envelope)

    def _number(self, envelope: Envelope) -> None:
        self.numbers[envelope.identity] = max(self.numbers.values(), default=0) + 1

    def add(self, envelope: Envelope, before: str) -> None:
        """Take what a worker has received, after a message of the same topic."""
        identity = envelope.identity
        if identity not in self.messages:
            self.mixed = True
            self.messages[identity] = self._clock.now, envelope
            self._number(envelope)
        if self.numbers[identity] < self.numbers.get(before, 0):
            self._number(envelope)

    def load(self) -> Kept:
        order = sorted(self.messages, key=self.numbers.__getitem__)
        messages = [self.messages[identity] for identity in order]
        return Kept(messages, whole=not self.mixed, since=self.since, clock=5_000.0)


@dataclass(eq=False)
class Client:
    """A browser: what it has seen, and the id that it comes back with."""

    topics: tuple[str, ...]
    worker: Worker | None = None
    last_id: str = ""
    waiting: deque[tuple[Any, str]] = field(default_factory=deque[tuple[Any, str]])
    seen: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    since: dict[str, int] = field(default_factory=dict[str, int])
    gaps: int = 0
    rewound: bool = False
    knows_early: bool = False

    def read(self, most: int) -> None:
        while self.waiting and most:
            most -= 1
            envelope, event_id = self.waiting.popleft()
            if event_id:
                self.last_id = event_id
            if isinstance(envelope, Envelope):
                self.seen.append((envelope.topic, int(bytes(envelope.data))))
            else:
                self.gaps += 1
                self.seen.append(("gap", 0))

    def give(self, selected: list[Selected]) -> None:
        self.waiting.extend((entry.envelope, event_id) for entry, event_id in selected)

    def push(self, entry: Entry) -> None:
        envelope = entry.envelope
        if not isinstance(envelope, Envelope) or envelope.topic in self.topics:
            self.waiting.append((envelope, entry.event_id))


class Worker:
    """One process that follows the channel."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.history = ChannelHistory(CHANNEL, fleet.limits, EventIds([b"k" * 32]))
        self.history.confirm(TOPICS)
        self.queues: dict[str, deque[Envelope]] = {topic: deque() for topic in TOPICS}
        self.last: dict[str, str] = {}
        self.connected = True
        self.clients: list[Client] = []

    def receive(self, topic: str) -> None:
        if self.connected and self.queues[topic]:
            envelope = self.queues[topic].popleft()
            self._fleet.shared.add(envelope, self.last.get(topic, ""))
            self.last[topic] = envelope.identity
            entry = self.history.receive(envelope)
            if entry is not None:
                self._give(entry)

    def drain(self) -> None:
        for topic in TOPICS:
            while self.connected and self.queues[topic]:
                self.receive(topic)

    def _give(self, entry: Entry) -> None:
        self.history.here()
        for client in self.clients:
            if not (entry.again and client.knows_early):
                client.push(entry)

    def disconnect(self) -> None:
        self.connected = False
        for queue in self.queues.values():
            queue.clear()

    def reconnect(self) -> None:
        if not self.connected:
            self.connected = True
            for entry in self.history.bridge(self._fleet.shared.load(), "reconnect", self._fleet.clock.now):
                self._give(entry)

    def attach(self, client: Client, rewind: Any = None) -> None:
        client.worker = self
        client.waiting.clear()
        history = self.history
        if client.last_id:
            cursor = history.cursor(client.last_id)
            assert cursor is not None
            selected = history.resume(cursor, client.topics)
            if selected is None:
                for entry in history.catch_up(self._fleet.shared.load()):
                    self._give(entry)
                selected = history.resume(cursor, client.topics)
            if selected is None:
                # It waits for what it has not received yet.
                self.drain()
                selected = history.resume(cursor, client.topics)
            if selected is None:
                client.waiting.append(("expired", history.here()))
            else:
                client.give(selected)
        elif rewind is not None:
            history.merge(self._fleet.shared.load())
            resumed = history.rewind(rewind, client.topics)
            client.last_id = resumed.start_id
            client.give(resumed.selected)
        else:
            client.last_id = history.here()
        client.knows_early = history.loaded
        self.clients.append(client)

    def detach(self, client: Client) -> None:
        self.clients.remove(client)
        client.worker = None
        client.waiting.clear()


class Fleet:
    def __init__(self, clock: Clock, rng: random.Random, limits: Replay | None = None) -> None:
        self.clock = clock
        self.rng = rng
        self.limits = limits or Replay()
        self.shared = Shared(clock)
        self.workers: list[Worker] = []
        self.clients: list[Client] = []
        self.counts: dict[str, int] = defaultdict(int)
        self.in_flight: dict[str, Envelope] = {}

    def record(self, topic: str, *, ours: bool = True) -> None:
        """Begin to publish the topic's next number; one at a time in each topic."""
        if topic in self.in_flight:
            return
        number = self.counts[topic]
        self.counts[topic] += 1
        envelope = Envelope("data", msgspec.Raw(b"%d" % number), CHANNEL, topic, created_at=self._stamp())
        if ours:
            envelope.metadata = msgspec.Raw(b'{"inngest-realtime":{"id":"%s-%d"}}' % (topic.encode(), number))
            self.shared.publish(envelope)
        self.in_flight[topic] = envelope

    def _stamp(self) -> str:
        return datetime.fromtimestamp(self.clock.time(), timezone.utc).isoformat().replace("+00:00", "Z")

    def send(self, topic: str) -> None:
        """Inngest takes what is being published, and gives it to everyone who is connected."""
        envelope = self.in_flight.pop(topic, None)
        if envelope is not None:
            for worker in self.workers:
                if worker.connected:
                    worker.queues[topic].append(msgspec.structs.replace(envelope, known_identity=""))
                    if self.limits.size < 256:
                        # What is received later than the log reaches back is not known to be a repetition.
                        worker.drain()

    def start_worker(self) -> Worker:
        if self.shared.mixed:
            # A worker that begins receives what others have not yet, and before them: of another publisher's messages
            # only receipt tells the order.
            for worker in self.workers:
                worker.drain()
        worker = Worker(self)
        self.workers.append(worker)
        return worker

    def kill(self, worker: Worker) -> None:
        self.workers.remove(worker)
        for client in list(worker.clients):
            worker.detach(client)

    def settle(self) -> None:
        """Let all that is under way come to its end."""
        for topic in TOPICS:
            self.send(topic)
        if not self.workers:
            self.start_worker()
        for worker in self.workers:
            worker.reconnect()
            worker.drain()
        for client in self.clients:
            if client.worker is None:
                self.rng.choice(self.workers).attach(client)
            client.read(10**6)
